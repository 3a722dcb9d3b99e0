//! What strangers, thieves of packets and members with bad intentions can bring about.

mod support;

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use netsim::Rng;
use punch::{Ignored, Way};
use support::{
    addr, keys, ms,
    puppet::{Puppet, listed},
    tag,
};
use wire::check::Check;

const HOME: &str = "203.0.113.7:5000";
const AWAY: &str = "198.18.0.9:5000";
const VICTIM: &str = "192.0.2.66:53";
const RTT: Duration = ms(40);

/// A puppet with a confirmed path.
fn known_at(home: SocketAddr) -> Puppet {
    let mut puppet = Puppet::at(&[home]);
    puppet.run(ms(100), &[(home, RTT)]);
    assert_eq!(puppet.route(), Some(home));
    puppet.events();
    puppet
}

#[test]
fn a_replayed_check_is_ignored_wherever_it_comes_from() {
    let mut puppet = Puppet::at(&[addr(HOME)]);
    let ping = puppet.ping();
    assert_eq!(puppet.feed(addr(HOME), &ping), Ok(Puppet::TAG));
    assert_eq!(puppet.feed(addr(HOME), &ping), Err(Ignored::Replayed));
    assert_eq!(puppet.feed(addr(AWAY), &ping), Err(Ignored::Replayed));
    assert_eq!(puppet.peer_at(addr(AWAY)), None);
}

#[test]
fn forged_and_foreign_checks_are_ignored_and_nobody_is_answered() {
    let mut puppet = Puppet::at(&[addr(HOME)]);
    puppet.run(ms(1), &[]);
    let stranger = keys(2, 0).seal(1, &Check::Ping { txid: 1 });
    let mut forged = puppet.ping();
    *forged.last_mut().expect("a ping has bytes") ^= 1;
    let reflected = keys(0, 1).seal(1, &Check::Ping { txid: 1 });
    let rows = [
        (&stranger[..], Ignored::Stranger),
        (&forged, Ignored::Forged),
        (&reflected, Ignored::Stranger),
        (&[16; 12], Ignored::NoCheck),
        (&[], Ignored::NoCheck),
    ];
    for (datagram, expected) in rows {
        assert_eq!(puppet.feed(addr(HOME), datagram), Err(expected));
        assert_eq!(puppet.agent.poll_transmit(), None, "{expected}");
    }
}

#[test]
fn checks_in_any_order_are_all_taken() {
    let mut puppet = Puppet::at(&[addr(HOME)]);
    let mut pings: Vec<_> = (0..200).map(|_| puppet.ping()).collect();
    let mut rng = Rng::new(1);
    while !pings.is_empty() {
        let ping = pings.swap_remove(rng.below(pings.len() as u64) as usize);
        assert_eq!(puppet.feed(addr(HOME), &ping), Ok(Puppet::TAG));
    }
}

#[test]
fn bytes_from_a_fuzzer_change_nothing() {
    let mut puppet = known_at(addr(HOME));
    let mut rng = Rng::new(9);
    for round in 0..20_000 {
        let original = puppet.ping();
        let mut datagram = original.clone();
        for _ in 0..=rng.below(3) {
            let at = rng.below(datagram.len() as u64) as usize;
            datagram[at] ^= 1 << rng.below(8);
        }
        datagram.truncate(rng.below(datagram.len() as u64 * 2) as usize);
        let bent = datagram != original;
        assert!(!bent || puppet.feed(addr(AWAY), &datagram).is_err(), "round {round}: {datagram:?}");
    }
    assert_eq!(puppet.events(), []);
}

#[test]
fn packets_to_an_address_that_never_answers_stop_at_40_though_the_member_lists_it_again_and_again() {
    let mut puppet = Puppet::at(&[addr(VICTIM)]);
    let mut sent = 0;
    for round in 0..60 {
        let other = addr(&format!("203.0.113.{round}:5000"));
        let now = puppet.now;
        puppet.agent.add_candidates(Puppet::TAG, &listed(&[addr(VICTIM), other]), now);
        sent += packets_to_victim(&mut puppet, Duration::from_secs(30));
    }
    assert!((30..=40).contains(&sent), "{sent} packets");
}

#[test]
fn ten_members_who_list_one_victim_get_it_no_more_than_one_does() {
    let mut puppet = Puppet::at(&[addr(VICTIM)]);
    let now = puppet.now;
    for member in 2..12 {
        puppet.agent.add_peer(tag(member), keys(0, member), &listed(&[addr(VICTIM)]), now);
    }
    let mut sent = packets_to_victim(&mut puppet, Duration::from_secs(600));
    for member in 12..40 {
        let now = puppet.now;
        puppet.agent.remove_peer(tag(member - 1));
        puppet.agent.add_peer(tag(member), keys(0, member), &listed(&[addr(VICTIM)]), now);
        sent += packets_to_victim(&mut puppet, Duration::from_secs(10));
    }
    assert!(sent <= 40, "{sent} packets");
}

#[test]
fn a_lost_path_is_no_better_than_an_address_that_never_answered() {
    let mut puppet = Puppet::at(&[addr(VICTIM)]);
    puppet.run(Duration::from_secs(10), &[(addr(VICTIM), RTT)]);
    puppet.run(Duration::from_secs(40), &[]);
    let events: Vec<_> = puppet.events().iter().map(support::name).collect();
    assert_eq!(events, ["confirmed", "doubtful", "lost"]);
    let sent = packets_to_victim(&mut puppet, Duration::from_secs(3500));
    assert!((10..=40).contains(&sent), "{sent} packets");
}

#[test]
fn a_member_that_sends_in_the_name_of_a_victim_gets_it_40_packets_voice_included() {
    let mut puppet = Puppet::at(&[addr(VICTIM)]);
    let mut sent = 0;
    for _ in 0..3000 {
        puppet.ping_from(addr(VICTIM));
        sent += packets_to_victim(&mut puppet, ms(20));
        if puppet.route() == Some(addr(VICTIM)) {
            puppet.note_sent();
            sent += 1;
        }
    }
    assert!(sent <= 40, "{sent} packets");
    assert_eq!(puppet.route(), None);
}

#[test]
fn an_address_that_was_written_to_in_vain_is_answered_when_its_owner_is_back() {
    let mut puppet = Puppet::at(&[addr(HOME)]);
    puppet.run(ms(10), &[]);
    puppet.ping_from(addr(HOME));
    for _ in 0..60 {
        puppet.run(ms(20), &[]);
        if puppet.route().is_some() {
            puppet.note_sent();
        }
    }
    assert_eq!(puppet.route(), None, "traffic has had its share");
    puppet.run(Duration::from_secs(300), &[]);
    assert_eq!(puppet.run(Duration::from_secs(300), &[]), [], "and so have checks");

    puppet.ping_from(addr(HOME));
    puppet.run(ms(100), &[(addr(HOME), RTT)]);

    assert_eq!(puppet.route(), Some(addr(HOME)));
}

fn packets_to_victim(puppet: &mut Puppet, time: Duration) -> usize {
    puppet.run(time, &[]).iter().filter(|(_, to)| *to == addr(VICTIM)).count()
}

#[test]
fn copied_packets_move_no_path() {
    let mut puppet = known_at(addr(HOME));
    for _ in 0..20 {
        puppet.ping_from(addr(AWAY));
        puppet.run(ms(50), &[(addr(HOME), RTT)]);
    }
    assert_eq!(puppet.route(), Some(addr(HOME)));
    assert_eq!(puppet.peer_at(addr(AWAY)), None, "it has not answered a ping");
    assert_eq!(puppet.events(), []);
}

#[test]
fn copied_packets_make_no_path_while_there_is_none_either() {
    let mut puppet = Puppet::at(&[addr(HOME)]);
    for _ in 0..20 {
        puppet.ping_from(addr(AWAY));
        puppet.run(ms(50), &[]);
    }
    assert_eq!(puppet.route(), None);
}

#[test]
fn the_address_of_one_peer_is_not_given_to_another_who_lists_it() {
    let mut puppet = known_at(addr(HOME));
    let now = puppet.now;
    puppet.agent.add_peer(tag(2), keys(0, 2), &listed(&[addr(HOME)]), now);
    puppet.run(ms(10), &[]);
    let spoofed = keys(2, 0).seal(1, &Check::Ping { txid: 1 });
    assert_eq!(puppet.agent.handle_input(Way::to(addr(HOME)), &spoofed, puppet.now), Ok(tag(2)));
    assert_eq!(puppet.peer_at(addr(HOME)), Some(Puppet::TAG));
    assert_eq!(puppet.agent.route(tag(2)), None);
}

#[test]
fn addresses_that_no_member_can_have_get_nothing() {
    let bad = [
        "127.0.0.1:5000",
        "[::1]:5000",
        "[::ffff:127.0.0.1]:5000",
        "0.0.0.0:5000",
        "224.0.0.251:5353",
        "255.255.255.255:9",
        "169.254.169.254:80",
        "[fe80::1]:5000",
        "[ff02::1]:5000",
        "203.0.113.7:0",
    ]
    .map(addr);
    for some in bad.chunks(5) {
        let mut puppet = Puppet::at(some);
        assert_eq!(puppet.run(Duration::from_secs(10), &[]), []);
        let ping = puppet.ping();
        assert!(matches!(puppet.feed(some[0], &ping), Err(Ignored::Source(_))));
        assert_eq!(puppet.agent.poll_transmit(), None);
    }
}

#[test]
fn loopback_is_for_those_who_ask_for_it() {
    let mut puppet = Puppet::at(&[]);
    puppet.agent.allow_loopback();
    let (now, here) = (puppet.now, addr("127.0.0.1:5000"));
    puppet.agent.add_candidates(Puppet::TAG, &listed(&[here]), now);
    puppet.run(ms(100), &[(here, ms(1))]);
    assert_eq!(puppet.route(), Some(here));
}

#[test]
fn an_ipv4_address_within_ipv6_is_the_same_address() {
    let mut puppet = Puppet::at(&[addr("[::ffff:203.0.113.7]:5000"), addr(HOME)]);
    let ping = puppet.ping();
    puppet.run(ms(10), &[]);
    puppet.feed(addr("[::ffff:203.0.113.7]:5000"), &ping).expect("an authentic ping");
    assert_eq!(puppet.route(), Some(addr(HOME)));
    assert_eq!(puppet.peer_at(addr("[::ffff:203.0.113.7]:5000")), Some(Puppet::TAG));
}

#[test]
fn a_peer_of_many_addresses_takes_little_room_and_time() {
    let mut puppet = known_at(addr(HOME));
    let mut asked = BTreeSet::new();
    for index in 0..10_000u32 {
        let from = SocketAddr::from(([10, (index >> 16) as u8, (index >> 8) as u8, index as u8], 5000));
        puppet.ping_from(from);
        asked.extend(puppet.run(Duration::from_micros(100), &[(addr(HOME), RTT)]).iter().map(|(_, to)| *to));
    }
    assert!(asked.len() <= 128 + 1, "{} addresses were sent to", asked.len());
    assert_eq!(puppet.route(), Some(addr(HOME)));
}

#[test]
fn listing_every_address_that_it_sent_from_gains_a_peer_no_room() {
    let mut puppet = known_at(addr(HOME));
    let mut pinged = BTreeSet::new();
    for round in 0..10u8 {
        let many: Vec<_> = (0..8).map(|index| SocketAddr::from(([10, 0, round, index + 1], 5000))).collect();
        many.iter().for_each(|from| puppet.ping_from(*from));
        let now = puppet.now;
        puppet.agent.add_candidates(Puppet::TAG, &listed(&many), now);
        puppet.run(ms(500), &[(addr(HOME), RTT)]);
    }
    let now = puppet.now;
    puppet.agent.network_changed(now);
    pinged.extend(puppet.run(ms(500), &[]).iter().map(|(_, to)| *to));
    assert!(pinged.len() <= 16, "{} addresses", pinged.len());
}

#[test]
fn a_flood_of_pings_is_answered_at_a_measured_pace() {
    let mut puppet = known_at(addr(HOME));
    let mut sent = 0;
    for _ in 0..10_000 {
        puppet.ping_from(addr(HOME));
        sent += puppet.run(Duration::from_micros(100), &[(addr(HOME), RTT)]).len();
    }
    assert!((100..=200).contains(&sent), "{sent} packets in a second");
}

#[test]
fn a_peer_that_is_added_again_with_the_same_keys_repeats_no_number_and_believes_no_old_check() {
    let mut puppet = Puppet::at(&[addr(HOME)]);
    let mut numbers = BTreeSet::new();
    let old = puppet.ping();
    puppet.feed(addr(HOME), &old).expect("an authentic ping");
    for _ in 0..3 {
        while let Some(out) = puppet.agent.poll_transmit() {
            let number = out.payload[5..13].to_vec();
            assert!(numbers.insert(number), "a nonce is used once");
        }
        let now = puppet.now;
        puppet.agent.remove_peer(Puppet::TAG);
        puppet.agent.add_peer(tag(1), keys(0, 1), &listed(&[addr(HOME)]), now);
        assert_eq!(puppet.feed(addr(HOME), &old), Err(Ignored::Replayed));
        puppet.now += ms(50);
        let now = puppet.now;
        puppet.agent.handle_timeout(now);
    }
    assert!(numbers.len() > 3);
}

#[test]
fn a_removed_peer_is_a_stranger_and_owns_nothing() {
    let mut puppet = known_at(addr(HOME));
    puppet.agent.remove_peer(Puppet::TAG);
    let ping = puppet.ping();
    assert_eq!(puppet.feed(addr(HOME), &ping), Err(Ignored::Stranger));
    assert_eq!((puppet.peer_at(addr(HOME)), puppet.route()), (None, None));
    assert_eq!(puppet.agent.poll_timeout(), None);
}

#[test]
fn a_path_that_only_the_peer_can_use_is_not_believed_for_long() {
    let mut puppet = Puppet::at(&[addr(HOME)]);
    puppet.run(ms(10), &[]);
    puppet.ping_from(addr(HOME));
    puppet.run(ms(6000), &[]);
    let names: Vec<_> = puppet.events().iter().map(support::name).collect();
    assert_eq!(names, ["usable", "doubtful", "lost"]);
}
