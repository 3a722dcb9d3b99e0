//! What is missing at the start and at the end of a talk.
//!
//! Both envelopes are compared in steps: a step of speech that comes much quieter than it was said did not come. What
//! counts is how much of the speech goes by before the first step that came, and how much was said after the last.

use crate::report::Sound;

/// The resolution.
const STEP_MS: usize = 5;
/// Steps that are this much below the loudest are pauses.
const PAUSE_DB: f64 = 35.0;
/// What comes this much quieter did not come. Codecs smear a loud step over its neighbours, and change levels a little.
const LOST_DB: f64 = 12.0;

/// Milliseconds of speech missing at the start and at the end. `heard` has been moved back to when it was said.
pub(super) fn missing(said: &Sound, heard: &Sound) -> [f64; 2] {
    let step = said.samples_of(STEP_MS);
    let (said, heard) = (said.levels(step), heard.levels(step));
    let loudest = said.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let steps = said.iter().zip(heard).filter(|(said, _)| **said > loudest - PAUSE_DB);
    let came: Vec<bool> = steps.map(|(said, heard)| heard > said - LOST_DB).collect();
    let missing = |steps: usize| (steps * STEP_MS) as f64;
    [
        missing(came.iter().take_while(|came| !**came).count()),
        missing(came.iter().rev().take_while(|came| !**came).count()),
    ]
}

/// The sound from its first to its last step of speech: nothing before it and nothing after it.
pub(super) fn trimmed(sound: &Sound) -> Sound {
    let step = sound.samples_of(STEP_MS);
    let levels = sound.levels(step);
    let loudest = levels.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let is_speech = |level: &f64| *level > loudest - PAUSE_DB;
    let first = levels.iter().position(is_speech).unwrap_or(0) * step;
    let end = levels.iter().rposition(is_speech).map_or(0, |last| (last + 1) * step).min(sound.samples.len());
    Sound { samples: sound.samples[first..end.max(first)].to_vec(), ..sound.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(samples: Vec<f32>) -> Sound {
        Sound { rate: 16_000, samples, start_unix_ns: 0 }
    }

    /// Loud, then a pause, then loud: 100 ms each.
    fn said() -> Sound {
        let loud = |n: usize| if (1600..3200).contains(&n) { 0.0 } else { 0.5 * (n as f32 * 0.3).sin() };
        sound((0..4800).map(loud).collect())
    }

    fn heard(present: std::ops::Range<usize>) -> Sound {
        let samples = said().samples.into_iter().enumerate();
        sound(samples.map(|(n, sample)| if present.contains(&n) { sample * 0.7 } else { 0.0 }).collect())
    }

    #[test]
    fn what_is_missing_is_told_for_both_ends() {
        assert_eq!(missing(&said(), &heard(0..4800)), [0.0, 0.0]);
        assert_eq!(missing(&said(), &heard(480..4800)), [30.0, 0.0]);
        assert_eq!(missing(&said(), &heard(0..4320)), [0.0, 30.0]);
        assert_eq!(missing(&said(), &heard(0..0)), [200.0, 200.0], "nothing came: the pause does not count");
    }

    #[test]
    fn silence_around_is_trimmed_and_pauses_stay() {
        let mut around = vec![0.0; 800];
        around.extend(said().samples);
        around.extend([0.0; 1600]);
        assert_eq!(trimmed(&sound(around)).samples, said().samples);
        assert!(trimmed(&sound(vec![])).samples.is_empty());
    }
}
