//! How much gets through.

use std::time::Duration;

use relay::{Dropped, Limits};

use crate::support::{Member, Server};

const SECOND: Duration = Duration::from_secs(1);

/// Wide open, so that a test can narrow one limit.
fn wide() -> Limits {
    let much = 1 << 40;
    Limits {
        session: much,
        session_packets: much,
        burst: 1 << 30,
        source: much,
        channel: much,
        all: much,
        ..Limits::default()
    }
}

#[test]
fn a_flood_is_cut_to_the_rate_of_its_session() {
    let mut server = Server::new();
    let alice = server.seat("lobby", 0);
    server.seat("lobby", 1);
    // 1,003 bytes leave for each: 63 at once, then 124 a second; 10,000 come in 10 seconds.
    let (through, why) = server.stream(10_000, SECOND / 1000, |server| server.send(alice, 1, &[0; 1000]));
    assert!((1_305..=1_311).contains(&through), "{through}");
    assert_eq!(why, Some(Dropped::Session));
    assert_eq!(server.relay.counts().dropped(Dropped::Session), 10_000 - through as u64);
}

#[test]
fn a_flood_of_small_frames_is_cut_by_their_number() {
    let mut server = Server::new();
    let alice = server.seat("lobby", 0);
    server.seat("lobby", 1);
    let (through, why) = server.stream(100_000, SECOND / 10_000, |server| server.send(alice, 1, b"x"));
    assert!((13_190..=13_201).contains(&through), "1,200 at once and 1,200 in each of 10 seconds: {through}");
    assert_eq!(why, Some(Dropped::Session));
}

#[test]
fn every_copy_counts() {
    let mut server = Server::with(Limits { session_packets: 700, ..wide() });
    let members: Vec<Member> = (0..8).map(|seat| server.seat("lobby", seat)).collect();
    server.stream(100, Duration::ZERO, |server| server.send_to_all(members[0], &[1, 2, 3, 4, 5, 6, 7], b"x"));
    assert_eq!(server.send(members[0], 1, b"x"), Err(Dropped::Session));
    let counts = server.relay.counts();
    assert_eq!((counts.frames, counts.copies, counts.bytes), (100, 700, 2_800));
}

#[test]
fn members_behind_one_address_share_a_quota() {
    let mut server = Server::with(Limits { source: 80_000, burst: 10_000, ..wide() });
    let alice = server.seat_at("lobby", 0, "203.0.113.1:1".parse().unwrap());
    let bob = server.seat_at("lobby", 1, "203.0.113.1:2".parse().unwrap());
    let carol = server.seat_at("lobby", 2, "203.0.113.2:1".parse().unwrap());
    while server.send(alice, 1, &[0; 997]).is_ok() {}
    assert_eq!(server.send(bob, 0, &[0; 997]), Err(Dropped::Source));
    assert!(server.send(carol, 0, &[0; 997]).is_ok());
    server.relay.moved(bob.conn(), "203.0.113.3:2".parse().unwrap(), "203.0.113.3".parse().unwrap());
    assert!(server.send(bob, 0, &[0; 997]).is_ok(), "it has moved out");
}

#[test]
fn this_machine_is_no_subscriber_unless_it_is_said_to_be() {
    let narrow = Limits { source: 80_000, burst: 10_000, ..wide() };
    for (limit_loopback, expected) in [(false, 100..=100), (true, 10..=11)] {
        let mut server = Server::with(Limits { limit_loopback, ..narrow.clone() });
        let alice = server.seat_at("lobby", 0, "[::ffff:127.0.0.1]:1".parse().unwrap());
        server.seat("lobby", 1);
        let (through, _) = server.stream(100, SECOND / 1000, |server| server.send(alice, 1, &[0; 997]));
        assert!(expected.contains(&through), "{through}");
    }
}

#[test]
fn a_channel_and_the_server_have_their_limits() {
    for (limits, why) in [
        (Limits { channel: 80_000, burst: 10_000, ..wide() }, Dropped::Channel),
        (Limits { all: 80_000, burst: 10_000, ..wide() }, Dropped::Server),
    ] {
        let mut server = Server::with(limits);
        let [alice, bob] = [0, 1].map(|seat| server.seat("lobby", seat));
        let [carol, _dave] = [2, 3].map(|seat| server.seat("den", seat));
        while server.send(alice, 1, &[0; 997]).is_ok() {}
        assert_eq!(server.send(bob, 0, &[0; 997]), Err(why));
        assert_eq!(server.send(carol, 3, &[0; 997]).is_ok(), why == Dropped::Channel);
    }
}

#[test]
fn what_one_limit_stops_is_not_charged_to_the_others() {
    let mut server = Server::with(Limits { channel: 80_000, burst: 10_000, session: 80_000, ..wide() });
    let [alice, bob] = [0, 1].map(|seat| server.seat("lobby", seat));
    while server.send(alice, 1, &[0; 997]).is_ok() {}
    let (through, _) = server.stream(50, Duration::ZERO, |server| server.send(bob, 0, &[0; 997]));
    assert_eq!(through, 0);
    server.wait(SECOND);
    let (through, _) = server.stream(10, Duration::ZERO, |server| server.send(bob, 0, &[0; 997]));
    assert_eq!(through, 10);
}

#[test]
fn a_call_of_eight_that_all_talk_all_the_time_meets_no_limit() {
    let mut server = Server::new();
    let members: Vec<Member> = (0..8).map(|seat| server.seat("lobby", seat)).collect();
    let everybody_else = |seat: u16| (0..8).filter(move |other| *other != seat);
    // 110 packets a second for each of the others, 20 seconds long; the larger ones carry a redundant copy.
    for sealed in [[0; 79].as_slice(), &[0; 129]] {
        let turns = 20 * 110;
        for _ in 0..turns {
            for member in &members {
                for other in everybody_else(member.seat) {
                    assert!(server.send(*member, other, sealed).is_ok());
                }
            }
            server.wait(SECOND / 110);
        }
    }
    let counts = server.relay.counts();
    assert_eq!(counts.drops().map(|(_, count)| count).sum::<u64>(), 0);
    assert_eq!(counts.copies, 2 * 20 * 110 * 8 * 7);
}
