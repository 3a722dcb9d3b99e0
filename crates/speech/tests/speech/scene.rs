//! Rooms with a loudspeaker and a microphone: seven ways in which one's own words come back.

use std::time::Duration;

use realfft::RealFftPlanner;
use speech::{BLOCK, Processor, Verdict};

use crate::voice::RATE;

/// How a loudspeaker is heard by the microphone beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    delay_ms: f32,
    gain_db: f32,
    /// The time in which the room's sound falls by 60 dB.
    rt60: Option<f32>,
    /// How much the amplifier is overdriven.
    drive: Option<f32>,
    /// By how much the loudspeaker's clock is faster, in millionths.
    drift: f64,
}

const PLAIN: Scene = Scene { name: "", delay_ms: 20.0, gain_db: -10.0, rt60: None, drive: None, drift: 0.0 };

pub(crate) const SCENES: [Scene; 7] = [
    Scene { name: "20 ms, -10 dB", ..PLAIN },
    Scene { name: "60 ms, -6 dB", delay_ms: 60.0, gain_db: -6.0, ..PLAIN },
    Scene { name: "200 ms, -6 dB", delay_ms: 200.0, gain_db: -6.0, ..PLAIN },
    Scene { name: "room, RT60 0.79 s", rt60: Some(0.79), ..PLAIN },
    Scene { name: "clipped loudspeaker", drive: Some(4.0), ..PLAIN },
    Scene { name: "drift of 100 ppm", drift: 100.0, ..PLAIN },
    Scene { name: "drift of 300 ppm", drift: 300.0, ..PLAIN },
];

impl Scene {
    /// What the microphone hears of what is played.
    pub(crate) fn echo(&self, far: &[f32]) -> Vec<f32> {
        let driven: Vec<f32> = match self.drive {
            None => far.to_vec(),
            Some(drive) => far.iter().map(|sample| (sample * drive).tanh() / drive).collect(),
        };
        let delay = (self.delay_ms / 1000.0 * RATE as f32) as usize;
        let rate = 1.0 + self.drift / 1e6;
        let late: Vec<f32> =
            (0..far.len()).map(|n| if n < delay { 0.0 } else { at(&driven, (n - delay) as f64 * rate) }).collect();
        let mut echo = self.rt60.map_or_else(|| late.clone(), |rt60| convolve(&late, &room(rt60)));
        let gain = 10.0_f32.powf(self.gain_db / 20.0);
        echo.iter_mut().for_each(|sample| *sample *= gain);
        echo
    }
}

/// The sound between samples (cubic, after Catmull and Rom).
fn at(sound: &[f32], place: f64) -> f32 {
    let (whole, part) = (place.floor() as isize, (place - place.floor()) as f32);
    let sample = |n: isize| usize::try_from(n).ok().and_then(|n| sound.get(n)).copied().unwrap_or(0.0);
    let [a, b, c, d] = [-1, 0, 1, 2].map(|n| sample(whole + n));
    b + 0.5 * part * (c - a + part * (2.0 * a - 5.0 * b + 4.0 * c - d + part * (3.0 * (b - c) + d - a)))
}

/// What a room of 5 m by 4 m by 2.7 m answers to a clap, by the mirror images of where the clap is (after Allen and
/// Berkley, 1979); a power of 1 in all.
fn room(rt60: f32) -> Vec<f32> {
    const SIZE: [f32; 3] = [5.0, 4.0, 2.7];
    const MICROPHONE: [f32; 3] = [2.1, 1.7, 0.8];
    const LOUDSPEAKER: [f32; 3] = [2.1, 2.0, 0.8];
    const SPEED: f32 = 343.0;
    let volume = SIZE.iter().product::<f32>();
    let walls = 2.0 * (SIZE[0] * SIZE[1] + SIZE[1] * SIZE[2] + SIZE[2] * SIZE[0]);
    // By Sabine; negative, so that the images don't add up to a thud (after Lehmann and Johansson, 2008).
    let reflected = -(1.0 - 0.161 * volume / (walls * rt60)).sqrt();
    let len = (rt60 * RATE as f32) as usize;
    let reach = SPEED * rt60;
    // Along each axis: how far away the images are, and how often they were mirrored.
    let images = [0, 1, 2].map(|axis| {
        let most = (reach / SIZE[axis] / 2.0).ceil() as i32;
        let image = |n: i32, mirrored: bool| {
            let place = if mirrored { -LOUDSPEAKER[axis] } else { LOUDSPEAKER[axis] };
            let times = (n - i32::from(mirrored)).abs() + n.abs();
            (2.0 * n as f32 * SIZE[axis] + place - MICROPHONE[axis], times)
        };
        (-most..=most).flat_map(|n| [image(n, false), image(n, true)]).collect::<Vec<_>>()
    });
    let mut answer = vec![0.0; len];
    for (x, i) in &images[0] {
        for (y, j) in &images[1] {
            for (z, k) in &images[2] {
                let distance = (x * x + y * y + z * z).sqrt();
                if let Some(sample) = answer.get_mut((distance / SPEED * RATE as f32) as usize) {
                    *sample += reflected.powi(i + j + k) / distance;
                }
            }
        }
    }
    let sum = answer.iter().map(|sample| sample * sample).sum::<f32>().sqrt();
    answer.iter_mut().for_each(|sample| *sample /= sum);
    answer
}

fn convolve(sound: &[f32], answer: &[f32]) -> Vec<f32> {
    let len = (sound.len() + answer.len()).next_power_of_two();
    let mut planner = RealFftPlanner::<f32>::new();
    let (forward, inverse) = (planner.plan_fft_forward(len), planner.plan_fft_inverse(len));
    let spectrum = |sound: &[f32]| {
        let mut padded = sound.to_vec();
        padded.resize(len, 0.0);
        let mut spectrum = forward.make_output_vec();
        forward.process(&mut padded, &mut spectrum).expect("lengths fit");
        spectrum
    };
    let mut product = spectrum(sound);
    for (bin, other) in product.iter_mut().zip(spectrum(answer)) {
        *bin *= other / len as f32;
    }
    let mut out = inverse.make_output_vec();
    inverse.process(&mut product, &mut out).expect("lengths fit");
    out.truncate(sound.len());
    out
}

/// Runs a microphone's sound through the processor while `far` is played, in whole blocks.
pub(crate) fn run(processor: &mut Processor, near: &[f32], far: &[f32]) -> (Vec<f32>, Vec<Verdict>) {
    let mut out = Vec::with_capacity(near.len());
    let mut verdicts = Vec::new();
    for (n, block) in near.as_chunks::<BLOCK>().0.iter().enumerate() {
        if let Some(played) = far.get(n * BLOCK..).and_then(|rest| rest.first_chunk()) {
            processor.render(played, Duration::from_millis(20));
        }
        let mut block = *block;
        verdicts.push(processor.process(&mut block));
        out.extend(block);
    }
    (out, verdicts)
}
