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
/// A member in another place is worth another guess, at most so often.
const MOVES: Duration = Duration::from_secs(60);
/// By so much two clocks may differ on when a guess is allowed.
pub(super) const SLACK: Duration = Duration::from_secs(2);
/// Peers that are remembered; more than any channel has.
const MAX: usize = 128;

/// With whom there was a guess lately, by key: to leave and come back does not help.
#[derive(Debug, Default)]
pub(super) struct History {
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    key: IdentityKey,
    in_a_row: u8,
    allowed_at: Instant,
    /// Whether the last guess has not met.
    has_failed: bool,
    /// When one of the two was in another place last, or the guess after that was allowed.
    moved: Option<Instant>,
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
        let row = if met { 0 } else { self.in_a_row(&key) + 1 };
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

    /// We are in another place: what did not meet may do so from there.
    pub(super) fn we_moved(&mut self, now: Instant) {
        self.entries.iter_mut().for_each(|entry| entry.moved(now));
    }

    /// The peer is in another place.
    pub(super) fn peer_moved(&mut self, key: &IdentityKey, now: Instant) {
        self.entries.iter_mut().filter(|entry| entry.key == *key).for_each(|entry| entry.moved(now));
    }

    fn set(&mut self, key: IdentityKey, in_a_row: u8, allowed_at: Instant) {
        let before = self.entries.iter().find(|entry| entry.key == key);
        let (has_failed, moved) = before.map_or((false, None), |entry| (entry.has_failed, entry.moved));
        self.entries.retain(|entry| entry.key != key);
        if self.entries.len() >= MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { key, in_a_row, allowed_at, has_failed, moved });
    }
}

impl Entry {
    fn moved(&mut self, now: Instant) {
        let at = self.moved.map_or(now, |before| now.max(before + MOVES));
        (self.moved, self.allowed_at) = (Some(at), self.allowed_at.min(at));
        (self.in_a_row, self.has_failed) = (0, false);
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
    fn another_place_is_another_chance_once_a_minute() {
        let (mut history, now) = (History::default(), netsim::epoch());
        let after = |seconds| now + Duration::from_secs(seconds);
        for (moves, allowed) in [(1, 1), (2, 61), (59, 121), (200, 200)] {
            history.note(key(1), false, None, now);
            history.peer_moved(&key(1), after(moves));
            assert_eq!(history.allowed_at(&key(1)), Some(after(allowed)), "after {moves} s");
            assert!(!history.has_failed(&key(1)));
        }
        history.note(key(1), true, None, now);
        history.note(key(2), true, None, now);
        history.peer_moved(&key(2), now);
        assert_eq!([1, 2].map(|who| history.allowed_at(&key(who))), [Some(now + PERIOD), Some(now)]);
        history.we_moved(after(300));
        assert_eq!([1, 2].map(|who| history.allowed_at(&key(who))), [Some(after(300)), Some(now)]);
    }

    #[test]
    fn a_guess_that_met_and_cost_little_may_be_repeated() {
        let (mut history, now) = (History::default(), netsim::epoch());
        for _ in 0..10 {
            history.note(key(1), true, Some(PAUSE), now);
            assert_eq!(history.allowed_at(&key(1)), Some(now + PAUSE));
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
