//! How long it takes and how many packets, in virtual time: a round trip is 40 ms.

mod support;

use std::time::Duration;

use netsim::{Kind, Link, Rng};
use support::{PORT, RTT, World, addr, ms};
use wire::signal::{Candidate, CandidateKind};

const RUNS: u64 = 400;

struct Setting {
    /// Addresses of virtual interfaces that a member lists beside the two that mean something.
    useless: usize,
    loss: f64,
    /// One member learns up to so much later.
    later: u64,
}

/// Times from the moment when both know until each has confirmed, in all runs, ascending.
fn times(setting: &Setting) -> Vec<Duration> {
    let mut times: Vec<_> = (0..RUNS).flat_map(|seed| run(setting, seed)).collect();
    times.sort();
    times
}

fn run(setting: &Setting, seed: u64) -> [Duration; 2] {
    let mut world = World::new(seed);
    let (left, right) = (world.home(Kind::Port), world.home(Kind::Port));
    world.observe();
    world.set_links(Link::default().losing(setting.loss / 2.0));
    let later = ms(Rng::new(seed).below(setting.later + 1));
    tell_with_useless(&mut world, left, right, setting.useless);
    world.run_for(later);
    tell_with_useless(&mut world, right, left, setting.useless);
    both_confirmed(&mut world, seed, [left, right])
}

/// Times from here on until each of two has confirmed.
fn both_confirmed(world: &mut World, seed: u64, [left, right]: [usize; 2]) -> [Duration; 2] {
    let known = world.lab.now();
    world.run_for(ms(4000));
    [(left, right), (right, left)].map(|(member, peer)| {
        let at = world.confirmed_at(member, peer);
        at.unwrap_or_else(|| panic!("seed {seed}: member {member} found no path")).duration_since(known)
    })
}

fn tell_with_useless(world: &mut World, member: usize, about: usize, useless: usize) {
    let mut candidates = world.candidates(about);
    candidates.extend(
        (0..useless).map(|index| Candidate {
            addr: addr(&format!("172.{}.0.1:{PORT}", 17 + index)),
            kind: CandidateKind::Host,
        }),
    );
    world.tell_of(member, about, &candidates);
}

fn percentile(times: &[Duration], percent: usize) -> Duration {
    times[times.len() * percent / 100]
}

#[test]
fn half_of_all_pairs_have_a_confirmed_path_one_round_trip_and_10_ms_after_both_know() {
    for useless in [0, 2, 6] {
        for later in [0, 20] {
            let times = times(&Setting { useless, loss: 0.0, later });
            let p50 = percentile(&times, 50);
            assert!(p50 <= RTT + ms(10), "{useless} useless addresses, up to {later} ms later: {p50:?}");
        }
    }
}

#[test]
fn at_5_percent_loss_19_of_20_pairs_have_one_within_two_and_a_half_round_trips() {
    for useless in [0, 6] {
        let times = times(&Setting { useless, loss: 0.05, later: 20 });
        let p95 = percentile(&times, 95);
        assert!(p95 <= RTT * 5 / 2, "{useless} useless addresses: {p95:?}");
    }
}

/// The same for two to whom the rendezvous is `expected` away, and who are `rtt` away from each other.
fn times_if_expected([expected, rtt]: [Duration; 2], loss: f64, later: u64) -> Vec<Duration> {
    let run = |seed| {
        let mut world = World::new(seed);
        let members = [world.home(Kind::Port), world.home(Kind::Port)];
        world.observe();
        world.set_links(Link::of(rtt / 4).losing(loss / 2.0));
        for member in members {
            world.with(member, |agent, _| agent.expect_round_trip(expected));
        }
        let [left, right] = members;
        tell_with_useless(&mut world, left, right, 2);
        world.run_for(ms(Rng::new(seed).below(later + 1)));
        tell_with_useless(&mut world, right, left, 2);
        both_confirmed(&mut world, seed, members)
    };
    let mut times: Vec<_> = (0..RUNS).flat_map(run).collect();
    times.sort();
    times
}

#[test]
fn pings_that_are_spared_where_the_round_trip_is_known_cost_no_time() {
    for rtt in [ms(40), ms(100), ms(180)] {
        // Who learns of the other is told at most half a round trip later: the triangle inequality holds for the rendezvous, too.
        let later = rtt.as_millis() as u64 / 2;
        for expected in [rtt, rtt * 5 / 4, rtt * 3 / 4] {
            let p50 = percentile(&times_if_expected([expected, rtt], 0.0, later), 50);
            assert!(p50 <= rtt + ms(10), "{rtt:?}, expected {expected:?}: {p50:?}");
            let p95 = percentile(&times_if_expected([expected, rtt], 0.05, later), 95);
            assert!(p95 <= rtt * 5 / 2, "{rtt:?}, expected {expected:?}, 5 % loss: {p95:?}");
        }
    }
}

#[test]
fn peers_that_are_nearer_than_the_rendezvous_are_as_quick_as_if_it_were_near() {
    for later in [0, 5] {
        let p50 = percentile(&times_if_expected([ms(150), ms(10)], 0.0, later), 50);
        assert!(p50 <= ms(10) + ms(10), "up to {later} ms later: {p50:?}");
    }
}

#[test]
fn a_path_is_usable_half_a_round_trip_after_both_know() {
    let mut world = World::new(1);
    let (left, right) = (world.home(Kind::Port), world.home(Kind::Port));
    world.observe();
    world.introduce(left, right);
    let known = world.lab.now();
    world.run_for(RTT / 2);
    let (at, event) = &world.at(left).events[0];
    assert_eq!((support::name(event), at.duration_since(known)), ("usable", RTT / 2));
}

#[test]
fn neighbours_have_a_confirmed_path_within_5_ms_whoever_learns_first() {
    for later in 0..=2 {
        let mut world = World::new(later);
        let (left, right) = (world.home(Kind::Port), world.home(Kind::Port));
        world.set_links(Link::of(Duration::from_micros(50)));
        world.observe();
        let candidates = [left, right].map(|member| world.candidates(member));
        world.tell_of(left, right, &candidates[1]);
        // The first ping comes to the peer's NAT before the peer has sent anything.
        world.run_for(Duration::from_micros(400) * later as u32);
        world.tell_of(right, left, &candidates[0]);
        let known = world.lab.now();
        world.run_for(ms(100));
        for (member, peer) in [(left, right), (right, left)] {
            let took = world.confirmed_at(member, peer).expect("a path").duration_since(known);
            assert!(took <= ms(5), "member {member}, one learns {later} x 0.4 ms after the other: {took:?}");
        }
    }
}

#[test]
fn the_first_ping_to_each_candidate_leaves_within_a_millisecond_of_the_one_before() {
    let mut world = World::new(1);
    let (left, right) = (world.home(Kind::Port), world.home(Kind::Port));
    world.observe();
    let known = world.lab.now();
    tell_with_useless(&mut world, left, right, 6);
    world.run_for(ms(10));
    let sent: Vec<_> = world.at(left).checks_sent.iter().map(|(at, _)| at.duration_since(known)).collect();
    assert_eq!(sent, (0..8).map(ms).collect::<Vec<_>>());
}

#[test]
fn the_tenth_member_has_all_paths_in_3_round_trips_with_at_most_120_packets() {
    let mut world = World::new(1);
    for _ in 0..10 {
        world.home(Kind::Port);
    }
    world.observe();
    for old in 0..9 {
        tell_with_useless(&mut world, old, 9, 1);
        tell_with_useless(&mut world, 9, old, 1);
    }
    world.run_for(RTT * 3);
    for old in 0..9 {
        assert!(world.is_confirmed(old, 9) && world.is_confirmed(9, old), "member {old}");
    }
    world.run_for(ms(4000));
    let sent = world.at(9).checks_sent.len();
    assert!(sent <= 120, "{sent} packets");
}

#[test]
fn the_best_candidate_of_every_peer_is_tried_before_the_second_of_any() {
    let mut world = World::new(1);
    for _ in 0..10 {
        world.home(Kind::Port);
    }
    world.observe();
    let known = world.lab.now();
    world.with(9, |agent, now| (0..9).for_each(|_| agent.handle_timeout(now)));
    for old in 0..9 {
        tell_with_useless(&mut world, 9, old, 1);
    }
    world.run_for(ms(20));
    let first: Vec<_> = world.at(9).checks_sent.iter().take(9).collect();
    assert!(first.iter().all(|(at, to)| to.ip().to_string().starts_with("203.0.113.") && *at - known <= ms(20)));
}

#[test]
fn no_agent_sends_more_than_500_pings_a_second() {
    let mut world = World::new(1);
    for _ in 0..30 {
        world.home(Kind::Symmetric);
    }
    world.observe();
    for peer in 1..30 {
        tell_with_useless(&mut world, 0, peer, 6);
    }
    world.run_for(ms(3000));
    let sent = &world.at(0).checks_sent;
    for window in sent.windows(510) {
        assert!(window[509].0.duration_since(window[0].0) >= ms(1000), "510 pings in less than a second");
    }
}

#[test]
fn an_idle_pair_sends_at_most_5_packets_a_minute_each() {
    let mut world = World::new(1);
    let (left, right) = (world.home(Kind::Port), world.home(Kind::Port));
    world.observe();
    world.introduce(left, right);
    world.run_for(Duration::from_secs(60));
    let before = world.at(left).checks_sent.len() + world.at(right).checks_sent.len();
    world.run_for(Duration::from_secs(600));
    let sent = world.at(left).checks_sent.len() + world.at(right).checks_sent.len() - before;
    assert!(sent <= 2 * 5 * 10, "{sent} packets of both in 10 minutes");
    assert_eq!(world.kinds_of_events(left), ["usable", "confirmed"]);
}
