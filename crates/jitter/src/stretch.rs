//! Shortens or lengthens sound by a pitch period (WSOLA), or silence by any amount, where it is heard least.

use crate::pcm::{FADE, Pcm};

/// 2.5 ms, a voice of 400 Hz.
pub(crate) const SHORTEST: usize = 120;
/// 15 ms, a voice of 67 Hz.
pub(crate) const LONGEST: usize = 720;
/// Samples that are compared on each side.
const WINDOW: usize = 240;
/// What has to be ahead, beyond the jump, to compare and to fade.
pub(crate) const MARGIN: usize = WINDOW;
/// Every this many samples in the first, coarse search.
const COARSE: usize = 6;
/// Mean square below which sound is silence: -55 dBFS.
const SILENCE: f32 = 3.2e-6;
/// How alike both sides have to be: correlation from -1 to 1.
const ALIKE: f32 = 0.75;
/// How alike if it is urgent.
const ALIKE_ENOUGH: f32 = 0.35;

/// How much it matters that it happens now; a higher one takes sound that is less suitable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Urgency {
    /// Silence will come.
    InSilence,
    InVoice,
    Anywhere,
}

/// What was done to the sound.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Stretched {
    /// Samples left out (or, negative, repeated).
    pub(crate) by: isize,
    /// Nobody can hear it.
    pub(crate) in_silence: bool,
}

/// Moves the read position of `pcm` towards `wish` samples later (or earlier, if negative), by at most that and as far
/// as the sound allows.
pub(crate) fn stretch(pcm: &mut Pcm, wish: isize, urgency: Urgency) -> Stretched {
    let sign = wish.signum();
    let wish = wish.unsigned_abs();
    let reach = if sign > 0 { pcm.ahead().saturating_sub(MARGIN) } else { pcm.history().saturating_sub(WINDOW) };
    // To shorten by more than was asked for would starve the buffer; to lengthen by more costs little.
    let least = if sign > 0 { wish } else { wish.max(SHORTEST) };
    let longest = if sign > 0 { wish.min(LONGEST) } else { LONGEST };
    if pcm.ahead() < MARGIN || reach < SHORTEST || least < SHORTEST {
        return Stretched::default();
    }
    let in_silence = is_silent(pcm, sign * least.min(reach).cast_signed());
    let by = match urgency {
        _ if in_silence => Some(least.min(reach)),
        Urgency::InSilence => None,
        Urgency::InVoice => best_lag(pcm, sign, longest.min(reach), ALIKE),
        Urgency::Anywhere => best_lag(pcm, sign, longest.min(reach), ALIKE_ENOUGH),
    };
    let Some(by) = by else { return Stretched::default() };
    let by = sign * by.cast_signed();
    pcm.jump(by, 2 * FADE);
    Stretched { by, in_silence }
}

/// Whether the sound on the way and on both ends is silence.
fn is_silent(pcm: &Pcm, by: isize) -> bool {
    let len = by.unsigned_abs() + WINDOW;
    let sound = pcm.slice(by.min(0), len);
    sound.chunks(WINDOW * pcm.channels()).all(|part| energy(part) < SILENCE * part.len() as f32)
}

/// The distance at which the sound is most like the sound here, if it is alike enough.
fn best_lag(pcm: &Pcm, sign: isize, longest: usize, enough: f32) -> Option<usize> {
    let here = pcm.slice(0, WINDOW);
    let correlation = if pcm.channels() == 1 { correlation::<1> } else { correlation::<2> };
    let alike = |lag: usize, step: usize| correlation(here, pcm.slice(sign * lag.cast_signed(), WINDOW), step);
    let best_of = |lags: &mut dyn Iterator<Item = usize>, step| {
        lags.map(|lag| (alike(lag, step), lag)).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, lag)| lag)
    };
    let coarse = best_of(&mut (SHORTEST..=longest).step_by(COARSE), COARSE)?;
    let fine = best_of(&mut (coarse.saturating_sub(COARSE).max(SHORTEST)..=(coarse + COARSE).min(longest)), 1)?;
    (alike(fine, 1) >= enough).then_some(fine)
}

/// How alike both are, over all channels: so sides that cancel each other out count as any others.
fn correlation<const CHANNELS: usize>(a: &[f32], b: &[f32], step: usize) -> f32 {
    let (mut ab, mut aa, mut bb) = (0.0, 1e-9, 1e-9);
    let every = |sound| <[f32]>::as_chunks::<CHANNELS>(sound).0.iter().step_by(step);
    for (a, b) in every(a).zip(every(b)) {
        for (a, b) in a.iter().zip(b) {
            ab += a * b;
            aa += a * a;
            bb += b * b;
        }
    }
    ab / f32::sqrt(aa * bb)
}

fn energy(sound: &[f32]) -> f32 {
    sound.iter().map(|sample| sample * sample).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voiced(hz: f32) -> Pcm {
        let mut pcm = Pcm::new();
        for (i, sample) in pcm.append(4800).iter_mut().enumerate() {
            let angle = i as f32 * hz / 48_000.0 * std::f32::consts::TAU;
            *sample = 0.3 * angle.sin() + 0.2 * (2.0 * angle).sin();
        }
        pcm.read(&mut [0.0; 1440]);
        pcm
    }

    fn largest_step(pcm: &mut Pcm) -> f32 {
        let mut out = [0.0; 960];
        let mut last = pcm.slice(-1, 1)[0];
        pcm.read(&mut out);
        out.iter().map(|sample| (sample - std::mem::replace(&mut last, *sample)).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn a_voice_changes_by_whole_periods_and_without_a_step() {
        for (wish, sign) in [(720, 1), (-720, -1)] {
            let mut pcm = voiced(120.0);
            let untouched = largest_step(&mut voiced(120.0));

            let by = stretch(&mut pcm, wish, Urgency::InVoice).by;

            assert!((395..=405).contains(&(by * sign)), "moved by {by}, the period is 400");
            let step = largest_step(&mut pcm);
            assert!(step < 1.5 * untouched, "a step of {step}, {untouched} in the sound itself");
        }
    }

    #[test]
    fn silence_moves_by_all_that_is_asked_for() {
        let mut pcm = Pcm::new();
        pcm.append(4800);

        assert_eq!(stretch(&mut pcm, 2345, Urgency::InVoice).by, 2345);
        assert_eq!(stretch(&mut pcm, -1000, Urgency::InVoice).by, -1000);
        assert_eq!(stretch(&mut pcm, 60, Urgency::InVoice).by, 0, "too little to be worth it");
        assert_eq!(stretch(&mut pcm, -60, Urgency::InVoice).by, -120, "rather too long than too short");
    }

    #[test]
    fn noise_is_left_alone_unless_it_is_urgent() {
        let mut pcm = Pcm::new();
        let mut seed = 1u32;
        for sample in pcm.append(4800) {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *sample = (seed >> 8) as f32 / f32::from(1u16 << 15) / 512.0 - 0.5;
        }

        assert_eq!(stretch(&mut pcm, 720, Urgency::InVoice).by, 0);
    }

    #[test]
    fn what_is_not_there_is_not_jumped_over() {
        let mut pcm = voiced(120.0);
        pcm.read(&mut [0.0; 3000]);

        assert_eq!(stretch(&mut pcm, 720, Urgency::InVoice).by, 0, "360 ahead: 120 at most, which is no period");
        pcm.read(&mut [0.0; 200]);
        assert_eq!(stretch(&mut pcm, 720, Urgency::Anywhere).by, 0);
    }

    #[test]
    fn both_channels_are_cut_at_the_same_place_also_where_they_cancel_each_other_out() {
        let tone = |i: usize, hz: f32| (i as f32 * hz / 48_000.0 * std::f32::consts::TAU).sin() * 0.3;
        for other in [120.0, 240.0] {
            let mut pcm = Pcm::new();
            pcm.reshape(2);
            for (i, sample) in pcm.append(4800).chunks_exact_mut(2).enumerate() {
                sample.copy_from_slice(&[tone(i, 120.0), -tone(i, other)]);
            }
            pcm.read(&mut [0.0; 2880]);

            let by = stretch(&mut pcm, 720, Urgency::InVoice).by;

            assert!((395..=405).contains(&by), "moved by {by}, the period is 400");
            let mut out = [0.0; 960];
            pcm.read(&mut out);
            let from = 1440 + by.unsigned_abs();
            let off = |i: usize, side: usize, sign: f32, hz: f32| (out[2 * i + side] - sign * tone(from + i, hz)).abs();
            let worst = (240..480).map(|i| off(i, 0, 1.0, 120.0).max(off(i, 1, -1.0, other))).fold(0.0, f32::max);
            assert!(worst < 1e-4, "{other} Hz: off by {worst}");
        }
    }

    #[test]
    fn what_is_heard_on_one_side_alone_is_no_silence() {
        let mut pcm = Pcm::new();
        pcm.reshape(2);
        let mut seed = 1u32;
        for sample in pcm.append(4800).chunks_exact_mut(2) {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            sample[1] = (seed >> 8) as f32 / f32::from(1u16 << 15) / 512.0 - 0.5;
        }

        assert_eq!(stretch(&mut pcm, 2000, Urgency::InVoice), Stretched::default());
    }
}
