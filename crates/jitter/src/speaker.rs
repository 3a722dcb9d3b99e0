use std::time::{Duration, Instant};

use wire::voice::{Frame, Report};

use crate::{Decode, Stats};

/// How a speaker starts and how far it may go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// The jitter to expect before any is measured, such as the path's; decays within the first second.
    pub start: Duration,
    /// The buffer never aims at less.
    pub min: Duration,
    /// The buffer never aims at more.
    pub max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { start: Duration::from_millis(12), min: Duration::from_millis(1), max: Duration::from_millis(250) }
    }
}

/// What a pull gave.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pulled {
    /// Whether all of it is silence: nothing has to be mixed.
    pub silent: bool,
    /// Samples of it that were made up.
    pub concealed: usize,
}

/// One remote voice: packets in, samples out.
#[derive(Debug)]
pub struct Speaker<D> {
    decoder: D,
    config: Config,
    stats: Stats,
}

impl<D: Decode> Speaker<D> {
    /// A speaker that has heard nothing yet.
    pub fn new(decoder: D, config: Config) -> Self {
        Self { decoder, config, stats: Stats::default() }
    }

    /// Takes a frame that came at `now`.
    pub fn push(&mut self, frame: &Frame<'_>, now: Instant) {
        let _ = (frame, now);
        self.stats.received += 1;
    }

    /// Fills `out` with the next samples, 48 kHz mono, any number.
    pub fn pull(&mut self, out: &mut [f32], now: Instant) -> Pulled {
        let _ = (now, self.config);
        self.decoder.conceal(&mut []);
        out.fill(0.0);
        Pulled { silent: true, concealed: 0 }
    }

    /// What to tell the sender of the time since the last report.
    pub fn report(&mut self, now: Instant) -> Report {
        let _ = now;
        Report::default()
    }

    /// Whether the sender has said that its stream is over and all of it was played.
    pub fn is_over(&self) -> bool {
        false
    }

    /// What was seen and done.
    pub fn stats(&self) -> Stats {
        self.stats
    }
}
