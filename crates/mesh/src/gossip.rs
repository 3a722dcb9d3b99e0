//! What members tell each other about the others, so that a channel outlives its rendezvous and whoever introduced them.
//!
//! Everybody who has a session is told of everybody else: when the session comes up, when somebody new is heard of, when a
//! card or an address changes. What is no news is not passed on, so that nothing goes round in circles. Where the
//! rendezvous tells two members the same, they need not tell it each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use registry::{Bucket, Rate};
use wire::{
    IdentityKey, PeerTag,
    gossip::{Gossip, Known, MAX_MEMBERS, MAX_SEEN},
    peer::{Control, Lane},
    signal::{Candidate, CandidateKind},
};

use crate::{
    Mesh,
    signalling::State,
    told::{Teller, Told, name_in},
};

/// News are told together after this.
const SETTLE: Duration = Duration::from_millis(200);
/// A peer with whom there is no session is looked for so long where no rendezvous says who is there.
const KEEP: Duration = Duration::from_secs(120);
/// The same where there is one, which does not know the peer.
const KEEP_UNKNOWN: Duration = Duration::from_secs(20);
/// Who has left is not taken for present again on the word of others, for so long.
const BURIED: Duration = Duration::from_secs(600);
const MAX_BURIED: usize = 256;
/// Peers whom members have told of and with whom there is no session yet.
const MAX_UNPROVED: usize = 32;
/// Records of one peer that are looked into.
const RECORDS: Rate = Rate::per_second(20, 128);
/// Stands for this member itself among the subjects; no peer has this tag.
const MYSELF: PeerTag = PeerTag(0);

/// What is known of a peer and worth telling others.
#[derive(Debug)]
pub(crate) struct Knowledge {
    /// The number of its latest card.
    pub(crate) serial: u64,
    /// That card, sealed.
    pub(crate) card: Vec<u8>,
    /// Where others saw it, the latest first.
    pub(crate) seen: Vec<SocketAddr>,
    /// Where this member reached it last.
    pub(crate) reached: Option<SocketAddr>,
    /// Since when there has been no session with it.
    unheard: Option<Instant>,
    /// About whom it is to be told.
    unsaid: BTreeSet<PeerTag>,
    pub(crate) records: Bucket,
}

impl Knowledge {
    pub(crate) fn new(serial: u64, card: Vec<u8>, seen: &[SocketAddr], now: Instant) -> Self {
        let (reached, unsaid) = (None, BTreeSet::new());
        let mut known =
            Self { serial, card, seen: Vec::new(), reached, unheard: Some(now), unsaid, records: Bucket::full(now) };
        known.note_seen(seen);
        known
    }

    /// Puts addresses in front; tells whether one of them was not known.
    pub(crate) fn note_seen(&mut self, addrs: &[SocketAddr]) -> bool {
        let is_news = addrs.iter().any(|addr| !self.seen.contains(addr));
        self.seen.retain(|addr| !addrs.contains(addr));
        self.seen.splice(0..0, addrs.iter().copied());
        self.seen.truncate(MAX_SEEN);
        is_news
    }

    /// Where it may be, the likeliest first.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let seen = self.seen.iter().copied().filter(|addr| Some(*addr) != self.reached);
        self.reached.into_iter().chain(seen).take(MAX_SEEN).collect()
    }
}

/// What there is to say, and who is not to be heard of again.
#[derive(Debug, Default)]
pub(crate) struct Gossiping {
    say_at: Option<Instant>,
    buried: BTreeMap<IdentityKey, (u64, Instant)>,
}

impl Gossiping {
    fn say_by(&mut self, at: Instant) {
        self.say_at = Some(self.say_at.map_or(at, |before| before.min(at)));
    }

    fn is_buried(&self, key: &IdentityKey, serial: u64, now: Instant) -> bool {
        self.buried.get(key).is_some_and(|(last, until)| serial <= *last && now < *until)
    }
}

impl Mesh {
    /// A peer tells what it knows of others.
    pub(crate) fn handle_gossip(&mut self, by: PeerTag, gossip: Gossip, now: Instant) {
        if gossip.members.len() > MAX_MEMBERS {
            return tracing::debug!(%by, members = gossip.members.len(), "ignored gossip: it names too many");
        }
        for known in gossip.members {
            self.handle_record(by, known, now);
        }
    }

    fn handle_record(&mut self, by: PeerTag, known: Known, now: Instant) {
        if known.key == self.key() || known.seen.len() > MAX_SEEN {
            return;
        }
        let Some(teller) = self.peers.get_mut(&by) else { return };
        if !teller.known.records.take(RECORDS, now) {
            return tracing::debug!(%by, "ignored gossip: it is too much");
        }
        let current = self.peers.values().find(|peer| peer.key == known.key);
        if let Some((tag, true)) = current.map(|peer| (peer.tag, peer.known.card == known.card)) {
            return self.seen_elsewhere(tag, &known.seen, now);
        }
        let serial = current.map(|peer| peer.known.serial);
        let Some(card) = self.read_card(&known.key, &known.card) else { return };
        if serial.is_some_and(|serial| card.serial <= serial) || self.gossip.is_buried(&known.key, card.serial, now) {
            return tracing::debug!(%by, key = %known.key.short(), "ignored an old card");
        }
        let Some(name) = name_in(&card) else {
            return tracing::debug!(%by, key = %known.key.short(), "ignored a member whose name can't be one");
        };
        if serial.is_none() && self.unproved() >= MAX_UNPROVED {
            return tracing::debug!(%by, max = MAX_UNPROVED, "ignored a member: too many have yet to be met");
        }
        let (key, seen, sealed) = (known.key, known.seen, known.card);
        self.told(Told { key, name, seen, card, sealed, by: Teller::Member(by) }, now);
    }

    fn unproved(&self) -> usize {
        self.peers.values().filter(|peer| peer.slot.is_none() && !peer.secure).count()
    }

    /// Others saw a peer there. Who has a direct path to it needs that only once the path is in doubt.
    fn seen_elsewhere(&mut self, tag: PeerTag, seen: &[SocketAddr], now: Instant) {
        let Some(peer) = self.peers.get_mut(&tag) else { return };
        if peer.known.note_seen(seen) && !self.has_sure_path(tag) {
            self.try_where_seen(tag, now);
        }
    }

    pub(crate) fn has_sure_path(&self, tag: PeerTag) -> bool {
        self.paths.path(tag).is_some_and(|route| route.way.is_direct() && !route.doubtful)
    }

    /// Tries the addresses at which others saw a peer.
    pub(crate) fn try_where_seen(&mut self, tag: PeerTag, now: Instant) {
        let Some(peer) = self.peers.get(&tag).filter(|_| self.may_be_direct()) else { return };
        let candidate = |addr: &SocketAddr| Candidate { addr: *addr, kind: CandidateKind::ServerReflexive };
        let candidates: Vec<_> = peer.known.seen.iter().map(candidate).collect();
        self.paths.add_candidates(tag, &candidates, now);
    }

    /// There is news of a peer, which one of the others may have brought.
    pub(crate) fn spread(&mut self, subject: PeerTag, by: Option<PeerTag>, now: Instant) {
        let known_there = self.is_at_rendezvous(subject);
        let tags: Vec<_> = self.peers.values().filter(|peer| peer.secure).map(|peer| peer.tag).collect();
        for tag in tags.into_iter().filter(|tag| *tag != subject && Some(*tag) != by) {
            if !(known_there && self.is_at_rendezvous(tag)) {
                self.say_of(subject, tag, now + SETTLE);
            }
        }
    }

    /// This member's own card has changed.
    pub(crate) fn spread_own_card(&mut self, now: Instant) {
        let secure = self.peers.values().filter(|peer| peer.secure).map(|peer| peer.tag);
        for tag in secure.filter(|tag| !self.is_at_rendezvous(*tag)).collect::<Vec<_>>() {
            self.say_of(MYSELF, tag, now);
        }
    }

    /// A session is up: the peer hears of everybody whom the rendezvous does not tell it of.
    pub(crate) fn gossip_session_up(&mut self, tag: PeerTag, now: Instant) {
        let Some(peer) = self.peers.get_mut(&tag) else { return };
        peer.known.unheard = None;
        peer.known.unsaid.clear();
        let is_told = self.is_at_rendezvous(tag);
        for subject in self.peers.keys().copied().collect::<Vec<_>>() {
            if subject != tag && !(is_told && self.is_at_rendezvous(subject)) {
                self.say_of(subject, tag, now + SETTLE);
            }
        }
        if !is_told {
            self.say_of(MYSELF, tag, now + SETTLE);
        }
    }

    /// The rendezvous that told everybody of everybody is gone.
    pub(crate) fn gossip_alone(&mut self, now: Instant) {
        for tag in self.peers.keys().copied().collect::<Vec<_>>() {
            self.gossip_unheard(tag, now);
        }
        self.spread_own_card(now);
    }

    /// A session broke.
    pub(crate) fn gossip_unheard(&mut self, tag: PeerTag, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&tag).filter(|peer| !peer.secure) {
            peer.known.unheard = Some(now);
        }
    }

    /// A direct path is proved: that is where the peer is.
    pub(crate) fn gossip_reached(&mut self, tag: PeerTag, at: SocketAddr, now: Instant) {
        let Some(peer) = self.peers.get_mut(&tag) else { return };
        if peer.known.reached.replace(at) != Some(at) {
            self.spread(tag, None, now);
        }
    }

    /// A peer has left for good: what others still say of it is old.
    pub(crate) fn bury(&mut self, tag: PeerTag, now: Instant) {
        let Some((key, serial)) = self.peers.get(&tag).map(|peer| (peer.key, peer.known.serial)) else { return };
        let buried = &mut self.gossip.buried;
        buried.retain(|_, (_, until)| now < *until);
        if buried.len() < MAX_BURIED {
            buried.insert(key, (serial, now + BURIED));
        }
    }

    fn say_of(&mut self, subject: PeerTag, to: PeerTag, by: Instant) {
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.known.unsaid.insert(subject);
            self.gossip.say_by(by);
        }
    }

    /// Whether the rendezvous, now, tells of this peer and tells this peer of others.
    pub(crate) fn is_at_rendezvous(&self, tag: PeerTag) -> bool {
        self.has_rendezvous() && self.peers.get(&tag).is_some_and(|peer| peer.slot.is_some())
    }

    /// Whether there is a rendezvous, now, that says who is there.
    pub(crate) fn has_rendezvous(&self) -> bool {
        matches!(self.signalling, State::Joined { .. } | State::Introducing)
    }

    /// Says what is to be said, at once.
    pub(crate) fn say_news(&mut self, now: Instant) {
        self.gossip.say_at = None;
        for tag in self.peers.keys().copied().collect::<Vec<_>>() {
            self.say_news_to(tag, now);
        }
    }

    fn say_news_to(&mut self, tag: PeerTag, now: Instant) {
        let Some(peer) = self.peers.get_mut(&tag).filter(|peer| !peer.known.unsaid.is_empty()) else { return };
        let subjects = std::mem::take(&mut peer.known.unsaid);
        let Some(link) = peer.link.filter(|_| peer.secure) else { return };
        let members: Vec<_> = subjects.iter().filter_map(|subject| self.record(*subject)).take(MAX_MEMBERS).collect();
        let message = wire::encode(&Control::Gossip(Gossip { members }));
        if let Err(error) = self.sessions.send_message(link, Lane::Control as u8, &message) {
            tracing::debug!(%tag, %error, "gossip was not sent");
            if let Some(peer) = self.peers.get_mut(&tag).filter(|_| error == link::SendError::Full) {
                peer.known.unsaid = subjects;
                self.gossip.say_by(now + SETTLE);
            }
        }
    }

    fn record(&self, subject: PeerTag) -> Option<Known> {
        if subject == MYSELF {
            let card = self.secret.as_ref()?.seal_card(&self.config.identity, &self.card());
            return Some(Known { key: self.key(), seen: Vec::new(), card });
        }
        let peer = self.peers.get(&subject)?;
        Some(Known { key: peer.key, seen: peer.known.addresses(), card: peer.known.card.clone() })
    }

    /// When a peer is given up that nobody vouches for.
    fn given_up_at(&self, tag: PeerTag) -> Option<Instant> {
        let unheard = self.peers.get(&tag)?.known.unheard?;
        let keep = if self.has_rendezvous() { KEEP_UNKNOWN } else { KEEP };
        (!self.is_at_rendezvous(tag)).then_some(unheard + keep)
    }

    pub(crate) fn gossip_timeout(&self) -> Option<Instant> {
        self.peers.keys().filter_map(|tag| self.given_up_at(*tag)).chain(self.gossip.say_at).min()
    }

    pub(crate) fn gossip_timed_out(&mut self, now: Instant) {
        if self.gossip.say_at.is_some_and(|at| at <= now) {
            self.say_news(now);
        }
        let tags = self.peers.keys().copied();
        let over: Vec<_> = tags.filter(|tag| self.given_up_at(*tag).is_some_and(|at| at <= now)).collect();
        for tag in over {
            self.bury(tag, now);
            self.remove_peer(tag, "nobody hears it any more", now);
        }
    }
}
