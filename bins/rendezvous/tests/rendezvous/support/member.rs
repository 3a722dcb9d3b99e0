//! A member: a signalling session over a real socket.

use std::{
    collections::VecDeque,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use identity::{ChannelSecret, Identity};
use link::{Accept, CloseReason, Config, Endpoint, Event, Kind, LinkId};
use wire::{
    MemberSlot, relay,
    signal::{JOIN_EXPORTER, Join, Joined, Signature, ToMember, ToServer},
    stun,
};

use super::{PATIENCE, Server, Way};

pub(crate) fn identity(number: u8) -> Identity {
    Identity::from_seed(&[number; 32])
}

pub(crate) struct Member {
    way: Way,
    endpoint: Endpoint,
    link: LinkId,
    identity: Identity,
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
        Self::connect_by(Way::udp(at), server, who)
    }

    /// Connects by UDP or through a tunnel.
    pub(crate) fn connect_by(way: Way, server: &Server, who: u8) -> Self {
        let identity = identity(who);
        let now = Instant::now();
        // Connection ids follow from the seed, so no two members may share one.
        let config = Config { identity: &identity, seed: edge::random().unwrap(), accept: Accept::None };
        let mut endpoint = Endpoint::new(config, now);
        let link = endpoint.connect(Kind::Signal, way.server(), Some(server.key), now).unwrap();
        let mut member = Self { way, endpoint, link, identity, closed: None, frames: VecDeque::new() };
        match member.event() {
            Event::Connected { key, .. } => assert_eq!(key, server.key),
            other => panic!("not connected: {other:?}"),
        }
        member
    }

    /// Connects and joins an open channel; must be let in.
    pub(crate) fn join(server: &Server, who: u8, channel: &str, name: &str) -> (Self, Joined) {
        Self::join_by(Way::udp(server.udp), server, who, channel, name)
    }

    /// The same by UDP or through a tunnel.
    pub(crate) fn join_by(way: Way, server: &Server, who: u8, channel: &str, name: &str) -> (Self, Joined) {
        let mut member = Self::connect_by(way, server, who);
        member.ask_to_join(channel, name, None);
        match member.hear() {
            ToMember::Joined(joined) => (member, joined),
            other => panic!("not joined: {other:?}"),
        }
    }

    pub(crate) fn at(&self) -> SocketAddr {
        self.way.at()
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
        self.receive_waiting();
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
        self.way = Way::udp(self.way.server());
    }

    /// Goes on another way.
    pub(crate) fn change_way(&mut self, way: Way) {
        self.way = way;
    }

    /// Sends a datagram as it is.
    pub(crate) fn send(&mut self, datagram: &[u8]) {
        self.way.send(datagram);
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
        self.receive_waiting();
        self.frames.drain(..).collect()
    }

    fn receive_waiting(&mut self) {
        while let Some(datagram) = self.way.receive(Duration::ZERO) {
            self.take(&datagram);
        }
    }

    /// Waits a little for a datagram.
    fn receive(&mut self) {
        if let Some(datagram) = self.way.receive(Duration::from_millis(50)) {
            self.take(&datagram);
        }
    }

    fn take(&mut self, datagram: &[u8]) {
        match relay::split_down(datagram) {
            Some((seat, sealed)) => self.frames.push_back((seat, sealed.to_vec())),
            None => drop(self.endpoint.handle_datagram(self.way.server(), datagram, Instant::now())),
        }
    }

    fn event(&mut self) -> Event {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.transmit();
            if let Some((_, event)) = self.endpoint.poll_event() {
                return event;
            }
            let now = Instant::now();
            assert!(now < deadline && self.closed.is_none(), "nothing came");
            let timeout = self.endpoint.poll_timeout().map_or(deadline, |at| at.min(deadline));
            if let Some(datagram) = self.way.receive(timeout.saturating_duration_since(now)) {
                self.take(&datagram);
            }
            self.endpoint.handle_timeout(Instant::now());
        }
    }

    fn transmit(&mut self) {
        while let Some(out) = self.endpoint.poll_transmit(Instant::now()) {
            assert_eq!(out.to, self.way.server());
            self.way.send(&out.payload);
        }
    }
}
