//! What each kind of router is called, and when that is known.

use nat::{Filtering, Mapping, Ports};
use netsim::{Hairpin, Kind, Link, Nat};

use crate::world::{RTT, World, addr, config};

fn mapping(nat: Nat) -> Mapping {
    match nat.mapping {
        _ if !nat.translate => Mapping::Eim,
        netsim::Mapping::EndpointIndependent => Mapping::Eim,
        netsim::Mapping::AddressDependent => Mapping::Adm,
        netsim::Mapping::AddressAndPortDependent => Mapping::Apdm,
    }
}

fn filtering(nat: Nat) -> Filtering {
    match nat.filtering {
        netsim::Filtering::EndpointIndependent => Filtering::Eif,
        netsim::Filtering::AddressDependent => Filtering::Adf,
        netsim::Filtering::AddressAndPortDependent => Filtering::Apdf,
    }
}

/// The kinds that let UDP through.
fn passing() -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(|kind| kind.nat().udp == netsim::Udp::Passes)
}

#[test]
fn every_kind_of_router_is_called_what_it_is() {
    for kind in passing() {
        for seed in 0..20 {
            let nat = kind.nat();
            let mut world = World::behind(nat, seed);

            let facts = world.run();

            let case = format!("{kind}, seed {seed}: {facts:?}");
            assert_eq!(facts.translated, nat.translate, "{case}");
            assert_eq!(facts.mapping, Some(mapping(nat)), "{case}");
            assert_eq!(facts.filtering, Some(filtering(nat)), "{case}");
            if nat.translate && nat.mapping == netsim::Mapping::EndpointIndependent {
                assert_eq!(facts.hairpin, Some(nat.hairpin != Hairpin::No), "{case}");
            }
            assert_eq!(facts.poisoned == Some(true), nat.poison, "{case}");
        }
    }
}

#[test]
fn how_ports_are_chosen_is_told_for_each_kind() {
    for seed in 0..20 {
        let ports = |kind: Kind| World::behind(kind.nat(), seed).run().ports.unwrap();
        for kept in [Kind::Open, Kind::Firewall, Kind::Full, Kind::Addr, Kind::Port, Kind::Linux, Kind::LinuxOpen] {
            assert_eq!(ports(kept), Ports::Preserving, "{kept}");
        }
        assert_eq!(ports(Kind::PortRandom), Ports::Random);
        assert_eq!(ports(Kind::Symmetric), Ports::Random);
        assert_eq!(ports(Kind::SymmetricSequential), Ports::Sequential { step: 1 });
        let step = Nat { ports: netsim::Ports::Sequential { step: 7 }, ..Kind::Symmetric.nat() };
        assert_eq!(World::behind(step, seed).run().ports, Some(Ports::Sequential { step: 7 }));
        let Ports::Block { size, .. } = ports(Kind::SymmetricBlock) else { panic!("a block") };
        assert!(size <= 512, "{size}");
    }
}

#[test]
fn mapping_is_known_after_one_round_trip() {
    for kind in [Kind::Port, Kind::Full, Kind::Symmetric, Kind::SymmetricSequential, Kind::Carrier] {
        let mut world = World::behind(kind.nat(), 1);
        world.run();
        let (at, facts) = &world.told[0];
        assert_eq!(*at, RTT, "{kind}");
        assert_eq!(facts.mapping, Some(mapping(kind.nat())), "{kind}");
    }
}

#[test]
fn everything_is_known_within_a_second_and_some_twenty_datagrams() {
    for kind in passing() {
        let mut world = World::behind(kind.nat(), 1);
        world.run();
        let done = world.done.unwrap();
        assert!(done.as_millis() <= 1000, "{kind}: {done:?}");
        assert!(world.sent <= 20, "{kind}: {} sent", world.sent);
    }
}

#[test]
fn with_one_address_nobody_is_told_more_than_can_be_known() {
    let mut world = World::behind(Kind::SymmetricAddr.nat(), 1);
    world.has_other = false;
    let facts = world.run();
    assert_eq!((facts.mapping, facts.filtering), (Some(Mapping::Eim), Some(Filtering::Adf)));
    let mut world = World::behind(Kind::Full.nat(), 1);
    world.has_other = false;
    assert_eq!(world.run().filtering, Some(Filtering::Adf));
}

#[test]
fn a_socket_that_is_in_use_is_not_spoilt_to_learn_more() {
    let mut world = World::behind(Kind::LinuxOpen.nat(), 1);
    world.classifier = nat::Classifier::new(nat::Config { spare: false, ..config() }, world.now);
    let facts = world.run();
    assert_eq!((facts.mapping, facts.ports), (Some(Mapping::Eim), Some(Ports::Preserving)));
    assert_eq!((facts.filtering, facts.poisoned), (Some(Filtering::Apdf), None));
    let unasked = addr("198.51.100.1:3481");
    assert!(facts.seen.iter().all(|seen| seen.by != unasked) && !world.classifier.silent().any(|to| to == unasked));
}

#[test]
fn loss_and_overtaking_change_the_time_and_not_the_verdict() {
    let rough = Link { loss: 0.1, reorder: 0.2, duplicate: 0.1, ..Link::of(RTT / 4) };
    let mut wrong = Vec::new();
    for kind in passing() {
        for seed in 0..50 {
            let mut world = World::with(kind.nat(), seed, rough);
            let facts = world.run();
            assert_eq!(facts.mapping, Some(mapping(kind.nat())), "{kind}, seed {seed}: {facts:?}");
            assert!(world.done.unwrap().as_millis() <= 3000, "{kind}, seed {seed}: {:?}", world.done);
            if facts.filtering != Some(filtering(kind.nat())) {
                wrong.push(format!("{kind}, seed {seed}: {:?}", facts.filtering));
            }
        }
    }
    // One in five answers is lost; three in a row are what an honest silence looks like.
    assert!(wrong.len() <= 12, "{} of 700: {wrong:?}", wrong.len());
}

#[test]
fn steps_are_read_in_spite_of_loss_and_overtaking() {
    let rough = Link { loss: 0.1, reorder: 0.2, ..Link::of(RTT / 4) };
    for seed in 0..100 {
        let nat = Nat { ports: netsim::Ports::Sequential { step: 3 }, ..Kind::Symmetric.nat() };
        let facts = World::with(nat, seed, rough).run();
        let Some(Ports::Sequential { step }) = facts.ports else { panic!("seed {seed}: {facts:?}") };
        assert!(step % 3 == 0, "seed {seed}: {facts:?}");
    }
}

#[test]
fn a_server_that_is_very_far_is_not_taken_for_a_filter() {
    for (rtt, filtering) in [(600, Some(Filtering::Eif)), (1200, None)] {
        let link = Link::of(std::time::Duration::from_millis(rtt) / 2 - RTT / 4);
        let facts = World::with(Kind::Full.nat(), 1, link).run();
        assert_eq!((facts.mapping, facts.filtering), (Some(Mapping::Eim), filtering), "{rtt} ms: {facts:?}");
    }
}

#[test]
fn a_server_that_is_silent_is_given_up() {
    let mut world = World::behind(Kind::Port.nat(), 1);
    world.net.cut(world.server, true);
    let facts = world.run();
    assert!(facts.seen.is_empty() && world.told.is_empty());
    assert_eq!((facts.mapping, facts.filtering), (None, None));
    assert!(world.done.unwrap().as_millis() <= 5000, "{:?}", world.done);
    assert_eq!(world.classifier.silent().count(), 4);
}

#[test]
fn a_router_that_restarts_meanwhile_is_called_what_it_is_then() {
    let mut world = World::behind(Kind::PortRandom.nat(), 1);
    world.step();
    world.net.reboot(world.router);
    let facts = world.run();
    assert_eq!(facts.mapping, Some(Mapping::Eim), "{facts:?}");
}
