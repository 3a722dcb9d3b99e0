//! Members behind routers that choose another port for every destination, or that a packet has spoilt, get a direct path while
//! the relay carries the call.

use std::time::Duration;

use mesh::{Config, Event, Observe};
use netsim::{Kind, Link, Means, Segment, direct_path_possible};
use wire::{
    agent::Path,
    signal::{Candidate, CandidateKind},
};

use crate::world::{PORT, World, host_candidates};

/// So many runs of each row, each with its own seed.
const SEEDS: u64 = 20;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Alice is there when Bob comes, so that her packets may come too early for his router.
fn pair_with(seed: u64, kinds: [Kind; 2], change: impl Fn(&'static str, &mut Config)) -> World {
    let mut world = World::new(seed);
    for (who, kind) in ["alice", "bob"].into_iter().zip(kinds) {
        world.home(who, kind);
    }
    join(&mut world, change);
    world
}

/// The same, but Bob's wireless network is so slow that Alice's packets are at his router before his own.
fn slow_pair(seed: u64, kinds: [Kind; 2]) -> World {
    let mut world = World::new(seed);
    for (who, kind) in ["alice", "bob"].into_iter().zip(kinds) {
        world.home(who, kind);
    }
    world.lab.net.set_link(world.hosts["bob"], Link::of(ms(30)));
    join(&mut world, |_, _| ());
    world
}

fn join(world: &mut World, change: impl Fn(&'static str, &mut Config)) {
    for who in ["alice", "bob"] {
        world.join_with(who, |config| {
            config.observe = Some(Observe { port: PORT, observers: vec![] });
            change(who, config);
        });
        world.lab.run_for(ms(if who == "alice" { 1000 } else { 0 }));
    }
}

fn pair(seed: u64, kinds: [Kind; 2]) -> World {
    pair_with(seed, kinds, |_, _| ())
}

fn path(world: &World, who: &str) -> Path {
    world.member(who).mesh.peers().next().map_or(Path::None, |peer| peer.path)
}

fn is_direct(world: &World) -> bool {
    ["alice", "bob"].iter().all(|who| path(world, who) == Path::Direct)
}

/// Time from Bob's start until both have told of a direct path; `None` if that takes longer than the limit.
fn direct_after(world: &mut World, limit: Duration) -> Option<Duration> {
    let end = world.lab.now() + limit;
    while !is_direct(world) && world.lab.now() < end {
        world.lab.run_for(ms(20));
    }
    let started = world.member("bob").started;
    let first = |who: &str| {
        let told = &world.member(who).told;
        told.iter()
            .find(|(_, event)| matches!(event, Event::Path { path: Path::Direct, .. }))
            .map(|(at, _)| *at - started)
    };
    if is_direct(world) { first("alice").max(first("bob")) } else { None }
}

/// Times of those that got a direct path, sorted.
fn times(kinds: [Kind; 2], limit: Duration) -> Vec<Duration> {
    times_of(kinds, limit, pair)
}

#[allow(clippy::print_stdout, reason = "the figures are for who asks for them by --nocapture")]
fn times_of(kinds: [Kind; 2], limit: Duration, pair: impl Fn(u64, [Kind; 2]) -> World) -> Vec<Duration> {
    let mut times = Vec::new();
    for seed in 0..SEEDS {
        let mut world = pair(seed, kinds);
        times.extend(direct_after(&mut world, limit));
        for who in ["alice", "bob"] {
            assert!(world.member(who).most_sockets <= 256, "{who}");
        }
    }
    times.sort();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1)));
    println!("{} x {}: {} of {SEEDS}, p50 {:?}, p95 {:?}", kinds[0], kinds[1], times.len(), at(50), at(95));
    times
}

#[test]
fn a_sequence_is_foreseen_without_a_guess() {
    for kinds in [[Kind::SymmetricSequential, Kind::Port], [Kind::Port, Kind::SymmetricSequential]] {
        let times = times(kinds, ms(4000));
        assert_eq!(times.len() as u64, SEEDS, "{kinds:?}");
        assert!(times[times.len() / 2] < ms(500), "{kinds:?}: {times:?}");
    }
}

#[test]
fn random_ports_are_met_within_5_s() {
    for kinds in [[Kind::Symmetric, Kind::Port], [Kind::Port, Kind::Symmetric], [Kind::LinuxOpen, Kind::Symmetric]] {
        let times = times(kinds, ms(5000));
        assert!(in_5_s(&times) * 100 >= SEEDS * 95, "{kinds:?}: {times:?}");
    }
}

#[test]
fn blocks_and_sequences_meet_whatever_is_in_front_of_the_other() {
    let foreseeable = [Kind::SymmetricSequential, Kind::SymmetricBlock];
    for a in foreseeable {
        for b in [Kind::Port, Kind::LinuxOpen, Kind::SymmetricSequential, Kind::SymmetricBlock] {
            for kinds in [[a, b], [b, a]] {
                let times = times(kinds, ms(120_000));
                assert_eq!(times.len() as u64, SEEDS, "{kinds:?}");
                assert!(in_5_s(&times) * 100 >= SEEDS * 95, "{kinds:?}: {times:?}");
            }
        }
    }
}

fn in_5_s(times: &[Duration]) -> u64 {
    times.iter().filter(|time| **time <= ms(5000)).count() as u64
}

/// The same as [`slow_pair`] or [`pair`], but no packet that is meant to end on its way does.
fn near(pair: impl Fn(u64, [Kind; 2]) -> World) -> impl Fn(u64, [Kind; 2]) -> World {
    move |seed, kinds| {
        let mut world = pair(seed, kinds);
        world.lab.net.set_core_hops(0);
        world
    }
}

#[test]
fn a_router_is_not_spoilt_though_the_two_are_so_near_that_short_lived_packets_arrive() {
    for a in [Kind::SymmetricSequential, Kind::SymmetricBlock] {
        for kinds in [[a, Kind::LinuxOpen], [Kind::LinuxOpen, a]] {
            let times = times_of(kinds, ms(5000), near(pair));
            assert_eq!(times.len() as u64, SEEDS, "{kinds:?}");
        }
    }
    for other in [Kind::Port, Kind::PortRandom] {
        assert_eq!(times_of([other, Kind::LinuxOpen], ms(10_000), near(slow_pair)).len() as u64, SEEDS, "{other}");
    }
}

#[test]
fn a_spoilt_router_is_met_from_fresh_sockets() {
    for other in [Kind::Port, Kind::Linux, Kind::LinuxOpen, Kind::PortRandom] {
        let times = times_of([other, Kind::LinuxOpen], ms(10_000), slow_pair);
        assert_eq!(times.len() as u64, SEEDS, "{other}");
        assert!(times.iter().all(|time| *time > ms(300)), "{other}: plain means have not sufficed: {times:?}");
    }
}

#[test]
fn a_router_that_seems_to_have_one_port_for_all_is_doubted_as_soon_as_plain_means_have_failed() {
    // Each of these has the odds of 256 sockets and 1024 ports, 98 in 100: too little for 20 runs of one to tell.
    let (mut met, mut all) = (0, 0);
    for other in [Kind::Port, Kind::Symmetric, Kind::SymmetricSequential] {
        for kinds in [[Kind::SymmetricAddr, other], [other, Kind::SymmetricAddr]] {
            let times = times(kinds, ms(60_000));
            assert!(times[times.len() / 2] < ms(3000), "{kinds:?}: {times:?}");
            (met, all) = (met + in_5_s(&times), all + SEEDS);
        }
    }
    assert!(met * 100 >= all * 95, "{met} of {all}");
}

#[test]
fn every_pair_of_routers_gets_the_path_that_theory_allows() {
    let (mut lucky, mut unlucky) = (0, Vec::new());
    for a in Kind::ALL {
        for b in Kind::ALL {
            let means = direct_path_possible(a, b);
            let mut world = pair(80, [a, b]);
            let limit = if means.is_direct() { 120_000 } else { 12_000 };
            let met = direct_after(&mut world, ms(limit)).is_some();
            match (means, met) {
                (Means::Birthday, true) => lucky += 1,
                // A router that keeps its port for one address looks from there like one that keeps it for all.
                (Means::Birthday, false) if [a, b].contains(&Kind::SymmetricAddr) => {}
                (Means::Birthday, false) => unlucky.push([a, b]),
                _ => assert_eq!(met, means.is_direct(), "{a} and {b}: {means}"),
            }
        }
    }
    // Of 100 attempts 98 succeed, and two kinds are the same by different names: one bad chance counts twice.
    assert!(unlucky.len() * 10 <= lucky, "{unlucky:?} of {lucky}");
}

#[test]
fn whoever_does_not_want_to_guess_is_not_made_to() {
    for unwilling in ["alice", "bob"] {
        let change = |who: &'static str, config: &mut Config| config.guess = who != unwilling;
        let mut world = pair_with(3, [Kind::Symmetric, Kind::Port], change);

        assert_eq!(direct_after(&mut world, Duration::from_secs(30)), None, "{unwilling}");

        assert_eq!([path(&world, "alice"), path(&world, "bob")], [Path::Relay; 2]);
        for who in ["alice", "bob"] {
            assert_eq!(world.member(who).most_sockets, 0, "{who}");
        }
    }
}

#[test]
fn two_random_routers_are_not_tried_and_it_is_said_why() {
    let mut world = pair(3, [Kind::Symmetric, Kind::Symmetric]);

    assert_eq!(direct_after(&mut world, Duration::from_secs(10)), None);

    let why = world.member("alice").told.iter().rev().find_map(|(_, event)| match event {
        Event::Path { path: Path::Relay, why, .. } => Some(why.clone()),
        _ => None,
    });
    let why = why.expect("it is said");
    assert!(why.ends_with("both routers choose a random port for every destination"), "{why}");
    assert_eq!(world.member("alice").most_sockets, 0);
}

#[test]
fn once_a_socket_has_won_the_others_are_closed_and_the_call_stays_on_it() {
    let mut world = pair(5, [Kind::Symmetric, Kind::Port]);
    assert!(direct_after(&mut world, ms(10_000)).is_some());

    world.lab.run_for(Duration::from_secs(120));

    assert!(is_direct(&world));
    assert_eq!(world.member("alice").sockets.len(), 1);
    assert_eq!(world.member("bob").sockets.len(), 0);
}

/// Runs until Alice guesses.
fn until_guessing(world: &mut World) {
    for _ in 0..500 {
        if world.member("alice").sockets.len() > 100 {
            return;
        }
        world.lab.run_for(ms(10));
    }
    panic!("no guess has begun");
}

#[test]
fn who_has_guessed_in_vain_says_so() {
    let mut world = pair(3, [Kind::Symmetric, Kind::Port]);
    until_guessing(&mut world);

    world.cut("alice", "bob");
    world.lab.run_for(Duration::from_secs(15));

    let is_told = |event: &Event| match event {
        Event::Path { path: Path::Relay, why, .. } => why.starts_with("ports were guessed in vain: "),
        _ => false,
    };
    for who in ["alice", "bob"] {
        assert!(world.member(who).when(is_told).is_some(), "{who}");
    }
}

#[test]
fn a_guess_ends_when_the_system_refuses_its_packets() {
    let mut world = pair(3, [Kind::Symmetric, Kind::Port]);
    until_guessing(&mut world);
    let bob = world.outside_of("bob");

    world.with("alice", |mesh, now| (0..20).for_each(|_| mesh.note_unsent(bob, now)));

    assert_eq!(world.member("alice").sockets.len(), 0);
}

#[test]
fn a_guess_ends_with_the_session_to_the_rendezvous() {
    let mut world = pair(3, [Kind::Symmetric, Kind::Port]);
    until_guessing(&mut world);

    world.close_server();
    world.lab.run_for(ms(100));

    assert_eq!(world.member("alice").sockets.len(), 0);
}

#[test]
fn who_moves_during_a_guess_gets_another_one() {
    let mut world = pair(3, [Kind::Symmetric, Kind::Port]);
    until_guessing(&mut world);

    let elsewhere = world.router(Segment::INTERNET, Kind::Symmetric.nat());
    world.move_home("alice", elsewhere.inside());
    let candidates = host_candidates(world.lab.net.addresses(world.hosts["alice"]));
    world.with("alice", |mesh, now| mesh.network_changed(candidates, now));

    assert_eq!(world.member("alice").sockets.len(), 0, "this one is in vain");
    assert!(direct_after(&mut world, ms(20_000)).is_some());
}

#[test]
fn a_guess_goes_on_with_the_sockets_that_could_be_opened() {
    let mut world = pair(3, [Kind::Symmetric, Kind::Port]);
    until_guessing(&mut world);
    let broken: Vec<_> = world.member("alice").sockets.iter().copied().take(128).collect();

    world.with("alice", |mesh, now| broken.iter().for_each(|id| mesh.handle_socket_gone(*id, now)));

    assert!(direct_after(&mut world, ms(10_000)).is_some());
}

#[test]
fn guesses_with_several_peers_are_made_one_after_the_other_within_the_limit() {
    let mut world = World::new(6);
    let people = ["alice", "bob", "carol"];
    for (who, kind) in people.into_iter().zip([Kind::Port, Kind::Symmetric, Kind::Symmetric]) {
        world.home(who, kind);
        world.join_with(who, |config| config.observe = Some(Observe { port: PORT, observers: vec![] }));
    }
    let (mut before, mut most) = (0, 0);
    for _ in 0..4 {
        world.lab.run_for(Duration::from_secs(29));
        let sent = world.member("alice").sent_to_the_silent();
        (most, before) = (most.max(sent.saturating_sub(before)), sent);
    }

    let direct = world.member("alice").mesh.peers().filter(|peer| peer.path == Path::Direct).count();
    assert_eq!(direct, 2);
    // Two peers are also pinged at their two candidates.
    assert!(most <= 1024 + 4 * 40, "{most}");
}

#[test]
fn a_member_can_aim_guesses_at_nobody_but_itself() {
    let mut world = World::new(9);
    world.home("alice", Kind::Port);
    world.home("mallory", Kind::SymmetricBlock);
    let victim = world.public("victim");
    let listed = world.addr_of("victim");
    for who in ["alice", "mallory"] {
        world.join_with(who, |config| {
            config.observe = Some(Observe { port: PORT, observers: vec![] });
            if who == "mallory" {
                config.candidates.push(Candidate { addr: listed, kind: CandidateKind::Advertised });
            }
        });
    }

    world.lab.run_for(Duration::from_secs(60));

    assert_eq!(path(&world, "alice"), Path::Direct, "the guess itself succeeds");
    assert!(world.lab.net.received(victim) <= 40, "{}", world.lab.net.received(victim));
}
