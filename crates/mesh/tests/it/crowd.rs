//! Many who join at the same moment.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use link::Kind as Link;
use mesh::{Event, Observe};
use netsim::Kind;
use wire::{
    agent::Path,
    datagram::{CHECK, Protocol, RELAY_UP, protocol},
    relay,
};

use crate::world::{PORT, World};

const PEOPLE: [&str; 10] = ["ann", "bob", "cat", "dan", "eve", "fay", "gus", "hal", "ida", "joe"];
/// Work that takes no virtual time still takes a turn of a pacer.
const MARGIN: Duration = Duration::from_millis(5);
/// What each may send until all have found each other. Half of it finds paths; the rest is sessions, which are not waited for.
const PACKETS: usize = 90;

/// Ten who have just started, each behind a router of their own, this far from each other and from the rendezvous.
fn crowd(rtt: Duration) -> World {
    let mut world = World::over(1, netsim::Link::of(rtt / 4));
    for who in PEOPLE {
        world.home(who, Kind::Port);
    }
    for who in PEOPLE {
        world.join_with(who, |config| config.observe = Some(Observe { port: PORT, observers: Vec::new() }));
    }
    world
}

/// When one had a confirmed path to the last of all others.
fn confirmed_all(world: &World, who: &str) -> Instant {
    let mut confirmed = BTreeMap::new();
    for (at, event) in &world.member(who).told {
        if let Event::Path { tag, path: Path::Direct, rtt: Some(_), .. } = event {
            confirmed.entry(*tag).or_insert(*at);
        }
    }
    assert_eq!(confirmed.len(), PEOPLE.len() - 1, "{who} has not found everybody");
    confirmed.into_values().max().expect("there are others")
}

/// What is in a datagram, in words.
fn what(payload: &[u8]) -> String {
    let relayed = payload.get(relay::UP_HEADER..).filter(|_| payload[0] == RELAY_UP);
    let inner = relayed.unwrap_or(payload);
    let what = match protocol(inner) {
        Some(Protocol::Stun) => "STUN",
        Some(Protocol::Quic) if relayed.is_none() && link::kind(inner) == Some(Link::Signal) => "signalling",
        Some(Protocol::Quic) => "session",
        _ if inner[0] == CHECK => "check",
        _ => "other",
    };
    format!("{}{what}", if relayed.is_some() { "relayed " } else { "" })
}

#[test]
fn ten_who_join_at_once_find_each_other_in_three_round_trips_with_few_packets() {
    for rtt in [40, 100].map(Duration::from_millis) {
        let mut world = crowd(rtt);
        let start = world.lab.now();
        world.lab.run_for(rtt * 5);

        let confirmed = PEOPLE.iter().map(|who| confirmed_all(&world, who)).max().expect("there are people");

        assert!(confirmed - start <= rtt * 3 + MARGIN, "RTT {rtt:?}: {:?}", confirmed - start);
        for who in PEOPLE {
            let mut sent = BTreeMap::<_, usize>::new();
            for (_, datagram) in world.member(who).sent.iter().take_while(|(at, _)| *at <= confirmed) {
                *sent.entry(what(&datagram.payload)).or_default() += 1;
            }
            println!("RTT {rtt:?}, {who} sends {sent:?}");
            assert!(sent.values().sum::<usize>() <= PACKETS, "RTT {rtt:?}, {who}: {sent:?}");
        }
    }
}
