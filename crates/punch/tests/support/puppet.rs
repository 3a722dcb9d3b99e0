//! An agent and one peer whose every packet the test makes by hand.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use identity::PairKeys;
use punch::{Agent, Event, Ignored, Transmit, Way};
use wire::{
    PeerTag,
    check::Check,
    signal::{Candidate, CandidateKind},
};

use super::{keys, tag};

/// What the agent knows as member 1.
pub struct Puppet {
    pub agent: Agent,
    pub now: Instant,
    keys: PairKeys,
    number: u64,
    pongs: BTreeSet<(Instant, SocketAddr, u32)>,
}

pub fn listed(addrs: &[SocketAddr]) -> Vec<Candidate> {
    addrs.iter().map(|addr| Candidate { addr: *addr, kind: CandidateKind::ServerReflexive }).collect()
}

impl Puppet {
    pub const TAG: PeerTag = PeerTag(1);

    /// The agent has just learned of the puppet.
    pub fn at(addrs: &[SocketAddr]) -> Self {
        let now = netsim::epoch();
        let mut agent = Agent::new(1);
        agent.add_peer(tag(1), keys(0, 1), &listed(addrs), now);
        Self { agent, now, keys: keys(1, 0), number: 0, pongs: BTreeSet::new() }
    }

    /// A ping as the puppet would send it.
    pub fn ping(&mut self) -> Vec<u8> {
        self.seal(&Check::Ping { txid: self.number as u32 })
    }

    pub fn seal(&mut self, check: &Check) -> Vec<u8> {
        self.number += 1;
        self.keys.seal(self.number, check)
    }

    pub fn feed(&mut self, from: SocketAddr, datagram: &[u8]) -> Result<PeerTag, Ignored> {
        self.agent.handle_input(Way::to(from), datagram, self.now)
    }

    pub fn ping_from(&mut self, from: SocketAddr) {
        let ping = self.ping();
        self.feed(from, &ping).expect("an authentic ping");
    }

    /// What the agent sends in the next so much time while the puppet answers the pings to some addresses, each after
    /// its round trip.
    pub fn run(&mut self, time: Duration, answers: &[(SocketAddr, Duration)]) -> Vec<(Instant, SocketAddr)> {
        let end = self.now + time;
        let mut sent = Vec::new();
        loop {
            while let Some(Transmit { way, payload, .. }) = self.agent.poll_transmit() {
                let to = way.addr().expect("nobody relays to the puppet");
                sent.push((self.now, to));
                let rtt = answers.iter().find(|(addr, _)| *addr == to).map(|(_, rtt)| *rtt);
                if let (Some(rtt), Some((_, Check::Ping { txid }))) = (rtt, self.keys.open(&payload)) {
                    self.pongs.insert((self.now + rtt, to, txid));
                }
            }
            let next = self.agent.poll_timeout().into_iter().chain(self.pongs.first().map(|(at, ..)| *at)).min();
            let Some(next) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            match self.pongs.pop_first() {
                Some((at, from, txid)) if at <= self.now => {
                    let pong = self.seal(&Check::Pong { txid, observed: Some(from) });
                    self.feed(from, &pong).expect("an authentic pong");
                }
                Some(later) => drop(self.pongs.insert(later)),
                None => {}
            }
            self.agent.handle_timeout(self.now);
        }
        self.now = end;
        sent
    }

    /// Where the agent sends the puppet's traffic.
    pub fn route(&self) -> Option<SocketAddr> {
        self.agent.route(Self::TAG).and_then(Way::addr)
    }

    /// Whom the agent takes the packets from there for.
    pub fn peer_at(&self, from: SocketAddr) -> Option<PeerTag> {
        self.agent.peer_at(Way::to(from))
    }

    /// The agent's traffic goes where it says.
    pub fn note_sent(&mut self) {
        let way = self.agent.route(Self::TAG).expect("there is a path");
        self.agent.note_sent(Self::TAG, way, self.now);
    }

    /// Traffic of the puppet comes from there.
    pub fn note_received(&mut self, from: SocketAddr) {
        self.agent.note_received(Self::TAG, Way::to(from), self.now);
    }

    pub fn events(&mut self) -> Vec<Event> {
        let told = std::iter::from_fn(|| self.agent.poll_event());
        told.filter(|event| !matches!(event, Event::Suspected { .. })).collect()
    }
}
