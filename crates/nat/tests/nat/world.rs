//! A host behind a router, and a rendezvous that answers STUN from two addresses.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use nat::{Classifier, Config, Event, NatFacts};
use netsim::{HostId, Link, Nat, Net, RouterId, Segment, epoch};
use wire::stun::{Change, Places, Question};

pub(crate) const PORT: u16 = 5000;
pub(crate) const SERVER: &str = "198.51.100.1:3478";
const OTHER: &str = "192.0.2.1";
/// The server's ports, the last of which answers in the place of the others.
const PORTS: std::ops::RangeInclusive<u16> = 3478..=3481;
pub(crate) const RTT: Duration = Duration::from_millis(40);

pub(crate) struct World {
    pub(crate) net: Net,
    pub(crate) now: Instant,
    pub(crate) router: RouterId,
    pub(crate) host: HostId,
    pub(crate) server: HostId,
    other: HostId,
    /// Whether the server has a second address.
    pub(crate) has_other: bool,
    pub(crate) classifier: Classifier,
    pub(crate) told: Vec<(Duration, NatFacts)>,
    pub(crate) done: Option<Duration>,
    pub(crate) sent: usize,
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn config() -> Config {
    let local = vec![addr("192.168.1.2:1").ip(), addr("203.0.113.50:1").ip()];
    Config { server: addr(SERVER), port: PORT, local, observers: vec![], spare: true, seed: [3; 32] }
}

impl World {
    /// A host behind this router, which has not asked yet.
    pub(crate) fn behind(nat: Nat, seed: u64) -> Self {
        Self::with(nat, seed, Link::of(RTT / 4))
    }

    pub(crate) fn with(nat: Nat, seed: u64, uplink: Link) -> Self {
        let mut net = Net::new(seed);
        let router = net.add_router(Segment::INTERNET, &[addr("203.0.113.7:1").ip()], nat);
        net.set_uplink(router, uplink);
        // What nobody translates has an address that is its own everywhere.
        let own = if nat.translate { "192.168.1.2:1" } else { "203.0.113.50:1" };
        let host = net.add_host(router.inside(), &[addr(own).ip()]);
        net.set_link(host, Link::instant());
        let server = net.add_host(Segment::INTERNET, &[addr(SERVER).ip()]);
        let other = net.add_host(Segment::INTERNET, &[OTHER.parse().unwrap()]);
        let (now, told) = (epoch(), Vec::new());
        let classifier = Classifier::new(config(), now);
        Self { net, now, router, host, server, other, has_other: true, classifier, told, done: None, sent: 0 }
    }

    /// Runs until the classifier has nothing more to ask, and gives what it has told last.
    pub(crate) fn run(&mut self) -> NatFacts {
        while self.done.is_none() {
            self.step();
        }
        self.told.last().map(|(_, facts)| facts.clone()).unwrap_or_default()
    }

    pub(crate) fn step(&mut self) {
        self.drain();
        let due = self.classifier.poll_timeout().into_iter().chain(self.net.next_event()).min();
        let Some(due) = due else { return };
        self.now = self.now.max(due);
        self.net.advance(self.now);
        while let Some(delivery) = self.net.poll_delivery() {
            if delivery.host == self.host {
                let _ = self.classifier.handle_input(delivery.from, &delivery.payload, self.now);
            } else if let Some((from, answer)) =
                self.answer(delivery.host, delivery.port, delivery.from, &delivery.payload)
            {
                self.net.forge(delivery.host, from, delivery.from, answer, self.now);
            }
        }
        if self.classifier.poll_timeout().is_some_and(|at| at <= self.now) {
            self.classifier.handle_timeout(self.now);
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(out) = self.classifier.poll_transmit() {
            self.sent += 1;
            self.net.send(self.host, PORT, out.to, out.payload, self.now);
        }
        let at = self.now - epoch();
        while let Some(event) = self.classifier.poll_event() {
            match event {
                Event::Facts(facts) => self.told.push((at, facts)),
                Event::Done => self.done = Some(at),
            }
        }
    }

    /// What the rendezvous answers to a question that came to this address and port, and from where.
    fn answer(&self, at: HostId, port: u16, from: SocketAddr, datagram: &[u8]) -> Option<(SocketAddr, Vec<u8>)> {
        let (here, there) = if at == self.other { (OTHER, SERVER) } else { (SERVER, OTHER) };
        let ip = |text: &str| text.parse().unwrap_or_else(|_| addr(text).ip());
        if !PORTS.contains(&port) || at == self.other && !self.has_other {
            return None;
        }
        let question = Question::read(datagram)?;
        let elsewhere = if port == *PORTS.end() { *PORTS.start() } else { *PORTS.end() };
        let Change { ip: change_ip, port: change_port } = question.change()?;
        if change_ip && !self.has_other {
            return Some((SocketAddr::new(ip(here), port), question.refuse()));
        }
        let origin_ip = ip(if change_ip { there } else { here });
        let origin = SocketAddr::new(origin_ip, if change_port { elsewhere } else { port });
        let other_ip = ip(if self.has_other { there } else { here });
        let places = Places { origin, other: SocketAddr::new(other_ip, elsewhere) };
        Some((origin, question.answer(from, Some(places))))
    }
}
