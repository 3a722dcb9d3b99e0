//! Decoded sound on the sender's time line, and the place at which it is read.

use crate::resample;

/// Samples before the read position that stay, for stretching and resampling.
const HISTORY: usize = 1440;
/// Room at the start; a few of the longest packets.
const ROOM: usize = 4 * crate::toc::MAX_PACKET_SAMPLES;
/// 2.5 ms, over which one sound gives way to another.
pub(crate) const FADE: usize = 120;

/// Sound around the read position. Reading moves by whole samples unless a ratio was given.
#[derive(Debug)]
pub(crate) struct Pcm {
    samples: Vec<f32>,
    read: usize,
    /// How far the read position is beyond `read`, 0 up to 1.
    phase: f64,
}

impl Pcm {
    pub(crate) fn new() -> Self {
        let mut samples = Vec::with_capacity(ROOM);
        samples.resize(HISTORY, 0.0);
        Self { samples, read: HISTORY, phase: 0.0 }
    }

    /// Samples decoded and not yet read.
    pub(crate) fn ahead(&self) -> usize {
        self.samples.len() - self.read
    }

    /// Samples before the read position.
    pub(crate) fn history(&self) -> usize {
        self.read
    }

    /// Sound from `offset` on, `len` samples.
    pub(crate) fn slice(&self, offset: isize, len: usize) -> &[f32] {
        let start = self.read.wrapping_add_signed(offset);
        &self.samples[start..start + len]
    }

    /// Appends `len` samples of silence and gives them to be overwritten.
    pub(crate) fn append(&mut self, len: usize) -> &mut [f32] {
        self.compact();
        let start = self.samples.len();
        self.samples.resize(start + len, 0.0);
        &mut self.samples[start..]
    }

    /// Takes back the last `len` samples, of those not read.
    pub(crate) fn truncate(&mut self, len: usize) {
        let len = len.min(self.ahead());
        self.samples.truncate(self.samples.len() - len);
    }

    /// Drops the first `skip` of the last `len` samples, so that the rest follows what was before them.
    pub(crate) fn cut(&mut self, len: usize, skip: usize) {
        let start = self.samples.len() - len;
        self.samples.drain(start..start + skip);
    }

    /// Blends the end of `old` into the last `len` samples.
    pub(crate) fn blend(&mut self, old: &[f32], len: usize) {
        let start = self.samples.len() - len;
        let fade = old.len().min(len);
        for (i, (sample, old)) in self.samples[start..start + fade].iter_mut().zip(old).enumerate() {
            let share = (i + 1) as f32 / (fade + 1) as f32;
            *sample = *sample * share + old * (1.0 - share);
        }
    }

    /// Makes the sound end without a click: what is not read fades out, or the last value does.
    pub(crate) fn fade_out(&mut self) {
        if self.ahead() == 0 {
            let last = self.samples[self.read - 1];
            if last == 0.0 {
                return;
            }
            self.append(FADE).fill(last);
        }
        let start = self.samples.len() - self.ahead().min(FADE);
        let len = self.samples.len() - start;
        for (i, sample) in self.samples[start..].iter_mut().enumerate() {
            *sample *= 1.0 - (i + 1) as f32 / len as f32;
        }
    }

    /// Moves the read position by `by`, with a cross-fade of `fade` samples between the sound here and there. Both have to be there.
    pub(crate) fn jump(&mut self, by: isize, fade: usize) {
        let mut here = [0.0; 2 * FADE];
        let here = &mut here[..fade.min(2 * FADE)];
        here.copy_from_slice(&self.samples[self.read..self.read + here.len()]);
        self.read = self.read.wrapping_add_signed(by);
        let len = here.len();
        for (i, (sample, here)) in self.samples[self.read..].iter_mut().zip(here).enumerate() {
            let share = (i + 1) as f32 / (len + 1) as f32;
            *sample = *sample * share + *here * (1.0 - share);
        }
    }

    /// Reads `out`, as it is.
    pub(crate) fn read(&mut self, out: &mut [f32]) {
        out.copy_from_slice(&self.samples[self.read..self.read + out.len()]);
        self.read += out.len();
    }

    /// Reads `out` with `ratio` samples of ours for each of the output.
    pub(crate) fn read_resampled(&mut self, out: &mut [f32], ratio: f64) {
        for sample in out {
            *sample = resample::between(&self.samples[self.read + 1 - resample::REACH..], self.phase);
            self.phase += ratio;
            let whole = self.phase as usize;
            self.phase -= whole as f64;
            self.read += whole;
        }
    }

    /// Reading continues at a whole sample.
    pub(crate) fn drop_phase(&mut self) {
        self.phase = 0.0;
    }

    /// Bytes of memory that hold sound.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.samples.capacity() * size_of::<f32>()
    }

    fn compact(&mut self) {
        if self.read >= 4 * HISTORY {
            self.samples.drain(..self.read - HISTORY);
            self.read = HISTORY;
        }
    }
}
