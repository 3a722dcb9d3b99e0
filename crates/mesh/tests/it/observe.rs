//! Members learn what routers they are behind, and tell each other.

use std::time::Duration;

use mesh::{Event, Observe};
use netsim::{Kind, Segment};
use wire::{
    agent::Path,
    nat::{Mapping, NatFacts, Ports},
};

use crate::world::{PORT, RTT, World, host_candidates};

/// Two people behind such routers, who ask the rendezvous about them.
fn pair(alices: Kind, bobs: Kind) -> World {
    let mut world = World::new(5);
    for (who, kind) in [("alice", alices), ("bob", bobs)] {
        world.home(who, kind);
        world.join_with(who, |config| config.observe = Some(Observe { port: PORT, observers: vec![] }));
    }
    world
}

fn told(world: &World, who: &str) -> Vec<(Duration, NatFacts)> {
    let member = world.member(who);
    let facts = member.told.iter().filter_map(|(at, event)| match event {
        Event::Nat(facts) => Some((*at - member.started, facts.clone())),
        _ => None,
    });
    facts.collect()
}

/// Why there is no direct path, as one of them says.
fn why(world: &World, who: &str) -> Option<&'static str> {
    let mesh = &world.member(who).mesh;
    let other = mesh.peers().next().expect("the other one is there");
    mesh.why_not_direct(other.tag)
}

#[test]
fn the_router_is_known_one_round_trip_after_the_start_and_more_of_it_later() {
    let mut world = pair(Kind::SymmetricSequential, Kind::Port);
    world.lab.run_for(Duration::from_secs(3));

    let facts = told(&world, "alice");
    assert_eq!(facts[0].0, RTT);
    assert_eq!((facts[0].1.mapping, facts[0].1.ports), (Some(Mapping::Apdm), Some(Ports::Sequential { step: 1 })));
    assert_eq!(facts.len(), 2, "the others hear twice, and no more: {facts:?}");
    assert_eq!(facts[1].1.seen.len(), 4);
    assert_eq!(told(&world, "bob")[0].1.mapping, Some(Mapping::Eim));
}

#[test]
fn a_router_that_nobody_could_look_at_is_looked_at_as_soon_as_the_rendezvous_is_back() {
    let mut world = pair(Kind::Port, Kind::Port);
    assert!(world.run_until_secure(&["alice", "bob"], Duration::from_secs(3)));
    world.lab.run_for(Duration::from_secs(3));

    world.kill_server();
    let hotel = world.router(Segment::INTERNET, Kind::SymmetricSequential.nat());
    world.move_home("alice", hotel.inside());
    let candidates = host_candidates(world.lab.net.addresses(world.hosts["alice"]));
    world.with("alice", |mesh, now| mesh.network_changed(candidates, now));
    world.lab.run_for(Duration::from_secs(10));
    let last = |world: &World| told(world, "alice").last().expect("she knew her own router").1.mapping;
    assert_eq!(last(&world), Some(Mapping::Eim), "nobody has seen the other one");

    world.restart_server();
    world.lab.run_for(Duration::from_secs(100));
    assert_eq!(last(&world), Some(Mapping::Apdm));
    for (who, peer) in [("alice", "bob"), ("bob", "alice")] {
        assert_eq!(world.status(who, peer).map(|peer| peer.path), Some(Path::Direct), "{who}");
    }
}

#[test]
fn a_rendezvous_that_does_not_say_what_it_sees_is_asked_again_a_few_times() {
    let mut world = World::new(5);
    world.server().ignores_stun = true;
    for (who, kind) in [("alice", Kind::SymmetricSequential), ("bob", Kind::Port)] {
        world.home(who, kind);
        world.join_with(who, |config| config.observe = Some(Observe { port: PORT, observers: vec![] }));
    }
    world.lab.run_for(Duration::from_secs(5));
    assert!(told(&world, "alice").is_empty() && told(&world, "bob").is_empty());

    world.server().ignores_stun = false;
    world.lab.run_for(Duration::from_secs(15));

    assert_eq!(told(&world, "alice").first().map(|(_, facts)| facts.mapping), Some(Some(Mapping::Apdm)));
    for (who, peer) in [("alice", "bob"), ("bob", "alice")] {
        assert_eq!(world.status(who, peer).map(|peer| peer.path), Some(Path::Direct), "{who}");
    }
}

#[test]
fn members_can_say_why_there_is_no_direct_path() {
    let mut world = pair(Kind::Symmetric, Kind::Symmetric);
    world.lab.run_for(Duration::from_secs(5));

    const WHY: &str = "both routers choose a random port for every destination";
    for who in ["alice", "bob"] {
        assert_eq!(why(&world, who), Some(WHY));
        let told = &world.member(who).told;
        let says = |event: &Event| matches!(event, Event::Path { why, .. } if why.ends_with(WHY));
        assert!(told.iter().any(|(_, event)| says(event)), "{told:?}");
    }
}

#[test]
fn an_updated_card_leaves_paths_alone() {
    let mut world = pair(Kind::Port, Kind::Full);
    assert!(world.run_until_secure(&["alice", "bob"], Duration::from_secs(3)));
    let paths = |world: &World| {
        let told = &world.member("alice").told;
        told.iter().filter(|(_, event)| matches!(event, Event::Path { .. } | Event::Insecure { .. })).count()
    };
    world.lab.run_for(Duration::from_secs(1));
    let before = paths(&world);

    world.with("bob", |mesh, now| mesh.update_card(now));
    world.lab.run_for(Duration::from_secs(1));

    assert_eq!(paths(&world), before);
}
