//! Received packets in the order in which they were said, with what is missing between them.

use std::collections::BTreeMap;

use wire::voice::{Flags, Frame, MediaTime};

/// Samples in a unit of media time.
const UNIT: i64 = 120;
/// A packet that is missing is waited for so long, in samples: copies and stragglers come later than what is played.
const HOLD: u64 = 19_200;
/// Packets that wait for one before them, at most.
const MOST_WAITING: usize = 64;
/// Farther away than this, a sequence number or a time, in samples, tells nothing of where the sound belongs.
const MOST_APART: i64 = 48_000;
const MOST_JUMP: i64 = 1000;
/// What was lost is left to the player's concealment up to this, in samples; behind it there is silence.
const MOST_CONCEALED: u64 = 9600;
/// At the start of a talkspurt a speaker whose clock went astray by more, in samples, is where it is heard.
const MOST_ASTRAY: u64 = 2880;

/// What a recording of one speaker goes on with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Piece {
    /// A packet as it came.
    Packet(Vec<u8>),
    /// So many samples that were lost.
    Lost(u64),
    /// So many samples in which nothing was said.
    Silence(u64),
}

/// Puts what comes of one speaker in order. Times are samples since the recording began.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// The stream at hand, the one before it, and how many there were.
    stream: Option<u8>,
    former: Option<u8>,
    streams: u32,
    highest: i64,
    /// What comes next: which stream, which packet of it.
    next: Option<(u32, i64)>,
    waiting: BTreeMap<(u32, i64), Waiting>,
    /// Where a media time is.
    anchor: Option<(MediaTime, u64)>,
    /// Samples so far.
    end: u64,
}

#[derive(Debug)]
struct Waiting {
    time: MediaTime,
    opus: Vec<u8>,
    arrived: u64,
    starts: bool,
    is_copy: bool,
}

impl Track {
    /// Takes a frame that came at `now`.
    pub(super) fn push(&mut self, frame: &Frame<'_>, now: u64) {
        if codec::packet_samples(frame.opus).is_none() || !self.follow(frame) {
            return;
        }
        let step = i64::from(frame.seq.wrapping_sub(self.highest.cast_unsigned() as u16).cast_signed());
        if step.abs() > MOST_JUMP {
            self.restart(frame);
        }
        let seq = if step.abs() > MOST_JUMP { self.highest } else { self.highest + step };
        self.highest = self.highest.max(seq);
        let starts = frame.flags.has(Flags::TALKSPURT_START);
        self.wait(
            seq,
            frame.opus,
            Waiting { time: frame.time, opus: Vec::new(), arrived: now, starts, is_copy: false },
        );
        // Nothing is before the first frame of a stream.
        if self.next.is_none_or(|next| next.0 != self.streams) {
            return;
        }
        for copy in frame.copies.iter().filter(|copy| copy.back > 0) {
            let Some(samples) = codec::packet_samples(copy.opus) else { continue };
            let back = i64::from(copy.back);
            let units = (back * samples as i64 / UNIT) as u32;
            let time = MediaTime(frame.time.0.wrapping_sub(units));
            self.wait(
                seq - back,
                copy.opus,
                Waiting { time, opus: Vec::new(), arrived: now, starts: false, is_copy: true },
            );
        }
    }

    /// What comes next, as soon as that is known; ask until there is none.
    pub(super) fn pop(&mut self, now: u64) -> Option<Piece> {
        let (&key, first) = self.waiting.first_key_value()?;
        let is_due = match self.next {
            Some(next) if key.0 == next.0 => key.1 == next.1,
            _ => true,
        };
        let is_overdue = now >= first.arrived.saturating_add(HOLD) || self.waiting.len() > MOST_WAITING;
        if !is_due && !is_overdue {
            return None;
        }
        let at = self.place(key)?;
        if at >= self.end + UNIT.unsigned_abs() {
            let was_lost = self.next.is_some_and(|next| next.0 == key.0 && next.1 < key.1);
            return Some(self.pad(at, was_lost));
        }
        let Waiting { opus, .. } = self.waiting.remove(&key)?;
        self.end += codec::packet_samples(&opus).unwrap_or(0) as u64;
        self.next = Some((key.0, key.1 + 1));
        Some(Piece::Packet(opus))
    }

    /// Silence up to `end`, if there is time to it.
    pub(super) fn pad_to(&mut self, end: u64) -> Option<Piece> {
        (end >= self.end + UNIT.unsigned_abs()).then(|| self.pad(end, false))
    }

    fn pad(&mut self, to: u64, was_lost: bool) -> Piece {
        let gap = (to - self.end) / UNIT.unsigned_abs() * UNIT.unsigned_abs();
        let gap = if was_lost { gap.min(MOST_CONCEALED) } else { gap };
        self.end += gap;
        if was_lost {
            // What is still missing behind it is silence.
            self.next = None;
            return Piece::Lost(gap);
        }
        Piece::Silence(gap)
    }

    /// Where the packet belongs. It is never after it came, whatever its sender says.
    fn place(&mut self, key: (u32, i64)) -> Option<u64> {
        let Waiting { time, arrived, starts, .. } = self.waiting.get(&key)?;
        let by_time = self.anchor.map(|(of, at)| at.cast_signed() + i64::from(time.since(of)) * UNIT);
        let near =
            by_time.filter(|at| (at - arrived.cast_signed()).abs() < MOST_APART).map(|at| at.max(0).unsigned_abs());
        let near = near.filter(|at| !starts || at.abs_diff(*arrived) <= MOST_ASTRAY);
        let at = near.unwrap_or(*arrived);
        self.anchor = Some((*time, at));
        Some(at)
    }

    /// Whether the frame is of the stream at hand, which may begin with it.
    fn follow(&mut self, frame: &Frame<'_>) -> bool {
        if self.stream == Some(frame.stream) {
            return true;
        }
        if self.former == Some(frame.stream) && !frame.flags.has(Flags::TALKSPURT_START) {
            return false;
        }
        self.former = self.stream.replace(frame.stream);
        self.restart(frame);
        true
    }

    fn restart(&mut self, frame: &Frame<'_>) {
        self.streams += 1;
        self.highest = i64::from(frame.seq);
        self.anchor = None;
    }

    fn wait(&mut self, seq: i64, opus: &[u8], waiting: Waiting) {
        let key = (self.streams, seq);
        let is_over = self.next.is_some_and(|next| key < next);
        let is_there = self.waiting.get(&key).is_some_and(|there| !there.is_copy || waiting.is_copy);
        if !is_over && !is_there && self.waiting.len() <= 2 * MOST_WAITING {
            self.waiting.insert(key, Waiting { opus: opus.to_vec(), ..waiting });
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::voice::Copy;

    use super::*;

    /// An Opus packet of 10 ms that is known by its second byte.
    fn opus(n: u8) -> [u8; 2] {
        [30 << 3, n]
    }

    /// Takes frame `n` of a stream at its time, or later, and gives what is written then.
    fn push(track: &mut Track, n: u16, late: u64, flags: Flags, copies: &[u8]) -> Vec<Piece> {
        let own = opus(n as u8);
        let packets: Vec<_> = copies.iter().map(|back| (*back, opus(n as u8 - back))).collect();
        let copies = packets.iter().map(|(back, opus)| Copy { back: *back, opus }).collect();
        let frame = Frame { stream: 1, seq: n, time: MediaTime(u32::from(n) * 4), flags, level: 0, opus: &own, copies };
        let now = u64::from(n) * 480 + late;
        track.push(&frame, now);
        drain(track, now)
    }

    fn drain(track: &mut Track, now: u64) -> Vec<Piece> {
        std::iter::from_fn(|| track.pop(now)).collect()
    }

    fn packets(numbers: impl IntoIterator<Item = u8>) -> Vec<Piece> {
        numbers.into_iter().map(|n| Piece::Packet(opus(n).to_vec())).collect()
    }

    const NONE: Flags = Flags(0);

    #[test]
    fn what_comes_in_order_is_written_at_once_and_what_came_before_the_first_is_silence() {
        let mut track = Track::default();
        assert_eq!(push(&mut track, 10, 0, NONE, &[]), [&[Piece::Silence(4800)], &packets([10])[..]].concat());
        assert_eq!(push(&mut track, 11, 0, NONE, &[]), packets([11]));
    }

    #[test]
    fn a_late_frame_and_a_copy_fill_the_gap_and_nothing_is_written_twice() {
        let mut track = Track::default();
        push(&mut track, 0, 0, NONE, &[]);
        assert_eq!(push(&mut track, 2, 0, NONE, &[]), []);
        assert_eq!(push(&mut track, 1, 900, NONE, &[]), packets([1, 2]));
        assert_eq!(push(&mut track, 1, 950, NONE, &[]), []);
        assert_eq!(push(&mut track, 4, 0, NONE, &[]), []);
        assert_eq!(push(&mut track, 5, 0, NONE, &[2]), packets([3, 4, 5]));
    }

    #[test]
    fn what_never_comes_is_left_to_concealment_and_a_long_gap_is_silence_behind_it() {
        let mut track = Track::default();
        push(&mut track, 0, 0, NONE, &[]);
        assert_eq!(push(&mut track, 3, 0, NONE, &[]), []);
        assert_eq!(drain(&mut track, 3 * 480 + HOLD), [&[Piece::Lost(960)], &packets([3])[..]].concat());
        push(&mut track, 64, 0, NONE, &[]);
        let gap = [Piece::Lost(MOST_CONCEALED), Piece::Silence(60 * 480 - MOST_CONCEALED)];
        assert_eq!(drain(&mut track, 64 * 480 + HOLD), [&gap, &packets([64])[..]].concat());
    }

    #[test]
    fn between_talkspurts_there_is_silence_and_who_went_astray_is_where_it_is_heard() {
        let mut track = Track::default();
        push(&mut track, 0, 0, NONE, &[]);
        let mut later = |n: u16, time: u32, now: u64| {
            let own = opus(n as u8);
            let (time, flags) = (MediaTime(time), Flags::TALKSPURT_START);
            track.push(&Frame { stream: 1, seq: n, time, flags, level: 0, opus: &own, copies: Vec::new() }, now);
            drain(&mut track, now)
        };
        assert_eq!(later(1, 400, 48_000), [&[Piece::Silence(47_520)], &packets([1])[..]].concat());
        assert_eq!(later(2, 800, 100_800), [&[Piece::Silence(52_320)], &packets([2])[..]].concat());
    }

    #[test]
    fn whatever_a_speaker_claims_no_more_is_written_than_time_has_passed_and_nothing_waits_for_ever() {
        let mut random = 1_u64;
        let mut next = move || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            random >> 33
        };
        let mut track = Track::default();
        let (mut now, mut said) = (0, 0);
        for n in 0..20_000_u64 {
            now += next() % 960;
            let own = opus(n as u8);
            let garbage = [next() as u8, next() as u8, next() as u8];
            let is_odd = next().is_multiple_of(4);
            let frame = Frame {
                stream: if next().is_multiple_of(50) { next() as u8 } else { 1 },
                seq: if is_odd { next() as u16 } else { n as u16 },
                time: MediaTime(if is_odd { next() as u32 } else { n as u32 * 4 }),
                flags: Flags(next() as u8),
                level: 0,
                opus: if next().is_multiple_of(8) { &garbage } else { &own },
                copies: vec![Copy { back: next() as u8, opus: &own }; (next() % 3) as usize],
            };
            track.push(&frame, now);
            for piece in drain(&mut track, now) {
                match piece {
                    Piece::Packet(opus) => said += codec::packet_samples(&opus).expect("a packet") as u64,
                    Piece::Lost(gap) | Piece::Silence(gap) => assert!(gap > 0 && gap.is_multiple_of(120)),
                }
            }
            assert!(track.waiting.len() <= 2 * MOST_WAITING + 1, "{} wait", track.waiting.len());
            assert!(track.end <= now + said + 48_000, "{} of {now} after {n}", track.end);
        }
    }
}
