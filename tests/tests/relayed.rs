//! Where there is no direct path, or nobody is to have one: the rendezvous carries the call.

use tests::call::{Member, Options, Rendezvous, State};

use crate::{Tests, listed, start_lab};

pub(crate) fn tests() -> Tests {
    listed![
        two_behind_symmetric_nats_talk_through_the_rendezvous_and_are_told_why,
        a_member_whose_udp_is_blocked_talks_over_tcp,
        a_member_that_hides_shows_no_address,
        a_call_goes_on_in_another_network,
    ]
}

fn is_relayed(state: &State, peer: &str) -> bool {
    state.peers.get(peer).is_some_and(|peer| peer.path == "relay" && peer.is_secure)
}

fn two_behind_symmetric_nats_talk_through_the_rendezvous_and_are_told_why() {
    let lab = start_lab("A=sym B=sym");
    let _rendezvous = Rendezvous::start(&lab);
    let mut alice = Member::join(&lab, "A1", "den", "alice");
    let mut bob = Member::join(&lab, "B1", "den", "bob");

    alice.until("a relayed path", |state| is_relayed(state, "bob"));
    bob.until("a relayed path", |state| is_relayed(state, "alice"));
    alice.say(&lab, "by way of the rendezvous");

    alice.until("the reason", |state| {
        state.peers.get("bob").is_some_and(|peer| peer.why.contains("both routers choose a random port"))
    });
}

fn a_member_whose_udp_is_blocked_talks_over_tcp() {
    for kind in ["noudp", "noudp-icmp"] {
        let lab = start_lab(&format!("A={kind} B=port"));
        let _rendezvous = Rendezvous::start(&lab);
        let mut bob = Member::join(&lab, "B1", "den", "bob");
        let mut alice = Member::join(&lab, "A1", "den", "alice");

        alice.until("a relayed path", |state| is_relayed(state, "bob"));
        bob.until("a relayed path", |state| is_relayed(state, "alice"));
        alice.say(&lab, "through the one door that is open");
        bob.say(&lab, "and back");
    }
}

fn a_member_that_hides_shows_no_address() {
    let lab = start_lab("A=full B=full");
    let _rendezvous = Rendezvous::start(&lab);
    let options = Options { node: "A1", channel: "den", name: "alice", more: &["--relay-only"] };
    let mut alice = Member::with(&lab, &options);
    let mut bob = Member::join(&lab, "B1", "den", "bob");

    bob.until("a relayed path", |state| is_relayed(state, "alice"));
    alice.until("a relayed path", |state| is_relayed(state, "bob"));
    bob.say(&lab, "where are you?");
    bob.until("the end of the search", |state| {
        state.peers.get("alice").is_some_and(|peer| peer.why.contains("no address to try"))
    });
    assert_eq!(bob.state().address_of("alice"), None);
}

fn a_call_goes_on_in_another_network() {
    let mut lab = start_lab("A=port B=port C=port");
    let _rendezvous = Rendezvous::start(&lab);
    let mut alice = Member::join(&lab, "A1", "den", "alice");
    let mut bob = Member::join(&lab, "B1", "den", "bob");
    alice.until_direct("bob");
    bob.until_direct("alice");

    lab.roam("A1", "C").unwrap();

    let new = lab.external("C").unwrap();
    bob.until("the new address", |state| state.address_of("alice").is_some_and(|addr| addr.ip() == new));
    alice.until_direct("bob");
    alice.say(&lab, "hello from the train");
}
