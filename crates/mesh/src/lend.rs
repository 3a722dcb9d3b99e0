//! Member relay: carrying the packets of two others who can't reach each other, and being carried by a third.
//!
//! Who lends tells each peer all those to whom it can carry that peer's packets: peers with whom it has a session and a
//! direct path, as the one told has. Who borrows makes each such lender a [`Way::Member`] to the peer, once it is clear
//! that no direct path comes at once, or when a direct path falls silent; checks measure it like any other way.
//!
//! A frame is forwarded if it comes from the address of the grant's owner, at once and unread, and only ever over a direct
//! path: so there are no chains. What does not fit the quota is dropped.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bytes::Bytes;
use punch::Way;
use registry::{Bucket, Rate};
use relay::Numbers;
use wire::{
    IdentityKey, PeerTag,
    datagram::{self, Protocol},
    lend::{self, Grant, Lend, MAX_GRANTS},
    peer::{Control, Lane},
};

use crate::{Mesh, Transmit};

/// Changes are told together after this: paths come up in bursts.
const SETTLE: Duration = Duration::from_millis(100);
/// A peer that has no direct path after this is looked for through others. Most volleys end sooner.
const GRACE: Duration = Duration::from_millis(300);
/// Lenders that are tried for one peer.
const MAX_LENDERS: usize = 4;
/// Bytes a second that one pair gets: a voice with a redundant copy in each packet takes 16,000.
const PAIR: Rate = Rate::per_second(64_000, 64_000);
/// Bytes a second for all pairs: what the uplink of a home can spare.
const TOTAL: Rate = Rate::per_second(250_000, 125_000);

/// What a member lends, and what it may borrow.
pub(crate) struct Lending {
    numbers: Numbers,
    /// By number: who may send, and to whom.
    pairs: BTreeMap<u64, Pair>,
    /// The grants that each peer was told last in its present session.
    told: BTreeMap<PeerTag, Vec<Grant>>,
    total: Bucket,
    /// What each lender offers.
    offers: BTreeMap<PeerTag, Vec<Grant>>,
    /// The ways that are in use or measured: the peer, then who lends.
    borrowed: BTreeSet<(PeerTag, PeerTag)>,
    /// When it is looked at who is there.
    look_at: Option<Instant>,
    pub(crate) counts: LendCounts,
}

#[derive(Debug)]
struct Pair {
    from: PeerTag,
    to: PeerTag,
    quota: Bucket,
}

/// Frames that others sent by way of this member.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LendCounts {
    /// Forwarded.
    pub frames: u64,
    /// Bytes that left: UDP payload.
    pub bytes: u64,
    /// Dropped: beyond the quota.
    pub over_quota: u64,
    /// Dropped: without a grant, or with another's.
    pub not_granted: u64,
    /// Dropped: there is no direct path to the receiver at present.
    pub no_path: u64,
}

impl Lending {
    pub(crate) fn new(seed: [u8; 32], now: Instant) -> Self {
        Self {
            numbers: Numbers::new(seed),
            pairs: BTreeMap::new(),
            told: BTreeMap::new(),
            total: Bucket::full(now),
            offers: BTreeMap::new(),
            borrowed: BTreeSet::new(),
            look_at: None,
            counts: LendCounts::default(),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.look_at
    }

    fn look_by(&mut self, at: Instant) {
        self.look_at = Some(self.look_at.map_or(at, |before| before.min(at)));
    }

    fn number(&self, from: PeerTag, to: PeerTag) -> Option<u64> {
        self.pairs.iter().find(|(_, pair)| (pair.from, pair.to) == (from, to)).map(|(number, _)| *number)
    }

    /// The number that a lender gave for a peer.
    fn offer(&self, lender: PeerTag, to: &IdentityKey) -> Option<u64> {
        self.offers.get(&lender)?.iter().find(|grant| grant.to == *to).map(|grant| grant.number)
    }

    /// Grants what is to be granted, and takes back the rest. Who keeps a grant keeps its number.
    fn regrant(&mut self, ready: &BTreeSet<PeerTag>, now: Instant) {
        self.pairs.retain(|_, pair| ready.contains(&pair.from) && ready.contains(&pair.to));
        for from in ready {
            for to in ready.iter().filter(|to| *to != from) {
                if self.number(*from, *to).is_none() {
                    let quota = Bucket::full(now);
                    self.pairs.insert(self.numbers.draw(), Pair { from: *from, to: *to, quota });
                }
            }
        }
    }
}

impl Mesh {
    /// Carries packets for others from here on, or does not any more.
    pub fn set_lend(&mut self, lend: bool, now: Instant) {
        self.config.lend = lend;
        self.lending.look_by(now);
    }

    /// What this member has carried for others.
    pub fn lend_counts(&self) -> LendCounts {
        self.lending.counts
    }

    /// The member that carries the packets to a peer, if one does.
    pub(crate) fn lender_of(&self, tag: PeerTag) -> Option<String> {
        match self.peers.get(&tag)?.way? {
            Way::Member(lender) => self.peers.get(&lender).map(|lender| lender.name.clone()),
            Way::Direct { .. } | Way::Server => None,
        }
    }

    /// A peer is known: if no direct path comes soon, others are asked.
    pub(crate) fn lend_peer_added(&mut self, now: Instant) {
        self.lending.look_by(now + GRACE);
    }

    /// A session is up: what was told in an earlier one may not have arrived.
    pub(crate) fn lend_session_up(&mut self, tag: PeerTag, now: Instant) {
        self.lending.told.remove(&tag);
        self.lending.look_by(now + SETTLE);
    }

    /// A path has changed: whom one can carry, and who can carry one, may be others.
    pub(crate) fn lend_path_changed(&mut self, tag: PeerTag, now: Instant) {
        self.lending.look_by(now + SETTLE);
        if !self.has_direct_path(tag) {
            self.give_back(|_, lender| lender == tag, now);
        }
        self.borrow_for(tag, now);
    }

    /// A direct path owes an answer: until it comes, what can't wait goes by way of others, too.
    pub(crate) fn lend_suspected(&mut self, tag: PeerTag, now: Instant) {
        self.borrow(tag, now);
    }

    /// A peer is gone, and with it all that it lent and was lent.
    pub(crate) fn lend_peer_gone(&mut self, tag: PeerTag, now: Instant) {
        self.lending.offers.remove(&tag);
        self.lending.told.remove(&tag);
        self.lending.pairs.retain(|_, pair| pair.from != tag && pair.to != tag);
        self.give_back(|peer, lender| peer == tag || lender == tag, now);
        self.lending.look_by(now + SETTLE);
    }

    /// A peer says whom it carries our packets to.
    pub(crate) fn handle_lend(&mut self, lender: PeerTag, offer: Lend, now: Instant) {
        if offer.grants.len() > MAX_GRANTS {
            return tracing::debug!(%lender, "ignored an offer to carry: it lists too many");
        }
        let keys: BTreeSet<_> = offer.grants.iter().map(|grant| grant.to).collect();
        let kept = |key: Option<IdentityKey>| key.is_some_and(|key| keys.contains(&key));
        let dropped: BTreeSet<_> =
            self.peers.values().filter(|peer| !kept(Some(peer.key))).map(|peer| peer.tag).collect();
        self.lending.offers.insert(lender, offer.grants);
        self.give_back(|peer, by| by == lender && dropped.contains(&peer), now);
        for tag in self.peers.keys().copied().collect::<Vec<_>>() {
            self.borrow_for(tag, now);
        }
    }

    pub(crate) fn lending_timed_out(&mut self, now: Instant) {
        if self.lending.look_at.is_none_or(|at| at > now) {
            return;
        }
        self.lending.look_at = None;
        self.offer_all(now);
        for tag in self.peers.keys().copied().collect::<Vec<_>>() {
            self.borrow_for(tag, now);
        }
        let waiting =
            self.peers.values().filter(|peer| !self.has_direct_path(peer.tag)).map(|peer| peer.known_at + GRACE);
        if let Some(at) = waiting.filter(|at| *at > now).min() {
            self.lending.look_by(at);
        }
    }

    /// Tells each peer whom this member carries its packets to, where that is something else than before.
    fn offer_all(&mut self, now: Instant) {
        let ready: BTreeSet<_> = match self.config.lend {
            true => self.peers.values().filter(|p| p.secure && self.is_proved(p.tag)).map(|p| p.tag).collect(),
            false => BTreeSet::new(),
        };
        self.lending.regrant(&ready, now);
        let secure: Vec<_> = self.peers.values().filter_map(|p| Some((p.tag, p.link.filter(|_| p.secure)?))).collect();
        for (tag, link) in secure {
            let of_peer = self.lending.pairs.iter().filter(|(_, pair)| pair.from == tag);
            let grant =
                |(number, pair): (&u64, &Pair)| Some(Grant { to: self.peers.get(&pair.to)?.key, number: *number });
            let mut grants: Vec<_> = of_peer.filter_map(grant).take(MAX_GRANTS).collect();
            grants.sort();
            if self.lending.told.get(&tag).map_or(&[][..], Vec::as_slice) == grants {
                continue;
            }
            let message = wire::encode(&Control::Lend(Lend { grants: grants.clone() }));
            match self.sessions.send_message(link, Lane::Control as u8, &message) {
                Ok(()) => drop(self.lending.told.insert(tag, grants)),
                Err(error) => {
                    tracing::debug!(%tag, %error, "an offer to carry was not sent");
                    self.lending.look_by(now + SETTLE);
                }
            }
        }
    }

    /// Whether checks have proved a direct path to a peer.
    fn is_proved(&self, tag: PeerTag) -> bool {
        self.paths.path(tag).is_some_and(|route| route.way.is_direct() && route.rtt.is_some())
    }

    fn has_direct_path(&self, tag: PeerTag) -> bool {
        self.direct_way(tag).is_some()
    }

    fn direct_way(&self, tag: PeerTag) -> Option<Way> {
        self.paths.route(tag).filter(|way| way.is_direct())
    }

    /// Borrows for a peer that has had its time to be reached directly.
    fn borrow_for(&mut self, tag: PeerTag, now: Instant) {
        let has_waited = self.peers.get(&tag).is_some_and(|peer| peer.known_at + GRACE <= now);
        if has_waited && !self.has_direct_path(tag) {
            self.borrow(tag, now);
        }
    }

    /// Makes those who offer it a way to a peer, the nearest first.
    fn borrow(&mut self, tag: PeerTag, now: Instant) {
        let Some(key) = self.peers.get(&tag).map(|peer| peer.key) else { return };
        let offering = self.lending.offers.keys().copied().filter(|lender| *lender != tag);
        let offering = offering.filter(|lender| self.lending.offer(*lender, &key).is_some());
        let mut lenders: Vec<_> = offering
            .filter(|lender| self.has_direct_path(*lender))
            .map(|lender| (self.paths.path(lender).and_then(|route| route.rtt), lender))
            .collect();
        lenders.sort();
        let borrowed = self.lending.borrowed.iter().filter(|(peer, _)| *peer == tag).count();
        let is_new = |lender: &PeerTag| !self.lending.borrowed.contains(&(tag, *lender));
        let chosen: Vec<_> = lenders.into_iter().map(|(_, lender)| lender).filter(is_new).collect();
        for lender in chosen.into_iter().take(MAX_LENDERS.saturating_sub(borrowed)) {
            self.lending.borrowed.insert((tag, lender));
            self.paths.add_relay(tag, Way::Member(lender), now);
        }
    }

    fn give_back(&mut self, is_over: impl Fn(PeerTag, PeerTag) -> bool, now: Instant) {
        let over: Vec<_> = self.lending.borrowed.iter().copied().filter(|(peer, by)| is_over(*peer, *by)).collect();
        for (peer, lender) in over {
            self.lending.borrowed.remove(&(peer, lender));
            self.paths.remove_relay(peer, Way::Member(lender), now);
        }
    }

    /// The frame that brings a packet to a peer by way of a lender.
    pub(crate) fn lent_frame(&self, tag: PeerTag, lender: PeerTag, payload: &[u8]) -> Option<Transmit> {
        let number = self.lending.offer(lender, &self.peers.get(&tag)?.key)?;
        self.straight_to(lender, lend::up(number, payload).into())
    }

    fn straight_to(&self, tag: PeerTag, payload: Bytes) -> Option<Transmit> {
        match self.direct_way(tag)? {
            Way::Direct { socket, addr } => Some(Transmit { socket, to: addr, payload, ttl: None }),
            Way::Member(_) | Way::Server => None,
        }
    }

    /// Forwards a frame that a peer sends by way of this member.
    pub(crate) fn forward_lent(&mut self, from: Way, datagram: &[u8], now: Instant) {
        let sender = self.paths.peer_at(from);
        let Some((number, sealed)) = lend::split(datagram) else { return };
        let (lending, sent) = (&mut self.lending, u32::try_from(lend::HEADER + sealed.len()).unwrap_or(u32::MAX));
        let pair = lending.pairs.get_mut(&number).filter(|pair| self.config.lend && Some(pair.from) == sender);
        let Some(pair) = pair else {
            lending.counts.not_granted += 1;
            return tracing::trace!(%from, "ignored a frame to carry: it has no grant");
        };
        let (from, to) = (pair.from, pair.to);
        // A pair that is over its quota takes nothing from the others.
        if !pair.quota.take_all(sent, PAIR, now) || !lending.total.take_all(sent, TOTAL, now) {
            lending.counts.over_quota += 1;
            return tracing::trace!(%from, %to, "dropped a frame to carry: it is too much");
        }
        let back = lending.number(to, from);
        match back.and_then(|back| self.straight_to(to, lend::down(back, sealed).into())) {
            Some(transmit) => {
                self.lending.counts.frames += 1;
                self.lending.counts.bytes += u64::from(sent);
                self.transmits.push_back(transmit);
            }
            None => self.lending.counts.no_path += 1,
        }
    }

    /// Takes a frame that a lender brings.
    pub(crate) fn handle_lent(&mut self, from: Way, datagram: &[u8], now: Instant) {
        let sender = self.paths.peer_at(from).zip(lend::split(datagram)).and_then(|(lender, (number, sealed))| {
            let grant = self.lending.offers.get(&lender)?.iter().find(|grant| grant.number == number)?;
            let sender = self.peers.values().find(|peer| peer.key == grant.to && peer.tag != lender)?;
            Some((sender.tag, lender, sealed))
        });
        let Some((tag, lender, sealed)) = sender else {
            return tracing::trace!(%from, "ignored a carried frame: nobody offered to bring it");
        };
        let way = Way::Member(lender);
        match datagram::protocol(sealed) {
            Some(Protocol::Quic) => self.handle_session_packet(tag, way, sealed, now),
            Some(Protocol::Punchline) if sealed[0] == datagram::CHECK => {
                self.lending.borrowed.insert((tag, lender));
                self.handle_check(way, sealed, now);
            }
            Some(Protocol::Punchline) if sealed[0] == datagram::EARLY_VOICE => {
                self.handle_early_voice(tag, way, sealed, now);
            }
            _ => tracing::trace!(%tag, "ignored what a lender brought"),
        }
    }
}
