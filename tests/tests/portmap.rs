//! Members whose router forwards a port to them, and routers that lie about it.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

use tests::{
    call::{Member, Miniupnpd, Options, Rendezvous, deafen},
    lab::Lab,
};

use crate::{Tests, listed, start_lab};

pub(crate) fn tests() -> Tests {
    listed![
        pcp_opens_a_symmetric_nat,
        nat_pmp_opens_a_symmetric_nat,
        upnp_opens_a_symmetric_nat,
        a_mapping_lets_a_symmetric_nat_reach_a_port_restricted_one,
        a_mapping_that_comes_late_is_told_to_those_who_are_there,
        a_restart_of_the_router_is_mended,
        a_router_behind_a_carrier_has_nothing_to_offer,
        a_router_that_answers_garbage_does_no_harm,
        a_router_that_talks_without_end_does_no_harm,
        nobody_is_asked_who_is_not_to_be_asked,
    ]
}

fn pcp_opens_a_symmetric_nat() {
    opens_a_symmetric_nat("pcp", &[]);
}

fn nat_pmp_opens_a_symmetric_nat() {
    opens_a_symmetric_nat("nat-pmp", &["pcp"]);
}

fn upnp_opens_a_symmetric_nat() {
    opens_a_symmetric_nat("upnp", &["pcp", "nat-pmp"]);
}

/// Two NATs that choose a random port for every destination: there is no way but a mapping.
fn opens_a_symmetric_nat(protocol: &str, deaf_to: &[&str]) {
    let lab = start_lab("A=sym B=sym");
    let _rendezvous = Rendezvous::start(&lab);
    deafen(&lab, "A", deaf_to);
    let router = Miniupnpd::start(&lab, "A");
    let mut alice = Member::join(&lab, "A1", "den", "alice");
    let mut bob = Member::join(&lab, "B1", "den", "bob");

    let (mapped, by) = alice.until_mapped();

    assert_eq!((mapped.ip(), by.as_str()), (router.external().into(), protocol));
    let addresses = [router.external(), lab.external("A").unwrap()].map(IpAddr::from);
    let reached = bob.until_direct("alice");
    // The router forwards the port of any of its addresses, so of the one that the rendezvous sees, too.
    assert!(addresses.contains(&reached.ip()) && reached.port() == mapped.port(), "{reached} is not {mapped}");
    alice.until_direct("bob");
    bob.say(&lab, "through the hole in your wall");
    let lease = router.until_leases(1).remove(0);
    let inside = format!(":{}:", lab.address("A1").unwrap());
    assert!(lease.starts_with(&format!("UDP:{}:", mapped.port())) && lease.contains(&inside), "{lease}");

    alice.leave();

    router.until_leases(0);
}

fn a_mapping_lets_a_symmetric_nat_reach_a_port_restricted_one() {
    let lab = start_lab("A=port B=sym");
    let _rendezvous = Rendezvous::start(&lab);
    let router = Miniupnpd::start(&lab, "A");
    let mut alice = Member::join(&lab, "A1", "den", "alice");
    let mut bob = Member::join(&lab, "B1", "den", "bob");

    // The router forwards the port of any of its addresses, so of the one that the rendezvous sees, too.
    let addresses = [router.external(), lab.external("A").unwrap()];
    assert!(addresses.map(IpAddr::from).contains(&bob.until_direct("alice").ip()));
    alice.until_direct("bob");
    alice.say(&lab, "come in");
}

fn a_mapping_that_comes_late_is_told_to_those_who_are_there() {
    let lab = start_lab("A=sym B=sym");
    let _rendezvous = Rendezvous::start(&lab);
    let mut alice = Member::join(&lab, "A1", "den", "alice");
    let mut bob = Member::join(&lab, "B1", "den", "bob");
    alice.until("meeting bob", |state| state.peers.contains_key("bob"));
    bob.until("meeting alice", |state| state.peers.contains_key("alice"));
    assert!(alice.until_unmapped().contains("no answer"));

    let router = Miniupnpd::start(&lab, "A");

    let addresses = [router.external(), lab.external("A").unwrap()];
    assert!(addresses.map(IpAddr::from).contains(&bob.until_direct("alice").ip()));
    alice.until_direct("bob");
}

fn a_restart_of_the_router_is_mended() {
    let lab = start_lab("A=sym");
    let _rendezvous = Rendezvous::start(&lab);
    let mut router = Miniupnpd::start(&lab, "A");
    let mut alice = Member::join(&lab, "A1", "den", "alice");
    let (mapped, _) = alice.until_mapped();
    router.until_leases(1);

    router.restart(&lab);

    let lease = router.until_leases(1).remove(0);
    assert!(lease.starts_with(&format!("UDP:{}:", mapped.port())), "{lease}");
    assert_eq!(alice.state().portmaps.len(), 1, "the address is the same: {:?}", alice.state().portmaps);
}

fn a_router_behind_a_carrier_has_nothing_to_offer() {
    let lab = start_lab("A=port:up=K B=port K=cgn");
    let _rendezvous = Rendezvous::start(&lab);
    let router = Miniupnpd::start(&lab, "A");
    let mut alice = Member::join(&lab, "A1", "den", "alice");
    let mut bob = Member::join(&lab, "B1", "den", "bob");

    assert!(alice.until_unmapped().contains("behind another NAT"));
    alice.until_direct("bob");
    bob.until_direct("alice");
    assert!(router.leases().is_empty());
}

/// A socket on a router, towards its LAN.
fn on_router<T: Send>(lab: &Lab, make: impl FnOnce() -> std::io::Result<T> + Send) -> T {
    lab.node("A").unwrap().within(|| Ok(make()?)).unwrap()
}

fn a_router_that_answers_garbage_does_no_harm() {
    let lab = start_lab("A=port B=port");
    let _rendezvous = Rendezvous::start(&lab);
    let liar = on_router(&lab, || UdpSocket::bind("0.0.0.0:5351"));
    std::thread::spawn(move || {
        let mut request = [0; 1500];
        while let Ok((len, from)) = liar.recv_from(&mut request) {
            let mut echo = request[..len].to_vec();
            echo[1] |= 0x80;
            let rows: [&[u8]; 6] = [&[], &[2], &[0, 0x81, 0, 0], &[0xff; 1200], &[2; 60], &echo];
            for garbage in rows {
                let _ = liar.send_to(garbage, from);
            }
        }
    });
    let mut alice = Member::join(&lab, "A1", "den", "alice");
    let mut bob = Member::join(&lab, "B1", "den", "bob");

    alice.until_direct("bob");
    bob.until_direct("alice");
    alice.until_unmapped();
    alice.say(&lab, "my router is drunk");
    assert!(alice.state().errors.is_empty(), "{:?}", alice.state().errors);
}

/// Answers every search with a description that never ends.
fn a_router_that_talks_without_end_does_no_harm() {
    let lab = start_lab("A=port B=port");
    let _rendezvous = Rendezvous::start(&lab);
    let gateway = lab.address("A1").unwrap().octets();
    let gateway = SocketAddr::from(([gateway[0], gateway[1], gateway[2], 1], 5000));
    let description = on_router(&lab, || TcpListener::bind("0.0.0.0:5000"));
    let search = on_router(&lab, || {
        let socket = UdpSocket::bind("0.0.0.0:1900")?;
        let SocketAddr::V4(lan) = gateway else { unreachable!("an IPv4 address") };
        socket.join_multicast_v4(&[239, 255, 255, 250].into(), lan.ip())?;
        Ok(socket)
    });
    std::thread::spawn(move || {
        while let Ok((_, from)) = search.recv_from(&mut [0; 1500]) {
            let answer = format!(
                "HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\
                 LOCATION: http://{gateway}/\r\n\r\n"
            );
            let _ = search.send_to(answer.as_bytes(), from);
        }
    });
    std::thread::spawn(move || {
        for mut stream in description.incoming().flatten() {
            let _ = stream.read(&mut [0; 1500]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            while stream.write_all(&[b' '; 4096]).is_ok() {}
        }
    });
    let mut alice = Member::join(&lab, "A1", "den", "alice");
    let mut bob = Member::join(&lab, "B1", "den", "bob");

    alice.until_direct("bob");
    bob.until_direct("alice");
    let why = alice.until_unmapped();
    assert!(why.contains("longer than"), "{why}");
    bob.say(&lab, "your router does go on");
}

fn nobody_is_asked_who_is_not_to_be_asked() {
    let lab = start_lab("A=port B=port");
    let _rendezvous = Rendezvous::start(&lab);
    let ear = on_router(&lab, || UdpSocket::bind("0.0.0.0:5351"));
    ear.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let options = Options { node: "A1", channel: "den", name: "alice", more: &["--no-portmap"] };
    let mut alice = Member::with(&lab, &options);
    let mut bob = Member::join(&lab, "B1", "den", "bob");

    alice.until_direct("bob");
    // His router answers nobody, and by the time he says so, hers would have been asked.
    bob.until_unmapped();

    assert!(ear.recv_from(&mut [0; 1500]).is_err());
    assert!(alice.state().portmaps.is_empty());
}
