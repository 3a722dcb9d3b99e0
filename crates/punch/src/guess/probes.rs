use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::plan::MAX_PROBES;
use crate::Way;

/// Routers forget what nobody answers after so long.
const PERIOD: Duration = Duration::from_secs(30);

/// The guesses of the last 30 s, whomever they went to: there are never more than [`MAX_PROBES`].
#[derive(Debug, Default)]
pub(crate) struct Probes(VecDeque<Probe>);

#[derive(Debug)]
struct Probe {
    txid: u32,
    way: Way,
    sent: Instant,
    answered: bool,
}

impl Probes {
    /// Whether one more may go.
    pub(crate) fn allow(&self, now: Instant) -> bool {
        self.0.len() < MAX_PROBES || self.0.front().is_some_and(|oldest| now.duration_since(oldest.sent) >= PERIOD)
    }

    /// When there is room for so many more.
    pub(crate) fn room_at(&self, count: usize, now: Instant) -> Instant {
        let lately = self.0.iter().filter(|probe| now.duration_since(probe.sent) < PERIOD);
        let recent: Vec<_> = lately.map(|probe| probe.sent).collect();
        let too_many = (recent.len() + count).saturating_sub(MAX_PROBES);
        let last = too_many.checked_sub(1).and_then(|index| recent.get(index.min(recent.len().saturating_sub(1))));
        last.map_or(now, |sent| *sent + PERIOD)
    }

    pub(crate) fn note(&mut self, txid: u32, way: Way, now: Instant) {
        if self.0.len() >= MAX_PROBES {
            self.0.pop_front();
        }
        self.0.push_back(Probe { txid, way, sent: now, answered: false });
    }

    /// When the probe went out that is answered from there; each is answered once.
    pub(crate) fn take(&mut self, txid: u32, way: Way) -> Option<Instant> {
        let is_it = |probe: &&mut Probe| probe.txid == txid && probe.way == way && !probe.answered;
        let probe = self.0.iter_mut().rev().find(is_it)?;
        probe.answered = true;
        Some(probe.sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(port: u16) -> Way {
        Way::to(([203, 0, 113, 7], port).into())
    }

    #[test]
    fn a_guess_is_answered_once_and_from_where_it_went() {
        let (mut probes, now) = (Probes::default(), netsim::epoch());
        probes.note(5, way(1), now);
        assert_eq!(probes.take(5, way(2)), None);
        assert_eq!(probes.take(6, way(1)), None);
        assert_eq!(probes.take(5, way(1)), Some(now));
        assert_eq!(probes.take(5, way(1)), None);
    }

    #[test]
    fn there_are_1024_in_any_30_seconds() {
        let (mut probes, now) = (Probes::default(), netsim::epoch());
        for txid in 0..MAX_PROBES as u32 {
            let at = now + Duration::from_millis(txid.into());
            assert!(probes.allow(at));
            probes.note(txid, way(1), at);
        }
        let last = now + Duration::from_millis(MAX_PROBES as u64 - 1);
        assert_eq!(probes.room_at(1, last), now + PERIOD);
        assert_eq!(probes.room_at(MAX_PROBES, last), last + PERIOD);
        assert_eq!(probes.room_at(MAX_PROBES, last + PERIOD), last + PERIOD);
        assert!(!probes.allow(now + PERIOD - Duration::from_millis(1)));
        assert!(probes.allow(now + PERIOD));
        probes.note(9999, way(1), now + PERIOD);
        assert!(!probes.allow(now + PERIOD));
    }
}
