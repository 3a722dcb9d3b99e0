//! Where one sound is in another: cross-correlation by FFT.

use realfft::RealFftPlanner;

use super::sound::energy;

/// Where the best match is, and how good it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Match {
    /// How many samples later it is in the other sound.
    pub(super) lag: usize,
    /// 1 if it is the same but for its loudness, 0 if it has nothing in common.
    pub(super) likeness: f64,
}

/// Finds `sound` in `other`, which may be longer; `None` if either is silent.
pub(super) fn find(sound: &[f32], other: &[f32]) -> Option<Match> {
    let loudness = energy(sound).sqrt();
    if loudness == 0.0 || energy(other) == 0.0 || other.len() < sound.len() {
        return None;
    }
    let lags = other.len() - sound.len() + 1;
    let products = correlate(sound, other);
    let mut below = energy(&other[..sound.len()]);
    let least = loudness * 1e-3;
    let mut best: Option<Match> = None;
    for (lag, product) in products.iter().take(lags).enumerate() {
        if lag > 0 {
            let (gone, come) = (f64::from(other[lag - 1]), f64::from(other[lag + sound.len() - 1]));
            below += come * come - gone * gone;
        }
        // What is 60 dB quieter is not the same sound.
        let likeness = f64::from(*product) / (loudness * below.max(0.0).sqrt().max(least));
        if best.is_none_or(|best| likeness > best.likeness) {
            best = Some(Match { lag, likeness });
        }
    }
    best
}

/// The sum of products for each lag.
fn correlate(sound: &[f32], other: &[f32]) -> Vec<f32> {
    let len = (sound.len() + other.len()).next_power_of_two();
    let mut planner = RealFftPlanner::<f32>::new();
    let (forward, inverse) = (planner.plan_fft_forward(len), planner.plan_fft_inverse(len));
    let spectrum = |samples: &[f32]| {
        let mut time = samples.to_vec();
        time.resize(len, 0.0);
        let mut spectrum = forward.make_output_vec();
        forward.process(&mut time, &mut spectrum).expect("lengths are the plan's");
        spectrum
    };
    let (first, mut product) = (spectrum(sound), spectrum(other));
    for (other, sound) in product.iter_mut().zip(&first) {
        *other *= sound.conj();
    }
    // The spectrum of real sound is real at both ends; rounding may have left a trace.
    for end in [0, len / 2] {
        product[end].im = 0.0;
    }
    let mut time = inverse.make_output_vec();
    inverse.process(&mut product, &mut time).expect("lengths are the plan's");
    time.iter_mut().for_each(|sample| *sample /= len as f32);
    time
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::noise;
    use super::*;

    #[test]
    fn a_sound_is_found_where_it_is_however_loud() {
        let sound = noise(1, 1000);
        for (lag, gain) in [(0, 1.0), (1, 0.01), (777, 30.0)] {
            let mut other = vec![0.0; 3000];
            for (at, sample) in sound.iter().enumerate() {
                other[lag + at] = sample * gain;
            }
            let found = find(&sound, &other).expect("a match");
            assert_eq!(found.lag, lag);
            assert!((found.likeness - 1.0).abs() < 1e-3, "{found:?}");
        }
    }

    #[test]
    fn strangers_are_unlike_and_silence_is_no_match() {
        let found = find(&noise(1, 4000), &noise(2, 9000)).expect("a match");
        assert!(found.likeness < 0.15, "{found:?}");
        assert_eq!(find(&noise(1, 100), &[0.0; 200]), None);
        assert_eq!(find(&[0.0; 100], &noise(1, 200)), None);
        assert_eq!(find(&noise(1, 100), &noise(1, 99)), None);
    }
}
