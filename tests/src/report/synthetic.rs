//! Signals for the tests, simple enough to be made again in another language.

use std::f64::consts::TAU;

/// White noise from -1 to 1.
pub(super) fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f64 / f64::from(1 << 23) - 1.0) as f32
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Harmonics of a voice that glides, each with its own rhythm, 1.4 s of each 2 s.
pub(super) fn talk(rate: u32, seconds: f64) -> Vec<f32> {
    let sample = |n: usize| {
        let t = n as f64 / f64::from(rate);
        let phase = 120.0 * t + 4.0 * (TAU * 0.7 * t).sin();
        let harmonic = |h: u32| {
            let h = f64::from(h);
            let rhythm = 0.5 + 0.5 * (TAU * (1.1 + 0.37 * h) * t + h).sin();
            (TAU * h * phase + h * h).sin() * rhythm / h.sqrt()
        };
        let is_loud = t % 2.0 < 1.4;
        if is_loud { (0.1 * (1..=25).map(harmonic).sum::<f64>()) as f32 } else { 0.0 }
    };
    (0..(seconds * f64::from(rate)) as usize).map(sample).collect()
}
