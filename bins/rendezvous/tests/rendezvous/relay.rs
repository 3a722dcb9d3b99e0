//! Frames between members that can't reach each other.

use std::net::UdpSocket;

use wire::{MemberSlot, relay as frames, signal::Joined};

use crate::support::{Member, Server};

/// Two in a channel, and their sessions' numbers.
fn pair(server: &Server, channel: &str, who: [u8; 2]) -> [(Member, Joined, u64); 2] {
    who.map(|number| {
        let (member, joined) = Member::join(server, number, channel, &format!("member-{number}"));
        let session = joined.relay.unwrap().session;
        (member, joined, session)
    })
}

#[test]
fn members_send_each_other_frames_through_the_rendezvous() {
    let server = Server::start();
    let [(mut alice, at_alice, from_alice), (mut bob, at_bob, _)] = pair(&server, "lobby", [1, 2]);

    alice.send(&frames::up(from_alice, at_bob.slot, b"sealed"));

    assert_eq!(bob.next_frame(), (at_alice.slot, b"sealed".to_vec()));
}

#[test]
fn one_frame_reaches_several() {
    let server = Server::start();
    let [(mut alice, at_alice, from_alice), (mut bob, at_bob, _)] = pair(&server, "lobby", [1, 2]);
    let (mut carol, at_carol) = Member::join(&server, 3, "lobby", "carol");

    alice.send(&frames::fan_out(from_alice, &[at_carol.slot, at_bob.slot], b"sealed"));

    for member in [&mut bob, &mut carol] {
        assert_eq!(member.next_frame(), (at_alice.slot, b"sealed".to_vec()));
    }
}

#[test]
fn frames_for_a_seat_of_another_channel_vanish() {
    let server = Server::start();
    let [(mut alice, _, from_alice), (mut bob, ..)] = pair(&server, "lobby", [1, 2]);
    // Seats are numbered in each channel: the lobby has no third, so that number is one of the den alone.
    let [(mut carol, _, from_carol), (mut dave, at_dave, _)] = pair(&server, "den", [3, 4]);
    let (mut eve, at_eve) = Member::join(&server, 5, "den", "eve");

    alice.send(&frames::up(from_alice, at_eve.slot, b"foreign"));
    alice.send(&frames::fan_out(from_alice, &[at_eve.slot], b"foreign"));
    carol.send(&frames::fan_out(from_carol, &[at_dave.slot, at_eve.slot], b"to the den"));

    assert_eq!(dave.next_frame().1, b"to the den", "and not to the lobby's member with the same number");
    assert_eq!(eve.next_frame().1, b"to the den");
    for member in [&mut alice, &mut bob, &mut eve] {
        assert_eq!(member.frames_until_here(&server), []);
    }
}

#[test]
fn forged_sessions_and_bytes_that_are_no_frames_get_silence() {
    let server = Server::start();
    let [_alice, (mut bob, at_bob, _)] = pair(&server, "lobby", [1, 2]);
    let (_, _, good) = pair(&server, "den", [3, 4])[0];
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut forged: Vec<_> = (0..64).map(|bit| frames::up(good ^ 1 << bit, at_bob.slot, b"forged")).collect();
    forged.extend((0..24).map(|len| vec![24; len]));
    for datagram in &forged {
        stranger.send_to(datagram, server.udp).unwrap();
    }
    assert_eq!(bob.frames_until_here(&server), []);
    stranger.set_nonblocking(true).unwrap();
    assert!(stranger.recv(&mut [0; 64]).is_err(), "nor is the stranger told anything");
}

#[test]
fn a_member_that_has_left_is_no_longer_forwarded_for() {
    let server = Server::start();
    let [(mut alice, _, from_alice), (mut bob, at_bob, from_bob)] = pair(&server, "lobby", [1, 2]);
    alice.say(&wire::signal::ToServer::Leave);
    while !matches!(bob.hear(), wire::signal::ToMember::MemberLeft { .. }) {}

    alice.send(&frames::up(from_alice, at_bob.slot, b"late"));
    bob.send(&frames::up(from_bob, MemberSlot(0), b"to nobody"));

    assert_eq!(bob.frames_until_here(&server), []);
}

#[test]
fn frames_follow_a_member_to_its_validated_address() {
    let server = Server::start();
    let [(mut alice, at_alice, from_alice), (mut bob, at_bob, from_bob)] = pair(&server, "lobby", [1, 2]);
    alice.move_away();
    alice.send(&frames::up(from_alice, at_bob.slot, b"from elsewhere"));
    assert_eq!(bob.next_frame().1, b"from elsewhere", "before its session has moved");

    alice.say(&wire::signal::ToServer::Card(vec![1]));
    while !matches!(alice.hear(), wire::signal::ToMember::Observed(at) if at == alice.at()) {}
    bob.send(&frames::up(from_bob, at_alice.slot, b"to elsewhere"));
    assert_eq!(alice.next_frame().1, b"to elsewhere");
}

#[test]
fn a_flood_is_cut_and_others_are_served() {
    let server = Server::start_with(&["--relay-packets", "50"]);
    let [(mut alice, _, from_alice), (mut bob, at_bob, _)] = pair(&server, "lobby", [1, 2]);
    let [(mut carol, _, from_carol), (mut dave, at_dave, _)] = pair(&server, "den", [3, 4]);
    for _ in 0..500 {
        alice.send(&frames::up(from_alice, at_bob.slot, b"flood"));
    }
    carol.send(&frames::up(from_carol, at_dave.slot, b"served"));
    assert_eq!(dave.next_frame().1, b"served");

    let through = bob.frames_until_here(&server).len();
    assert!((50..400).contains(&through), "{through} of 500 frames");
}

#[test]
fn no_relay_gives_nobody_a_session() {
    let server = Server::start_with(&["--no-relay"]);
    let (_alice, joined) = Member::join(&server, 1, "lobby", "alice");
    assert_eq!(joined.relay, None);
}
