//! What members do when the rendezvous is gone, is another, or does not let them in.

use std::time::Duration;

use mesh::{Event, ServerEvent};
use netsim::Kind;
use wire::signal::{LeaveReason, Refusal};

use crate::{
    calls::{SOON, called, is_joined, talk_until, two_homes, voices},
    world::{self, RTT, World},
};

fn is_lost(event: &Event) -> bool {
    matches!(event, Event::Server(ServerEvent::Lost { .. }))
}

#[test]
fn a_call_goes_on_without_the_rendezvous_and_everybody_rejoins_when_it_is_back() {
    let mut world = called(Kind::Port, Kind::Port);

    world.close_server();
    world.lab.run_for(RTT);
    let before = voices(&world, "alice");
    assert!(talk_until(&mut world, Duration::from_secs(60), |world| voices(world, "alice") > before + 5000));
    world.restart_server();
    world.lab.run_for(Duration::from_secs(10));

    for who in ["alice", "bob"] {
        let joins = world.member(who).told.iter().filter(|(_, event)| is_joined(event)).count();
        let seen = world.member(who).told.iter().filter(|(_, event)| matches!(event, Event::Seen { .. })).count();
        assert_eq!((joins, seen), (2, 1), "{who} joins twice and sees the same peer once");
    }
}

#[test]
fn of_two_that_join_with_one_key_the_later_stays() {
    let mut world = called(Kind::Port, Kind::Port);
    world.home("carol", Kind::Port);
    world.join_with("carol", |config| {
        config.identity = world::identity("bob");
        config.name = "bob".into();
    });

    world.lab.run_for(SOON);

    let put_out = |event: &Event| matches!(event, Event::Server(ServerEvent::PutOut(LeaveReason::Replaced)));
    assert!(world.member("bob").when(put_out).is_some(), "{:?}", world.member("bob").told);
    assert_eq!(world.member("carol").told.iter().filter(|(_, event)| is_joined(event)).count(), 1);
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let mut world = called(Kind::Port, Kind::Port);
    world.home("carol", Kind::Full);
    world.join_with("carol", |config| config.name = "alice".into());

    world.lab.run_for(SOON);

    let refused = |event: &Event| *event == Event::Server(ServerEvent::Refused(Refusal::NameTaken));
    assert!(world.member("carol").when(refused).is_some(), "{:?}", world.member("carol").told);
}

#[test]
fn a_call_goes_on_though_the_rendezvous_does_not_let_one_in_again_and_it_is_asked_until_it_does() {
    let mut world = called(Kind::Port, Kind::Port);
    world.home("carol", Kind::Full);
    world.close_server();
    world.lab.run_for(RTT);
    // She was not there before, and is there first.
    world.restart_server();
    world.join_with("carol", |config| config.name = "alice".into());
    let refused = |event: &Event| match event {
        Event::Server(ServerEvent::Lost { why, .. }) => why.contains("the name is taken"),
        _ => false,
    };
    assert!(talk_until(&mut world, SOON, |world| world.member("alice").when(refused).is_some()));
    let before = voices(&world, "alice");
    assert!(talk_until(&mut world, SOON, |world| voices(world, "alice") > before + 200));

    world.lab.uninstall(world.hosts["carol"]);
    let joins = |world: &World| world.member("alice").told.iter().filter(|(_, event)| is_joined(event)).count();
    assert!(talk_until(&mut world, Duration::from_secs(120), |world| joins(world) == 2));
}

#[test]
fn who_would_not_wait_for_the_rendezvous_at_the_start_waits_for_it_in_a_call() {
    let mut world = two_homes(Kind::Port, Kind::Port);
    world.join_with("alice", |config| config.retry = false);
    world.join("bob");
    assert!(world.run_until_secure(&["alice", "bob"], SOON));

    world.kill_server();
    world.lab.run_for(Duration::from_secs(60));
    world.restart_server();
    world.lab.run_for(Duration::from_secs(20));

    let joins = world.member("alice").told.iter().filter(|(_, event)| is_joined(event)).count();
    assert!(joins > 1, "{:?}", world.member("alice").told);
}

#[test]
fn a_rendezvous_with_another_key_than_before_is_refused() {
    let mut world = two_homes(Kind::Port, Kind::Port);
    world.join_with("alice", |config| config.server_key = Some(wire::IdentityKey([5; 32])));

    world.lab.run_for(SOON);

    let refused = |event: &Event| *event == Event::Server(ServerEvent::WrongKey);
    assert!(world.member("alice").when(refused).is_some(), "{:?}", world.member("alice").told);
}

#[test]
fn a_rendezvous_that_is_not_there_is_asked_again_until_it_is() {
    let mut world = two_homes(Kind::Port, Kind::Port);
    world.kill_server();
    world.join("alice");
    world.lab.run_for(Duration::from_secs(20));
    assert!(world.member("alice").told.iter().filter(|(_, event)| is_lost(event)).count() >= 3);

    world.restart_server();
    world.lab.run_for(Duration::from_secs(10));

    assert!(world.member("alice").when(is_joined).is_some());
}

#[test]
fn without_retries_a_missing_rendezvous_is_the_end() {
    let mut world = two_homes(Kind::Port, Kind::Port);
    world.kill_server();
    world.join_with("alice", |config| config.retry = false);

    world.lab.run_for(Duration::from_secs(20));

    let lost: Vec<_> = world.member("alice").told.iter().filter(|(_, event)| is_lost(event)).collect();
    assert!(matches!(lost[..], [(_, Event::Server(ServerEvent::Lost { retry_in: None, .. }))]), "{lost:?}");
}
