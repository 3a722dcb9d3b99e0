//! Speech made on the spot by espeak-ng: for demos and tests, so that no recordings need to be kept.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::report::{Sound, resample};

/// Samples per second of all speech here.
pub const RATE: u32 = 48_000;
/// The loudest sample.
const PEAK: f32 = 0.5;

/// Something to say, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Utterance {
    /// Seconds from the start.
    pub at: f64,
    /// The words.
    pub text: String,
}

impl std::str::FromStr for Utterance {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once(':').context("an utterance is SECONDS:WORDS")?;
        let at: f64 = parts.0.trim().parse().context("an utterance begins with seconds")?;
        ensure!((0.0..3600.0).contains(&at), "an utterance begins within an hour");
        Ok(Self { at, text: parts.1.trim().to_owned() })
    }
}

/// Mono speech of exactly `seconds`; what does not fit is cut.
///
/// # Errors
/// If espeak-ng is missing or does not know the voice.
pub fn speak(voice: &str, utterances: &[Utterance], seconds: f64) -> Result<Vec<f32>> {
    let mut track = vec![0.0; (seconds * f64::from(RATE)) as usize];
    for utterance in utterances {
        let start = ((utterance.at * f64::from(RATE)) as usize).min(track.len());
        for (sum, sample) in track[start..].iter_mut().zip(say(voice, &utterance.text)?) {
            *sum += sample;
        }
    }
    let peak = track.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
    if peak > 0.0 {
        track.iter_mut().for_each(|sample| *sample *= PEAK / peak);
    }
    Ok(track)
}

/// Writes samples as 16-bit WAV.
///
/// # Errors
/// If the file can't be written.
pub fn write_wav(path: &Path, samples: &[f32]) -> Result<()> {
    let spec =
        hound::WavSpec { channels: 1, sample_rate: RATE, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let write = || {
        let mut writer = hound::WavWriter::create(path, spec)?;
        for sample in samples {
            writer.write_sample((sample * f32::from(i16::MAX)) as i16)?;
        }
        writer.finalize()
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// One utterance at [`RATE`].
fn say(voice: &str, text: &str) -> Result<Vec<f32>> {
    let out = Command::new("espeak-ng")
        .args(["--stdout", "-v", voice, "--", text])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("run espeak-ng")?;
    ensure!(out.status.success() && !out.stdout.is_empty(), "espeak-ng does not speak with the voice {voice}");
    let sound = Sound::from_wav(out.stdout.as_slice(), 0).context("read what espeak-ng says")?;
    let wide: Vec<f64> = sound.samples.iter().copied().map(f64::from).collect();
    Ok(resample(&wide, sound.rate, RATE).into_iter().map(|sample| sample as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_utterance_has_a_time_and_words() {
        let utterance: Utterance = " 1.5: well: hello".parse().expect("an utterance");
        assert_eq!(utterance, Utterance { at: 1.5, text: "well: hello".into() });
        assert!(
            ["hello", "soon: hello", "-1: hello", "NaN: hello", ""]
                .iter()
                .all(|text| text.parse::<Utterance>().is_err())
        );
    }

    #[test]
    fn words_are_spoken_when_they_are_due_and_cut_at_the_end() {
        let utterances =
            ["1: hello there", "2.9: and so on and so forth"].map(|text| text.parse().expect("an utterance"));
        let speech = speak("en", &utterances, 3.0).expect("espeak-ng, which scripts/setup installs");
        let peak = |from: usize, to: usize| speech[from..to].iter().fold(0.0_f32, |peak, s| peak.max(s.abs()));
        assert_eq!(speech.len(), 144_000);
        assert_eq!(peak(0, 48_000), 0.0);
        assert!(peak(48_000, 96_000) > 0.1 && peak(141_000, 144_000) > 0.01);
    }
}
