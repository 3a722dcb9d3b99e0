//! Ways into a channel, and out of trouble, without a rendezvous.

use std::{net::SocketAddr, time::Duration};

use identity::{ChannelSecret, InviteSecret};
use mesh::{Config, Event, Secret, ServerEvent, Via};
use netsim::Kind;
use wire::agent::{Path, Peers};

use crate::world::{self, RTT, World};

const SOON: Duration = Duration::from_secs(5);

fn via(member: SocketAddr) -> Via {
    Via { members: vec![member], remembered: Vec::new(), only: true }
}

fn remembering(members: &[SocketAddr]) -> Via {
    Via { members: Vec::new(), remembered: members.to_vec(), only: false }
}

fn invited(config: &mut Config) {
    config.secret = Secret::Known(ChannelSecret::from_invite(&InviteSecret::from_bytes([7; 16])));
}

fn is_joined(event: &Event) -> bool {
    matches!(event, Event::Server(ServerEvent::Joined { .. }))
}

/// Alice, who has no router, and bob behind one, both in the channel of a rendezvous.
fn alice_and_bob() -> World {
    let mut world = World::new(1);
    world.public("alice");
    world.home("bob", Kind::Port);
    world.home("carol", Kind::Port);
    world.join("alice");
    world.join("bob");
    assert!(world.run_until_secure(&["alice", "bob"], SOON));
    world
}

#[test]
fn a_member_with_a_reachable_address_lets_a_newcomer_in_and_everybody_expects_it() {
    let mut world = alice_and_bob();
    let alice = world.addr_of("alice");

    world.join_with("carol", |config| config.via = via(alice));

    assert!(world.run_until_secure(&["alice", "bob", "carol"], SOON));
    let took = world.lab.now() - world.member("carol").started;
    println!("secure with both after {took:?}");
    assert!(took <= RTT * 6, "{took:?}");
    assert_eq!(world.status("carol", "bob").map(|bob| bob.path), Some(Path::Direct));
    let joins: Vec<_> = world.member("carol").told.iter().filter(|(_, event)| is_joined(event)).collect();
    assert!(matches!(joins[..], [(_, Event::Server(ServerEvent::Joined { peers: 2, .. }))]), "{joins:?}");
}

#[test]
fn who_has_let_one_in_lets_in_another_later() {
    let mut world = alice_and_bob();
    world.home("dave", Kind::Port);
    let alice = world.addr_of("alice");
    for who in ["carol", "dave"] {
        world.join_with(who, |config| config.via = via(alice));
        assert!(world.run_until_secure(&["alice", "bob", who], SOON), "{who}");
        world.lab.run_for(Duration::from_secs(60));
    }
}

/// Carol, who names a rendezvous that she never met and that is gone, and alice.
fn carol_names_both(world: &mut World) {
    world.kill_server();
    world.lab.run_for(Duration::from_secs(3));
    let alice = world.addr_of("alice");
    world.join_with("carol", |config| config.via = Via { only: false, ..via(alice) });
    assert!(world.run_until_secure(&["alice", "bob", "carol"], Duration::from_secs(20)));
}

#[test]
fn a_newcomer_whose_rendezvous_is_gone_is_let_in_by_the_member_that_it_names_as_well() {
    let mut world = alice_and_bob();
    carol_names_both(&mut world);
    world.home("dave", Kind::Port);

    world.restart_server();
    world.join("dave");

    assert!(world.run_until_secure(&["carol", "dave"], Duration::from_secs(90)), "all are where dave is");
}

#[test]
fn a_rendezvous_that_comes_later_and_is_another_than_the_member_said_is_not_joined() {
    let mut world = alice_and_bob();
    carol_names_both(&mut world);

    world.replace_server();
    world.lab.run_for(Duration::from_secs(90));

    let by_server = |event: &Event| matches!(event, Event::Server(ServerEvent::Key(_)));
    assert!(!world.member("carol").told.iter().any(|(_, event)| by_server(event)));
    assert!(world.run_until_secure(&["alice", "carol"], SOON), "the call goes on");
}

#[test]
fn a_word_by_which_nobody_was_met_keeps_no_rendezvous_away() {
    let mut world = alice_and_bob();
    world.kill_server();
    world.lab.run_for(Duration::from_secs(3));
    let alice = world.addr_of("alice");
    world.join_with("carol", |config| {
        config.via = Via { only: false, ..via(alice) };
        // The name is taken, so alice says whose channel it is and does not let her in.
        config.name = "alice".into();
    });
    world.lab.run_for(Duration::from_secs(15));
    assert!(!world.member("carol").told.iter().any(|(_, event)| is_joined(event)));

    world.replace_server();
    world.lab.run_for(Duration::from_secs(90));

    assert!(world.member("carol").told.iter().any(|(_, event)| is_joined(event)));
}

#[test]
fn a_channel_with_a_secret_opens_to_who_has_it() {
    let mut world = World::new(1);
    for who in ["alice", "bob", "carol"] {
        world.public(who);
    }
    let alice = world.addr_of("alice");
    let server = world::server_key();
    world.join_with("alice", |config| {
        invited(config);
        config.server_key = Some(server);
    });
    world.lab.run_for(SOON);
    world.join_with("bob", |config| {
        invited(config);
        config.via = via(alice);
    });
    world.join_with("carol", |config| config.via = via(alice));

    assert!(world.run_until_secure(&["alice", "bob"], SOON));
    world.lab.run_for(Duration::from_secs(20));

    assert!(world.status("carol", "alice").is_none());
    assert!(world.status("alice", "carol").is_none());
}

#[test]
fn who_did_not_knock_gets_silence() {
    let mut world = alice_and_bob();
    let alice = world.addr_of("alice");
    let mallory = world.public("mallory");

    // A whole signalling client, which asks alice as it would ask a rendezvous.
    world.join_with("mallory", |config| config.server = alice);
    world.lab.run_for(Duration::from_secs(30));

    assert_eq!(world.lab.net.received(mallory), 0);
}

#[test]
fn a_knock_that_was_overheard_and_repeated_lets_nobody_in() {
    let mut world = alice_and_bob();
    let alice = world.addr_of("alice");
    world.join_with("carol", |config| config.via = via(alice));
    let knock = world.overheard(wire::datagram::KNOCK, Duration::from_millis(100));
    let knock = knock.expect("carol knocks");
    assert!(world.run_until_secure(&["alice", "bob", "carol"], SOON));
    let mallory = world.public("mallory");

    let now = world.lab.now();
    world.lab.net.send(mallory, 40_000, alice, knock, now);
    world.lab.run_for(RTT);
    world.join_with("mallory", |config| config.server = alice);
    world.lab.run_for(Duration::from_secs(30));

    assert_eq!(world.lab.net.received(mallory), 0, "alice has heard that knock before");
}

#[test]
fn newcomers_are_let_in_by_those_who_were_let_in_themselves() {
    let mut world = World::new(2);
    let people = ["alice", "bob", "carol", "dave"];
    for who in people {
        world.home(who, Kind::Full);
    }
    world.join("alice");
    world.lab.run_for(Duration::from_secs(1));
    world.kill_server();
    world.lab.run_for(Duration::from_secs(60));
    let mut last = world.outside_of("alice");
    for who in &people[1..] {
        world.join_with(who, |config| config.via = via(last));
        world.lab.run_for(SOON);
        last = world.outside_of(who);
    }

    assert!(world.run_until_secure(&people, SOON));

    // The first introducer leaves, and the next newcomer does not miss it.
    world.with("alice", |mesh, now| mesh.leave(now));
    world.home("erin", Kind::Port);
    world.join_with("erin", |config| config.via = via(last));
    assert!(world.run_until_secure(&["bob", "carol", "dave", "erin"], SOON));
}

#[test]
fn a_newcomer_reaches_one_whom_the_introducer_knows_only_through_others() {
    let mut world = World::new(3);
    for who in ["alice", "bob", "carol", "dave"] {
        world.home(who, Kind::Full);
    }
    world.stop_relaying();
    for who in ["alice", "bob", "carol"] {
        world.join(who);
    }
    // Alice knows carol from bob alone: she has no path to her, not even by way of bob.
    world.stop_lending();
    world.cut("alice", "carol");
    world.lab.run_for(Duration::from_secs(2));
    world.kill_server();
    world.lab.run_for(SOON);
    assert_eq!(world.status("alice", "carol").map(|carol| carol.secure), Some(false));

    let alice = world.outside_of("alice");
    world.join_with("dave", |config| {
        config.via = via(alice);
        config.lend = false;
    });

    assert!(world.run_until_secure(&["bob", "dave"], SOON));
    assert!(world.run_until_secure(&["carol", "dave"], SOON));
}

#[test]
fn a_member_that_starts_anew_without_a_rendezvous_comes_back_through_those_it_remembers() {
    let mut world = alice_and_bob();
    world.kill_server();
    let bob = world.hosts["bob"];
    world.lab.uninstall(bob);
    world.lab.run_for(Duration::from_secs(3));
    let alice = world.addr_of("alice");
    let nobody = "198.51.100.77:40000".parse().expect("an address");

    world.join_with("bob", |config| {
        config.server_key = Some(world::server_key());
        config.via = remembering(&[nobody, alice]);
    });

    assert!(world.run_until_secure(&["alice", "bob"], Duration::from_secs(20)));
    let seen = world.member("alice").told.iter().filter(|(_, event)| matches!(event, Event::Seen { .. })).count();
    assert_eq!(seen, 2, "the same bob, started anew");
}

#[test]
fn two_who_lost_each_other_meet_again_through_a_third_when_there_is_no_rendezvous() {
    let mut world = World::new(4);
    for (who, kind) in [("alice", Kind::Port), ("bob", Kind::Port), ("carol", Kind::Full)] {
        world.home(who, kind);
        world.join(who);
    }
    assert!(world.run_until_secure(&["alice", "bob", "carol"], SOON));
    world.kill_server();
    world.lab.run_for(Duration::from_secs(60));
    world.stop_lending();

    // Both get other addresses, from which they still reach carol, but not each other: each drops what it did not ask for.
    for (who, last) in [("bob", 201), ("alice", 202)] {
        let router = world.routers[who];
        world.lab.net.renumber(router, [203, 0, 113, last].into());
        talk_for(&mut world, Duration::from_secs(20));
    }

    for (who, other) in [("alice", "bob"), ("bob", "alice"), ("alice", "carol")] {
        let status = world.status(who, other).expect("a peer");
        assert!(status.secure && status.path == Path::Direct, "{who}: {status:?}");
    }
}

#[test]
fn a_member_that_moves_to_another_network_is_found_without_a_rendezvous() {
    let mut world = World::new(5);
    for who in ["alice", "bob", "carol"] {
        world.home(who, Kind::Port);
        world.join(who);
    }
    assert!(world.run_until_secure(&["alice", "bob", "carol"], SOON));
    world.kill_server();
    world.lab.run_for(Duration::from_secs(60));

    let router = world.routers["bob"];
    world.lab.net.reboot(router);
    let gap = talk_for(&mut world, Duration::from_secs(10));

    println!("bob's router forgot everything: {gap:?} of silence");
    assert!(gap <= Duration::from_secs(1), "{gap:?}");
}

/// Everybody talks; the longest time that alice did not hear bob.
fn talk_for(world: &mut World, time: Duration) -> Duration {
    let begin = world.lab.now();
    let end = begin + time;
    while world.lab.now() < end {
        for who in ["alice", "bob", "carol"] {
            world.with(who, |mesh, now| mesh.send_voice(&Peers::All, b"frame", now));
        }
        world.lab.run_for(Duration::from_millis(10));
    }
    let alice = world.member("alice");
    let bob = alice.mesh.peers().find(|peer| peer.name == "bob").map(|bob| bob.tag);
    let voices = alice
        .told
        .iter()
        .filter(|(at, event)| *at >= begin && matches!(event, Event::Voice { tag, .. } if Some(*tag) == bob));
    let times: Vec<_> = [begin].into_iter().chain(voices.map(|(at, _)| *at)).chain([end]).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(time)
}

#[test]
fn who_left_without_a_rendezvous_stays_away_whatever_the_others_remember() {
    let mut world = World::new(6);
    for who in ["alice", "bob", "carol"] {
        world.home(who, Kind::Full);
        world.join(who);
    }
    assert!(world.run_until_secure(&["alice", "bob", "carol"], SOON));
    world.kill_server();
    world.lab.run_for(Duration::from_secs(60));

    world.with("bob", |mesh, now| mesh.leave(now));
    world.lab.run_for(Duration::from_secs(60));

    for who in ["alice", "carol"] {
        assert!(world.status(who, "bob").is_none(), "{who}");
    }
}

#[test]
fn who_is_killed_without_a_rendezvous_is_given_up_after_some_minutes() {
    let mut world = World::new(7);
    for who in ["alice", "bob", "carol"] {
        world.home(who, Kind::Full);
        world.join(who);
    }
    assert!(world.run_until_secure(&["alice", "bob", "carol"], SOON));
    world.kill_server();
    let bob = world.hosts["bob"];
    world.lab.uninstall(bob);

    world.lab.run_for(Duration::from_secs(240));

    for who in ["alice", "carol"] {
        assert!(world.status(who, "bob").is_none(), "{who}");
        assert_eq!(world.member(who).mesh.peers().count(), 1, "{who}");
    }
}
