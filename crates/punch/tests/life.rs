//! What becomes of a path after it was found.

mod support;

use std::time::Duration;

use netsim::{Kind, Link, Segment};
use punch::{Event, Way};
use support::{PORT, RTT, World, addr, ms, tag};
use wire::signal::{Candidate, CandidateKind};

fn call(a: Kind, b: Kind) -> World {
    let mut world = World::new(3);
    let (left, right) = (world.home(a), world.home(b));
    world.observe();
    world.introduce(left, right);
    world.run_for(ms(200));
    assert!(world.is_confirmed(left, right) && world.is_confirmed(right, left));
    world
}

fn talking_call() -> World {
    let mut world = call(Kind::Port, Kind::Port);
    world.talk(0, 1);
    world.talk(1, 0);
    world.run_for(ms(2000));
    world
}

/// The longest time in which a member heard no voice, from a moment on.
fn longest_gap(world: &World, member: usize, from: std::time::Instant) -> Duration {
    let heard = world.at(member).voice_heard.iter().filter(|at| **at >= from);
    let (_, gap) =
        heard.chain([&world.lab.now()]).fold((from, Duration::ZERO), |(last, gap), at| (*at, gap.max(*at - last)));
    gap
}

#[test]
fn pings_ride_once_a_second_while_voice_flows() {
    let mut world = talking_call();
    let before = world.at(0).checks_sent.len();
    world.run_for(ms(10_000));
    let sent = world.at(0).checks_sent.len() - before;
    assert!((18..=24).contains(&sent), "{sent} pings and pongs in 10 s");
    assert_eq!(world.kinds_of_events(0), ["usable", "confirmed"]);
}

#[test]
fn a_silent_call_is_kept_open_through_a_strict_nat() {
    let mut world = talking_call();
    world.hush(0);
    world.hush(1);
    world.run_for(Duration::from_secs(1800));
    assert_eq!(world.kinds_of_events(0), ["usable", "confirmed"]);
    let now = world.lab.now();
    world.talk(0, 1);
    world.run_for(ms(100));
    assert!(longest_gap(&world, 1, now) <= ms(45), "the path was still open");
}

#[test]
fn when_one_side_alone_speaks_the_path_is_not_doubted_though_a_tenth_is_lost() {
    let mut world = talking_call();
    world.hush(1);
    world.set_links(Link::default().losing(0.05));
    world.run_for(Duration::from_secs(600));
    let doubts = world.kinds_of_events(0).iter().filter(|name| **name == "doubtful").count();
    assert_eq!(doubts, 0, "{:?}", world.kinds_of_events(0));
}

#[test]
fn a_dead_path_is_doubted_after_1500_ms_and_lost_after_5_s() {
    let mut world = talking_call();
    let cut = world.lab.now();
    world.lab.net.cut(world.hosts[1], true);
    world.run_for(ms(9000));
    let since_cut: Vec<_> =
        world.at(0).events.iter().filter(|(at, _)| *at > cut).map(|(at, e)| (support::name(e), *at - cut)).collect();
    let [("doubtful", doubted), ("lost", lost)] = since_cut[..] else { panic!("{since_cut:?}") };
    assert!((ms(1500)..=ms(1560)).contains(&doubted), "{doubted:?}");
    assert!((ms(5000)..=ms(5060)).contains(&lost), "{lost:?}");
    assert_eq!(world.at(0).agent.route(tag(1)), None);
    assert_eq!(world.at(0).agent.peer_at(Way::to(world.candidates(1)[0].addr)), None);
}

#[test]
fn a_path_that_comes_back_while_in_doubt_is_confirmed_again() {
    let mut world = talking_call();
    world.lab.net.cut(world.hosts[1], true);
    world.run_for(ms(2500));
    world.lab.net.cut(world.hosts[1], false);
    world.run_for(ms(700));
    assert_eq!(world.kinds_of_events(0), ["usable", "confirmed", "doubtful", "confirmed"]);
    assert!(world.at(0).agent.path(tag(1)).is_some_and(|path| !path.doubtful));
}

#[test]
fn a_lost_path_is_found_again_by_a_later_attempt() {
    let mut world = talking_call();
    world.lab.net.cut(world.hosts[1], true);
    world.run_for(ms(20_000));
    world.lab.net.cut(world.hosts[1], false);
    world.run_for(ms(25_000));
    assert_eq!(world.kinds_of_events(0).last(), Some(&"confirmed"));
    assert_eq!(world.kinds_of_events(1).last(), Some(&"confirmed"));
}

#[test]
fn attempts_on_a_hopeless_pair_get_rare_and_stop_at_30_packets() {
    let mut world = World::new(1);
    let (left, right) = (world.home(Kind::Symmetric), world.home(Kind::Symmetric));
    world.observe();
    world.introduce(left, right);
    let start = world.lab.now();
    world.run_for(Duration::from_secs(1800));
    let observed = world.candidates(right)[0].addr;
    let sent: Vec<_> =
        world.at(left).checks_sent.iter().filter(|(_, to)| *to == observed).map(|(at, _)| *at - start).collect();
    assert_eq!(sent.len(), 30);
    assert!(sent[15] >= ms(8200) && sent[15] < ms(8300), "the second attempt is 5 s after the first: {:?}", sent[15]);
    assert_eq!(world.kinds_of_events(left), ["unreachable"], "it is told once");
}

#[test]
fn new_candidates_end_a_hopeless_wait_at_once() {
    let mut world = World::new(1);
    let (left, right) = (world.home(Kind::Symmetric), world.home(Kind::Port));
    world.observe();
    world.introduce(left, right);
    world.run_for(Duration::from_secs(60));
    assert!(!world.is_confirmed(left, right));

    let public = world.member(Segment::INTERNET);
    let host = world.hosts[public];
    world.lab.uninstall(host);
    let place = [addr("203.0.113.200:1").ip()];
    world.lab.net.move_host(world.hosts[right], Segment::INTERNET, &place);
    world.lab.net.set_link(world.hosts[right], Link::default());
    let mapped = [Candidate { addr: addr("203.0.113.200:5000"), kind: CandidateKind::Mapped }];
    world.with(left, |agent, now| agent.add_candidates(tag(right), &mapped, now));
    let told = world.lab.now();
    world.run_for(ms(200));
    let (at, event) = world.at(left).events.last().expect("the mapped address works");
    let Event::Confirmed { since_known, .. } = event else { panic!("{event:?}") };
    assert!(*at - told <= RTT + ms(1), "{:?}", *at - told);
    assert_eq!(*since_known, *at - told, "the search began anew");
}

#[test]
fn a_member_that_moves_is_heard_again_soon_and_the_old_path_is_left() {
    let mut world = talking_call();
    let place = [addr("203.0.113.200:1").ip()];
    world.lab.net.move_host(world.hosts[1], Segment::INTERNET, &place);
    world.lab.net.set_link(world.hosts[1], Link::default());
    let moved = world.lab.now();
    world.with(1, |agent, now| agent.network_changed(now));
    // The rendezvous sees the new address and tells the other member.
    world.run_for(RTT / 2);
    let observed = [Candidate { addr: addr(&format!("203.0.113.200:{PORT}")), kind: CandidateKind::ServerReflexive }];
    world.with(0, |agent, now| agent.add_candidates(tag(1), &observed, now));
    world.run_for(ms(3000));
    for member in [0, 1] {
        let gap = longest_gap(&world, member, moved);
        assert!(gap <= ms(300), "member {member} heard nothing for {gap:?}");
    }
    assert_eq!(world.at(0).agent.route(tag(1)), Some(Way::to(observed[0].addr)));
}

#[test]
fn a_router_that_restarts_costs_little_even_if_nobody_notices() {
    let mut world = talking_call();
    let rebooted = world.lab.now();
    let router = world.routers[1];
    world.lab.net.reboot(router);
    world.run_for(ms(3000));
    assert!(longest_gap(&world, 0, rebooted) <= ms(45), "a router that keeps ports gives the same again");

    world.lab.net.renumber(router, addr("203.0.113.99:1").ip());
    let renumbered = world.lab.now();
    world.run_for(Duration::from_secs(20));
    let found =
        world.at(0).events.iter().any(|(at, event)| *at > renumbered && matches!(event, Event::Doubtful { .. }));
    assert!(found, "{:?}", world.kinds_of_events(0));
}

#[test]
fn two_on_one_lan_talk_inside_it() {
    for kind in [Kind::Port, Kind::Symmetric] {
        let mut world = World::new(1);
        let router = world.router(Segment::INTERNET, kind.nat());
        let (left, right) = (world.member(router.inside()), world.member(router.inside()));
        world.observe();
        world.introduce(left, right);
        world.run_for(ms(1000));
        let path = world.at(left).agent.path(tag(right)).expect("the inside address works");
        assert_eq!(
            (path.kind, path.way.addr().expect("a direct path").ip().to_string().as_str()),
            (CandidateKind::Host, "192.168.1.3"),
            "{kind}"
        );
    }
}

#[test]
fn ipv6_carries_the_call_where_ipv4_cannot() {
    let mut world = World::new(1);
    let mut members = Vec::new();
    for index in 0..2 {
        let router = world.router(Segment::INTERNET, Kind::Symmetric.nat());
        let both = [addr("192.168.1.2:1").ip(), addr(&format!("[2001:db8:{index}::2]:1")).ip()];
        let host = world.lab.net.add_host(router.inside(), &both);
        members.push(world.install(host));
    }
    world.observe();
    world.introduce(members[0], members[1]);
    world.run_for(ms(300));
    assert!(world.at(0).agent.route(tag(1)).and_then(Way::addr).is_some_and(|addr| addr.is_ipv6()));
    assert!(world.at(1).agent.route(tag(0)).and_then(Way::addr).is_some_and(|addr| addr.is_ipv6()));
}
