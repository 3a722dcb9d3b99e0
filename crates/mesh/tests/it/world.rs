//! A virtual internet with a rendezvous and members behind NATs.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use identity::{Ephemeral, Identity};
use mesh::{Config, Event, Mesh, Secret, ServerEvent, Via};
use netsim::{HostId, Kind, Lab, Link, Nat, Outgoing, Rng, RouterId, Segment, Stack, TTL};
use wire::{
    IdentityKey, RunId,
    agent::PeerStatus,
    datagram::{Protocol, protocol},
    signal::{Candidate, CandidateKind, Ticket},
};

use crate::{member::Member, server::Server};

/// From a member or the server to the middle of the internet; half of what `RTT` says.
pub(crate) const RTT: Duration = Duration::from_millis(40);
pub(crate) const PORT: u16 = 40_000;
pub(crate) const SERVER_PORT: u16 = 3478;
/// What goes through a tunnel goes between these ports here: there is no TCP on the virtual internet.
pub(crate) const TUNNEL_PORT: u16 = 443;
const SERVER: &str = "198.51.100.1";

/// What runs on a host.
pub(crate) enum Node {
    Server(Box<Server>),
    Member(Box<Member>),
}

impl Stack for Node {
    fn handle_datagram(&mut self, port: u16, from: SocketAddr, payload: &[u8], now: Instant) {
        match self {
            Self::Server(server) if protocol(payload) == Some(Protocol::Stun) => server.answer(port, from, payload),
            Self::Server(server) => {
                server.handle_datagram(port, from, payload, now);
            }
            Self::Member(member) => member.handle_datagram(port, from, payload, now),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Server(server) => {
                server.endpoint.handle_timeout(now);
                server.registry.handle_timeout(now);
                server.settle(now);
            }
            Self::Member(member) => {
                member.mesh.handle_timeout(now);
                member.settle(now);
            }
        }
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Outgoing> {
        self.poll_packet(now).map(|(out, _)| out)
    }

    fn poll_packet(&mut self, now: Instant) -> Option<(Outgoing, u8)> {
        match self {
            Self::Server(server) => {
                if let Some(answer) = server.answers.pop_front() {
                    return Some((answer, TTL));
                }
                if let Some((to, payload)) = server.frames.pop_front() {
                    return Some((Outgoing { port: server.port_to(to), to, payload }, TTL));
                }
                let out = server.endpoint.poll_transmit(now)?;
                let (port, payload) = (server.port_to(out.to), out.payload.to_vec());
                Some((Outgoing { port, to: out.to, payload }, TTL))
            }
            Self::Member(member) => member.poll_packet(now),
        }
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        match self {
            Self::Server(server) => {
                [server.endpoint.poll_timeout(), server.registry.poll_timeout()].into_iter().flatten().min()
            }
            Self::Member(member) => member.mesh.poll_timeout(),
        }
    }
}

/// The internet, its one rendezvous, and the members by name.
pub(crate) struct World {
    pub(crate) lab: Lab<Node>,
    pub(crate) server: HostId,
    pub(crate) hosts: BTreeMap<&'static str, HostId>,
    pub(crate) routers: BTreeMap<&'static str, RouterId>,
    /// The addresses of their routers.
    outsides: BTreeMap<&'static str, Vec<IpAddr>>,
    homes: u8,
    starts: u8,
    restarts: u8,
    rng: Rng,
    link: Link,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_loss(seed, 0.0)
    }

    pub(crate) fn with_loss(seed: u64, loss: f64) -> Self {
        Self::over(seed, Link::of(RTT / 4).losing(loss))
    }

    /// A world where everybody, the rendezvous too, is at the end of such a link.
    pub(crate) fn over(seed: u64, link: Link) -> Self {
        let mut lab = Lab::new(seed);
        let server = lab.net.add_host(Segment::INTERNET, &[ip(SERVER)]);
        lab.net.set_link(server, link);
        let now = lab.now();
        lab.install(server, Node::Server(Box::new(Server::new([0; 32], now))));
        Self {
            lab,
            server,
            hosts: BTreeMap::new(),
            routers: BTreeMap::new(),
            outsides: BTreeMap::new(),
            homes: 0,
            starts: 0,
            restarts: 0,
            rng: Rng::new(seed),
            link,
        }
    }

    /// A home of its own for a person, behind a router of this kind.
    pub(crate) fn home(&mut self, who: &'static str, kind: Kind) -> Segment {
        self.home_behind(who, kind.nat())
    }

    pub(crate) fn home_behind(&mut self, who: &'static str, nat: Nat) -> Segment {
        self.home_at(who, Segment::INTERNET, nat).inside()
    }

    /// The same, and that router may be behind another one.
    pub(crate) fn home_at(&mut self, who: &'static str, at: Segment, nat: Nat) -> RouterId {
        let router = self.router(at, nat);
        self.routers.insert(who, router);
        self.outsides.insert(who, self.lab.net.outside_addresses(router).to_vec());
        self.in_home(who, router.inside());
        router
    }

    /// A router with a public or carrier address.
    pub(crate) fn router(&mut self, at: Segment, nat: Nat) -> RouterId {
        let outside = self.fresh_outside(at);
        let router = self.lab.net.add_router(at, &[outside], nat);
        self.lab.net.set_uplink(router, if at == Segment::INTERNET { self.link } else { Link::instant() });
        router
    }

    /// Gives a router another outside address.
    pub(crate) fn renumber(&mut self, router: RouterId) {
        let outside = self.fresh_outside(self.lab.net.outside_of(router));
        self.lab.net.renumber(router, outside);
    }

    fn fresh_outside(&mut self, at: Segment) -> IpAddr {
        self.homes += 1;
        if at == Segment::INTERNET { [203, 0, 113, self.homes].into() } else { [100, 64, 0, self.homes].into() }
    }

    /// Carries a person's computer to another home.
    pub(crate) fn move_home(&mut self, who: &'static str, home: Segment) {
        self.homes += 1;
        self.lab.net.move_host(self.hosts[who], home, &[[192, 168, self.homes, 2].into()]);
    }

    /// What was sent to the silent until here does not count: the network is another one.
    pub(crate) fn forget_silence(&mut self, who: &str) {
        if let Some(Node::Member(member)) = self.lab.stack_mut(self.hosts[who]) {
            member.forget_silence();
        }
    }

    pub(crate) fn in_home(&mut self, who: &'static str, home: Segment) -> HostId {
        let inside: IpAddr = [192, 168, self.homes, 2 + u8::try_from(self.hosts.len()).expect("few hosts")].into();
        let host = self.lab.net.add_host(home, &[inside]);
        self.lab.net.set_link(host, Link::instant());
        self.hosts.insert(who, host);
        host
    }

    /// A host without a router, for a person.
    pub(crate) fn public(&mut self, who: &'static str) -> HostId {
        self.homes += 1;
        let host = self.lab.net.add_host(Segment::INTERNET, &[[203, 0, 113, self.homes].into()]);
        self.lab.net.set_link(host, self.link);
        self.hosts.insert(who, host);
        host
    }

    /// What a person's host calls itself.
    pub(crate) fn addr_of(&self, who: &str) -> SocketAddr {
        SocketAddr::new(self.lab.net.addresses(self.hosts[who])[0], PORT)
    }

    /// Where the rendezvous sees a member.
    pub(crate) fn outside_of(&self, who: &str) -> SocketAddr {
        let observed = self.member(who).told.iter().find_map(|(_, event)| match event {
            Event::Server(mesh::ServerEvent::Joined { observed, .. }) => Some(*observed),
            _ => None,
        });
        observed.expect("the member has joined")
    }

    /// The rendezvous says good-bye to everybody.
    pub(crate) fn close_server(&mut self) {
        self.lab.with(self.server, |node, now| match node {
            Node::Server(server) => server.close(now),
            Node::Member(_) => unreachable!("the server is no member"),
        });
    }

    pub(crate) fn server(&mut self) -> &mut Server {
        match self.lab.stack_mut(self.server) {
            Some(Node::Server(server)) => server,
            _ => unreachable!("the server is no member"),
        }
    }

    /// The rendezvous relays for nobody from here on.
    pub(crate) fn stop_relaying(&mut self) {
        self.lab.with(self.server, |node, _| match node {
            Node::Server(server) => server.stop_relaying(),
            Node::Member(_) => unreachable!("the server is no member"),
        });
    }

    /// Frames that the rendezvous has relayed.
    pub(crate) fn forwarded(&self) -> usize {
        match self.lab.stack(self.server) {
            Node::Server(server) => server.forwarded,
            Node::Member(_) => unreachable!("the server is no member"),
        }
    }

    /// A rendezvous with the same key and no memory.
    pub(crate) fn restart_server(&mut self) {
        let (server, now) = (self.server, self.lab.now());
        self.restarts += 1;
        self.lab.install(server, Node::Server(Box::new(Server::new([self.restarts; 32], now))));
    }

    /// Another rendezvous where the one was.
    pub(crate) fn replace_server(&mut self) {
        let (server, now) = (self.server, self.lab.now());
        self.lab.install(server, Node::Server(Box::new(Server::with_key(&[99; 32], [0; 32], now))));
    }

    /// Starts a member on a person's host.
    pub(crate) fn join(&mut self, who: &'static str) {
        self.join_with(who, |_| ());
    }

    pub(crate) fn join_with(&mut self, who: &'static str, change: impl FnOnce(&mut Config)) {
        let host = self.hosts[who];
        let now = self.lab.now();
        self.starts += 1;
        let addresses = self.lab.net.addresses(host).to_vec();
        let mut config = Config {
            identity: identity(who),
            channel: "lobby".into(),
            name: who.into(),
            server: server_addr(),
            server_key: None,
            ticket: None,
            secret: Secret::Open,
            candidates: host_candidates(&addresses),
            run: RunId(u64::from(self.starts)),
            seed: [self.starts; 32].map(|byte| byte ^ (self.rng.next_u64() & 0xff) as u8),
            allow_loopback: false,
            retry: true,
            tunnel: true,
            relaying: mesh::Relaying::Allowed,
            ephemeral: Ephemeral::from_bytes(&[self.starts; 32]),
            started_at: u64::from(self.starts) * 1000,
            via: Via::default(),
            lend: true,
            introduce: false,
            observe: None,
            guess: true,
        };
        change(&mut config);
        self.lab.install(host, Node::Member(Box::new(Member::new(config, now))));
        self.lab.with(host, |node, now| node.handle_timeout(now));
    }

    pub(crate) fn member(&self, who: &str) -> &Member {
        match self.lab.stack(self.hosts[who]) {
            Node::Member(member) => member,
            Node::Server(_) => panic!("{who} is the server"),
        }
    }

    /// What a member says of a peer, if it sees it.
    pub(crate) fn status(&self, who: &str, peer: &str) -> Option<PeerStatus> {
        self.member(who).mesh.peers().find(|status| status.name == peer)
    }

    /// The rendezvous is gone without a word.
    pub(crate) fn kill_server(&mut self) {
        self.lab.uninstall(self.server);
    }

    /// Runs for so long, and gives the first datagram that begins so and comes to a member in that time.
    pub(crate) fn overheard(&mut self, first: u8, time: Duration) -> Option<Vec<u8>> {
        self.lab.run_for(time);
        self.hosts.keys().filter(|who| self.is_there(who)).find_map(|who| self.member(who).overheard(first))
    }

    fn is_there(&self, who: &str) -> bool {
        self.lab.has_stack(self.hosts[who])
    }

    /// Nobody carries anything for others from here on.
    pub(crate) fn stop_lending(&mut self) {
        for who in self.hosts.keys().copied().collect::<Vec<_>>() {
            if self.is_there(who) {
                self.with(who, |mesh, now| mesh.set_lend(false, now));
            }
        }
    }

    /// What two members send to each other's addresses does not arrive.
    pub(crate) fn cut(&mut self, left: &str, right: &str) {
        for (who, other) in [(left, right), (right, left)] {
            let addresses = [self.lab.net.addresses(self.hosts[other]), &self.outsides[other]].concat();
            if let Some(Node::Member(member)) = self.lab.stack_mut(self.hosts[who]) {
                member.be_deaf_to(addresses);
            }
        }
    }

    /// What the rendezvous sends to a member does not arrive, until it hears everything again.
    pub(crate) fn deafen(&mut self, who: &str) {
        if let Some(Node::Member(member)) = self.lab.stack_mut(self.hosts[who]) {
            member.be_deaf_to(vec![server_addr().ip()]);
        }
    }

    pub(crate) fn hear_all(&mut self, who: &str) {
        if let Some(Node::Member(member)) = self.lab.stack_mut(self.hosts[who]) {
            member.hear_all();
        }
    }

    /// What a member was given last for its next start, if it has joined.
    pub(crate) fn ticket(&self, who: &str) -> Option<Ticket> {
        self.member(who).told.iter().rev().find_map(|(_, event)| match event {
            Event::Server(ServerEvent::Ticket(ticket)) => Some(ticket.clone()),
            _ => None,
        })
    }

    /// Does something to a member.
    pub(crate) fn with<R>(&mut self, who: &str, deed: impl FnOnce(&mut Mesh, Instant) -> R) -> R {
        self.lab.with(self.hosts[who], |node, now| match node {
            Node::Member(member) => {
                let result = deed(&mut member.mesh, now);
                member.settle(now);
                result
            }
            Node::Server(_) => panic!("the server is no member"),
        })
    }

    /// Whether these two have a secure session.
    pub(crate) fn are_secure(lab: &Lab<Node>, hosts: &BTreeMap<&'static str, HostId>, left: &str, right: &str) -> bool {
        let sees = |one: &str, other: &str| match lab.stack(hosts[one]) {
            Node::Member(member) => member.mesh.peers().any(|peer| peer.name == other && peer.secure),
            Node::Server(_) => false,
        };
        sees(left, right) && sees(right, left)
    }

    /// Runs until all these are secure with each other.
    pub(crate) fn run_until_secure(&mut self, people: &[&str], limit: Duration) -> bool {
        let hosts = self.hosts.clone();
        self.lab.run_until(limit, |lab| {
            people
                .iter()
                .enumerate()
                .all(|(i, left)| people[i + 1..].iter().all(|right| Self::are_secure(lab, &hosts, left, right)))
        })
    }
}

/// What a member tells the others of its own addresses.
pub(crate) fn host_candidates(addresses: &[IpAddr]) -> Vec<Candidate> {
    let host = |ip: &IpAddr| Candidate { addr: SocketAddr::new(*ip, PORT), kind: CandidateKind::Host };
    addresses.iter().map(host).collect()
}

/// The rendezvous' key.
pub(crate) fn server_key() -> IdentityKey {
    Identity::from_seed(&crate::server::KEY_SEED).key()
}

pub(crate) fn server_addr() -> SocketAddr {
    SocketAddr::new(ip(SERVER), SERVER_PORT)
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A person's key.
pub(crate) fn identity(who: &str) -> Identity {
    Identity::from_seed(&key_seed(who))
}

fn key_seed(who: &str) -> [u8; 32] {
    let mut seed = [0; 32];
    for (byte, letter) in seed.iter_mut().zip(who.bytes()) {
        *byte = letter;
    }
    seed
}
