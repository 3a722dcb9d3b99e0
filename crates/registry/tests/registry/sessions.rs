//! How sessions join, change and end.

use std::time::Duration;

use identity::ChannelSecret;
use registry::{CloseWhy, ConnId, Limits, Origin, Output};
use wire::{
    MemberSlot,
    signal::{ChannelKind, Join, LeaveReason, Refusal, Signature, ToMember, ToServer},
};

use crate::support::{Server, address, channel, closed, exporter, identity, joined, left, record, refusal, sent};

#[test]
fn members_are_told_of_a_newcomer_before_the_newcomer_gets_its_roster() {
    let mut server = Server::new();
    server.seat(1, "lobby", "alice");
    server.seat(2, "lobby", "bob");

    server.connect(3);
    let outputs = server.join(3, "lobby", "carol");

    let kinds: Vec<_> = outputs
        .iter()
        .map(|output| match output {
            Output::Send { conn, message: ToMember::MemberJoined(member) } => (conn.0, member.name.clone()),
            Output::Send { conn, message: ToMember::Joined(joined) } => {
                (conn.0, format!("{} others", joined.roster.len()))
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, [(1, "carol".into()), (2, "carol".into()), (3, "2 others".into())]);
}

#[test]
fn nobody_is_told_where_a_member_is_that_hides() {
    let mut server = Server::new();
    server.seat(1, "lobby", "alice");

    server.connect(2);
    let (channel, name) = ("lobby".into(), "bob".into());
    let join = Join { version: wire::VERSION, channel, name, proof: None, card: vec![2], hidden: true };
    let outputs = server.say(2, ToServer::Join(join));

    let told = outputs.iter().find_map(|output| match output {
        Output::Send { message: ToMember::MemberJoined(member), .. } => Some(member.observed.clone()),
        _ => None,
    });
    assert_eq!(told, Some(vec![]));
    assert_eq!(joined(&outputs).observed, address(2), "the member itself is told");
    server.registry.handle_moved(ConnId(2), address(7), server.now);
    let outputs: Vec<_> = std::iter::from_fn(|| server.registry.poll_output()).collect();
    let tells = |output: &Output| matches!(output, Output::Send { message: ToMember::MemberChanged(m), .. } if !m.observed.is_empty());
    assert!(!outputs.iter().any(tells), "{outputs:?}");
}

#[test]
fn a_roster_tells_name_key_address_and_card_of_everybody_else() {
    let mut server = Server::new();
    server.seat(1, "lobby", "alice");

    let joined = server.seat(2, "lobby", "  bob ");

    assert_eq!((joined.slot, joined.name.as_str()), (MemberSlot(1), "bob"));
    assert_eq!((joined.observed, joined.kind), (address(2), ChannelKind::Open));
    let [alice] = &joined.roster[..] else { panic!("{joined:?}") };
    assert_eq!((alice.slot, alice.name.as_str(), alice.key), (MemberSlot(0), "alice", identity(1).key()));
    assert_eq!((&alice.observed[..], &alice.card[..]), (&[address(1)][..], &[1][..]));
}

#[test]
fn an_ipv4_mapped_address_is_told_as_ipv4() {
    let mut server = Server::new();
    let mapped: std::net::SocketAddr = "[::ffff:203.0.113.1]:4000".parse().unwrap();
    server.registry.handle_connected(ConnId(1), identity(1).key(), mapped, exporter(1), server.now);
    assert_eq!(joined(&server.join(1, "lobby", "alice")).observed, address(1));
}

#[test]
fn a_member_behind_a_tunnel_is_told_where_it_comes_from_and_nobody_else_is() {
    let mut server = Server::new();
    server.seat(1, "lobby", "alice");
    let tunnel = |conn| Origin::Tunnel(address(conn));
    server.registry.handle_connected(ConnId(2), identity(2).key(), tunnel(2), exporter(2), server.now);
    let outputs = server.join(2, "lobby", "bob");
    assert_eq!(joined(&outputs).observed, address(2));
    let Output::Send { conn: ConnId(1), message: ToMember::MemberJoined(bob) } = &outputs[0] else {
        panic!("{outputs:?}")
    };
    assert_eq!(bob.observed, []);

    server.registry.handle_moved(ConnId(2), address(2), server.now);
    let outputs = server.outputs();
    let Output::Send { conn: ConnId(1), message: ToMember::MemberChanged(bob) } = &outputs[1] else {
        panic!("{outputs:?}")
    };
    assert_eq!(bob.observed, [address(2)], "once it comes by datagrams");
}

#[test]
fn who_leaves_is_gone_at_once_and_its_slot_is_not_used_again() {
    let mut server = Server::new();
    server.seat(1, "lobby", "alice");
    let bob = server.seat(2, "lobby", "bob");

    let outputs = server.say(2, ToServer::Leave);
    assert_eq!(outputs, [sent(1, left(bob.slot.0, LeaveReason::Left))]);
    assert_eq!(server.wait(Duration::from_secs(3)), [closed(2, CloseWhy::Left)]);

    server.connect_as(3, 2);
    assert_eq!(joined(&server.join(3, "lobby", "bob")).slot, MemberSlot(2));
}

#[test]
fn a_member_that_closes_has_left_and_one_that_is_lost_has_expired() {
    let mut server = Server::new();
    server.seat(1, "lobby", "alice");
    server.seat(2, "lobby", "bob");
    server.seat(3, "lobby", "carol");
    server.registry.handle_closed(ConnId(2), server.now);
    server.registry.handle_lost(ConnId(3), server.now);
    let outputs = server.outputs();
    assert!(outputs.contains(&sent(1, left(1, LeaveReason::Left))), "{outputs:?}");
    assert!(outputs.contains(&sent(1, left(2, LeaveReason::Expired))), "{outputs:?}");
}

#[test]
fn a_silent_member_is_gone_after_thirty_seconds() {
    let mut server = Server::new();
    server.seat(1, "lobby", "alice");
    server.seat(2, "lobby", "bob");
    assert_eq!(server.wait(Duration::from_secs(29)), []);
    server.registry.handle_alive(ConnId(1), server.now);

    let outputs = server.wait(Duration::from_secs(2));

    assert_eq!(outputs, [sent(1, left(1, LeaveReason::Expired)), sent(2, left(1, LeaveReason::Expired))]);
    assert_eq!(server.wait(Duration::from_secs(2)), [closed(2, CloseWhy::Silent)]);
    assert_eq!(server.registry.members(&channel("lobby")).len(), 1);
}

#[test]
fn the_same_key_joining_again_replaces_its_old_seat() {
    let mut server = Server::new();
    server.seat(1, "lobby", "alice");
    server.seat(2, "lobby", "bob");

    server.connect_as(3, 2);
    let outputs = server.join(3, "lobby", "bob");

    let replaced = left(1, LeaveReason::Replaced);
    assert_eq!(outputs[..2], [sent(1, replaced.clone()), sent(2, replaced)]);
    assert!(matches!(&outputs[2], Output::Send { conn: ConnId(1), message: ToMember::MemberJoined(_) }));
    let joined = joined(&outputs);
    assert_eq!((joined.slot, joined.roster.len()), (MemberSlot(2), 1));
    assert_eq!(server.wait(Duration::from_secs(3)), [closed(2, CloseWhy::Replaced)]);

    server.registry.handle_closed(ConnId(2), server.now);
    assert_eq!(server.outputs(), [], "the old session's end concerns nobody");
}

#[test]
fn a_name_is_unique_in_its_channel_as_people_see_it() {
    let mut server = Server::new();
    server.seat(1, "lobby", "alice");
    for (conn, name) in [(2, "alice"), (3, "aIice"), (4, "аlice"), (5, "ALICE"), (6, "al\u{200d}ice")] {
        server.connect(conn);
        assert_eq!(refusal(&server.join(conn, "lobby", name)), Refusal::NameTaken, "{name}");
    }
    server.seat(7, "kitchen", "alice");
}

#[test]
fn names_that_are_none_are_refused_and_say_why() {
    let mut server = Server::new();
    for (conn, name) in [(1, ""), (2, "a\u{1b}[31m"), (3, "\u{202e}evil"), (4, &*"x".repeat(200))] {
        server.connect(conn);
        assert!(matches!(refusal(&server.join(conn, "lobby", name)), Refusal::BadName(_)), "{name:?}");
        server.connect(conn + 10);
        assert!(matches!(refusal(&server.join(conn + 10, name, "alice")), Refusal::BadChannel(_)), "{name:?}");
    }
}

#[test]
fn a_channel_with_a_secret_opens_to_its_proof_alone() {
    let mut server = Server::new();
    let secret = ChannelSecret::open(&server.key, "made up");
    server.registry.restore(record("den", Some(secret.join_key().key())));

    server.connect(1);
    assert_eq!(refusal(&server.join(1, "den", "alice")), Refusal::ProofNeeded(ChannelKind::Password));

    let wrong = ChannelSecret::open(&server.key, "another");
    for (conn, proof) in [
        (2, server.proof(&wrong, "den", 2, 2)),
        (3, server.proof(&secret, "den", 9, 3)),
        (4, server.proof(&secret, "den", 4, 9)),
        (5, server.proof(&secret, "lobby", 5, 5)),
        (6, Some(Signature(vec![1, 2, 3]))),
    ] {
        server.connect(conn);
        assert_eq!(refusal(&server.join_with(conn, "den", "alice", proof)), Refusal::WrongProof, "session {conn}");
    }

    server.connect(7);
    let proof = server.proof(&secret, "den", 7, 7);
    assert_eq!(joined(&server.join_with(7, "den", "alice", proof)).kind, ChannelKind::Password);
}

#[test]
fn ten_wrong_proofs_from_a_network_close_it_for_five_minutes() {
    let mut server = Server::new();
    let secret = ChannelSecret::open(&server.key, "made up");
    server.registry.restore(record("den", Some(secret.join_key().key())));
    for conn in 1..=10 {
        server.connect(conn);
        let outputs = server.join_with(conn, "den", "mallory", Some(Signature(vec![0; 64])));
        assert_eq!(refusal(&outputs), Refusal::WrongProof);
    }

    server.connect(11);
    let proof = server.proof(&secret, "den", 11, 11);
    let outputs = server.join_with(11, "den", "alice", proof);
    assert_eq!(refusal(&outputs), Refusal::TooManyAttempts(301), "even if it is right, or guessing would go on");

    server.connect(12);
    server.join(12, "lobby", "alice");
    assert_eq!(server.registry.members(&channel("lobby")).len(), 1, "open channels are not concerned");

    server.wait(Duration::from_secs(300));
    server.connect(13);
    let proof = server.proof(&secret, "den", 13, 13);
    joined(&server.join_with(13, "den", "alice", proof));
}

#[test]
fn a_full_channel_takes_nobody_but_who_comes_back() {
    let mut server = Server::with(true, Limits { members: 2, ..Limits::default() });
    server.seat(1, "lobby", "alice");
    server.seat(2, "lobby", "bob");
    server.connect(3);
    assert_eq!(refusal(&server.join(3, "lobby", "carol")), Refusal::ChannelFull(2));
    server.connect_as(4, 2);
    joined(&server.join(4, "lobby", "bob"));
}

#[test]
fn one_network_cannot_take_all_sessions() {
    let mut server = Server::with(true, Limits { sessions_per_network: 2, ..Limits::default() });
    for conn in 1..=3 {
        server.connect(conn);
    }
    assert_eq!(server.outputs(), [closed(3, CloseWhy::Full)]);
    server.registry.handle_closed(ConnId(1), server.now);
    server.connect(4);
    assert_eq!(server.outputs(), [], "there is room again");
}

#[test]
fn a_session_that_never_joins_is_closed() {
    let mut server = Server::new();
    server.connect(1);
    assert_eq!(server.wait(Duration::from_secs(11)), [closed(1, CloseWhy::Silent)]);
}

#[test]
fn what_makes_no_sense_ends_the_session() {
    let mut server = Server::new();
    server.connect(1);
    assert!(matches!(refusal(&server.say(1, ToServer::Card(vec![]))), Refusal::Protocol(_)));
    assert_eq!(server.join(1, "lobby", "alice"), [], "it has ended");

    server.connect(2);
    server.registry.handle_garbage(ConnId(2), server.now);
    assert!(matches!(refusal(&server.outputs()), Refusal::Protocol(_)));

    server.connect(3);
    let join =
        Join { version: 9, channel: "lobby".into(), name: "al".into(), proof: None, card: vec![], hidden: false };
    assert_eq!(refusal(&server.say(3, ToServer::Join(join))), Refusal::Version(wire::VERSION));

    server.seat(4, "lobby", "alice");
    assert!(matches!(refusal(&server.join(4, "lobby", "alice")), Refusal::Protocol(_)), "joined twice");
    assert_eq!(server.registry.channel(&channel("lobby")), None);

    server.seat(5, "lobby", "bob");
    assert!(matches!(refusal(&server.say(5, ToServer::Card(vec![0; 1025]))), Refusal::Protocol(_)));
    assert_eq!(server.say(6, ToServer::Leave), [], "nobody's session");
}

#[test]
fn a_member_that_talks_too_much_is_out() {
    let mut server = Server::new();
    server.seat(1, "lobby", "alice");
    let outputs: Vec<_> = (0..100).flat_map(|_| server.say(1, ToServer::Card(vec![]))).collect();
    assert!(matches!(refusal(&outputs), Refusal::Protocol(_)));
}

#[test]
fn a_change_of_card_or_address_is_told_to_the_others() {
    let mut server = Server::new();
    server.seat(1, "lobby", "alice");
    server.seat(2, "lobby", "bob");

    let outputs = server.say(2, ToServer::Card(vec![7, 7]));
    let [Output::Send { conn: ConnId(1), message: ToMember::MemberChanged(bob) }] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert_eq!(bob.card, [7, 7]);

    let moved: std::net::SocketAddr = "198.51.100.9:1".parse().unwrap();
    server.registry.handle_moved(ConnId(2), moved, server.now);
    let outputs = server.outputs();
    assert_eq!(outputs[0], sent(2, ToMember::Observed(moved)));
    let Output::Send { conn: ConnId(1), message: ToMember::MemberChanged(bob) } = &outputs[1] else {
        panic!("{outputs:?}")
    };
    assert_eq!(bob.observed, [moved]);
    server.registry.handle_moved(ConnId(2), moved, server.now);
    assert_eq!(server.outputs(), [], "nothing changed");
}

#[test]
fn members_are_told_when_the_server_closes() {
    let mut server = Server::new();
    server.seat(1, "lobby", "alice");
    server.registry.close();
    assert_eq!(server.outputs(), [sent(1, ToMember::Closing), closed(1, CloseWhy::Closing)]);
    server.connect(2);
    assert_eq!(server.outputs(), [closed(2, CloseWhy::Closing)]);
}

#[test]
fn a_session_that_never_ends_holds_no_more_than_one_deadline() {
    let mut server = Server::new();
    server.seat(1, "lobby", "alice");
    for _ in 0..10_000 {
        server.now += Duration::from_secs(10);
        server.registry.handle_alive(ConnId(1), server.now);
        server.registry.handle_timeout(server.now);
    }
    assert_eq!(server.outputs(), []);
    assert!(server.registry.poll_timeout().unwrap() > server.now);
}
