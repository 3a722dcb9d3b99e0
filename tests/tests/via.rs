//! Ways into a channel without a rendezvous.

use std::net::SocketAddr;

use tests::{
    call::{Home, Member, Options, Program, Rendezvous, VoiceChat},
    lab::Lab,
};

use crate::{Tests, listed, start_lab, tones::wav_in};

pub(crate) fn tests() -> Tests {
    listed![
        who_dials_a_place_where_nobody_listens_does_not_end_up_with_a_rendezvous_there,
        a_newcomer_that_knows_no_rendezvous_is_let_in_by_a_member,
        the_launcher_comes_in_by_a_member_too,
        a_member_that_was_killed_comes_back_through_the_others_when_the_rendezvous_is_gone,
    ]
}

/// Alice can be reached from everywhere.
const LAB: &str = "A=full B=port C=port";
const PORT: &str = "4000";

fn join(lab: &Lab, node: &str, name: &str, more: &[&str]) -> Member {
    Member::with(lab, &Options { node, channel: "den", name, more })
}

fn reachable_alice(lab: &Lab) -> (Member, SocketAddr) {
    let alice = join(lab, "A1", "alice", &["--bind", &format!("[::]:{PORT}")]);
    (alice, SocketAddr::new(lab.external("A").unwrap().into(), PORT.parse().unwrap()))
}

fn who_dials_a_place_where_nobody_listens_does_not_end_up_with_a_rendezvous_there() {
    let lab = start_lab(LAB);
    let _rendezvous = Rendezvous::start(&lab);
    let home = Home::new();
    let nobody = format!("{}:4999", Rendezvous::address());
    let mut command = home.command(&lab, "B1", "puncher");
    let mut dial = Program::start(&home, "puncher", command.args(["dial", &nobody, "--name", "bob", "--no-wait"]));

    let ended = dial.end();

    assert_eq!(ended.code(), Some(69), "{}", dial.story());
    assert!(!dial.story().contains("joined"), "{}", dial.story());
}

fn a_newcomer_that_knows_no_rendezvous_is_let_in_by_a_member() {
    let lab = start_lab(LAB);
    let mut rendezvous = Rendezvous::start(&lab);
    let (mut alice, at) = reachable_alice(&lab);
    let mut bob = join(&lab, "B1", "bob", &[]);
    bob.until_direct("alice");
    alice.until_direct("bob");
    rendezvous.kill();

    let mut carol = join(&lab, "C1", "carol", &["--via", &at.to_string()]);

    carol.until_direct("alice");
    carol.until_direct("bob");
    bob.until_direct("carol");
    carol.say(&lab, "here I am, by way of alice");
    assert_eq!(carol.state().joins, 1);
}

fn the_launcher_comes_in_by_a_member_too() {
    let lab = start_lab(LAB);
    let mut rendezvous = Rendezvous::start(&lab);
    let (mut alice, at) = reachable_alice(&lab);
    alice.until("a seat", |state| state.joins > 0);
    rendezvous.kill();
    let (home, at) = (Home::new(), at.to_string());
    wav_in(&home, 60, &[440.0]);
    let files = ["--input", "said.wav", "--output", "heard.wav"];

    let words = ["den", "--name", "bob", "--via", &at].into_iter().chain(files);
    let mut bob = VoiceChat::start(&lab, "B1", home, words);

    bob.until("alice is connected: direct");
    bob.type_line("/exit");
    assert!(bob.end().0.success());
}

fn a_member_that_was_killed_comes_back_through_the_others_when_the_rendezvous_is_gone() {
    let lab = start_lab(LAB);
    let mut rendezvous = Rendezvous::start(&lab);
    let (mut alice, _) = reachable_alice(&lab);
    let mut bob = join(&lab, "B1", "bob", &[]);
    let mut carol = join(&lab, "C1", "carol", &[]);
    alice.until_direct("bob");
    carol.until_direct("bob");
    for peer in ["alice", "carol"] {
        bob.until_direct(peer);
    }
    rendezvous.kill();
    alice.until("loss of the rendezvous", |state| state.is_alone);

    bob = bob.killed_and_started(&lab);

    bob.until_direct("alice");
    bob.until_direct("carol");
    bob.say(&lab, "here again");
}
