//! A member: a signalling session over a real socket.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    time::Instant,
};

use identity::{ChannelSecret, Identity};
use link::{Accept, CloseReason, Config, Endpoint, Event, Kind, LinkId};
use wire::{
    MemberSlot, relay,
    signal::{JOIN_EXPORTER, Join, Joined, Signature, ToMember, ToServer},
    stun,
};

use super::{PATIENCE, Server};

pub(crate) fn identity(number: u8) -> Identity {
    Identity::from_seed(&[number; 32])
}

pub(crate) struct Member {
    socket: UdpSocket,
    endpoint: Endpoint,
    link: LinkId,
    identity: Identity,
    server: SocketAddr,
    closed: Option<CloseReason>,
    /// Relay frames that came while something else was waited for.
    frames: VecDeque<(MemberSlot, Vec<u8>)>,
}

impl Member {
    /// Connects; expects the server's key.
    pub(crate) fn connect(server: &Server, who: u8) -> Self {
        Self::connect_to(server, server.udp, who)
    }

    pub(crate) fn connect_to(server: &Server, at: SocketAddr, who: u8) -> Self {
        let socket = UdpSocket::bind(if at.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }).unwrap();
        let identity = identity(who);
        let now = Instant::now();
        // Connection ids follow from the seed, so no two members may share one.
        let config = Config { identity: &identity, seed: edge::random().unwrap(), accept: Accept::None };
        let mut endpoint = Endpoint::new(config, now);
        let link = endpoint.connect(Kind::Signal, at, Some(server.key), now).unwrap();
        let mut member = Self { socket, endpoint, link, identity, server: at, closed: None, frames: VecDeque::new() };
        match member.event() {
            Event::Connected { key, .. } => assert_eq!(key, server.key),
            other => panic!("not connected: {other:?}"),
        }
        member
    }

    /// Connects and joins an open channel; must be let in.
    pub(crate) fn join(server: &Server, who: u8, channel: &str, name: &str) -> (Self, Joined) {
        let mut member = Self::connect(server, who);
        member.ask_to_join(channel, name, None);
        match member.hear() {
            ToMember::Joined(joined) => (member, joined),
            other => panic!("not joined: {other:?}"),
        }
    }

    pub(crate) fn at(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub(crate) fn ask_to_join(&mut self, channel: &str, name: &str, proof: Option<Signature>) {
        let (channel, name) = (channel.to_owned(), name.to_owned());
        self.say(&ToServer::Join(Join {
            version: wire::VERSION,
            channel,
            name,
            proof,
            card: vec![1, 2, 3],
            hidden: false,
        }));
    }

    /// What a join of a channel with a secret needs.
    pub(crate) fn proof(&self, server: &Server, channel: &str, secret: &ChannelSecret) -> Option<Signature> {
        let exporter = self.endpoint.export(self.link, JOIN_EXPORTER, &self.identity.key().0).unwrap();
        let statement = identity::join_statement(&server.key, channel, &exporter, &self.identity.key());
        Some(secret.join_key().sign(&statement))
    }

    pub(crate) fn say(&mut self, message: &ToServer) {
        self.say_bytes(&wire::encode(message));
    }

    pub(crate) fn say_bytes(&mut self, body: &[u8]) {
        self.endpoint.send_message(self.link, 0, body).unwrap();
        self.transmit();
    }

    /// The next message.
    pub(crate) fn hear(&mut self) -> ToMember {
        match self.event() {
            Event::Message { body, .. } => wire::decode("message", &body).unwrap(),
            other => panic!("no message: {other:?}"),
        }
    }

    /// The next message, if it has come already.
    pub(crate) fn has_heard(&mut self) -> Option<ToMember> {
        let mut buffer = [0; 2048];
        self.socket.set_nonblocking(true).unwrap();
        while let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            self.take(from, &buffer[..length]);
        }
        self.socket.set_nonblocking(false).unwrap();
        match self.endpoint.poll_event()? {
            (_, Event::Message { body, .. }) => Some(wire::decode("message", &body).unwrap()),
            (_, other) => panic!("no message: {other:?}"),
        }
    }

    /// How the session ended.
    pub(crate) fn end(&mut self) -> CloseReason {
        loop {
            if let Event::Closed(why) = self.event() {
                return why;
            }
        }
    }

    /// Goes on from another port, as after a NAT forgot the old one.
    pub(crate) fn move_away(&mut self) {
        self.socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    }

    pub(crate) fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Sends a datagram as it is.
    pub(crate) fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.server).unwrap();
    }

    /// The next frame from the relay: whose, and what is sealed in it.
    pub(crate) fn next_frame(&mut self) -> (MemberSlot, Vec<u8>) {
        let deadline = Instant::now() + PATIENCE;
        while self.frames.is_empty() {
            assert!(Instant::now() < deadline, "no frame came");
            self.receive();
        }
        self.frames.pop_front().unwrap()
    }

    /// The frames of all that was sent to the server before. It works in the order of what it receives, so its answer to
    /// a question comes after.
    pub(crate) fn frames_until_here(&mut self, server: &Server) -> Vec<(MemberSlot, Vec<u8>)> {
        let asker = UdpSocket::bind("127.0.0.1:0").unwrap();
        asker.set_read_timeout(Some(PATIENCE)).unwrap();
        asker.send_to(&stun::request(stun::TransactionId([3; 12])), server.udp).unwrap();
        asker.recv(&mut [0; 128]).expect("an answer");
        self.socket.set_nonblocking(true).unwrap();
        self.receive_waiting();
        self.socket.set_nonblocking(false).unwrap();
        self.frames.drain(..).collect()
    }

    fn receive_waiting(&mut self) {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            self.take(from, &buffer[..length]);
        }
    }

    /// Waits a little for a datagram.
    fn receive(&mut self) {
        let mut buffer = [0; 2048];
        self.socket.set_read_timeout(Some(std::time::Duration::from_millis(50))).unwrap();
        if let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            self.take(from, &buffer[..length]);
        }
    }

    fn take(&mut self, from: SocketAddr, datagram: &[u8]) {
        match relay::split_down(datagram) {
            Some((seat, sealed)) => self.frames.push_back((seat, sealed.to_vec())),
            None => drop(self.endpoint.handle_datagram(from, datagram, Instant::now())),
        }
    }

    fn event(&mut self) -> Event {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 2048];
        loop {
            self.transmit();
            if let Some((_, event)) = self.endpoint.poll_event() {
                return event;
            }
            let now = Instant::now();
            assert!(now < deadline && self.closed.is_none(), "nothing came");
            let timeout = self.endpoint.poll_timeout().map_or(deadline, |at| at.min(deadline));
            let wait = timeout.saturating_duration_since(now).max(std::time::Duration::from_millis(1));
            self.socket.set_read_timeout(Some(wait)).unwrap();
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => self.take(from, &buffer[..length]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                }
                Err(error) => panic!("{error}"),
            }
            self.endpoint.handle_timeout(Instant::now());
        }
    }

    fn transmit(&mut self) {
        while let Some(out) = self.endpoint.poll_transmit(Instant::now()) {
            assert_eq!(out.to, self.server);
            // The server may be gone; then nothing comes, which the caller sees.
            let _ = self.socket.send_to(&out.payload, out.to);
        }
    }
}
