//! Members that come back to a rendezvous.

use std::time::Duration;

use identity::{ChannelSecret, Identity, InviteSecret};
use mesh::{Config, Event, Relaying, Secret, ServerEvent};
use netsim::{Kind, Link};
use registry::{ChannelName, ChannelRecord};
use wire::{
    agent::{Path, Peers},
    signal::{ChannelKind, TICKET_LIFETIME, Ticket},
};

use crate::world::{RTT, World, identity, server_key};

const SOON: Duration = Duration::from_secs(5);
/// Work that takes no virtual time still takes a turn of a pacer.
const MARGIN: Duration = Duration::from_millis(10);
const FRAME: Duration = Duration::from_millis(10);

/// Bob was there once, in a channel of his own.
fn met(world: &mut World, who: Identity) -> Ticket {
    world.join_with("bob", |config| (config.identity, config.channel) = (who, "alone".into()));
    world.lab.run_for(Duration::from_millis(500));
    let ticket = world.ticket("bob").expect("a ticket comes with each join");
    world.with("bob", |mesh, now| mesh.leave(now));
    world.lab.run_for(Duration::from_millis(500));
    ticket
}

fn two_homes(kind: Kind) -> World {
    let mut world = World::new(1);
    world.home("alice", kind);
    world.home("bob", kind);
    world
}

/// Alice is there, and Bob starts with the ticket that he got before.
fn warm(world: &mut World, ticket: Ticket, change: impl Fn(&mut Config)) {
    world.join_with("alice", &change);
    world.lab.run_for(Duration::from_secs(1));
    world.join_with("bob", |config| {
        (config.ticket, config.server_key) = (Some(ticket), Some(server_key()));
        change(config);
    });
}

fn has_joined(event: &Event) -> bool {
    matches!(event, Event::Server(ServerEvent::Joined { .. }))
}

fn is_voice(event: &Event) -> bool {
    matches!(event, Event::Voice { .. })
}

fn count(world: &World, who: &str, is_so: impl Fn(&Event) -> bool) -> usize {
    world.member(who).told.iter().filter(|(_, event)| is_so(event)).count()
}

/// After how long Bob is in the channel.
fn joined_after(world: &mut World) -> Duration {
    world.lab.run_for(Duration::from_secs(1));
    world.member("bob").when(has_joined).expect("Bob is in the channel")
}

/// After how long from Bob's start Alice and Bob hear each other.
fn heard_after(world: &mut World) -> [Duration; 2] {
    let start = world.member("bob").started;
    let heard = |world: &World, who: &str| {
        world.member(who).told.iter().find(|(_, event)| is_voice(event)).map(|(at, _)| *at - start)
    };
    while world.lab.now() < start + SOON {
        for who in ["alice", "bob"] {
            world.with(who, |mesh, now| mesh.send_voice(&Peers::All, b"frame", now));
        }
        world.lab.run_for(FRAME / 5);
        if let (Some(alice), Some(bob)) = (heard(world, "alice"), heard(world, "bob")) {
            return [alice, bob];
        }
    }
    panic!("they don't hear each other");
}

/// After how long from Bob's start Alice and Bob are secure.
fn secure_after(world: &mut World) -> [Duration; 2] {
    assert!(world.run_until_secure(&["alice", "bob"], SOON));
    let start = world.member("bob").started;
    ["alice", "bob"].map(|who| {
        let told = &world.member(who).told;
        let secure = told.iter().find(|(_, event)| matches!(event, Event::Secure { .. }));
        secure.map(|(at, _)| *at - start).expect("they are secure")
    })
}

/// Nobody saw more than one Bob, and he did not go away.
fn is_one_bob(world: &World) {
    assert_eq!(count(world, "alice", |event| matches!(event, Event::Seen { .. })), 1);
    assert_eq!(count(world, "alice", |event| matches!(event, Event::Left { .. })), 0);
    assert_eq!(count(world, "bob", has_joined), 1, "told once");
}

/// One for the early join and its answer, and one and a half for the longer side of the session. Voice does not wait for
/// it: it takes one by way of the rendezvous.
#[test]
fn who_comes_back_hears_the_first_voice_within_two_round_trips_whichever_side_opens_the_session() {
    let mut opened = [0, 0];
    for seed in 1..=8 {
        let mut world = two_homes(Kind::Port);
        let who = || Identity::from_seed(&[seed; 32]);
        let ticket = met(&mut world, who());
        world.join("alice");
        world.lab.run_for(Duration::from_secs(1));
        world.join_with("bob", |config| {
            (config.identity, config.ticket, config.server_key) = (who(), Some(ticket), Some(server_key()));
        });
        let is_higher = world.member("bob").mesh.key() > world.member("alice").mesh.key();
        opened[usize::from(is_higher)] += 1;

        let heard = heard_after(&mut world);

        println!("who comes back opens: {is_higher}; first voices after {heard:?}");
        assert!(heard.iter().all(|time| *time <= RTT * 2 + MARGIN), "seed {seed}, {is_higher}: {heard:?}");
        let secure = secure_after(&mut world);
        assert!(secure.iter().all(|time| *time <= RTT * 5 / 2 + MARGIN), "seed {seed}, {is_higher}: {secure:?}");
        assert_eq!(world.server().early_joins, 1, "one datagram");
        world.lab.run_for(SOON);
        is_one_bob(&world);
    }
    assert!(opened[0] > 0 && opened[1] > 0, "{opened:?}");
}

#[test]
fn both_know_of_each_other_after_one_round_trip() {
    let mut world = two_homes(Kind::Port);
    let ticket = met(&mut world, identity("bob"));
    warm(&mut world, ticket, |_| ());

    assert_eq!(joined_after(&mut world), RTT);

    let start = world.member("bob").started;
    for who in ["alice", "bob"] {
        let (at, _) = world.member(who).told.iter().find(|(_, event)| matches!(event, Event::Seen { .. })).unwrap();
        assert_eq!(*at - start, RTT, "{who}");
    }
    let next = world.ticket("bob").expect("a ticket comes with each join");
    world.with("bob", |mesh, now| mesh.leave(now));
    world.lab.run_for(SOON);
    world.join_with("bob", |config| (config.ticket, config.server_key) = (Some(next), Some(server_key())));
    assert_eq!(joined_after(&mut world), RTT, "the next ticket came with the session");
}

#[test]
fn a_channel_with_a_secret_takes_no_longer() {
    let secret = || ChannelSecret::from_invite(&InviteSecret::from_bytes([5; 16]));
    let mut world = two_homes(Kind::Port);
    let ticket = met(&mut world, identity("bob"));
    world.server().registry.restore(ChannelRecord {
        name: ChannelName::parse("den").unwrap(),
        kind: ChannelKind::Invite,
        description: String::new(),
        author: String::new(),
        join_key: Some(secret().join_key().key()),
        owner: [0; 32],
        created_at: 0,
    });
    warm(&mut world, ticket, |config| (config.channel, config.secret) = ("den".into(), Secret::Known(secret())));

    let heard = heard_after(&mut world);

    assert!(heard.iter().all(|time| *time <= RTT * 2 + MARGIN), "{heard:?}");
    assert!(secure_after(&mut world).iter().all(|time| *time <= RTT * 5 / 2 + MARGIN));
    assert_eq!(world.member("bob").when(has_joined), Some(RTT));
    is_one_bob(&world);
}

#[test]
fn who_hides_comes_back_as_quickly_and_stays_hidden() {
    let mut world = two_homes(Kind::Port);
    let ticket = met(&mut world, identity("bob"));
    warm(&mut world, ticket, |config| config.relaying = Relaying::Only);

    let heard = heard_after(&mut world);

    println!("first relayed voices after {heard:?}");
    assert_eq!(world.member("bob").when(has_joined), Some(RTT));
    assert!(heard.iter().all(|time| *time <= RTT * 2 + MARGIN), "{heard:?}");
    // A round trip of the session by way of the rendezvous takes two.
    assert!(secure_after(&mut world).iter().all(|time| *time <= RTT * 4 + MARGIN));
    let is_direct = |event: &Event| matches!(event, Event::Path { path: Path::Direct, .. });
    assert_eq!(count(&world, "alice", is_direct) + count(&world, "bob", is_direct), 0);
}

#[test]
fn who_needs_the_relay_has_it_from_the_answer_on_and_keeps_it() {
    let mut world = two_homes(Kind::Symmetric);
    let ticket = met(&mut world, identity("bob"));
    warm(&mut world, ticket, |_| ());

    let heard = heard_after(&mut world);

    println!("first relayed voices after {heard:?}");
    assert!(heard.iter().all(|time| *time <= RTT * 2 + MARGIN), "{heard:?}");
    let by_relay = world.member("bob").when(|event| matches!(event, Event::Path { path: Path::Relay, .. }));
    assert_eq!(by_relay, Some(RTT));
    world.lab.run_for(Duration::from_secs(60));
    assert!(world.run_until_secure(&["alice", "bob"], SOON));
    is_one_bob(&world);
}

#[test]
fn a_lost_datagram_costs_nothing_but_what_it_would_have_saved() {
    let mut world = two_homes(Kind::Port);
    let ticket = met(&mut world, identity("bob"));
    world.server().loses_early_joins = 1;
    warm(&mut world, ticket, |_| ());

    assert_eq!(joined_after(&mut world), RTT * 2);
    assert_eq!(world.server().early_joins, 0, "it is not sent again once there is a session");
    is_one_bob(&world);
}

#[test]
fn a_roster_that_is_too_long_for_the_answer_comes_with_the_session() {
    let people = ["ann", "ben", "cat", "dan", "eve", "fay", "gus"];
    let mut world = two_homes(Kind::Port);
    let ticket = met(&mut world, identity("bob"));
    for who in people {
        world.public(who);
        world.join(who);
    }
    warm(&mut world, ticket, |_| ());

    assert_eq!(joined_after(&mut world), RTT * 2);
    let (at, _) = world
        .member("alice")
        .told
        .iter()
        .find(|(_, event)| matches!(event, Event::Seen { name, .. } if name == "bob"))
        .unwrap();
    assert_eq!(*at - world.member("bob").started, RTT, "the others know him all the same");
    assert_eq!(world.member("bob").mesh.peers().count(), people.len() + 1);
}

/// Silence, and a join as of somebody who comes for the first time.
fn is_cold(world: &mut World, what: &str) {
    assert_eq!(joined_after(world), RTT * 2, "{what}");
    assert_eq!(count(world, "bob", has_joined), 1, "{what}");
}

#[test]
fn a_ticket_that_is_not_good_costs_nothing() {
    let mut world = two_homes(Kind::Port);
    let ticket = met(&mut world, identity("bob"));
    world.restart_server();
    warm(&mut world, ticket, |_| ());
    is_cold(&mut world, "the rendezvous was restarted");

    let mut world = two_homes(Kind::Port);
    let ticket = met(&mut world, identity("bob"));
    world.lab.run_for(TICKET_LIFETIME);
    warm(&mut world, ticket, |_| ());
    is_cold(&mut world, "it has expired");

    let mut world = two_homes(Kind::Port);
    let ticket = met(&mut world, identity("bob"));
    warm(&mut world, ticket.clone(), |_| ());
    assert_eq!(joined_after(&mut world), RTT);
    world.with("bob", |mesh, now| mesh.leave(now));
    world.lab.run_for(SOON);
    world.join_with("bob", |config| (config.ticket, config.server_key) = (Some(ticket), Some(server_key())));
    is_cold(&mut world, "it was used before");

    let mut world = two_homes(Kind::Port);
    let ticket = met(&mut world, identity("bob"));
    let router = world.routers["bob"];
    world.lab.net.renumber(router, [203, 0, 113, 200].into());
    warm(&mut world, ticket, |_| ());
    is_cold(&mut world, "it is for another address");

    let mut world = two_homes(Kind::Port);
    let good = met(&mut world, identity("bob"));
    warm(&mut world, Ticket { sealed: vec![7; 9], key: good.key }, |_| ());
    is_cold(&mut world, "it is none");
}

#[test]
fn without_the_servers_key_or_the_secret_nothing_is_sent_early() {
    let mut world = two_homes(Kind::Port);
    let ticket = met(&mut world, identity("bob"));
    world.join_with("bob", |config| config.ticket = Some(ticket.clone()));
    world.lab.run_for(SOON);
    world.join_with("bob", |config| {
        (config.ticket, config.server_key, config.secret) = (Some(ticket), Some(server_key()), Secret::Deferred);
    });
    world.lab.run_for(Duration::from_secs(1));
    assert_eq!(world.server().early_joins, 0);
    assert_eq!(count(&world, "bob", |event| matches!(event, Event::Server(ServerEvent::SecretNeeded(_)))), 1);
}

#[test]
fn whatever_is_lost_who_comes_back_is_there_once() {
    for seed in 1..=30 {
        let mut world = World::over(seed, Link::of(RTT / 4));
        world.home("alice", Kind::Port);
        world.home("bob", Kind::Port);
        let ticket = met(&mut world, identity("bob"));
        let lossy = Link::of(RTT / 4).losing(0.2);
        world.lab.net.set_link(world.server, lossy);
        warm(&mut world, ticket, |_| ());

        assert!(world.run_until_secure(&["alice", "bob"], SOON * 4), "seed {seed}");

        world.lab.run_for(SOON * 2);
        let peers = |who: &str| world.member(who).mesh.peers().filter(|peer| peer.secure).count();
        assert_eq!((peers("alice"), peers("bob")), (1, 1), "seed {seed}");
        assert_eq!(world.server().registry.counts(), (1, 2), "seed {seed}");
    }
}

#[test]
fn who_has_lost_its_session_comes_back_as_quickly() {
    let mut world = two_homes(Kind::Port);
    world.join("alice");
    world.join("bob");
    assert!(world.run_until_secure(&["alice", "bob"], SOON));
    let is_lost = |event: &Event| matches!(event, Event::Server(ServerEvent::Lost { .. }));
    world.lab.net.cut(world.server, true);
    let hosts = world.hosts.clone();
    let lost = world.lab.run_until(SOON * 100, |lab| match lab.stack(hosts["bob"]) {
        crate::world::Node::Member(member) => member.told.iter().any(|(_, event)| is_lost(event)),
        crate::world::Node::Server(_) => false,
    });
    assert!(lost);
    world.lab.net.cut(world.server, false);
    world.lab.run_for(SOON * 2);

    assert_eq!(count(&world, "bob", has_joined), 2);
    assert!(world.server().early_joins >= 1, "by its ticket");
}
