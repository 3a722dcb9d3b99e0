//! Brings a speaker to about the same loudness as the others: slowly, and only while it talks.

use crate::SAMPLE_RATE;

/// What a voice is brought to: -20 dBFS.
const TARGET_DB: f32 = -20.0;
/// It is made louder or softer by at most this.
const MOST_DB: f32 = 12.0;
/// So much voice is looked back on: 3 s.
const MEMORY: f32 = 3.0 * SAMPLE_RATE as f32;
/// So much voice has to be heard first: 300 ms.
const FIRST: f32 = 0.3 * SAMPLE_RATE as f32;
/// The gain changes by at most 3 dB in a second of voice: nobody hears it move.
const SLEW_DB: f32 = 3.0 / SAMPLE_RATE as f32;
/// A gain begins to move when it is off by this, and stands still again when it is off by less than that.
const OFF_DB: f32 = 1.0;
const CLOSE_DB: f32 = 0.1;

/// The loudness of one speaker's voice, and the gain that follows from it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loudness {
    /// Mean power of the voice heard lately.
    power: f32,
    /// How much voice that is, in samples, up to [`MEMORY`].
    heard: f32,
    gain_db: f32,
    is_moving: bool,
}

impl Loudness {
    /// Takes the mean power of the next `samples` samples of voice. Silence is not for it: it leaves everything as it is.
    pub(crate) fn note(&mut self, power: f32, samples: usize) {
        let len = samples as f32;
        self.heard = (self.heard + len).min(MEMORY);
        self.power += (power.min(1.0) - self.power) * (len / self.heard).min(1.0);
        if self.heard < FIRST {
            return;
        }
        let wanted = (TARGET_DB - 10.0 * self.power.log10()).clamp(-MOST_DB, MOST_DB);
        let wrong = wanted - self.gain_db;
        self.is_moving = wrong.abs() > if self.is_moving { CLOSE_DB } else { OFF_DB };
        if self.is_moving {
            self.gain_db += wrong.clamp(-SLEW_DB * len, SLEW_DB * len);
        }
    }

    /// How much louder to play the speaker, in decibels.
    pub(crate) fn gain_db(&self) -> f32 {
        self.gain_db
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 240;

    /// Somebody whose words are louder and softer by turns, ten times a second.
    #[derive(Default)]
    struct Talker {
        loudness: Loudness,
        blocks: usize,
    }

    impl Talker {
        /// The gain after so many more seconds of a voice at `db`.
        fn talk(&mut self, db: f32, seconds: f32) -> f32 {
            for _ in 0..(seconds * SAMPLE_RATE as f32) as usize / BLOCK {
                let swing = if (self.blocks / 10).is_multiple_of(2) { 2.6 } else { -7.4 }; // their mean power is that of no swing
                self.loudness.note(10_f32.powf((db + swing) / 10.0), BLOCK);
                self.blocks += 1;
            }
            self.loudness.gain_db()
        }
    }

    #[test]
    fn a_voice_comes_to_the_target_within_bounds() {
        for (db, gain) in [(-20.0, 0.0), (-26.0, 6.0), (-12.0, -8.0), (-45.0, 12.0), (-3.0, -12.0)] {
            let found = Talker::default().talk(db, 10.0);
            assert!((found - gain).abs() < 1.2, "{db} dBFS is played {found} dB louder, not {gain}");
        }
    }

    #[test]
    fn it_moves_slowly_and_stands_still_for_words_that_differ() {
        let mut talker = Talker::default();
        let mut last = 0.0;
        for _ in 0..1000 {
            let gain = talker.talk(-28.0, 0.005);
            assert!((gain - last).abs() <= 0.0151, "{last} to {gain} in 5 ms");
            last = gain;
        }
        let settled = talker.talk(-28.0, 20.0);
        let gains: Vec<f32> = (0..1000).map(|_| talker.talk(-28.0, 0.01)).collect();
        assert!(gains.iter().all(|gain| (gain - settled).abs() < 0.2), "{settled}: {gains:?}");
    }

    #[test]
    fn what_is_no_power_does_no_harm() {
        let mut loudness = Loudness::default();
        for power in [0.0, f32::INFINITY, 1e30, f32::MIN_POSITIVE] {
            (0..1000).for_each(|_| loudness.note(power, BLOCK));
            assert!(loudness.gain_db().abs() <= MOST_DB, "{power}");
        }
    }
}
