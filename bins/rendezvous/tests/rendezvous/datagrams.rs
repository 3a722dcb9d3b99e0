//! What strangers can send to the UDP port.

use std::{
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use wire::stun::{self, Change, Class, Message, TransactionId};

use crate::support::{PATIENCE, Server};

struct Stranger {
    socket: UdpSocket,
    server: SocketAddr,
}

impl Stranger {
    fn of(server: &Server, from: &str) -> Self {
        let socket = UdpSocket::bind(from).unwrap();
        let server = SocketAddr::new(socket.local_addr().unwrap().ip(), server.udp.port());
        Self { socket, server }
    }

    fn at(server: &Server, from: &str, port: u16) -> Self {
        let stranger = Self::of(server, from);
        Self { server: SocketAddr::new(stranger.server.ip(), port), ..stranger }
    }

    /// Asks for a binding, to be answered from elsewhere; gives the answer and where it came from.
    fn ask(&self, change: Change) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 2048];
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        self.send(&stun::request_elsewhere(TransactionId([5; 12]), change));
        let (length, from) = self.socket.recv_from(&mut buffer).unwrap();
        (buffer[..length].to_vec(), from)
    }

    fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.server).unwrap();
    }

    fn receive(&self, wait: Duration) -> Option<Vec<u8>> {
        let mut buffer = [0; 2048];
        self.socket.set_read_timeout(Some(wait)).unwrap();
        self.socket.recv_from(&mut buffer).ok().map(|(length, _)| buffer[..length].to_vec())
    }

    /// Asks for a binding until it is answered, and returns the first datagram that comes.
    fn first_answer(&self) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            self.send(&stun::request(TransactionId([7; 12])));
            if let Some(answer) = self.receive(Duration::from_millis(500)) {
                return answer;
            }
        }
        panic!("no answer");
    }

    /// Whatever was sent before has got silence, and the server is well: the first that comes is a STUN answer.
    fn heard_nothing(&self) {
        let answer = self.first_answer();
        let message = Message::decode(&answer).unwrap_or_else(|error| panic!("{error}: {answer:02x?}"));
        assert_eq!((message.class, message.transaction), (Class::Success, TransactionId([7; 12])));
        assert_eq!(message.mapped_address(), Some(self.socket.local_addr().unwrap()));
    }
}

#[test]
fn a_datagram_of_one_byte_is_ignored() {
    let server = Server::start();
    let stranger = Stranger::of(&server, "127.0.0.1:0");
    for byte in 0..=255 {
        stranger.send(&[byte]);
    }
    stranger.send(&[]);
    stranger.heard_nothing();
}

#[test]
fn random_truncated_and_oversized_datagrams_get_silence() {
    let server = Server::start();
    let stranger = Stranger::of(&server, "127.0.0.1:0");
    let mut state = 9u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let binding = stun::request(TransactionId([1; 12]));
    for round in 0..4000 {
        let mut datagram: Vec<u8> = (0..random(1500)).map(|_| random(256) as u8).collect();
        match round % 4 {
            // A QUIC header of a version that there is, and of one that there is not.
            0 if datagram.len() > 5 => datagram[..5].copy_from_slice(&[0xc3, 0, 0, 0, 1]),
            1 if datagram.len() > 5 => datagram[..5].copy_from_slice(&[0xc3, 0xba, 0xba, 0xba, 0xba]),
            2 => datagram = binding[..random(binding.len())].to_vec(),
            _ => {}
        }
        stranger.send(&datagram);
    }
    stranger.send(&[0xc3; 9000]);
    stranger.heard_nothing();
}

#[test]
fn an_answer_is_never_answered() {
    let server = Server::start();
    let stranger = Stranger::of(&server, "127.0.0.1:0");
    let answer = stranger.first_answer();
    for _ in 0..10 {
        stranger.send(&answer);
    }
    stranger.heard_nothing();
}

#[test]
fn stun_is_answered_over_ipv4_and_ipv6_with_the_plain_address() {
    let server = Server::start_with(&["--udp", "[::]:0"]);
    for from in ["127.0.0.1:0", "[::1]:0"] {
        Stranger::of(&server, from).heard_nothing();
    }
}

#[test]
fn an_attribute_that_must_be_understood_and_is_not_gets_error_420() {
    let server = Server::start();
    let stranger = Stranger::of(&server, "127.0.0.1:0");
    // CHANGE-REQUEST (RFC 5780): another address and port, which there is not.
    stranger.send(b"\x00\x01\x00\x08\x21\x12\xa4\x42abcdefghijkl\x00\x03\x00\x04\x00\x00\x00\x06");
    let answer = stranger.receive(PATIENCE).unwrap();
    let message = Message::decode(&answer).unwrap();
    assert_eq!((message.class, message.error_code()), (Class::Error, Some(420)));
}

#[test]
fn each_port_answers_and_names_the_one_that_answers_for_it() {
    let server = Server::start_with_neighbours(&[]);
    let main = server.udp.port();
    for port in main..=main + 3 {
        let stranger = Stranger::at(&server, "127.0.0.1:0", port);
        let (answer, from) = stranger.ask(Change::default());
        assert_eq!(from.port(), port);
        let message = Message::decode(&answer).unwrap();
        assert_eq!(message.mapped_address(), Some(stranger.socket.local_addr().unwrap()));
        assert_eq!(message.response_origin(), Some(from));
        let across = if port == main + 3 { main } else { main + 3 };
        assert_eq!(message.other_address(), Some(SocketAddr::new(from.ip(), across)));

        let (answer, from) = stranger.ask(Change { ip: false, port: true });
        assert_eq!(from.port(), across);
        assert_eq!(Message::decode(&answer).unwrap().response_origin(), Some(from));
    }
}

#[test]
fn a_second_address_answers_for_the_first_and_the_other_way_round() {
    let server = Server::start_with_neighbours(&["--udp2", "127.0.0.2"]);
    let (main, across) = (server.udp.port(), server.udp.port() + 3);
    let second = |port| SocketAddr::from(([127, 0, 0, 2], port));
    let stranger = Stranger::of(&server, "127.0.0.1:0");
    let (answer, _) = stranger.ask(Change::default());
    assert_eq!(Message::decode(&answer).unwrap().other_address(), Some(second(across)));
    assert_eq!(stranger.ask(Change { ip: true, port: true }).1, second(across));
    assert_eq!(stranger.ask(Change { ip: true, port: false }).1, second(main));

    let stranger = Stranger { server: second(main), ..stranger };
    let (answer, from) = stranger.ask(Change::default());
    assert_eq!(from, second(main));
    assert_eq!(Message::decode(&answer).unwrap().other_address().map(|other| other.port()), Some(across));
    assert_eq!(stranger.ask(Change { ip: true, port: true }).1, SocketAddr::new(server.udp.ip(), across));
}

#[test]
fn a_taken_neighbour_does_not_keep_the_server_from_serving() {
    let (port, _holder) = (0..100)
        .find_map(|_| {
            let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            Some((port, UdpSocket::bind(("127.0.0.1", port.checked_add(2)?)).ok()?))
        })
        .unwrap();
    let server = Server::start_with(&["--udp", &format!("127.0.0.1:{port}")]);
    Stranger::of(&server, "127.0.0.1:0").heard_nothing();
}

#[test]
fn stun_answers_one_network_eighty_times_at_once_and_then_twenty_times_a_second() {
    let server = Server::start_with(&["--udp", "[::]:0"]);
    let (flood, other) = (Stranger::of(&server, "127.0.0.1:0"), Stranger::of(&server, "[::1]:0"));
    let start = Instant::now();
    for _ in 0..200 {
        flood.send(&stun::request(TransactionId([1; 12])));
    }
    other.heard_nothing(); // another network is served; by then the flood is through
    let allowed = 80 + 20 * (start.elapsed().as_secs() as usize + 1);
    let answered = std::iter::from_fn(|| flood.receive(Duration::from_millis(1))).count();
    assert!((80..=allowed).contains(&answered), "{answered} answers");
}
