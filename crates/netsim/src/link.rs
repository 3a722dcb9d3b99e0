//! One end's wire: what happens to a datagram on its way.

use std::time::{Duration, Instant};

use crate::{DropReason, Rng};

/// The access link of a host or a router; all of it holds for each direction by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// One way.
    pub delay: Duration,
    /// Up to this much is added, without changing the order.
    pub jitter: Duration,
    /// Probability that a datagram is lost.
    pub loss: f64,
    /// Probability that a datagram comes twice.
    pub duplicate: f64,
    /// Probability that a datagram is overtaken: it takes `jitter` and another `delay` longer.
    pub reorder: f64,
    /// Bits a second; `None` is as many as you like.
    pub rate: Option<u64>,
    /// What would wait longer than this for its turn is dropped; matters only with a rate.
    pub queue: Duration,
    /// The longest IP packet that passes.
    pub mtu: usize,
}

impl Default for Link {
    /// 10 ms and nothing bad, so that two hosts have a round trip of 40 ms.
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            rate: None,
            queue: Duration::from_millis(200),
            mtu: 1500,
        }
    }
}

impl Link {
    /// A clean link of this delay.
    pub fn of(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// No delay at all: for the wire between a host and its home router.
    pub fn instant() -> Self {
        Self::of(Duration::ZERO)
    }

    /// The same with loss.
    #[must_use]
    pub fn losing(self, loss: f64) -> Self {
        Self { loss, ..self }
    }
}

/// One direction of a link at work.
#[derive(Default)]
pub(crate) struct Lane {
    busy_until: Option<Instant>,
    last_arrival: Option<Instant>,
}

impl Lane {
    /// When a datagram that enters now arrives; a duplicate arrives at the second time.
    pub(crate) fn pass(
        &mut self,
        link: &Link,
        packet_len: usize,
        now: Instant,
        rng: &mut Rng,
    ) -> Result<(Instant, Option<Instant>), DropReason> {
        if packet_len > link.mtu {
            return Err(DropReason::TooLong);
        }
        let leaves = self.serialise(link, packet_len, now)?;
        if rng.chance(link.loss) {
            return Err(DropReason::Lost);
        }
        let mut arrives = leaves + link.delay + link.jitter.mul_f64(rng.below(1 << 20) as f64 / f64::from(1 << 20));
        if rng.chance(link.reorder) {
            arrives += link.delay + link.jitter;
        } else {
            arrives = self.last_arrival.map_or(arrives, |last| last.max(arrives));
            self.last_arrival = Some(arrives);
        }
        let copy = rng.chance(link.duplicate).then(|| arrives + Duration::from_micros(rng.below(20_000)));
        Ok((arrives, copy))
    }

    fn serialise(&mut self, link: &Link, packet_len: usize, now: Instant) -> Result<Instant, DropReason> {
        let Some(rate) = link.rate else { return Ok(now) };
        let starts = self.busy_until.map_or(now, |busy| busy.max(now));
        if starts.duration_since(now) > link.queue {
            return Err(DropReason::QueueFull);
        }
        let leaves = starts + Duration::from_secs_f64(packet_len as f64 * 8.0 / rate as f64);
        self.busy_until = Some(leaves);
        Ok(leaves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch;

    #[test]
    fn a_rate_spaces_datagrams_and_a_full_queue_drops() {
        let link = Link { rate: Some(800_000), queue: Duration::from_millis(15), ..Link::instant() };
        let (mut lane, mut rng, now) = (Lane::default(), Rng::new(1), epoch());
        let mut arrival = || lane.pass(&link, 1000, now, &mut rng).map(|(at, _)| at.duration_since(now).as_millis());
        assert_eq!([arrival(), arrival(), arrival()], [Ok(10), Ok(20), Err(DropReason::QueueFull)]);
    }

    #[test]
    fn jitter_keeps_the_order_and_reorder_does_not() {
        let arrivals = |link: Link| {
            let (mut lane, mut rng, now) = (Lane::default(), Rng::new(1), epoch());
            let step = Duration::from_millis(1);
            (0..100).map(|i| lane.pass(&link, 100, now + step * i, &mut rng).unwrap().0).collect::<Vec<_>>()
        };
        let jittery = Link { jitter: Duration::from_millis(30), ..Link::default() };
        assert!(arrivals(jittery).is_sorted());
        assert!(!arrivals(Link { reorder: 0.1, ..jittery }).is_sorted());
    }

    #[test]
    fn what_exceeds_the_mtu_does_not_pass() {
        let (mut lane, mut rng) = (Lane::default(), Rng::new(1));
        assert_eq!(lane.pass(&Link::default(), 1501, epoch(), &mut rng), Err(DropReason::TooLong));
        assert!(lane.pass(&Link::default(), 1500, epoch(), &mut rng).is_ok());
    }
}
