//! Which texts are still waiting for whose acknowledgement.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use wire::{MessageId, PeerTag};

/// How long a peer may take to say that it has a text.
pub(crate) const ACK_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Waiting {
    peers: BTreeSet<PeerTag>,
    until: Instant,
}

/// The texts that are not settled.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    waiting: BTreeMap<MessageId, Waiting>,
}

impl Deliveries {
    pub(crate) fn start(&mut self, id: MessageId, peers: BTreeSet<PeerTag>, now: Instant) {
        self.waiting.insert(id, Waiting { peers, until: now + ACK_TIMEOUT });
    }

    /// Takes one peer off a text; `true` if the text was waiting for it.
    pub(crate) fn settle(&mut self, id: MessageId, peer: PeerTag) -> bool {
        self.waiting.get_mut(&id).is_some_and(|waiting| waiting.peers.remove(&peer))
    }

    /// Texts that wait for this peer.
    pub(crate) fn of(&self, peer: PeerTag) -> Vec<MessageId> {
        self.waiting.iter().filter(|(_, waiting)| waiting.peers.contains(&peer)).map(|(id, _)| *id).collect()
    }

    /// What has waited too long.
    pub(crate) fn overdue(&self, now: Instant) -> Vec<(MessageId, PeerTag)> {
        let due = self.waiting.iter().filter(|(_, waiting)| waiting.until <= now);
        due.flat_map(|(id, waiting)| waiting.peers.iter().map(|peer| (*id, *peer))).collect()
    }

    /// Forgets and names the texts that wait for nobody any more.
    pub(crate) fn take_settled(&mut self) -> Vec<MessageId> {
        let settled: Vec<_> =
            self.waiting.iter().filter(|(_, waiting)| waiting.peers.is_empty()).map(|(id, _)| *id).collect();
        self.waiting.retain(|_, waiting| !waiting.peers.is_empty());
        settled
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.until).min()
    }
}
