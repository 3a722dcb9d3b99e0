//! One rate to another, as the samples come.

use anyhow::{Context, Result};
use edge::{Exit, WithExit};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Async, FixedAsync, Resampler as _, SincInterpolationParameters, WindowFunction};

/// A resampler of fixed ratio, for one channel or several interleaved ones. Its delay is taken off at the start: the first sample out is the first sample in.
pub(crate) struct Resampler {
    inner: Async<f32>,
    channels: usize,
    from: u64,
    to: u64,
    chunk: Vec<f32>,
    filled: usize,
    block: Vec<f32>,
    /// Samples still to be dropped, which only come of the filter's delay.
    lead: usize,
    taken: u64,
    given: u64,
}

impl Resampler {
    /// For files: the filter is long, and so is its delay.
    pub(crate) fn precise(from: u32, to: u32, channels: usize) -> Result<Self> {
        Self::new(from, to, channels, (256, 1024))
    }

    /// For devices: a delay below a millisecond, in steps of 2.5 ms.
    pub(crate) fn quick(from: u32, to: u32, channels: usize) -> Result<Self> {
        Self::new(from, to, channels, (64, (from as usize / 400).max(1)))
    }

    /// A quick one, if there is anything to do.
    pub(crate) fn quick_if_needed(from: u32, to: u32, channels: usize) -> Result<Option<Self>> {
        (from != to).then(|| Self::quick(from, to, channels)).transpose()
    }

    /// These samples at the other rate, in `room`; the same ones where there is no other rate.
    pub(crate) fn apply<'a>(resampler: &mut Option<Self>, samples: &'a [f32], room: &'a mut Vec<f32>) -> &'a [f32] {
        let Some(resampler) = resampler else { return samples };
        room.clear();
        resampler.push(samples, room);
        room
    }

    fn new(from: u32, to: u32, channels: usize, (taps, chunk): (usize, usize)) -> Result<Self> {
        let ratio = f64::from(to) / f64::from(from);
        let filter = SincInterpolationParameters::new(taps, WindowFunction::BlackmanHarris2);
        let inner = Async::new_sinc(ratio, 1.0, &filter, chunk, channels, FixedAsync::Input)
            .with_context(|| format!("resample from {from} Hz to {to} Hz"))
            .exit(Exit::Data)?;
        let lead = inner.output_delay();
        let block = vec![0.0; inner.output_frames_max() * channels];
        Ok(Self {
            inner,
            channels,
            from: from.into(),
            to: to.into(),
            chunk: vec![0.0; chunk * channels],
            filled: 0,
            block,
            lead,
            taken: 0,
            given: 0,
        })
    }

    /// Takes samples and appends what comes of them to `out`.
    pub(crate) fn push(&mut self, mut samples: &[f32], out: &mut Vec<f32>) {
        self.taken += (samples.len() / self.channels) as u64;
        while !samples.is_empty() {
            let some = samples.len().min(self.chunk.len() - self.filled);
            self.chunk[self.filled..self.filled + some].copy_from_slice(&samples[..some]);
            self.filled += some;
            samples = &samples[some..];
            if self.filled == self.chunk.len() {
                self.filled = 0;
                self.step(out);
            }
        }
    }

    /// Appends what is left: in the end as long a time has come out as went in.
    pub(crate) fn finish(&mut self, out: &mut Vec<f32>) {
        let whole = (self.taken * self.to).div_ceil(self.from);
        let start = out.len();
        let before = self.given;
        while self.given < whole {
            self.chunk[self.filled..].fill(0.0);
            self.filled = 0;
            self.step(out);
        }
        out.truncate(start + (whole - before) as usize * self.channels);
        self.given = whole;
    }

    fn step(&mut self, out: &mut Vec<f32>) {
        let channels = self.channels;
        let (len, room) = (self.chunk.len() / channels, self.block.len() / channels);
        let given = {
            let input = InterleavedSlice::new(&self.chunk, channels, len);
            let output = InterleavedSlice::new_mut(&mut self.block, channels, room);
            let (Ok(input), Ok(mut output)) = (input, output) else { return };
            self.inner.process_into_buffer(&input, &mut output, None).map_or(0, |(_, given)| given)
        };
        let dropped = self.lead.min(given);
        self.lead -= dropped;
        out.extend_from_slice(&self.block[dropped * channels..given * channels]);
        self.given += (given - dropped) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_keeps_its_pitch_level_place_and_length() {
        for (from, to) in [(44_100, 48_000), (8_000, 48_000), (22_050, 48_000), (96_000, 48_000), (48_000, 16_000)] {
            let tone = |rate: u32, n: usize| {
                let second = f32::from(n as u16) / rate as f32;
                (second * 440.0 * std::f32::consts::TAU).sin()
            };
            let input: Vec<f32> = (0..from as usize / 2 + 17).map(|n| tone(from, n)).collect();
            let mut resampler = Resampler::precise(from, to, 1).expect("a resampler");
            let mut out = Vec::new();
            input.chunks(333).for_each(|some| resampler.push(some, &mut out));
            resampler.finish(&mut out);
            assert_eq!(out.len() as u64, (input.len() as u64 * u64::from(to)).div_ceil(from.into()), "{from} to {to}");
            let worst = (1000..out.len() - 1000).map(|n| (out[n] - tone(to, n)).abs()).fold(0.0, f32::max);
            // About a sample off at most: the delay of the filter is no whole number of them.
            assert!(worst < 1.2 * std::f32::consts::TAU * 440.0 / to as f32, "{from} to {to}: off by {worst}");
        }
    }

    #[test]
    fn what_is_at_the_right_rate_stays_as_it_is() {
        let (tone, mut room) = ([0.1, 0.2, 0.3], vec![9.0]);
        let mut none = Resampler::quick_if_needed(48_000, 48_000, 1).expect("a resampler");
        let mut one = Resampler::quick_if_needed(16_000, 48_000, 1).expect("a resampler");

        assert_eq!(Resampler::apply(&mut none, &tone, &mut room), tone);
        // What is in the room from before is gone.
        assert!(!Resampler::apply(&mut one, &tone, &mut room).contains(&9.0));
        let second = Resampler::apply(&mut one, &[0.1; 1600], &mut room).len();
        assert!((4000..=4800).contains(&second), "{second} samples of 4800");
    }

    #[test]
    fn each_of_two_channels_is_as_if_it_were_alone() {
        let tone = |hz: f32| -> Vec<f32> { (0..10_000).map(|n| (n as f32 * hz / 44_100.0).sin()).collect() };
        let sides = [tone(900.0), tone(2500.0)];
        let resampled = |channels, sound: &[f32]| {
            let mut resampler = Resampler::quick(44_100, 48_000, channels).expect("a resampler");
            let mut out = Vec::new();
            sound.chunks(500 * channels).for_each(|some| resampler.push(some, &mut out));
            resampler.finish(&mut out);
            out
        };
        let both: Vec<f32> = sides[0].iter().zip(&sides[1]).flat_map(|(left, right)| [*left, *right]).collect();

        let both = resampled(2, &both);

        for (n, side) in sides.iter().enumerate() {
            let alone = resampled(1, side);
            assert_eq!(both.len(), 2 * alone.len());
            assert!(both.iter().skip(n).step_by(2).zip(&alone).all(|(one, other)| (one - other).abs() < 1e-5));
        }
    }
}
