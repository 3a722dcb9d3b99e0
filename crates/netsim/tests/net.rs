//! Scenes of whole networks: who hears whom, from where, and when.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{net::SocketAddr, time::Duration};

use netsim::{DropReason, Hairpin, HostId, Kind, Link, Nat, Net, RouterId, Segment, epoch};

const SERVER: &str = "198.51.100.1:3478";

struct Scene {
    net: Net,
    server: HostId,
}

impl Scene {
    fn new() -> Self {
        let mut net = Net::new(5);
        let server = net.add_host(Segment::INTERNET, &["198.51.100.1".parse().unwrap()]);
        Self { net, server }
    }

    fn home(&mut self, at: Segment, outside: &str, nat: Nat) -> RouterId {
        let router = self.net.add_router(at, &[outside.parse().unwrap()], nat);
        self.net.set_uplink(router, Link::instant());
        router
    }

    fn host(&mut self, at: Segment, address: &str) -> HostId {
        self.net.add_host(at, &[address.parse().unwrap()])
    }

    /// Sends from port 5000 and returns who got it and from where it seemed to come.
    fn send(&mut self, from: HostId, to: &str) -> Option<(HostId, SocketAddr)> {
        self.net.send(from, 5000, to.parse().unwrap(), vec![1], epoch());
        self.arrival()
    }

    fn arrival(&mut self) -> Option<(HostId, SocketAddr)> {
        while let Some(at) = self.net.next_event() {
            self.net.advance(at);
        }
        self.net.poll_delivery().map(|delivery| (delivery.host, delivery.from))
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn the_round_trip_of_default_links_is_40_ms() {
    let mut scene = Scene::new();
    let host = scene.host(Segment::INTERNET, "203.0.113.1");
    scene.net.send(host, 5000, addr(SERVER), vec![1], epoch());
    while let Some(at) = scene.net.next_event() {
        scene.net.advance(at);
    }
    let delivery = scene.net.poll_delivery().unwrap();
    assert_eq!((delivery.host, delivery.port), (scene.server, 3478));
    assert_eq!(delivery.at.duration_since(epoch()), Duration::from_millis(20));
}

#[test]
fn a_home_behind_a_carrier_is_translated_twice() {
    let mut scene = Scene::new();
    let carrier = scene.home(Segment::INTERNET, "203.0.113.1", Kind::Carrier.nat());
    let home = scene.home(carrier.inside(), "100.64.0.2", Kind::Port.nat());
    let alice = scene.host(home.inside(), "192.168.1.2");

    let (_, seen) = scene.send(alice, SERVER).unwrap();

    assert_eq!(seen.ip(), addr("203.0.113.1:1").ip());
    let answer = seen.to_string();
    scene.net.send(scene.server, 3478, answer.parse().unwrap(), vec![2], epoch());
    assert_eq!(scene.arrival(), Some((alice, addr(SERVER))));
}

#[test]
fn two_on_one_lan_reach_each_other_inside_always_and_outside_only_by_hairpin() {
    for (hairpin, seen_from) in [
        (Hairpin::No, None),
        (Hairpin::ExternalSource, Some("203.0.113.1:5000")),
        (Hairpin::InsideSource, Some("192.168.1.2:5000")),
    ] {
        let mut scene = Scene::new();
        let home = scene.home(Segment::INTERNET, "203.0.113.1", Nat { hairpin, ..Kind::Full.nat() });
        let alice = scene.host(home.inside(), "192.168.1.2");
        let bob = scene.host(home.inside(), "192.168.1.3");
        assert_eq!(scene.send(alice, "192.168.1.3:5000"), Some((bob, addr("192.168.1.2:5000"))));

        scene.send(alice, SERVER);
        let (_, bob_outside) = scene.send(bob, SERVER).unwrap();
        let expected = seen_from.map(|from| (bob, addr(from)));
        assert_eq!(scene.send(alice, &bob_outside.to_string()), expected, "{hairpin:?}");
    }
}

#[test]
fn a_private_address_leads_to_a_stranger_at_home_and_nowhere_on_the_internet() {
    let mut scene = Scene::new();
    let left = scene.home(Segment::INTERNET, "203.0.113.1", Kind::Port.nat());
    let right = scene.home(Segment::INTERNET, "203.0.113.2", Kind::Port.nat());
    let alice = scene.host(left.inside(), "192.168.1.2");
    let printer = scene.host(left.inside(), "192.168.1.7");
    scene.host(right.inside(), "192.168.1.7");

    assert_eq!(scene.send(alice, "192.168.1.7:5000"), Some((printer, addr("192.168.1.2:5000"))));
    assert_eq!(scene.send(alice, "10.0.0.1:5000"), None);
    assert_eq!(scene.net.dropped(DropReason::NoRoute), 1);
}

#[test]
fn ipv6_is_not_translated_but_needs_an_opener() {
    let mut scene = Scene::new();
    let left = scene.home(Segment::INTERNET, "203.0.113.1", Kind::Symmetric.nat());
    let right = scene.home(Segment::INTERNET, "203.0.113.2", Kind::Symmetric.nat());
    let alice = scene.host(left.inside(), "2001:db8:a::2");
    let bob = scene.host(right.inside(), "2001:db8:b::2");

    assert_eq!(scene.send(alice, "[2001:db8:b::2]:5000"), None);
    assert_eq!(scene.net.dropped(DropReason::NoMapping), 1);
    assert_eq!(scene.send(bob, "[2001:db8:a::2]:5000"), Some((alice, addr("[2001:db8:b::2]:5000"))));
    assert_eq!(scene.send(alice, "[2001:db8:b::2]:5000"), Some((bob, addr("[2001:db8:a::2]:5000"))));
}

#[test]
fn a_rebooted_or_renumbered_router_lets_nobody_in() {
    let mut scene = Scene::new();
    let home = scene.home(Segment::INTERNET, "203.0.113.1", Kind::Full.nat());
    let alice = scene.host(home.inside(), "192.168.1.2");
    scene.send(alice, SERVER);
    assert!(scene.send(scene.server, "203.0.113.1:5000").is_some());

    scene.net.reboot(home);
    assert!(scene.send(scene.server, "203.0.113.1:5000").is_none());

    scene.net.renumber(home, "203.0.113.99".parse().unwrap());
    assert_eq!(scene.send(alice, SERVER), Some((scene.server, addr("203.0.113.99:5000"))));
}

#[test]
fn a_moved_host_sends_from_its_new_place() {
    let mut scene = Scene::new();
    let home = scene.home(Segment::INTERNET, "203.0.113.1", Kind::Port.nat());
    let alice = scene.host(home.inside(), "192.168.1.2");
    scene.net.move_host(alice, Segment::INTERNET, &["203.0.113.50".parse().unwrap()]);
    assert_eq!(scene.send(alice, SERVER), Some((scene.server, addr("203.0.113.50:5000"))));
    scene.net.cut(alice, true);
    assert_eq!(scene.send(alice, SERVER), None);
    assert_eq!(scene.net.dropped(DropReason::Cut), 1);
}

#[test]
fn loss_and_copies_come_as_often_as_asked() {
    let mut scene = Scene::new();
    let host = scene.host(Segment::INTERNET, "203.0.113.1");
    scene.net.set_link(host, Link { duplicate: 0.1, ..Link::default().losing(0.2) });
    for _ in 0..1000 {
        scene.net.send(host, 5000, addr(SERVER), vec![1], epoch());
    }
    while scene.arrival().is_some() {}
    let received = scene.net.received(scene.server);
    assert!((800..960).contains(&received), "{received} of 1000 arrived");
}

#[test]
fn a_short_lived_datagram_opens_its_own_router_and_does_not_get_to_the_far_one() {
    let mut scene = Scene::new();
    let left = scene.home(Segment::INTERNET, "203.0.113.1", Kind::Port.nat());
    let right = scene.home(Segment::INTERNET, "203.0.113.2", Kind::LinuxOpen.nat());
    let alice = scene.host(left.inside(), "192.168.1.2");
    let bob = scene.host(right.inside(), "192.168.2.2");

    scene.net.send_with_ttl(alice, 5000, addr("203.0.113.2:5000"), vec![1], 5, epoch());

    assert_eq!(scene.arrival(), None);
    assert_eq!(scene.net.dropped(DropReason::Expired), 1);
    assert_eq!(
        scene.send(bob, "203.0.113.1:5000"),
        Some((alice, addr("203.0.113.2:5000"))),
        "bob's router keeps the port"
    );
}

#[test]
fn every_router_on_the_way_takes_one_off_the_time_to_live() {
    let mut scene = Scene::new();
    let carrier = scene.home(Segment::INTERNET, "203.0.113.1", Kind::Carrier.nat());
    let home = scene.home(carrier.inside(), "100.64.0.2", Kind::Port.nat());
    let alice = scene.host(home.inside(), "192.168.1.2");
    scene.net.set_core_hops(3);
    for (ttl, arrives) in [(1, false), (3, false), (5, false), (6, true)] {
        scene.net.send_with_ttl(alice, 5000, addr(SERVER), vec![1], ttl, epoch());
        assert_eq!(scene.arrival().is_some(), arrives, "{ttl}");
    }
}

#[test]
fn a_router_against_udp_lets_none_pass_or_only_to_one_port() {
    for (kind, port, arrives) in [(Kind::NoUdp, 443, false), (Kind::Udp443, 3478, false), (Kind::Udp443, 443, true)] {
        let mut scene = Scene::new();
        let home = scene.home(Segment::INTERNET, "203.0.113.1", kind.nat());
        let alice = scene.host(home.inside(), "192.168.1.2");

        let seen = scene.send(alice, &format!("198.51.100.1:{port}"));

        assert_eq!(seen.is_some(), arrives, "{kind} {port}");
        assert_eq!(scene.net.dropped(DropReason::Blocked), u64::from(!arrives));
        if let Some((_, from)) = seen {
            scene.net.send(scene.server, port, from, vec![2], epoch());
            assert!(scene.arrival().is_some(), "the answer passes");
        }
    }
}
