//! What the relay of a rendezvous is for, and when it is left again.

use std::time::Duration;

use mesh::{Event, Relaying};
use netsim::{Kind, Nat};
use wire::agent::{Path, Peers};

use crate::world::{RTT, World};

const SOON: Duration = Duration::from_secs(5);
const FRAME: Duration = Duration::from_millis(10);

fn two_homes(left: Kind, right: Kind) -> World {
    let mut world = World::new(1);
    world.home("alice", left);
    world.home("bob", right);
    for who in ["alice", "bob"] {
        world.join(who);
    }
    world
}

/// Both talk for so long; the longest time that one of them did not hear the other.
fn longest_gap(world: &mut World, time: Duration) -> Duration {
    let before = world.lab.now();
    let end = before + time;
    while world.lab.now() < end {
        for who in ["alice", "bob"] {
            world.with(who, |mesh, now| mesh.send_voice(&Peers::All, b"frame", now));
        }
        world.lab.run_for(FRAME);
    }
    let gap = |who: &str| {
        let heard =
            world.member(who).told.iter().filter(|(at, event)| matches!(event, Event::Voice { .. }) && *at >= before);
        let times: Vec<_> = [before].into_iter().chain(heard.map(|(at, _)| *at)).chain([end]).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(time)
    };
    gap("alice").max(gap("bob"))
}

fn path(world: &World, who: &str) -> Path {
    world.member(who).mesh.peers().next().expect("a peer").path
}

fn whys(world: &World, who: &str) -> Vec<String> {
    let whys = world.member(who).told.iter().filter_map(|(_, event)| match event {
        Event::Path { path: Path::Relay, why, .. } => Some(why.clone()),
        _ => None,
    });
    whys.collect()
}

#[test]
fn two_that_can_not_reach_each_other_talk_through_the_relay_within_four_round_trips() {
    let mut world = two_homes(Kind::Symmetric, Kind::Symmetric);

    assert!(world.run_until_secure(&["alice", "bob"], SOON));
    assert!(world.lab.now() - world.member("alice").started <= RTT * 5, "{:?}", world.lab.now());

    assert!(longest_gap(&mut world, Duration::from_secs(10)) <= RTT * 2);
    assert_eq!((path(&world, "alice"), path(&world, "bob")), (Path::Relay, Path::Relay));
    assert!(whys(&world, "alice").iter().any(|why| why.contains("NAT")), "{:?}", whys(&world, "alice"));
}

#[test]
fn a_direct_path_takes_over_as_soon_as_there_is_one_and_the_relay_is_left_alone() {
    let mut world = two_homes(Kind::Port, Kind::Port);
    assert!(world.run_until_secure(&["alice", "bob"], SOON));
    world.lab.run_for(Duration::from_secs(1));
    assert_eq!((path(&world, "alice"), path(&world, "bob")), (Path::Direct, Path::Direct));

    let before = world.forwarded();
    longest_gap(&mut world, Duration::from_secs(10));

    assert_eq!(world.forwarded(), before, "frames relayed beside a direct path that works");
}

#[test]
fn voice_goes_on_when_a_router_forgets_everything() {
    for kind in [Kind::Port, Kind::PortRandom] {
        let mut world = two_homes(kind, Kind::Port);
        assert!(world.run_until_secure(&["alice", "bob"], SOON));
        longest_gap(&mut world, Duration::from_secs(3));
        let router = world.routers["alice"];

        world.lab.net.reboot(router);

        let gap = longest_gap(&mut world, Duration::from_secs(3));
        assert!(gap <= Duration::from_millis(300), "{kind:?}: {gap:?}");
        assert_eq!((path(&world, "alice"), path(&world, "bob")), (Path::Direct, Path::Direct), "{kind:?}");
    }
}

#[test]
fn voice_goes_on_when_a_router_gets_another_address() {
    let mut world = two_homes(Kind::Port, Kind::Port);
    assert!(world.run_until_secure(&["alice", "bob"], SOON));
    longest_gap(&mut world, Duration::from_secs(3));
    let router = world.routers["alice"];

    world.lab.net.renumber(router, [203, 0, 113, 200].into());

    let gap = longest_gap(&mut world, Duration::from_secs(3));
    assert!(gap <= Duration::from_millis(300), "{gap:?}");
    assert_eq!((path(&world, "alice"), path(&world, "bob")), (Path::Direct, Path::Direct));
}

#[test]
fn mappings_that_live_for_a_minute_interrupt_nobody() {
    let mut world = World::new(3);
    let lifetime = netsim::Lifetime { absolute: Some(Duration::from_secs(60)), ..Kind::Port.nat().lifetime };
    world.home_behind("alice", Nat { lifetime, ..Kind::PortRandom.nat() });
    world.home("bob", Kind::Port);
    world.join("alice");
    world.join("bob");
    assert!(world.run_until_secure(&["alice", "bob"], SOON));

    let gap = longest_gap(&mut world, Duration::from_secs(200));

    assert!(gap <= Duration::from_millis(300), "{gap:?}");
}

#[test]
fn who_was_relayed_is_alone_when_the_relay_ends_and_says_so() {
    let mut world = two_homes(Kind::Symmetric, Kind::Symmetric);
    assert!(world.run_until_secure(&["alice", "bob"], SOON));

    world.stop_relaying();
    longest_gap(&mut world, Duration::from_secs(10));

    assert_eq!((path(&world, "alice"), path(&world, "bob")), (Path::None, Path::None));
}

#[test]
fn who_hides_talks_through_the_relay_alone_and_tells_no_address() {
    let mut world = World::new(1);
    world.home("alice", Kind::Full);
    world.home("bob", Kind::Full);
    world.join_with("alice", |config| config.relaying = Relaying::Only);
    world.join("bob");

    assert!(world.run_until_secure(&["alice", "bob"], SOON));
    assert!(longest_gap(&mut world, Duration::from_secs(5)) <= RTT * 2);

    for who in ["alice", "bob"] {
        let is_direct = |event: &Event| matches!(event, Event::Path { path: Path::Direct, .. });
        assert!(world.member(who).when(is_direct).is_none(), "{who}");
    }
}

#[test]
fn who_refuses_the_relay_sends_nothing_through_it() {
    let mut world = World::new(1);
    world.home("alice", Kind::Symmetric);
    world.home("bob", Kind::Symmetric);
    world.join_with("alice", |config| config.relaying = Relaying::Refused);
    world.join_with("bob", |config| config.relaying = Relaying::Refused);

    world.lab.run_for(SOON);

    assert_eq!((path(&world, "alice"), world.forwarded()), (Path::None, 0));
}
