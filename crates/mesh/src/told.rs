//! Somebody is there: what follows from it, whoever says so.

use std::{net::SocketAddr, time::Instant};

use registry::MemberName;
use wire::{
    IdentityKey, MemberSlot, PeerTag,
    agent::Path,
    signal::{self, Candidate, CandidateKind, Card, Member},
};

use crate::{
    Event, Mesh, Relaying,
    gossip::Knowledge,
    peer::{self, Peer},
};

/// Peers one member talks with; more than any channel has.
const MAX_PEERS: usize = 64;

/// Somebody is there.
pub(crate) struct Told {
    pub(crate) key: IdentityKey,
    pub(crate) name: String,
    pub(crate) seen: Vec<SocketAddr>,
    pub(crate) card: Card,
    /// The same card, sealed.
    pub(crate) sealed: Vec<u8>,
    pub(crate) by: Teller,
}

/// Who says that somebody is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Teller {
    /// The rendezvous, and in which seat.
    Server(MemberSlot),
    /// A peer.
    Member(PeerTag),
    /// The registry of a member that lets others in: its own, or the one that was asked.
    Introducer,
}

impl Teller {
    fn slot(self) -> Option<MemberSlot> {
        match self {
            Self::Server(slot) => Some(slot),
            Self::Member(_) | Self::Introducer => None,
        }
    }

    fn peer(self) -> Option<PeerTag> {
        match self {
            Self::Member(tag) => Some(tag),
            Self::Server(_) | Self::Introducer => None,
        }
    }
}

/// What a card's owner calls itself, if that can be a name.
pub(crate) fn name_in(card: &Card) -> Option<String> {
    MemberName::parse(&card.name).ok().map(|name| name.as_str().to_owned())
}

impl Mesh {
    /// The rendezvous says that somebody is there, for the first time or with new addresses.
    pub(crate) fn member_told(&mut self, member: Member, now: Instant) {
        let Some(card) = self.read_card(&member.key, &member.card) else { return };
        let seen = member.observed.iter().map(|addr| self.seen_from_here(&member, *addr)).collect();
        let Member { slot, name, key, card: sealed, .. } = member;
        self.told(Told { key, name, seen, card, sealed, by: Teller::Server(slot) }, now);
    }

    /// Somebody is there, for the first time or with a newer card or other addresses.
    pub(crate) fn told(&mut self, told: Told, now: Instant) {
        if told.key == self.key() || self.blocked.contains(&(told.key, told.card.run)) {
            return;
        }
        let known = self.peers.values().find(|peer| peer.key == told.key).map(|peer| (peer.tag, peer.run));
        match known {
            Some((tag, run)) if run == told.card.run => self.told_again(tag, told, now),
            Some((tag, _)) => {
                self.remove_peer(tag, "started anew", now);
                self.add_peer(told, now);
            }
            None => self.add_peer(told, now),
        }
    }

    fn told_again(&mut self, tag: PeerTag, told: Told, now: Instant) {
        let candidates = self.candidates(&told);
        let Some(peer) = self.peers.get_mut(&tag) else { return };
        let is_newer = told.card.serial > peer.known.serial;
        if is_newer {
            (peer.known.serial, peer.known.card) = (told.card.serial, told.sealed);
            peer.nat = told.card.nat;
        }
        peer.known.note_seen(&told.seen);
        if let Teller::Server(slot) = told.by {
            let has_moved = peer.observed != told.seen;
            (peer.slot, peer.observed) = (Some(slot), told.seen);
            self.offer_relay(tag, now);
            if has_moved {
                self.guess_elsewhere(tag, now);
            }
        }
        self.paths.add_candidates(tag, &candidates, now);
        if is_newer {
            self.spread(tag, told.by.peer(), now);
        }
    }

    pub(crate) fn read_card(&self, key: &IdentityKey, sealed: &[u8]) -> Option<Card> {
        match self.secret.as_ref()?.open_card(key, sealed) {
            Ok(card) => Some(card),
            Err(error) => {
                tracing::warn!(key = %key.short(), %error, "ignored a member who has another password or invite link for this channel, or none");
                None
            }
        }
    }

    fn candidates(&self, told: &Told) -> Vec<Candidate> {
        if !self.may_be_direct() {
            return Vec::new();
        }
        let seen = told.seen.iter().map(|addr| Candidate { addr: *addr, kind: CandidateKind::ServerReflexive });
        seen.chain(told.card.candidates.iter().copied()).take(2 * signal::MAX_CANDIDATES).collect()
    }

    /// Whether this member sends to addresses of peers at all.
    pub(crate) fn may_be_direct(&self) -> bool {
        self.config.relaying != Relaying::Only
    }

    /// Where a member is that the rendezvous sees at `observed`.
    fn seen_from_here(&self, member: &Member, observed: SocketAddr) -> SocketAddr {
        let server = self.config.server;
        if self.config.server_key == Some(member.key) {
            // The rendezvous itself is a member: it is where it was asked.
            server
        } else if observed.ip().is_loopback() && !server.ip().is_loopback() {
            // The member runs on the rendezvous' own machine, so it is at the rendezvous' address, by any other port.
            SocketAddr::new(server.ip(), observed.port())
        } else {
            observed
        }
    }

    fn add_peer(&mut self, told: Told, now: Instant) {
        let candidates = self.candidates(&told);
        let Told { key, name, seen, card, sealed, by } = told;
        let Some(secret) = &self.secret else { return };
        if self.peers.len() >= MAX_PEERS {
            tracing::warn!(max = MAX_PEERS, "ignored a member: there are too many");
            return;
        }
        let tag = PeerTag(self.next_tag);
        self.next_tag += 1;
        let early_voice = self.early_voice_with((key, card.run, card.ephemeral), now);
        let keys = secret.pair_keys((self.config.identity.key(), self.config.run), (key, card.run));
        self.sessions.expect(peer::virtual_addr(tag), key, keys.proof_key().clone());
        self.paths.add_peer(tag, keys, &candidates, now);
        self.events.push_back(Event::Seen { tag, name: name.clone(), key });
        self.peers.insert(
            tag,
            Peer {
                tag,
                name,
                key,
                run: card.run,
                known: Knowledge::new(card.serial, sealed, &seen, now),
                nat: card.nat,
                // Guesses go there, and no member shall aim them at somebody else.
                observed: if by.slot().is_some() { seen } else { Vec::new() },
                relayed_since: None,
                is_foreseen: false,
                slot: by.slot(),
                known_at: now,
                link: None,
                secure: false,
                early_voice,
                path: Path::None,
                way: None,
                way_since: now,
                held: Default::default(),
                tried: None,
                outbox: Default::default(),
                // Behind the first checks to everybody who is told of at the same time.
                reopen_at: Some(now),
            },
        );
        self.offer_relay(tag, now);
        self.lend_peer_added(now);
        self.spread(tag, by.peer(), now);
    }
}
