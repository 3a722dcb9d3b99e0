//! Members that come back, by one datagram.

use std::net::UdpSocket;

use identity::EarlyKeys;
use wire::{
    IdentityKey,
    datagram::EARLY_ANSWER,
    early::{DATAGRAM, NONCE},
    relay as frames,
    signal::{Join, Joined, Ticket, ToMember, ToServer},
    stun,
};

use crate::support::{Member, PATIENCE, Server, Way, identity, until};

/// Somebody who was here before, and has nothing but a socket and a ticket.
struct Early {
    socket: UdpSocket,
    keys: EarlyKeys,
    nonce: [u8; NONCE],
    datagram: Vec<u8>,
}

impl Early {
    fn new(ticket: &Ticket, name: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let keys = EarlyKeys::new(&ticket.key);
        let (channel, name) = ("lobby".to_owned(), name.to_owned());
        let join = Join { version: wire::VERSION, channel, name, proof: None, card: vec![1, 2, 3], hidden: false };
        let (datagram, nonce) = keys.seal_join(&ticket.sealed, &join).unwrap();
        Self { socket, keys, nonce, datagram }
    }

    fn ask(&self, server: &Server) {
        self.socket.send_to(&self.datagram, server.udp).unwrap();
    }

    fn answer(&self) -> Joined {
        let mut buffer = [0; 2048];
        let length = self.socket.recv(&mut buffer).expect("an answer");
        assert!(buffer[0] == EARLY_ANSWER && length <= DATAGRAM);
        self.keys.open_answer(&self.nonce, &buffer[..length]).expect("an answer to this join")
    }

    /// The server works in the order of what it receives: whatever it says to this socket before it answers a question.
    fn gets_silence(&self, server: &Server) {
        self.socket.send_to(&stun::request(stun::TransactionId([3; 12])), server.udp).unwrap();
        let mut buffer = [0; 2048];
        self.socket.recv(&mut buffer).expect("an answer");
        assert!(buffer[0] < 4, "the first thing that comes is the answer to the question");
    }
}

fn heard_of_newcomer(alice: &mut Member, name: &str) -> IdentityKey {
    let ToMember::MemberJoined(newcomer) = alice.hear() else { panic!("nobody came") };
    assert_eq!(newcomer.name, name);
    newcomer.key
}

/// Alice is there, and Bob was.
fn met(server: &Server) -> (Member, Ticket) {
    let (mut bob, joined) = Member::join(server, 2, "elsewhere", "bob");
    bob.say(&ToServer::Leave);
    bob.end();
    (Member::join(server, 1, "lobby", "alice").0, joined.ticket.unwrap())
}

/// How many are in the lobby, as the HTTP interface says.
fn members(server: &Server) -> u64 {
    let channels = server.get("/api/channels").json();
    let lobby = channels["channels"].as_array().unwrap().iter().find(|channel| channel["name"] == "lobby");
    lobby.map_or(0, |lobby| lobby["members"].as_u64().unwrap())
}

#[test]
fn who_comes_back_is_in_the_channel_by_one_datagram_and_its_session_takes_the_seat() {
    let server = Server::start();
    let (mut alice, ticket) = met(&server);
    let early = Early::new(&ticket, "bob");

    early.ask(&server);

    let answer = early.answer();
    assert_eq!((answer.roster[0].name.as_str(), answer.observed), ("alice", early.socket.local_addr().unwrap()));
    assert_eq!(heard_of_newcomer(&mut alice, "bob"), identity(2).key());
    assert_eq!(members(&server), 2);

    let mut bob = Member::connect_by(Way::Udp { socket: early.socket, server: server.udp }, &server, 2);
    bob.ask_to_join("lobby", "bob", None);
    let ToMember::Joined(joined) = bob.hear() else { panic!("not joined") };
    assert_eq!((joined.slot, joined.relay, &joined.roster), (answer.slot, answer.relay, &answer.roster));
    assert!(joined.ticket.is_some_and(|next| next != ticket));
    assert_eq!(alice.has_heard(), None, "nothing has changed");
    bob.say(&ToServer::Leave);
    assert!(matches!(alice.hear(), ToMember::MemberLeft { slot, .. } if slot == answer.slot));
}

#[test]
fn the_relay_works_from_the_answer_on() {
    let server = Server::start();
    let (mut alice, ticket) = met(&server);
    let early = Early::new(&ticket, "bob");
    early.ask(&server);
    let answer = early.answer();

    let frame = frames::up(answer.relay.unwrap().session, answer.roster[0].slot, b"hello");
    early.socket.send_to(&frame, server.udp).unwrap();

    assert_eq!(alice.next_frame(), (answer.slot, b"hello".to_vec()));
}

#[test]
fn a_datagram_that_comes_again_and_garbage_get_silence() {
    let server = Server::start();
    let (_alice, ticket) = met(&server);
    let early = Early::new(&ticket, "bob");
    early.ask(&server);
    early.answer();

    early.ask(&server);
    for len in [1, 100, DATAGRAM - 1, DATAGRAM, DATAGRAM + 1] {
        early.socket.send_to(&vec![18; len], server.udp).unwrap();
    }

    early.gets_silence(&server);
    assert_eq!(members(&server), 2);
}

#[test]
fn a_restarted_server_knows_no_ticket() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(dir.path(), &[]);
    let (_, ticket) = met(&server);
    server.signal("-TERM");
    server.wait();
    let server = Server::start_in(dir.path(), &[]);
    let early = Early::new(&ticket, "bob");

    early.ask(&server);

    early.gets_silence(&server);
    assert_eq!(members(&server), 0);
}

#[test]
fn a_seat_whose_session_does_not_come_is_empty_again() {
    let server = Server::start();
    let (mut alice, ticket) = met(&server);
    let early = Early::new(&ticket, "bob");
    early.ask(&server);
    early.answer();
    heard_of_newcomer(&mut alice, "bob");

    until("Bob's seat is empty", || members(&server) == 1);

    assert!(matches!(alice.hear(), ToMember::MemberLeft { why: wire::signal::LeaveReason::Expired, .. }));
}
