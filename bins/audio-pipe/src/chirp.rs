//! A sound that is easily found again, whatever a room, a codec or noise makes of it.

use std::f32::consts::PI;

/// How long it is, in seconds: short enough for a click, long enough to stand out of noise.
const SECONDS: f32 = 0.02;
/// From this pitch to that one, in hertz: where loudspeakers, microphones and voice codecs are all good.
const PITCH: [f32; 2] = [400.0, 4000.0];
/// A peak this much above the rest is the sound and not noise.
const CLEAR: f32 = 7.0;
/// What comes before the strongest and is this close to it is the direct way; the strongest was a reflection.
const DIRECT: f32 = 0.7;

/// The sound at a sample rate.
pub(crate) fn chirp(rate: u32) -> Vec<f32> {
    let rate = rate as f32;
    let len = (SECONDS * rate) as usize;
    let sample = |n: usize| {
        let (t, part) = (n as f32 / rate, n as f32 / len as f32);
        let phase = 2.0 * PI * (PITCH[0] + (PITCH[1] - PITCH[0]) * part / 2.0) * t;
        phase.sin() * (PI * part).sin() * 0.7
    };
    (0..len).map(sample).collect()
}

/// Where `sound` begins in what was heard; `None` if it is not clear that it is there at all.
pub(crate) fn find(sound: &[f32], heard: &[f32]) -> Option<usize> {
    let likeness: Vec<f32> = heard
        .windows(sound.len())
        .map(|window| window.iter().zip(sound).map(|(a, b)| a * b).sum::<f32>().abs())
        .collect();
    let strongest = likeness.iter().copied().fold(0.0, f32::max);
    let usual = (likeness.iter().map(|value| value * value).sum::<f32>() / likeness.len().max(1) as f32).sqrt();
    if strongest <= CLEAR * usual || usual == 0.0 {
        return None;
    }
    let first = likeness.iter().position(|value| *value >= DIRECT * strongest)?;
    // From there to the next top.
    let near = &likeness[first..(first + sound.len() / 8).min(likeness.len())];
    let top = near.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?.0;
    Some(first + top)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize, loudness: f32) -> Vec<f32> {
        let mut random = 1_u64;
        (0..len)
            .map(|_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((random >> 40) as f32 / 8_388_608.0 - 1.0) * loudness
            })
            .collect()
    }

    #[test]
    fn it_is_found_to_the_sample_in_noise_and_before_its_echo() {
        for (rate, at) in [(48_000, 7000), (44_100, 1), (16_000, 3210)] {
            let sound = chirp(rate);
            let mut heard = noise(24_000, 0.05);
            for (n, sample) in sound.iter().enumerate() {
                heard[at + n] += sample * 0.3;
                heard[at + n + rate as usize / 50] += sample * 0.35;
            }
            let found = find(&sound, &heard).expect("a sound");
            assert!(found.abs_diff(at) <= 1, "{rate} Hz: {found}, not {at}");
        }
    }

    #[test]
    fn silence_and_noise_are_no_sound() {
        let sound = chirp(48_000);
        assert_eq!(find(&sound, &vec![0.0; 24_000]), None);
        assert_eq!(find(&sound, &noise(24_000, 0.9)), None);
        assert_eq!(find(&sound, &[0.1; 10]), None, "shorter than the sound");
    }
}
