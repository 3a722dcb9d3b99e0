//! How long a frame should wait: where delay and lateness together cost least.

use crate::delays::BINS;

/// What a millisecond of delay costs in points of the E-model (ITU-T G.107) below 177 ms.
const DELAY: f32 = 0.024;
/// What a percent of late frames costs while there are few: concealment hides most of them.
const LATE: f32 = 0.25;
/// From this percentage on, lateness is heard ...
const HEARD: f32 = 1.0;
/// ... and costs this much more for each percent.
const LATE_HEARD: f32 = 3.0;

/// The cheapest delay in milliseconds from `min` to `max`, given the share of frames in each millisecond of lateness.
pub(crate) fn cheapest_ms(bins: &[f32; BINS], min: usize, max: usize) -> usize {
    let mut late: f32 = bins[min.min(BINS)..].iter().sum();
    let mut best = (f32::INFINITY, min);
    for delay in min..=max.min(BINS - 1) {
        let cost = DELAY * delay as f32 + cost_of_late(100.0 * late);
        if cost < best.0 {
            best = (cost, delay);
        }
        late -= bins[delay];
    }
    best.1
}

fn cost_of_late(percent: f32) -> f32 {
    LATE * percent + LATE_HEARD * (percent - HEARD).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(shares: &[(usize, f32)]) -> usize {
        let mut bins = [0.0; BINS];
        for (bin, share) in shares {
            bins[*bin] = *share;
        }
        cheapest_ms(&bins, 1, 250)
    }

    #[test]
    fn steady_frames_wait_for_nothing() {
        assert_eq!(target(&[(0, 1.0)]), 1);
    }

    #[test]
    fn a_common_delay_is_waited_for() {
        assert_eq!(target(&[(0, 0.9), (40, 0.1)]), 41);
    }

    #[test]
    fn a_rare_long_delay_is_not_worth_it() {
        assert_eq!(target(&[(0, 0.995), (120, 0.005)]), 1);
    }

    #[test]
    fn the_limits_hold() {
        assert_eq!(target(&[(0, 0.5), (399, 0.5)]), 1, "out of reach, so not worth a step");
        assert_eq!(cheapest_ms(&[1.0 / BINS as f32; BINS], 30, 40), 40);
    }
}
