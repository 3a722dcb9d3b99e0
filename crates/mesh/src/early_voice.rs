//! Voice between two members that know each other and have a way to each other, for as long as their session is being made.
//!
//! Both have the other's card, so both have keys ([`EarlyVoiceKeys`]) that nobody else has, two round trips before the session
//! could carry anything. It is only for voice and only for the first time that two runs meet: as soon as the session is
//! secure nothing more is sent so, a little later nothing more is taken, and after a while neither, whatever the session
//! does. A peer with whom one talks so is not secure, and is not said to be.

#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use bytes::Bytes;
use identity::EarlyVoiceKeys;
use punch::{Way, Window};
use registry::{Bucket, Rate};
use wire::{EphemeralKey, IdentityKey, PeerTag, RunId};

use crate::{Event, Mesh};

/// From the moment a peer is known: a session takes less, or does not come up at all.
const LIMIT: Duration = Duration::from_secs(10);
/// From the moment the session is secure: what the peer sent before may still be on its way.
const GRACE: Duration = Duration::from_secs(1);
/// Datagrams of one peer that are opened: four times what a voice takes that comes by two ways.
const OPENED: Rate = Rate::per_second(400, 400);
/// Packets to an address that has not answered, of the 10 that traffic may send there: the others are for the session.
const UNPROVED: u32 = 5;
/// Peers' runs with which there is no early voice again.
const MAX_SPENT: usize = 4096;

/// One run of a peer.
type Run = (IdentityKey, RunId, EphemeralKey);

/// The runs with which there has been early voice: with the same keys, its numbers must not begin anew, nor be taken again.
#[derive(Debug, Default)]
pub(crate) struct Spent(HashSet<Run>);

impl Spent {
    /// Who can't be remembered any more gets nothing to remember.
    fn allows(&self, run: &Run) -> bool {
        self.0.len() < MAX_SPENT && !self.0.contains(run)
    }

    /// Remembers that this is over, if it ever began; tells whether it did.
    pub(crate) fn note(&mut self, early: &EarlyVoice) -> bool {
        let is_used = early.next > 0 || early.heard.is_some();
        if is_used {
            self.0.insert(early.run);
        }
        is_used
    }
}

/// Early voice with one peer.
#[derive(Debug)]
pub(crate) struct EarlyVoice {
    /// Made when somebody speaks: where many meet at once and nobody does, that is work in the way of their checks.
    keys: Option<EarlyVoiceKeys>,
    run: Run,
    /// When it is over.
    until: Instant,
    /// Whether the program has been told of the peer: it may know the name with another key, and block this one.
    is_told: bool,
    /// Whether the session carries what is sent from here on.
    is_superseded: bool,
    /// The number of the next packet.
    next: u64,
    heard: Option<Window>,
    opened: Bucket,
    /// Packets to an address that has not answered.
    unproved: u32,
}

impl EarlyVoice {
    fn may_send(&self, now: Instant) -> bool {
        self.is_told && !self.is_superseded && now < self.until
    }

    /// The packet in a datagram of the peer; `None` if it is not the peer's, came before, comes too late, or is too much.
    fn open(&mut self, datagram: &[u8], now: Instant) -> Option<Vec<u8>> {
        if now >= self.until || !self.opened.take(OPENED, now) {
            return None;
        }
        let (number, packet) = self.keys.as_ref()?.open(datagram)?;
        self.heard.get_or_insert_default().accept(number).then_some(packet)
    }
}

impl Mesh {
    /// Early voice with somebody whose card this member has just read.
    pub(crate) fn early_voice_with(&self, run: Run, now: Instant) -> Option<EarlyVoice> {
        self.spent.allows(&run).then(|| EarlyVoice {
            keys: None,
            run,
            until: now + LIMIT,
            is_told: false,
            is_superseded: false,
            next: 0,
            heard: None,
            opened: Bucket::full(now),
            unproved: 0,
        })
    }

    fn early_voice(&mut self, tag: PeerTag) -> Option<&mut EarlyVoice> {
        self.peers.get_mut(&tag)?.early_voice.as_mut()
    }

    /// The same with its keys, if there can be any.
    fn keyed_early_voice(&mut self, tag: PeerTag) -> Option<&mut EarlyVoice> {
        let me = (self.key(), self.config.run);
        let early = self.peers.get_mut(&tag)?.early_voice.as_mut()?;
        if early.keys.is_none() {
            early.keys = self.secret.as_ref()?.early_voice_keys(&self.config.ephemeral, me, early.run);
        }
        if early.keys.is_none() {
            tracing::warn!(key = %early.run.0.short(), "a member's card has a key that is none: no voice before the session");
            self.peers.get_mut(&tag)?.early_voice = None;
        }
        self.early_voice(tag)
    }

    /// The program has been told of a peer, and can block it before it does anything else.
    pub(crate) fn early_voice_told(&mut self, tag: PeerTag) {
        if let Some(early) = self.early_voice(tag) {
            early.is_told = true;
        }
    }

    /// Sends a voice packet to a peer without a session, if there is a way.
    pub(crate) fn send_early_voice(&mut self, tag: PeerTag, packet: &[u8], now: Instant) {
        let Some(path) = self.paths.path(tag) else { return };
        let (route, spare) = (self.paths.route(tag), self.paths.spare(tag));
        let is_unproved = path.way.is_direct() && path.rtt.is_none();
        if !self.early_voice(tag).is_some_and(|early| early.may_send(now)) {
            return;
        }
        let Some(early) = self.keyed_early_voice(tag) else { return };
        let route = route.filter(|_| !is_unproved || early.unproved < UNPROVED);
        let spare = spare.filter(|_| route.is_none() || path.doubtful);
        if route.is_none() && spare.is_none() {
            return;
        }
        let sealed = early.keys.as_ref().and_then(|keys| keys.seal(early.next, packet));
        let Some(datagram) = sealed.map(Bytes::from) else {
            return tracing::debug!(%tag, len = packet.len(), "a voice packet was not sent: it is empty or too long");
        };
        early.next += 1;
        early.unproved += u32::from(is_unproved && route.is_some());
        if let Some(way) = route {
            self.paths.note_sent(tag, way, now);
        }
        for way in [spare, route].into_iter().flatten() {
            self.send(tag, way, datagram.clone(), None);
        }
    }

    /// Early voice came from a peer, if it is authentic.
    pub(crate) fn handle_early_voice(&mut self, tag: PeerTag, way: Way, datagram: &[u8], now: Instant) {
        let Some(packet) = self.keyed_early_voice(tag).and_then(|early| early.open(datagram, now)) else {
            return tracing::trace!(%tag, "ignored what is no early voice, or no more");
        };
        self.paths.note_received(tag, way, now);
        self.events.push_back(Event::Voice { tag, packet: packet.into() });
    }

    /// The session with a peer is secure.
    pub(crate) fn early_voice_superseded(&mut self, tag: PeerTag, now: Instant) {
        if let Some(early) = self.early_voice(tag) {
            early.is_superseded = true;
            early.until = early.until.min(now + GRACE);
        }
    }

    pub(crate) fn early_voice_timeout(&self) -> Option<Instant> {
        self.peers.values().filter_map(|peer| peer.early_voice.as_ref()).map(|early| early.until).min()
    }

    pub(crate) fn early_voice_timed_out(&mut self, now: Instant) {
        for peer in self.peers.values_mut() {
            let Some(early) = peer.early_voice.take_if(|early| early.until <= now) else { continue };
            if self.spent.note(&early) && !early.is_superseded {
                let why = format!("voice is held back: there is no secure session after {} s", LIMIT.as_secs());
                self.events.push_back(Event::Insecure { tag: peer.tag, why });
            }
        }
    }
}
