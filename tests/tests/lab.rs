//! The lab proves that its routers and wires are what they are said to be.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use tests::lab::{
    KINDS, Lab, SERVER, SERVER_V4, SERVER_V6, V6,
    prove::{self, Conduct, Prober},
};

use crate::{Tests, fresh_prefix, listed, start_lab};

pub(crate) fn tests() -> Tests {
    let mut all: Tests = listed![
        a_home_behind_a_carrier_is_mapped_twice,
        neighbours_behind_a_carrier_meet_at_its_hairpin,
        no_packet_is_faster_than_its_wire,
        a_wire_loses_the_share_it_should,
        a_cut_wire_passes_nothing_until_it_is_on_again,
        a_rebooted_router_maps_anew,
        a_renumbered_router_shows_its_new_address,
        a_router_that_is_down_for_a_while_passes_nothing_and_then_maps_anew,
        a_pulled_cable_can_be_put_back,
        a_pulled_cable_of_a_host_can_be_put_back,
        a_host_that_roams_is_seen_at_the_other_router,
        a_host_with_two_interfaces_is_seen_at_both_routers,
        loss_on_one_path_leaves_the_others,
        a_short_lived_packet_does_not_cross_the_middle_of_the_network,
        tcp_passes_where_udp_does_not,
        two_homes_may_have_the_same_inside_addresses,
        a_host_behind_a_carrier_has_ipv6_alone,
        a_long_packet_does_not_pass_a_narrow_way,
        what_is_wrong_with_a_spec_is_said,
    ];
    for kind in ["sym:ports=seq3", "sym:ports=block64", "full:hairpin=inside", "linux:unsol=reject", "fw:unsol=reject"]
    {
        let test = move || {
            let expected = Conduct::expected(&prove::nat_of(kind).unwrap());
            assert_eq!(prove::measure(&fresh_prefix(), kind).unwrap(), expected);
        };
        all.push((format!("lab::a_router_may_be_{kind}"), Box::new(test)));
    }
    for (name, v6) in [("open", V6::Open), ("fw", V6::Firewall), ("eif", V6::Endpoint)] {
        let spec = format!("P=sym:v6={name}");
        let test =
            move || assert_eq!(prove::measure_v6(&fresh_prefix(), &spec).unwrap(), prove::expected_v6(v6), "{spec}");
        all.push((format!("lab::ipv6_may_be_{name}"), Box::new(test)));
    }
    for (kind, nat) in KINDS {
        let test = move || assert_eq!(prove::measure(&fresh_prefix(), kind).unwrap(), Conduct::expected(&nat));
        all.push((format!("lab::a_router_of_kind_{kind}_does_what_it_should"), Box::new(test)));
    }
    all
}

fn a_home_behind_a_carrier_is_mapped_twice() {
    let lab = start_lab("A=port:up=K K=cgn");
    let prober = Prober::new(&lab).unwrap();

    let mapped = prober.mapping("A1", 5000).unwrap();

    assert_eq!((mapped.kind, mapped.ports.as_str()), ("EIM", "random"));
    assert_eq!(mapped.seen.unwrap().ip(), lab.external("K").unwrap());
    assert_eq!(prober.filtering("A1", 5001).unwrap(), "APDF");
}

fn neighbours_behind_a_carrier_meet_at_its_hairpin() {
    for (hairpin, expected) in [("yes", "external"), ("no", "no")] {
        let lab = start_lab(&format!("A=full:up=K B=full:up=K K=cgn:hairpin={hairpin}"));

        let met = Prober::new(&lab).unwrap().meets(["A1", "B1"], 5000).unwrap();

        assert_eq!(met, expected);
    }
}

fn no_packet_is_faster_than_its_wire() {
    let lab = start_lab("A=port:wire=delay~20ms");

    let times = prove::one_way_times(&lab, "A1", 200).unwrap();

    let (least, margin) = (Duration::from_millis(20), Duration::from_millis(2));
    assert_eq!(times.len(), 200);
    assert!(times[0] >= least && times[0] < least + margin, "{:?}", times[0]);
}

fn a_wire_loses_the_share_it_should() {
    let lab = start_lab("A=port:wire=loss~10%");

    let arrived = prove::one_way_times(&lab, "A1", 1000).unwrap().len();

    assert!((860..940).contains(&arrived), "{arrived}");
}

fn a_cut_wire_passes_nothing_until_it_is_on_again() {
    let lab = start_lab("A=port:wire=x");
    let mapping = |port| Prober::new(&lab).unwrap().mapping("A1", port).unwrap().kind;
    assert_eq!(mapping(5000), "EIM");

    lab.wire("A", &"cut".parse().unwrap()).unwrap();
    assert_eq!(mapping(5001), "blocked");

    lab.wire("A", &"on".parse().unwrap()).unwrap();
    assert_eq!(mapping(5002), "EIM");
}

fn a_rebooted_router_maps_anew() {
    let lab = start_lab("A=port-rand");
    let seen = || Prober::new(&lab).unwrap().mapping("A1", 5000).unwrap().seen;
    let before = seen();
    assert_eq!(before, seen());

    lab.reboot("A").unwrap();

    assert_ne!(before, seen());
}

fn a_renumbered_router_shows_its_new_address() {
    let mut lab = start_lab("A=port");
    let (old, before) = (lab.external("A").unwrap(), seen_address(&lab));
    assert_eq!(before, old);

    lab.renumber("A").unwrap();

    let (new, after) = (lab.external("A").unwrap(), seen_address(&lab));
    assert_eq!(after, new);
    assert_ne!(new, old);
}

fn seen_address(lab: &Lab) -> std::net::IpAddr {
    Prober::new(lab).unwrap().mapping("A1", 5000).unwrap().seen.unwrap().ip()
}

fn a_pulled_cable_can_be_put_back() {
    let lab = start_lab("A=linux");
    let mapping = |port| Prober::new(&lab).unwrap().mapping("A1", port).unwrap().kind;

    lab.cable("A", false).unwrap();
    assert_eq!(mapping(5000), "blocked");

    lab.cable("A", true).unwrap();
    assert_eq!(mapping(5001), "EIM");
}

fn a_router_that_is_down_for_a_while_passes_nothing_and_then_maps_anew() {
    let lab = start_lab("A=port-rand");
    let seen = || Prober::new(&lab).unwrap().mapping("A1", 5000).unwrap().seen;
    let (before, outage) = (seen(), Duration::from_millis(300));
    let (server, host) = (bind(&lab, SERVER, at_server(7200)), bind(&lab, "A1", any(5100)));

    std::thread::scope(|scope| {
        let rebooting = scope.spawn(|| lab.reboot_for("A", outage));
        let mut longest = Duration::ZERO;
        let mut last = Instant::now();
        while !rebooting.is_finished() {
            host.send_to(b"there?", at_server(7200)).unwrap();
            server.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
            if server.recv(&mut [0; 16]).is_ok() {
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
        }
        rebooting.join().unwrap().unwrap();
        assert!(longest.max(last.elapsed()) >= outage, "{longest:?}");
    });

    assert_ne!(before, seen());
}

fn a_pulled_cable_of_a_host_can_be_put_back() {
    let lab = start_lab("A=port:hosts=2");
    let mapping = |host, port| Prober::new(&lab).unwrap().mapping(host, port).unwrap().kind;

    lab.cable("A1", false).unwrap();
    assert_eq!((mapping("A1", 5000), mapping("A2", 5001)), ("blocked", "EIM"));

    lab.cable("A1", true).unwrap();
    assert_eq!(mapping("A1", 5002), "EIM");
}

fn a_host_that_roams_is_seen_at_the_other_router() {
    let mut lab = start_lab("A=port:v6=fw B=full:v6=fw");
    let socket = bind(&lab, "A1", any(5000));
    let before = seen_from(&lab, &socket, at_server(7200));
    assert_eq!(before.ip(), lab.external("A").unwrap());

    lab.roam("A1", "B").unwrap();

    let after = seen_from(&lab, &socket, at_server(7201));
    assert_eq!(after.ip(), lab.external("B").unwrap(), "the same socket goes on");
    let v6 = bind(&lab, "A1", ("::".parse::<IpAddr>().unwrap(), 5001).into());
    let seen_v6 = seen_from(&lab, &v6, (SERVER_V6[0], 7202).into());
    assert_eq!(seen_v6.ip(), lab.address_v6("A1").unwrap());
    assert_eq!(Prober::new(&lab).unwrap().mapping("B1", 5002).unwrap().kind, "EIM", "who was there stays");
    lab.roam("A1", "A").unwrap();
    assert_eq!(seen_from(&lab, &socket, at_server(7203)).ip(), lab.external("A").unwrap());
}

fn a_host_with_two_interfaces_is_seen_at_both_routers() {
    let mut lab = start_lab("A=port B=port");

    lab.second("A1", "B").unwrap();

    let by = |port, device: Option<&str>| {
        let socket = bind(&lab, "A1", any(port));
        socket2::SockRef::from(&socket).bind_device(device.map(str::as_bytes)).unwrap();
        seen_from(&lab, &socket, at_server(port + 2000)).ip()
    };
    assert_eq!(by(5000, None), lab.external("A").unwrap());
    assert_eq!(by(5001, Some("eth1")), lab.external("B").unwrap());
}

fn loss_on_one_path_leaves_the_others() {
    let mut lab = start_lab("A=port:v6=fw B=port");
    let arrives = |lab: &Lab, host: &str, port| Prober::new(lab).unwrap().mapping(host, port).unwrap().kind == "EIM";

    lab.loss("A", SERVER, 1.0).unwrap();
    assert!(!arrives(&lab, "A1", 5000));
    assert!(arrives(&lab, "B1", 5000));

    lab.renumber("A").unwrap();
    assert!(!arrives(&lab, "A1", 5001), "it is the path that loses, whatever its address");

    lab.loss("A", SERVER, 0.0).unwrap();
    assert!(arrives(&lab, "A1", 5002));

    lab.loss("A", SERVER, 0.3).unwrap();
    let arrived = prove::one_way_times(&lab, "A1", 1000).unwrap().len();
    assert!((640..760).contains(&arrived), "{arrived}");
}

fn a_short_lived_packet_does_not_cross_the_middle_of_the_network() {
    let lab = start_lab("A=port");
    let (server, host) = (bind(&lab, SERVER, at_server(7200)), bind(&lab, "A1", any(5000)));
    for (ttl, text) in [(5, "dies"), (9, "dies at the last one"), (10, "arrives")] {
        host.set_ttl(ttl).unwrap();
        host.send_to(text.as_bytes(), at_server(7200)).unwrap();
    }

    let mut buffer = [0; 64];
    let (len, from) = server.recv_from(&mut buffer).unwrap();

    assert_eq!(&buffer[..len], b"arrives");
    assert_eq!(from.port(), 5000, "what died has opened its own router all the same");
}

fn tcp_passes_where_udp_does_not() {
    for kind in ["noudp", "noudp-icmp", "udp443"] {
        let lab = start_lab(&format!("A={kind}"));
        let listener = lab.node(SERVER).unwrap().within(|| Ok(TcpListener::bind(at_server(8470))?)).unwrap();

        let connected = lab.node("A1").unwrap().within(|| Ok(TcpStream::connect(listener.local_addr()?)?));

        assert!(connected.is_ok(), "{kind}: {connected:?}");
    }
}

fn two_homes_may_have_the_same_inside_addresses() {
    let lab = start_lab("A=port:lan=1 B=port:lan=1");
    assert_eq!(lab.address("A1").unwrap(), lab.address("B1").unwrap());
    for (site, host) in [("A", "A1"), ("B", "B1")] {
        let seen = Prober::new(&lab).unwrap().mapping(host, 5000).unwrap().seen.unwrap();
        assert_eq!(seen.ip(), lab.external(site).unwrap());
    }
}

fn a_host_behind_a_carrier_has_ipv6_alone() {
    let lab = start_lab("A=port:up=K,v4=no,v6=fw K=cgn:v6=fw B=port:v6=fw");
    assert!(lab.address("A1").is_err());
    let v6 = |host, port| bind(&lab, host, ("::".parse::<IpAddr>().unwrap(), port).into());
    let (a, b) = (v6("A1", 5000), v6("B1", 5000));
    let of = |host| SocketAddr::from((lab.address_v6(host).unwrap(), 5000));

    assert_eq!(seen_from(&lab, &a, (SERVER_V6[1], 7200).into()), of("A1"));
    a.send_to(b"opens its firewalls", of("B1")).unwrap();
    b.send_to(b"gets through", of("A1")).unwrap();

    let mut buffer = [0; 64];
    let (len, from) = a.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..len], from), (&b"gets through"[..], of("B1")));
}

fn a_long_packet_does_not_pass_a_narrow_way() {
    let lab = start_lab("A=port:mtu=1280");
    let (server, host) = (bind(&lab, SERVER, at_server(7200)), bind(&lab, "A1", any(5000)));
    let rustix_on = rustix::net::sockopt::Ipv4PathMtuDiscovery::DO;
    rustix::net::sockopt::set_ip_mtu_discover(&host, rustix_on).unwrap();

    host.send_to(&[1; 1400], at_server(7200)).unwrap();
    host.send_to(&[2; 1200], at_server(7200)).unwrap();

    let mut buffer = [0; 2000];
    let (len, _) = server.recv_from(&mut buffer).unwrap();
    assert_eq!((len, buffer[0]), (1200, 2));
    let error = host.send_to(&[1; 1400], at_server(7200)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::MSGSIZE.raw_os_error()), "the sender is told");
}

fn any(port: u16) -> SocketAddr {
    ([0, 0, 0, 0], port).into()
}

fn at_server(port: u16) -> SocketAddr {
    (SERVER_V4[0], port).into()
}

fn bind(lab: &Lab, node: &str, addr: SocketAddr) -> UdpSocket {
    let socket = lab.node(node).unwrap().within(|| Ok(UdpSocket::bind(addr)?)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// As whom a socket of the server sees one of a host.
fn seen_from(lab: &Lab, host: &UdpSocket, server: SocketAddr) -> SocketAddr {
    let socket = bind(lab, SERVER, server);
    host.send_to(b"who am I?", server).unwrap();
    socket.recv_from(&mut [0; 16]).unwrap().1
}

fn what_is_wrong_with_a_spec_is_said() {
    let error = Lab::start(&fresh_prefix(), "A=port:up=K").unwrap_err();
    assert_eq!(error.to_string(), "there is no carrier K");
}
