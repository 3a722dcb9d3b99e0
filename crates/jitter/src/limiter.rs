//! Keeps a sum below full scale; what is below the threshold passes unchanged.

/// -1 dBFS.
const THRESHOLD: f32 = 0.891_250_9;
/// The gain comes back to 1 by this share of the difference with each sample: 80 ms.
const RELEASE: f32 = 1.0 / 3840.0;
/// From here on the gain is 1 again, exactly.
const ALMOST: f32 = 0.999;

#[derive(Debug)]
pub(crate) struct Limiter {
    gain: f32,
}

impl Limiter {
    pub(crate) fn new() -> Self {
        Self { gain: 1.0 }
    }

    /// Limits `sound`, whose interleaved channels get one gain, and tells whether it had to.
    pub(crate) fn limit(&mut self, sound: &mut [f32], channels: usize) -> bool {
        if self.gain == 1.0 && sound.iter().all(|sample| sample.abs() <= THRESHOLD) {
            return false;
        }
        for sample in sound.chunks_mut(channels) {
            sample.iter_mut().filter(|value| !value.is_finite()).for_each(|value| *value = 0.0);
            let peak = sample.iter().fold(0.0, |peak: f32, value| peak.max(value.abs()));
            self.gain += (1.0 - self.gain) * RELEASE;
            self.gain = if self.gain > ALMOST { 1.0 } else { self.gain };
            if peak * self.gain > THRESHOLD {
                self.gain = THRESHOLD / peak;
            }
            sample.iter_mut().for_each(|value| *value = (*value * self.gain).clamp(-THRESHOLD, THRESHOLD));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(peak: f32, len: usize) -> Vec<f32> {
        (0..len).map(|i| peak * (i as f32 * 0.05).sin()).collect()
    }

    #[test]
    fn quiet_sound_passes_bit_by_bit() {
        let mut sound = tone(0.89, 4800);
        assert!(!Limiter::new().limit(&mut sound, 1));
        assert_eq!(sound, tone(0.89, 4800));
    }

    #[test]
    fn loud_sound_stays_below_the_threshold_and_keeps_its_shape() {
        let mut sound = tone(3.0, 4800);
        assert!(Limiter::new().limit(&mut sound, 1));
        assert!(sound.iter().all(|sample| sample.abs() <= THRESHOLD));
        let half = sound[4000..].iter().filter(|sample| sample.abs() > 0.5 * THRESHOLD).count();
        assert!(
            (500..=560).contains(&half),
            "a sine is above half its peak for two thirds of the time, not {half} of 800"
        );
    }

    #[test]
    fn the_gain_comes_back() {
        let mut limiter = Limiter::new();
        limiter.limit(&mut [2.0; 10], 1);
        limiter.limit(&mut [0.0; 48_000], 1);

        let mut sound = [0.5; 10];
        assert!(!limiter.limit(&mut sound, 1));
        assert_eq!(sound, [0.5; 10]);
    }

    #[test]
    fn what_is_no_number_is_silence() {
        let mut sound = [f32::NAN, f32::INFINITY, 0.25];
        Limiter::new().limit(&mut sound, 1);
        assert_eq!(sound, [0.0, 0.0, 0.25]);
    }

    #[test]
    fn a_loud_side_takes_the_other_one_with_it_so_that_nothing_moves_across() {
        let mut sound: Vec<f32> = tone(3.0, 4800).into_iter().flat_map(|sample| [sample, sample / 4.0]).collect();
        assert!(Limiter::new().limit(&mut sound, 2));
        let is_in_place = |sample: &[f32]| (sample[0] / 4.0 - sample[1]).abs() < 1e-6;
        assert!(sound.chunks_exact(2).all(|sample| sample[0].abs() <= THRESHOLD && is_in_place(sample)));
    }
}
