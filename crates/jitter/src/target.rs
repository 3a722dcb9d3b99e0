//! How long a frame should wait: where delay and lateness together cost least.

use crate::{SAMPLE_RATE, delays::BINS};

const MS: i64 = SAMPLE_RATE as i64 / 1000;
/// What a millisecond of delay costs in points of the E-model (ITU-T G.107) below 177 ms.
const DELAY: f32 = 0.024;
/// What a percent of late frames costs while there are few: concealment hides most of them.
const LATE: f32 = 0.10;
/// From this percentage on, lateness is heard ...
const HEARD: f32 = 1.5;
/// ... and costs this much more for each percent.
const LATE_HEARD: f32 = 2.0;
/// What a millisecond outside of the limits costs.
const OUTSIDE: f32 = 10.0;

/// What each delay above the lowest costs, in points.
#[derive(Clone, Debug)]
pub(crate) struct Costs {
    /// For each millisecond.
    points: [f32; BINS + 1],
    cheapest: i64,
}

impl Costs {
    /// Given the share of frames that are later than each millisecond, from 0 on; `limits` in milliseconds.
    pub(crate) fn new(late: impl Iterator<Item = f32>, limits: (usize, usize)) -> Self {
        let mut costs = Self { points: [0.0; BINS + 1], cheapest: 0 };
        costs.update(late, limits);
        costs
    }

    pub(crate) fn update(&mut self, late: impl Iterator<Item = f32>, (min, max): (usize, usize)) {
        let mut points = self.points.iter_mut();
        late.for_each(|late| points.next().into_iter().for_each(|point| *point = late));
        // With every packet: so these are loops that take several points at once.
        let (min, max) = (min as f32, max as f32);
        for (ms, point) in (0_i32..).zip(&mut self.points) {
            let ms = ms as f32;
            let outside = (min - ms).max(0.0) + (ms - max).max(0.0);
            *point = DELAY * ms + cost_of_late(100.0 * *point) + OUTSIDE * outside;
        }
        let least = least(&self.points);
        let cheapest = self.points.iter().position(|point| *point <= least);
        self.cheapest = cheapest.map_or(0, |ms| ms as i64 * MS);
    }

    /// The cheapest delay, in samples.
    pub(crate) fn cheapest(&self) -> i64 {
        self.cheapest
    }

    /// What a delay of so many samples costs.
    pub(crate) fn of(&self, delay: i64) -> f32 {
        let ms = delay.div_euclid(MS);
        let Ok(index) = usize::try_from(ms) else { return self.points[0] - OUTSIDE * ms as f32 };
        let part = (delay - ms * MS) as f32 / MS as f32;
        match (self.points.get(index), self.points.get(index + 1)) {
            (Some(here), Some(next)) => here + (next - here) * part,
            _ => self.points[BINS] + OUTSIDE * (index - BINS + 1) as f32,
        }
    }
}

fn least(points: &[f32]) -> f32 {
    let less = |one: f32, other: f32| if other < one { other } else { one };
    let (eights, rest) = points.as_chunks::<8>();
    let mut least = [f32::INFINITY; 8];
    for eight in eights {
        least.iter_mut().zip(eight).for_each(|(least, point)| *least = less(*least, *point));
    }
    least.into_iter().chain(rest.iter().copied()).fold(f32::INFINITY, less)
}

fn cost_of_late(percent: f32) -> f32 {
    LATE * percent + LATE_HEARD * (percent - HEARD).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(shares: &[(usize, f32)], limits: (usize, usize)) -> i64 {
        let late = |ms| shares.iter().filter(|(bin, _)| *bin >= ms).map(|(_, share)| share).sum::<f32>();
        Costs::new((0..=BINS).map(late), limits).cheapest() / MS
    }

    #[test]
    fn steady_frames_wait_for_nothing() {
        assert_eq!(target(&[(0, 1.0)], (1, 250)), 1);
    }

    #[test]
    fn a_common_delay_is_waited_for() {
        assert_eq!(target(&[(0, 0.9), (40, 0.1)], (1, 250)), 41);
    }

    #[test]
    fn a_rare_long_delay_is_not_worth_it() {
        assert_eq!(target(&[(0, 0.995), (120, 0.005)], (1, 250)), 1);
    }

    #[test]
    fn the_limits_hold() {
        assert_eq!(target(&[(0, 0.5), (399, 0.5)], (1, 250)), 1, "out of reach, so not worth a step");
        assert_eq!(target(&[(0, 0.5), (399, 0.5)], (30, 250)), 30);
        assert_eq!(target(&[(0, 0.5), (100, 0.5)], (1, 101)), 101);
    }

    #[test]
    fn every_delay_has_a_cost() {
        let costs = Costs::new((0..=BINS).map(|ms| 1.0 - ms as f32 / BINS as f32), (1, 250));
        let all: Vec<f32> = [-1_000_000, -1, 0, 24, 48, 19_200, 19_201, 1_000_000].map(|delay| costs.of(delay)).into();
        assert!(all.iter().all(|cost| cost.is_finite()), "{all:?}");
        assert!(all[0] > all[1] && all[1] >= all[2] && all[2] > all[3] && all[3] > all[4] && all[5] < all[7]);
    }
}
