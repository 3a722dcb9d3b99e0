use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use wire::{IdentityKey, guess::Refusal};

/// A peer gets one guess in so long: it costs two routers some hundred entries each.
const PERIOD: Duration = Duration::from_secs(600);
/// Two routers that give few ports each, or may be spoilt by what comes too early, are worth so many guesses in a row.
const IN_A_ROW: u8 = 3;
/// By then routers have forgotten the guess before.
pub(super) const PAUSE: Duration = Duration::from_secs(35);
/// A peer that is busy is asked again so much later.
const BUSY: Duration = Duration::from_secs(5);
/// Another network is worth another guess, at most so often.
const CHANGES: Duration = Duration::from_secs(60);
/// By so much two clocks may differ on when a guess is allowed.
pub(super) const SLACK: Duration = Duration::from_secs(2);
/// Peers that are remembered; more than any channel has.
const MAX: usize = 128;

/// With whom there was a guess lately, by key: to leave and come back does not help.
#[derive(Debug, Default)]
pub(super) struct History {
    entries: VecDeque<Entry>,
    changed: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    key: IdentityKey,
    in_a_row: u8,
    allowed_at: Instant,
    /// Whether the last guess has not met.
    has_failed: bool,
}

impl History {
    /// When there may be a guess with a peer; `None` if there was none.
    pub(super) fn allowed_at(&self, key: &IdentityKey) -> Option<Instant> {
        self.entries.iter().find(|entry| entry.key == *key).map(|entry| entry.allowed_at)
    }

    /// Whether there was a guess with a peer that has not met: what was seen of the routers may have deceived.
    pub(super) fn has_failed(&self, key: &IdentityKey) -> bool {
        self.entries.iter().any(|entry| entry.key == *key && entry.has_failed)
    }

    /// How many guesses have failed in a row with a peer that gets another one soon.
    pub(super) fn in_a_row(&self, key: &IdentityKey) -> u8 {
        self.entries.iter().find(|entry| entry.key == *key).map_or(0, |entry| entry.in_a_row)
    }

    /// There was a guess. If another one is worth it, it may come after `again`.
    pub(super) fn note(&mut self, key: IdentityKey, met: bool, again: Option<Duration>, now: Instant) {
        let row = self.in_a_row(&key) + 1;
        match again.filter(|_| row < IN_A_ROW) {
            Some(again) => self.set(key, row, now + again),
            None => self.set(key, 0, now + PERIOD),
        }
        if let Some(entry) = self.entries.back_mut() {
            entry.has_failed = !met;
        }
    }

    /// There have been too many guesses with others.
    pub(super) fn postpone(&mut self, key: IdentityKey, until: Instant) {
        let row = self.in_a_row(&key);
        self.set(key, row, until);
    }

    /// The peer did not want to.
    pub(super) fn refused(&mut self, key: IdentityKey, why: Refusal, now: Instant) {
        let row = self.in_a_row(&key);
        let wait = match why {
            Refusal::Busy => BUSY,
            Refusal::TooSoon => PAUSE,
            Refusal::Off | Refusal::Hopeless => PERIOD,
        };
        self.set(key, row, now + wait);
    }

    /// We are elsewhere: what did not meet may do so from here.
    pub(super) fn network_changed(&mut self, now: Instant) {
        if self.changed.is_none_or(|at| now.duration_since(at) >= CHANGES) {
            self.changed = Some(now);
            self.entries.clear();
        }
    }

    fn set(&mut self, key: IdentityKey, in_a_row: u8, allowed_at: Instant) {
        let has_failed = self.has_failed(&key);
        self.entries.retain(|entry| entry.key != key);
        if self.entries.len() >= MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { key, in_a_row, allowed_at, has_failed });
    }
}

#[cfg(test)]
mod tests {
    use identity::Identity;

    use super::*;

    fn key(who: u8) -> IdentityKey {
        Identity::from_seed(&[who; 32]).key()
    }

    #[test]
    fn a_peer_gets_one_guess_in_10_minutes_and_few_ports_three_in_a_row() {
        let (mut history, now) = (History::default(), netsim::epoch());
        assert_eq!(history.allowed_at(&key(1)), None);
        history.note(key(1), true, None, now);
        assert_eq!(history.allowed_at(&key(1)), Some(now + PERIOD));
        assert!(!history.has_failed(&key(1)));
        for expected in [PAUSE, PAUSE, PERIOD] {
            history.note(key(2), false, Some(PAUSE), now);
            assert_eq!(history.allowed_at(&key(2)), Some(now + expected));
            assert!(history.has_failed(&key(2)));
        }
    }

    #[test]
    fn another_network_is_another_chance_once_a_minute() {
        let (mut history, now) = (History::default(), netsim::epoch());
        for (after, expected) in [(0, true), (59, false), (60, true)] {
            history.note(key(1), false, None, now);
            history.network_changed(now + Duration::from_secs(after));
            assert_eq!(history.allowed_at(&key(1)).is_none(), expected, "after {after} s");
        }
    }

    #[test]
    fn it_takes_bounded_room() {
        let (mut history, now) = (History::default(), netsim::epoch());
        for who in 0..=255 {
            history.refused(key(who), Refusal::Off, now);
        }
        assert_eq!(history.entries.len(), MAX);
    }
}
