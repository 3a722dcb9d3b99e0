//! Arithmetic on measured values.

/// The middle value; `None` of none.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The value below which a share of the values is, between two of them if need be; `None` of none.
pub(super) fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let place = share.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(low + (high - low) * place.fract())
}

/// The largest; `None` of none.
pub(super) fn largest(values: &[f64]) -> Option<f64> {
    values.iter().copied().max_by(f64::total_cmp)
}

/// The mean; `None` of none.
pub(super) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// By how much `y` grows for each `x`: the slope of the line with the least squares. `None` of fewer than two places.
pub(super) fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let (x, y) = (
        mean(&points.iter().map(|p| p.0).collect::<Vec<_>>())?,
        mean(&points.iter().map(|p| p.1).collect::<Vec<_>>())?,
    );
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let together: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    (spread > 0.0).then(|| together / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle_however_the_values_come() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn quantiles_reach_from_the_least_to_the_largest() {
        let values = [50.0, 10.0, 20.0, 30.0, 40.0];
        assert_eq!(quantile(&values, 0.0), Some(10.0));
        assert_eq!(quantile(&values, 1.0), largest(&values));
        assert_eq!(quantile(&values, 0.9), Some(46.0));
        assert_eq!(mean(&values), Some(30.0));
    }

    #[test]
    fn a_slope_is_found_through_noise_and_not_from_one_point() {
        let line: Vec<_> =
            (0..100).map(|n| (f64::from(n), 5.0 + 0.25 * f64::from(n) + f64::from(n % 2) - 0.5)).collect();
        assert!((slope(&line).unwrap() - 0.25).abs() < 1e-3);
        assert_eq!(slope(&[(1.0, 2.0), (1.0, 3.0)]), None);
        assert_eq!(slope(&[]), None);
    }
}
