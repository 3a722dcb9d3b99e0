//! Members over real QUIC sessions.

use identity::{ChannelSecret, InviteSecret};
use link::CloseReason;
use registry::CloseWhy;
use serde_json::json;
use wire::{
    MemberSlot,
    signal::{ChannelKind, LeaveReason, Refusal, ToMember, ToServer},
};

use crate::support::{Member, Server, identity, until};

fn refusal(member: &mut Member) -> Refusal {
    match member.hear() {
        ToMember::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn two_people_and_one_word_are_enough_to_meet() {
    let server = Server::start();
    let (mut alice, joined) = Member::join(&server, 1, "lobby", "alice");
    assert_eq!((joined.kind, joined.observed, joined.roster.len()), (ChannelKind::Open, alice.at(), 0));

    let (mut bob, joined) = Member::join(&server, 2, "lobby", "bob");

    let [known] = &joined.roster[..] else { panic!("{joined:?}") };
    assert_eq!((known.name.as_str(), known.key, &known.observed[..]), ("alice", identity(1).key(), &[alice.at()][..]));
    assert_eq!(known.card, [1, 2, 3]);
    let ToMember::MemberJoined(newcomer) = alice.hear() else { panic!() };
    assert_eq!((newcomer.name.as_str(), &newcomer.observed[..]), ("bob", &[bob.at()][..]));

    bob.say(&ToServer::Leave);
    assert_eq!(alice.hear(), ToMember::MemberLeft { slot: newcomer.slot, why: LeaveReason::Left });
    assert_eq!(bob.end(), remote(CloseWhy::Left));
    alice.say(&ToServer::Leave);
    until("the channel is gone", || server.names().is_empty());
}

fn remote(why: CloseWhy) -> CloseReason {
    CloseReason::Remote { code: why.code(), reason: why.to_string() }
}

#[test]
fn who_is_there_has_heard_of_a_newcomer_when_the_newcomer_hears_of_it() {
    let server = Server::start();
    let mut members: Vec<Member> = Vec::new();
    for number in 1..=8 {
        members.push(Member::join(&server, number, "lobby", &format!("m{number}")).0);
        let (newcomer, others) = members.split_last_mut().unwrap();
        for other in others {
            let heard = other.has_heard();
            assert!(
                matches!(&heard, Some(ToMember::MemberJoined(member)) if member.observed == [newcomer.at()]),
                "{heard:?}"
            );
        }
    }
}

#[test]
fn a_dual_stack_socket_tells_ipv4_members_ipv4_addresses() {
    let server = Server::start_with(&["--udp", "[::]:0"]);
    for (number, host) in [(1, "127.0.0.1"), (2, "[::1]")] {
        let at = format!("{host}:{}", server.udp.port()).parse().unwrap();
        let mut member = Member::connect_to(&server, at, number);
        member.ask_to_join("lobby", &format!("m{number}"), None);
        let joined = loop {
            if let ToMember::Joined(joined) = member.hear() {
                break joined;
            }
        };
        assert_eq!(joined.observed, member.at());
    }
}

#[test]
fn a_password_channel_opens_to_its_password_alone() {
    let server = Server::start();
    let secret = ChannelSecret::from_invite(&InviteSecret::from_bytes([5; 16]));
    let wrong = ChannelSecret::from_invite(&InviteSecret::from_bytes([6; 16]));
    let join_key = secret.join_key().key().to_string();
    server.create(&json!({ "name": "den", "kind": "password", "join_key": join_key }));

    let mut alice = Member::connect(&server, 1);
    alice.ask_to_join("den", "alice", None);
    assert_eq!(refusal(&mut alice), Refusal::ProofNeeded(ChannelKind::Password));
    assert_eq!(alice.end(), remote(CloseWhy::Refused));

    let mut alice = Member::connect(&server, 1);
    alice.ask_to_join("den", "alice", alice.proof(&server, "den", &wrong));
    assert_eq!(refusal(&mut alice), Refusal::WrongProof);

    let mut alice = Member::connect(&server, 1);
    alice.ask_to_join("den", "alice", alice.proof(&server, "den", &secret));
    assert!(matches!(alice.hear(), ToMember::Joined(_)));
}

#[test]
fn an_unknown_channel_is_refused_where_none_is_made_on_the_fly() {
    let server = Server::start_with(&["--no-adhoc"]);
    let mut alice = Member::connect(&server, 1);
    alice.ask_to_join("lobby", "alice", None);
    assert_eq!(refusal(&mut alice), Refusal::UnknownChannel);

    server.create(&json!({ "name": "lobby" }));
    Member::join(&server, 1, "lobby", "alice");
}

#[test]
fn names_that_are_none_or_taken_are_refused() {
    let server = Server::start();
    let (_alice, _) = Member::join(&server, 1, "lobby", "alice");
    for (name, expected) in
        [("alice", "taken"), ("a\u{1b}[2J", "not acceptable"), (&*"x".repeat(200), "not acceptable")]
    {
        let mut bob = Member::connect(&server, 2);
        bob.ask_to_join("lobby", name, None);
        let why = refusal(&mut bob).to_string();
        assert!(why.contains(expected), "{name:?}: {why}");
    }
}

#[test]
fn a_message_that_makes_no_sense_ends_the_session_and_nothing_else() {
    let server = Server::start();
    let (mut alice, _) = Member::join(&server, 1, "lobby", "alice");
    let mut mallory = Member::connect(&server, 2);
    mallory.say_bytes(&[0xff; 100]);
    assert!(matches!(refusal(&mut mallory), Refusal::Protocol(_)));
    assert_eq!(mallory.end(), remote(CloseWhy::Refused));

    Member::join(&server, 3, "lobby", "carol");
    assert!(matches!(alice.hear(), ToMember::MemberJoined(_)));
}

#[test]
fn who_comes_back_with_the_same_key_takes_its_place_again() {
    let server = Server::start();
    let (mut alice, _) = Member::join(&server, 1, "lobby", "alice");
    let (mut old, before) = Member::join(&server, 2, "lobby", "bob");
    let (_new, after) = Member::join(&server, 2, "lobby", "bob");

    assert_ne!(before.slot, after.slot);
    let replaced = ToMember::MemberLeft { slot: before.slot, why: LeaveReason::Replaced };
    assert!(matches!(alice.hear(), ToMember::MemberJoined(_)));
    assert_eq!(alice.hear(), replaced);
    assert!(matches!(alice.hear(), ToMember::MemberJoined(member) if member.slot == after.slot));
    assert_eq!(old.hear(), replaced);
    assert_eq!(old.end(), remote(CloseWhy::Replaced));
}

#[test]
fn a_new_address_is_told_to_everybody() {
    let server = Server::start();
    let (mut alice, _) = Member::join(&server, 1, "lobby", "alice");
    let (mut bob, joined) = Member::join(&server, 2, "lobby", "bob");
    assert!(matches!(alice.hear(), ToMember::MemberJoined(_)));

    bob.move_away();
    bob.say(&ToServer::Card(vec![9]));

    assert_eq!(bob.hear(), ToMember::Observed(bob.at()));
    // The address and the card may be told of together, or one after the other.
    let is_all = |member: &wire::signal::Member| member.observed == [bob.at()] && member.card == [9];
    loop {
        let ToMember::MemberChanged(member) = alice.hear() else { panic!() };
        assert_eq!(member.slot, joined.slot);
        if is_all(&member) {
            break;
        }
    }
}

#[test]
fn members_of_a_deleted_channel_are_told_and_out() {
    let server = Server::start();
    let capability = server.create(&json!({ "name": "den" }));
    let (mut alice, _) = Member::join(&server, 1, "den", "alice");

    assert_eq!(server.delete("/api/channels/den", &capability).status, 204);

    assert_eq!(alice.hear(), ToMember::MemberLeft { slot: MemberSlot(0), why: LeaveReason::ChannelDeleted });
    assert_eq!(alice.end(), remote(CloseWhy::ChannelDeleted));
}
