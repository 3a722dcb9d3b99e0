//! How late frames come: a histogram of one bin for each millisecond above the fastest of the last seconds.

use crate::{SAMPLE_RATE, lowest::Lowest};

/// Milliseconds that are told apart; what is later falls into the last bin.
pub(crate) const BINS: usize = 400;
const BIN: i64 = SAMPLE_RATE as i64 / 1000;
/// What came this long ago counts 1/e of what comes.
const MEMORY: f32 = 8.0 * SAMPLE_RATE as f32;
/// The same for frames that were lost and could be had again: a copy that is needed once in two seconds is needed. Where
/// nothing comes that could replace a frame there is nothing to wait for.
const REPAIR_MEMORY: f32 = 24.0 * SAMPLE_RATE as f32;
const NO_REPAIR_MEMORY: f32 = 2.0 * SAMPLE_RATE as f32;
/// Those of one delay count no more than this share: beyond it, waiting is worth it anyway, and has to end some time.
const MOST_REPAIRS: f32 = 0.06;
/// A sender that sends copies has found them necessary: they are waited for from the first one on, not only when enough
/// of them were missed.
const EXPECTED: f32 = 0.02;
/// A frame that was lost and can be had again weighs as much as this many that came: bits were spent on it.
pub(crate) const REPAIR: f32 = 3.0;
/// The same of a frame that is only told of by a later packet (DRED).
pub(crate) const DEEP_REPAIR: f32 = 1.0;
/// The lowest delay has to fall by this many milliseconds at least, and to stay there for this many frames, to be a
/// shorter path.
const LEAST_FALL: usize = 3;
const STAYS: u32 = 25;
const GIVEN_UP: u32 = 200;
/// How many frames the expectation before the first one weighs.
const PRIOR: f32 = 3.0;

/// The delays of frames, in samples; a delay is arrival minus media time, so only differences mean something.
#[derive(Debug)]
pub(crate) struct Delays {
    bins: [f32; BINS],
    /// The same for what could replace lost frames; adds to the above.
    repairs: [f32; BINS],
    /// The delay at which the first bin begins.
    origin: Option<i64>,
    lowest: Lowest,
    seen: f32,
    fall: Option<Fall>,
}

/// The lowest delay fell.
#[derive(Clone, Copy, Debug)]
struct Fall {
    /// By so many bins.
    by: usize,
    /// So many frames in a row were as fast.
    fast: u32,
    /// So many frames ago.
    age: u32,
}

impl Delays {
    /// Expects delays up to `start` samples until it knows better.
    pub(crate) fn new(start: i64) -> Self {
        let mut bins = [0.0; BINS];
        let last = bin(start - 1);
        for share in &mut bins[..=last] {
            *share = 1.0 / (last + 1) as f32;
        }
        Self { bins, repairs: [0.0; BINS], origin: None, lowest: Lowest::new(5), seen: PRIOR, fall: None }
    }

    /// Another stream begins: its clock is another, its path the same.
    pub(crate) fn restart(&mut self) {
        self.origin = None;
        self.fall = None;
        self.lowest = Lowest::new(5);
    }

    /// A frame of `samples` came with `delay` at `now`, in samples, and with something that could replace others, or not.
    pub(crate) fn note(&mut self, delay: i64, samples: usize, now: i64, could_repair: bool) {
        self.lowest.note(delay, now);
        self.follow_lowest();
        self.follow_fall(delay);
        self.count(delay, samples);
        let memory = if could_repair { REPAIR_MEMORY } else { NO_REPAIR_MEMORY };
        self.fade_repairs(1.0 - samples as f32 / memory);
    }

    /// A frame that was lost could have been played with `delay`, from something else that came, which is worth `weight`.
    pub(crate) fn note_repair(&mut self, delay: i64, samples: usize, weight: f32) {
        let Some(origin) = self.origin else { return };
        let part = &mut self.repairs[bin(delay - origin)];
        *part = (*part + weight * samples as f32 / REPAIR_MEMORY).min(MOST_REPAIRS);
    }

    /// A frame can be had again from a copy that comes so many samples after it.
    pub(crate) fn expect_repair(&mut self, after: i64) {
        let part = &mut self.repairs[bin(after)];
        *part = part.max(EXPECTED);
    }

    /// The share of frames that wait longer than each number of milliseconds, from 0 on, those included that could
    /// replace lost ones.
    pub(crate) fn late(&self) -> impl Iterator<Item = f32> {
        let parts = self.bins.iter().zip(&self.repairs).map(|(frames, repairs)| frames + repairs);
        let all: f32 = parts.clone().sum();
        std::iter::once(all).chain(parts.scan(all, |late, part| {
            *late -= part;
            Some(*late)
        }))
    }

    /// The lowest delay of late; `None` before the first frame.
    pub(crate) fn floor(&self) -> Option<i64> {
        self.lowest.value()
    }

    /// The delay above the lowest that a share of frames does not exceed, in milliseconds.
    pub(crate) fn quantile_ms(&self, share: f32) -> usize {
        let mut sum = 0.0;
        self.bins
            .iter()
            .position(|part| {
                sum += part;
                sum >= share
            })
            .map_or(BINS, |bin| bin + 1)
    }

    fn fade_repairs(&mut self, by: f32) {
        self.repairs.iter_mut().for_each(|part| *part *= by);
    }

    fn count(&mut self, delay: i64, samples: usize) {
        let Some(origin) = self.origin else { return };
        self.seen += 1.0;
        let share = (1.0 / self.seen).max(samples as f32 / MEMORY).min(0.25);
        for part in &mut self.bins {
            *part *= 1.0 - share;
        }
        self.bins[bin(delay - origin)] += share;
    }

    /// Keeps the first bin at the lowest delay; what was seen before moves with it.
    fn follow_lowest(&mut self) {
        let Some(lowest) = self.lowest.value() else { return };
        let origin = *self.origin.get_or_insert(lowest);
        let bins = (lowest - origin).div_euclid(BIN);
        self.origin = Some(origin + bins * BIN);
        let by = usize::try_from(bins.unsigned_abs()).unwrap_or(BINS).min(BINS - 1);
        if bins > 0 {
            move_down(&mut self.bins, by);
            move_down(&mut self.repairs, by);
        } else if by > 0 {
            move_up(&mut self.bins, by);
            move_up(&mut self.repairs, by);
            let by = by + self.fall.map_or(0, |before| before.by);
            self.fall = (by >= LEAST_FALL).then_some(Fall { by, fast: 0, age: 0 });
        }
    }

    /// When frames stay faster than before, the path is another one: what the old one did is moved back to where it was
    /// above the lowest.
    fn follow_fall(&mut self, delay: i64) {
        let (Some(Fall { by, fast, age }), Some(origin)) = (self.fall, self.origin) else { return };
        // What is on its way on the old path may still come in between.
        let fast = if bin(delay - origin) < by.div_ceil(2) { fast + 1 } else { 0 };
        self.fall = (fast < STAYS && age < GIVEN_UP).then_some(Fall { by, fast, age: age + 1 });
        if fast == STAYS {
            for bin in 0..BINS {
                let kept = if bin < by { self.bins[bin] } else { 0.0 };
                self.bins[bin] = kept + self.bins.get(bin + by).unwrap_or(&0.0);
            }
        }
    }
}

fn move_down(bins: &mut [f32; BINS], by: usize) {
    let below: f32 = bins[..by].iter().sum();
    bins.copy_within(by.., 0);
    bins[BINS - by..].fill(0.0);
    bins[0] += below;
}

fn move_up(bins: &mut [f32; BINS], by: usize) {
    let above: f32 = bins[BINS - by..].iter().sum();
    bins.copy_within(..BINS - by, by);
    bins[..by].fill(0.0);
    bins[BINS - 1] += above;
}

fn bin(delay: i64) -> usize {
    usize::try_from(delay.div_euclid(BIN)).unwrap_or(0).min(BINS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 480;

    fn fed(delays: impl IntoIterator<Item = i64>) -> Delays {
        let mut histogram = Delays::new(12 * BIN);
        for (i, delay) in (0i64..).zip(delays) {
            histogram.note(delay, FRAME, i * 480, false);
        }
        histogram
    }

    #[test]
    fn the_expectation_holds_until_frames_come_and_is_soon_forgotten() {
        assert_eq!(Delays::new(12 * BIN).quantile_ms(0.98), 12);
        assert_eq!(fed([5000; 300]).quantile_ms(0.99), 1);
    }

    #[test]
    fn a_quantile_is_what_that_share_of_frames_does_not_exceed() {
        let histogram = fed((0..3000).map(|i| 700 + (i % 100) * BIN));

        assert_eq!(histogram.floor(), Some(700));
        assert!((88..=92).contains(&histogram.quantile_ms(0.90)), "{}", histogram.quantile_ms(0.90));
    }

    #[test]
    fn what_replaces_lost_frames_now_and_then_stays_worth_waiting_for_while_it_comes() {
        let mut histogram = Delays::new(0);
        let mut least = 1.0f32;
        for i in 0..8000 {
            histogram.note(0, FRAME, i * 480, true);
            if i % 200 == 0 {
                histogram.note_repair(40 * BIN, FRAME, REPAIR);
            }
            least = if i < 5000 { 1.0 } else { least.min(histogram.late().nth(20).unwrap_or(0.0)) };
        }
        assert!((0.01..0.02).contains(&least), "3 x 1 of 200, {least} at the least");
        for i in 0..600 {
            histogram.note(0, FRAME, (8000 + i) * 480, false);
        }
        assert!(histogram.late().nth(20).is_some_and(|late| late < 0.001), "nothing comes that could");
    }

    #[test]
    fn a_copy_is_worth_waiting_for_before_it_is_needed() {
        let mut histogram = Delays::new(0);
        for i in 0..3 {
            histogram.note(0, FRAME, i * 480, true);
            histogram.expect_repair(40 * BIN);
        }
        assert!(histogram.late().nth(40).is_some_and(|late| late > 0.015));
        assert!(histogram.late().nth(41).is_some_and(|late| late < 1e-6));
    }

    #[test]
    fn a_longer_path_is_no_jitter_once_the_shorter_one_is_forgotten() {
        let histogram = fed((0..1200).map(|i| if i < 600 { 0 } else { 60 * BIN }));

        assert_eq!(histogram.floor(), Some(60 * BIN));
        assert_eq!(histogram.quantile_ms(0.99), 1);
    }

    #[test]
    fn a_shorter_path_makes_what_came_before_late() {
        let histogram = fed((0..620).map(|i| if i < 600 { 60 * BIN } else { 0 }));

        assert_eq!(histogram.floor(), Some(0));
        assert_eq!(histogram.quantile_ms(0.9), 61);
    }

    #[test]
    fn until_it_turns_out_to_stay() {
        let histogram = fed((0..630).map(|i| if i < 600 { 60 * BIN } else { 0 }));

        assert_eq!(histogram.quantile_ms(0.99), 1);
    }
}
