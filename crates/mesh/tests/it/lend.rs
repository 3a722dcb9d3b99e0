//! Two that can't reach each other talk through a third.

use std::time::Duration;

use mesh::{Event, LendCounts};
use netsim::{Kind, Link};
use wire::{
    agent::{Path, Peers},
    datagram, lend,
};

use crate::world::{RTT, World};

const SOON: Duration = Duration::from_secs(5);
const FRAME: Duration = Duration::from_millis(10);

/// Alice and bob, who can't reach each other, and those who can reach both.
fn world_with(thirds: &[&'static str]) -> World {
    let mut world = World::new(1);
    world.home("alice", Kind::Symmetric);
    world.home("bob", Kind::Symmetric);
    for third in thirds {
        world.home(third, Kind::Full);
    }
    world
}

fn everybody_joins(world: &mut World) {
    for who in world.hosts.keys().copied().collect::<Vec<_>>() {
        world.join(who);
    }
}

fn way(world: &World, who: &str, peer: &str) -> (Path, Option<String>) {
    let status = world.status(who, peer).expect("a peer");
    (status.path, status.via)
}

fn by_way_of(third: &str) -> (Path, Option<String>) {
    (Path::Member, Some(third.to_owned()))
}

fn lent(world: &World, who: &str) -> LendCounts {
    world.member(who).mesh.lend_counts()
}

/// Alice and bob talk for so long; the longest time that one of them did not hear the other.
fn longest_gap(world: &mut World, time: Duration) -> Duration {
    let before = world.lab.now();
    let end = before + time;
    while world.lab.now() < end {
        for (who, other) in [("alice", "bob"), ("bob", "alice")] {
            let to = Peers::One(world.status(who, other).expect("a peer").tag);
            world.with(who, |mesh, now| mesh.send_voice(&to, b"frame", now));
        }
        world.lab.run_for(FRAME);
    }
    let gap = |who: &str| {
        let voices = world.member(who).told.iter().filter(|(_, event)| matches!(event, Event::Voice { .. }));
        let heard = voices.map(|(at, _)| *at).filter(|at| *at >= before);
        let times: Vec<_> = [before].into_iter().chain(heard).chain([end]).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(time)
    };
    gap("alice").max(gap("bob"))
}

#[test]
fn where_the_rendezvous_relays_nothing_a_third_member_carries_the_call() {
    let mut world = world_with(&["carol"]);
    world.stop_relaying();
    everybody_joins(&mut world);

    assert!(world.run_until_secure(&["alice", "bob", "carol"], SOON));

    let took = world.lab.now() - world.member("alice").started;
    assert!(took <= Duration::from_secs(1), "{took:?}");
    assert!(longest_gap(&mut world, Duration::from_secs(10)) <= RTT * 3);
    for (who, other) in [("alice", "bob"), ("bob", "alice")] {
        assert_eq!(way(&world, who, other), by_way_of("carol"), "{who}");
        let told = world.member(who).told.iter().any(|(_, event)| {
            matches!(event, Event::Path { path: Path::Member, via: Some(via), rtt: Some(rtt), .. }
                if via == "carol" && *rtt >= RTT * 2)
        });
        assert!(told, "{who}: {:?}", world.member(who).told);
    }
    assert_eq!(world.forwarded(), 0);
}

#[test]
fn a_third_member_is_taken_before_a_rendezvous_that_is_slower() {
    let mut world = world_with(&["carol"]);
    let server = world.server;
    world.lab.net.set_link(server, Link::of(RTT * 2));
    everybody_joins(&mut world);

    assert!(world.run_until_secure(&["alice", "bob", "carol"], SOON));
    longest_gap(&mut world, Duration::from_secs(3));

    assert_eq!((way(&world, "alice", "bob"), way(&world, "bob", "alice")), (by_way_of("carol"), by_way_of("carol")));
}

#[test]
fn a_third_member_that_is_much_slower_than_the_rendezvous_is_left_alone() {
    let mut world = world_with(&["carol"]);
    world.lab.net.set_uplink(world.routers["carol"], Link::of(RTT));
    everybody_joins(&mut world);

    assert!(world.run_until_secure(&["alice", "bob", "carol"], SOON));
    longest_gap(&mut world, Duration::from_secs(3));

    assert_eq!((way(&world, "alice", "bob"), way(&world, "bob", "alice")), ((Path::Relay, None), (Path::Relay, None)));
}

#[test]
fn direct_paths_need_nobody_and_cost_the_third_nothing() {
    let mut world = World::new(1);
    for who in ["alice", "bob", "carol"] {
        world.home(who, Kind::Full);
        world.join(who);
    }

    assert!(world.run_until_secure(&["alice", "bob", "carol"], SOON));
    longest_gap(&mut world, Duration::from_secs(5));

    assert_eq!(lent(&world, "carol"), LendCounts::default());
}

#[test]
fn when_the_third_leaves_the_call_goes_on_at_once_through_the_rendezvous() {
    let mut world = world_with(&["carol"]);
    let server = world.server;
    world.lab.net.set_link(server, Link::of(RTT * 2));
    everybody_joins(&mut world);
    assert!(world.run_until_secure(&["alice", "bob", "carol"], SOON));
    longest_gap(&mut world, Duration::from_secs(3));
    assert_eq!(way(&world, "alice", "bob"), by_way_of("carol"));

    world.with("carol", |mesh, now| mesh.leave(now));
    let gap = longest_gap(&mut world, Duration::from_secs(3));

    println!("carol left: {gap:?} of silence");
    assert!(gap <= Duration::from_millis(500), "{gap:?}");
    assert_eq!(way(&world, "alice", "bob"), (Path::Relay, None));
}

#[test]
fn when_the_third_is_killed_the_call_goes_on_within_a_second() {
    for stop_relaying in [false, true] {
        let thirds: &[_] = if stop_relaying { &["carol", "dave"] } else { &["carol"] };
        let mut world = world_with(thirds);
        let server = world.server;
        world.lab.net.set_link(server, Link::of(RTT * 2));
        if stop_relaying {
            world.stop_relaying();
        }
        everybody_joins(&mut world);
        assert!(world.run_until_secure(&["alice", "bob", "carol"], SOON));
        longest_gap(&mut world, Duration::from_secs(3));
        let (_, via) = way(&world, "alice", "bob");
        let killed = world.hosts[via.expect("a member carries").as_str()];

        world.lab.uninstall(killed);
        let gap = longest_gap(&mut world, Duration::from_secs(10));

        println!("the third was killed, without a relay: {stop_relaying}: {gap:?} of silence");
        assert!(gap <= Duration::from_secs(1), "{gap:?}");
    }
}

#[test]
fn who_does_not_lend_carries_nothing() {
    let mut world = world_with(&["carol"]);
    world.stop_relaying();
    for who in ["alice", "bob"] {
        world.join(who);
    }
    world.join_with("carol", |config| config.lend = false);

    world.lab.run_for(Duration::from_secs(10));

    assert_eq!((way(&world, "alice", "bob"), lent(&world, "carol")), ((Path::None, None), LendCounts::default()));
}

#[test]
fn nothing_is_carried_twice() {
    let mut world = World::new(1);
    // Alice reaches carol alone, bob reaches dave alone, and those two reach each other.
    world.home("alice", Kind::Symmetric);
    world.home("bob", Kind::Symmetric);
    world.home("carol", Kind::Full);
    world.home("dave", Kind::Full);
    world.stop_relaying();
    everybody_joins(&mut world);
    world.cut("alice", "dave");
    world.cut("bob", "carol");

    world.lab.run_for(Duration::from_secs(10));

    assert_eq!(way(&world, "alice", "carol").0, Path::Direct);
    assert_eq!(way(&world, "bob", "dave").0, Path::Direct);
    assert_eq!(way(&world, "alice", "bob").0, Path::None);
}

#[test]
fn a_pair_gets_its_quota_and_no_more() {
    let mut world = world_with(&["carol"]);
    world.stop_relaying();
    everybody_joins(&mut world);
    assert!(world.run_until_secure(&["alice", "bob", "carol"], SOON));
    let before = lent(&world, "carol");

    let time = Duration::from_secs(10);
    let end = world.lab.now() + time;
    let to = Peers::One(world.status("alice", "bob").expect("a peer").tag);
    while world.lab.now() < end {
        for _ in 0..5 {
            world.with("alice", |mesh, now| mesh.send_voice(&to, &[7; 1000], now));
        }
        world.lab.run_for(FRAME);
    }

    let after = lent(&world, "carol");
    let bytes = after.bytes - before.bytes;
    // The burst, ten seconds of it, and what bob answers.
    assert!((600_000..=64_000 + 640_000 + 100_000).contains(&bytes), "{bytes} bytes");
    assert!(after.over_quota > 1000, "{after:?}");
}

#[test]
fn frames_without_a_grant_or_from_elsewhere_go_nowhere() {
    let mut world = world_with(&["carol"]);
    world.stop_relaying();
    everybody_joins(&mut world);
    assert!(world.run_until_secure(&["alice", "bob", "carol"], SOON));
    world.lab.run_for(Duration::from_secs(1));
    let stranger = world.public("mallory");
    let (carol, bob) = (world.outside_of("carol"), world.hosts["bob"]);
    let (before, heard) = (lent(&world, "carol"), world.lab.net.received(bob));

    let mut rng = netsim::Rng::new(3);
    let mut sent = 0;
    for host in [stranger, world.hosts["alice"]] {
        for len in [1, 50, 1232, 1233] {
            let frame = lend::up(rng.next_u64(), &vec![16; len]);
            let now = world.lab.now();
            world.lab.net.send(host, 40_000, carol, frame, now);
            sent += 1;
        }
    }
    world.lab.run_for(RTT);

    let after = lent(&world, "carol");
    assert_eq!(after.not_granted - before.not_granted, sent - 2, "the two that are too long are no frames");
    assert_eq!(world.lab.net.received(stranger), 0, "strangers get silence");
    assert!(world.lab.net.received(bob) - heard <= 4, "bob gets his own keepalives and no more");
}

#[test]
fn the_grant_of_one_is_of_no_use_to_another() {
    let mut world = world_with(&["carol"]);
    world.stop_relaying();
    everybody_joins(&mut world);
    assert!(world.run_until_secure(&["alice", "bob", "carol"], SOON));
    let frame = world.overheard(datagram::LEND_UP, Duration::from_secs(1)).expect("carol carries");
    let (carol, before) = (world.outside_of("carol"), lent(&world, "carol"));

    // It is alice's or bob's: for one of the two it is somebody else's.
    for who in ["alice", "bob"] {
        let (host, now) = (world.hosts[who], world.lab.now());
        world.lab.net.send(host, 40_000, carol, frame.clone(), now);
    }
    world.lab.run_for(RTT);

    assert_eq!(lent(&world, "carol").not_granted - before.not_granted, 1);
}
