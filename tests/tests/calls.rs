//! Members find each other.

use tests::call::{Member, Rendezvous};

use crate::{Tests, listed, start_lab};

pub(crate) fn tests() -> Tests {
    listed![
        two_members_behind_port_restricted_nats_are_direct,
        three_members_are_direct_in_every_pair,
        members_in_one_lan_use_their_lan_addresses,
        members_behind_one_carrier_meet,
        symmetric_nats_do_not_matter_where_there_is_ipv6,
        members_in_different_channels_do_not_meet,
    ]
}

fn two_members_behind_port_restricted_nats_are_direct() {
    let lab = start_lab("srv=server:wire=delay~10ms A=port:wire=delay~10ms B=port:wire=delay~10ms");
    let _rendezvous = Rendezvous::start(&lab);
    let mut alice = Member::join(&lab, "A1", "den", "alice");
    let mut bob = Member::join(&lab, "B1", "den", "bob");

    let (to_bob, to_alice) = (alice.until_direct("bob"), bob.until_direct("alice"));

    assert_eq!(to_bob.ip(), lab.external("B").unwrap());
    assert_eq!(to_alice.ip(), lab.external("A").unwrap());
    alice.say(&lab, "hello");
    bob.say(&lab, "hello yourself");
}

fn three_members_are_direct_in_every_pair() {
    let lab = start_lab("A=port B=linux C=full");
    let _rendezvous = Rendezvous::start(&lab);
    let names = ["alice", "bob", "carol"];
    let mut members =
        ["A1", "B1", "C1"].into_iter().zip(names).map(|(node, name)| Member::join(&lab, node, "den", name));
    let mut members = [members.next().unwrap(), members.next().unwrap(), members.next().unwrap()];

    for (member, name) in members.iter_mut().zip(names) {
        for peer in names.into_iter().filter(|&peer| peer != name) {
            member.until_direct(peer);
        }
    }

    members.iter().for_each(|member| member.say(&lab, "hello both"));
}

fn members_in_one_lan_use_their_lan_addresses() {
    let lab = start_lab("A=port:hosts=2");
    let _rendezvous = Rendezvous::start(&lab);
    let mut alice = Member::join(&lab, "A1", "den", "alice");
    let mut bob = Member::join(&lab, "A2", "den", "bob");

    assert_eq!(alice.until_direct("bob").ip(), lab.address("A2").unwrap());
    assert_eq!(bob.until_direct("alice").ip(), lab.address("A1").unwrap());
}

fn members_behind_one_carrier_meet() {
    let lab = start_lab("A=port:up=K B=port:up=K K=cgn");
    let _rendezvous = Rendezvous::start(&lab);
    let mut alice = Member::join(&lab, "A1", "den", "alice");
    let mut bob = Member::join(&lab, "B1", "den", "bob");

    alice.until_direct("bob");
    bob.until_direct("alice");
}

fn symmetric_nats_do_not_matter_where_there_is_ipv6() {
    let lab = start_lab("A=sym:v6=yes B=sym:v6=yes");
    let _rendezvous = Rendezvous::start(&lab);
    let mut alice = Member::join(&lab, "A1", "den", "alice");
    let mut bob = Member::join(&lab, "B1", "den", "bob");

    assert!(alice.until_direct("bob").is_ipv6());
    assert!(bob.until_direct("alice").is_ipv6());
}

fn members_in_different_channels_do_not_meet() {
    let lab = start_lab("A=port B=port C=port");
    let _rendezvous = Rendezvous::start(&lab);
    let mut alice = Member::join(&lab, "A1", "den", "alice");
    let mut bob = Member::join(&lab, "B1", "attic", "bob");
    let mut carol = Member::join(&lab, "C1", "den", "carol");

    bob.until_joined();
    alice.until_direct("carol");
    carol.until_direct("alice");

    assert!(!alice.state().peers.contains_key("bob"));
    assert!(bob.state().peers.is_empty());
}
