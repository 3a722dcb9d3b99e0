use std::time::{Duration, Instant};

/// Gap between two pings. RFC 5245, B.1: NATs take a new binding every 20 ms well; a handful within 8 ms was measured to
/// do no harm, and RFC 8445's 50 ms for each pair costs seconds.
const GAP: Duration = Duration::from_millis(1);
/// Gap in the long run: 500 pings a second in total.
const STEADY_GAP: Duration = Duration::from_millis(2);
/// Pings that may go at the short gap before the steady one holds.
const BURST: u32 = 8;
/// A driver that wakes up late may catch up on this much.
const CATCH_UP: Duration = Duration::from_millis(3);

/// Lets one thing happen every `gap`, and `burst` more after a rest (the generic cell rate algorithm).
#[derive(Clone, Debug)]
pub(crate) struct Limiter {
    gap: Duration,
    slack: Duration,
    /// When the next thing would happen if all came evenly.
    even: Option<Instant>,
}

impl Limiter {
    pub(crate) fn new(gap: Duration, burst: u32) -> Self {
        Self { gap, slack: gap * burst, even: None }
    }

    /// When the next thing may happen; `None` is at once.
    pub(crate) fn ready_at(&self) -> Option<Instant> {
        self.even.and_then(|even| even.checked_sub(self.slack))
    }

    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        self.ready_at().is_none_or(|at| at <= now)
    }

    pub(crate) fn take(&mut self, at: Instant) {
        self.take_for(at, self.gap);
    }

    /// Takes a turn that is so long.
    pub(crate) fn take_for(&mut self, at: Instant, gap: Duration) {
        self.even = Some(self.even.map_or(at, |even| even.max(at)) + gap);
    }
}

/// Spaces the pings of a whole agent.
#[derive(Debug)]
pub(crate) struct Pacer {
    short: Limiter,
    steady: Limiter,
}

impl Pacer {
    pub(crate) fn new() -> Self {
        Self { short: Limiter::new(GAP, 0), steady: Limiter::new(STEADY_GAP, BURST) }
    }

    /// When the first ping to a peer, due then, may go: where many meet at once, those to different peers do not wait for each
    /// other.
    pub(crate) fn first_turn(&self, due: Instant) -> Instant {
        self.steady.ready_at().map_or(due, |ready| ready.max(due))
    }

    /// When any other ping that is due then may go.
    pub(crate) fn turn(&self, due: Instant) -> Instant {
        [self.short.ready_at(), self.steady.ready_at()].into_iter().flatten().fold(due, Instant::max)
    }

    /// A ping goes whose turn was then.
    pub(crate) fn take(&mut self, turn: Instant, now: Instant) {
        let at = now.checked_sub(CATCH_UP).map_or(turn, |earliest| turn.max(earliest));
        self.short.take(at);
        self.steady.take(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent_at(waits_until: impl Fn(Instant) -> Instant, count: usize) -> Vec<u128> {
        let start = netsim::epoch();
        let mut pacer = Pacer::new();
        let mut now = start;
        let mut sent = Vec::new();
        while sent.len() < count {
            let turn = pacer.turn(start);
            now = now.max(waits_until(turn));
            pacer.take(turn, now);
            sent.push(now.duration_since(start).as_millis());
        }
        sent
    }

    #[test]
    fn a_volley_goes_at_1_ms_and_the_rest_at_2() {
        let sent = sent_at(|turn| turn, 600);
        assert_eq!(sent[..9], [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(sent[400] - sent[300], 200);
        let in_a_second = sent.iter().filter(|at| **at < 1000).count();
        assert!(in_a_second <= 510, "{in_a_second} pings in the first second");
    }

    #[test]
    fn first_pings_to_nine_peers_leave_at_once_and_the_rest_waits() {
        let (start, mut pacer) = (netsim::epoch(), Pacer::new());
        for _ in 0..=BURST {
            assert_eq!(pacer.first_turn(start), start);
            pacer.take(start, start);
        }
        assert_eq!(pacer.first_turn(start), start + STEADY_GAP);
        assert_eq!(pacer.turn(start), start + GAP * (BURST + 1));
    }

    #[test]
    fn a_driver_that_wakes_every_3_ms_loses_nothing() {
        let start = netsim::epoch();
        let coarse = |turn: Instant| {
            let late = turn.duration_since(start).as_millis().next_multiple_of(3) as u64;
            start + Duration::from_millis(late)
        };
        assert!(sent_at(coarse, 8)[7] <= 9);
    }
}
