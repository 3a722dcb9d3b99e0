//! An address that a member learns of late, such as a port that its router forwards.

use std::time::Duration;

use mesh::Event;
use netsim::Kind;
use wire::signal::{Candidate, CandidateKind};

use crate::{
    calls::{SOON, called},
    world::{RTT, World},
};

/// Two members of one home whose router does not lead back in; alice keeps her address in it to herself.
fn with_an_address_untold() -> World {
    let mut world = World::new(1);
    world.stop_relaying();
    let home = world.home("alice", Kind::Symmetric);
    world.in_home("bob", home);
    world.join_with("alice", |config| config.candidates.clear());
    world.join_with("bob", |config| config.candidates.clear());
    world
}

fn offer_it(world: &mut World) {
    let mapped = [Candidate { addr: world.addr_of("alice"), kind: CandidateKind::Mapped }];
    world.with("alice", |mesh, now| mesh.offer(mapped.to_vec(), now));
}

#[test]
fn an_address_offered_in_the_middle_of_a_join_is_told_after_it() {
    let mut world = with_an_address_untold();
    // The join is on its way, without the address.
    world.lab.run_for(RTT * 3 / 2);

    offer_it(&mut world);

    assert!(world.run_until_secure(&["alice", "bob"], SOON));
}

#[test]
fn an_address_offered_in_a_channel_is_used_at_once() {
    let mut world = with_an_address_untold();
    world.lab.run_for(SOON);
    let is_direct = |event: &Event| matches!(event, Event::Path { path: wire::agent::Path::Direct, .. });
    assert!(world.member("bob").when(is_direct).is_none(), "there is no direct path without it");

    offer_it(&mut world);

    let is_used = |world: &World| {
        let told = &world.member("bob").told;
        told.iter().any(|(_, event)| matches!(event, Event::Path { kind: Some(CandidateKind::Mapped), .. }))
    };
    world.lab.run_for(RTT * 3);
    assert!(is_used(&world), "{:?}", world.member("bob").told);
    assert!(world.run_until_secure(&["alice", "bob"], SOON));
}

#[test]
fn an_offer_leaves_paths_that_work_alone() {
    let mut world = called(Kind::Port, Kind::Port);
    world.lab.run_for(Duration::from_secs(1));
    let told = world.member("alice").told.len();
    let path = world.with("alice", |mesh, _| mesh.peers().next().map(|peer| peer.addr));

    let mapped = [Candidate { addr: "198.51.100.77:9".parse().unwrap(), kind: CandidateKind::Mapped }];
    world.with("alice", |mesh, now| mesh.offer(mapped.to_vec(), now));
    world.lab.run_for(SOON);

    assert_eq!(world.with("alice", |mesh, _| mesh.peers().next().map(|peer| peer.addr)), path);
    assert_eq!(world.member("alice").told.len(), told, "nothing happened");
}
