//! Routers that lie, and others that pretend to be the router.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use netsim::Rng;

use crate::{
    home::Home,
    router::{EACH, GATEWAY, HTTP, PORT, SERVER, http},
};

const MOMENT: Duration = Duration::from_millis(1);
const VERDICT: Duration = Duration::from_secs(4);

/// Nothing was mapped, and the one reason that is not silence says this.
fn assert_refused(home: &Home, why: &str) {
    let told = home.told();
    assert_eq!(home.mapper.mapped(), None, "{told:?}");
    assert!(told.iter().any(|line| line.starts_with("none: ") && line.contains(why)), "{why}: {told:?}");
    assert!(home.router.mappings.is_empty(), "{:?}", home.router.mappings);
}

#[test]
fn an_address_behind_another_nat_is_not_offered_and_not_kept() {
    for (name, setting) in EACH {
        for inside in ["100.64.3.2", "10.0.0.2", "192.168.178.20", "172.20.1.1", "192.0.0.4"] {
            let home = Home::after(VERDICT, |router| {
                setting(router);
                router.external = inside.parse().unwrap();
            });
            assert_refused(&home, &format!("{name}: the router is behind carrier NAT"));
        }
    }
}

#[test]
fn an_address_that_nobody_can_have_is_not_offered() {
    for (name, setting) in EACH {
        for lie in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "169.254.1.1"] {
            let home = Home::after(VERDICT, |router| {
                setting(router);
                router.external = lie.parse().unwrap();
            });
            assert_refused(&home, &format!("{name}: the router says that its address is {lie}"));
        }
    }
}

#[test]
fn a_lease_of_no_time_is_refused_and_one_of_ages_is_cut() {
    for (name, setting) in [EACH[0], EACH[1]] {
        let with = |lifetime: u32| {
            Home::after(VERDICT, |router| {
                setting(router);
                router.lifetime = Some(lifetime);
            })
        };
        for short in [0, 1, 9] {
            assert_refused(&with(short), &format!("{name}: the router grants the mapping for no useful time"));
        }
        assert_eq!(with(u32::MAX).told(), [format!("203.0.113.7:{PORT} {name} 3600")]);
        assert_eq!(with(120).told(), [format!("203.0.113.7:{PORT} {name} 120")]);
    }
}

#[test]
fn only_the_gateway_is_heard() {
    let mut home = Home::with(|_| ());
    home.run_for(MOMENT);
    let stranger = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 66), 5351);

    home.hear(stranger, &[0, 0x80, 0, 0, 0, 0, 0, 9, 203, 0, 113, 66]);
    home.hear(stranger, &[0, 0x81, 0, 0, 0, 0, 0, 9, 0x9c, 0xb0, 0x9c, 0xb0, 0, 0, 14, 16]);
    let (from, mut search_answer) = (SocketAddrV4::new(*stranger.ip(), 1900), Vec::new());
    search_answer.extend(b"HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n");
    search_answer.extend(b"LOCATION: http://192.168.1.66/x\r\n\r\n");
    home.hear(from, &search_answer);

    assert!(home.told().is_empty());
    assert!(!home.mapper.wants_stream());
}

#[test]
fn a_pcp_answer_with_another_nonce_is_not_ours() {
    let mut home = Home::with(|_| ());
    home.run_for(MOMENT);
    let request = home.sent.iter().find(|(_, out)| out.payload[0] == 2).unwrap().1.clone();
    home.router.pcp = true;
    let (_, mut answer) = home.router.answer(&request, home.now).unwrap();
    answer[24] ^= 1;

    home.hear(SERVER, &answer);
    assert!(home.told().is_empty());
    answer[24] ^= 1;
    home.hear(SERVER, &answer);
    assert_eq!(home.told().len(), 1, "it was the nonce");
}

#[test]
fn a_mapping_that_was_not_asked_for_is_none() {
    let mut home = Home::with(|_| ());
    home.run_for(MOMENT);

    // NAT-PMP has no nonce: the address must have been asked for and the port must be ours.
    home.hear(SERVER, &[0, 0x81, 0, 0, 0, 0, 0, 9, 0x9c, 0xb0, 0x9c, 0xb0, 0, 0, 14, 16]);
    home.hear(SERVER, &[0, 0x80, 0, 0, 0, 0, 0, 9, 203, 0, 113, 7]);
    home.hear(SERVER, &[0, 0x81, 0, 0, 0, 0, 0, 9, 0x9c, 0xb1, 0x9c, 0xb1, 0, 0, 14, 16]);
    home.hear(SERVER, &[0, 0x81, 0, 0, 0, 0, 0, 9, 0x9c, 0xb0, 0, 0, 0, 0, 14, 16]);

    assert!(home.told().is_empty());
}

#[test]
fn a_description_on_another_host_is_not_fetched() {
    for elsewhere in ["http://203.0.113.9/root.xml", "http://192.168.1.2/root.xml", "file:///etc/passwd", "x"] {
        let home = Home::after(VERDICT, |router| (router.upnp, router.location) = (true, elsewhere.into()));
        assert_refused(&home, "upnp: the router's");
        assert!(!home.router.asked.contains(&"description"), "{elsewhere}");
    }
}

#[test]
fn whatever_comes_over_http_is_refused_by_name() {
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &[b'x'; 100_000]].concat();
    let laughs = "<!DOCTYPE r [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]><r>&b;</r>";
    let elsewhere = "<r><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>\
        <controlURL>http://203.0.113.9/ctl</controlURL></service></r>";
    let no_address = elsewhere.replace("http://203.0.113.9/ctl", "/ctl") + "<!-- and no address -->";
    let rows: [(Vec<u8>, &str); 9] = [
        (http(200, &no_address), "names no address of its own"),
        (b"HTTP/1.1 302 X\r\nLocation: http://203.0.113.9/\r\n\r\n".to_vec(), "redirect"),
        (endless, "longer than"),
        (http(200, laughs), "can't be read"),
        (http(200, "<r/>"), "no service that maps ports"),
        (http(200, elsewhere), "another host"),
        (http(404, ""), "status 404"),
        (b"SSH-2.0-x\r\n\r\n".to_vec(), "no HTTP"),
        (Vec::new(), "no answer over HTTP"),
    ];
    for (lie, why) in rows {
        let home = Home::after(VERDICT, |router| (router.upnp, router.http_lie) = (true, Some(lie)));
        assert_refused(&home, why);
        let asked = home.sent.iter().filter(|(_, out)| out.to.port() == 1900).count();
        assert!(asked <= 3, "{asked}");
    }
}

#[test]
fn a_router_that_fails_in_the_middle_is_not_asked_in_a_circle() {
    let mut home = Home::after(MOMENT, |router| router.upnp = true);
    home.router.external = Ipv4Addr::new(10, 0, 0, 1);
    home.router.asked.clear();

    home.run_for(Duration::from_secs(3600));

    assert_eq!(home.mapper.mapped(), None);
    assert!(home.router.asked.len() < 40, "{} requests in an hour", home.router.asked.len());
}

#[test]
fn nonsense_from_the_gateway_does_no_harm() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut home = Home::with(|router| (router.pcp, router.natpmp) = (seed % 3 == 0, seed % 3 == 1));
        for _ in 0..40 {
            let from = [SERVER, SocketAddrV4::new(GATEWAY, 1900), HTTP][rng.next_u64() as usize % 3];
            let mut bytes: Vec<u8> = (0..rng.next_u64() % 80).map(|_| rng.next_u64() as u8).collect();
            // Most nonsense looks like an answer at first.
            if let [version, opcode, _, code, ..] = bytes.as_mut_slice() {
                (*version, *opcode, *code) = (*version & 2, *opcode & 3 | 0x80, *code & 3);
            }
            home.hear(from, &bytes);
            home.mapper.handle_stream(&bytes, home.now);
            home.run_for(Duration::from_millis(rng.next_u64() % 2000));
        }
        assert!(home.sent.len() < 400, "seed {seed}: {} datagrams", home.sent.len());
    }
}
