//! Decoded sound on the sender's time line, and the place at which it is read.

use crate::resample;

/// Samples before the read position that stay, for stretching and resampling.
const HISTORY: usize = 1440;
/// Room at the start; a few of the longest packets.
const ROOM: usize = 4 * crate::toc::MAX_PACKET_SAMPLES;
/// 2.5 ms, over which one sound gives way to another.
pub(crate) const FADE: usize = 120;
/// The most channels there are.
pub(crate) const MOST_CHANNELS: usize = 2;

/// Sound around the read position. Reading moves by whole samples unless a ratio was given.
///
/// All lengths and places are in samples of each channel; the sound itself is interleaved.
#[derive(Debug)]
pub(crate) struct Pcm {
    samples: Vec<f32>,
    channels: usize,
    read: usize,
    /// How far the read position is beyond `read`, 0 up to 1.
    phase: f64,
}

impl Pcm {
    /// Silence in one channel.
    pub(crate) fn new() -> Self {
        let mut samples = Vec::with_capacity(ROOM);
        samples.resize(HISTORY, 0.0);
        Self { samples, channels: 1, read: HISTORY, phase: 0.0 }
    }

    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Has so many channels from here on. What is there is heard in both of two, or its mean in one.
    pub(crate) fn reshape(&mut self, channels: usize) {
        let len = self.len();
        match (self.channels, channels) {
            (1, 2) => {
                self.samples.resize(2 * len, 0.0);
                for i in (0..len).rev() {
                    let sample = self.samples[i];
                    self.samples[2 * i..2 * i + 2].fill(sample);
                }
            }
            (2, 1) => {
                for i in 0..len {
                    self.samples[i] = f32::midpoint(self.samples[2 * i], self.samples[2 * i + 1]);
                }
                self.samples.truncate(len);
            }
            _ => return,
        }
        self.channels = channels;
    }

    /// Samples decoded and not yet read.
    pub(crate) fn ahead(&self) -> usize {
        self.len() - self.read
    }

    /// Samples before the read position.
    pub(crate) fn history(&self) -> usize {
        self.read
    }

    /// Sound from `offset` on, `len` samples.
    pub(crate) fn slice(&self, offset: isize, len: usize) -> &[f32] {
        let start = self.read.wrapping_add_signed(offset) * self.channels;
        &self.samples[start..start + len * self.channels]
    }

    /// Appends `len` samples of silence and gives them to be overwritten.
    pub(crate) fn append(&mut self, len: usize) -> &mut [f32] {
        self.compact();
        let start = self.samples.len();
        self.samples.resize(start + len * self.channels, 0.0);
        &mut self.samples[start..]
    }

    /// Takes back the last `len` samples, of those not read.
    pub(crate) fn truncate(&mut self, len: usize) {
        let len = len.min(self.ahead());
        self.samples.truncate(self.samples.len() - len * self.channels);
    }

    /// Drops the first `skip` of the last `len` samples, so that the rest follows what was before them.
    pub(crate) fn cut(&mut self, len: usize, skip: usize) {
        let start = self.samples.len() - len * self.channels;
        self.samples.drain(start..start + skip * self.channels);
    }

    /// Blends the end of `old` into the last `len` samples.
    pub(crate) fn blend(&mut self, old: &[f32], len: usize) {
        let start = self.samples.len() - len * self.channels;
        let fade = (old.len() / self.channels).min(len) * self.channels;
        cross_fade(&mut self.samples[start..start + fade], &old[..fade], self.channels);
    }

    /// Makes the sound end without a click: what is not read fades out, or the last value does.
    pub(crate) fn fade_out(&mut self) {
        if self.ahead() == 0 {
            let mut last = [0.0; MOST_CHANNELS];
            let last = &mut last[..self.channels];
            last.copy_from_slice(self.slice(-1, 1));
            if last.iter().all(|value| *value == 0.0) {
                return;
            }
            self.append(FADE).chunks_exact_mut(last.len()).for_each(|sample| sample.copy_from_slice(last));
        }
        let len = self.ahead().min(FADE);
        let start = self.samples.len() - len * self.channels;
        for (i, sample) in self.samples[start..].chunks_exact_mut(self.channels).enumerate() {
            sample.iter_mut().for_each(|value| *value *= 1.0 - (i + 1) as f32 / len as f32);
        }
    }

    /// Moves the read position by `by`, with a cross-fade of `fade` samples between the sound here and there. Both have to be there.
    pub(crate) fn jump(&mut self, by: isize, fade: usize) {
        let mut here = [0.0; 2 * FADE * MOST_CHANNELS];
        let here = &mut here[..fade.min(2 * FADE) * self.channels];
        let start = self.read * self.channels;
        here.copy_from_slice(&self.samples[start..start + here.len()]);
        self.read = self.read.wrapping_add_signed(by);
        let start = self.read * self.channels;
        let there = &mut self.samples[start..];
        let len = here.len().min(there.len());
        cross_fade(&mut there[..len], here, self.channels);
    }

    /// Reads `out`, as it is.
    pub(crate) fn read(&mut self, out: &mut [f32]) {
        let start = self.read * self.channels;
        out.copy_from_slice(&self.samples[start..start + out.len()]);
        self.read += out.len() / self.channels;
    }

    /// Reads `out` with `ratio` samples of ours for each of the output.
    pub(crate) fn read_resampled(&mut self, out: &mut [f32], ratio: f64) {
        if self.channels == 1 { self.resample::<1>(out, ratio) } else { self.resample::<2>(out, ratio) }
    }

    fn resample<const CHANNELS: usize>(&mut self, out: &mut [f32], ratio: f64) {
        for sample in out.as_chunks_mut::<CHANNELS>().0 {
            *sample = resample::between(&self.samples[(self.read + 1 - resample::REACH) * CHANNELS..], self.phase);
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

    fn len(&self) -> usize {
        self.samples.len() / self.channels
    }

    fn compact(&mut self) {
        if self.read >= 4 * HISTORY {
            self.samples.drain(..(self.read - HISTORY) * self.channels);
            self.read = HISTORY;
        }
    }
}

/// Lets `sound` begin as `old`, and go over to what it is.
fn cross_fade(sound: &mut [f32], old: &[f32], channels: usize) {
    let len = old.len() / channels;
    for (i, (sample, old)) in sound.chunks_exact_mut(channels).zip(old.chunks_exact(channels)).enumerate() {
        let share = (i + 1) as f32 / (len + 1) as f32;
        for (value, old) in sample.iter_mut().zip(old) {
            *value = *value * share + old * (1.0 - share);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples 1, 2, 3 ... on the left, and their negatives on the right.
    fn apart() -> Pcm {
        let mut pcm = Pcm::new();
        pcm.reshape(2);
        for (n, sample) in pcm.append(2400).chunks_exact_mut(2).enumerate() {
            sample.copy_from_slice(&[(n + 1) as f32, -((n + 1) as f32)]);
        }
        pcm
    }

    fn are_apart(sound: &[f32]) -> bool {
        sound.chunks_exact(2).all(|sample| sample[0] == -sample[1])
    }

    #[test]
    fn two_channels_stay_apart_whatever_is_done_to_them() {
        let mut pcm = apart();
        let mut out = [0.0; 960];
        pcm.read(&mut out);
        assert!(are_apart(&out) && out[958] == 480.0);
        pcm.jump(100, 2 * FADE);
        pcm.read(&mut out);
        assert!(are_apart(&out) && out[958] == 1060.0, "{out:?}");
        pcm.cut(1000, 10);
        pcm.blend(&[0.0; 2 * FADE], 990);
        pcm.read_resampled(&mut out, 1.0001);
        assert!(are_apart(&out), "{out:?}");
        pcm.truncate(usize::MAX);
        pcm.fade_out();
        let mut end = [0.0; 2 * FADE];
        pcm.read(&mut end);
        assert!(are_apart(&end) && end[0] > 0.0 && end[2 * FADE - 2] == 0.0, "{end:?}");
    }

    #[test]
    fn one_channel_is_heard_in_both_and_of_both_there_is_the_mean() {
        let mut pcm = Pcm::new();
        pcm.append(2).copy_from_slice(&[0.5, 0.25]);
        pcm.reshape(2);
        assert_eq!((pcm.ahead(), pcm.slice(0, 2)), (2, &[0.5, 0.5, 0.25, 0.25][..]));

        pcm.append(1).copy_from_slice(&[1.0, 0.0]);
        pcm.reshape(1);
        assert_eq!((pcm.ahead(), pcm.slice(0, 3)), (3, &[0.5, 0.25, 0.5][..]));
    }
}
