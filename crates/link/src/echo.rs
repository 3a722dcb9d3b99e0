use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Gaps between copies of a flight that gets no answer; then the last one again and again. QUIC's own gaps double from
/// 150 ms on: with three of ten packets lost that makes one handshake in twenty take three seconds.
const GAPS: [Duration; 8] = [
    Duration::from_millis(100),
    Duration::from_millis(100),
    Duration::from_millis(100),
    Duration::from_millis(150),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_millis(1000),
    Duration::from_millis(2000),
];
/// A copy that came asks for our own, but not more often than this.
const MIN_GAP: Duration = Duration::from_millis(30);
/// The last flight of all is given up after so many copies: QUIC's own repetitions go on.
const LAST_COPIES: usize = GAPS.len() - 1;
/// So many copies are answered once the other side has most of the last flight.
const MAX_ANSWERS: usize = 4;
/// A flight is one datagram, or two when QUIC has sent it again in parts.
const MAX_COPIES: usize = 2;
/// What is shorter only confirms.
const MIN_LEN: usize = 60;

/// What is sent after the last flight of all is not part of the handshake.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum LastFlight {
    #[default]
    NotYet,
    Next,
    Sent,
    Confirmed,
}

/// Sends the last flight of a handshake again until it is answered. A copy is the same packet, so that who has it
/// ignores it.
#[derive(Debug, Default)]
pub(crate) struct Echo {
    flight: VecDeque<Vec<u8>>,
    /// Whether something came since: what is sent next begins another flight.
    is_answered: bool,
    heard: Option<Instant>,
    last_flight: LastFlight,
    step: usize,
    due: Option<Instant>,
    last: Option<Instant>,
    /// Copies go out in answer to copies alone.
    only_answers: bool,
    /// When the first copy goes out, if that is later than [`GAPS`] say.
    patience: Duration,
}

impl Echo {
    /// What is sent where an answer takes this long at least is not repeated before.
    pub(crate) fn expecting(round_trip: Duration) -> Self {
        Self { patience: round_trip.mul_f64(1.3), ..Self::default() }
    }

    /// Notes a datagram of the handshake.
    pub(crate) fn sent(&mut self, datagram: &[u8], now: Instant) {
        if datagram.len() < MIN_LEN || self.last_flight == LastFlight::Sent {
            return;
        }
        // QUIC answers a Retry, which looks like a copy here, at once and with a packet that replaces the first.
        if std::mem::take(&mut self.is_answered) || self.heard == Some(now) {
            self.flight.clear();
        } else if self.flight.len() == MAX_COPIES {
            self.flight.pop_front();
        }
        self.flight.push_back(datagram.to_vec());
        if self.last_flight == LastFlight::Next {
            self.last_flight = LastFlight::Sent;
        }
        self.last = Some(now);
        self.due.get_or_insert(now + GAPS[0].max(self.patience));
    }

    /// Something came from the other side. If it was a copy, ours was lost, or is still on its way.
    pub(crate) fn heard(&mut self, is_copy: bool, now: Instant) {
        self.heard = Some(now);
        if let (true, Some(last)) = (is_copy, self.last) {
            let answer = now.max(last + MIN_GAP);
            self.due = self.due.map(|due| due.min(answer)).or(self.only_answers.then_some(answer));
        } else if !is_copy && !self.only_answers {
            self.step = 0;
            self.is_answered = true;
        }
    }

    /// What is sent next is the last flight.
    pub(crate) fn last_flight(&mut self) {
        if self.last_flight == LastFlight::NotYet {
            self.last_flight = LastFlight::Next;
        }
    }

    /// The other side has most of the last flight. What it lacks, it asks for by repeating itself.
    pub(crate) fn only_answer(&mut self) {
        if !self.only_answers {
            (self.only_answers, self.due, self.step) = (true, None, 0);
        }
    }

    /// The other side has the last flight.
    pub(crate) fn confirmed(&mut self) {
        self.last_flight = LastFlight::Confirmed;
    }

    /// Whether the last flight has arrived, or is left to QUIC.
    pub(crate) fn is_over(&self) -> bool {
        let max = if self.only_answers { MAX_ANSWERS } else { LAST_COPIES };
        self.step >= max || self.last_flight == LastFlight::Confirmed
    }

    /// The copies that are due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<impl Iterator<Item = &Vec<u8>>> {
        self.due.filter(|due| *due <= now)?;
        self.step = (self.step + 1).min(GAPS.len() - 1);
        self.due = (!self.only_answers).then(|| now + GAPS[self.step]);
        self.last = Some(now);
        Some(self.flight.iter())
    }

    pub(crate) fn stop(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flight_is_sent_again_at_growing_gaps_until_it_is_answered() {
        let start = netsim::epoch();
        let mut echo = Echo::default();
        echo.sent(&[1; 1200], start);
        echo.sent(&[2; MIN_LEN - 1], start);
        let mut times = Vec::new();
        while let Some(due) = echo.due().filter(|due| *due < start + Duration::from_secs(5)) {
            assert_eq!(echo.take_due(due).unwrap().count(), 1);
            assert!(echo.take_due(due).is_none(), "once");
            times.push((due - start).as_millis());
        }
        assert_eq!(times, [100, 200, 300, 450, 700, 1200, 2200, 4200]);
        echo.stop();
        assert_eq!(echo.due(), None);
    }

    #[test]
    fn a_last_flight_stays_what_it_is_and_is_over_when_it_is_confirmed() {
        let (start, mut echo) = (netsim::epoch(), Echo::default());
        echo.sent(&[1; 1200], start);
        echo.heard(false, start + GAPS[0]);
        echo.last_flight();
        echo.sent(&[2; 300], start + GAPS[0]);
        echo.sent(&[3; 100], start + GAPS[0]);
        assert_eq!(echo.take_due(start + GAPS[0] * 2).unwrap().map(Vec::len).collect::<Vec<_>>(), [300]);
        assert!(!echo.is_over());
        echo.confirmed();
        assert!(echo.is_over());
    }

    #[test]
    fn who_has_its_answer_repeats_itself_only_for_one_who_does_so_and_not_for_ever() {
        let (mut now, mut echo) = (netsim::epoch(), Echo::default());
        echo.sent(&[1; 1200], now);
        echo.only_answer();
        assert_eq!(echo.due(), None);
        for _ in 0..MAX_ANSWERS {
            assert!(!echo.is_over());
            echo.heard(true, now);
            assert_eq!(echo.due(), Some(now + MIN_GAP));
            now += MIN_GAP;
            assert_eq!(echo.take_due(now).unwrap().count(), 1);
            assert_eq!(echo.due(), None);
        }
        assert!(echo.is_over());
    }

    #[test]
    fn no_more_than_a_flight_is_kept() {
        let start = netsim::epoch();
        let mut echo = Echo::default();
        for i in 0..10 {
            echo.sent(&[i; 1200], start);
        }
        let kept: Vec<_> = echo.take_due(start + GAPS[0]).unwrap().map(|datagram| datagram[0]).collect();
        assert_eq!(kept, [8, 9]);
    }
}
