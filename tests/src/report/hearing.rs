//! One voice as it was said and as it was heard.

use super::align;
use super::estoi::estoi;
use super::sound::{Sound, level_db};

/// The search for what was said begins this much before it was said: clocks may be a little off.
const EARLIEST_MS: i64 = -100;
/// Nobody waits longer for a word.
const LATEST_MS: i64 = 3000;
/// Within a call the delay moves by less than this around its usual value.
const NEAR_MS: i64 = 250;
/// A whole talk that is less alike than this is another one.
const ALIKE: f64 = 0.15;
/// The same for one second of it.
const ALIKE_SECOND: f64 = 0.5;
/// A second that is quieter has no speech to measure.
const QUIET_DB: f64 = -50.0;
/// Sound is judged in steps of this length.
const STEP_MS: usize = 10;
/// Frames of speech this much below the loudest are pauses.
const PAUSE_DB: f64 = 35.0;
/// What comes this much quieter than it was said did not come.
const LOST_DB: f64 = 25.0;
/// Shorter ones are no gaps.
const GAP_STEPS: usize = 2;

/// How a voice was heard.
#[derive(Clone, Debug, Default)]
pub struct Hearing {
    /// What was said.
    pub said: Sound,
    /// What was heard of it, moved back to when it was said; empty if nothing was.
    pub aligned: Sound,
    /// From mouth to ear, the median over the seconds with speech.
    pub delay_ms: Option<f64>,
    /// ESTOI.
    pub quality: Option<f64>,
    /// How loud it was heard, against how it was said.
    pub gain_db: Option<f64>,
    /// How much speech there was.
    pub spoken_ms: u64,
    /// How much of it was not heard.
    pub missing_ms: u64,
    /// In how many pieces that was missing.
    pub gaps: usize,
    /// Second by second.
    pub seconds: Vec<Second>,
}

/// A second of a talk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Second {
    /// The level of what was said, in dB of full scale.
    pub said_db: f64,
    /// From mouth to ear, if there was speech and it was found again.
    pub delay_ms: Option<f64>,
}

impl Hearing {
    /// Nothing of it was heard.
    pub fn nothing(said: &Sound) -> Self {
        let spoken = spoken(said).into_iter().filter(|spoken| *spoken).count();
        let spoken_ms = (spoken * STEP_MS) as u64;
        Self {
            said: said.clone(),
            aligned: Sound { samples: Vec::new(), ..said.clone() },
            spoken_ms,
            missing_ms: spoken_ms,
            gaps: usize::from(spoken_ms > 0),
            ..Self::default()
        }
    }

    /// Measures what was heard; both have the same sample rate.
    pub fn compare(said: &Sound, heard: &Sound) -> Self {
        let Some(usual) = usual_delay(said, heard) else { return Self::nothing(said) };
        let seconds = seconds(said, heard, usual);
        let delay_ms = median(seconds.iter().filter_map(|second| second.delay_ms).collect());
        let Some(delay_ms) = delay_ms else { return Self::nothing(said) };
        let aligned = align(said, heard, &seconds, delay_ms);
        let spoken = spoken(said);
        let (missing, gaps) = missing(said, &aligned, &spoken);
        let (said_db, heard_db) = (level_where(said, &spoken), level_where(&aligned, &spoken));
        Self {
            quality: estoi(&said.samples, &aligned.samples, said.rate),
            gain_db: Some(heard_db - said_db),
            spoken_ms: (spoken.iter().filter(|spoken| **spoken).count() * STEP_MS) as u64,
            missing_ms: (missing * STEP_MS) as u64,
            gaps,
            said: said.clone(),
            aligned,
            delay_ms: Some(delay_ms),
            seconds,
        }
    }

    /// The share of the speech that was not heard; all of it if there was none.
    pub fn missing(&self) -> f64 {
        if self.spoken_ms == 0 { 1.0 } else { self.missing_ms as f64 / self.spoken_ms as f64 }
    }
}

/// The delay, in samples, at which most of the talk is found.
fn usual_delay(said: &Sound, heard: &Sound) -> Option<i64> {
    let (earliest, latest) = (ms_to_samples(said, EARLIEST_MS), ms_to_samples(said, LATEST_MS));
    let start = earliest - heard.offset_from(said);
    let other = heard.piece(start, said.samples.len() + (latest - earliest) as usize);
    let found = align::find(&said.samples, &other).filter(|found| found.likeness >= ALIKE)?;
    Some(found.lag as i64 + earliest)
}

/// The delay of each second, looked for around the usual one.
fn seconds(said: &Sound, heard: &Sound, usual: i64) -> Vec<Second> {
    let (rate, near) = (said.rate as usize, ms_to_samples(said, NEAR_MS));
    let second = |(n, piece): (usize, &[f32])| {
        let said_db = level_db(piece);
        let earliest = usual - near;
        let other =
            heard.piece((n * rate) as i64 + earliest - heard.offset_from(said), piece.len() + 2 * near as usize);
        let found = Some(piece).filter(|_| said_db > QUIET_DB).and_then(|piece| align::find(piece, &other));
        let delay = found.filter(|found| found.likeness >= ALIKE_SECOND).map(|found| found.lag as i64 + earliest);
        Second { said_db, delay_ms: delay.map(|delay| delay as f64 * 1000.0 / f64::from(said.rate)) }
    };
    said.samples.chunks(rate).enumerate().map(second).collect()
}

/// What was heard, second by second at the time at which it was said.
fn align(said: &Sound, heard: &Sound, seconds: &[Second], usual_ms: f64) -> Sound {
    let rate = said.rate as usize;
    let piece = |(n, second): (usize, &Second)| {
        let delay = (second.delay_ms.unwrap_or(usual_ms) * f64::from(said.rate) / 1000.0).round() as i64;
        heard.piece((n * rate) as i64 + delay - heard.offset_from(said), rate)
    };
    let mut samples: Vec<f32> = seconds.iter().enumerate().flat_map(piece).collect();
    samples.truncate(said.samples.len());
    Sound { samples, ..said.clone() }
}

/// In which steps there is speech.
fn spoken(said: &Sound) -> Vec<bool> {
    let levels = said.levels(said.samples_of(STEP_MS).max(1));
    let loudest = levels.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    levels.iter().map(|level| *level > loudest - PAUSE_DB && loudest > QUIET_DB).collect()
}

/// How many steps of speech are missing, and in how many gaps.
fn missing(said: &Sound, heard: &Sound, spoken: &[bool]) -> (usize, usize) {
    let step = said.samples_of(STEP_MS).max(1);
    let (said, heard) = (said.levels(step), heard.levels(step));
    // A change of delay inside a second moves sound by a step or two.
    let near = |n: usize| heard[n.saturating_sub(2)..(n + 3).min(heard.len())].iter().copied().fold(-200.0, f64::max);
    let is_missing = |n: usize| spoken[n] && near(n) < said[n] - LOST_DB;
    let steps: Vec<bool> = (0..spoken.len().min(heard.len())).map(is_missing).collect();
    let gaps = steps.chunk_by(|a, b| a == b).filter(|run| run[0] && run.len() >= GAP_STEPS).map(<[bool]>::len);
    let gaps: Vec<usize> = gaps.collect();
    (gaps.iter().sum(), gaps.len())
}

/// The level over the steps with speech.
fn level_where(sound: &Sound, spoken: &[bool]) -> f64 {
    let step = sound.samples_of(STEP_MS).max(1);
    let pieces = sound.samples.chunks(step).zip(spoken).filter(|(_, spoken)| **spoken);
    level_db(&pieces.flat_map(|(piece, _)| piece).copied().collect::<Vec<_>>())
}

fn ms_to_samples(sound: &Sound, ms: i64) -> i64 {
    ms * i64::from(sound.rate) / 1000
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::{noise, talk};
    use super::*;

    const RATE: usize = 16_000;
    /// When the tests take place.
    const START: u64 = 1_700_000_000_000_000_000;

    fn said() -> Sound {
        Sound { rate: RATE as u32, samples: talk(RATE as u32, 8.0), start_unix_ns: START }
    }

    /// The same, recorded by an ear that began to listen 1.5 s before, and that is `delay_ms` away.
    fn heard(said: &Sound, delay_ms: f64, change: impl Fn(usize, f32) -> f32) -> Sound {
        let before = ((1500.0 + delay_ms) * RATE as f64 / 1000.0) as usize;
        let mut samples = vec![0.0; before];
        samples.extend(said.samples.iter().enumerate().map(|(n, sample)| change(n, *sample)));
        Sound { samples, start_unix_ns: START - 1_500_000_000, ..said.clone() }
    }

    #[test]
    fn a_known_delay_is_measured_to_the_sample() {
        let said = said();
        for delay in [0.0, 31.25, 250.0, 2500.0] {
            let hearing = Hearing::compare(&said, &heard(&said, delay, |_, sample| sample / 2.0));

            assert_eq!(hearing.delay_ms, Some(delay));
            assert!(hearing.seconds.iter().all(|second| second.delay_ms.is_none_or(|ms| ms == delay)));
            assert!(hearing.quality.is_some_and(|estoi| estoi > 0.999), "{:?}", hearing.quality);
            assert_eq!((hearing.missing_ms, hearing.gaps), (0, 0));
            assert!(hearing.gain_db.is_some_and(|gain| (gain + 6.02).abs() < 0.01), "{:?}", hearing.gain_db);
        }
    }

    #[test]
    fn holes_are_counted_and_lower_the_quality() {
        let said = said();
        let hole = |n: usize| (3200..8000).contains(&n) || (33_600..36_800).contains(&n);
        let hearing = Hearing::compare(&said, &heard(&said, 60.0, |n, sample| if hole(n) { 0.0 } else { sample }));

        assert_eq!(hearing.delay_ms, Some(60.0));
        assert_eq!(hearing.gaps, 2);
        assert!((380..=500).contains(&hearing.missing_ms), "500 ms but for the edges: {}", hearing.missing_ms);
        assert!(hearing.quality.is_some_and(|estoi| (0.5..0.97).contains(&estoi)), "{:?}", hearing.quality);
    }

    #[test]
    fn a_delay_that_grows_is_seen_second_by_second() {
        let said = said();
        let mut heard = heard(&said, 40.0, |_, sample| sample);
        let pause = (1500 + 40 + 3900) * RATE / 1000;
        heard.samples.splice(pause..pause, vec![0.0; 30 * RATE / 1000]);
        let hearing = Hearing::compare(&said, &heard);

        assert_eq!(hearing.seconds[0].delay_ms, Some(40.0));
        assert_eq!(hearing.seconds[6].delay_ms, Some(70.0));
        assert!(hearing.quality.is_some_and(|estoi| estoi > 0.98), "a later word is as clear: {:?}", hearing.quality);
    }

    #[test]
    fn noise_lowers_the_quality_and_not_the_delay() {
        let (said, hiss) = (said(), noise(3, RATE * 8));
        let hearing = Hearing::compare(&said, &heard(&said, 45.0, |n, sample| sample + hiss[n] * 0.2));

        assert_eq!(hearing.delay_ms, Some(45.0));
        assert!(hearing.quality.is_some_and(|estoi| estoi < 0.9), "{:?}", hearing.quality);
    }

    #[test]
    fn silence_and_strangers_are_never_good() {
        let said = said();
        let stranger = Sound { samples: noise(9, RATE * 9), ..said.clone() };
        let silence = Sound { samples: vec![0.0; RATE * 9], ..said.clone() };
        let other_day = Sound { start_unix_ns: START + 3_600_000_000_000, ..heard(&said, 0.0, |_, sample| sample) };
        let empty = Sound { samples: vec![], ..said.clone() };
        for (what, heard) in [("stranger", stranger), ("silence", silence), ("hour", other_day), ("empty", empty)] {
            let hearing = Hearing::compare(&said, &heard);
            assert_eq!((hearing.delay_ms, hearing.quality), (None, None), "{what}");
            assert!(hearing.missing() == 1.0 && hearing.aligned.samples.is_empty(), "{what}");
        }
    }

    #[test]
    fn one_who_said_nothing_was_not_heard() {
        let mute = Sound { samples: vec![0.0; RATE], ..said() };
        let hearing = Hearing::compare(&mute, &said());
        assert_eq!((hearing.delay_ms, hearing.quality, hearing.missing()), (None, None, 1.0));
    }
}
