//! What the relay of a rendezvous is for, and when it is left again.

use std::time::Duration;

use mesh::{Event, Relaying};
use netsim::{Kind, Link, Nat, Segment};
use wire::{
    MessageId,
    agent::{Delivery, Path, Peers},
};

use crate::world::{RTT, World, host_candidates};

const SOON: Duration = Duration::from_secs(5);
const FRAME: Duration = Duration::from_millis(10);

fn two_homes(left: Kind, right: Kind) -> World {
    two_homes_in(World::new(1), left, right)
}

fn two_homes_in(mut world: World, left: Kind, right: Kind) -> World {
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

/// Nothing is heard for no longer than this while there is a relay.
const SILENCE: Duration = Duration::from_millis(300);

/// Two who have talked for a while, in the same town and on two continents.
fn calls(kind: Kind) -> impl Iterator<Item = World> {
    [RTT, Duration::from_millis(100)].into_iter().map(move |rtt| {
        let mut world = two_homes_in(World::over(1, Link::of(rtt / 4)), kind, Kind::Port);
        assert!(world.run_until_secure(&["alice", "bob"], SOON));
        longest_gap(&mut world, Duration::from_secs(3));
        world
    })
}

/// Both talk on, and hear nothing for so long at most; the call is direct in the end.
fn goes_on(world: &mut World, silence: Duration) {
    let gap = longest_gap(world, Duration::from_secs(3));
    assert!(gap <= silence, "{gap:?}");
    assert_eq!((path(world, "alice"), path(world, "bob")), (Path::Direct, Path::Direct));
}

#[test]
fn voice_goes_on_when_a_router_forgets_everything() {
    for mut world in [Kind::Port, Kind::PortRandom].into_iter().flat_map(calls) {
        world.lab.net.reboot(world.routers["alice"]);
        goes_on(&mut world, SILENCE);
    }
}

#[test]
fn voice_goes_on_when_a_router_gets_another_address() {
    // Nobody tells alice, and the rendezvous wants an answer from there: on two continents, that is a round trip more.
    for (mut world, more) in calls(Kind::Port).zip([Duration::ZERO, Duration::from_millis(100)]) {
        world.lab.net.renumber(world.routers["alice"], [203, 0, 113, 200].into());
        goes_on(&mut world, SILENCE + more);
    }
}

#[test]
fn voice_goes_on_when_what_the_two_send_to_each_other_is_lost() {
    for mut world in calls(Kind::Port) {
        world.cut("alice", "bob");
        let gap = longest_gap(&mut world, Duration::from_secs(3));
        assert!(gap <= SILENCE, "{gap:?}");
    }
}

#[test]
fn voice_goes_on_in_another_network() {
    for mut world in calls(Kind::Port) {
        let router = world.router(Segment::INTERNET, Kind::Port.nat());
        world.move_home("alice", router.inside());
        let candidates = host_candidates(world.lab.net.addresses(world.hosts["alice"]));
        world.with("alice", |mesh, now| mesh.network_changed(candidates, now));
        goes_on(&mut world, SILENCE);
    }
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

#[test]
fn text_for_somebody_without_a_path_keeps_nobody_waiting() {
    let mut world = World::new(1);
    world.home("alice", Kind::Symmetric);
    world.home("bob", Kind::Symmetric);
    world.home("carol", Kind::Full);
    world.join_with("alice", |config| config.relaying = Relaying::Refused);
    world.join_with("bob", |config| (config.relaying, config.lend) = (Relaying::Only, false));
    world.join_with("carol", |config| config.lend = false);
    world.lab.run_for(SOON);

    let (texts, size) = (40, 256 * 1024);
    for id in 0..texts {
        world.with("alice", |mesh, now| {
            assert!(!mesh.is_text_backlogged(), "text {id}");
            mesh.send_text(MessageId(id), &Peers::All, vec![b'x'; size], now);
        });
        world.lab.run_for(RTT * 2);
    }
    world.lab.run_for(SOON);

    let came = |(_, event): &(_, Event)| matches!(event, Event::Text { .. });
    assert_eq!(world.member("carol").told.iter().filter(|told| came(told)).count(), texts as usize);
    let lost = |event: &Event| matches!(event, Event::Delivery { name, outcome: Delivery::Lost, .. } if name == "bob");
    let lost = world.member("alice").told.iter().filter(|(_, event)| lost(event)).count();
    assert!((1..texts as usize).contains(&lost), "bob is waited for with 4 MiB: {lost} texts were not kept");
}
