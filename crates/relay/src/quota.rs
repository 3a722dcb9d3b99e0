//! How much may be forwarded: token buckets in bytes and in frames.

use std::time::Duration;

/// How much may be forwarded. Rates are those of the frames that leave, in bits of UDP payload per second.
///
/// The defaults are made for a call of eight in which every path is relayed and everybody talks all the time: 110 packets
/// a second to each of 7 others (10 ms frames, reports, checks) of 82 bytes are 770 packets and 505 kbit/s from each
/// member; with a redundant copy in every packet (50 bytes more) 813 kbit/s; and from all of them 4 to 6.5 Mbit/s.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Of one member, in bit/s.
    pub session: u64,
    /// Frames of one member in a second; as many at once after a pause.
    pub session_packets: u64,
    /// Bytes that a member may send at once after a pause.
    pub burst: u64,
    /// Of all members that one subscriber (IPv4 address, IPv6 /64) has, in bit/s.
    pub source: u64,
    /// Whether that holds for loopback addresses too: they may be a reverse proxy, which speaks for many.
    pub limit_loopback: bool,
    /// Of all members of one channel, in bit/s.
    pub channel: u64,
    /// Of everybody, in bit/s.
    pub all: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            session: 1_000_000,
            session_packets: 1_200,
            burst: 64_000,
            source: 2_000_000,
            limit_loopback: false,
            channel: 8_000_000,
            all: 100_000_000,
        }
    }
}

/// The buckets' sizes, made from [`Limits`].
#[derive(Debug)]
pub(crate) struct Rates {
    pub(crate) session: Rate,
    pub(crate) packets: Rate,
    pub(crate) source: Rate,
    pub(crate) channel: Rate,
    pub(crate) all: Rate,
}

impl Rates {
    pub(crate) fn new(limits: &Limits) -> Self {
        let shared = |bits: u64| Rate::of_bits(bits, limits.burst.max(bits / 8 / 4));
        Self {
            session: Rate::of_bits(limits.session, limits.burst),
            packets: Rate::new(limits.session_packets, limits.session_packets),
            source: shared(limits.source),
            channel: shared(limits.channel),
            all: shared(limits.all),
        }
    }
}

/// One unit in so much time, and so many at once after a pause.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// 2^16ths of a nanosecond per unit: at 100 Gbit/s a byte takes less than one.
    gap: u64,
    /// How far a level may be ahead of the time, in nanoseconds.
    depth: u64,
}

impl Rate {
    /// The longest time that a unit may take, so that no product overflows.
    const SLOWEST: u64 = 1 << 40;

    fn new(per_second: u64, burst: u64) -> Self {
        let gap = (1_000_000_000_u64 << 16) / per_second.max(1);
        let gap = gap.clamp(1, Self::SLOWEST);
        Self { gap, depth: ((u128::from(burst) * u128::from(gap)) >> 16).min(u128::from(u64::MAX / 4)) as u64 }
    }

    fn of_bits(bits_per_second: u64, burst_bytes: u64) -> Self {
        Self::new(bits_per_second / 8, burst_bytes)
    }

    fn cost(self, units: u64) -> u64 {
        ((units * self.gap) >> 16).max(1)
    }
}

/// A token bucket, kept as the time at which it would be full (the generic cell rate algorithm), in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Level(u64);

impl Level {
    /// The level after taking so many units; `None` if there are not enough.
    pub(crate) fn after(self, rate: Rate, units: u64, now: Moment) -> Option<Self> {
        let full_at = self.0.max(now.0) + rate.cost(units);
        (full_at - now.0 <= rate.depth).then_some(Self(full_at))
    }
}

/// Nanoseconds since the relay began: 584 years of them.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    pub(crate) fn after(self, time: Duration) -> Self {
        Self(self.0 + time.as_nanos() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of 10,000 requests pass that come at even distances over so long.
    fn passed(rate: Rate, units: u64, over: Duration) -> u64 {
        let mut level = Level::default();
        (0..10_000_u64)
            .filter(|n| {
                let now = Moment(over.as_nanos() as u64 * n / 10_000);
                level.after(rate, units, now).map(|after| level = after).is_some()
            })
            .count() as u64
    }

    #[test]
    fn after_its_burst_a_source_has_its_rate() {
        // 100 bytes each: 640 of the burst, then 1,250 a second.
        let count = passed(Rate::of_bits(1_000_000, 64_000), 100, Duration::from_secs(4));
        assert!((5_630..=5_641).contains(&count), "{count}");
        let count = passed(Rate::new(600, 600), 1, Duration::from_secs(4));
        assert!((2_995..=3_001).contains(&count), "{count}");
    }

    #[test]
    fn rates_hold_at_both_ends() {
        let fast = passed(Rate::of_bits(100_000_000_000, 1_000), 1_000, Duration::from_millis(1));
        assert!((9_900..=10_000).contains(&fast), "{fast} of 10,000 at 80 Gbit/s through 100 Gbit/s");
        assert_eq!(passed(Rate::of_bits(0, 0), 1, Duration::from_secs(1)), 0);
        assert_eq!(passed(Rate::new(u64::MAX, u64::MAX), 1_000, Duration::from_millis(1)), 10_000);
    }
}
