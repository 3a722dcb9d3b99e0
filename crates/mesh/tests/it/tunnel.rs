//! How members meet where UDP does not get through.

use std::time::Duration;

use mesh::{Event, ServerEvent};
use netsim::Kind;
use wire::{
    MessageId,
    agent::{Path, Peers},
};

use crate::world::World;

const SOON: Duration = Duration::from_secs(5);

fn asked(wanted: bool) -> impl Fn(&Event) -> bool {
    move |event| *event == Event::Server(ServerEvent::Tunnel(wanted))
}

fn has_joined(event: &Event) -> bool {
    matches!(event, Event::Server(ServerEvent::Joined { .. }))
}

#[test]
fn a_member_without_udp_is_in_the_channel_within_a_second_and_talks() {
    let mut world = World::new(1);
    world.home("alice", Kind::Udp443);
    world.home("bob", Kind::Port);
    world.join("bob");
    world.join("alice");

    assert!(world.run_until_secure(&["alice", "bob"], SOON));

    let alice = world.member("alice");
    assert!(alice.when(has_joined).is_some_and(|time| time <= Duration::from_secs(1)), "{:?}", alice.when(has_joined));
    assert!(alice.mesh.is_tunnelled());
    assert_eq!(alice.mesh.peers().next().map(|peer| peer.path), Some(Path::Relay));
    world.with("alice", |mesh, now| mesh.send_text(MessageId(1), &Peers::All, b"hello".to_vec(), now));
    world.lab.run_for(Duration::from_secs(1));
    assert!(world.member("bob").when(|event| matches!(event, Event::Text { id: MessageId(1), .. })).is_some());
}

#[test]
fn a_rendezvous_that_answers_over_udp_costs_no_tunnel() {
    let mut world = World::new(1);
    world.home("alice", Kind::Port);
    world.join("alice");

    world.lab.run_for(SOON);

    assert!(world.member("alice").when(asked(true)).is_none());
}

#[test]
fn the_tunnel_is_left_when_udp_works_again_and_the_call_goes_on() {
    let mut world = World::new(1);
    world.home("alice", Kind::Udp443);
    let elsewhere = world.home("carol", Kind::Port);
    world.home("bob", Kind::Port);
    world.join("bob");
    world.join("alice");
    assert!(world.run_until_secure(&["alice", "bob"], SOON));

    let alice = world.hosts["alice"];
    world.lab.net.move_host(alice, elsewhere, &[[192, 168, 2, 77].into()]);
    world.with("alice", |mesh, now| mesh.network_changed(vec![], now));
    world.lab.run_for(SOON);

    let member = world.member("alice");
    assert!(!member.mesh.is_tunnelled());
    assert!(member.when(asked(false)).is_some());
    assert_eq!(member.mesh.peers().next().map(|peer| peer.path), Some(Path::Direct));
    for who in ["alice", "bob"] {
        let is_break = |event: &Event| matches!(event, Event::Insecure { .. } | Event::Left { .. });
        assert!(world.member(who).when(is_break).is_none(), "{who}: the session broke");
    }
    world.with("bob", |mesh, now| mesh.send_text(MessageId(2), &Peers::All, b"still there".to_vec(), now));
    world.lab.run_for(Duration::from_secs(1));
    assert!(world.member("alice").when(|event| matches!(event, Event::Text { id: MessageId(2), .. })).is_some());
}

#[test]
fn udp_is_tried_again_and_again_without_a_change_of_network_being_noticed() {
    let mut world = World::new(1);
    world.home("alice", Kind::Udp443);
    let elsewhere = world.home("carol", Kind::Port);
    world.join("alice");
    world.lab.run_for(Duration::from_secs(2));
    assert!(world.member("alice").mesh.is_tunnelled());

    let alice = world.hosts["alice"];
    world.lab.net.move_host(alice, elsewhere, &[[192, 168, 2, 77].into()]);
    world.lab.run_for(Duration::from_secs(75));

    assert!(!world.member("alice").mesh.is_tunnelled());
}

#[test]
fn a_tunnel_that_breaks_is_asked_for_again() {
    let mut world = World::new(1);
    world.home("alice", Kind::Udp443);
    world.join("alice");
    world.lab.run_for(Duration::from_secs(2));

    world.with("alice", |mesh, now| mesh.tunnel_closed("the connection was reset", now));
    world.lab.run_for(SOON);

    let asked = world.member("alice").told.iter().filter(|(_, event)| asked(true)(event)).count();
    assert_eq!(asked, 2);
    assert!(world.member("alice").mesh.is_tunnelled());
}
