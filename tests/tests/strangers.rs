//! What strangers send to UDP ports changes nothing, and is not answered.

use std::{
    fs,
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
};

use tests::{
    call::{Member, Rendezvous},
    lab::{Lab, SERVER, SERVER_V4},
};

use crate::{Tests, listed, start_lab};

pub(crate) fn tests() -> Tests {
    listed![one_byte_to_every_udp_port_changes_nothing, random_bytes_to_every_udp_port_change_nothing]
}

fn one_byte_to_every_udp_port_changes_nothing() {
    a_call_survives(&(0..=255).map(|byte| vec![byte]).collect::<Vec<_>>());
}

fn random_bytes_to_every_udp_port_change_nothing() {
    let mut state = 7u64;
    let mut byte = || {
        // Knuth's MMIX generator; its high bits are good enough for nonsense.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    // A long header of QUIC with an unknown version must be answered (RFC 9000, section 6.1), so none is sent.
    let first = |byte: u8| if byte & 0xc0 == 0xc0 { byte & 0x7f } else { byte };
    let lens = [0, 2, 19, 20, 21, 60, 300, 1199, 1200, 1472];
    let nonsense = lens.iter().cycle().take(1000).map(|&len| {
        let mut datagram: Vec<u8> = (0..len).map(|_| byte()).collect();
        datagram.iter_mut().take(1).for_each(|byte| *byte = first(*byte));
        datagram
    });
    a_call_survives(&nonsense.collect::<Vec<_>>());
}

/// Two members in reach of a stranger, who sends all this to them and to the rendezvous.
fn a_call_survives(nonsense: &[Vec<u8>]) {
    let lab = start_lab("A=open B=open E=open");
    let rendezvous = Rendezvous::start(&lab);
    let mut alice = Member::join(&lab, "A1", "den", "alice");
    let mut bob = Member::join(&lab, "B1", "den", "bob");
    alice.until_direct("bob");
    bob.until_direct("alice");
    let stranger = lab.node("E1").unwrap().within(|| Ok(UdpSocket::bind("0.0.0.0:0")?)).unwrap();

    let mut targets = vec![];
    for (node, address) in
        [(SERVER, SERVER_V4[0]), ("A1", lab.address("A1").unwrap()), ("B1", lab.address("B1").unwrap())]
    {
        let ports = udp_ports(&lab, node);
        assert!(!ports.is_empty(), "{node} has no UDP port");
        targets.extend(ports.into_iter().map(|port| SocketAddr::from((address, port))));
    }
    for datagram in nonsense {
        targets.iter().for_each(|target| drop(stranger.send_to(datagram, target)));
    }

    alice.say(&lab, "did you hear that?");
    bob.say(&lab, "no");
    let mut carol = Member::join(&lab, "E1", "den", "carol");
    carol.until_direct("alice");
    stranger.set_nonblocking(true).unwrap();
    let mut answer = [0; 1500];
    let answered = stranger.recv_from(&mut answer);
    assert!(matches!(&answered, Err(error) if error.kind() == ErrorKind::WouldBlock), "{answered:?} {answer:?}");
    drop(rendezvous);
}

/// The UDP ports that are open in a node.
fn udp_ports(lab: &Lab, node: &str) -> Vec<u16> {
    let tables = lab.node(node).unwrap().within(|| {
        let table = |name| fs::read_to_string(format!("/proc/thread-self/net/{name}"));
        Ok(table("udp")? + &table("udp6")?)
    });
    let tables = tables.unwrap();
    let local = tables.lines().filter_map(|line| line.split_whitespace().nth(1)?.rsplit_once(':'));
    local.filter_map(|(_, port)| u16::from_str_radix(port, 16).ok()).collect()
}
