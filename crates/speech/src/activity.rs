//! Whether somebody speaks (`earshot`).

use std::fmt;

use earshot::Detector;

/// The detector wants 16 kHz: every third sample of a sound without what is above 8 kHz.
const STEP: usize = 3;
/// Samples of the detector's frames: 16 ms.
const FRAME: usize = 256;
/// Taps of the low-pass filter, 1 ms.
const TAPS: usize = 48;

/// Listens for a voice.
pub(crate) struct Activity {
    detector: Box<Detector>,
    taps: [f32; TAPS],
    /// The last samples at 48 kHz, twice in a row, so that any [`TAPS`] of them lie side by side.
    past: [f32; 2 * TAPS],
    at: usize,
    phase: usize,
    frame: [f32; FRAME],
    filled: usize,
    score: f32,
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activity").field("score", &self.score).finish_non_exhaustive()
    }
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self {
            detector: Detector::default_boxed(),
            taps: low_pass(),
            past: [0.0; 2 * TAPS],
            at: 0,
            phase: 0,
            frame: [0.0; FRAME],
            filled: 0,
            score: 0.0,
        }
    }

    /// Hears any number of samples at 48 kHz, all of them finite; how sure it is of a voice, from 0 to 1.
    pub(crate) fn hear(&mut self, samples: &[f32]) -> f32 {
        for sample in samples {
            self.past[self.at] = *sample;
            self.past[self.at + TAPS] = *sample;
            self.at = (self.at + 1) % TAPS;
            self.phase = (self.phase + 1) % STEP;
            if self.phase == 0 {
                self.take();
            }
        }
        self.score
    }

    fn take(&mut self) {
        let Some(past) = self.past[self.at..].first_chunk() else { return };
        let sample = product(past, &self.taps);
        self.frame[self.filled] = sample.clamp(-1.0, 1.0);
        self.filled = (self.filled + 1) % FRAME;
        if self.filled == 0 {
            self.score = self.detector.predict_f32(&self.frame);
        }
    }
}

/// The sum of products, in eight parts, for which there are instructions that take several at once.
fn product(one: &[f32; TAPS], other: &[f32; TAPS]) -> f32 {
    let mut parts = [0.0; 8];
    for (one, other) in one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0) {
        for (part, (one, other)) in parts.iter_mut().zip(one.iter().zip(other)) {
            *part += one * other;
        }
    }
    parts.iter().sum()
}

/// A windowed sinc that lets through what is below 7 kHz.
fn low_pass() -> [f32; TAPS] {
    const CUT: f32 = 7000.0 / 48_000.0;
    let mut taps = [0.0; TAPS];
    for (n, tap) in taps.iter_mut().enumerate() {
        let t = n as f32 - (TAPS - 1) as f32 / 2.0;
        let phase = std::f32::consts::TAU * CUT * t;
        let window = 0.5 - 0.5 * (std::f32::consts::TAU * (n as f32 + 0.5) / TAPS as f32).cos();
        *tap = 2.0 * CUT * phase.sin() / phase * window;
    }
    taps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_fold_over_is_filtered_out_and_voices_are_not() {
        let taps = low_pass();
        let gain = |hz: f32| {
            let phase = |n: usize| std::f32::consts::TAU * hz / 48_000.0 * n as f32;
            let (re, im): (Vec<_>, Vec<_>) =
                taps.iter().enumerate().map(|(n, tap)| (tap * phase(n).cos(), tap * phase(n).sin())).unzip();
            re.iter().sum::<f32>().hypot(im.iter().sum())
        };
        assert!([0.0, 300.0, 1000.0, 4000.0].iter().all(|hz| (gain(*hz) - 1.0).abs() < 0.02));
        assert!([9000.0, 12_000.0, 16_000.0, 20_000.0].iter().all(|hz| gain(*hz) < 0.01), "{}", gain(9000.0));
    }
}
