//! From one sample rate to another, as Octave's `resample` does: ESTOI is defined on its output.

/// Attenuation above the band.
const REJECTION_DB: f64 = 60.0;

/// The same sound at another rate.
pub(crate) fn resample(samples: &[f64], from: u32, to: u32) -> Vec<f64> {
    let common = gcd(from, to);
    let (up, down) = ((to / common) as usize, (from / common) as usize);
    if up == down {
        return samples.to_vec();
    }
    let filter = low_pass(up.max(down));
    let half = filter.len() / 2;
    let out = (samples.len() * up).div_ceil(down);
    let sample = |n: usize| {
        // Sample `n` is at `n * down` of the sound that has `up - 1` zeros after each sample.
        let centre = n * down;
        let first = centre.saturating_sub(half).div_ceil(up);
        let last = ((centre + half) / up).min(samples.len() - 1);
        (first..=last).map(|at| samples[at] * filter[centre + half - at * up]).sum::<f64>() * up as f64
    };
    (0..out).map(sample).collect()
}

/// A sinc under a Kaiser window that cuts at half the rate divided by `factor`; its sum is 1.
fn low_pass(factor: usize) -> Vec<f64> {
    let cutoff = 0.5 / factor as f64;
    let half = ((REJECTION_DB - 8.0) / (28.714 * cutoff / 10.0)).ceil() as usize;
    let beta = 0.1102 * (REJECTION_DB - 8.7);
    let tap = |n: usize| {
        let t = n as f64 - half as f64;
        let place = t / half as f64;
        sinc(2.0 * cutoff * t) * bessel_i0(beta * (1.0 - place * place).max(0.0).sqrt())
    };
    let taps: Vec<f64> = (0..=2 * half).map(tap).collect();
    let sum: f64 = taps.iter().sum();
    taps.iter().map(|tap| tap / sum).collect()
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x == 0.0 { 1.0 } else { x.sin() / x }
}

/// The modified Bessel function of order 0, by its series.
fn bessel_i0(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..60 {
        term *= (x / 2.0 / f64::from(k)).powi(2);
        sum += term;
    }
    sum
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_below_the_cut_stays_and_one_above_goes() {
        let tone = |hz: f64| (0..9600).map(move |n| (f64::from(n) * hz * std::f64::consts::TAU / 48_000.0).sin());
        let low = resample(&tone(1000.0).collect::<Vec<_>>(), 48_000, 10_000);
        assert_eq!(low.len(), 2000);
        let expected = (0..2000).map(|n| (f64::from(n) / 10.0 * std::f64::consts::TAU).sin());
        let worst = low.iter().zip(expected).skip(500).take(1000).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 2e-3, "{worst}");
        let high = resample(&tone(6000.0).collect::<Vec<_>>(), 48_000, 10_000);
        let worst = high.iter().skip(500).take(1000).map(|a| a.abs()).fold(0.0, f64::max);
        assert!(worst < 2e-3, "{worst}");
    }

    #[test]
    fn nothing_stays_nothing_and_the_same_rate_the_same() {
        assert!(resample(&[], 48_000, 10_000).is_empty());
        assert_eq!(resample(&[0.5], 10_000, 10_000), [0.5]);
    }
}
