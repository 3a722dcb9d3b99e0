//! Sound to work on, from seeds: voices made of formants, noise, and measures of both.

use std::f32::consts::TAU;

/// Samples per second.
pub(crate) const RATE: usize = 48_000;

/// Pseudo-random numbers.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// From 0 to 1.
    pub(crate) fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / 16_777_216.0
    }

    pub(crate) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Noise with a standard deviation of 1.
    pub(crate) fn noise(&mut self) -> f32 {
        ((0..6).map(|_| self.unit()).sum::<f32>() - 3.0) * 2.0_f32.sqrt()
    }
}

/// First three formants of vowels, in Hz (after Peterson and Barney, 1952).
const VOWELS: [[f32; 3]; 7] = [
    [270.0, 2290.0, 3010.0],
    [390.0, 1990.0, 2550.0],
    [530.0, 1840.0, 2480.0],
    [660.0, 1720.0, 2410.0],
    [730.0, 1090.0, 2440.0],
    [570.0, 840.0, 2410.0],
    [300.0, 870.0, 2240.0],
];

/// A voice, and where in it somebody speaks.
pub(crate) struct Spoken {
    pub(crate) sound: Vec<f32>,
    /// For each sample.
    pub(crate) is_voice: Vec<bool>,
}

/// A two-pole resonance.
#[derive(Default)]
struct Formant {
    last: [f32; 2],
}

impl Formant {
    fn pass(&mut self, sample: f32, hz: f32, bandwidth: f32) -> f32 {
        let radius = (-std::f32::consts::PI * bandwidth / RATE as f32).exp();
        let (a, b) = (2.0 * radius * (TAU * hz / RATE as f32).cos(), -radius * radius);
        let out = (1.0 - a - b) * sample + a * self.last[0] + b * self.last[1];
        self.last = [out, self.last[0]];
        out
    }
}

/// Sentences of syllables, each a consonant's noise and a vowel, 1 s to 2.5 s long with pauses of 0.6 s to 1.2 s
/// after them; their loudest fifth of a second has a power of `loudness` squared.
pub(crate) fn speak(seed: u64, seconds: f32, loudness: f32) -> Spoken {
    let len = (seconds * RATE as f32) as usize;
    let mut dice = Dice(seed);
    let pitch = dice.between(95.0, 220.0);
    let mut spoken = Spoken { sound: Vec::with_capacity(len), is_voice: Vec::with_capacity(len) };
    let mut formants: [Formant; 3] = Default::default();
    let (mut phase, mut tilt) = (0.0_f32, 0.0_f32);
    while spoken.sound.len() < len {
        let syllables = 4 + (dice.unit() * 6.0) as usize;
        for n in 0..syllables {
            let vowel = VOWELS[(dice.unit() * 7.0) as usize % 7];
            let next = VOWELS[(dice.unit() * 7.0) as usize % 7];
            let [consonant, length] = [dice.between(0.03, 0.08), dice.between(0.12, 0.25)];
            let hiss = dice.between(0.1, 0.5);
            let fall = 1.15 - 0.3 * n as f32 / syllables as f32;
            for _ in 0..(consonant * RATE as f32) as usize {
                spoken.sound.push(dice.noise() * hiss * 0.05);
                spoken.is_voice.push(true);
            }
            let samples = (length * RATE as f32) as usize;
            for i in 0..samples {
                let part = i as f32 / samples as f32;
                phase += pitch * fall * (1.0 + 0.03 * (TAU * 5.0 * i as f32 / RATE as f32).sin()) / RATE as f32;
                let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
                phase -= phase.floor();
                tilt = 0.96 * tilt + pulse + dice.noise() * 0.004;
                let glide = |k: usize| vowel[k] + (next[k] - vowel[k]) * part * 0.4;
                let source = formants[0].pass(tilt, glide(0), 80.0);
                let source = formants[1].pass(source, glide(1), 110.0) + 0.05 * source;
                let sample = formants[2].pass(source, glide(2), 160.0) + 0.1 * source;
                spoken.sound.push(sample * (std::f32::consts::PI * part).sin().powf(0.6));
                spoken.is_voice.push(true);
            }
        }
        let pause = (dice.between(0.6, 1.2) * RATE as f32) as usize;
        spoken.sound.extend(std::iter::repeat_n(0.0, pause));
        spoken.is_voice.extend(std::iter::repeat_n(false, pause));
    }
    spoken.sound.truncate(len);
    spoken.is_voice.truncate(len);
    let loudest = spoken.sound.chunks(RATE / 5).map(power).fold(0.0, f32::max).sqrt();
    spoken.sound.iter_mut().for_each(|sample| *sample *= loudness / loudest);
    spoken
}

/// Noise as a fan makes it: more of it at low frequencies.
pub(crate) fn hum(seed: u64, len: usize, loudness: f32) -> Vec<f32> {
    let mut dice = Dice(seed);
    let mut last = 0.0;
    let mut sound: Vec<f32> = (0..len)
        .map(|_| {
            last = 0.9 * last + dice.noise();
            last + 0.3 * dice.noise()
        })
        .collect();
    let scale = loudness / power(&sound).sqrt();
    sound.iter_mut().for_each(|sample| *sample *= scale);
    sound
}

/// The sum of two sounds, as long as the first.
pub(crate) fn mix(one: &[f32], other: &[f32]) -> Vec<f32> {
    one.iter().zip(other.iter().chain(std::iter::repeat(&0.0))).map(|(a, b)| a + b).collect()
}

/// The mean square.
pub(crate) fn power(sound: &[f32]) -> f32 {
    sound.iter().map(|sample| sample * sample).sum::<f32>() / sound.len().max(1) as f32
}

/// A ratio of powers in decibels.
pub(crate) fn db(ratio: f32) -> f32 {
    10.0 * ratio.max(1e-12).log10()
}

/// By how many samples `late` lags behind `early`, up to 25 ms, and how alike they are then.
pub(crate) fn lag(early: &[f32], late: &[f32]) -> (usize, f32) {
    // High frequencies tell time best, and a high-pass filter does not move them.
    let crisp = |sound: &[f32]| sound.windows(3).map(|s| s[2] - 2.0 * s[1] + s[0]).collect::<Vec<_>>();
    let (early, late) = (crisp(early), crisp(late));
    let most = 1200;
    let early = &early[..early.len() - most];
    let likeness = |lag: usize| {
        let late = &late[lag..lag + early.len()];
        let product: f32 = early.iter().zip(late).map(|(a, b)| a * b).sum();
        product / (power(early) * power(late)).sqrt().max(1e-12) / early.len() as f32
    };
    let lags = (0..most).map(|lag| (lag, likeness(lag)));
    lags.max_by(|a, b| a.1.total_cmp(&b.1)).expect("there are lags")
}
