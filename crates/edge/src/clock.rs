//! Clocks that programs tell each other the time by.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// The time of day in milliseconds since 1970, for events and message ids.
pub fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The clock that all programs of this machine share, in microseconds: it never jumps, and what its zero is means nothing.
pub fn shared_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

/// When that was which [`shared_us`] told, in this program or another one; now, if it is yet to come.
pub fn instant_of(shared_us: u64) -> Instant {
    let (now, shared_now) = (Instant::now(), self::shared_us());
    now.checked_sub(Duration::from_micros(shared_now.saturating_sub(shared_us))).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_is_found_again_and_what_is_to_come_is_now() {
        let before = Instant::now();
        let shared = shared_us();
        let after = Instant::now();
        let found = instant_of(shared);
        let error = Duration::from_millis(50);
        assert!(found + error > before && found < after + error);
        assert!(instant_of(u64::MAX) >= after);
        assert!(instant_of(0) <= Instant::now());
    }
}
