//! What a member does with gossip that no honest member tells.

use std::{net::SocketAddr, time::Duration, time::Instant};

use identity::{ChannelSecret, Ephemeral, Identity};
use wire::{
    IdentityKey, PeerTag, RunId,
    gossip::{Gossip, Known, MAX_MEMBERS, MAX_SEEN},
    signal::{Candidate, CandidateKind, Card},
};

use crate::{
    Config, Mesh, Relaying, Secret, Via,
    told::{Teller, Told},
};

const TELLER: [u8; 32] = [2; 32];

pub(crate) fn secret() -> ChannelSecret {
    ChannelSecret::open(&IdentityKey([9; 32]), "lobby")
}

fn card(serial: u64, name: &str, candidates: &[SocketAddr]) -> Card {
    let candidates = candidates.iter().map(|addr| Candidate { addr: *addr, kind: CandidateKind::Host }).collect();
    let ephemeral = Ephemeral::from_bytes(&[7; 32]).key();
    Card { run: RunId(7), ephemeral, serial, name: name.to_owned(), candidates, nat: None }
}

fn known(who: &Identity, card: &Card, seen: &[SocketAddr]) -> Known {
    Known { key: who.key(), seen: seen.to_vec(), card: secret().seal_card(who, card) }
}

fn person(number: u64) -> Identity {
    let mut seed = [77; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    Identity::from_seed(&seed)
}

/// Who has the lowest key of many opens sessions to few: handshakes are not what is looked at here.
fn myself() -> Identity {
    let all = (0..64).map(|number| Identity::from_seed(&[100 + number; 32]));
    all.min_by_key(Identity::key).expect("there are some")
}

/// Somebody who knows of no rendezvous and of nobody else.
pub(crate) fn alone(identity: Identity, name: &str) -> Config {
    Config {
        identity,
        channel: "lobby".into(),
        name: name.into(),
        server: SocketAddr::from(([0, 0, 0, 0], 0)),
        server_key: Some(IdentityKey([9; 32])),
        ticket: None,
        secret: Secret::Known(secret()),
        candidates: Vec::new(),
        run: RunId(1),
        ephemeral: Ephemeral::from_bytes(&[1; 32]),
        started_at: 0,
        seed: [3; 32],
        allow_loopback: false,
        observe: None,
        guess: false,
        retry: true,
        tunnel: false,
        relaying: Relaying::Allowed,
        via: Via { only: true, ..Via::default() },
        lend: true,
        introduce: false,
    }
}

/// A member in a call with one other, who is about to misbehave.
fn in_a_call(now: Instant) -> (Mesh, PeerTag) {
    let config = alone(myself(), "alice");
    let mut mesh = Mesh::new(config, now);
    mesh.set_secret(secret(), now);
    let teller = Identity::from_seed(&TELLER);
    let card = card(1, "mallory", &[]);
    let sealed = secret().seal_card(&teller, &card);
    let (key, name, seen, by) = (teller.key(), card.name.clone(), Vec::new(), Teller::Introducer);
    mesh.told(Told { key, name, seen, card, sealed, by }, now);
    let tag = mesh.peers().next().expect("a peer").tag;
    if let Some(peer) = mesh.peers.get_mut(&tag) {
        peer.secure = true;
        peer.known.records = registry::Bucket::full(now);
    }
    mesh.gossip_session_up(tag, now);
    (mesh, tag)
}

fn names(mesh: &Mesh) -> Vec<String> {
    mesh.peers().map(|peer| peer.name).filter(|name| name != "mallory").collect()
}

/// Lets time pass; how many datagrams went to an address.
fn run_for(mesh: &mut Mesh, from: Instant, time: Duration, to: SocketAddr) -> usize {
    let (mut now, mut sent) = (from, 0);
    while now < from + time {
        while let Some(out) = mesh.poll_transmit(now) {
            sent += usize::from(out.to == to);
        }
        while mesh.poll_event().is_some() {}
        now = mesh.poll_timeout().map_or(from + time, |at| at.max(now)).min(from + time);
        mesh.handle_timeout(now);
    }
    sent
}

#[test]
fn who_did_not_sign_a_card_is_not_in_it() {
    let now = netsim::epoch();
    let (mut mesh, by) = in_a_call(now);
    let (bob, mallory) = (person(1), Identity::from_seed(&TELLER));
    let honest = card(5, "bob", &[]);
    let stranger = ChannelSecret::open(&IdentityKey([8; 32]), "lobby").seal_card(&bob, &honest);
    let swapped = secret().seal_card(&mallory, &honest);
    let nameless = secret().seal_card(&bob, &card(5, "b\u{202e}ob", &[]));
    for sealed in [stranger, swapped, nameless, vec![0; 500], Vec::new()] {
        let members = vec![Known { key: bob.key(), seen: Vec::new(), card: sealed }];
        mesh.handle_gossip(by, Gossip { members }, now);
    }
    assert_eq!(names(&mesh), Vec::<String>::new());

    mesh.handle_gossip(by, Gossip { members: vec![known(&bob, &honest, &[])] }, now);
    assert_eq!(names(&mesh), ["bob"], "a member who is there all the same");
}

#[test]
fn an_old_card_changes_nothing() {
    let now = netsim::epoch();
    let (mut mesh, by) = in_a_call(now);
    let bob = person(1);
    mesh.handle_gossip(by, Gossip { members: vec![known(&bob, &card(5, "bob", &[]), &[])] }, now);
    let before = mesh.peers().find(|peer| peer.name == "bob").map(|peer| peer.tag);

    let old_run = Card { run: RunId(6), ..card(4, "bob", &[]) };
    mesh.handle_gossip(by, Gossip { members: vec![known(&bob, &old_run, &[])] }, now);

    assert_eq!(mesh.peers().find(|peer| peer.name == "bob").map(|peer| peer.tag), before);
}

#[test]
fn a_thousand_made_up_members_take_bounded_room_and_are_forgotten() {
    let mut now = netsim::epoch();
    let (mut mesh, by) = in_a_call(now);
    let nowhere = SocketAddr::from(([203, 0, 113, 9], 9));
    for first in (0..1000).step_by(50) {
        let member = |number| known(&person(number), &card(1, &format!("m{number}"), &[]), &[]);
        mesh.handle_gossip(by, Gossip { members: (first..first + 50).map(member).collect() }, now);
        run_for(&mut mesh, now, Duration::from_secs(1), nowhere);
        now += Duration::from_secs(1);
        assert!(names(&mesh).len() <= 32, "{}", names(&mesh).len());
    }
    run_for(&mut mesh, now, Duration::from_secs(300), nowhere);
    assert_eq!(names(&mesh).len(), 0);
}

#[test]
fn lists_that_are_too_long_are_not_read() {
    let now = netsim::epoch();
    let (mut mesh, by) = in_a_call(now);
    let bob = known(&person(1), &card(1, "bob", &[]), &[]);
    mesh.handle_gossip(by, Gossip { members: vec![bob.clone(); MAX_MEMBERS + 1] }, now);
    let seen = vec![SocketAddr::from(([203, 0, 113, 9], 9)); MAX_SEEN + 1];
    mesh.handle_gossip(by, Gossip { members: vec![Known { seen, ..bob }] }, now);
    assert_eq!(names(&mesh), Vec::<String>::new());
}

#[test]
fn a_victim_gets_forty_packets_in_an_hour_however_often_it_is_named() {
    let mut now = netsim::epoch();
    let (mut mesh, by) = in_a_call(now);
    let victim = SocketAddr::from(([198, 51, 100, 66], 53));
    let mut sent = 0;
    for number in 0..300 {
        let accomplice = person(number % 5);
        let card = card(1 + number, &format!("m{}", number % 5), &[victim]);
        mesh.handle_gossip(by, Gossip { members: vec![known(&accomplice, &card, &[victim])] }, now);
        sent += run_for(&mut mesh, now, Duration::from_secs(10), victim);
        now += Duration::from_secs(10);
    }
    assert!((1..=40).contains(&sent), "{sent} packets");
}

#[test]
fn who_is_alone_and_knows_nobody_to_ask_waits_without_being_busy() {
    let now = netsim::epoch();
    let (mut mesh, by) = in_a_call(now);
    mesh.remove_peer(by, "gone", now);
    let mut at = now;
    for _ in 0..100 {
        let Some(due) = mesh.poll_timeout() else { return };
        at = at.max(due);
        mesh.handle_timeout(at);
    }
    assert!(at > now + Duration::from_secs(10), "a hundred wake-ups by {:?}", at - now);
}
