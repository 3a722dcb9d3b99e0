//! When the loudspeaker asks for sound: the steady clock behind pulls that come now early, now late, now in pairs.

use crate::{SAMPLE_RATE, lowest::Lowest};

/// A pull that is this much later than the last one continues nothing.
const BREAK: i64 = SAMPLE_RATE as i64 / 10;
/// When all pulls are late by more than half a block for as long as this many blocks take, the loudspeaker has gone on
/// without the sound; a shorter while is made up for by pulls in a hurry.
const SKIPPED: i64 = 8;

#[derive(Debug)]
pub(crate) struct Pace {
    pulled: i64,
    last: Option<i64>,
    lowest: Lowest,
    block: f32,
    late_since: Option<i64>,
    least_late: i64,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { pulled: 0, last: None, lowest: Lowest::new(1), block: 0.0, late_since: None, least_late: 0 }
    }

    /// Samples are asked for at `now`. Tells by how much that is later than the count of samples says.
    pub(crate) fn note(&mut self, samples: usize, now: i64) -> i64 {
        if self.last.is_some_and(|last| now - last > BREAK) {
            self.lowest.clear();
        }
        self.last = Some(now);
        self.follow_skip(now);
        let behind = now - self.pulled;
        self.lowest.note(behind, now);
        self.pulled += samples as i64;
        let samples = samples as f32;
        self.block = samples.max(self.block - (self.block - samples) / 256.0);
        behind
    }

    fn follow_skip(&mut self, now: i64) {
        let late = self.lowest.value().map_or(0, |lowest| now - self.pulled - lowest);
        if late <= self.block() / 2 {
            self.late_since = None;
            return;
        }
        self.least_late = if self.late_since.is_none() { late } else { late.min(self.least_late) };
        let since = *self.late_since.get_or_insert(now);
        if now - since >= SKIPPED * self.block() {
            self.pulled += self.least_late;
            self.late_since = None;
        }
    }

    /// When the sound after all that was asked for would be, with pulls as early as they come.
    pub(crate) fn next(&self) -> i64 {
        self.lowest.value().unwrap_or(0) + self.pulled
    }

    /// Samples in a pull; the most of late, if they vary.
    pub(crate) fn block(&self) -> i64 {
        self.block.ceil() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_pulls_and_pairs_of_pulls_do_not_move_the_clock() {
        let mut pace = Pace::new();
        for pair in 0..100 {
            let late = pair % 7 * 100;
            pace.note(480, pair * 960 + late);
            pace.note(480, pair * 960 + late);
        }

        assert_eq!(pace.next(), 100 * 960 - 480, "each second pull of a pair is early");
        assert_eq!(pace.block(), 480);
    }

    #[test]
    fn a_loudspeaker_that_was_away_starts_anew() {
        let mut pace = Pace::new();
        pace.note(480, 0);
        pace.note(480, 480);
        pace.note(480, 48_000);

        assert_eq!(pace.next(), 48_480);
    }

    #[test]
    fn a_pause_that_is_made_up_for_changes_nothing() {
        let mut pace = Pace::new();
        let mut behind = Vec::new();
        for pull in 0..100i64 {
            let due = pull * 480;
            behind.push(pace.note(480, if (50..58).contains(&pull) { due.max(58 * 480) } else { due }));
        }

        assert_eq!((pace.next(), behind.last()), (100 * 480, Some(&0)));
    }

    #[test]
    fn sound_that_nobody_asked_for_is_counted_soon() {
        let mut pace = Pace::new();
        for pull in 0..100 {
            let skipped = if pull < 50 { 0 } else { 700 };
            pace.note(480, pull * 480 + skipped);
        }

        assert_eq!(pace.next(), 100 * 480 + 700);
    }
}
