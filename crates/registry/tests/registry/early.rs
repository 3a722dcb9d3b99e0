//! Seats that are taken before their session is up.

use std::{net::SocketAddr, time::Duration};

use identity::{ChannelSecret, EarlyKeys};
use registry::{ConnId, Output, What};
use wire::{
    MemberSlot,
    early::DATAGRAM,
    signal::{Join, Joined, LeaveReason, TICKET_LIFETIME, Ticket, ToMember, ToServer},
};

use crate::support::{Server, address, channel, identity, joined, left, record, seated, sent, unseated};

/// Members have the address and the identity of their session's number.
const ALICE: u64 = 1;
const BOB: u64 = 2;
/// Bob's next session.
const BOB_AGAIN: u64 = 12;

fn join(channel: &str, name: &str, card: u8) -> Join {
    let (channel, name) = (channel.to_owned(), name.to_owned());
    Join { version: wire::VERSION, channel, name, proof: None, card: vec![card], hidden: false }
}

fn sealed(ticket: &Ticket, join: &Join) -> Vec<u8> {
    EarlyKeys::new(&ticket.key).seal_join(&ticket.sealed, join).unwrap().0
}

/// A rendezvous where Bob was once and Alice is.
fn met() -> (Server, Ticket) {
    let mut server = Server::new();
    server.registry.give_tickets([9; 32], server.now);
    let ticket = server.seat(BOB, "lobby", "bob").ticket.unwrap();
    server.say(BOB, ToServer::Leave);
    server.registry.handle_closed(ConnId(BOB), server.now);
    server.seat(ALICE, "lobby", "alice");
    server.seatings();
    server.outputs();
    server.happened();
    (server, ticket)
}

/// What comes of a datagram.
fn early(server: &mut Server, from: SocketAddr, datagram: &[u8]) -> Vec<Output> {
    server.registry.handle_early_join(from, datagram, server.now);
    server.outputs()
}

/// What stands for the session, of an early join that was good.
fn is_seated(outputs: &[Output]) -> (ConnId, Joined) {
    match outputs.last() {
        Some(Output::Send { conn, message: ToMember::Joined(joined) }) if conn.is_early() => (*conn, joined.clone()),
        other => panic!("not seated early: {other:?}"),
    }
}

fn session_of_bob(server: &mut Server) {
    server.registry.handle_connected(ConnId(BOB_AGAIN), identity(BOB as u8).key(), address(BOB), [4; 32], server.now);
}

fn names(server: &Server) -> Vec<String> {
    server.registry.members(&channel("lobby")).into_iter().map(|member| member.name).collect()
}

#[test]
fn who_was_here_before_is_seated_by_one_datagram_and_the_others_are_told_first() {
    let (mut server, ticket) = met();
    let datagram = sealed(&ticket, &join("lobby", "bob", 7));

    let outputs = early(&mut server, address(BOB), &datagram);

    assert!(matches!(&outputs[0], Output::Send { conn: ConnId(ALICE), message: ToMember::MemberJoined(member) }
        if member.name == "bob" && member.key == identity(BOB as u8).key() && member.observed == [address(BOB)]));
    let (conn, answer) = is_seated(&outputs);
    assert_eq!((answer.slot, answer.roster.len(), answer.ticket.clone()), (MemberSlot(1), 1, None));
    assert_eq!(server.seatings(), [Output::Seated { conn, channel: channel("lobby"), slot: MemberSlot(1) }]);
    assert_eq!(server.happened(), [What::Joined { name: "bob".into(), members: 2 }]);
    assert_eq!(server.registry.early_source(conn), Some(address(BOB)));
    let (to, datagram) = server.registry.early_answer(conn, &answer).unwrap();
    assert!(to == address(BOB) && datagram.len() <= DATAGRAM);
}

#[test]
fn the_session_takes_the_seat_over_and_nobody_else_hears_of_it() {
    let (mut server, ticket) = met();
    let (early_conn, first) = is_seated(&early(&mut server, address(BOB), &sealed(&ticket, &join("lobby", "bob", 7))));
    server.seatings();
    server.happened();

    session_of_bob(&mut server);
    let outputs = server.say(BOB_AGAIN, ToServer::Join(join("lobby", "bob", 7)));

    let answer = joined(&outputs);
    assert_eq!(outputs.len(), 2, "{outputs:?}");
    let over = Output::TakenOver {
        early: early_conn,
        conn: ConnId(BOB_AGAIN),
        channel: channel("lobby"),
        slot: MemberSlot(1),
    };
    assert_eq!(outputs[0], over);
    assert_eq!((answer.slot, &answer.roster), (first.slot, &first.roster));
    assert!(answer.ticket.is_some_and(|new| new != ticket), "and with it the next ticket");
    assert_eq!((server.seatings(), server.happened()), (vec![], vec![]));
    assert_eq!(server.registry.counts().1, 2, "what stood for the session is gone");
    server.wait(Duration::from_secs(20));
    assert_eq!(names(&server), ["alice", "bob"], "the seat lives as long as other seats");
}

#[test]
fn a_session_with_another_card_tells_the_others_that_alone() {
    let (mut server, ticket) = met();
    early(&mut server, address(BOB), &sealed(&ticket, &join("lobby", "bob", 7)));
    session_of_bob(&mut server);

    let outputs = server.say(BOB_AGAIN, ToServer::Join(join("lobby", "bob", 8)));

    assert!(matches!(&outputs[0], Output::Send { conn: ConnId(ALICE), message: ToMember::MemberChanged(member) }
        if member.slot == MemberSlot(1) && member.card == [8]));
}

#[test]
fn what_happens_before_the_session_is_up_is_in_its_roster() {
    let (mut server, ticket) = met();
    early(&mut server, address(BOB), &sealed(&ticket, &join("lobby", "bob", 7)));
    server.connect(3);
    let outputs = server.join(3, "lobby", "carol");
    assert!(outputs.iter().all(|output| !matches!(output, Output::Send { conn, .. } if conn.is_early())));

    session_of_bob(&mut server);
    let answer = joined(&server.say(BOB_AGAIN, ToServer::Join(join("lobby", "bob", 7))));

    let names: Vec<_> = answer.roster.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["alice", "carol"]);
}

#[test]
fn a_seat_whose_session_does_not_come_is_empty_after_five_seconds() {
    let (mut server, ticket) = met();
    let (conn, _) = is_seated(&early(&mut server, address(BOB), &sealed(&ticket, &join("lobby", "bob", 7))));
    server.seatings();

    server.registry.handle_alive(conn, server.now);
    assert_eq!(server.wait(Duration::from_millis(4990)), []);
    server.registry.handle_alive(conn, server.now);

    assert_eq!(server.wait(Duration::from_millis(20)), [sent(ALICE, left(1, LeaveReason::Expired))]);
    assert_eq!(server.seatings(), [Output::Unseated { conn }]);
    assert_eq!(server.registry.counts().1, 1);
    session_of_bob(&mut server);
    let answer = joined(&server.say(BOB_AGAIN, ToServer::Join(join("lobby", "bob", 7))));
    assert_eq!(answer.slot, MemberSlot(2), "a session that comes later finds a seat as ever");
}

#[test]
fn a_datagram_that_comes_again_or_from_elsewhere_or_late_or_after_a_restart_gets_silence() {
    let (mut server, ticket) = met();
    let datagram = sealed(&ticket, &join("lobby", "bob", 7));
    assert_eq!(early(&mut server, address(3), &datagram), [], "another address");
    is_seated(&early(&mut server, "203.0.113.2:999".parse().unwrap(), &datagram));
    assert_eq!(early(&mut server, address(BOB), &datagram), [], "the ticket is used");
    assert_eq!(names(&server), ["alice", "bob"]);

    let (mut server, ticket) = met();
    server.now += TICKET_LIFETIME;
    assert_eq!(early(&mut server, address(BOB), &sealed(&ticket, &join("lobby", "bob", 7))), [], "a day later");

    let (mut server, ticket) = met();
    server.registry.give_tickets([10; 32], server.now);
    assert_eq!(early(&mut server, address(BOB), &sealed(&ticket, &join("lobby", "bob", 7))), [], "a restart");
    assert_eq!(early(&mut server, address(BOB), &[18; DATAGRAM]), [], "garbage");
    assert_eq!(early(&mut server, address(BOB), &[18; 100]), [], "short garbage");
}

#[test]
fn a_datagram_that_was_held_back_puts_nobody_out() {
    let (mut server, ticket) = met();
    session_of_bob(&mut server);
    joined(&server.say(BOB_AGAIN, ToServer::Join(join("lobby", "bob", 7))));

    assert_eq!(early(&mut server, address(BOB), &sealed(&ticket, &join("lobby", "bob", 7))), []);

    assert_eq!(names(&server), ["alice", "bob"]);
}

#[test]
fn who_starts_again_before_its_old_session_is_missed_takes_its_seat_from_it() {
    let mut server = Server::new();
    server.registry.give_tickets([9; 32], server.now);
    let ticket = server.seat(BOB, "lobby", "bob").ticket.unwrap();
    server.seatings();

    let outputs = early(&mut server, address(BOB), &sealed(&ticket, &join("lobby", "bob", 8)));

    assert_eq!(outputs[0], sent(BOB, left(0, LeaveReason::Replaced)));
    let (conn, _) = is_seated(&outputs);
    assert_eq!(server.seatings()[..1], [unseated(BOB)]);
    assert!(conn.is_early());
}

#[test]
fn a_channel_with_a_secret_asks_for_a_proof_over_what_follows_from_the_ticket() {
    let (mut server, ticket) = met();
    let secret = ChannelSecret::open(&server.key, "stands for any secret");
    server.registry.restore(record("den", Some(secret.join_key().key())));
    let wrong = join("den", "bob", 7);
    assert_eq!(early(&mut server, address(BOB), &sealed(&ticket, &wrong)), [], "no proof, no seat, and no word");

    let again = joined(&{
        session_of_bob(&mut server);
        server.say(BOB_AGAIN, ToServer::Join(join("lobby", "bob", 7)))
    });
    let ticket = again.ticket.unwrap();
    let exporter = EarlyKeys::new(&ticket.key).exporter();
    let statement = identity::join_statement(&server.key, "den", &exporter, &identity(BOB as u8).key());
    let right = Join { proof: Some(secret.join_key().sign(&statement)), ..join("den", "bob", 7) };
    let outputs = early(&mut server, address(BOB), &sealed(&ticket, &right));
    assert_eq!(is_seated(&outputs).1.slot, MemberSlot(0));
    assert_eq!(server.registry.members(&channel("den")).len(), 1);
}

#[test]
fn who_hides_is_hidden_early_as_well() {
    let (mut server, ticket) = met();
    let hidden = Join { hidden: true, ..join("lobby", "bob", 7) };
    let outputs = early(&mut server, address(BOB), &sealed(&ticket, &hidden));
    assert!(
        matches!(&outputs[0], Output::Send { message: ToMember::MemberJoined(member), .. } if member.observed.is_empty())
    );
}

#[test]
fn a_roster_that_is_too_much_for_a_datagram_is_left_to_the_session() {
    let (mut server, ticket) = met();
    for who in 20..45 {
        server.seat(who, "lobby", &format!("member-{who}-of-a-big-channel"));
    }
    server.seatings();
    let (conn, answer) = is_seated(&early(&mut server, address(BOB), &sealed(&ticket, &join("lobby", "bob", 7))));
    assert_eq!(server.registry.early_answer(conn, &answer), None);

    session_of_bob(&mut server);
    let answer = joined(&server.say(BOB_AGAIN, ToServer::Join(join("lobby", "bob", 7))));
    assert_eq!((answer.slot, answer.roster.len()), (MemberSlot(26), 26));
}

#[test]
fn who_moves_to_another_address_gets_a_ticket_for_it() {
    let (mut server, _) = met();
    let same_ip = "203.0.113.1:999".parse().unwrap();
    server.registry.handle_moved(ConnId(ALICE), same_ip, server.now);
    assert_eq!(server.outputs(), [sent(ALICE, ToMember::Observed(same_ip))]);

    server.registry.handle_moved(ConnId(ALICE), address(77), server.now);

    let outputs = server.outputs();
    let [_, Output::Send { message: ToMember::Ticket(ticket), .. }] = &outputs[..] else { panic!("{outputs:?}") };
    server.registry.handle_closed(ConnId(ALICE), server.now);
    is_seated(&early(&mut server, address(77), &sealed(ticket, &join("lobby", "alice", 7))));
}

#[test]
fn a_server_that_closes_seats_nobody_and_says_nothing_to_early_seats() {
    let (mut server, ticket) = met();
    let another = server.seat(BOB, "den", "bob").ticket.unwrap();
    is_seated(&early(&mut server, address(BOB), &sealed(&ticket, &join("lobby", "bob", 7))));
    server.registry.close();
    assert!(server.outputs().iter().all(|output| {
        !matches!(output, Output::Send { conn, .. } | Output::Close { conn, .. } if conn.is_early())
    }));
    assert_eq!(early(&mut server, address(BOB), &sealed(&another, &join("lobby", "bob", 7))), []);
}

#[test]
fn where_no_tickets_are_given_an_early_join_gets_silence() {
    let (_, ticket) = met();
    let mut server = Server::new();
    assert_eq!(server.seat(ALICE, "lobby", "alice").ticket, None);
    assert_eq!(server.seatings(), [seated(ALICE, "lobby", 0)]);
    assert_eq!(early(&mut server, address(BOB), &sealed(&ticket, &join("lobby", "bob", 7))), []);
}
