//! How much faster the sender's clock runs than the loudspeaker's.
//!
//! Both are seen through this computer's clock: frames come no earlier than they were made, pulls no earlier than the
//! loudspeaker has room. The lowest lateness of each half second is free of most jitter; the slope of the difference
//! of both is the drift. A path that changes its delay makes a step, not a slope, so both halves of the time seen have
//! to agree.

use std::{collections::VecDeque, ops::Range};

use crate::SAMPLE_RATE;

const SLOT: i64 = SAMPLE_RATE as i64 / 2;
/// One minute.
const POINTS: usize = 120;
/// Fewer say nothing.
const ENOUGH: usize = 8;
/// Drift below 10 ppm, a sample in two seconds, is left to the buffer.
const REAL: f64 = 10e-6;
/// More is no crystal.
const MOST: f64 = 2e-3;
/// Times in a row that a drift has to be certain.
const SURE: u32 = 3;

#[derive(Debug)]
pub(crate) struct Drift {
    slot: i64,
    arrival: Option<i64>,
    pull: Option<i64>,
    points: VecDeque<Point>,
    certain: u32,
    estimate: f64,
    /// How fast arrivals fall behind this computer's clock.
    lag: f64,
}

impl Drift {
    pub(crate) fn new() -> Self {
        let points = VecDeque::with_capacity(POINTS + 1);
        Self { slot: 0, arrival: None, pull: None, points, certain: 0, estimate: 0.0, lag: 0.0 }
    }

    /// A frame came at `now`, `behind` its media time.
    pub(crate) fn note_arrival(&mut self, behind: i64, now: i64) {
        self.turn(now);
        self.arrival = Some(self.arrival.map_or(behind, |lowest| lowest.min(behind)));
    }

    /// Samples were asked for at `now`, `behind` their count.
    pub(crate) fn note_pull(&mut self, behind: i64, now: i64) {
        self.turn(now);
        self.pull = Some(self.pull.map_or(behind, |lowest| lowest.min(behind)));
    }

    /// The sender's seconds in one second of the loudspeaker, minus one; `None` until sure that it is not zero.
    pub(crate) fn rate(&self) -> Option<f64> {
        (self.certain >= SURE).then_some(self.estimate)
    }

    /// By how much arrivals fall behind this computer's clock in one sample; 0 until sure of it.
    pub(crate) fn lag(&self) -> f64 {
        if self.certain >= SURE { self.lag } else { 0.0 }
    }

    fn turn(&mut self, now: i64) {
        if now < self.slot + SLOT {
            return;
        }
        if let (Some(arrival), Some(pull)) = (self.arrival.take(), self.pull.take()) {
            if self.points.len() == POINTS {
                self.points.pop_front();
            }
            self.points.push_back(Point { at: self.slot as f64, pull: pull as f64, arrival: arrival as f64 });
            self.judge();
        }
        (self.arrival, self.pull) = (None, None);
        self.slot = now;
    }

    fn judge(&mut self) {
        let count = self.points.len();
        if count < ENOUGH {
            return;
        }
        let line = |range: Range<usize>| Line::through(self.points.range(range).map(|p| (p.at, p.pull - p.arrival)));
        let (all, early, late) = (line(0..count), line(0..count / 2), line(count / 2..count));
        let agree = [(&early, &late), (&early, &all), (&late, &all)].iter().all(|(a, b)| a.agrees_with(b));
        if self.certain >= SURE {
            if agree && all.slope.abs() < MOST {
                self.estimate += (all.slope - self.estimate) * 0.2;
                self.lag = self.arrival_slope();
            }
        } else if agree && (REAL.max(5.0 * all.error)..MOST).contains(&all.slope.abs()) {
            self.certain += 1;
            self.estimate = all.slope;
            self.lag = self.arrival_slope();
        } else {
            self.certain = 0;
        }
    }

    fn arrival_slope(&self) -> f64 {
        Line::through(self.points.iter().map(|point| (point.at, point.arrival))).slope
    }
}

/// What half a second has shown: the lowest lateness of each side.
#[derive(Clone, Copy, Debug)]
struct Point {
    at: f64,
    pull: f64,
    arrival: f64,
}

/// A least-squares line.
struct Line {
    slope: f64,
    /// Standard error of the slope.
    error: f64,
}

impl Line {
    fn agrees_with(&self, other: &Self) -> bool {
        (self.slope - other.slope).abs() <= 3.0 * self.error.hypot(other.error) + 5e-6
    }

    fn through(points: impl Iterator<Item = (f64, f64)> + Clone) -> Self {
        let count = points.clone().count() as f64;
        let mean_x = points.clone().map(|(x, _)| x).sum::<f64>() / count;
        let mean_y = points.clone().map(|(_, y)| y).sum::<f64>() / count;
        let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
        for (x, y) in points {
            xx += (x - mean_x).powi(2);
            xy += (x - mean_x) * (y - mean_y);
            yy += (y - mean_y).powi(2);
        }
        let slope = xy / xx.max(1.0);
        let rest = (yy - slope * xy).max(0.0);
        Self { slope, error: (rest / (count - 2.0).max(1.0) / xx.max(1.0)).sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames and pulls each 10 ms with some noise; the sender gains `ppm` and the path changes by `step` at half time.
    fn rate_after(seconds: i64, ppm: f64, noise: i64, step: i64) -> Option<f64> {
        let mut drift = Drift::new();
        let mut seed = 7u64;
        for pull in 0..seconds * 100 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let noise = (seed >> 33) as i64 % (noise + 1);
            let now = pull * 480;
            let step = if pull > seconds * 50 { step } else { 0 };
            drift.note_arrival(noise + step - (now as f64 * ppm * 1e-6) as i64, now);
            drift.note_pull(noise, now);
        }
        drift.rate()
    }

    #[test]
    fn a_strong_drift_is_known_within_seconds() {
        for ppm in [-300.0, 300.0] {
            let rate = rate_after(10, ppm, 48, 0).expect("a drift");
            assert!((rate * 1e6 - ppm).abs() < 20.0, "{ppm} ppm taken for {}", rate * 1e6);
        }
    }

    #[test]
    fn a_weak_drift_is_known_within_minutes_even_on_a_jittery_path() {
        let rate = rate_after(180, 40.0, 2000, 0).expect("a drift");
        assert!((rate * 1e6 - 40.0).abs() < 10.0, "40 ppm taken for {}", rate * 1e6);
    }

    #[test]
    fn equal_clocks_have_none() {
        for noise in [0, 48, 500, 2000, 8000] {
            assert_eq!(rate_after(600, 0.0, noise, 0), None, "with noise up to {noise}");
            assert_eq!(rate_after(600, 3.0, noise, 0), None, "3 ppm, with noise up to {noise}");
        }
    }

    #[test]
    fn a_longer_path_is_no_drift() {
        for step in [-3000, 50, 500, 3000] {
            assert_eq!(rate_after(120, 0.0, 48, step), None, "a step of {step} samples");
        }
    }
}
