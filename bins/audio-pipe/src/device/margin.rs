//! How much sound a loudspeaker's ring holds beside what the next callback takes.
//!
//! Each callback tells what it left in the ring. The least of that over a while is sound that nobody needed: the margin
//! gives it back, slowly; and grows at once when there was too little.

use std::time::{Duration, Instant};

use codec::RATE;

/// The margin is looked at so often.
const WINDOW: Duration = Duration::from_secs(1);
/// What is left over is given up in such shares, so that one calm second does not decide.
const GIVEN_BACK: i64 = 4;
/// What should be left at worst, in samples at 48 kHz: half a millisecond.
const RESERVE: i64 = RATE as i64 / 2000;
/// At first: 3 ms.
const START: i64 = RATE as i64 * 3 / 1000;
/// At most: 40 ms.
const MOST: i64 = RATE as i64 / 25;
/// After sound was missing the margin does not shrink for so many windows.
const WARY: u32 = 10;

/// The margin, in samples at 48 kHz.
#[derive(Clone, Copy, Debug)]
pub(super) struct Margin {
    samples: i64,
    least: Option<i64>,
    due: Option<Instant>,
    wary: u32,
}

impl Margin {
    pub(super) fn new() -> Self {
        Self { samples: START, least: None, due: None, wary: 0 }
    }

    pub(super) fn samples(&self) -> usize {
        self.samples.unsigned_abs() as usize
    }

    /// Callbacks left at least so much in the ring; if negative, they lacked it.
    pub(super) fn note(&mut self, least: i64, now: Instant) {
        if least < 0 {
            // What came too late once will do so again.
            self.samples = (self.samples - least + RESERVE).min(MOST);
            (self.least, self.due, self.wary) = (None, Some(now + WINDOW), WARY);
            return;
        }
        self.least = Some(self.least.map_or(least, |before| before.min(least)));
        if now < *self.due.get_or_insert(now + WINDOW) {
            return;
        }
        self.due = Some(now + WINDOW);
        tracing::trace!(samples = self.samples, least = self.least, "The margin of the loudspeaker's ring");
        let spare = self.least.take().unwrap_or(0) - RESERVE;
        if self.wary > 0 && spare > 0 {
            self.wary -= 1;
        } else {
            self.samples =
                (self.samples - if spare > 0 { (spare + GIVEN_BACK - 1) / GIVEN_BACK } else { spare }).clamp(0, MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets callbacks come every 5 ms for some seconds, each after the worker was late by as many samples as `late` says;
    /// gives how many of them lacked something.
    fn run(margin: &mut Margin, now: &mut Instant, seconds: u32, late: impl Fn(u32) -> i64) -> u32 {
        (0..seconds * 200)
            .filter(|n| {
                *now += Duration::from_millis(5);
                let left = margin.samples - late(*n);
                margin.note(left, *now);
                left < 0
            })
            .count() as u32
    }

    #[test]
    fn where_the_worker_is_always_in_time_next_to_nothing_waits_in_the_ring() {
        let (mut margin, mut now) = (Margin::new(), Instant::now());

        assert_eq!(run(&mut margin, &mut now, 30, |_| 0), 0);

        assert!(margin.samples <= RESERVE + 3, "{margin:?}");
    }

    #[test]
    fn who_is_late_now_and_then_has_that_much_more_and_misses_no_more() {
        let (mut margin, mut now) = (Margin::new(), Instant::now());
        let late = |n: u32| if n % 150 == 77 { 400 } else { 20 };
        run(&mut margin, &mut now, 5, late);

        assert_eq!(run(&mut margin, &mut now, 60, late), 0);

        assert!((400..=400 + 2 * RESERVE).contains(&margin.samples), "{margin:?}");
    }

    #[test]
    fn a_pause_that_happens_once_is_forgotten_in_half_a_minute() {
        let (mut margin, mut now) = (Margin::new(), Instant::now());
        run(&mut margin, &mut now, 20, |_| 50);
        let before = margin.samples;

        assert_eq!(run(&mut margin, &mut now, 1, |n| if n == 0 { 900 } else { 50 }), 1);
        assert!(margin.samples >= 900);
        run(&mut margin, &mut now, 30, |_| 50);

        assert!(margin.samples <= before + RESERVE, "{margin:?}");
    }

    #[test]
    fn it_stays_within_limits_whatever_is_told() {
        let (mut margin, mut now) = (Margin::new(), Instant::now());
        run(&mut margin, &mut now, 2, |_| 100_000);
        assert_eq!(margin.samples, MOST);
        run(&mut margin, &mut now, 60, |_| -100_000);
        assert_eq!(margin.samples, 0);
    }
}
