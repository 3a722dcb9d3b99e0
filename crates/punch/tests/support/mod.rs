//! Members behind simulated NATs, a server that tells them where it sees them, and a voice-like stream between them.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

pub mod puppet;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use identity::{ChannelSecret, Identity, PairKeys};
use netsim::{HostId, Kind, Lab, Link, Nat, Outgoing, RouterId, Segment, Stack};
use punch::{Agent, Event, SocketId, SocketRequest, Way};
use wire::{
    PeerTag, RunId, datagram,
    signal::{Candidate, CandidateKind},
};

pub const PORT: u16 = 5000;
/// Sockets beside the main one have ports from here on.
pub const FIRST_EXTRA: u16 = 20_000;
pub const RTT: Duration = Duration::from_millis(40);
const SERVER: &str = "198.51.100.1:3478";
const VOICE: u8 = 64;
const VOICE_GAP: Duration = Duration::from_millis(20);

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

/// The port of a socket inside.
pub fn port_of(socket: SocketId) -> u16 {
    if socket == SocketId::MAIN { PORT } else { FIRST_EXTRA + socket.0 }
}

/// The keys between member `me` and member `peer`, by index.
pub fn keys(me: usize, peer: usize) -> PairKeys {
    let who = |index: usize| (Identity::from_seed(&[index as u8 + 1; 32]).key(), RunId(index as u64));
    ChannelSecret::open(&Identity::from_seed(&[0; 32]).key(), "lobby").pair_keys(who(me), who(peer))
}

pub fn tag(index: usize) -> PeerTag {
    PeerTag(index as u32)
}

pub enum Node {
    Member(Box<Member>),
    /// Remembers where it sees whom.
    Server(BTreeMap<u8, SocketAddr>),
}

/// The socket and the session of one member, as far as punching is concerned.
pub struct Member {
    pub agent: Agent,
    pub events: Vec<(Instant, Event)>,
    pub checks_sent: Vec<(Instant, SocketAddr)>,
    pub voice_heard: Vec<Instant>,
    pub voice_sent_to: Vec<(Instant, SocketAddr)>,
    /// The sockets beside the main one, and the most that there ever were.
    pub sockets: BTreeSet<SocketId>,
    pub most_sockets: usize,
    talks_to: Option<(PeerTag, Instant)>,
    outbox: VecDeque<(Outgoing, u8)>,
}

impl Member {
    fn new(seed: u64) -> Self {
        Self {
            agent: Agent::new(seed),
            events: Vec::new(),
            checks_sent: Vec::new(),
            voice_heard: Vec::new(),
            voice_sent_to: Vec::new(),
            sockets: BTreeSet::new(),
            most_sockets: 0,
            talks_to: None,
            outbox: VecDeque::new(),
        }
    }

    /// From an open socket; what a closed one is to send is a fault of the agent.
    fn send(&mut self, way: Way, payload: Vec<u8>, ttl: Option<u8>) {
        let Way::Direct { socket, addr: to } = way else { panic!("nobody relays here") };
        assert!(socket == SocketId::MAIN || self.sockets.contains(&socket), "{socket:?} is not open");
        self.outbox.push_back((Outgoing { port: port_of(socket), to, payload }, ttl.unwrap_or(netsim::TTL)));
    }

    fn socket_at(&self, port: u16) -> Option<SocketId> {
        let extra = port.checked_sub(FIRST_EXTRA).map(SocketId).filter(|id| self.sockets.contains(id));
        if port == PORT { Some(SocketId::MAIN) } else { extra }
    }

    fn drain(&mut self, now: Instant) {
        let told = std::iter::from_fn(|| self.agent.poll_event());
        self.events.extend(told.filter(|event| !matches!(event, Event::Suspected { .. })).map(|event| (now, event)));
        // What is still to be sent may be from a socket that is closed only afterwards.
        let (mut checks, mut closing) = (Vec::new(), Vec::new());
        while let Some(request) = self.agent.poll_socket_request() {
            match request {
                SocketRequest::Open(id) => {
                    assert!(self.sockets.insert(id), "{id:?} is open");
                    self.most_sockets = self.most_sockets.max(self.sockets.len() - closing.len());
                }
                SocketRequest::Close(id) => closing.push(id),
            }
        }
        checks.extend(std::iter::from_fn(|| self.agent.poll_transmit()));
        for out in checks {
            self.checks_sent.push((now, out.way.addr().expect("nobody relays here")));
            self.send(out.way, out.payload, out.ttl);
        }
        for id in closing {
            assert!(self.sockets.remove(&id), "{id:?} is not open");
        }
    }

    fn speak(&mut self, peer: PeerTag, now: Instant) {
        if let Some(way) = self.agent.route(peer) {
            let to = way.addr().expect("nobody relays here");
            self.agent.note_sent(peer, way, now);
            self.voice_sent_to.push((now, to));
            self.send(way, vec![VOICE; 100], None);
        }
        self.talks_to = Some((peer, now + VOICE_GAP));
    }
}

impl Stack for Member {
    fn handle_datagram(&mut self, port: u16, from: SocketAddr, payload: &[u8], now: Instant) {
        let Some(socket) = self.socket_at(port) else { return };
        let way = Way::Direct { socket, addr: from };
        if payload[0] == datagram::CHECK {
            let _ = self.agent.handle_input(way, payload, now);
        } else if let Some(peer) = self.agent.peer_at(way) {
            self.agent.note_received(peer, way, now);
            self.voice_heard.push(now);
        }
        self.drain(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Some((peer, _)) = self.talks_to.filter(|(_, due)| *due <= now) {
            self.speak(peer, now);
        }
        self.agent.handle_timeout(now);
        self.drain(now);
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Outgoing> {
        self.poll_packet(now).map(|(out, _)| out)
    }

    fn poll_packet(&mut self, now: Instant) -> Option<(Outgoing, u8)> {
        self.drain(now);
        self.outbox.pop_front()
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.agent.poll_timeout().into_iter().chain(self.talks_to.map(|(_, due)| due)).min()
    }
}

impl Stack for Node {
    fn handle_datagram(&mut self, port: u16, from: SocketAddr, payload: &[u8], now: Instant) {
        match self {
            Self::Member(member) => member.handle_datagram(port, from, payload, now),
            Self::Server(seen) => drop(seen.insert(payload[0], from)),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Self::Member(member) = self {
            member.handle_timeout(now);
        }
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Outgoing> {
        match self {
            Self::Member(member) => member.poll_transmit(now),
            Self::Server(_) => None,
        }
    }

    fn poll_packet(&mut self, now: Instant) -> Option<(Outgoing, u8)> {
        match self {
            Self::Member(member) => member.poll_packet(now),
            Self::Server(_) => None,
        }
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        match self {
            Self::Member(member) => member.poll_timeout(),
            Self::Server(_) => None,
        }
    }
}

/// Members, numbered from 0 as they are added, and a server.
pub struct World {
    pub lab: Lab<Node>,
    pub hosts: Vec<HostId>,
    seed: u64,
    server: HostId,
    pub routers: Vec<RouterId>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut lab = Lab::new(seed);
        let server = lab.net.add_host(Segment::INTERNET, &[addr(SERVER).ip()]);
        lab.install(server, Node::Server(BTreeMap::new()));
        Self { lab, hosts: Vec::new(), seed, server, routers: Vec::new() }
    }

    /// A member in a home of its own, 10 ms from the internet's middle.
    pub fn home(&mut self, kind: Kind) -> usize {
        let router = self.router(Segment::INTERNET, kind.nat());
        self.member(router.inside())
    }

    /// A router with a public or carrier address.
    pub fn router(&mut self, at: Segment, nat: Nat) -> RouterId {
        let low = self.routers.len() as u8 + 1;
        let outside = if at == Segment::INTERNET { [203, 0, 113, low] } else { [100, 64, 0, low] };
        let router = self.lab.net.add_router(at, &[IpAddr::from(outside)], nat);
        self.routers.push(router);
        router
    }

    pub fn member(&mut self, at: Segment) -> usize {
        let index = self.hosts.len();
        let ip = IpAddr::from([203, 0, 115, index as u8 + 1]);
        let inside = IpAddr::from([192, 168, 1, index as u8 + 2]);
        let host = self.lab.net.add_host(at, &[if self.lab.net.is_public(at) { ip } else { inside }]);
        if at != Segment::INTERNET {
            self.lab.net.set_link(host, Link::instant());
        }
        self.install(host)
    }

    pub fn install(&mut self, host: HostId) -> usize {
        let index = self.hosts.len();
        self.lab.install(host, Node::Member(Box::new(Member::new(self.seed ^ index as u64))));
        self.hosts.push(host);
        index
    }

    /// Replaces the wire to the middle of the internet of every router and every public host.
    pub fn set_links(&mut self, link: Link) {
        for router in &self.routers {
            self.lab.net.set_uplink(*router, link);
        }
        for host in &self.hosts {
            if self.lab.net.segment(*host) == Segment::INTERNET {
                self.lab.net.set_link(*host, link);
            }
        }
    }

    /// Every member sends to the server, which notes from where; takes 100 ms of clean network.
    pub fn observe(&mut self) {
        for (index, host) in self.hosts.clone().into_iter().enumerate() {
            self.lab.net.send(host, PORT, addr(SERVER), vec![index as u8], self.lab.now());
        }
        self.lab.run_for(ms(100));
    }

    /// Where the server sees one socket of a member; takes 100 ms.
    pub fn observe_socket(&mut self, member: usize, socket: SocketId) -> SocketAddr {
        let mark = 100 + member as u8;
        self.lab.net.send(self.hosts[member], port_of(socket), addr(SERVER), vec![mark], self.lab.now());
        self.lab.run_for(ms(100));
        let Node::Server(seen) = self.lab.stack(self.server) else { unreachable!("installed as one") };
        seen[&mark]
    }

    /// Where the server sees a member.
    pub fn seen(&self, member: usize) -> SocketAddr {
        let Node::Server(seen) = self.lab.stack(self.server) else { unreachable!("installed as one") };
        seen[&(member as u8)]
    }

    /// What the others are told about a member: where the server sees it, and its own address.
    pub fn candidates(&self, index: usize) -> Vec<Candidate> {
        let Node::Server(seen) = self.lab.stack(self.server) else { unreachable!("installed as one") };
        let observed = seen.get(&(index as u8)).map(|addr| (*addr, CandidateKind::ServerReflexive));
        let own = self.lab.net.addresses(self.hosts[index]).iter();
        let hosts = own.map(|ip| (SocketAddr::new(*ip, PORT), CandidateKind::Host));
        observed.into_iter().chain(hosts).map(|(addr, kind)| Candidate { addr, kind }).collect()
    }

    /// A member learns of another one.
    pub fn tell(&mut self, member: usize, about: usize) {
        let candidates = self.candidates(about);
        self.tell_of(member, about, &candidates);
    }

    pub fn tell_of(&mut self, member: usize, about: usize, candidates: &[Candidate]) {
        self.with(member, |agent, now| agent.add_peer(tag(about), keys(member, about), candidates, now));
    }

    /// Two members learn of each other at this moment.
    pub fn introduce(&mut self, a: usize, b: usize) {
        self.tell(a, b);
        self.tell(b, a);
    }

    pub fn with<R>(&mut self, member: usize, deed: impl FnOnce(&mut Agent, Instant) -> R) -> R {
        self.lab.with(self.hosts[member], |node, now| match node {
            Node::Member(member) => {
                let result = deed(&mut member.agent, now);
                member.drain(now);
                result
            }
            Node::Server(_) => unreachable!("the server is no member"),
        })
    }

    /// Lets a member send a packet every 20 ms to another one, wherever its agent says.
    pub fn talk(&mut self, member: usize, to: usize) {
        self.lab.with(self.hosts[member], |node, now| {
            if let Node::Member(member) = node {
                member.talks_to = Some((tag(to), now));
            }
        });
    }

    /// Lets a member leave and come back as far as another one sees it.
    pub fn replace(&mut self, member: usize, peer: usize) {
        self.tell(member, peer);
        self.lab.with(self.hosts[member], |node, _| {
            if let Node::Member(member) = node {
                member.events.retain(|(_, event)| event.peer() != tag(peer));
            }
        });
    }

    pub fn hush(&mut self, member: usize) {
        self.lab.with(self.hosts[member], |node, _| {
            if let Node::Member(member) = node {
                member.talks_to = None;
            }
        });
    }

    pub fn at(&self, member: usize) -> &Member {
        let Node::Member(member) = self.lab.stack(self.hosts[member]) else { unreachable!("the server is no member") };
        member
    }

    pub fn run_for(&mut self, time: Duration) {
        self.lab.run_for(time);
    }

    pub fn is_confirmed(&self, member: usize, peer: usize) -> bool {
        self.confirmed_at(member, peer).is_some()
    }

    pub fn confirmed_at(&self, member: usize, peer: usize) -> Option<Instant> {
        let mut events = self.at(member).events.iter();
        events.find(|(_, e)| e.peer() == tag(peer) && matches!(e, Event::Confirmed { .. })).map(|(at, _)| *at)
    }

    pub fn kinds_of_events(&self, member: usize) -> Vec<&'static str> {
        self.at(member).events.iter().map(|(_, event)| name(event)).collect()
    }
}

pub fn name(event: &Event) -> &'static str {
    match event {
        Event::Usable { .. } => "usable",
        Event::Confirmed { .. } => "confirmed",
        Event::Switched { .. } => "switched",
        Event::Suspected { .. } => "suspected",
        Event::Doubtful { .. } => "doubtful",
        Event::Lost { .. } => "lost",
        Event::Unreachable { .. } => "unreachable",
        Event::Guessed { .. } => "guessed",
    }
}
