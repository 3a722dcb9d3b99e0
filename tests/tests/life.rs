//! Members and the rendezvous come and go.

use tests::{
    call::{Member, Rendezvous, State},
    lab::Lab,
};

use crate::{Tests, listed, start_lab};

pub(crate) fn tests() -> Tests {
    listed![
        a_leave_is_seen_at_once,
        a_member_that_is_killed_is_missed,
        a_member_that_was_killed_can_come_back,
        a_call_outlives_the_rendezvous_and_rejoins_the_next,
        a_call_outlives_the_rendezvous_whose_place_another_takes,
        a_rendezvous_that_closes_says_so,
        a_member_waits_for_a_rendezvous_that_is_not_there_yet,
        a_call_outlives_a_pause_of_the_network,
        a_call_outlives_a_reboot_of_a_router,
        a_call_outlives_a_new_address_of_a_router,
    ]
}

const TWO_HOMES: &str = "A=port B=port C=port";

/// Two who are connected.
fn alice_and_bob(lab: &Lab) -> [Member; 2] {
    let mut alice = Member::join(lab, "A1", "den", "alice");
    let mut bob = Member::join(lab, "B1", "den", "bob");
    alice.until_direct("bob");
    bob.until_direct("alice");
    [alice, bob]
}

fn a_leave_is_seen_at_once() {
    let lab = start_lab(TWO_HOMES);
    let _rendezvous = Rendezvous::start(&lab);
    let mut alice = Member::join(&lab, "A1", "den", "alice");
    let bob = Member::join(&lab, "B1", "den", "bob");
    alice.until_direct("bob");

    let status = bob.leave();

    alice.until_gone("bob");
    assert_eq!(status.code(), Some(143), "{status}");
}

fn a_member_that_is_killed_is_missed() {
    let lab = start_lab(TWO_HOMES);
    let _rendezvous = Rendezvous::start(&lab);
    let mut alice = Member::join(&lab, "A1", "den", "alice");
    let mut bob = Member::join(&lab, "B1", "den", "bob");
    let mut carol = Member::join(&lab, "C1", "den", "carol");
    for member in [&mut alice, &mut carol] {
        member.until_direct("bob");
    }
    bob.until_direct("alice");

    bob.kill();

    alice.until_gone("bob");
    carol.until_gone("bob");
    alice.say(&lab, "only carol needs to have this");
}

fn a_member_that_was_killed_can_come_back() {
    let lab = start_lab(TWO_HOMES);
    let _rendezvous = Rendezvous::start(&lab);
    let [_alice, mut bob] = alice_and_bob(&lab);

    bob = bob.killed_and_started(&lab);

    bob.until_direct("alice");
    bob.say(&lab, "here again");
}

fn a_call_outlives_the_rendezvous_whose_place_another_takes() {
    let lab = start_lab(TWO_HOMES);
    let mut rendezvous = Rendezvous::start(&lab);
    let [mut alice, mut bob] = alice_and_bob(&lab);

    rendezvous.stop();
    let _another = Rendezvous::start(&lab);

    let is_told = |state: &State| state.errors.iter().any(|error| error.contains("shows another key than before"));
    alice.until("word of another key", is_told);
    bob.until("word of another key", is_told);
    alice.say(&lab, "still here");
    assert!(alice.state().is_direct("bob"));
}

fn a_call_outlives_the_rendezvous_and_rejoins_the_next() {
    let lab = start_lab(TWO_HOMES);
    let mut rendezvous = Rendezvous::start(&lab);
    let [mut alice, mut bob] = alice_and_bob(&lab);

    rendezvous.kill();
    alice.until("loss of the rendezvous", |state| state.is_alone);
    alice.say(&lab, "who needs a rendezvous");
    bob.say(&lab, "not we");

    rendezvous.restart(&lab);
    for member in [&mut alice, &mut bob] {
        member.until("joining again", |state| state.joins > 1);
    }
    let mut carol = Member::join(&lab, "C1", "den", "carol");
    carol.until_direct("alice");
    carol.until_direct("bob");
    carol.say(&lab, "hello");
}

fn a_rendezvous_that_closes_says_so() {
    let lab = start_lab(TWO_HOMES);
    let mut rendezvous = Rendezvous::start(&lab);
    let [mut alice, _bob] = alice_and_bob(&lab);

    rendezvous.stop();

    alice.until("loss of the rendezvous", |state| state.is_alone);
    alice.say(&lab, "still here");
}

fn a_member_waits_for_a_rendezvous_that_is_not_there_yet() {
    let lab = start_lab(TWO_HOMES);
    let mut alice = Member::join(&lab, "A1", "den", "alice");
    alice.until("word that there is no rendezvous", |state| state.is_alone);

    let _rendezvous = Rendezvous::start(&lab);

    alice.until_joined();
}

fn a_call_outlives_a_pause_of_the_network() {
    let lab = start_lab("A=port:wire=x B=port");
    let _rendezvous = Rendezvous::start(&lab);
    let [mut alice, _bob] = alice_and_bob(&lab);

    lab.wire("A", &"cut".parse().unwrap()).unwrap();
    alice.until("loss of the path", |state| !state.is_direct("bob"));
    lab.wire("A", &"on".parse().unwrap()).unwrap();

    alice.until_direct("bob");
    alice.say(&lab, "that was a pause");
}

fn a_call_outlives_a_reboot_of_a_router() {
    let lab = start_lab("A=port-rand B=port");
    let _rendezvous = Rendezvous::start(&lab);
    let mut alice = Member::join(&lab, "A1", "den", "alice");
    let mut bob = Member::join(&lab, "B1", "den", "bob");
    alice.until_direct("bob");
    let old = bob.until_direct("alice");

    lab.reboot("A").unwrap();

    bob.until("the new port", |state| state.address_of("alice").is_some_and(|addr| addr != old));
    bob.until_direct("alice");
    alice.say(&lab, "the router blinked");
}

fn a_call_outlives_a_new_address_of_a_router() {
    let mut lab = start_lab("A=port B=port");
    let _rendezvous = Rendezvous::start(&lab);
    let [alice, mut bob] = alice_and_bob(&lab);

    lab.renumber("A").unwrap();

    let new = lab.external("A").unwrap();
    bob.until("the new address", |state| state.address_of("alice").is_some_and(|addr| addr.ip() == new));
    alice.say(&lab, "I have moved");
}
