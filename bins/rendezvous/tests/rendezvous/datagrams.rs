//! What strangers can send to the UDP port.

use std::{
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use wire::stun::{self, Class, Message, TransactionId};

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
fn stun_answers_one_network_at_most_twenty_times_a_second() {
    let server = Server::start_with(&["--udp", "[::]:0"]);
    let (flood, other) = (Stranger::of(&server, "127.0.0.1:0"), Stranger::of(&server, "[::1]:0"));
    let start = Instant::now();
    for _ in 0..200 {
        flood.send(&stun::request(TransactionId([1; 12])));
    }
    other.heard_nothing(); // another network is served; by then the flood is through
    let allowed = 20 + 20 * (start.elapsed().as_secs() as usize + 1);
    let answered = std::iter::from_fn(|| flood.receive(Duration::from_millis(1))).count();
    assert!((20..=allowed).contains(&answered), "{answered} answers");
}
