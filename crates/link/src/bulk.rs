//! How fast messages may go, so that datagrams beside them never wait.
//!
//! quinn-proto holds back whatever is to be sent when its window is used up or its pacer says so, datagrams too. So it
//! is told of a window without end ([`Bulk::window`]), and only the messages are limited: what they have in flight by
//! [`window_of`], how fast they get there by [`Pacer`]. What datagrams take is up to their sender, who knows of the loss.
//!
//! The window of messages grows and halves as NewReno's (RFC 9002, 7), and shrinks too when the round trip shows that
//! a queue builds up: a full queue would delay the datagrams that share it.

use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

use quinn_proto::{
    Connection, RttEstimator,
    congestion::{Controller, ControllerFactory, ControllerMetrics},
};

const PACKET: u64 = 1200;
/// RFC 9002, 7.2.
pub(crate) const INITIAL_WINDOW: u64 = 10 * PACKET;
/// So much may always be in flight: messages get through whatever is lost.
const MIN_WINDOW: u64 = 4 * PACKET;
/// 80 Mbit/s at 100 ms.
pub(crate) const MAX_WINDOW: u64 = 1024 * 1024;
/// What quinn-proto is told; above what its pacer handles, so that it does not pace.
const NO_LIMIT: u64 = 1 << 40;
/// A queue that delays datagrams by more than this is ours to drain.
const QUEUE_DELAY: Duration = Duration::from_millis(10);
/// The round trip without a queue is the least of so long, or up to twice as long: a path may be changed for a slower one.
const BASE_SPAN: Duration = Duration::from_secs(10);
/// A queue shows when the quickest of so many packets of a round trip was slow; a single one is jitter.
const SAMPLES: u32 = 8;
/// How much is kept of the window, in eighths. Packets were lost while a queue was there: it is full.
const KEEP_AFTER_LOSS: u64 = 5;
/// Packets were lost without a queue: by chance, or by a queue too short to show.
const KEEP_AFTER_CHANCE: u64 = 7;
/// A queue builds up.
const KEEP_AFTER_DELAY: u64 = 7;
/// It does so for the first time, a round trip after the window has doubled.
const KEEP_AFTER_START: u64 = 4;

/// The window that messages may have in flight.
pub(crate) fn window_of(connection: &Connection) -> u64 {
    connection.congestion_state().metrics().congestion_window
}

pub(crate) struct Factory;

impl ControllerFactory for Factory {
    fn build(self: Arc<Self>, now: Instant, _mtu: u16) -> Box<dyn Controller> {
        Box::new(Bulk::new(now))
    }
}

#[derive(Clone, Debug)]
struct Bulk {
    window: u64,
    slow_start_until: u64,
    /// Bytes that the batch of acknowledgements at hand has confirmed.
    acked: u64,
    /// Losses of packets sent before this were answered already.
    loss_answered: Instant,
    /// The quickest of the packets that were sent since then and are confirmed, and how many there are.
    round: Instant,
    quickest: Duration,
    samples: u32,
    /// Whether the round before showed a queue.
    has_queue: bool,
    base: Base,
}

/// The least round trip of late.
#[derive(Clone, Debug)]
struct Base {
    since: Instant,
    now: Duration,
    before: Duration,
}

impl Base {
    fn new(now: Instant) -> Self {
        Self { since: now, now: Duration::MAX, before: Duration::MAX }
    }

    fn note(&mut self, sample: Duration, now: Instant) -> Duration {
        if now.saturating_duration_since(self.since) > BASE_SPAN {
            *self = Self { since: now, now: Duration::MAX, before: self.now };
        }
        self.now = self.now.min(sample);
        self.now.min(self.before)
    }
}

impl Bulk {
    fn new(now: Instant) -> Self {
        Self {
            window: INITIAL_WINDOW,
            slow_start_until: u64::MAX,
            acked: 0,
            loss_answered: now,
            round: now,
            quickest: Duration::MAX,
            samples: 0,
            has_queue: false,
            base: Base::new(now),
        }
    }

    fn start_round(&mut self, now: Instant) {
        (self.round, self.quickest, self.samples) = (now, Duration::MAX, 0);
    }

    fn shrink(&mut self, keep_eighths: u64) {
        self.window = (self.window * keep_eighths / 8).max(MIN_WINDOW);
        self.slow_start_until = self.window;
    }
}

impl Controller for Bulk {
    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, _app_limited: bool, _rtt: &RttEstimator) {
        self.acked += bytes;
        let sample = now.saturating_duration_since(sent);
        let base = self.base.note(sample, now);
        if sent < self.round {
            return;
        }
        self.samples += 1;
        self.quickest = self.quickest.min(sample);
        if self.samples < SAMPLES {
            return;
        }
        self.has_queue = self.quickest > base + QUEUE_DELAY;
        if self.has_queue {
            let is_start = self.window < self.slow_start_until;
            self.shrink(if is_start { KEEP_AFTER_START } else { KEEP_AFTER_DELAY });
        }
        self.start_round(now);
    }

    fn on_end_acks(&mut self, _now: Instant, in_flight: u64, _app_limited: bool, _largest: Option<u64>) {
        let acked = std::mem::take(&mut self.acked);
        // A window that is not used says nothing about what the path carries (RFC 9002, 7.8).
        if (in_flight + acked) * 2 < self.window {
            return;
        }
        let step = if self.window < self.slow_start_until { acked } else { PACKET * acked / self.window };
        self.window = (self.window + step).min(MAX_WINDOW);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, _lost_bytes: u64) {
        if is_persistent {
            self.window = MIN_WINDOW;
        }
        if sent > self.loss_answered {
            self.loss_answered = now;
            self.shrink(if self.has_queue { KEEP_AFTER_LOSS } else { KEEP_AFTER_CHANCE });
        }
    }

    fn on_mtu_update(&mut self, _mtu: u16) {}

    fn window(&self) -> u64 {
        NO_LIMIT
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = ControllerMetrics::default();
        metrics.congestion_window = self.window;
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        NO_LIMIT
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Spreads messages over the round trip: a window that leaves at once would be a queue in front of the next datagram.
#[derive(Debug)]
pub(crate) struct Pacer {
    tokens: u64,
    refilled: Instant,
}

/// What may leave at once.
const BURST: u64 = 4 * PACKET;

impl Pacer {
    pub(crate) fn new(now: Instant) -> Self {
        Self { tokens: BURST, refilled: now }
    }

    /// Bytes that may be sent now.
    pub(crate) fn refill(&mut self, window: u64, rtt: Duration, now: Instant) -> u64 {
        let gained = now.saturating_duration_since(self.refilled).as_micros() as u64 * rate(window, rtt) / 1_000_000;
        if gained > 0 {
            self.refilled = now;
            self.tokens = (self.tokens + gained).min(burst(window, rtt));
        }
        self.tokens
    }

    pub(crate) fn take(&mut self, bytes: usize) {
        self.tokens = self.tokens.saturating_sub(bytes as u64);
    }

    /// When two packets' worth may be sent.
    pub(crate) fn due(&self, window: u64, rtt: Duration) -> Instant {
        let missing = (2 * PACKET).saturating_sub(self.tokens);
        self.refilled + Duration::from_micros((missing * 1_000_000).div_ceil(rate(window, rtt))).max(MIN_WAIT)
    }
}

/// Timers are not finer.
const MIN_WAIT: Duration = Duration::from_millis(1);

/// Bytes per second: a quarter more than a window per round trip, so that the window stays the limit.
fn rate(window: u64, rtt: Duration) -> u64 {
    window * 1_250_000 / (rtt.as_micros() as u64).max(1000)
}

/// At high rates, what comes together between two timers.
fn burst(window: u64, rtt: Duration) -> u64 {
    BURST.max(rate(window, rtt) / 500)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);

    #[test]
    fn the_pacer_gives_a_window_and_a_quarter_per_round_trip() {
        let start = netsim::epoch();
        let mut pacer = Pacer::new(start);
        let mut sent = 0;
        for ms in 0..1000 {
            let allowed = pacer.refill(100_000, RTT, start + Duration::from_millis(ms));
            assert!(allowed <= burst(100_000, RTT));
            pacer.take(allowed as usize);
            sent += allowed;
        }
        assert!((1_200_000..1_300_000).contains(&sent), "{sent} bytes in ten round trips");
    }

    #[test]
    fn the_pacer_says_when_it_has_two_packets() {
        let start = netsim::epoch();
        let mut pacer = Pacer::new(start);
        pacer.take(usize::MAX);
        let due = pacer.due(12_000, RTT);
        assert_eq!(due - start, Duration::from_millis(16));
        assert!(pacer.refill(12_000, RTT, due) >= 2 * PACKET);
    }

    #[test]
    fn one_round_trip_of_losses_shrinks_the_window_once() {
        let start = netsim::epoch();
        let mut bulk = Bulk::new(start);
        let at = |ms| start + Duration::from_millis(ms);
        for lost in 1..10 {
            bulk.on_congestion_event(at(100), at(lost), false, 1200);
        }
        assert_eq!(bulk.window, INITIAL_WINDOW * KEEP_AFTER_CHANCE / 8);
        bulk.has_queue = true;
        bulk.on_congestion_event(at(200), at(101), false, 1200);
        assert_eq!(bulk.window, INITIAL_WINDOW * KEEP_AFTER_CHANCE / 8 * KEEP_AFTER_LOSS / 8);
        bulk.on_congestion_event(at(300), at(201), true, 1200);
        assert_eq!(bulk.window, MIN_WINDOW);
    }

    #[test]
    fn a_slower_path_is_a_queue_at_first_and_a_path_after_a_while() {
        let start = netsim::epoch();
        let mut base = Base::new(start);
        let mut at =
            |seconds, ms| base.note(Duration::from_millis(ms), start + Duration::from_secs(seconds)).as_millis();
        assert_eq!([at(0, 25), at(1, 20), at(5, 80), at(9, 80), at(12, 80), at(23, 80)], [25, 20, 20, 20, 20, 80]);
        assert_eq!(at(24, 30), 30, "a quicker one counts at once");
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let start = netsim::epoch();
        let mut bulk = Bulk::new(start);
        bulk.acked = 1000;
        bulk.on_end_acks(start, 0, false, None);
        assert_eq!(bulk.window, INITIAL_WINDOW);
        bulk.acked = 6000;
        bulk.on_end_acks(start, 3000, false, None);
        assert_eq!(bulk.window, INITIAL_WINDOW + 6000);
    }
}
