use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Packets that are closer to each other count as one.
const GRAIN: Duration = Duration::from_millis(5);
/// More than are on their way at [`GRAIN`], however slow the path is before it counts as silent.
const MAX: usize = 256;

/// When the session packets were sent that may still be unanswered.
///
/// What comes answers only what was there when it was sent, a round trip ago: of a steady flow, the packets of the last
/// round trip are unanswered at any time. So silence is noticed by what was sent before it began.
#[derive(Debug, Default)]
pub(crate) struct Owed(VecDeque<Instant>);

impl Owed {
    pub(crate) fn note_sent(&mut self, now: Instant) {
        let is_close = self.0.back().is_some_and(|last| now.duration_since(*last) < GRAIN);
        if !is_close && self.0.len() < MAX {
            self.0.push_back(now);
        }
    }

    /// Something came by a path of this round trip. It may have been quicker than usual.
    pub(crate) fn note_heard(&mut self, rtt: Option<Duration>, now: Instant) {
        let Some(rtt) = rtt else { return self.clear() };
        let quick = rtt * 3 / 4;
        while self.0.front().is_some_and(|sent| *sent + quick <= now) {
            self.0.pop_front();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The first of them.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.0.front().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Option<Duration> = Some(Duration::from_millis(100));

    fn at(millis: u64) -> Instant {
        netsim::epoch() + Duration::from_millis(millis)
    }

    #[test]
    fn what_comes_answers_what_was_sent_a_round_trip_before() {
        let mut owed = Owed::default();
        (0..=20).for_each(|n| owed.note_sent(at(10 * n)));
        owed.note_heard(RTT, at(200));
        assert_eq!(owed.since(), Some(at(130)));
        owed.note_heard(RTT, at(275));
        assert_eq!(owed.since(), None);
    }

    #[test]
    fn a_path_that_was_never_measured_owes_nothing_once_something_came() {
        let mut owed = Owed::default();
        owed.note_sent(at(0));
        owed.note_heard(None, at(1));
        assert_eq!(owed.since(), None);
    }

    #[test]
    fn a_flood_takes_bounded_room() {
        let mut owed = Owed::default();
        (0..100_000).for_each(|n| owed.note_sent(at(n)));
        assert_eq!((owed.0.len(), owed.since()), (MAX, Some(at(0))));
    }
}
