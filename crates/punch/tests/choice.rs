//! Which path is taken when there are several.

mod support;

use std::time::Duration;

use punch::{Event, Way};
use support::{addr, ms, puppet::Puppet};
use wire::signal::CandidateKind;

const SLOW: &str = "203.0.113.7:5000";
const FAST: &str = "192.168.1.7:5000";
const V6: &str = "[2001:db8::7]:5000";

fn names(puppet: &mut Puppet) -> Vec<&'static str> {
    puppet.events().iter().map(support::name).collect()
}

#[test]
fn the_first_path_to_answer_is_taken_and_a_faster_one_later() {
    let mut puppet = Puppet::at(&[addr(SLOW)]);
    puppet.run(ms(200), &[(addr(SLOW), ms(60))]);
    assert_eq!(names(&mut puppet), ["confirmed"]);

    let now = puppet.now;
    puppet.agent.add_candidates(Puppet::TAG, &support::puppet::listed(&[addr(FAST)]), now);
    puppet.run(ms(200), &[(addr(SLOW), ms(60)), (addr(FAST), ms(2))]);
    assert_eq!(names(&mut puppet), ["switched"]);
    assert_eq!(puppet.route(), Some(addr(FAST)));
}

#[test]
fn a_path_that_is_hardly_faster_is_not_worth_a_move() {
    let mut puppet = Puppet::at(&[addr(SLOW), addr(FAST)]);
    puppet.run(ms(1000), &[(addr(SLOW), ms(40)), (addr(FAST), ms(38))]);
    assert_eq!(names(&mut puppet), ["confirmed"]);
}

#[test]
fn ipv6_wins_a_close_race() {
    let mut puppet = Puppet::at(&[addr(SLOW), addr(V6)]);
    puppet.run(ms(1000), &[(addr(SLOW), ms(40)), (addr(V6), ms(38))]);
    assert_eq!(puppet.route(), Some(addr(V6)));
}

#[test]
fn the_second_best_path_is_kept_open_and_takes_over_at_once() {
    let mut puppet = Puppet::at(&[addr(SLOW), addr(FAST)]);
    let both = [(addr(SLOW), ms(40)), (addr(FAST), ms(4))];
    puppet.run(Duration::from_secs(300), &both);
    puppet.events();
    let sent = puppet.run(Duration::from_secs(60), &both);
    let backups: Vec<_> = sent.iter().filter(|(_, to)| *to == addr(SLOW)).collect();
    assert!((2..=3).contains(&backups.len()), "{backups:?}");

    let failed = puppet.now;
    let slow_only = [(addr(SLOW), ms(40))];
    while puppet.route() == Some(addr(FAST)) {
        puppet.note_sent();
        puppet.run(ms(20), &slow_only);
        assert!(puppet.now - failed < ms(600), "{:?}", puppet.events());
    }
    assert_eq!(names(&mut puppet), ["switched"]);
}

#[test]
fn every_event_names_the_route_of_its_moment() {
    let mut puppet = Puppet::at(&[addr(SLOW), addr(FAST)]);
    puppet.run(ms(2), &[]);
    puppet.ping_from(addr(SLOW));
    assert!(matches!(puppet.events()[..], [Event::Usable { way, .. }] if way == Way::to(addr(SLOW))));
    puppet.run(ms(500), &[(addr(FAST), ms(10))]);
    let events = puppet.events();
    assert!(matches!(events[..], [Event::Confirmed { way, .. }] if way == Way::to(addr(FAST))), "{events:?}");
    assert_eq!(puppet.route(), Some(addr(FAST)));
}

#[test]
fn what_comes_before_our_own_first_ping_makes_no_path_yet() {
    let mut puppet = Puppet::at(&[addr(SLOW), addr(FAST), addr(V6)]);
    puppet.ping_from(addr(V6));
    assert_eq!(names(&mut puppet), [""; 0]);
    puppet.run(ms(10), &[]);
    puppet.ping_from(addr(V6));
    assert_eq!(names(&mut puppet), ["usable"]);
}

#[test]
fn a_ping_that_the_peers_has_crossed_is_repeated_only_when_it_should_have_been_answered() {
    // Early, when pings are dense, and late, when the next one of the volley is half a second away.
    for quiet in [ms(20), ms(2120)] {
        let mut puppet = Puppet::at(&[addr(SLOW)]);
        puppet.agent.expect_round_trip(ms(40));
        puppet.run(quiet, &[]);
        puppet.ping_from(addr(SLOW));

        let pong = puppet.run(ms(20), &[]);
        let ping = puppet.run(ms(10), &[]);

        assert_eq!((pong.len(), ping.len()), (1, 1), "after {quiet:?}");
    }
}

#[test]
fn a_ping_that_met_the_router_of_a_near_peer_too_early_is_made_good_for_at_once() {
    let mut puppet = Puppet::at(&[addr(SLOW)]);
    puppet.agent.expect_round_trip(ms(100));
    puppet.run(ms(10), &[]);
    puppet.ping_from(addr(SLOW));
    let pong_and_ping = puppet.run(ms(1), &[]);
    assert_eq!(pong_and_ping.len(), 2);
}

#[test]
fn a_peer_may_send_on_another_path_than_we_do_without_costing_pings() {
    let mut puppet = Puppet::at(&[addr(SLOW), addr(FAST)]);
    let both = [(addr(SLOW), ms(40)), (addr(FAST), ms(38))];
    puppet.run(ms(1000), &both);
    let ours = puppet.route().expect("both answer");
    let theirs = if ours == addr(SLOW) { addr(FAST) } else { addr(SLOW) };
    let mut sent = 0;
    for _ in 0..500 {
        puppet.note_sent();
        puppet.note_received(theirs);
        sent += puppet.run(ms(20), &both).len();
    }
    assert!((10..=14).contains(&sent), "{sent} pings in 10 s");
    assert_eq!(names(&mut puppet), ["confirmed"]);
}

#[test]
fn a_ping_that_arrives_is_answered_by_one_of_our_own_at_once() {
    let mut puppet = Puppet::at(&[addr(SLOW)]);
    puppet.run(ms(12), &[]);
    puppet.ping_from(addr(SLOW));
    let sent = puppet.run(ms(1), &[]);
    assert_eq!(sent.len(), 2, "a pong, and a ping that was due in 8 ms: {sent:?}");
}

#[test]
fn a_path_that_the_peer_lists_after_it_sent_from_there_keeps_its_state_and_gets_its_kind() {
    let mut puppet = Puppet::at(&[]);
    puppet.ping_from(addr(SLOW));
    puppet.run(ms(100), &[(addr(SLOW), ms(40))]);
    let kind = |puppet: &Puppet| puppet.agent.path(Puppet::TAG).map(|path| (path.kind, path.rtt));
    assert_eq!(kind(&puppet), Some((CandidateKind::PeerReflexive, Some(ms(40)))));

    let now = puppet.now;
    puppet.agent.add_candidates(Puppet::TAG, &support::puppet::listed(&[addr(SLOW)]), now);
    assert_eq!(kind(&puppet), Some((CandidateKind::ServerReflexive, Some(ms(40)))));
}

#[test]
fn a_path_is_doubted_if_packets_come_on_it_but_no_answers() {
    let mut puppet = Puppet::at(&[addr(SLOW)]);
    puppet.run(ms(200), &[(addr(SLOW), ms(40))]);
    puppet.events();
    let died = puppet.now;
    while puppet.agent.path(Puppet::TAG).is_some_and(|path| !path.doubtful) {
        puppet.note_sent();
        puppet.note_received(addr(SLOW));
        puppet.run(ms(20), &[]);
        assert!(puppet.now - died < ms(5100));
    }
    puppet.run(ms(4000), &[]);
    assert_eq!(names(&mut puppet), ["doubtful", "lost"]);
}

#[test]
fn the_death_of_an_idle_path_is_noticed_by_its_keepalive() {
    let mut puppet = Puppet::at(&[addr(SLOW)]);
    puppet.run(Duration::from_secs(300), &[(addr(SLOW), ms(40))]);
    assert_eq!(names(&mut puppet), ["confirmed"]);
    let mut unanswered = Vec::new();
    while puppet.agent.path(Puppet::TAG).is_some_and(|path| !path.doubtful) {
        unanswered.extend(puppet.run(ms(10), &[]));
    }
    assert!(puppet.now - unanswered[0].0 <= ms(1520), "{:?}", puppet.now - unanswered[0].0);
}

#[test]
fn a_path_can_be_lost_and_found_any_number_of_times() {
    let mut puppet = Puppet::at(&[addr(SLOW)]);
    for round in 0..10 {
        puppet.run(Duration::from_secs(45), &[(addr(SLOW), ms(40))]);
        assert_eq!(puppet.route(), Some(addr(SLOW)), "round {round}");
        puppet.run(Duration::from_secs(60), &[]);
        assert_eq!(puppet.route(), None, "round {round}");
    }
}
