//! A third member carries a call.

use tests::call::{Member, Options, Rendezvous, State};

use crate::{Tests, listed, start_lab};

pub(crate) fn tests() -> Tests {
    listed![
        two_behind_symmetric_nats_talk_through_a_third_where_the_rendezvous_may_not_relay,
        nobody_is_carried_by_who_does_not_lend,
    ]
}

const LAB: &str = "A=sym B=sym C=full";

fn join(lab: &tests::lab::Lab, node: &str, name: &str, more: &[&str]) -> Member {
    Member::with(lab, &Options { node, channel: "den", name, more })
}

fn is_carried(state: &State, peer: &str) -> bool {
    state.peers.get(peer).is_some_and(|peer| peer.path == "member" && peer.via == "carol" && peer.is_secure)
}

fn two_behind_symmetric_nats_talk_through_a_third_where_the_rendezvous_may_not_relay() {
    let lab = start_lab(LAB);
    let _rendezvous = Rendezvous::start(&lab);
    let mut carol = join(&lab, "C1", "carol", &["--no-relay"]);
    let mut alice = join(&lab, "A1", "alice", &["--no-relay"]);
    let mut bob = join(&lab, "B1", "bob", &["--no-relay"]);

    alice.until("a path through carol", |state| is_carried(state, "bob"));
    bob.until("a path through carol", |state| is_carried(state, "alice"));
    carol.until_direct("alice");

    alice.say(&lab, "by way of carol");
    bob.say(&lab, "and back");
    let peers = alice.run(&lab, "puncher", &["peers", "--json"]);
    let peers = String::from_utf8_lossy(&peers.stdout).into_owned();
    assert!(peers.contains(r#""via":"carol""#), "{peers}");

    carol.leave();
    alice.until("loss of the path", |state| !is_carried(state, "bob"));
}

fn nobody_is_carried_by_who_does_not_lend() {
    let lab = start_lab(LAB);
    let _rendezvous = Rendezvous::start(&lab);
    let _carol = join(&lab, "C1", "carol", &["--lend", "off"]);
    let mut alice = join(&lab, "A1", "alice", &[]);
    let mut bob = join(&lab, "B1", "bob", &[]);

    for (member, peer) in [(&mut alice, "bob"), (&mut bob, "alice")] {
        member.until_direct("carol");
        member.until("a path through the rendezvous", |state| {
            state.peers.get(peer).is_some_and(|peer| peer.path == "relay" && peer.is_secure)
        });
    }

    alice.say(&lab, "by way of the rendezvous");
    assert!(!is_carried(alice.state(), "bob"));
}
