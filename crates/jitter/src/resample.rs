//! Values between samples, for a clock that runs a little faster or slower: a windowed sinc, exact at the samples.

use std::{f64::consts::PI, sync::OnceLock};

/// Samples needed on each side.
pub(crate) const REACH: usize = 16;
/// Samples that have to be there beyond those that are read.
pub(crate) const LOOK_AHEAD: usize = REACH + 2;
const TAPS: usize = 2 * REACH;
const PHASES: usize = 256;
/// Shape of the Kaiser window: side lobes below -90 dB.
const BETA: f64 = 9.0;

/// The value `phase` (0 up to 1) after sample [`REACH`]` - 1` of `samples`, in each of the interleaved channels.
pub(crate) fn between<const CHANNELS: usize>(samples: &[f32], phase: f64) -> [f32; CHANNELS] {
    let table = table();
    let place = phase * PHASES as f64;
    let index = (place as usize).min(PHASES - 1);
    let part = (place - index as f64) as f32;
    let (near, far) = (&table[index], &table[index + 1]);
    let (mut a, mut b) = ([0.0; CHANNELS], [0.0; CHANNELS]);
    for ((sample, near), far) in samples.as_chunks::<CHANNELS>().0[..TAPS].iter().zip(near).zip(far) {
        for channel in 0..CHANNELS {
            a[channel] += sample[channel] * near;
            b[channel] += sample[channel] * far;
        }
    }
    std::array::from_fn(|channel| a[channel] + (b[channel] - a[channel]) * part)
}

fn table() -> &'static [[f32; TAPS]; PHASES + 1] {
    static TABLE: OnceLock<Box<[[f32; TAPS]; PHASES + 1]>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = Box::new([[0.0; TAPS]; PHASES + 1]);
        for (index, taps) in table.iter_mut().enumerate() {
            for (tap, value) in taps.iter_mut().enumerate() {
                let distance = tap as f64 - (REACH - 1) as f64 - index as f64 / PHASES as f64;
                *value = (sinc(distance) * kaiser(distance / REACH as f64)) as f32;
            }
            let sum: f32 = taps.iter().sum();
            taps.iter_mut().for_each(|value| *value /= sum);
        }
        table
    })
}

/// Makes the table, so that the first use in a hurry does not.
pub(crate) fn prepare() {
    table();
}

fn sinc(x: f64) -> f64 {
    if x.fract() == 0.0 { f64::from(u8::from(x == 0.0)) } else { (PI * x).sin() / (PI * x) }
}

fn kaiser(x: f64) -> f64 {
    bessel((1.0 - x * x).max(0.0).sqrt() * BETA) / bessel(BETA)
}

/// The modified Bessel function of order zero, by its series.
fn bessel(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..40 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_given_back_as_it_is() {
        let samples: Vec<f32> = (0..TAPS).map(|i| (i as f32 * 0.7).sin()).collect();

        assert_eq!(between(&samples, 0.0), [samples[REACH - 1]]);
    }

    #[test]
    fn a_tone_between_samples_is_80_db_true() {
        for hz in [200.0, 1000.0, 4000.0, 8000.0] {
            let tone = |at: f64| (at * hz / 48_000.0 * 2.0 * PI).sin();
            let samples: Vec<f32> = (0..TAPS).map(|i| tone(i as f64) as f32).collect();
            for step in 0..97 {
                let phase = f64::from(step) / 97.0;
                let [found] = between(&samples, phase);
                let error = (f64::from(found) - tone((REACH - 1) as f64 + phase)).abs();
                assert!(error < 1e-4, "{hz} Hz at {phase}: {error}");
            }
        }
    }

    #[test]
    fn each_channel_is_as_if_it_were_alone() {
        let left: Vec<f32> = (0..TAPS).map(|i| (i as f32 * 0.7).sin()).collect();
        let right: Vec<f32> = (0..TAPS).map(|i| (i as f32 * 0.2).cos()).collect();
        let both: Vec<f32> = left.iter().zip(&right).flat_map(|(left, right)| [*left, *right]).collect();

        let [[left], [right]] = [&left, &right].map(|side| between(side, 0.3));
        assert_eq!(between(&both, 0.3), [left, right]);
    }
}
