//! Tones in WAV files: what members say, and whether it is what others hear.

use std::{
    f32::consts::TAU,
    path::{Path, PathBuf},
};

use tests::call::Home;

const RATE: u32 = 48_000;

/// A tone in each channel of a WAV file.
pub(crate) fn wav_in(home: &Home, seconds: u32, tones: &[f32]) -> PathBuf {
    let path = home.path().join("said.wav");
    let (channels, sample_format) = (tones.len() as u16, hound::SampleFormat::Int);
    let spec = hound::WavSpec { channels, sample_rate: RATE, bits_per_sample: 16, sample_format };
    let mut file = hound::WavWriter::create(&path, spec).unwrap();
    for n in 0..seconds * RATE {
        for hz in tones {
            let sample = 0.3 * (TAU * hz * n as f32 / RATE as f32).sin();
            file.write_sample((sample * f32::from(i16::MAX)) as i16).unwrap();
        }
    }
    file.finalize().unwrap();
    path
}

/// Each channel of a WAV file.
pub(crate) fn sounds_in(path: &Path) -> Vec<Vec<f32>> {
    let mut file = hound::WavReader::open(path).unwrap();
    assert_eq!(file.spec().sample_rate, RATE);
    let channels = usize::from(file.spec().channels);
    let samples: Vec<f32> = file.samples::<i16>().map(|sample| f32::from(sample.unwrap()) / 32768.0).collect();
    (0..channels).map(|channel| samples.iter().skip(channel).step_by(channels).copied().collect()).collect()
}

/// How long a tone is heard: in how many tenths of a second most of the sound is at its frequency.
pub(crate) fn seconds_of(hz: f32, samples: &[f32]) -> f32 {
    let is_tone = |part: &&[f32]| {
        let (mut cos, mut sin, mut power) = (0.0, 0.0, 0.0);
        for (n, sample) in part.iter().enumerate() {
            let angle = TAU * hz * n as f32 / RATE as f32;
            (cos, sin, power) = (cos + sample * angle.cos(), sin + sample * angle.sin(), power + sample * sample);
        }
        let len = part.len() as f32;
        power / len > 0.001 && 2.0 * (cos * cos + sin * sin) / len > 0.8 * power
    };
    samples.chunks_exact(RATE as usize / 10).filter(is_tone).count() as f32 / 10.0
}
