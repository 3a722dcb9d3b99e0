//! When each sample of a file is heard: an absolute schedule, so that nothing drifts.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use codec::RATE;

/// Later than this, and the time that was missed is skipped: a program that was stopped has not heard anything.
const MOST_LATE: Duration = Duration::from_millis(500);

/// Counts samples from a moment that is known by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeline {
    start: Instant,
    start_unix_ns: u64,
}

impl Timeline {
    /// Begins now.
    pub(crate) fn now() -> Self {
        Self { start: Instant::now(), start_unix_ns: unix_ns() }
    }

    /// Begins at a wall clock's time, which may be to come; if it has passed, now.
    pub(crate) fn at(unix_seconds: Option<f64>) -> Self {
        let now = Self::now();
        let wanted = unix_seconds.map_or(0, |seconds| (seconds * 1e9) as u64);
        let ahead = wanted.saturating_sub(now.start_unix_ns);
        Self { start: now.start + Duration::from_nanos(ahead), start_unix_ns: now.start_unix_ns + ahead }
    }

    /// Began so many samples ago.
    pub(crate) fn ago(samples: u64) -> Self {
        let since = duration(samples);
        let now = Self::now();
        let start = now.start.checked_sub(since).unwrap_or(now.start);
        Self { start, start_unix_ns: now.start_unix_ns - since.as_nanos() as u64 }
    }

    /// When sample 0 is, in nanoseconds since 1970.
    pub(crate) fn start_unix_ns(&self) -> u64 {
        self.start_unix_ns
    }

    /// When a sample is.
    pub(crate) fn instant(&self, sample: u64) -> Instant {
        self.start + duration(sample)
    }

    /// When it is so many samples before the start; the start itself where clocks do not reach back that far.
    pub(crate) fn before(&self, samples: u64) -> Instant {
        self.start.checked_sub(duration(samples)).unwrap_or(self.start)
    }

    /// Which sample is at `now`; 0 before the start.
    pub(crate) fn sample(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start);
        (since.as_nanos() * u128::from(RATE) / 1_000_000_000) as u64
    }

    /// Whether the start has passed.
    pub(crate) fn has_begun(&self) -> bool {
        Instant::now() >= self.start
    }

    /// How long it is to the start.
    pub(crate) fn samples_ahead(&self) -> u64 {
        let ahead = self.start.saturating_duration_since(Instant::now());
        (ahead.as_nanos() * u128::from(RATE) / 1_000_000_000) as u64
    }

    /// Waits until the start is so many samples away.
    pub(crate) fn wait_before(&self, samples: u64) {
        thread::sleep(self.start.saturating_duration_since(Instant::now()).saturating_sub(duration(samples)));
    }

    /// Waits for a sample. If its time is long gone, tells how many to skip, in whole multiples of `step`.
    pub(crate) fn wait_for(&self, sample: u64, step: u64) -> Waited {
        let (now, due) = (Instant::now(), self.instant(sample));
        if let Some(early) = due.checked_duration_since(now) {
            thread::sleep(early);
            return Waited { missed: 0, overslept: due.elapsed() };
        }
        let late = now.duration_since(due);
        let missed = if late < MOST_LATE { 0 } else { (self.sample(now) - sample) / step * step };
        Waited { missed, overslept: Duration::ZERO }
    }
}

/// How a wait for a sample went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited {
    /// Samples to skip, because their time is long gone.
    pub(crate) missed: u64,
    /// By how much the system woke us too late.
    pub(crate) overslept: Duration,
}

/// How long so many samples last.
pub(crate) fn duration(samples: u64) -> Duration {
    Duration::from_nanos((u128::from(samples) * 1_000_000_000 / u128::from(RATE)) as u64)
}

/// The wall clock.
pub(crate) fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_where_its_time_is_even_after_a_day() {
        let line = Timeline::now();
        for sample in [0, 1, 480, 48_000 * 86_400 + 7] {
            let back = line.sample(line.instant(sample));
            assert!(back == sample || back + 1 == sample, "{sample} came back as {back}");
        }
        assert_eq!(line.instant(48_000 * 3600), line.start + Duration::from_secs(3600));
    }

    #[test]
    fn a_start_that_has_passed_is_now_and_one_to_come_is_then() {
        assert!(Timeline::at(Some(1.0)).start <= Instant::now());
        let soon = unix_ns() / 1_000_000_000 + 3600;
        let line = Timeline::at(Some(soon as f64));
        assert_eq!(line.start_unix_ns(), soon * 1_000_000_000);
        assert_eq!(line.sample(Instant::now()), 0);
    }

    #[test]
    fn time_that_was_slept_through_is_skipped_in_whole_steps() {
        let start = Instant::now() - Duration::from_secs(2);
        let line = Timeline { start, start_unix_ns: 0 };
        let skipped = line.wait_for(480, 480).missed;
        assert!(skipped >= 48_000 && skipped.is_multiple_of(480), "{skipped}");
        assert_eq!(line.wait_for(48_000 * 2 - 4800, 480).missed, 0, "100 ms late is caught up with");
    }
}
