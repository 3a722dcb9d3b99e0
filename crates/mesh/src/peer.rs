//! What the mesh knows of one peer.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use bytes::Bytes;
use link::LinkId;
use punch::Way;
use wire::{IdentityKey, MemberSlot, PeerTag, RunId, agent::Path, nat::NatFacts};

use crate::{early_voice::EarlyVoice, gossip::Knowledge, outbox::Outbox};

/// Session packets that wait for the first direct path: a whole first flight, no more.
const MAX_HELD: usize = 4;

/// One other member.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) tag: PeerTag,
    pub(crate) name: String,
    pub(crate) key: IdentityKey,
    pub(crate) run: RunId,
    /// What others may be told of it.
    pub(crate) known: Knowledge,
    /// What it says of its router.
    pub(crate) nat: Option<NatFacts>,
    /// Where the rendezvous sees it; guesses go nowhere else.
    pub(crate) observed: Vec<SocketAddr>,
    /// Since when its session is secure but its packets are relayed.
    pub(crate) relayed_since: Option<Instant>,
    /// Whether the ports that follow from what was seen have been tried.
    pub(crate) is_foreseen: bool,
    /// Its seat; `None` while the rendezvous does not know it (any more).
    pub(crate) slot: Option<MemberSlot>,
    pub(crate) known_at: Instant,
    pub(crate) link: Option<LinkId>,
    pub(crate) secure: bool,
    /// What carries voice until then.
    pub(crate) early_voice: Option<EarlyVoice>,
    pub(crate) path: Path,
    /// How its packets travel, as told last, and since when.
    pub(crate) way: Option<Way>,
    pub(crate) way_since: Instant,
    /// Packets of a session that is being made, which found no direct path yet, or went to a guess.
    pub(crate) held: VecDeque<Bytes>,
    /// Where the first of them went, on a guess, and when.
    pub(crate) tried: Option<(Way, Instant)>,
    /// Text messages that the session has no room for yet.
    pub(crate) outbox: Outbox,
    /// When the session is opened, for the first time or again.
    pub(crate) reopen_at: Option<Instant>,
}

impl Peer {
    /// The address at which QUIC believes this peer to be.
    pub(crate) fn virtual_addr(&self) -> SocketAddr {
        virtual_addr(self.tag)
    }

    /// Keeps a session packet for the moment a path is there.
    pub(crate) fn hold(&mut self, payload: Bytes) {
        if self.held.len() == MAX_HELD {
            self.held.pop_front();
            self.tried = None;
        }
        self.held.push_back(payload);
    }

    /// Takes what has to go by the first direct path. What went there by a guess before, and so lately that the peer's NAT
    /// was open when it came, is there already: it was sent less than a round trip before the peer's own packet came.
    pub(crate) fn take_held(
        &mut self,
        way: Way,
        round_trip: Duration,
        now: Instant,
    ) -> impl Iterator<Item = Bytes> + use<> {
        let is_there = |(to, at)| to == way && now.saturating_duration_since(at) < round_trip.mul_f64(0.8);
        let there = usize::from(self.tried.take().is_some_and(is_there));
        std::mem::take(&mut self.held).into_iter().skip(there)
    }

    /// Whether a packet of a session that is being made goes by a direct path alone though that is not proved yet: an answer
    /// can't be there before a round trip is over, and what gets lost is sent again after it.
    pub(crate) fn trusts_way(&self, round_trip: Duration, now: Instant) -> bool {
        !self.secure && now.saturating_duration_since(self.way_since) < round_trip
    }

    /// Notes since when, if so, there is a secure session but no direct path.
    pub(crate) fn note_relayed(&mut self, now: Instant) {
        let is_relayed = self.secure && self.way.is_some_and(|way| !way.is_direct());
        self.relayed_since = is_relayed.then(|| self.relayed_since.unwrap_or(now));
    }
}

const PORT: u16 = 1;

pub(crate) fn virtual_addr(tag: PeerTag) -> SocketAddr {
    let ip = Ipv6Addr::from(0xfd00_u128 << 112 | u128::from(tag.0));
    SocketAddr::new(IpAddr::V6(ip), PORT)
}

/// The peer whose made-up address this is.
pub(crate) fn tag_at(addr: SocketAddr) -> Option<PeerTag> {
    let IpAddr::V6(ip) = addr.ip() else { return None };
    let tag = PeerTag(u32::try_from(ip.to_bits() & 0xffff_ffff).ok()?);
    (virtual_addr(tag) == addr).then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_up_address_names_its_peer_and_no_real_one_does() {
        for tag in [0, 1, u32::MAX].map(PeerTag) {
            assert_eq!(tag_at(virtual_addr(tag)), Some(tag));
        }
        for real in ["203.0.113.7:1", "[2001:db8::1]:1", "[fd00::1]:2", "[fd00:1::1]:1"] {
            assert_eq!(tag_at(real.parse().expect("an address")), None, "{real}");
        }
    }
}
