//! Extended short-time objective intelligibility: J. Jensen and C. H. Taal, "An Algorithm for Predicting the
//! Intelligibility of Speech Masked by Modulated Noise Maskers", IEEE/ACM TASLP 24 (2016), with the framing and the
//! removal of silence of the authors' MATLAB code, so that the numbers are comparable with others'.

use std::f64::consts::PI;

use realfft::RealFftPlanner;

use super::resample::resample;

const RATE: u32 = 10_000;
/// Samples in a frame, 25.6 ms; frames overlap by half.
const FRAME: usize = 256;
const HOP: usize = FRAME / 2;
const FFT: usize = 512;
/// One-third octave bands, the lowest around [`LOWEST_HZ`].
const BANDS: usize = 15;
const LOWEST_HZ: f64 = 150.0;
/// Frames in a segment: 384 ms.
const SEGMENT: usize = 30;
/// Frames that are this much quieter than the loudest are silence.
const RANGE_DB: f64 = 40.0;

type Bands = [f64; BANDS];

/// How intelligible `heard` is to one who knows what `said` was: 1 for the same, about 0 for anything else.
/// Both start at the same word. `None` if there is less speech than a segment.
pub(super) fn estoi(said: &[f32], heard: &[f32], rate: u32) -> Option<f64> {
    let wide = |samples: &[f32]| samples.iter().copied().map(f64::from).collect::<Vec<_>>();
    let len = said.len().min(heard.len());
    let said = resample(&wide(&said[..len]), rate, RATE);
    let heard = resample(&wide(&heard[..len]), rate, RATE);
    let (said, heard) = without_silence(&said, &heard);
    let (said, heard) = (spectrogram(&said), spectrogram(&heard));
    if said.len() < SEGMENT {
        return None;
    }
    let scores = said.windows(SEGMENT).zip(heard.windows(SEGMENT)).map(|(said, heard)| {
        let (said, heard) = (normalized(said), normalized(heard));
        let product = |(said, heard): (&Bands, &Bands)| said.iter().zip(heard).map(|(a, b)| a * b).sum::<f64>();
        said.iter().zip(&heard).map(product).sum::<f64>() / SEGMENT as f64
    });
    let scores: Vec<f64> = scores.collect();
    Some(scores.iter().sum::<f64>() / scores.len() as f64)
}

/// Both sounds without the frames in which the first is silent.
fn without_silence(said: &[f64], heard: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let window = hann();
    let starts: Vec<usize> = (0..said.len().saturating_sub(FRAME)).step_by(HOP).collect();
    let frame = |sound: &[f64], start: usize| -> Vec<f64> {
        sound[start..start + FRAME].iter().zip(&window).map(|(sample, weight)| sample * weight).collect()
    };
    let level = |start: usize| {
        let energy: f64 = frame(said, start).iter().map(|sample| sample * sample).sum();
        20.0 * (energy.sqrt() + f64::EPSILON).log10()
    };
    let levels: Vec<f64> = starts.iter().map(|start| level(*start)).collect();
    let loudest = levels.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let spoken: Vec<usize> =
        starts.iter().zip(&levels).filter(|(_, level)| **level > loudest - RANGE_DB).map(|(start, _)| *start).collect();
    let join = |sound: &[f64]| {
        let mut out = vec![0.0; if spoken.is_empty() { 0 } else { (spoken.len() - 1) * HOP + FRAME }];
        for (n, start) in spoken.iter().enumerate() {
            for (sum, sample) in out[n * HOP..].iter_mut().zip(frame(sound, *start)) {
                *sum += sample;
            }
        }
        out
    };
    (join(said), join(heard))
}

/// The magnitude in each band, frame by frame.
fn spectrogram(sound: &[f64]) -> Vec<Bands> {
    let (window, edges) = (hann(), band_edges());
    let fft = RealFftPlanner::<f64>::new().plan_fft_forward(FFT);
    let (mut time, mut spectrum) = (fft.make_input_vec(), fft.make_output_vec());
    let frame = |start: usize| {
        time.fill(0.0);
        for ((out, sample), weight) in time.iter_mut().zip(&sound[start..start + FRAME]).zip(&window) {
            *out = sample * weight;
        }
        fft.process(&mut time, &mut spectrum).expect("lengths are the plan's");
        edges.map(|(low, high)| spectrum[low..high].iter().map(|bin| bin.norm_sqr()).sum::<f64>().sqrt())
    };
    (0..sound.len().saturating_sub(FRAME)).step_by(HOP).map(frame).collect()
}

/// A segment with mean 0 and norm 1, first along time in each band, then along the bands in each frame.
fn normalized(segment: &[Bands]) -> Vec<Bands> {
    let mut out = segment.to_vec();
    for band in 0..BANDS {
        let mean = out.iter().map(|frame| frame[band]).sum::<f64>() / SEGMENT as f64;
        out.iter_mut().for_each(|frame| frame[band] -= mean);
        let scale = inverse(out.iter().map(|frame| frame[band].powi(2)).sum());
        out.iter_mut().for_each(|frame| frame[band] *= scale);
    }
    for frame in &mut out {
        let mean = frame.iter().sum::<f64>() / BANDS as f64;
        frame.iter_mut().for_each(|value| *value -= mean);
        let scale = inverse(frame.iter().map(|value| value.powi(2)).sum());
        frame.iter_mut().for_each(|value| *value *= scale);
    }
    out
}

/// One over the norm; of silence nothing is made.
fn inverse(square: f64) -> f64 {
    if square < 1e-24 { 0.0 } else { 1.0 / square.sqrt() }
}

/// Which bins of the FFT a band takes: from the first up to, not including, the second.
fn band_edges() -> [(usize, usize); BANDS] {
    let bin = |hz: f64| (hz * FFT as f64 / f64::from(RATE)).round() as usize;
    std::array::from_fn(|band| {
        let edge = |sixths: f64| LOWEST_HZ * 2.0_f64.powf((2.0 * band as f64 + sixths) / 6.0);
        (bin(edge(-1.0)), bin(edge(1.0)))
    })
}

/// MATLAB's `hanning(FRAME)`: without the zeros at its ends.
fn hann() -> Vec<f64> {
    (1..=FRAME).map(|n| 0.5 - 0.5 * (2.0 * PI * n as f64 / (FRAME + 1) as f64).cos()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::{noise, talk};
    use super::*;

    type Change = fn(usize, f32, f32, usize) -> f32;

    const HISS: Change = |_, said, noise, _| said + 0.1 * noise;
    const ROAR: Change = |_, said, noise, _| said + 0.5 * noise;
    const CLIPPED: Change = |_, said, _, _| said.clamp(-0.1, 0.1);
    const HOLES: Change = |n, said, noise, rate| 0.001 * noise + if n % rate < rate / 4 { 0.0 } else { said };

    /// `pystoi.stoi(said, heard, rate, extended=True)` of pystoi 0.4.1 for the same signals.
    const PYSTOI: [(u32, Change, f64); 6] = [
        (10_000, HISS, 0.736_239),
        (10_000, ROAR, 0.166_044),
        (10_000, CLIPPED, 0.891_977),
        (10_000, HOLES, 0.619_556),
        (48_000, HISS, 0.876_274),
        (48_000, CLIPPED, 0.894_615),
    ];

    #[test]
    fn values_are_those_of_pystoi() {
        for (row, (rate, change, expected)) in PYSTOI.into_iter().enumerate() {
            let said = talk(rate, 6.0);
            let noise = noise(5, said.len());
            let heard =
                said.iter().zip(noise).enumerate().map(|(n, (said, noise))| change(n, *said, noise, rate as usize));
            let heard: Vec<f32> = heard.collect();
            let score = estoi(&said, &heard, rate).expect("enough speech");
            assert!((score - expected).abs() < 2e-4, "row {row}: {score}, pystoi has {expected}");
        }
    }

    #[test]
    fn the_same_is_one_and_silence_is_nothing() {
        let said = talk(10_000, 3.0);
        let same = estoi(&said, &said, 10_000).expect("enough speech");
        assert!((same - 1.0).abs() < 1e-9, "{same}");
        assert_eq!(estoi(&said, &vec![0.0; said.len()], 10_000), Some(0.0));
    }

    #[test]
    fn a_short_word_can_not_be_judged() {
        let word = talk(10_000, 0.3);
        assert_eq!(estoi(&word, &word, 10_000), None);
        assert_eq!(estoi(&[], &[], 48_000), None);
    }
}
