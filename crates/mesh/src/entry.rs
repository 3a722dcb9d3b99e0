//! The way into a channel through one of its members: knock, ask as one would ask a rendezvous, take the roster, go.
//!
//! Members named by hand are asked at once, those known from before when the rendezvous does not answer; one at a time,
//! round and round, as long as there is neither a rendezvous nor anybody to talk with.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use identity::KnockKey;
use link::{Kind, LinkId};
use relay::Numbers;
use wire::{
    IdentityKey,
    knock::NONCE,
    signal::{self, Joined, Refusal, ToMember},
};

use crate::{
    Event, Mesh, Secret, ServerEvent, Transmit, Via,
    signalling::{CLOSE_LEFT, CONNECT_TIMEOUT, Retry, SIGNAL_LANE, State},
    told::{Teller, Told, name_in},
};

/// A knock may get lost; the gap doubles.
const KNOCK_AGAIN: Duration = Duration::from_millis(300);
/// Members who may be asked.
const MAX_ADDRS: usize = 32;
/// When an address is asked that nobody named by hand: an attempt is a dozen packets, and who never answers gets no more
/// than 40.
const ATTEMPTS: [Duration; 3] = [Duration::ZERO, Duration::from_secs(10), Duration::from_secs(120)];
/// After this time such an address is taken for another one.
const FORGET: Duration = Duration::from_secs(3600);

/// Whom to ask, and how far that is.
pub(crate) struct Entry {
    doors: Vec<Door>,
    next: usize,
    attempt: Option<Attempt>,
    wait_until: Option<Instant>,
    retry: Retry,
    numbers: Numbers,
    /// Whose channel this is by the word of a member, the rendezvous that was named being silent.
    pub(crate) word: Option<IdentityKey>,
}

/// Where a member may be.
struct Door {
    at: SocketAddr,
    is_named: bool,
    /// How often it was asked, and since when.
    asked: usize,
    since: Option<Instant>,
}

impl Door {
    /// Takes one of the attempts that it has.
    fn may_be_asked(&mut self, now: Instant) -> bool {
        let since = self.since.filter(|since| now.saturating_duration_since(*since) < FORGET);
        if since.is_none() {
            (self.asked, self.since) = (0, Some(now));
        }
        let due = ATTEMPTS.get(self.asked).map(|gap| since.unwrap_or(now) + *gap);
        let may = self.is_named || due.is_some_and(|due| due <= now);
        self.asked += usize::from(may);
        may
    }
}

struct Attempt {
    link: LinkId,
    at: SocketAddr,
    /// Who answered.
    key: Option<IdentityKey>,
    knock_at: Instant,
    knock_gap: Duration,
    until: Instant,
}

impl Entry {
    pub(crate) fn new(via: &Via, seed: [u8; 32]) -> Self {
        let mut entry = Self {
            doors: Vec::new(),
            next: 0,
            attempt: None,
            wait_until: None,
            retry: Retry::default(),
            numbers: Numbers::new(seed),
            word: None,
        };
        via.members.iter().for_each(|addr| entry.add(*addr, true));
        via.remembered.iter().for_each(|addr| entry.add(*addr, false));
        entry
    }

    /// Keeps an address at which a member was; a known one is not kept twice.
    pub(crate) fn remember(&mut self, addr: SocketAddr) {
        self.add(addr, false);
    }

    fn add(&mut self, at: SocketAddr, is_named: bool) {
        if self.doors.len() < MAX_ADDRS && self.doors.iter().all(|door| door.at != at) {
            self.doors.push(Door { at, is_named, asked: 0, since: None });
        }
    }

    /// The next address whose turn it is, in this round.
    fn next_door(&mut self, now: Instant) -> Option<SocketAddr> {
        while let Some(door) = self.doors.get_mut(self.next) {
            if door.may_be_asked(now) {
                return Some(door.at);
            }
            self.next += 1;
        }
        None
    }

    pub(crate) fn asks(&self, addr: SocketAddr) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.at == addr)
    }

    pub(crate) fn link(&self) -> Option<LinkId> {
        self.attempt.as_ref().map(|attempt| attempt.link)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match &self.attempt {
            Some(attempt) if attempt.key.is_none() => Some(attempt.until.min(attempt.knock_at)),
            Some(attempt) => Some(attempt.until),
            None => self.wait_until,
        }
    }

    fn nonce(&mut self) -> [u8; NONCE] {
        let mut nonce = [0; NONCE];
        nonce.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&self.numbers.draw().to_be_bytes()));
        nonce
    }
}

impl Mesh {
    /// Somebody is gone: if it was the last, the way in is looked for again.
    pub(crate) fn enter_if_alone(&mut self, now: Instant) {
        if self.config.via.only && self.entry.attempt.is_none() {
            self.entry.wait_until.get_or_insert(now + KNOCK_AGAIN);
        }
    }

    /// Asks the next member, if there is a need and nobody is being asked.
    pub(crate) fn enter(&mut self, now: Instant) {
        let is_in = matches!(self.signalling, State::Joined { .. } | State::Introducing | State::Ended)
            || self.peers.values().any(|peer| peer.secure);
        if is_in {
            self.entry.wait_until = None;
        }
        if is_in || self.entry.attempt.is_some() || self.entry.wait_until.is_some_and(|at| at > now) {
            return;
        }
        self.entry.wait_until = None;
        if self.entry.doors.is_empty() || !self.can_knock() {
            return;
        }
        let Some(at) = self.entry.next_door(now) else { return self.end_round("nobody answers", now) };
        match self.signals.connect(Kind::Signal, at, None, now) {
            Ok(link) => {
                let (knock_at, until) = (now, now + CONNECT_TIMEOUT);
                self.entry.attempt = Some(Attempt { link, at, key: None, knock_at, knock_gap: KNOCK_AGAIN, until });
                self.knock(now);
            }
            Err(error) => self.entry_failed(&error.to_string(), now),
        }
    }

    /// Makes the channel secret if it can be made, or sees that it can be asked for.
    fn can_knock(&mut self) -> bool {
        match self.config.server_key {
            _ if self.secret.is_some() => true,
            Some(server) => self.take_secret(server),
            None if matches!(self.config.secret, Secret::Known(_)) => self.take_secret(self.key()),
            None => self.takes_word() && matches!(self.config.secret, Secret::Open),
        }
    }

    /// Whether a member's word counts for which rendezvous' channel this is: where none is named, or where it is silent and was
    /// never met, if the member was named as well.
    fn takes_word(&self) -> bool {
        let is_silent = matches!(self.signalling, State::Waiting { .. } | State::Connecting { .. });
        self.config.via.only || is_silent && self.retry.has_failed() && !self.config.via.members.is_empty()
    }

    fn knock(&mut self, now: Instant) {
        let nonce = self.entry.nonce();
        let Some(attempt) = &mut self.entry.attempt else { return };
        attempt.knock_at = now + attempt.knock_gap;
        attempt.knock_gap *= 2;
        let by_name = || KnockKey::of_name(&self.config.channel);
        let key = self.secret.as_ref().map_or_else(by_name, identity::ChannelSecret::knock_key);
        let knock = key.seal(nonce, &self.config.identity.key());
        self.transmits.push_back(Transmit::from_main(attempt.at, knock.into()));
    }

    pub(crate) fn entry_timed_out(&mut self, now: Instant) {
        if self.entry.poll_timeout().is_none_or(|at| at > now) {
            return;
        }
        let Some(attempt) = &self.entry.attempt else { return self.enter(now) };
        if attempt.until > now {
            return self.knock(now);
        }
        self.signals.close(attempt.link, CLOSE_LEFT, "no answer", now);
        self.entry_failed("no answer", now);
    }

    /// The next one is asked at once; after the last there is a pause.
    fn entry_failed(&mut self, why: &str, now: Instant) {
        self.entry.attempt = None;
        self.entry.next += 1;
        if self.entry.next < self.entry.doors.len() {
            return self.enter(now);
        }
        self.end_round(why, now);
    }

    fn end_round(&mut self, why: &str, now: Instant) {
        self.entry.next = 0;
        let wait = (self.config.retry || !self.config.via.only).then(|| self.entry.retry.failed());
        self.entry.wait_until = wait.map(|wait| now + wait);
        if self.config.via.only {
            let why = format!("no member lets us in: {why}");
            self.events.push_back(Event::Server(ServerEvent::Lost { why, retry_in: wait }));
        }
    }

    pub(crate) fn handle_entry_event(&mut self, link: LinkId, event: link::Event, now: Instant) {
        match event {
            link::Event::Connected { key, .. } => {
                if let Some(attempt) = &mut self.entry.attempt {
                    attempt.key = Some(key);
                }
                self.ask_in(link);
            }
            link::Event::Message { body, .. } => match wire::decode::<ToMember>("signalling message", &body) {
                Ok(ToMember::Channel { server }) => self.channel_told(link, server),
                Ok(ToMember::Joined(joined)) => self.entered(link, joined, now),
                Ok(ToMember::Refused(refusal)) => self.entry_refused(link, refusal, now),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "ignored a message of a member that introduces"),
            },
            link::Event::Closed(reason) => self.entry_failed(&reason.to_string(), now),
            link::Event::Datagram(_) | link::Event::Writable | link::Event::Moved(_) => {}
        }
    }

    /// A member says to which rendezvous the channel belongs. The key of one that was named is not taken from there: it shows that itself.
    fn channel_told(&mut self, link: LinkId, server: IdentityKey) {
        if self.secret.is_some() || self.config.server_key.is_some() || !self.takes_word() {
            return;
        }
        if self.config.via.only {
            self.config.server_key = Some(server);
            self.events.push_back(Event::Server(ServerEvent::Key(server)));
        } else {
            self.entry.word = Some(server);
        }
        if self.take_secret(server) {
            self.ask_in(link);
        }
    }

    fn ask_in(&mut self, link: LinkId) {
        let key = self.entry.attempt.as_ref().and_then(|attempt| attempt.key);
        let exporter = self.signals.export(link, signal::JOIN_EXPORTER, &self.key().0);
        let join = key.zip(exporter).and_then(|(key, exporter)| self.join_request_to(&key, &exporter));
        let Some(join) = join else { return };
        if let Err(error) = self.signals.send_message(link, SIGNAL_LANE, &wire::encode(&join)) {
            tracing::debug!(%error, "a signalling message was not sent");
        }
    }

    fn entry_refused(&mut self, link: LinkId, refusal: Refusal, now: Instant) {
        self.signals.close(link, CLOSE_LEFT, "refused", now);
        if self.config.via.only && self.peers.is_empty() {
            self.entry.attempt = None;
            self.signalling = State::Ended;
            return self.events.push_back(Event::Server(ServerEvent::Refused(refusal)));
        }
        self.entry_failed(&refusal.to_string(), now);
    }

    /// A member has told everybody of this one, and this one of everybody: from here on they gossip.
    fn entered(&mut self, link: LinkId, joined: Joined, now: Instant) {
        let Some(attempt) = self.entry.attempt.take() else { return };
        self.entry.retry.succeeded();
        self.signals.close(link, CLOSE_LEFT, "introduced", now);
        let (observed, name, peers) = (joined.observed, joined.name, joined.roster.len());
        self.events.push_back(Event::Server(ServerEvent::Joined { observed, name, peers }));
        for member in joined.roster {
            let is_introducer = attempt.key == Some(member.key);
            let seen = if is_introducer { vec![attempt.at] } else { member.observed };
            let Some(card) = self.read_card(&member.key, &member.card) else { continue };
            let Some(name) = name_in(&card) else { continue };
            let (key, sealed) = (member.key, member.card);
            self.told(Told { key, name, seen, card, sealed, by: Teller::Introducer }, now);
        }
        // Until somebody is met, the others are asked again.
        self.entry.next = 0;
        self.entry.wait_until = Some(now + 2 * CONNECT_TIMEOUT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_not_named_by_hand_and_never_answers_is_asked_three_times_an_hour() {
        let start = netsim::epoch();
        let mut entry = Entry::new(&Via::default(), [7; 32]);
        entry.remember("203.0.113.7:9".parse().expect("an address"));
        let mut asked_at = |time: std::ops::Range<u64>| {
            let is_asked = |second: &u64| {
                entry.next = 0;
                entry.next_door(start + Duration::from_secs(*second)).is_some()
            };
            time.filter(is_asked).collect::<Vec<_>>()
        };
        assert_eq!(asked_at(0..3600), [0, 10, 120]);
        assert_eq!(asked_at(3600..7200), [3600, 3610, 3720]);
    }

    #[test]
    fn addresses_take_bounded_room() {
        let mut entry = Entry::new(&Via::default(), [7; 32]);
        (0..1000).for_each(|port| entry.remember(SocketAddr::from(([203, 0, 113, 7], port))));
        assert_eq!(entry.doors.len(), MAX_ADDRS);
    }
}
