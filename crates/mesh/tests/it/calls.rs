//! Whole members against a whole rendezvous, through NATs, in virtual time.

use std::time::Duration;

use identity::{ChannelSecret, Identity};
use mesh::{Event, Secret, ServerEvent};
use netsim::Kind;
use wire::{
    MessageId,
    agent::{Delivery, Path, Peers},
    peer::Keeper,
    signal::CandidateKind,
};

use crate::world::{RTT, World};

pub(crate) const SOON: Duration = Duration::from_secs(5);
/// Work that takes no virtual time still takes a turn of a pacer.
const MARGIN: Duration = Duration::from_millis(10);

pub(crate) fn two_homes(left: Kind, right: Kind) -> World {
    let mut world = World::new(1);
    world.home("alice", left);
    world.home("bob", right);
    world
}

pub(crate) fn called(left: Kind, right: Kind) -> World {
    let mut world = two_homes(left, right);
    world.join("alice");
    world.lab.run_for(Duration::from_secs(1));
    world.join("bob");
    assert!(world.run_until_secure(&["alice", "bob"], SOON), "no session between {left:?} and {right:?}");
    world
}

fn is_confirmed(event: &Event) -> bool {
    matches!(event, Event::Path { path: Path::Direct, rtt: Some(_), .. })
}

/// Both talk, a frame every 10 ms, until the condition holds.
pub(crate) fn talk_until(world: &mut World, limit: Duration, mut holds: impl FnMut(&World) -> bool) -> bool {
    let mut time = Duration::ZERO;
    while time < limit {
        for who in ["alice", "bob"] {
            world.with(who, |mesh, now| mesh.send_voice(&Peers::All, b"frame", now));
        }
        world.lab.run_for(Duration::from_millis(10));
        time += Duration::from_millis(10);
        if holds(world) {
            return true;
        }
    }
    false
}

pub(crate) fn voices(world: &World, who: &str) -> usize {
    world.member(who).told.iter().filter(|(_, event)| is_voice(event)).count()
}

fn is_voice(event: &Event) -> bool {
    matches!(event, Event::Voice { .. })
}

#[test]
fn two_members_behind_port_restricted_nats_get_a_path_in_one_round_trip() {
    let world = called(Kind::Port, Kind::Port);

    for who in ["alice", "bob"] {
        let since_known = world.member(who).told.iter().find_map(|(_, event)| match event {
            Event::Path { path: Path::Direct, rtt: Some(_), since_known, .. } => Some(*since_known),
            _ => None,
        });
        assert!(since_known.is_some_and(|time| time <= RTT + MARGIN), "{who}: {since_known:?}");
    }
}

/// Two for its session with the rendezvous and the roster, and one and a half for the longer side of the session with the
/// first. Voice does not wait for that.
#[test]
fn a_newcomer_hears_the_first_voice_within_three_round_trips_whichever_side_opens_the_session() {
    let mut opened = [0, 0];
    for seed in 1..=8 {
        let mut world = two_homes(Kind::Port, Kind::Port);
        world.join("alice");
        world.lab.run_for(Duration::from_secs(1));
        world.join_with("bob", |config| config.identity = Identity::from_seed(&[seed; 32]));
        let is_higher = world.member("bob").mesh.key() > world.member("alice").mesh.key();
        opened[usize::from(is_higher)] += 1;

        assert!(talk_until(&mut world, SOON, |world| voices(world, "alice") > 0 && voices(world, "bob") > 0));

        for who in ["alice", "bob"] {
            let (at, _) = world.member(who).told.iter().find(|(_, event)| is_voice(event)).expect("a voice");
            let heard = *at - world.member("bob").started;
            println!("newcomer opens: {is_higher}; {who} hears the first voice after {heard:?}");
            assert!(heard <= RTT * 3 + MARGIN, "seed {seed}, newcomer opens: {is_higher}: {who} after {heard:?}");
        }
        assert!(world.run_until_secure(&["alice", "bob"], SOON));
        let secure = world.lab.now() - world.member("bob").started;
        assert!(secure <= RTT * 7 / 2 + MARGIN, "seed {seed}, newcomer opens: {is_higher}: secure after {secure:?}");
    }
    assert!(opened[0] > 0 && opened[1] > 0, "{opened:?}");
}

#[test]
fn ten_members_that_join_at_once_are_all_secure_with_each_other_within_five_round_trips() {
    let people = ["ann", "ben", "cat", "dan", "eve", "fay", "gus", "hal", "ida", "jim"];
    let mut world = World::new(5);
    for who in people {
        world.home(who, Kind::Port);
    }
    for who in people {
        world.join(who);
    }

    assert!(world.run_until_secure(&people, SOON));

    let took = world.lab.now() - world.member("ann").started;
    println!("all 45 pairs secure after {took:?}");
    assert!(took <= RTT * 5, "{took:?}");
}

#[test]
fn three_members_that_join_together_all_get_direct_paths() {
    let mut world = World::new(2);
    for who in ["alice", "bob", "carol"] {
        world.home(who, Kind::Port);
        world.join(who);
        world.lab.run_for(Duration::from_millis(30));
    }

    assert!(world.run_until_secure(&["alice", "bob", "carol"], SOON));

    for who in ["alice", "bob", "carol"] {
        let direct = world.member(who).mesh.peers().filter(|peer| peer.path == Path::Direct).count();
        assert_eq!(direct, 2, "{who}");
        let last = world.member(who).told.iter().rfind(|(_, event)| is_confirmed(event)).expect("a path");
        let time = last.0 - world.member(who).started;
        assert!(time <= RTT * 5 + Duration::from_millis(50) + Duration::from_millis(100), "{who}: {time:?}");
    }
}

#[test]
fn members_in_one_home_use_their_own_addresses() {
    let mut world = World::new(3);
    let home = world.home("alice", Kind::Port);
    world.in_home("bob", home);
    world.join("alice");
    world.join("bob");

    assert!(world.run_until_secure(&["alice", "bob"], SOON));
    world.lab.run_for(Duration::from_secs(3));

    for who in ["alice", "bob"] {
        let peer = world.member(who).mesh.peers().next().expect("a peer");
        assert!(peer.addr.is_some_and(|addr| addr.ip().to_string().starts_with("192.168.")), "{who}: {peer:?}");
    }
}

#[test]
fn a_text_is_delivered_once_and_its_sender_is_told() {
    let mut world = called(Kind::Port, Kind::Full);

    world.with("alice", |mesh, now| mesh.send_text(MessageId(7), &Peers::All, b"hello".to_vec(), now));
    world.lab.run_for(RTT);
    let texts: Vec<_> = world.member("bob").told.iter().filter_map(|(_, event)| text(event)).collect();
    assert_eq!(texts, [(MessageId(7), b"hello".to_vec())]);
    let tag = world.member("bob").mesh.peers().next().expect("a peer").tag;
    world.with("bob", |mesh, now| mesh.acknowledge(tag, MessageId(7), Keeper::Chat, now));
    world.lab.run_for(RTT);

    let outcomes: Vec<_> = world.member("alice").told.iter().filter_map(|(_, event)| outcome(event)).collect();
    assert_eq!(outcomes, [("bob".to_owned(), Delivery::Delivered(Keeper::Chat))]);
    assert!(world.member("alice").told.iter().any(|(_, event)| *event == Event::Settled { id: MessageId(7) }));
}

#[test]
fn a_text_that_nobody_acknowledges_times_out_and_one_for_nobody_is_settled_at_once() {
    let mut world = called(Kind::Port, Kind::Full);

    world.with("alice", |mesh, now| mesh.send_text(MessageId(1), &Peers::All, b"hello".to_vec(), now));
    world.with("alice", |mesh, now| {
        mesh.send_text(MessageId(2), &Peers::One(wire::PeerTag(99)), b"hello".to_vec(), now);
    });
    world.lab.run_for(Duration::from_secs(11));

    let outcomes: Vec<_> = world.member("alice").told.iter().filter_map(|(_, event)| outcome(event)).collect();
    assert_eq!(outcomes, [(String::new(), Delivery::Unknown), ("bob".to_owned(), Delivery::TimedOut)]);
}

#[test]
fn who_leaves_is_gone_for_the_others_at_once() {
    let mut world = called(Kind::Port, Kind::Port);

    world.with("bob", |mesh, now| mesh.leave(now));
    world.lab.run_for(RTT);

    let left = world.member("alice").told.last().map(|(_, event)| event.clone());
    assert!(matches!(&left, Some(Event::Left { name, why, .. }) if name == "bob" && why == "said goodbye"), "{left:?}");
}

#[test]
fn who_is_killed_is_gone_after_a_while() {
    let mut world = called(Kind::Port, Kind::Port);

    world.lab.uninstall(world.hosts["bob"]);
    world.lab.run_for(Duration::from_secs(90));

    assert_eq!(world.member("alice").mesh.peers().count(), 0);
}

#[test]
fn a_member_that_starts_anew_takes_its_old_seat() {
    let mut world = called(Kind::Port, Kind::Port);

    world.join("bob");
    world.lab.run_for(SOON);

    assert!(world.run_until_secure(&["alice", "bob"], SOON));
    assert_eq!(world.member("alice").mesh.peers().count(), 1);
}

#[test]
fn who_joins_again_while_its_old_seat_is_still_there_is_the_same_one_to_the_others() {
    let mut world = called(Kind::Port, Kind::Port);
    let is_lost = |event: &Event| matches!(event, Event::Server(ServerEvent::Lost { .. }));
    let before = world.member("alice").told.len();

    // The rendezvous hears him all the time, so it takes him for present when he comes back.
    world.deafen("bob");
    assert!(talk_until(&mut world, Duration::from_secs(120), |world| world.member("bob").when(is_lost).is_some()));
    world.hear_all("bob");
    let joins = |world: &World| world.member("bob").told.iter().filter(|(_, event)| is_joined(event)).count();
    assert!(talk_until(&mut world, Duration::from_secs(60), |world| joins(world) == 2));
    let heard = voices(&world, "alice");
    assert!(talk_until(&mut world, SOON, |world| voices(world, "alice") > heard + 300), "the call goes on");

    let is_other = |event: &Event| {
        matches!(event, Event::Left { .. } | Event::Seen { .. } | Event::Insecure { .. } | Event::Secure { .. })
    };
    let news: Vec<_> = world.member("alice").told[before..].iter().filter(|(_, event)| is_other(event)).collect();
    assert!(news.is_empty(), "{news:?}");
    assert!(world.member("bob").when(|event| matches!(event, Event::Server(ServerEvent::PutOut(_)))).is_none());
}

#[test]
fn a_member_that_is_blocked_is_not_there_until_it_starts_anew() {
    let mut world = called(Kind::Port, Kind::Port);
    let tag = world.member("alice").mesh.peers().next().expect("bob").tag;

    world.with("alice", |mesh, now| mesh.block(tag, now));
    world.restart_server();
    world.lab.run_for(Duration::from_secs(60));
    assert_eq!(world.member("alice").mesh.peers().count(), 0);

    world.join("bob");
    assert!(world.run_until_secure(&["alice", "bob"], SOON));
}

#[test]
fn a_member_that_starts_anew_is_in_the_call_though_its_first_packets_come_before_the_news_of_it() {
    for news_after in [2, 4, 8, 20] {
        let mut world = called(Kind::Port, Kind::Port);
        let before = world.member("alice").told.len();

        world.deafen("alice");
        world.join("bob");
        world.lab.run_for(RTT * news_after);
        assert!(world.member("bob").when(is_joined).is_some(), "he has sent to her");
        let is_news = |event: &Event| matches!(event, Event::Left { .. } | Event::Seen { .. });
        assert!(
            !world.member("alice").told[before..].iter().any(|(_, event)| is_news(event)),
            "she knows nothing of it"
        );
        world.hear_all("alice");

        assert!(world.run_until_secure(&["alice", "bob"], SOON), "news after {news_after} round trips");
        world.lab.run_for(SOON);
        for (number, who, other) in [(1, "alice", "bob"), (2, "bob", "alice")] {
            let id = MessageId(number);
            world.with(who, |mesh, now| mesh.send_text(id, &Peers::All, b"again".to_vec(), now));
            world.lab.run_for(RTT);
            let came = world.member(other).told.iter().filter_map(|(_, event)| text(event)).any(|text| text.0 == id);
            assert!(came, "{who}'s text, news after {news_after} round trips");
        }
    }
}

#[test]
fn different_secrets_never_meet() {
    let mut world = two_homes(Kind::Full, Kind::Full);
    let secret = |byte| Secret::Known(ChannelSecret::from_invite(&identity::InviteSecret::from_bytes([byte; 16])));
    world.join_with("alice", |config| config.secret = secret(1));
    world.join_with("bob", |config| config.secret = secret(2));

    world.lab.run_for(SOON);

    for who in ["alice", "bob"] {
        assert_eq!(world.member(who).mesh.peers().count(), 0, "{who}");
    }
}

#[test]
fn a_member_with_a_reachable_address_introduces_others_without_a_rendezvous() {
    let mut world = World::new(4);
    world.public("alice");
    world.home("bob", Kind::Port);
    world.home("carol", Kind::Port);
    let listener = world.addr_of("alice");
    world.join_with("alice", |config| {
        config.introduce = true;
        config.server = listener;
    });
    for who in ["bob", "carol"] {
        world.join_with(who, |config| config.server = listener);
    }

    assert!(world.run_until_secure(&["alice", "bob", "carol"], SOON));
}

#[test]
fn strangers_get_silence() {
    let mut world = called(Kind::Full, Kind::Full);
    let stranger = world.public("mallory");
    let to = world.outside_of("alice");
    let before = world.lab.net.received(stranger);

    let mut rng = netsim::Rng::new(9);
    for len in (0..200).chain([1200, 1280, 1400]) {
        for first in 0..=255 {
            let mut bytes: Vec<u8> = (0..len).map(|_| rng.next_u64().to_le_bytes()[0]).collect();
            if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
            let now = world.lab.now();
            world.lab.net.send(stranger, 1, to, bytes, now);
        }
        world.lab.run_for(Duration::from_millis(1));
    }
    world.lab.run_for(SOON);

    assert_eq!(world.lab.net.received(stranger), before);
    assert!(world.run_until_secure(&["alice", "bob"], Duration::ZERO));
}

#[test]
fn with_loss_a_session_is_still_made_from_every_seed() {
    for seed in 0..100 {
        let mut world = World::with_loss(seed, 0.05);
        world.home("alice", Kind::Port);
        world.home("bob", Kind::Port);
        world.join("alice");
        world.join("bob");
        assert!(world.run_until_secure(&["alice", "bob"], Duration::from_secs(20)), "seed {seed}");
    }
}

fn text(event: &Event) -> Option<(MessageId, Vec<u8>)> {
    match event {
        Event::Text { id, body, .. } => Some((*id, body.clone())),
        _ => None,
    }
}

fn outcome(event: &Event) -> Option<(String, Delivery)> {
    match event {
        Event::Delivery { name, outcome, .. } => Some((name.clone(), *outcome)),
        _ => None,
    }
}

pub(crate) fn is_joined(event: &Event) -> bool {
    matches!(event, Event::Server(ServerEvent::Joined { .. }))
}

#[test]
fn the_kind_of_a_path_is_told() {
    let world = called(Kind::Port, Kind::Port);
    let kinds: Vec<_> = world
        .member("alice")
        .told
        .iter()
        .filter_map(|(_, event)| match event {
            Event::Path { kind, .. } => *kind,
            _ => None,
        })
        .collect();
    assert!(kinds.contains(&CandidateKind::ServerReflexive), "{kinds:?}");
}
