use std::time::Duration;

use link::{Accept, CloseReason, Event, Kind};
use netsim::{Link, Rng};

use crate::net::{DELAY, Host, Net, Pair, RTT, SECRET, people};

/// Gives the endpoint a datagram from an address and tells whether it sent anything for it.
fn answers(net: &mut Net, host: Host, from: &str, datagram: &[u8]) -> bool {
    let from = from.parse().unwrap();
    let sent = net.node(host).sent.len();
    net.with(host, |endpoint, now| endpoint.handle_datagram(from, datagram, now));
    net.node(host).sent.len() > sent
}

/// The first datagram of an attempt to connect.
fn first_flight(kind: Kind) -> Vec<u8> {
    nth_first_flight(kind, 0)
}

/// That of one of many attempts.
fn nth_first_flight(kind: Kind, n: u64) -> Vec<u8> {
    let people = people(2);
    let mut net = Net::new(1000 + n);
    let host = net.host(Link::of(DELAY));
    net.install(host, &people[0], Accept::None);
    let key = people[1].key();
    net.lab.with(host.id, |node, now| {
        let to = "[fd00::5]:1".parse().unwrap();
        node.endpoint.expect(to, key, SECRET.into());
        node.endpoint.connect(kind, to, Some(key), now).unwrap();
        node.endpoint.poll_transmit(now).unwrap().payload
    })
}

#[test]
fn random_bytes_get_silence_from_everybody() {
    let mut random = Rng::new(1);
    let mut pair = Pair::clean();
    pair.connect();
    let server = pair.net.endpoint(&people(3)[0], Accept::Signal, Link::of(DELAY));
    let (first, friend) = (first_flight(Kind::Signal), pair.b.addr.to_string());
    for round in 0..5_000 {
        let mut datagram: Vec<u8> = match round % 3 {
            // Anything; a long header of ours; the start of a good packet.
            0 => (0..random.below(1500)).map(|_| random.next_u64() as u8).collect(),
            1 => [&[0xc0, 0, 0, 0, 1][..], &(0..1195).map(|_| random.next_u64() as u8).collect::<Vec<_>>()].concat(),
            _ => first[..random.below(first.len() as u64) as usize].to_vec(),
        };
        if let Some(byte) = datagram.first_mut() {
            *byte |= 0x40;
        }
        for host in [pair.a, server] {
            assert!(!answers(&mut pair.net, host, "[fd00::666]:1", &datagram), "round {round}: {datagram:02x?}");
        }
        pair.net.with(pair.a, |endpoint, now| endpoint.handle_datagram(friend.parse().unwrap(), &datagram, now));
    }
    assert_eq!(pair.net.node(server).events, []);
    assert_eq!(pair.net.node(pair.a).closed(), None, "what a friend's address is used for does no harm");
    assert!(pair.net.node(server).endpoint.is_idle());
}

#[test]
fn an_attempt_from_an_unexpected_address_gets_silence() {
    let people = people(2);
    for kind in [Kind::Peer, Kind::Signal] {
        let first = first_flight(kind);
        let mut net = Net::new(1);
        let host = net.endpoint(&people[1], Accept::Peer, Link::of(DELAY));
        let at = "[fd00::1:1]:1".parse().unwrap();
        net.with(host, |endpoint, _| endpoint.expect(at, people[0].key(), SECRET.into()));
        assert!(!answers(&mut net, host, "[fd00::666]:1", &first));
        net.with(host, |endpoint, _| endpoint.unexpect("[fd00::1:1]:1".parse().unwrap()));
        assert!(!answers(&mut net, host, "[fd00::1:1]:1", &first), "not any more");
        assert!(net.node(host).endpoint.is_idle(), "nothing is kept of it");
    }
}

/// An attempt that came too early, under the announcement before, must not stand in its own way.
#[test]
fn an_attempt_is_taken_up_anew_under_another_announcement() {
    let people = people(2);
    let (first, from) = (first_flight(Kind::Peer), "[fd00::1:1]:1");
    let mut net = Net::new(1);
    let host = net.endpoint(&people[1], Accept::Peer, Link::of(DELAY));
    let expect = |endpoint: &mut link::Endpoint| endpoint.expect(from.parse().unwrap(), people[0].key(), SECRET.into());
    net.with(host, |endpoint, _| expect(endpoint));
    assert!(answers(&mut net, host, from, &first));
    net.with(host, |endpoint, _| {
        endpoint.unexpect(from.parse().unwrap());
        assert!(endpoint.is_idle());
        expect(endpoint);
    });
    assert!(answers(&mut net, host, from, &first));
    assert_eq!(net.node(host).sent, [1200, 1200]);
}

#[test]
fn an_expected_address_may_open_a_peer_link_and_nothing_else() {
    let people = people(2);
    for (kind, admitted) in [(Kind::Peer, true), (Kind::Signal, false)] {
        let mut net = Net::new(1);
        let host = net.endpoint(&people[1], Accept::Peer, Link::of(DELAY));
        let at = "[fd00::1:1]:1".parse().unwrap();
        net.with(host, |endpoint, _| endpoint.expect(at, people[0].key(), SECRET.into()));
        answers(&mut net, host, "[fd00::1:1]:1", &first_flight(kind));
        assert_eq!(!net.node(host).endpoint.is_idle(), admitted, "{kind:?}");
    }
}

#[test]
fn an_endpoint_that_accepts_nothing_answers_nobody() {
    let mut net = Net::new(1);
    let host = net.endpoint(&people(2)[1], Accept::None, Link::of(DELAY));
    for kind in [Kind::Peer, Kind::Signal] {
        assert!(!answers(&mut net, host, "[fd00::666]:1", &first_flight(kind)));
    }
}

/// A server has to answer somebody who knows how to ask; RFC 9000, 8.1, bounds what a false address gets of it.
#[test]
fn a_server_answers_a_well_formed_attempt_with_at_most_three_times_its_bytes() {
    let mut net = Net::new(1);
    let server = net.endpoint(&people(2)[1], Accept::Signal, Link::of(DELAY));
    assert!(answers(&mut net, server, "[fd00::666]:1", &first_flight(Kind::Signal)));
    net.lab.run_for(Duration::from_secs(60));
    let sent: usize = net.node(server).sent.iter().sum();
    println!("a stranger's 1200 bytes are answered with {sent} in all");
    assert!(sent <= 3 * 1200, "{sent} bytes");
    assert!(net.node(server).endpoint.is_idle(), "it is forgotten");
    assert_eq!(net.node(server).events, []);
}

#[test]
fn versions_that_are_not_spoken_get_silence() {
    let mut first = first_flight(Kind::Signal);
    first[1..5].copy_from_slice(&0x1a2a_3a4au32.to_be_bytes());
    let mut net = Net::new(1);
    let server = net.endpoint(&people(2)[1], Accept::Signal, Link::of(DELAY));
    assert!(!answers(&mut net, server, "[fd00::666]:1", &first));
}

#[test]
fn cut_and_stretched_datagrams_get_silence() {
    let first = first_flight(Kind::Signal);
    let mut net = Net::new(1);
    let server = net.endpoint(&people(2)[1], Accept::Signal, Link::of(DELAY));
    for len in (0..first.len()).step_by(7) {
        assert!(!answers(&mut net, server, "[fd00::666]:1", &first[..len]), "{len} bytes");
    }
    for len in [1281, 1500, 9000, 65_507] {
        let mut stretched = first.clone();
        stretched.resize(len, 0);
        assert!(!answers(&mut net, server, "[fd00::666]:1", &stretched), "{len} bytes");
    }
    assert!(net.node(server).endpoint.is_idle());
}

#[test]
fn a_flood_of_attempts_is_bounded_and_passes() {
    let mut net = Net::new(1);
    let server = net.endpoint(&people(2)[1], Accept::Signal, Link::of(DELAY));
    let mut answered = 0;
    for i in 0..2000u32 {
        let from = format!("[fd00:0:0:{:x}::1]:1", 0x100 + i);
        answered += u32::from(answers(&mut net, server, &from, &nth_first_flight(Kind::Signal, i.into())));
    }
    println!("{answered} of 2000 were answered");
    let started = net.node(server).sent.iter().filter(|len| **len >= 1200).count();
    assert!(started <= 200, "{started} handshakes were begun");
    net.lab.run_for(Duration::from_secs(60));
    assert!(net.node(server).endpoint.is_idle());
}

#[test]
fn attempts_without_end_from_a_peers_address_are_bounded() {
    let people = people(2);
    let mut net = Net::new(1);
    let host = net.endpoint(&people[1], Accept::Peer, Link::of(DELAY));
    let from = "[fd00::1:1]:1";
    net.with(host, |endpoint, _| endpoint.expect(from.parse().unwrap(), people[0].key(), SECRET.into()));
    let answered = (0..50).filter(|&n| answers(&mut net, host, from, &nth_first_flight(Kind::Peer, n))).count();
    assert_eq!(answered, 4);
}

#[test]
fn a_packet_that_was_changed_on_the_way_does_nothing() {
    let mut pair = Pair::clean();
    pair.connect();
    let (link, from) = (pair.link, pair.a.addr);
    let packet = pair.net.lab.with(pair.a.id, |node, now| {
        node.endpoint.send_datagram(link, b"sealed"[..].into()).unwrap();
        node.endpoint.poll_transmit(now).unwrap().payload
    });
    for bit in 0..packet.len() * 8 {
        let mut bent = packet.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        pair.net.with(pair.b, |endpoint, now| endpoint.handle_datagram(from, &bent, now));
    }
    assert_eq!(pair.net.node(pair.b).datagrams().len(), 0);
    pair.net.with(pair.b, |endpoint, now| endpoint.handle_datagram(from, &packet, now));
    pair.net.with(pair.b, |endpoint, now| endpoint.handle_datagram(from, &packet, now));
    pair.run_for(RTT);
    assert_eq!(pair.net.node(pair.b).datagrams().len(), 1, "the packet itself still counts, and once");
    assert_eq!(pair.net.node(pair.b).closed(), None);
}

#[test]
fn another_protocol_is_refused_by_name() {
    let people = people(2);
    let mut net = Net::new(1);
    let client = net.endpoint(&people[0], Accept::Peer, Link::of(DELAY));
    let server = net.endpoint(&people[1], Accept::Signal, Link::of(DELAY));
    let key = people[1].key();
    net.with(client, |endpoint, _| endpoint.expect(server.addr, key, SECRET.into()));
    net.with(client, |endpoint, now| endpoint.connect(Kind::Peer, server.addr, Some(key), now)).unwrap();
    net.lab.run_for(Duration::from_secs(3));
    assert!(matches!(net.node(client).closed(), Some(CloseReason::Protocol(_))), "{:?}", net.node(client).events);
    assert_eq!(net.node(server).count(|event| matches!(event, Event::Connected { .. })), 0);
}
