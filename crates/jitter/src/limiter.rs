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

    /// Limits `sound` and tells whether it had to.
    pub(crate) fn limit(&mut self, sound: &mut [f32]) -> bool {
        if self.gain == 1.0 && sound.iter().all(|sample| sample.abs() <= THRESHOLD) {
            return false;
        }
        for sample in sound {
            if !sample.is_finite() {
                *sample = 0.0;
            }
            self.gain += (1.0 - self.gain) * RELEASE;
            self.gain = if self.gain > ALMOST { 1.0 } else { self.gain };
            if sample.abs() * self.gain > THRESHOLD {
                self.gain = THRESHOLD / sample.abs();
            }
            *sample = (*sample * self.gain).clamp(-THRESHOLD, THRESHOLD);
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
        assert!(!Limiter::new().limit(&mut sound));
        assert_eq!(sound, tone(0.89, 4800));
    }

    #[test]
    fn loud_sound_stays_below_the_threshold_and_keeps_its_shape() {
        let mut sound = tone(3.0, 4800);
        assert!(Limiter::new().limit(&mut sound));
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
        limiter.limit(&mut [2.0; 10]);
        limiter.limit(&mut [0.0; 48_000]);

        let mut sound = [0.5; 10];
        assert!(!limiter.limit(&mut sound));
        assert_eq!(sound, [0.5; 10]);
    }

    #[test]
    fn what_is_no_number_is_silence() {
        let mut sound = [f32::NAN, f32::INFINITY, 0.25];
        Limiter::new().limit(&mut sound);
        assert_eq!(sound, [0.0, 0.0, 0.25]);
    }
}
