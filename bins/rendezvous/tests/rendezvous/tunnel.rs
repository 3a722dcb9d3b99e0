//! Members whose datagrams come through a WebSocket.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use wire::{
    relay as frames,
    signal::{ToMember, ToServer},
    stun::{self, Message, TransactionId},
};

use crate::support::{Member, PATIENCE, Server, Way};

#[test]
fn a_member_behind_a_tunnel_joins_and_is_told_where_it_comes_from() {
    let server = Server::start();
    let way = Way::tunnel(&server);
    let at = way.at();
    let (_alice, joined) = Member::join_by(way, &server, 1, "lobby", "alice");
    assert_eq!(joined.observed, at);
}

#[test]
fn nobody_is_told_an_address_of_a_member_behind_a_tunnel() {
    let server = Server::start();
    let (mut alice, _) = Member::join(&server, 1, "lobby", "alice");
    let (_bob, joined) = Member::join_by(Way::tunnel(&server), &server, 2, "lobby", "bob");
    assert_eq!(joined.roster[0].observed, [alice.at()]);
    let ToMember::MemberJoined(bob) = alice.hear() else { panic!("bob has joined") };
    assert_eq!((bob.name.as_str(), &bob.observed[..]), ("bob", &[][..]));
    let (_carol, joined) = Member::join(&server, 3, "lobby", "carol");
    assert_eq!(joined.roster[1].observed, []);
}

#[test]
fn frames_go_between_tunnels_and_udp_in_every_direction() {
    let server = Server::start();
    for (first, second) in [(true, true), (true, false), (false, true)] {
        let way = |tunnel| if tunnel { Way::tunnel(&server) } else { Way::udp(server.udp) };
        let (mut alice, at_alice) = Member::join_by(way(first), &server, 1, "lobby", "alice");
        let (mut bob, at_bob) = Member::join_by(way(second), &server, 2, "lobby", "bob");
        alice.send(&frames::up(at_alice.relay.unwrap().session, at_bob.slot, b"sealed"));
        assert_eq!(bob.next_frame(), (at_alice.slot, b"sealed".to_vec()));
        bob.send(&frames::fan_out(at_bob.relay.unwrap().session, &[at_alice.slot], b"back"));
        assert_eq!(alice.next_frame(), (at_bob.slot, b"back".to_vec()));
        for mut member in [alice, bob] {
            member.say(&ToServer::Leave);
            member.end();
        }
    }
}

#[test]
fn stun_is_answered_through_a_tunnel_with_the_address_of_its_connection() {
    let server = Server::start();
    let mut way = Way::tunnel(&server);
    way.send(&stun::request(TransactionId([5; 12])));
    let answer = way.receive(PATIENCE).unwrap();
    assert_eq!(Message::decode(&answer).unwrap().mapped_address(), Some(way.at()));
}

#[test]
fn a_session_moves_into_a_tunnel_and_out_again() {
    let server = Server::start();
    let (mut alice, _) = Member::join(&server, 1, "lobby", "alice");
    let (mut bob, _) = Member::join(&server, 2, "lobby", "bob");
    let mut bob_is_seen = |way: Way, expected: &dyn Fn(&Member) -> Vec<std::net::SocketAddr>| {
        bob.change_way(way);
        bob.say(&ToServer::Card(vec![7]));
        while !matches!(bob.hear(), ToMember::Observed(at) if at == bob.at()) {}
        let expected = expected(&bob);
        while !matches!(alice.hear(), ToMember::MemberChanged(member) if member.observed == expected) {}
    };
    bob_is_seen(Way::tunnel(&server), &|_| vec![]);
    bob_is_seen(Way::udp(server.udp), &|bob| vec![bob.at()]);
}

#[test]
fn a_tunnel_that_stalls_costs_only_itself() {
    let server =
        Server::start_with(&["--relay-member", "1000000", "--relay-packets", "1000000", "--relay-channel", "1000000"]);
    let (mut alice, at_alice) = Member::join(&server, 1, "lobby", "alice");
    let (_stalled, at_stalled) = Member::join_by(Way::tunnel(&server), &server, 2, "lobby", "stalled");
    let (mut carol, at_carol) = Member::join_by(Way::tunnel(&server), &server, 3, "lobby", "carol");
    let session = at_alice.relay.unwrap().session;
    // More than all buffers between the server and one that reads nothing can hold.
    for _ in 0..20_000 {
        alice.send(&frames::up(session, at_stalled.slot, &[0; 1200]));
    }
    alice.send(&frames::up(session, at_carol.slot, b"served"));
    assert_eq!(carol.next_frame().1, b"served");
    assert!(server.memory() < 100 << 20, "{} bytes", server.memory());
}

/// What the server answers to a request for a tunnel with these headers.
fn asked(server: &Server, headers: &str) -> String {
    let mut stream = TcpStream::connect(server.http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /tunnel HTTP/1.1\r\nHost: test\r\n{headers}\r\n").unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8(answer.to_vec()).unwrap()
}

const UPGRADE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[test]
fn who_asks_for_something_else_than_a_websocket_is_told_so() {
    let server = Server::start();
    assert_eq!(asked(&server, UPGRADE), "HTTP/1.1 101");
    assert_eq!(asked(&server, ""), "HTTP/1.1 426");
    assert_eq!(asked(&server, &UPGRADE.replace("13", "8")), "HTTP/1.1 426");
    assert_eq!(asked(&server, &UPGRADE.replace("dGhl", "")), "HTTP/1.1 426");
    assert_eq!(asked(&server, &format!("{UPGRADE}Sec-Fetch-Site: cross-site\r\n")), "HTTP/1.1 403");
}

#[test]
fn a_message_that_can_be_no_datagram_ends_the_tunnel() {
    let server = Server::start();
    for message in [&b"\x81\x82\0\0\0\0hi"[..], &b"\x82\xff\0\0\0\0\0\x01\0\0\0\0\0\0"[..], b"\x82\x01x", b"\xff\xff"] {
        let mut stream = TcpStream::connect(server.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /tunnel HTTP/1.1\r\nHost: test\r\n{UPGRADE}\r\n").unwrap();
        stream.write_all(message).unwrap();
        let mut said = Vec::new();
        // The server may close before it has read everything, which resets the connection.
        let _ = stream.read_to_end(&mut said);
        assert!(said.starts_with(b"HTTP/1.1 101"), "{message:?}");
    }
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn a_network_has_its_share_of_tunnels() {
    let server = Server::start_with(&["--limit-loopback"]);
    let mut open = Vec::new();
    let refused = loop {
        let mut stream = TcpStream::connect(server.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /tunnel HTTP/1.1\r\nHost: test\r\n{UPGRADE}\r\n").unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        if status != *b"HTTP/1.1 101" {
            break String::from_utf8(status.to_vec()).unwrap();
        }
        open.push(stream);
    };
    assert_eq!((open.len(), refused.as_str()), (32, "HTTP/1.1 429"));
}
