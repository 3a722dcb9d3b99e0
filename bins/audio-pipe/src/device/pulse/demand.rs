//! How much sound the server wants of a loudspeaker's stream, and how much came too late for it.
//!
//! It asks for what there is room for in what it holds. So it can want no more than that, and the period that is under way;
//! if it does, it has played on without sound.

/// No server that plays wants more than a second.
const MOST: usize = codec::RATE as usize;

/// In samples of each channel.
#[derive(Debug)]
pub(super) struct Demand {
    /// What is asked for at a time.
    period: usize,
    /// What the server said that it holds at least: PipeWire never has less than its graph takes at once.
    least: usize,
    /// Asked for and not given.
    wanted: usize,
    missed: u64,
}

impl Demand {
    /// A server that holds at least so much, and has asked for so much to begin with.
    pub(super) fn new(period: usize, least: usize, wanted: usize) -> Self {
        Self { period, least: least.min(MOST), wanted: wanted.min(MOST), missed: 0 }
    }

    /// What is asked for at a time.
    pub(super) fn period(&self) -> usize {
        self.period
    }

    /// The server asks for so much more; it is to hold so many periods.
    pub(super) fn note_request(&mut self, samples: usize, periods: u32) {
        self.wanted = self.wanted.saturating_add(samples).min(MOST);
        let all = self.held(periods) + self.period;
        self.missed += self.wanted.saturating_sub(all) as u64;
    }

    /// So much is given.
    pub(super) fn note_given(&mut self, samples: usize) {
        self.wanted = self.wanted.saturating_sub(samples);
    }

    /// Whether it wants as much as this.
    pub(super) fn wants(&self, samples: usize) -> bool {
        self.wanted >= samples
    }

    /// What the server and the device hold if that is to be so many periods.
    pub(super) fn held(&self, periods: u32) -> usize {
        self.least.max(self.period * periods as usize)
    }

    /// What came too late to be heard, so far.
    pub(super) fn missed(&self) -> u64 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_wanted_until_it_is_given() {
        let mut demand = Demand::new(120, 0, 240);

        demand.note_given(120);
        assert!(demand.wants(120) && !demand.wants(121));
        demand.note_request(30, 2);
        assert!(demand.wants(150) && !demand.wants(151));
        // More than was wanted is no debt.
        demand.note_given(1000);
        assert!(!demand.wants(1));
        assert_eq!(demand.missed(), 0);
    }

    #[test]
    fn who_asks_for_more_than_is_held_has_missed_the_rest() {
        let mut demand = Demand::new(120, 0, 0);

        demand.note_request(360, 2);
        assert_eq!(demand.missed(), 0);
        demand.note_request(120, 2);
        assert_eq!(demand.missed(), 120);
        // A server that holds more is missing less.
        demand.note_request(0, 3);
        assert_eq!(demand.missed(), 120);
    }

    #[test]
    fn a_server_that_holds_more_than_it_was_asked_to_misses_nothing_by_that() {
        let mut demand = Demand::new(120, 1024, 0);

        demand.note_request(1024 + 120, 2);

        assert_eq!((demand.held(2), demand.held(10), demand.missed()), (1024, 1200, 0));
    }

    #[test]
    fn no_server_wants_more_than_a_second() {
        let mut demand = Demand::new(120, usize::MAX, usize::MAX);

        demand.note_request(usize::MAX, 2);

        assert!(demand.wants(MOST) && !demand.wants(MOST + 1));
        assert_eq!((demand.held(2), demand.missed()), (MOST, 0));
    }
}
