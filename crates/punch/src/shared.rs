use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use identity::PairKeys;
use wire::{PeerTag, check::Check};

use crate::{
    Event, Transmit, Way,
    guess::Probes,
    ledger::Ledger,
    pace::Pacer,
    schedule::{Jitter, LOST_AFTER_DOUBT},
};

/// Datagrams that may wait for the driver; pongs beyond it are not made.
const MAX_OUTBOX: usize = 1024;
/// An address that was silent for so long may pass to another peer.
const OWNER_GONE: Duration = LOST_AFTER_DOUBT;

/// What all peers of an agent have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) allow_loopback: bool,
    pub(crate) ledger: Ledger,
    pub(crate) probes: Probes,
    pub(crate) pacer: Pacer,
    pub(crate) jitter: Jitter,
    pub(crate) events: VecDeque<Event>,
    pub(crate) outbox: VecDeque<Transmit>,
    owners: BTreeMap<Way, Owner>,
    /// Counts the checks to all peers together, so that a number is not used twice with one key even if a peer is
    /// removed and added again.
    next_number: u64,
}

/// Whose packets a direct way carries.
#[derive(Debug)]
struct Owner {
    peer: PeerTag,
    confirmed: bool,
    heard: Instant,
}

impl Shared {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            allow_loopback: false,
            ledger: Ledger::default(),
            probes: Probes::default(),
            pacer: Pacer::new(),
            jitter: Jitter::new(seed),
            events: VecDeque::new(),
            outbox: VecDeque::new(),
            owners: BTreeMap::new(),
            next_number: 0,
        }
    }

    /// Sends a ping; returns its transaction id.
    pub(crate) fn send_ping(&mut self, peer: PeerTag, keys: &PairKeys, way: Way) -> u32 {
        let txid = self.next_number as u32;
        self.send(peer, keys, way, &Check::Ping { txid }, None);
        txid
    }

    /// Sends a ping to a port that the peer may be at, or that only opens our own router; no path comes of it before an answer.
    pub(crate) fn send_probe(&mut self, peer: PeerTag, keys: &PairKeys, way: Way, ttl: Option<u8>, now: Instant) {
        let txid = self.next_number as u32;
        self.send(peer, keys, way, &Check::Ping { txid }, ttl);
        self.probes.note(txid, way, now);
    }

    /// Sends a pong.
    pub(crate) fn send_pong(&mut self, peer: PeerTag, keys: &PairKeys, way: Way, txid: u32) {
        if self.outbox.len() < MAX_OUTBOX {
            self.send(peer, keys, way, &Check::Pong { txid, observed: way.addr() }, None);
        }
    }

    fn send(&mut self, peer: PeerTag, keys: &PairKeys, way: Way, check: &Check, ttl: Option<u8>) {
        let payload = keys.seal(self.next_number, check);
        self.next_number += 1;
        self.outbox.push_back(Transmit { peer, way, payload, ttl });
    }

    /// Gives an address to a peer, unless another one has it with a better right. A relayed way needs no owner.
    pub(crate) fn claim(&mut self, way: Way, peer: PeerTag, confirmed: bool, now: Instant) -> bool {
        if !way.is_direct() {
            return true;
        }
        let taken = self.owners.get(&way).is_some_and(|owner| {
            let stronger = owner.confirmed || !confirmed;
            owner.peer != peer && stronger && now.duration_since(owner.heard) < OWNER_GONE
        });
        if taken {
            tracing::debug!(%peer, %way, "An address that belongs to one peer was claimed by another");
            return false;
        }
        let confirmed = confirmed || self.owners.get(&way).is_some_and(|owner| owner.peer == peer && owner.confirmed);
        self.owners.insert(way, Owner { peer, confirmed, heard: now });
        true
    }

    pub(crate) fn owner(&self, way: Way) -> Option<PeerTag> {
        self.owners.get(&way).map(|owner| owner.peer)
    }

    pub(crate) fn note_heard(&mut self, way: Way, peer: PeerTag, now: Instant) {
        if let Some(owner) = self.owners.get_mut(&way).filter(|owner| owner.peer == peer) {
            owner.heard = now;
        }
    }

    pub(crate) fn disclaim(&mut self, way: Way, peer: PeerTag) {
        if self.owner(way) == Some(peer) {
            self.owners.remove(&way);
        }
    }

    pub(crate) fn disclaim_all(&mut self, peer: PeerTag) {
        self.owners.retain(|_, owner| owner.peer != peer);
    }
}
