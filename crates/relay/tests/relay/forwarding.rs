//! Whose frames go to whom.

use std::time::Duration;

use relay::{Dropped, Event};
use wire::{MemberSlot, relay as frames};

use crate::support::{Server, address};

#[test]
fn a_frame_goes_to_the_member_whose_seat_it_names_and_to_nobody_else() {
    let mut server = Server::new();
    let [alice, bob, _carol] = [0, 1, 2].map(|seat| server.seat("lobby", seat));

    let sent = server.send(alice, 1, b"sealed").unwrap();

    assert_eq!(sent, (b"\x19\x00\x00sealed".to_vec(), vec![bob.at]));
}

#[test]
fn one_frame_for_several_reaches_each_of_them() {
    let mut server = Server::new();
    let [_, bob, carol, dave] = [0, 1, 2, 3].map(|seat| server.seat("lobby", seat));

    let (frame, to) = server.send_to_all(carol, &[0, 3, 1], b"x").unwrap();

    assert_eq!((frame.as_slice(), to), (&b"\x19\x00\x02x"[..], vec![address(0), dave.at, bob.at]));
}

#[test]
fn a_seat_of_another_channel_is_not_reached() {
    let mut server = Server::new();
    let [alice, bob] = [("lobby", 0), ("lobby", 1)].map(|(name, seat)| server.seat(name, seat));
    server.seat("den", 2);

    assert_eq!(server.send(alice, 2, b"x"), Err(Dropped::EmptySeat));
    let (_, to) = server.send_to_all(alice, &[2, 1], b"x").unwrap();
    assert_eq!(to, [bob.at]);
    assert_eq!(server.relay.counts().empty_seats, 2);
}

#[test]
fn a_number_that_was_not_given_out_forwards_nothing() {
    let mut server = Server::new();
    let [alice, bob] = [0, 1].map(|seat| server.seat("lobby", seat));
    for bit in 0..64 {
        let guess = frames::up(alice.session ^ 1 << bit, MemberSlot(1), b"x");
        assert_eq!(server.take(alice.at, guess), Err(Dropped::NoSession), "bit {bit}");
    }
    assert_ne!(alice.session, bob.session);
    assert_eq!(server.relay.counts().dropped(Dropped::NoSession), 64);
}

#[test]
fn a_session_goes_on_under_its_number_when_its_member_gets_another_name() {
    let mut server = Server::new();
    let [alice, bob] = [0, 1].map(|seat| server.seat("lobby", seat));
    let conn = registry::ConnId(7);

    assert!(server.relay.hand_over(alice.conn(), conn));

    assert_eq!(server.relay.grant(conn).map(|grant| grant.session), Some(alice.session));
    assert_eq!(server.relay.grant(alice.conn()), None);
    assert_eq!(server.send(alice, 1, b"x").unwrap().1, [bob.at]);
    assert_eq!(server.send(bob, 0, b"x").unwrap().1, [alice.at]);
    assert!(!server.relay.hand_over(alice.conn(), conn), "it has no session any more");
    server.relay.close(conn);
    assert_eq!(server.send(alice, 1, b"x"), Err(Dropped::NoSession));
}

#[test]
fn bytes_that_are_no_frame_go_nowhere() {
    let mut server = Server::new();
    let alice = server.seat("lobby", 0);
    server.seat("lobby", 1);
    let whole = frames::fan_out(alice.session, &[MemberSlot(1), MemberSlot(1)], b"x");
    for len in 0..whole.len() {
        assert_eq!(server.take(alice.at, whole[..len].to_vec()), Err(Dropped::Malformed), "{len} bytes");
    }
    let too_long = vec![0; frames::MAX_SEALED + 1];
    assert_eq!(server.send(alice, 1, &too_long), Err(Dropped::Malformed));
}

#[test]
fn nobody_is_sent_its_own_frames() {
    let mut server = Server::new();
    let alice = server.seat("lobby", 0);
    assert_eq!(server.send(alice, 0, b"x"), Err(Dropped::EmptySeat));
}

#[test]
fn a_member_that_roams_is_heard_at_once_and_hears_when_its_address_is_validated() {
    let mut server = Server::new();
    let [alice, bob] = [0, 1].map(|seat| server.seat("lobby", seat));
    let elsewhere = address(100);

    let (_, to) = server.take(elsewhere, frames::up(alice.session, MemberSlot(1), b"x")).unwrap();
    assert_eq!(to, [bob.at]);
    assert_eq!(server.relay.counts().elsewhere, 1);
    assert_eq!(server.send(bob, 0, b"x").unwrap().1, [alice.at], "not validated yet");

    server.relay.moved(alice.conn(), elsewhere, elsewhere.ip());
    assert_eq!(server.send(bob, 0, b"x").unwrap().1, [elsewhere]);
}

#[test]
fn a_closed_session_neither_sends_nor_receives() {
    let mut server = Server::new();
    let [alice, bob] = [0, 1].map(|seat| server.seat("lobby", seat));

    server.relay.close(bob.conn());

    assert_eq!(server.send(bob, 0, b"x"), Err(Dropped::NoSession));
    assert_eq!(server.send(alice, 1, b"x"), Err(Dropped::EmptySeat));
    assert_eq!(server.relay.sessions(), 1);
    server.relay.close(bob.conn());
    server.relay.moved(bob.conn(), address(9), address(9).ip());
    assert_eq!(server.relay.sessions(), 1, "what is closed stays closed");
}

#[test]
fn who_takes_a_seat_again_gets_another_number() {
    let mut server = Server::new();
    let alice = server.seat("lobby", 0);
    let bob = server.seat("lobby", 1);
    let again = server.seat_at("lobby", 1, address(50));

    assert_ne!(bob.session, again.session);
    assert_eq!(server.send(bob, 0, b"x"), Err(Dropped::NoSession));
    assert_eq!(server.send(alice, 1, b"x").unwrap().1, [address(50)]);
}

#[test]
fn a_channel_that_was_empty_begins_anew() {
    let mut server = Server::new();
    for round in 0..3 {
        let [alice, bob] = [0, 1].map(|seat| server.seat("lobby", 2 * round + seat));
        assert_eq!(server.send(alice, bob.seat, b"x").unwrap().1, [bob.at]);
        for member in [alice, bob] {
            server.relay.close(member.conn());
        }
        assert_eq!(server.relay.sessions(), 0);
    }
}

#[test]
fn frames_from_the_validated_address_are_a_sign_of_life_once_a_second() {
    let mut server = Server::new();
    let [alice, _bob] = [0, 1].map(|seat| server.seat("lobby", seat));
    let mut told = Vec::new();
    for _ in 0..300 {
        server.send(alice, 1, b"x").unwrap();
        told.extend(std::iter::from_fn(|| server.relay.poll_event()));
        server.wait(Duration::from_millis(10));
    }
    assert_eq!(told, [Event::Alive(alice.conn()), Event::Alive(alice.conn())]);

    server.wait(Duration::from_secs(5));
    server.take(address(100), frames::up(alice.session, MemberSlot(1), b"x")).unwrap();
    assert_eq!(server.relay.poll_event(), None, "whoever has copied a frame can't keep a member alive");
}
