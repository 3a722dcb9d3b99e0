/// The level of `samples` as RFC 6464 counts it: -dBov, 0 (a full-scale square wave) to 127 (silence).
pub fn level(samples: &[f32]) -> u8 {
    const SILENCE: f32 = 127.0;
    if samples.is_empty() {
        return SILENCE as u8;
    }
    let power = samples.iter().map(|s| s * s).sum::<f32>() / samples.len() as f32;
    let below = (-10.0 * power.log10()).round();
    if below.is_nan() { SILENCE as u8 } else { below.clamp(0.0, SILENCE) as u8 }
}

#[cfg(test)]
mod tests {
    use super::level;

    #[test]
    fn a_level_is_in_decibels_below_full_scale() {
        for (amplitude, expected) in [(1.0, 0), (2.0, 0), (0.1, 20), (0.01, 40), (0.0, 127), (f32::NAN, 127)] {
            assert_eq!(level(&[amplitude; 480]), expected, "amplitude {amplitude}");
        }
        assert_eq!(level(&[]), 127);
    }
}
