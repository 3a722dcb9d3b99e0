//! The router's epoch: how a restart that lost all mappings is noticed (RFC 6887, section 8.5; RFC 6886, section 3.6).

use std::time::{Duration, Instant};

/// What the router last said of the time since its mappings began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Epoch {
    last: Option<(u32, Instant)>,
}

impl Epoch {
    /// Takes an epoch time; whether it says that mappings may be lost.
    pub(crate) fn is_reset_by(&mut self, seconds: u32, now: Instant) -> bool {
        let reset = self.last.is_some_and(|(before, then)| {
            let passed = now.saturating_duration_since(then);
            is_reset((u64::from(before), u64::from(seconds)), passed)
        });
        self.last = Some((seconds, now));
        reset
    }
}

/// The rule of RFC 6887: the two clocks may differ by 1/16 and by 2 s, and the router's may step back by 1 s.
fn is_reset((before, after): (u64, u64), passed: Duration) -> bool {
    if after + 1 < before {
        return true;
    }
    let (client, server) = (passed.as_secs(), after.saturating_sub(before));
    client + 2 < server - server / 16 || server + 2 < client - client / 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_that_counts_on_has_lost_nothing() {
        let mut epoch = Epoch::default();
        let start = netsim::epoch();
        assert!(!epoch.is_reset_by(5_000_000, start), "the first one says nothing");
        assert!(!epoch.is_reset_by(5_000_060, start + Duration::from_secs(60)));
        assert!(!epoch.is_reset_by(5_001_860, start + Duration::from_secs(1860)));
        assert!(!epoch.is_reset_by(5_001_859, start + Duration::from_secs(1860)), "a reordered answer");
    }

    #[test]
    fn a_router_that_counts_anew_has_lost_all() {
        let rows =
            [(100, 0, 60, true), (100, 98, 0, true), (100, 99, 0, false), (100, 100, 10, true), (0, 200, 10, true)];
        for (before, after, passed, expected) in rows {
            assert_eq!(is_reset((before, after), Duration::from_secs(passed)), expected, "{before} {after} {passed}");
        }
    }
}
