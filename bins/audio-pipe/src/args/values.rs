//! Numbers and times as people write them.

use std::time::Duration;

pub(crate) fn bitrate(text: &str) -> Result<u32, String> {
    let (digits, unit) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1000),
        None => (text, 1),
    };
    let bits = digits.parse::<u32>().ok().and_then(|number| number.checked_mul(unit));
    bits.filter(|bits| (6000..=510_000).contains(bits)).ok_or_else(|| "not between 6k and 510k".to_owned())
}

pub(super) fn frame(text: &str) -> Result<Duration, String> {
    let frame = match text {
        "2.5" => Duration::from_micros(2500),
        "5" | "10" | "20" | "40" | "60" => Duration::from_millis(text.parse().unwrap_or(10)),
        _ => return Err("not one of 2.5, 5, 10, 20, 40, 60".to_owned()),
    };
    Ok(frame)
}

pub(super) fn unix_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.0..1e10).contains(seconds));
    seconds.ok_or_else(|| "not seconds since 1970".to_owned())
}

pub(super) fn period(text: &str) -> Result<Duration, String> {
    let millis = text.parse::<f64>().ok().filter(|millis| (1.0..=200.0).contains(millis));
    millis
        .map(|millis| Duration::from_micros((millis * 1000.0) as u64))
        .ok_or_else(|| "not between 1 and 200".to_owned())
}

pub(super) fn within(text: &str) -> Result<Duration, String> {
    let millis = text.parse::<u64>().ok().filter(|millis| (50..=1000).contains(millis));
    millis.map(Duration::from_millis).ok_or_else(|| "not between 50 and 1000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_people_write_them() {
        assert_eq!(bitrate("40k"), Ok(40_000));
        assert_eq!(bitrate("24000"), Ok(24_000));
        assert!(["", "k", "5k", "511k", "-1", "9999999k"].iter().all(|text| bitrate(text).is_err()));
        assert_eq!(frame("2.5"), Ok(Duration::from_micros(2500)));
        assert!(frame("15").is_err());
        assert_eq!(period("2.5"), Ok(Duration::from_micros(2500)));
        assert!(period("NaN").is_err());
        assert_eq!(unix_seconds("1700000000.25"), Ok(1_700_000_000.25));
        assert!(["inf", "-1", "NaN", "1e300"].iter().all(|text| unix_seconds(text).is_err()));
    }
}
