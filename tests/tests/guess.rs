//! Routers that choose another port for every destination, or that a packet has spoilt, are met by the real programs.

use std::time::Duration;

use tests::{
    call::{Member, Options, Rendezvous, State},
    lab::Lab,
};

use crate::{Tests, listed, start_lab};

/// As long as from one town to another; the first packets of both sides cross.
const WIRE: &str = "wire=delay~10ms";

pub(crate) fn tests() -> Tests {
    listed![
        random_ports_are_met,
        a_sequence_is_foreseen,
        two_blocks_meet,
        a_spoilt_router_is_met_from_fresh_sockets,
        who_does_not_guess_stays_on_the_relay,
    ]
}

/// Both have joined, the first one some time before the second.
fn pair(lab: &Lab, channel: &str) -> [Member; 2] {
    let [mut first, mut second] = ["A1", "B1"].map(|node| {
        let mut member = Member::join(lab, node, channel, node);
        member.until_joined();
        member
    });
    first.until("the other one", |state| state.peers.contains_key("B1"));
    second.until("the other one", |state| state.peers.contains_key("A1"));
    [first, second]
}

/// How long it took until both had a direct path.
fn meet([first, second]: &mut [Member; 2]) -> Duration {
    let took = |member: &mut Member, peer: &str| {
        member.until_direct(peer);
        Duration::from_millis(member.state().peers[peer].since_known_ms)
    };
    took(first, "B1").max(took(second, "A1"))
}

/// Whether a guess has led to a direct path when it is over.
fn has_met([first, second]: &mut [Member; 2]) -> bool {
    let met = |member: &mut Member, peer: &str| {
        let is_over = |state: &State| state.is_direct(peer) || state.peers[peer].why.contains("guessed in vain");
        member.until("the end of a guess", is_over).is_direct(peer)
    };
    let there = met(first, "B1");
    met(second, "A1") && there
}

/// Of 100 attempts 98 meet; that two of three calls do is nearly certain.
fn random_ports_are_met() {
    let lab = start_lab(&format!("srv=server:{WIRE} A=sym:{WIRE} B=port:{WIRE}"));
    let _rendezvous = Rendezvous::start(&lab);
    let mut calls = [0, 1, 2].map(|call| pair(&lab, &format!("call{call}")));
    // One guess at a time is a rule for one host and puncher: these are three.
    let met = calls.iter_mut().filter_map(|call| has_met(call).then_some(())).count();
    assert!(met >= 2, "{met} of 3");
}

fn a_sequence_is_foreseen() {
    for (a, b) in [("symseq", "port"), ("port", "symseq")] {
        let lab = start_lab(&format!("srv=server:{WIRE} A={a}:{WIRE} B={b}:{WIRE}"));
        let _rendezvous = Rendezvous::start(&lab);
        meet(&mut pair(&lab, "call"));
    }
}

fn two_blocks_meet() {
    let lab = start_lab(&format!("srv=server:{WIRE} A=block-512:{WIRE} B=block-512:{WIRE}"));
    let _rendezvous = Rendezvous::start(&lab);
    meet(&mut pair(&lab, "call"));
}

/// Without wires the first one's packets are at the other one's router before that one knows of it.
fn a_spoilt_router_is_met_from_fresh_sockets() {
    let lab = start_lab("A=port B=linux-open");
    let _rendezvous = Rendezvous::start(&lab);
    meet(&mut pair(&lab, "call"));
}

fn who_does_not_guess_stays_on_the_relay() {
    let lab = start_lab(&format!("srv=server:{WIRE} A=symseq:{WIRE} B=port:{WIRE}"));
    let _rendezvous = Rendezvous::start(&lab);
    let with = |node| Member::with(&lab, &Options { node, channel: "call", name: node, more: &["--no-guess"] });
    let [mut first, mut second] = ["A1", "B1"].map(with);
    for (member, peer) in [(&mut first, "B1"), (&mut second, "A1")] {
        let state = member.until("relayed path", |state| state.peers.get(peer).is_some_and(|peer| peer.is_secure));
        assert_eq!(state.peers[peer].path, "relay");
    }
}
