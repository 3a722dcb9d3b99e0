//! Every kind of NAT against every other: a path exactly where theory allows one.

mod support;

use netsim::{Kind, Link};
use punch::Event;
use support::{RTT, World, ms, tag};

/// Time by which the second member learns later than the first.
fn meet(a: Kind, b: Kind, later: std::time::Duration, link: Link) -> World {
    let mut world = World::new(7);
    let (left, right) = (world.home(a), world.home(b));
    world.observe();
    world.set_links(link);
    world.tell(left, right);
    world.run_for(later);
    world.tell(right, left);
    world.run_for(ms(3500));
    world
}

fn assert_as_foretold(a: Kind, b: Kind, later: std::time::Duration, link: Link) {
    let world = meet(a, b, later, link);
    let expected = a.nat().can_punch(b.nat());
    for (member, peer) in [(0, 1), (1, 0)] {
        let events = world.kinds_of_events(member);
        let case = format!("{a} and {b}, second {later:?} later, member {member}: {events:?}");
        assert_eq!(world.is_confirmed(member, peer), expected, "{case}");
        assert_eq!(world.at(member).agent.route(tag(peer)).is_some(), expected, "{case}");
        if !expected {
            assert_eq!(events, ["unreachable"], "{case}");
        }
    }
}

#[test]
fn pairs_meet_exactly_where_the_oracle_says_whoever_learns_first() {
    for later in [0, 15, 60, 2000].map(ms) {
        for a in Kind::ALL {
            for b in Kind::ALL {
                let poisoned = later > RTT / 2 && b == Kind::LinuxOpen;
                if !poisoned {
                    assert_as_foretold(a, b, later, Link::default());
                }
            }
        }
    }
}

#[test]
fn pairs_that_can_meet_do_so_at_a_fifth_of_all_packets_lost() {
    for a in Kind::ALL {
        for b in Kind::ALL.into_iter().filter(|b| a.nat().can_punch(b.nat())) {
            let world = meet(a, b, ms(0), Link::default().losing(0.1));
            assert!(world.is_confirmed(0, 1) && world.is_confirmed(1, 0), "{a} and {b}");
        }
    }
}

#[test]
fn a_pair_that_cannot_meet_is_told_so_after_3200_ms_and_tried_again_after_5_s() {
    let world = meet(Kind::Symmetric, Kind::Port, ms(0), Link::default());
    let (at, event) = &world.at(0).events[0];
    let started = world.at(0).checks_sent[0].0;
    assert_eq!(at.duration_since(started), ms(3200));
    assert!(matches!(event, Event::Unreachable { retry, .. } if *retry == ms(5000)), "{event:?}");
}

#[test]
fn a_check_that_comes_too_early_at_a_linux_router_that_rejects_spoils_it() {
    let world = meet(Kind::Port, Kind::LinuxOpen, ms(100), Link::default());
    assert!(!world.is_confirmed(0, 1), "the router gave another port: a guess from a fresh socket is the remedy");
}
