//! Members who have IPv6 alone, IPv4 alone, or both, at a rendezvous that has both.

use tests::{
    call::{Member, Options, Rendezvous},
    lab::{Lab, SERVER_V6},
};

use crate::{Tests, listed, start_lab};

pub(crate) fn tests() -> Tests {
    listed![
        who_has_ipv6_alone_talks_with_who_has_ipv4_alone_through_the_rendezvous,
        who_has_ipv6_alone_and_who_has_both_are_direct,
        they_talk_through_the_rendezvous_where_ipv6_does_not_reach,
        three_of_all_sorts_talk,
    ]
}

const LAB: &str = "A=port:v4=no,v6=fw B=port C=port:v6=fw";

/// Alice has IPv6 alone.
fn alice(lab: &Lab) -> Member {
    let server = format!("[{}]", SERVER_V6[0]);
    Member::with(lab, &Options { node: "A1", channel: "den", name: "alice", more: &["--server", &server] })
}

/// Bob has IPv4 alone.
fn bob(lab: &Lab) -> Member {
    Member::join(lab, "B1", "den", "bob")
}

/// Carol has both, and asks the rendezvous by IPv4.
fn carol(lab: &Lab) -> Member {
    Member::join(lab, "C1", "den", "carol")
}

fn until_relayed(member: &mut Member, peer: &str) {
    member.until("a relayed path", |state| {
        state.peers.get(peer).is_some_and(|peer| peer.path == "relay" && peer.is_secure)
    });
}

fn who_has_ipv6_alone_talks_with_who_has_ipv4_alone_through_the_rendezvous() {
    let lab = start_lab(LAB);
    let _rendezvous = Rendezvous::start(&lab);
    let (mut alice, mut bob) = (alice(&lab), bob(&lab));

    until_relayed(&mut alice, "bob");
    until_relayed(&mut bob, "alice");

    alice.say(&lab, "from the one internet");
    bob.say(&lab, "to the other");
}

fn who_has_ipv6_alone_and_who_has_both_are_direct() {
    let lab = start_lab(LAB);
    let _rendezvous = Rendezvous::start(&lab);
    let (mut alice, mut carol) = (alice(&lab), carol(&lab));

    assert_eq!(alice.until_direct("carol").ip(), lab.address_v6("C1").unwrap());
    assert_eq!(carol.until_direct("alice").ip(), lab.address_v6("A1").unwrap());

    alice.say(&lab, "straight");
}

fn they_talk_through_the_rendezvous_where_ipv6_does_not_reach() {
    let mut lab = start_lab(LAB);
    for (from, to) in [("A", "C"), ("C", "A")] {
        lab.loss(from, to, 1.0).unwrap();
    }
    let _rendezvous = Rendezvous::start(&lab);
    let (mut alice, mut carol) = (alice(&lab), carol(&lab));

    until_relayed(&mut alice, "carol");
    until_relayed(&mut carol, "alice");

    alice.say(&lab, "round the corner");
    carol.say(&lab, "I see");
}

fn three_of_all_sorts_talk() {
    let lab = start_lab(LAB);
    let _rendezvous = Rendezvous::start(&lab);
    let (mut alice, mut bob, mut carol) = (alice(&lab), bob(&lab), carol(&lab));

    assert_eq!(bob.until_direct("carol").ip(), lab.external("C").unwrap());
    assert!(carol.until_direct("alice").is_ipv6());
    alice.until_direct("carol");
    carol.until_direct("bob");
    // By the rendezvous, or by carol, who reaches both.
    for (member, peer) in [(&mut alice, "bob"), (&mut bob, "alice")] {
        let state = member.until("a secure session", |state| state.peers.get(peer).is_some_and(|peer| peer.is_secure));
        assert_ne!(state.peers[peer].path, "direct");
    }

    for member in [&alice, &bob, &carol] {
        member.say(&lab, "all of us");
    }
}
