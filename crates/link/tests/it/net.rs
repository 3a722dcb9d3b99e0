//! Endpoints on hosts of a virtual internet.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use bytes::Bytes;
use identity::Identity;
use link::{Accept, Config, Endpoint, Event, Kind, LinkId};
use netsim::{HostId, Lab, Link, Outgoing, Segment, Stack};
use wire::IdentityKey;

/// One way; a round trip is twice as much.
pub(crate) const DELAY: Duration = Duration::from_millis(20);
pub(crate) const RTT: Duration = Duration::from_millis(40);
const PORT: u16 = 7;
/// What a link at each end must lose so that 5 % are lost between them.
pub(crate) const LOSS_5: f64 = 0.025_3;
/// The same for 30 %.
pub(crate) const LOSS_30: f64 = 0.163_3;

/// An endpoint, what it said and when, and how much it sent.
pub(crate) struct Node {
    pub endpoint: Endpoint,
    pub events: Vec<(Instant, LinkId, Event)>,
    /// Lengths of the datagrams sent.
    pub sent: Vec<usize>,
}

impl Node {
    fn collect(&mut self, now: Instant) {
        while let Some((link, event)) = self.endpoint.poll_event() {
            self.events.push((now, link, event));
        }
    }

    pub(crate) fn connected(&self) -> Option<(Instant, LinkId)> {
        let of = |(at, link, event): &(Instant, LinkId, Event)| {
            matches!(event, Event::Connected { .. }).then_some((*at, *link))
        };
        self.events.iter().find_map(of)
    }

    pub(crate) fn closed(&self) -> Option<&link::CloseReason> {
        self.events.iter().find_map(|(_, _, event)| match event {
            Event::Closed(reason) => Some(reason),
            _ => None,
        })
    }

    pub(crate) fn messages(&self) -> Vec<(u8, &[u8])> {
        let of = |(_, _, event): &'_ (Instant, LinkId, Event)| matches!(event, Event::Message { .. });
        self.events.iter().filter(|event| of(event)).map(|(_, _, event)| message(event)).collect()
    }

    pub(crate) fn datagrams(&self) -> Vec<(Instant, Bytes)> {
        self.events
            .iter()
            .filter_map(|(at, _, event)| match event {
                Event::Datagram(bytes) => Some((*at, bytes.clone())),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn count(&self, what: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(_, _, event)| what(event)).count()
    }
}

fn message(event: &Event) -> (u8, &[u8]) {
    match event {
        Event::Message { lane, body } => (*lane, body),
        other => panic!("not a message: {other:?}"),
    }
}

impl Stack for Node {
    fn handle_datagram(&mut self, _port: u16, from: SocketAddr, payload: &[u8], now: Instant) {
        self.endpoint.handle_datagram(from, payload, now);
        self.collect(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.collect(now);
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Outgoing> {
        let out = self.endpoint.poll_transmit(now);
        self.collect(now);
        let out = out?;
        self.sent.push(out.payload.len());
        Some(Outgoing { port: PORT, to: out.to, payload: out.payload })
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.endpoint.poll_timeout()
    }
}

pub(crate) struct Net {
    pub lab: Lab<Node>,
    hosts: u16,
    seed: u64,
}

/// A place in the network.
#[derive(Clone, Copy)]
pub(crate) struct Host {
    pub id: HostId,
    pub addr: SocketAddr,
}

impl Net {
    pub(crate) fn new(seed: u64) -> Self {
        Self { lab: Lab::new(seed), hosts: 0, seed }
    }

    /// A host without an endpoint; its link has all the delay and loss of one way out or in.
    pub(crate) fn host(&mut self, link: Link) -> Host {
        self.hosts += 1;
        let ip = IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, self.hosts, 0, 0, 0, 1));
        let id = self.lab.net.add_host(Segment::INTERNET, &[ip]);
        self.lab.net.set_link(id, link);
        Host { id, addr: SocketAddr::new(ip, PORT) }
    }

    pub(crate) fn endpoint(&mut self, identity: &Identity, accept: Accept, link: Link) -> Host {
        let host = self.host(link);
        self.install(host, identity, accept);
        host
    }

    pub(crate) fn install(&mut self, host: Host, identity: &Identity, accept: Accept) {
        let now = self.lab.now();
        self.seed = self.seed.wrapping_mul(31) + 1;
        let mut random = netsim::Rng::new(self.seed);
        let seed = std::array::from_fn(|_| random.next_u64() as u8);
        let endpoint = Endpoint::new(Config { identity, seed, accept }, now);
        self.lab.install(host.id, Node { endpoint, events: Vec::new(), sent: Vec::new() });
    }

    pub(crate) fn node(&self, host: Host) -> &Node {
        self.lab.stack(host.id)
    }

    pub(crate) fn with<R>(&mut self, host: Host, deed: impl FnOnce(&mut Endpoint, Instant) -> R) -> R {
        self.lab.with(host.id, |node, now| deed(&mut node.endpoint, now))
    }
}

/// The identities of tests; the first has the highest key and so is the client of each other.
pub(crate) fn people(count: u8) -> Vec<Identity> {
    let mut people: Vec<_> = (1..=count).map(|i| Identity::from_seed(&[i; 32])).collect();
    people.sort_by_key(|identity| std::cmp::Reverse(identity.key()));
    people
}

pub(crate) const SECRET: [u8; 32] = [42; 32];

/// Two members, of which `a` connects to `b`.
pub(crate) struct Pair {
    pub net: Net,
    pub a: Host,
    pub b: Host,
    pub keys: (IdentityKey, IdentityKey),
    /// The link at `a`.
    pub link: LinkId,
    pub start: Instant,
}

impl Pair {
    /// Both at the ends of links like this one, which has half the delay; nothing is sent yet.
    pub(crate) fn over(seed: u64, link: Link) -> Self {
        Self::with_secrets(seed, link, SECRET, SECRET)
    }

    pub(crate) fn with_secrets(seed: u64, link: Link, of_a: [u8; 32], of_b: [u8; 32]) -> Self {
        let people = people(2);
        let mut net = Net::new(seed);
        let (a, b) = (net.endpoint(&people[0], Accept::Peer, link), net.endpoint(&people[1], Accept::Peer, link));
        let keys = (people[0].key(), people[1].key());
        net.with(a, |endpoint, _| endpoint.expect(b.addr, keys.1, of_a.into()));
        net.with(b, |endpoint, _| endpoint.expect(a.addr, keys.0, of_b.into()));
        let start = net.lab.now();
        let link = net.with(a, |endpoint, now| endpoint.connect(Kind::Peer, b.addr, Some(keys.1), now)).unwrap();
        Self { net, a, b, keys, link, start }
    }

    pub(crate) fn clean() -> Self {
        Self::over(1, Link::of(DELAY / 2))
    }

    /// Runs until both sides are connected; gives the link at `b`.
    pub(crate) fn connect(&mut self) -> LinkId {
        let (a, b) = (self.a, self.b);
        let both = |lab: &Lab<Node>| [a, b].into_iter().all(|host| lab.stack(host.id).connected().is_some());
        assert!(self.net.lab.run_until(Duration::from_secs(60), both), "the two connect");
        self.net.node(self.b).connected().unwrap().1
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.net.lab.run_for(time);
    }
}
