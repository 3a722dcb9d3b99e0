//! What is played where a frame is missing, or comes after its time.

use super::{CALM, CATCH_UP, PIECE, Playout, URGENT};
use crate::{
    Decode,
    moment::Moment,
    pcm::{FADE, MOST_CHANNELS},
    store::Head,
};

/// Made-up sound keeps its loudness for this long ...
pub(super) const HOLD: usize = 2400;
/// ... and is silence after this long: 120 ms.
const GONE: usize = 5760;
/// Sound that is made up, or told of by a later packet, is made in whole 2.5 ms.
const UNIT: usize = 120;
/// Of a frame this much late, what should have been heard is skipped; of more, all is played: 20 ms.
const SKIPPED: i64 = 960;
/// So many late frames in a row are a delay that stays.
const LATE_RUN: u32 = 2;

impl<D: Decode> Playout<D> {
    /// A frame comes when sound was made up for `overdue` samples of it: how much of it to skip. What was made up and not
    /// heard yet is taken back.
    pub(super) fn late(&mut self, overdue: i64, moment: &Moment<'_>) -> usize {
        self.counts.late += 1;
        self.late_run += 1;
        self.calm = CALM;
        let unheard = self.missed.min(self.pcm.ahead()).min(overdue as usize);
        self.pcm.truncate(unheard);
        self.missed -= unheard;
        self.made_up -= unheard as u64;
        self.end -= unheard as i64;
        let overdue = overdue - unheard as i64;
        let ahead = self.pcm.ahead() as i64;
        let wish = moment.wish(self.end - ahead, ahead, self.frame as i64);
        let is_kept = overdue > SKIPPED || self.late_run >= LATE_RUN || wish < 0;
        self.is_catching_up |= is_kept && overdue > URGENT;
        if is_kept { 0 } else { overdue as usize }
    }

    /// How made-up sound would go on, to blend a real frame into; of one channel the first half is filled.
    pub(super) fn continuation(&mut self) -> [f32; FADE * MOST_CHANNELS] {
        let mut sound = [0.0; PIECE * MOST_CHANNELS];
        if self.missed < GONE {
            self.decoder.conceal(&mut sound[..PIECE * self.pcm.channels()]);
        }
        let mut before = [0.0; FADE * MOST_CHANNELS];
        before.copy_from_slice(&sound[..FADE * MOST_CHANNELS]);
        before.iter_mut().for_each(|sample| *sample *= loudness(self.missed));
        before
    }

    /// Frames are missing before `frame`, which is there.
    pub(super) fn bridge(&mut self, frame: Head) {
        let gap = frame.time - self.end;
        if gap <= 0 {
            self.next = Some(frame.seq);
        } else if self.is_ended {
            self.fall_silent();
        } else if frame.shape.has_previous && gap <= self.frame as i64 && frame.shape.samples <= self.frame {
            self.play_previous_of(frame, gap as usize);
        } else if !self.play_deep(&frame) {
            self.conceal(PIECE.min(gap as usize));
        }
    }

    /// Where to begin with `frame` after silence, and with which number, if `next` was the next one.
    pub(super) fn onset(&mut self, frame: &Head, next: i64) -> (i64, i64) {
        if !self.has_played || frame.seq <= next || frame.starts() {
            return (frame.seq, frame.time);
        }
        match self.earliest_told(frame, next) {
            Some(start) => {
                self.is_catching_up = true;
                (next, start)
            }
            None if frame.shape.has_previous => (frame.seq - 1, frame.time - self.frame as i64),
            None => (frame.seq, frame.time),
        }
    }

    /// After an outage, when made-up sound has begun to fade: goes back to where it began, if a packet tells what was
    /// missed. What it says is played late, and caught up with.
    pub(super) fn rewind(&mut self, frame: &Head) -> bool {
        let Some(next) = self.next.filter(|next| self.missed > HOLD && frame.seq > *next) else { return false };
        let Some(start) = self.earliest_told(frame, next).filter(|start| *start < self.end) else { return false };
        let before = self.continuation();
        let unheard = self.missed.min(self.pcm.ahead());
        self.pcm.truncate(unheard);
        self.made_up -= unheard as u64;
        (self.end, self.missed, self.is_catching_up) = (start, 0, true);
        if self.play_deep(frame) {
            self.pcm.blend(&before[..FADE * self.pcm.channels()], PIECE.min((frame.time - start) as usize));
        }
        true
    }

    /// When that part of the sound that is missing before `frame` begins of which a packet tells that is there.
    fn earliest_told(&mut self, frame: &Head, next: i64) -> Option<i64> {
        let Self { store, decoder, .. } = self;
        let later = store.deep_from(frame.seq).next()?;
        let told = later.time - decoder.deep_reach(store.opus(later.seq)) as i64;
        let sent = frame.time - (frame.seq - next) * self.frame as i64;
        let missing = self.end - self.missed as i64;
        let start = told.max(sent).max(missing).max(frame.time - CATCH_UP);
        (start < frame.time).then_some(start)
    }

    /// Plays a piece of what is missing before `frame`, from what that or one soon after it tells of it.
    pub(super) fn play_deep(&mut self, frame: &Head) -> bool {
        let len = PIECE.min((frame.time - self.end).max(0) as usize);
        let Some(later) = self.store.deep_from(frame.seq).next().filter(|_| len > 0) else { return false };
        let made = len.next_multiple_of(UNIT);
        let before = usize::try_from(later.time - self.end).unwrap_or(0);
        let out = self.pcm.append(made);
        let is_told = self.decoder.decode_deep(self.store.opus(later.seq), before, out).is_ok();
        if !is_told {
            self.pcm.truncate(made);
            return false;
        }
        self.pcm.truncate(made - len);
        self.end += len as i64;
        self.missed = 0;
        self.counts.deep += len as u64;
        true
    }

    /// Plays the last `gap` samples of the lost frame before `frame`, from what that says of it.
    fn play_previous_of(&mut self, frame: Head, gap: usize) {
        let (len, channels) = (self.frame, self.pcm.channels());
        let out = self.pcm.append(len);
        if self.decoder.decode_fec(self.store.opus(frame.seq), out).is_err() {
            conceal_all(&mut self.decoder, out, channels);
            self.made_up += gap as u64;
        } else {
            self.counts.from_next += 1;
        }
        self.pcm.cut(len, len - gap);
        self.end = frame.time;
        self.missed = 0;
        self.next = Some(frame.seq);
    }

    pub(super) fn conceal(&mut self, len: usize) {
        if self.missed >= GONE {
            return self.fall_silent();
        }
        let len = len.min(self.frame);
        let made = len.next_multiple_of(UNIT);
        let channels = self.pcm.channels();
        let out = self.pcm.append(made);
        self.decoder.conceal(out);
        for (i, sample) in out.chunks_exact_mut(channels).enumerate() {
            let loudness = loudness(self.missed + i);
            sample.iter_mut().for_each(|value| *value *= loudness);
        }
        self.pcm.truncate(made - len);
        self.missed += len;
        self.end += len as i64;
        self.calm = CALM;
        self.made_up += len as u64;
    }
}

/// How loud made-up sound is after `missed` samples of it.
fn loudness(missed: usize) -> f32 {
    (1.0 - missed.saturating_sub(HOLD) as f32 / (GONE - HOLD) as f32).clamp(0.0, 1.0)
}

pub(super) fn conceal_all<D: Decode>(decoder: &mut D, out: &mut [f32], channels: usize) {
    out.chunks_mut(PIECE * channels).for_each(|piece| decoder.conceal(piece));
}
