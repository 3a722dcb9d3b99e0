use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use anyhow::{Context, Result, ensure};

/// Level of digital silence, so that logarithms end somewhere.
const FLOOR_DB: f64 = -120.0;

/// Mono sound and when it was.
#[derive(Clone, Debug, Default)]
pub struct Sound {
    /// Samples per second.
    pub rate: u32,
    /// From -1 to 1.
    pub samples: Vec<f32>,
    /// When sample 0 was at the mouth or the ear.
    pub start_unix_ns: u64,
}

impl Sound {
    /// Reads a WAV file.
    ///
    /// # Errors
    /// If it is not there, or no WAV file.
    pub fn read(path: &Path, start_unix_ns: u64) -> Result<Self> {
        let named = || format!("read {}", path.display());
        let file = File::open(path).with_context(named)?;
        Self::from_wav(BufReader::new(file), start_unix_ns).with_context(named)
    }

    /// Reads WAV, all channels mixed; one that breaks off is read as far as it goes.
    ///
    /// # Errors
    /// If it is no WAV.
    pub fn from_wav(wav: impl Read, start_unix_ns: u64) -> Result<Self> {
        let mut reader = hound::WavReader::new(wav)?;
        let spec = reader.spec();
        ensure!(spec.channels > 0 && spec.sample_rate > 0, "WAV without channels, or without a rate");
        let scale = 0.5_f32.powi(i32::from(spec.bits_per_sample) - 1);
        let samples: Vec<f32> = match spec.sample_format {
            hound::SampleFormat::Float => reader.samples::<f32>().map_while(Result::ok).collect(),
            hound::SampleFormat::Int => {
                reader.samples::<i32>().map_while(Result::ok).map(|sample| sample as f32 * scale).collect()
            }
        };
        let channels = usize::from(spec.channels);
        let mono = samples.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32);
        Ok(Self { rate: spec.sample_rate, samples: mono.collect(), start_unix_ns })
    }

    /// How many samples so many milliseconds are.
    pub fn samples_of(&self, ms: usize) -> usize {
        self.rate as usize * ms / 1000
    }

    /// How long after `earlier` this began, in samples.
    pub fn offset_from(&self, earlier: &Self) -> i64 {
        let ns = i128::from(self.start_unix_ns) - i128::from(earlier.start_unix_ns);
        (ns * i128::from(self.rate) / 1_000_000_000) as i64
    }

    /// Samples from `start` on, with silence outside.
    pub fn piece(&self, start: i64, len: usize) -> Vec<f32> {
        let sample = |at: i64| usize::try_from(at).ok().and_then(|at| self.samples.get(at)).copied().unwrap_or(0.0);
        (start..).take(len).map(sample).collect()
    }

    /// The level of each stretch of `len` samples, in dB of full scale.
    pub fn levels(&self, len: usize) -> Vec<f64> {
        self.samples.chunks(len).map(level_db).collect()
    }
}

/// Root mean square in dB of full scale.
pub(super) fn level_db(samples: &[f32]) -> f64 {
    let power = energy(samples) / samples.len().max(1) as f64;
    (10.0 * power.log10()).max(FLOOR_DB)
}

/// The sum of squares.
pub(super) fn energy(samples: &[f32]) -> f64 {
    samples.iter().map(|sample| f64::from(*sample).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_sine_has_a_level_of_minus_three_and_silence_the_floor() {
        let sine: Vec<f32> = (0..4800).map(|n| (n as f32 * std::f32::consts::TAU / 48.0).sin()).collect();
        assert!((level_db(&sine) + 3.01).abs() < 0.01);
        assert_eq!(level_db(&[0.0; 10]), FLOOR_DB);
        assert_eq!(level_db(&[]), FLOOR_DB);
    }

    #[test]
    fn a_piece_reaches_beyond_both_ends() {
        let sound = Sound { rate: 8000, samples: vec![0.1, 0.2], start_unix_ns: 0 };
        assert_eq!(sound.piece(-1, 4), [0.0, 0.1, 0.2, 0.0]);
    }

    #[test]
    fn offsets_are_counted_in_samples_both_ways() {
        let early = Sound { rate: 48_000, samples: vec![], start_unix_ns: 1_700_000_000_000_000_000 };
        let late = Sound { start_unix_ns: early.start_unix_ns + 250_000_000, ..early.clone() };
        assert_eq!(late.offset_from(&early), 12_000);
        assert_eq!(early.offset_from(&late), -12_000);
    }

    #[test]
    fn what_is_not_wav_is_named() {
        let path = std::env::temp_dir().join(format!("not-wav-{}", std::process::id()));
        std::fs::write(&path, "no sound at all").unwrap();
        let error = Sound::read(&path, 0).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert!(error.to_string().contains("not-wav"), "{error}");
    }
}
