//! How much sound the server holds for a loudspeaker: as little as goes well.
//!
//! Too little, and a server that is busy for a moment has nothing to play; so it grows when that happens often, and is
//! tried with less again when it has not happened for a while.

use std::time::{Duration, Instant};

/// What the server holds at least and at most, in periods.
const LEAST: u32 = 2;
const MOST: u32 = 16;
/// What runs dry again so soon is the same trouble.
const ONE: Duration = Duration::from_millis(300);
/// So much trouble in so long a time is too much.
const OFTEN: u32 = 3;
const WINDOW: Duration = Duration::from_secs(10);
/// After so long without trouble less is tried; if that was too little, it is tried half as often.
const CALM: Duration = Duration::from_secs(20);
const MOST_CALM: Duration = Duration::from_secs(1280);

#[derive(Debug)]
pub(super) struct Backlog {
    periods: u32,
    /// Since when trouble is counted, and how often there was some.
    since: Instant,
    times: u32,
    last: Option<Instant>,
    /// Since when there is as much as there is.
    changed: Instant,
    calm: Duration,
    /// Whether the last change was to have less.
    is_trial: bool,
}

impl Backlog {
    pub(super) fn new(now: Instant) -> Self {
        Self { periods: LEAST, since: now, times: 0, last: None, changed: now, calm: CALM, is_trial: false }
    }

    /// How much the server is to hold, in periods.
    pub(super) fn periods(&self) -> u32 {
        self.periods
    }

    /// The server had nothing to play. True if it is to hold more from here on.
    pub(super) fn note_dry(&mut self, now: Instant) -> bool {
        let is_same = self.last.is_some_and(|last| now.duration_since(last) < ONE);
        self.last = Some(now);
        if is_same {
            return false;
        }
        if now.duration_since(self.since) > WINDOW {
            (self.since, self.times) = (now, 0);
        }
        self.times += 1;
        if self.times < OFTEN || self.periods >= MOST {
            return false;
        }
        self.calm = if self.is_trial { (self.calm * 2).min(MOST_CALM) } else { self.calm };
        self.periods += 1;
        self.begin(now, false);
        true
    }

    /// True if the server is to hold less from here on.
    pub(super) fn relax(&mut self, now: Instant) -> bool {
        let quiet = now.duration_since(self.last.map_or(self.changed, |last| last.max(self.changed)));
        if self.periods == LEAST || quiet < self.calm {
            return false;
        }
        self.periods -= 1;
        self.begin(now, true);
        true
    }

    fn begin(&mut self, now: Instant, is_trial: bool) {
        (self.since, self.times) = (now, 0);
        (self.changed, self.is_trial) = (now, is_trial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of periods after each second; `dry` tells in which seconds, and with how many periods, there is trouble.
    fn run(seconds: u64, dry: impl Fn(u64, u32) -> bool) -> Vec<u32> {
        let start = Instant::now();
        let mut backlog = Backlog::new(start);
        let second = |second| {
            let now = start + Duration::from_secs(second);
            if dry(second, backlog.periods()) {
                backlog.note_dry(now);
                backlog.note_dry(now + ONE / 2);
            }
            backlog.relax(now + ONE);
            backlog.periods()
        };
        (0..seconds).map(second).collect()
    }

    #[test]
    fn trouble_now_and_then_costs_no_delay() {
        assert!(run(600, |second, _| second % 6 == 0).iter().all(|periods| *periods == LEAST));
    }

    #[test]
    fn trouble_three_times_in_ten_seconds_is_met_with_a_period_more() {
        assert_eq!(run(12, |second, _| [1, 5, 9].contains(&second))[8..], [2, 3, 3, 3]);
    }

    #[test]
    fn what_was_needed_once_is_given_back() {
        let periods = run(120, |second, _| second < 12);
        assert_eq!((periods[12], periods[119]), (6, LEAST));
    }

    #[test]
    fn what_is_needed_all_the_time_is_seldom_tried_without() {
        let periods = run(3600, |_, periods| periods < 4);
        let poor = periods[600..].iter().filter(|periods| **periods < 4).count();
        assert!((1..60).contains(&poor), "{poor} s of 3000 with too little");
    }

    #[test]
    fn it_never_grows_beyond_all_measure() {
        assert_eq!(run(600, |_, _| true).last(), Some(&MOST));
    }
}
