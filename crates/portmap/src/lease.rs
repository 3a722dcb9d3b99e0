//! A mapping that the router has granted, and when it is renewed.

use std::{
    net::SocketAddrV4,
    time::{Duration, Instant},
};

/// How long mappings are asked for: short enough that a forgotten one is soon gone.
pub(crate) const LIFETIME: Duration = Duration::from_secs(3600);
/// A mapping for less would be asked for all the time; sensible routers give 2 min at least.
const MIN_LIFETIME: Duration = Duration::from_secs(10);
/// Between renewals of one mapping (RFC 6887, section 11.2.1).
const MIN_GAP: Duration = Duration::from_secs(4);

/// What a router has granted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Lease {
    pub(crate) external: SocketAddrV4,
    pub(crate) lifetime: Duration,
    ends: Instant,
    renewal: Instant,
}

impl Lease {
    /// A mapping of which more than the asked-for lifetime is not believed; `None` if it is too short to be of use.
    pub(crate) fn new(external: SocketAddrV4, lifetime: Duration, now: Instant) -> Option<Self> {
        let lifetime = lifetime.min(LIFETIME);
        let renewal = now + lifetime / 2;
        (lifetime >= MIN_LIFETIME).then_some(Self { external, lifetime, ends: now + lifetime, renewal })
    }

    pub(crate) fn has_ended(&self, now: Instant) -> bool {
        self.ends <= now
    }

    /// When there is something to do: a renewal, or to give up.
    pub(crate) fn due(&self) -> Instant {
        self.renewal.min(self.ends)
    }

    pub(crate) fn renew_now(&mut self, now: Instant) {
        self.renewal = now;
    }

    /// A renewal went out; the next one, if there is no answer, comes after half of what is left.
    pub(crate) fn note_renewal(&mut self, now: Instant) {
        let left = self.ends.saturating_duration_since(now);
        self.renewal = now + (left / 2).max(MIN_GAP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(lifetime_s: u64) -> Option<Lease> {
        Lease::new("203.0.113.7:4000".parse().unwrap(), Duration::from_secs(lifetime_s), netsim::epoch())
    }

    #[test]
    fn renewals_without_an_answer_come_closer_and_end_with_the_lease() {
        let start = netsim::epoch();
        let mut lease = lease(3600).unwrap();
        let mut at = Vec::new();
        while !lease.has_ended(lease.due()) {
            let now = lease.due();
            at.push(now.duration_since(start).as_secs());
            lease.note_renewal(now);
        }
        assert_eq!(at, [1800, 2700, 3150, 3375, 3487, 3543, 3571, 3585, 3592, 3596]);
        assert_eq!(lease.due().duration_since(start).as_secs(), 3600);
    }

    #[test]
    fn lifetimes_that_make_no_sense_are_cut_or_refused() {
        assert_eq!(lease(0), None);
        assert_eq!(lease(9), None);
        assert_eq!(lease(u64::from(u32::MAX)).unwrap().lifetime, LIFETIME);
        assert_eq!(lease(120).unwrap().lifetime, Duration::from_secs(120));
    }
}
