//! Takes away what is too low for a voice.

use std::f32::consts::{PI, TAU};

use crate::RATE;
use crate::bands::{BANDS, PART};

/// 3 dB are gone at this frequency, and 24 dB more with each octave below it.
const CUT_HZ: f32 = 90.0;

/// A Butterworth filter of order 4 for the lowest band, as two filters of order 2.
#[derive(Clone, Debug)]
pub(crate) struct HighPass([Section; 2]);

/// A filter of order 2 (after Bristow-Johnson, Audio EQ Cookbook), transposed direct form II.
#[derive(Clone, Debug)]
struct Section {
    /// What the latest sample counts; the one before it counts twice that, negated; the one before that as much.
    b: f32,
    a: [f32; 2],
    state: [f32; 2],
}

impl HighPass {
    pub(crate) fn new() -> Self {
        Self([PI / 8.0, 3.0 * PI / 8.0].map(|angle| Section::new(0.5 / angle.cos())))
    }

    pub(crate) fn treat(&mut self, band: &mut [f32; PART]) {
        let [first, second] = &mut self.0;
        band.iter_mut().for_each(|sample| *sample = second.treat(first.treat(*sample)));
    }
}

impl Section {
    fn new(q: f32) -> Self {
        let (sin, cos) = (TAU * CUT_HZ * BANDS as f32 / RATE as f32).sin_cos();
        let alpha = sin / (2.0 * q);
        let whole = 1.0 + alpha;
        Self { b: (1.0 + cos) / 2.0 / whole, a: [-2.0 * cos / whole, (1.0 - alpha) / whole], state: [0.0; 2] }
    }

    fn treat(&mut self, sample: f32) -> f32 {
        let in_part = self.b * sample;
        let out = in_part + self.state[0];
        self.state = [-2.0 * in_part - self.a[0] * out + self.state[1], in_part - self.a[1] * out];
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voices_stay_and_what_is_lower_goes() {
        for (hz, range) in [(20.0, -60.0..-24.0), (90.0, -3.5..-2.5), (200.0, -0.5..0.1), (4000.0, -0.1..0.1)] {
            let mut filter = HighPass::new();
            let mut loudest = 0.0_f32;
            for n in 0..100 {
                let rate = RATE as f32 / BANDS as f32;
                let mut band = std::array::from_fn(|i| ((n * PART + i) as f32 * hz / rate * TAU).sin());
                filter.treat(&mut band);
                if n >= 50 {
                    loudest = band.iter().fold(loudest, |loudest, sample| loudest.max(sample.abs()));
                }
            }
            let db = 20.0 * loudest.log10();
            assert!(range.contains(&db), "{hz} Hz: {db:.1} dB");
        }
    }
}
