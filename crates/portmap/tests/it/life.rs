//! How a mapping is got, kept and given back.

use std::{net::Ipv4Addr, time::Duration};

use portmap::{Event, Network};

use crate::{
    home::{Home, network},
    router::{EACH, PORT, Router, SERVER},
};

const MOMENT: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

fn speaks_everything(router: &mut Router) {
    (router.pcp, router.natpmp, router.upnp) = (true, true, true);
}

#[test]
fn each_protocol_alone_gets_a_mapping_at_once() {
    for (name, setting) in EACH {
        let home = Home::after(MOMENT, setting);
        assert_eq!(home.told(), [format!("203.0.113.7:{PORT} {name} 3600")]);
        assert!(home.is_forwarded(), "{name}");
    }
}

#[test]
fn the_first_success_counts_and_the_others_ask_no_more() {
    let home = Home::after(HOUR / 4, speaks_everything);

    assert_eq!(home.told(), [format!("203.0.113.7:{PORT} pcp 3600")]);
    assert_eq!(home.router.asked.iter().filter(|what| what.contains("map") || **what == "add").count(), 1);
}

#[test]
fn a_mapping_is_renewed_for_hours_without_a_gap_or_a_word() {
    for (name, setting) in EACH {
        let mut home = Home::after(MOMENT, setting);
        for _ in 0..60 {
            home.run_for(HOUR / 10);
            assert!(home.is_forwarded(), "{name}");
        }
        assert_eq!(home.told().len(), 1, "{name}: {:?}", home.told());
        let datagrams = home.sent.len();
        assert!(datagrams <= 3 * 13 + 6, "{name}: {datagrams} datagrams in six hours");
    }
}

#[test]
fn the_end_deletes_the_mapping() {
    for (name, setting) in EACH {
        let mut home = Home::after(HOUR, setting);
        let before = home.sent.len();

        home.close();

        assert!(home.router.mappings.is_empty(), "{name}");
        assert!(home.sent.len() - before <= 1, "{name}");
        home.run_for(HOUR);
        assert_eq!(home.told().len(), 1, "{name} is quiet after the end");
    }
}

#[test]
fn the_end_deletes_the_mapping_also_while_it_is_asked_for_again() {
    for (name, setting) in EACH {
        let mut home = Home::after(MOMENT, setting);
        home.mapper.renew(home.now);

        home.close();

        assert!(home.router.mappings.is_empty(), "{name}");
    }
}

#[test]
fn the_end_waits_a_moment_at_most_for_a_router_that_is_silent() {
    let mut home = Home::after(MOMENT, |router| router.upnp = true);
    // Nothing is said, and nothing is closed either.
    home.router.http_lie = Some(Vec::new());

    home.close();

    assert!(home.mapper.wants_stream());
    home.run_for(Duration::from_millis(300));
    assert!(!home.mapper.wants_stream());
}

#[test]
fn a_grant_that_comes_late_changes_nothing_and_is_deleted_at_the_end() {
    let mut home = Home::with(|router| router.natpmp = true);
    // This PCP server answers, but only after NAT-PMP has.
    home.run_for(MOMENT);
    home.router.pcp = true;
    let request = home.sent.iter().find(|(_, out)| out.payload[0] == 2).unwrap().1.clone();
    let (from, answer) = home.router.answer(&request, home.now).unwrap();
    home.hear(from, &answer);

    assert_eq!(home.told(), [format!("203.0.113.7:{PORT} nat-pmp 3600")]);
    home.close();
    let deletions =
        home.sent.iter().rev().take(2).filter(|(_, out)| out.payload[4..8] == [0; 4] || out.payload[8..] == [0; 4]);
    assert_eq!(deletions.count(), 2);
}

#[test]
fn a_restart_of_the_router_that_is_announced_is_mended_at_once() {
    for (name, setting) in [EACH[0], EACH[1]] {
        let mut home = Home::after(HOUR / 4, setting);
        home.router.restart(home.now);
        assert!(!home.is_forwarded());

        let announcement = home.router.announcement(home.now);
        // What NAT-PMP announces is an address that nobody asked for.
        let natpmp = [0, 0x80, 0, 0, 0, 0, 0, 0, 203, 0, 113, 7];
        home.hear(SERVER, if name == "pcp" { &announcement } else { &natpmp });
        home.run_for(MOMENT);

        assert!(home.is_forwarded(), "{name}");
        assert_eq!(home.told().len(), 1, "{name}: the address is the same");
    }
}

#[test]
fn after_a_sleep_the_mapping_is_made_again() {
    for (name, setting) in EACH {
        let mut home = Home::after(HOUR / 4, setting);
        // The clock of the program stood still for longer than the lease.
        home.router.mappings.clear();

        home.mapper.renew(home.now);
        home.run_for(MOMENT);

        assert!(home.is_forwarded(), "{name}");
        assert_eq!(home.told().len(), 1, "{name}: the address is the same");
    }
}

#[test]
fn announcements_that_are_forged_cost_a_packet_in_five_seconds() {
    let mut home = Home::after(HOUR / 4, |router| router.pcp = true);
    let before = home.sent.len();

    for n in 0..200u32 {
        let mut forged = home.router.announcement(home.now);
        forged[8..12].copy_from_slice(&(n * 7919 % 1000).to_be_bytes());
        home.hear(SERVER, &forged);
        home.run_for(Duration::from_millis(50));
    }

    assert!(home.sent.len() - before <= 3, "{}", home.sent.len() - before);
    assert_eq!(home.told().len(), 1);
    assert!(home.is_forwarded());
}

#[test]
fn another_address_of_the_router_is_told() {
    let mut home = Home::after(HOUR / 4, |router| router.natpmp = true);
    home.router.external = Ipv4Addr::new(198, 51, 100, 9);

    home.hear(SERVER, &[0, 0x80, 0, 0, 0, 0, 3, 0x84, 198, 51, 100, 9]);
    home.run_for(MOMENT);

    assert_eq!(home.told()[1..], [format!("198.51.100.9:{PORT} nat-pmp 3600")]);
}

#[test]
fn a_mapping_that_is_not_renewed_is_lost_with_its_lease_and_asked_for_again() {
    for (name, setting) in EACH {
        let mut home = Home::after(MOMENT, setting);
        home.is_cut = true;
        home.run_for(2 * HOUR);
        let told = home.told();
        assert!(told[1].starts_with("lost: "), "{name}: {told:?}");
        assert!(home.events[1].0 <= HOUR + MOMENT, "{name}");
        assert_eq!(home.mapper.mapped(), None);

        home.is_cut = false;
        home.run_for(HOUR / 2);

        assert!(home.is_forwarded(), "{name}: {:?}", home.told());
    }
}

#[test]
fn a_upnp_router_that_moved_its_control_address_is_found_again() {
    let mut home = Home::after(MOMENT, |router| router.upnp = true);
    // The next call fails, as if nobody were at the old port; the search after it finds the new one.
    home.router.http_lie = Some(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n".to_vec());
    home.router.asked.clear();
    home.run_for(HOUR / 2 - 2 * MOMENT);
    home.router.http_lie = None;
    home.is_cut = true;
    home.run_for(2 * MOMENT);
    home.is_cut = false;

    home.run_for(HOUR / 4);

    assert!(home.router.asked.contains(&"search"), "{:?}", home.router.asked);
    assert!(home.is_forwarded(), "{:?}", home.told());
    assert_eq!(home.told().len(), 1, "{:?}", home.told());
}

#[test]
fn another_network_ends_the_mapping_and_asks_there() {
    let mut home = Home::after(MOMENT, speaks_everything);
    let elsewhere = Network { internal: "192.168.1.8:40112".parse().unwrap(), ..network() };

    home.mapper.set_network(Some(elsewhere), home.now);
    home.run_for(MOMENT);

    assert_eq!(home.told()[1], "lost: the network has changed");
    assert!(matches!(home.events[2].1, Event::Mapped { .. }));
    home.mapper.set_network(Some(elsewhere), home.now);
    home.run_for(MOMENT);
    assert_eq!(home.events.len(), 3, "the same network is no change");
    home.mapper.set_network(None, home.now);
    home.run_for(HOUR);
    assert_eq!(home.told()[3..], ["lost: the network has changed"]);
}

#[test]
fn a_router_that_never_answers_is_asked_as_the_rfcs_say_and_told_of_once() {
    let mut home = Home::with(|_| ());
    home.run_for(HOUR / 5);

    assert_eq!(home.told(), ["none: pcp: no answer; nat-pmp: no answer; upnp: no answer"]);
    assert_eq!(home.events[0].0, Duration::from_secs(4));
    let at = |is_so: fn(&[u8]) -> bool| -> Vec<u128> {
        let sent = home.sent.iter().filter(|(_, out)| is_so(&out.payload));
        sent.map(|(at, _)| at.as_millis()).collect()
    };
    // RFC 6886, section 3.1: 250 ms, doubling, nine requests.
    assert_eq!(at(|bytes| bytes == [0, 0]), [0, 250, 750, 1750, 3750, 7750, 15750, 31750, 63750]);
    // RFC 6887, section 8.1.1: 3 s, doubling.
    assert_eq!(at(|bytes| bytes[0] == 2), [0, 3000, 9000, 21000, 45000, 93000]);
    assert_eq!(at(|bytes| bytes[0] == b'M'), [0, 500, 1500]);

    home.run_for(HOUR);
    assert_eq!(home.told().len(), 1, "no news is no event");
}

#[test]
fn a_router_that_learns_to_map_later_is_noticed() {
    let mut home = Home::after(HOUR / 2, |_| ());
    home.router.pcp = true;

    home.run_for(HOUR / 2);

    assert!(home.is_forwarded(), "{:?}", home.told());
}

#[test]
fn a_port_that_is_taken_is_another_one() {
    let taken = |router: &mut Router| (router.upnp, router.taken) = (true, vec![PORT]);
    let home = Home::after(MOMENT, taken);
    let other = home.mapper.mapped().unwrap().port();
    assert!(other != PORT && other >= 1024 && home.is_forwarded());

    let home = Home::after(MOMENT, |router| {
        taken(router);
        router.version = 2;
    });
    assert_eq!(home.mapper.mapped().unwrap().port(), PORT + 1);
    assert!(home.router.asked.contains(&"add any"));
}

#[test]
fn a_router_that_gives_only_permanent_mappings_gets_it_deleted_at_the_end() {
    let mut home = Home::after(MOMENT, |router| (router.upnp, router.only_permanent) = (true, true));
    assert!(home.is_forwarded());

    home.close();

    assert!(home.router.mappings.is_empty());
}

#[test]
fn ports_that_are_all_taken_are_not_tried_for_ever() {
    let home = Home::after(HOUR / 10, |router| (router.upnp, router.taken) = (true, (0..=65535).collect()));

    assert!(home.told()[0].ends_with("upnp: the router refuses with UPnP error 718"), "{:?}", home.told());
    assert_eq!(home.router.asked.iter().filter(|what| **what == "add").count(), 5);
}
