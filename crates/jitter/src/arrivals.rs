//! Numbers and times of the frames that come: unwrapped, checked, and counted for the sender.

use wire::voice::{Frame, MediaTime};

use crate::SAMPLE_RATE;

const UNIT: i64 = 120;
/// Frames that are told apart from duplicates.
const KNOWN: usize = 256;
/// A frame further away in numbers than this ...
const FAR_FRAMES: i64 = 1000;
/// ... or in time than this belongs to another stream, or to none.
const FAR: i64 = 2 * SAMPLE_RATE as i64;

/// Where a frame belongs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// Number and time (in samples) without wrapping.
    At { seq: i64, time: i64 },
    /// It came before, or so long ago that nobody knows.
    Duplicate,
    /// Far away from all others; another like it, and it is [`Place::Elsewhere`].
    Stray,
    /// The sender goes on from somewhere else: begin anew.
    Elsewhere,
}

/// Counts since the last report.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Interval {
    pub(crate) received: u32,
    pub(crate) lost: i32,
    pub(crate) gaps: u32,
    pub(crate) in_gaps: u32,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    seq: i64,
    time: MediaTime,
    arrived: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    newest: Option<Mark>,
    stray: Option<Mark>,
    /// Time of the newest frame, without wrapping.
    time: i64,
    seen: Bits,
    reachable: Bits,
    times: Times,
    pub(crate) interval: Interval,
}

impl Arrivals {
    /// Tells where a frame that came at `now` belongs, and remembers that it came.
    pub(crate) fn place(&mut self, frame: &Frame<'_>, now: i64) -> Place {
        let here = Mark { seq: i64::from(frame.seq), time: frame.time, arrived: now };
        let Some(newest) = self.newest else {
            self.newest = Some(here);
            self.time = i64::from(frame.time.0) * UNIT;
            return self.accept(here.seq, self.time);
        };
        if newest.is_far_from(&here) {
            let again = self.stray.is_some_and(|stray| !stray.is_far_from(&here));
            self.stray = Some(here);
            return if again { Place::Elsewhere } else { Place::Stray };
        }
        self.stray = None;
        let seq = newest.seq + newest.frames_to(&here);
        let time = self.time + newest.samples_to(&here);
        if seq > newest.seq {
            self.advance(newest.seq, seq);
            self.newest = Some(Mark { seq, ..here });
            self.time = time;
        } else if newest.seq - seq >= KNOWN as i64 || self.seen.has(seq) {
            return Place::Duplicate;
        } else {
            self.interval.lost -= 1;
        }
        self.accept(seq, time)
    }

    /// Another stream begins; what was counted stays.
    pub(crate) fn restart(&mut self) {
        *self = Self { interval: self.interval, ..Self::default() };
    }

    /// The number of the newest frame.
    pub(crate) fn newest(&self) -> Option<i64> {
        self.newest.map(|newest| newest.seq)
    }

    /// Remembers that the frame `seq` did not come, but can be played from something else. False if it was known.
    pub(crate) fn reach(&mut self, seq: i64) -> bool {
        let is_old = self.newest.is_none_or(|newest| newest.seq - seq >= KNOWN as i64);
        !is_old && !self.seen.has(seq) && !self.reachable.set(seq)
    }

    /// When the frame `seq`, of so many samples, begins: right before the frame after it, if that is known; else as if
    /// all frames up to one at `time`, `back` numbers later, were as long.
    pub(crate) fn time_of(&mut self, seq: i64, samples: i64, (back, time): (i64, i64)) -> i64 {
        let start = self.times.of(seq + 1).unwrap_or(time - (back - 1) * samples) - samples;
        self.times.note(seq, start);
        start
    }

    fn accept(&mut self, seq: i64, time: i64) -> Place {
        self.seen.set(seq);
        self.times.note(seq, time);
        self.interval.received += 1;
        Place::At { seq, time }
    }

    fn advance(&mut self, from: i64, to: i64) {
        for seq in (from + 1..=to).take(KNOWN) {
            self.seen.clear(seq);
            self.reachable.clear(seq);
        }
        let missing = to - from - 1;
        if missing > 0 {
            let missing = i32::try_from(missing).unwrap_or(i32::MAX);
            self.interval.lost += missing;
            self.interval.gaps += 1;
            self.interval.in_gaps += missing.unsigned_abs();
        }
    }
}

impl Mark {
    fn frames_to(&self, other: &Self) -> i64 {
        let seq = |mark: &Self| mark.seq.rem_euclid(1 << 16) as u16;
        i64::from(seq(other).wrapping_sub(seq(self)).cast_signed())
    }

    fn samples_to(&self, other: &Self) -> i64 {
        i64::from(other.time.since(self.time)) * UNIT
    }

    fn is_far_from(&self, other: &Self) -> bool {
        let (frames, samples) = (self.frames_to(other), self.samples_to(other));
        frames.abs() > FAR_FRAMES
            || frames.signum() != samples.signum()
            || (other.arrived - self.arrived - samples).abs() > FAR
    }
}

/// When each of the last [`KNOWN`] frames began, by number.
#[derive(Debug)]
struct Times([(i64, i64); KNOWN]);

impl Default for Times {
    fn default() -> Self {
        Self([(i64::MIN, 0); KNOWN])
    }
}

impl Times {
    fn note(&mut self, seq: i64, time: i64) {
        self.0[seq.rem_euclid(KNOWN as i64) as usize] = (seq, time);
    }

    fn of(&self, seq: i64) -> Option<i64> {
        let (of, time) = self.0[seq.rem_euclid(KNOWN as i64) as usize];
        (of == seq).then_some(time)
    }
}

/// One bit for each of the last [`KNOWN`] numbers.
#[derive(Debug, Default)]
struct Bits([u64; KNOWN / 64]);

impl Bits {
    fn place(seq: i64) -> (usize, u64) {
        let index = seq.rem_euclid(KNOWN as i64) as usize;
        (index / 64, 1 << (index % 64))
    }

    fn has(&self, seq: i64) -> bool {
        let (word, bit) = Self::place(seq);
        self.0[word] & bit != 0
    }

    /// Sets a bit and tells whether it was set.
    fn set(&mut self, seq: i64) -> bool {
        let was_set = self.has(seq);
        let (word, bit) = Self::place(seq);
        self.0[word] |= bit;
        was_set
    }

    fn clear(&mut self, seq: i64) {
        let (word, bit) = Self::place(seq);
        self.0[word] &= !bit;
    }
}

#[cfg(test)]
mod tests {
    use wire::voice::Flags;

    use super::*;

    fn frame(seq: u16, units: u32) -> Frame<'static> {
        Frame {
            stream: 0,
            seq,
            time: MediaTime(units),
            flags: Flags::default(),
            level: 0,
            opus: &[],
            copies: Vec::new(),
        }
    }

    #[test]
    fn numbers_and_times_go_on_when_they_wrap() {
        let mut arrivals = Arrivals::default();
        for step in 0..100_000u32 {
            let place =
                arrivals.place(&frame((step + 65_000) as u16, (step * 4).wrapping_sub(999)), i64::from(step) * 480);
            let Place::At { seq, time } = place else { panic!("{place:?} at {step}") };
            assert_eq!((seq - 65_000) * 480, time - (i64::from(u32::MAX) - 998) * UNIT);
        }
    }

    #[test]
    fn a_frame_counts_once_and_its_gap_is_closed_when_it_comes_late() {
        let mut arrivals = Arrivals::default();
        for seq in [1, 2, 6, 6, 4, 4, 2] {
            arrivals.place(&frame(seq, u32::from(seq) * 4), 0);
        }

        let counts = arrivals.interval;
        assert_eq!((counts.received, counts.lost, counts.gaps, counts.in_gaps), (4, 2, 1, 3));
    }

    #[test]
    fn one_stray_is_dropped_and_two_that_agree_are_a_new_beginning() {
        let mut arrivals = Arrivals::default();
        arrivals.place(&frame(1, 4), 0);

        assert_eq!(arrivals.place(&frame(30_000, 8), 480), Place::Stray);
        assert_eq!(arrivals.place(&frame(2, 4_000_000), 480), Place::Stray);
        assert!(matches!(arrivals.place(&frame(2, 8), 480), Place::At { .. }));
        assert_eq!(arrivals.place(&frame(30_000, 8), 960), Place::Stray);
        assert_eq!(arrivals.place(&frame(30_001, 12), 1440), Place::Elsewhere);
    }

    #[test]
    fn a_copy_begins_right_before_the_frame_after_it_however_long_others_are() {
        let mut arrivals = Arrivals::default();
        for (seq, units) in [(1, 4), (4, 16), (5, 24)] {
            arrivals.place(&frame(seq, units), 0); // from 4 on they last 20 ms
        }

        assert_eq!(arrivals.time_of(3, 480, (2, 24 * UNIT)), 12 * UNIT);
        assert_eq!(arrivals.time_of(2, 480, (3, 24 * UNIT)), 8 * UNIT, "the one after it is known by its own copy");
        assert_eq!(arrivals.time_of(8, 960, (4, 1000 * UNIT)), (1000 - 4 * 8) * UNIT, "nothing is known");
    }

    #[test]
    fn what_can_be_played_otherwise_is_new_once() {
        let mut arrivals = Arrivals::default();
        arrivals.place(&frame(1, 4), 0);
        arrivals.place(&frame(3, 12), 0);

        assert!(arrivals.reach(2));
        assert!(!arrivals.reach(2));
        assert!(!arrivals.reach(1), "that one came");
    }
}
