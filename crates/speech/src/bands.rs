//! Three bands of 8 kHz, each at 16 kHz, and sound again from them: a filter bank modulated by cosines, nearly without loss
//! (pseudo-QMF, after Vaidyanathan, Multirate Systems and Filter Banks, section 8.5).

use std::f64::consts::PI;

use crate::{BLOCK, Block};

/// How many bands there are, and by how much each has fewer samples.
pub(crate) const BANDS: usize = 3;
/// Samples of a band in a block.
pub(crate) const PART: usize = BLOCK / BANDS;
/// By how many samples at 48 kHz what is put together lags behind what was split.
pub(crate) const DELAY: usize = TAPS - BANDS;

/// Taps of the filters. Those of a band repeat each 12, all but for the sign each 6: so all bands share [`PHASES`] filters.
const TAPS: usize = 48;
const PHASES: usize = 2 * BANDS;
const EACH: usize = TAPS / PHASES;
/// Samples of the block before that a filter looks back on: each of its taps is two samples from the next one.
const PAST: usize = 2 * EACH - 1;
/// The form of the low-pass filter that all bands are made of (a Kaiser window): aliases are 88 dB down.
const BETA: f64 = 8.0;

/// A block as three bands, from the lowest on.
pub(crate) type Bands = [[f32; PART]; BANDS];

/// What was, and then what is.
type Line = [f32; PAST + PART];

/// The filters, with which to split or to put together.
#[derive(Clone, Debug)]
struct Filters {
    /// The taps of each phase, from the latest sample back.
    taps: [[f32; EACH]; PHASES],
    /// How much of each phase there is in a band.
    weights: [[f32; PHASES]; BANDS],
}

/// Splits sound.
#[derive(Clone, Debug)]
pub(crate) struct Splitter {
    filters: Filters,
    lines: [Line; BANDS],
}

/// Puts sound together.
#[derive(Clone, Debug)]
pub(crate) struct Joiner {
    filters: Filters,
    lines: [Line; PHASES],
}

impl Splitter {
    pub(crate) fn new() -> Self {
        Self { filters: Filters::new(1.0), lines: [[0.0; PAST + PART]; BANDS] }
    }

    /// The bands of the next block.
    pub(crate) fn split(&mut self, block: &Block) -> Bands {
        for (n, line) in self.lines.iter_mut().enumerate() {
            line.copy_within(PART.., 0);
            for (sample, three) in line[PAST..].iter_mut().zip(block.as_chunks::<BANDS>().0) {
                *sample = three[n];
            }
        }
        let mut bands = [[0.0; PART]; BANDS];
        for phase in 0..PHASES {
            let mut filtered = [0.0; PART];
            let line = &self.lines[BANDS - 1 - phase % BANDS];
            filter(line, phase / BANDS, &self.filters.taps[phase], &mut filtered);
            for (band, weights) in bands.iter_mut().zip(&self.filters.weights) {
                add(band, &filtered, weights[phase]);
            }
        }
        bands
    }
}

impl Joiner {
    pub(crate) fn new() -> Self {
        Self { filters: Filters::new(-1.0), lines: [[0.0; PAST + PART]; PHASES] }
    }

    /// The next block of sound.
    pub(crate) fn join(&mut self, bands: &Bands) -> Block {
        let mut thirds = [[0.0; PART]; BANDS];
        for (phase, line) in self.lines.iter_mut().enumerate() {
            line.copy_within(PART.., 0);
            let mut sum = [0.0; PART];
            for (band, weights) in bands.iter().zip(&self.filters.weights) {
                add(&mut sum, band, BANDS as f32 * weights[phase]);
            }
            line[PAST..].copy_from_slice(&sum);
            filter(line, phase / BANDS, &self.filters.taps[phase], &mut thirds[phase % BANDS]);
        }
        let mut block = [0.0; BLOCK];
        for (n, three) in block.as_chunks_mut::<BANDS>().0.iter_mut().enumerate() {
            *three = std::array::from_fn(|third| thirds[third][n]);
        }
        block
    }
}

impl Filters {
    /// Those that split turn the bands one way (1), those that put together the other way (-1), so that what a band has of
    /// the next one goes out against what that has of it.
    fn new(turn: f64) -> Self {
        let taps = prototype();
        let phase = |q: usize, r: usize| if r.is_multiple_of(2) { taps[q + PHASES * r] } else { -taps[q + PHASES * r] };
        let weight = |band: usize, q: usize| {
            let (odd, at) = ((2 * band + 1) as f64, q as f64 - (TAPS - 1) as f64 / 2.0);
            let turned = if band.is_multiple_of(2) { turn } else { -turn };
            (2.0 * (odd * PI / PHASES as f64 * at + turned * PI / 4.0).cos()) as f32
        };
        Self {
            taps: std::array::from_fn(|q| std::array::from_fn(|r| phase(q, r) as f32)),
            weights: std::array::from_fn(|band| std::array::from_fn(|q| weight(band, q))),
        }
    }
}

/// Half as wide as a band, and 3 dB down at its edge, so that neighbours add up to one.
fn prototype() -> [f64; TAPS] {
    let (mut low, mut high) = (0.5 * PI / PHASES as f64, 1.5 * PI / PHASES as f64);
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        let at_edge = gain(&low_pass(middle), PI / PHASES as f64);
        *(if at_edge < 0.5_f64.sqrt() { &mut low } else { &mut high }) = middle;
    }
    low_pass(low)
}

/// A windowed sinc that lets through what is below `cut`, in radians for each sample, as loud as it is.
fn low_pass(cut: f64) -> [f64; TAPS] {
    let middle = (TAPS - 1) as f64 / 2.0;
    let tap = |n: usize| {
        let at = n as f64 - middle;
        let window = bessel(BETA * (1.0 - (at / middle).powi(2)).sqrt());
        (cut * at).sin() / at * window
    };
    let taps: [f64; TAPS] = std::array::from_fn(tap);
    let sum: f64 = taps.iter().sum();
    taps.map(|tap| tap / sum)
}

/// How loud a symmetric filter lets a frequency through.
fn gain(taps: &[f64; TAPS], frequency: f64) -> f64 {
    taps.iter().zip(0..).map(|(tap, n)| tap * (frequency * (f64::from(n) - (TAPS - 1) as f64 / 2.0)).cos()).sum()
}

/// The modified Bessel function of the first kind, of order 0, by its series.
fn bessel(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for n in 1..40 {
        term *= (x / 2.0 / f64::from(n)).powi(2);
        sum += term;
    }
    sum
}

/// Adds to each sample of `out` what the taps make of the samples before it, the latest of which was `late` samples ago.
fn filter(line: &Line, late: usize, taps: &[f32; EACH], out: &mut [f32; PART]) {
    let past: [&[f32]; EACH] = std::array::from_fn(|r| &line[PAST - late - 2 * r..][..PART]);
    for (n, out) in out.iter_mut().enumerate() {
        *out += past.iter().zip(taps).map(|(past, tap)| past[n] * tap).sum::<f32>();
    }
}

fn add(sum: &mut [f32; PART], other: &[f32; PART], factor: f32) {
    for (sum, other) in sum.iter_mut().zip(other) {
        *sum += other * factor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn db(ratio: f32) -> f32 {
        20.0 * ratio.log10()
    }

    /// So many blocks of a tone.
    fn tone(hz: f32, blocks: usize) -> Vec<f32> {
        (0..blocks * BLOCK).map(|n| ((n as f32 * hz / 48_000.0).fract() * std::f32::consts::TAU).sin()).collect()
    }

    fn largest(sound: &[f32]) -> f32 {
        sound.iter().fold(0.0, |largest, sample| largest.max(sample.abs()))
    }

    #[test]
    fn what_was_split_is_put_together_again() {
        let mut random = 1_u32;
        let mut noise = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let sound: Vec<f32> = (0..20 * BLOCK).map(|_| noise()).collect();
        let (mut splitter, mut joiner) = (Splitter::new(), Joiner::new());
        let out: Vec<f32> = sound.as_chunks().0.iter().flat_map(|block| joiner.join(&splitter.split(block))).collect();
        let wrong: Vec<f32> = out[DELAY..].iter().zip(&sound).map(|(out, sound)| out - sound).collect();
        let power = |sound: &[f32]| sound.iter().map(|sample| sample * sample).sum::<f32>();
        let wrong = 10.0 * (power(&wrong) / power(&sound)).log10();
        assert!(wrong < -54.0, "{wrong:.1} dB");
    }

    #[test]
    fn each_tone_is_in_its_own_band() {
        for (hz, own) in
            [(100.0, 0), (3000.0, 0), (5000.0, 0), (11_000.0, 1), (13_000.0, 1), (19_000.0, 2), (23_000.0, 2)]
        {
            let mut splitter = Splitter::new();
            let mut loudest = [0.0_f32; BANDS];
            for (n, block) in tone(hz, 4).as_chunks().0.iter().enumerate() {
                let bands = splitter.split(block);
                if n > 0 {
                    loudest = std::array::from_fn(|band| loudest[band].max(largest(&bands[band])));
                }
            }
            for (band, loudest) in loudest.iter().enumerate() {
                let is_own = (0.9..1.1).contains(loudest);
                assert!(if band == own { is_own } else { db(*loudest) < -60.0 }, "{hz} Hz in {band}: {loudest}");
            }
        }
    }
}
