//! Limits per source, in tables of fixed size: a flood from many sources costs no memory.
//!
//! Sources are counted by network prefix, without the port. Two prefixes may share a bucket; which ones do depends on a
//! seed that nobody outside knows.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

/// A range of addresses that one party is likely to hold.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Prefix(IpAddr);

impl Prefix {
    /// The network around an address: IPv4 /24, IPv6 /56.
    pub fn network(ip: IpAddr) -> Self {
        Self::cut(ip, 24, 56)
    }

    /// What one subscriber has: an IPv4 address, an IPv6 /64.
    pub fn subscriber(ip: IpAddr) -> Self {
        Self::cut(ip, 32, 64)
    }

    fn cut(ip: IpAddr, v4: u32, v6: u32) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V4(ip) => Ipv4Addr::from(u32::from(ip) & (!0 << (32 - v4))).into(),
            IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & (!0 << (128 - v6))).into(),
        })
    }
}

/// One in so much time, and so many at once after a pause.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    gap: Duration,
    burst: u32,
}

impl Rate {
    /// `count` in a second, `burst` at once.
    pub const fn per_second(count: u32, burst: u32) -> Self {
        Self { gap: Duration::from_nanos(1_000_000_000 / count as u64), burst }
    }

    /// `count` in a day, all of them at once if need be.
    pub const fn per_day(count: u32) -> Self {
        Self { gap: Duration::from_secs(86_400 / count as u64), burst: count }
    }
}

/// One token bucket, kept as the time at which it would be full (the generic cell rate algorithm).
#[derive(Clone, Copy, Debug)]
pub struct Bucket(Instant);

impl Bucket {
    /// A full bucket.
    pub fn full(now: Instant) -> Self {
        Self(now)
    }

    /// Takes one token if there is one.
    pub fn take(&mut self, rate: Rate, now: Instant) -> bool {
        self.take_all(1, rate, now)
    }

    /// Takes so many tokens, or none if there are fewer.
    pub fn take_all(&mut self, count: u32, rate: Rate, now: Instant) -> bool {
        let full_at = self.0.max(now) + rate.gap * count;
        let allowed = full_at.duration_since(now) <= rate.gap * rate.burst;
        if allowed {
            self.0 = full_at;
        }
        allowed
    }
}

/// Token buckets for any number of sources.
#[derive(Debug)]
pub struct RateTable {
    rate: Rate,
    seed: u64,
    buckets: Box<[Bucket]>,
}

impl RateTable {
    const BUCKETS: usize = 65_536;

    /// All buckets full.
    pub fn new(rate: Rate, seed: u64, now: Instant) -> Self {
        Self { rate, seed, buckets: vec![Bucket::full(now); Self::BUCKETS].into_boxed_slice() }
    }

    /// Takes one token of a source if there is one.
    pub fn take(&mut self, from: Prefix, now: Instant) -> bool {
        let at = place(self.seed, from, self.buckets.len());
        self.buckets[at].take(self.rate, now)
    }
}

/// Counts wrong guesses of a secret, and refuses a source that guesses too often.
#[derive(Debug)]
pub(crate) struct Guesses {
    seed: u64,
    sources: Box<[Guessed]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Guessed {
    wrong: u32,
    since: Option<Instant>,
    refused_until: Option<Instant>,
}

impl Guesses {
    const SOURCES: usize = 8_192;
    /// Wrong guesses in [`Self::WINDOW`] that are forgiven.
    const ALLOWED: u32 = 10;
    const WINDOW: Duration = Duration::from_secs(120);
    const REFUSAL: Duration = Duration::from_secs(300);

    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, sources: vec![Guessed::default(); Self::SOURCES].into_boxed_slice() }
    }

    /// How long the source is refused yet; `None` if it is not.
    pub(crate) fn refusal(&self, from: Prefix, now: Instant) -> Option<Duration> {
        let until = self.sources[place(self.seed, from, Self::SOURCES)].refused_until?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    pub(crate) fn note_wrong(&mut self, from: Prefix, now: Instant) {
        let source = &mut self.sources[place(self.seed, from, Self::SOURCES)];
        if source.since.is_none_or(|since| now.duration_since(since) >= Self::WINDOW) {
            *source = Guessed { wrong: 0, since: Some(now), refused_until: None };
        }
        source.wrong += 1;
        if source.wrong >= Self::ALLOWED {
            *source = Guessed { refused_until: Some(now + Self::REFUSAL), ..Guessed::default() };
        }
    }
}

fn place(seed: u64, from: Prefix, places: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    (seed, from).hash(&mut hasher);
    hasher.finish() as usize % places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(ip: &str) -> Prefix {
        Prefix::network(ip.parse().unwrap())
    }

    fn epoch() -> Instant {
        #[allow(clippy::disallowed_methods, reason = "a test's time starts somewhere")]
        Instant::now()
    }

    #[test]
    fn neighbours_share_a_prefix_and_a_mapped_address_is_ipv4() {
        assert_eq!(network("192.0.2.1"), network("192.0.2.254"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.7"));
        assert_ne!(network("192.0.2.1"), network("192.0.3.1"));
        assert_eq!(network("2001:db8:0:1200::1"), network("2001:db8:0:12ff::1"));
        assert_ne!(network("2001:db8:0:1200::1"), network("2001:db8:0:1300::1"));
        let ip = "192.0.2.1".parse().unwrap();
        assert_ne!(Prefix::subscriber(ip), Prefix::subscriber("192.0.2.2".parse().unwrap()));
    }

    #[test]
    fn a_source_has_its_burst_then_its_rate() {
        let mut now = epoch();
        let mut table = RateTable::new(Rate::per_second(20, 20), 7, now);
        let from = network("192.0.2.1");
        assert_eq!((0..100).filter(|_| table.take(from, now)).count(), 20);
        assert!(table.take(network("198.51.100.1"), now), "another source is not concerned");
        now += Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| table.take(from, now)).count(), 20);
        now += Duration::from_millis(50);
        assert_eq!((0..100).filter(|_| table.take(from, now)).count(), 1);
    }

    #[test]
    fn ten_wrong_guesses_are_enough_for_five_minutes() {
        let mut now = epoch();
        let from = network("192.0.2.1");
        let mut guesses = Guesses::new(7);
        for _ in 0..9 {
            guesses.note_wrong(from, now);
            assert_eq!(guesses.refusal(from, now), None);
        }
        guesses.note_wrong(from, now);
        assert_eq!(guesses.refusal(from, now), Some(Guesses::REFUSAL));
        now += Guesses::REFUSAL;
        assert_eq!(guesses.refusal(from, now), None);
    }

    #[test]
    fn slow_guesses_are_forgiven() {
        let mut now = epoch();
        let from = network("192.0.2.1");
        let mut guesses = Guesses::new(7);
        for _ in 0..100 {
            guesses.note_wrong(from, now);
            assert_eq!(guesses.refusal(from, now), None);
            now += Duration::from_secs(14);
        }
    }
}
