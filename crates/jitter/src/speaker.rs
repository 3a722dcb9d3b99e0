use std::time::{Duration, Instant};

use wire::voice::{Flags, Frame, Report};

use crate::{
    Decode, SAMPLE_RATE, Stats,
    arrivals::{Arrivals, Place},
    burst::{Burst, Delay},
    delays::{BINS, DEEP_REPAIR, Delays, REPAIR},
    drift::Drift,
    moment::Moment,
    pace::Pace,
    pcm::MOST_CHANNELS,
    playout::{Counts, Playout},
    resample,
    store::Head,
    target::Costs,
    toc::{self, Shape},
};

const MS: i64 = SAMPLE_RATE as i64 / 1000;
/// Frames of the stream before the last change are ignored for this long: they were on their way.
const CHANGE: i64 = 2 * SAMPLE_RATE as i64;
/// More copies in one packet are ignored.
const MOST_COPIES: usize = 8;
/// So many lost frames before a packet that tells of them are worth a thought.
const TOLD: i64 = 8;
/// Longer pulls are cut into such parts: 20 ms.
const LONGEST_PULL: usize = 960;
/// Seconds in which resampling brings back a delay that is wrong, and the most it changes the rate for that.
const SETTLE: f64 = 10.0;
const MOST_SETTLE: f64 = 300e-6;

/// How a speaker starts and how far it may go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// The jitter to expect before any is measured, such as the path's; decays within the first second.
    pub start: Duration,
    /// The buffer never aims at less.
    pub min: Duration,
    /// The buffer never aims at more.
    pub max: Duration,
    /// How many channels are played: 1 or 2. Who sends two where one is played is heard in their mean.
    pub channels: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            start: Duration::from_millis(12),
            min: Duration::from_millis(1),
            max: Duration::from_millis(250),
            channels: 1,
        }
    }
}

impl Config {
    pub(crate) fn channels(&self) -> usize {
        self.channels.clamp(1, MOST_CHANNELS)
    }

    fn limits_ms(&self) -> (usize, usize) {
        let ms = |duration: Duration| usize::try_from(duration.as_millis()).unwrap_or(usize::MAX).min(BINS);
        (ms(self.min), ms(self.max))
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
    config: Config,
    epoch: Option<Instant>,
    stream: Option<u8>,
    /// The stream before, and when it gave way.
    former: Option<(u8, i64)>,
    is_ending: bool,
    arrivals: Arrivals,
    delays: Delays,
    burst: Burst,
    drift: Drift,
    pace: Pace,
    playout: Playout<D>,
    /// How far arrivals have fallen behind this computer's clock by drift alone, and until when that was counted.
    lag: f64,
    lag_at: i64,
    costs: Costs,
    stats: Stats,
    reported: Counts,
}

impl<D: Decode> Speaker<D> {
    /// A speaker that has heard nothing yet.
    pub fn new(decoder: D, config: Config) -> Self {
        resample::prepare();
        let delays = Delays::new(samples(config.start));
        let costs = Costs::new(delays.late(), config.limits_ms());
        Self {
            config,
            epoch: None,
            stream: None,
            former: None,
            is_ending: false,
            arrivals: Arrivals::default(),
            delays,
            burst: Burst::default(),
            drift: Drift::new(),
            pace: Pace::new(),
            playout: Playout::new(decoder),
            lag: 0.0,
            lag_at: 0,
            costs,
            stats: Stats::default(),
            reported: Counts::default(),
        }
    }

    /// Takes a frame that came at `now`.
    pub fn push(&mut self, frame: &Frame<'_>, now: Instant) {
        let now = self.since_epoch(now);
        let Some(shape) = toc::shape(frame.opus) else {
            self.stats.malformed += 1;
            return;
        };
        if !self.is_of_this_stream(frame.stream, now) {
            return;
        }
        let mut place = self.arrivals.place(frame, now);
        if place == Place::Elsewhere {
            self.restart();
            place = self.arrivals.place(frame, now);
        }
        let Place::At { seq, time } = place else {
            *if place == Place::Duplicate { &mut self.stats.duplicate } else { &mut self.stats.malformed } += 1;
            return;
        };
        self.stats.received += 1;
        if shape.is_stereo {
            self.playout.reshape(self.config.channels());
        }
        self.is_ending |= frame.flags.has(Flags::STREAM_END);
        let delay = now - time - self.lag(now);
        let could_repair = !frame.copies.is_empty() || shape.has_previous || shape.has_deep;
        let starts = frame.flags.has(Flags::TALKSPURT_START) && self.delays.floor().is_some();
        for Delay { delay, samples, arrived } in
            self.burst.note(Delay { delay, samples: shape.samples, arrived: now }, starts)
        {
            self.delays.note(delay, samples, arrived, could_repair);
            self.drift.note_arrival(delay + self.lag as i64, arrived);
        }
        self.playout.put(Head { seq, time, flags: frame.flags, shape, is_copy: false }, frame.opus);
        self.take_copies(frame, seq, time, delay);
        // Where copies are sent it is them that are worth waiting for.
        if frame.copies.is_empty() {
            self.note_told(shape, seq, delay);
        }
        self.costs.update(self.delays.late(), self.config.limits_ms());
    }

    /// How many channels the next samples have: two if that many are played, and the speaker has sent so many in this stream.
    pub fn channels(&self) -> usize {
        self.playout.channels()
    }

    /// Fills `out` with the next samples, any number at 48 kHz, interleaved if they have two [channels](Self::channels).
    pub fn pull(&mut self, out: &mut [f32], now: Instant) -> Pulled {
        let now = self.since_epoch(now);
        let concealed = self.playout.counts.concealed;
        let channels = self.playout.channels();
        let samples = out.len() / channels;
        let (out, rest) = out.split_at_mut(samples * channels);
        rest.fill(0.0);
        let behind = self.pace.note(samples, now);
        self.drift.note_pull(behind, now);
        let floor = self.delays.floor().unwrap_or(0) + self.lag(now);
        let mut later = samples as i64;
        let mut silent = true;
        for part in out.chunks_mut(LONGEST_PULL * channels) {
            let moment = Moment {
                live: self.pace.next() - later - floor,
                costs: &self.costs,
                block: self.pace.block(),
                is_resampled: self.drift.rate().is_some(),
            };
            later -= (part.len() / channels) as i64;
            let delay = self.playout.delay(&moment);
            self.stats.delay = delay.map_or(self.stats.delay, duration);
            let ratio = self.drift.rate().map(|rate| 1.0 + rate + settling(delay, moment.goal()));
            silent &= !self.playout.pull(part, &moment, ratio);
        }
        Pulled { silent, concealed: (self.playout.counts.concealed - concealed) as usize }
    }

    /// What to tell the sender of the time since the last report.
    pub fn report(&mut self) -> Report {
        let interval = std::mem::take(&mut self.arrivals.interval);
        let lost = interval.lost.max(0).unsigned_abs();
        self.arrivals.interval.lost = interval.lost.min(0);
        self.stats.lost += u64::from(lost);
        let counts = self.playout.counts;
        let late = (counts.late - self.reported.late).min(u64::from(u32::MAX)) as u32;
        let concealed = (counts.concealed - self.reported.concealed) * 1000 / u64::from(SAMPLE_RATE);
        self.reported = counts;
        let expected = interval.received + lost;
        Report {
            stream: self.stream.unwrap_or(0),
            highest: self.arrivals.newest().unwrap_or(0).rem_euclid(1 << 16) as u16,
            loss_permille: share(1000, lost, expected),
            burst_tenths: share(10, interval.in_gaps, interval.gaps),
            late_permille: share(1000, late, expected).min(1000),
            jitter_ms: self.delays.quantile_ms(0.98) as u16,
            buffer_ms: (self.costs.cheapest() / MS) as u16,
            concealed_ms: concealed.min(u64::from(u16::MAX)) as u16,
        }
    }

    /// Whether the sender has said that its stream is over and all of it was played.
    pub fn is_over(&self) -> bool {
        self.is_ending && self.playout.is_idle()
    }

    /// Whether there is nothing to play at this moment.
    pub fn is_idle(&self) -> bool {
        self.playout.is_idle()
    }

    /// What was seen and done.
    pub fn stats(&self) -> Stats {
        let counts = self.playout.counts;
        Stats {
            late: counts.late,
            lost: self.stats.lost + u64::from(self.arrivals.interval.lost.max(0).unsigned_abs()),
            malformed: self.stats.malformed + counts.undecodable,
            from_copy: counts.from_copy,
            from_next: counts.from_next,
            deep: counts.deep,
            concealed: counts.concealed,
            played: counts.played,
            shortened: counts.shortened,
            stretched: counts.stretched,
            target: duration(self.costs.cheapest()),
            drift_ppm: self.drift.rate().map_or(0.0, |rate| rate * 1e6) as f32,
            ..self.stats
        }
    }

    fn is_of_this_stream(&mut self, stream: u8, now: i64) -> bool {
        if self.stream == Some(stream) {
            return true;
        }
        if self.former.is_some_and(|(former, since)| former == stream && now - since < CHANGE) {
            return false;
        }
        if let Some(former) = self.stream.replace(stream) {
            self.former = Some((former, now));
            self.restart();
            self.playout.reshape(1);
        }
        true
    }

    fn restart(&mut self) {
        self.arrivals.restart();
        self.delays.restart();
        self.burst = Burst::default();
        self.drift = Drift::new();
        self.playout.restart();
        self.is_ending = false;
        self.stats.restarts += 1;
    }

    /// Notes when what the packet tells of lost frames before it could have been played.
    fn note_told(&mut self, shape: Shape, seq: i64, delay: i64) {
        let samples = shape.samples as i64;
        if shape.has_previous && self.arrivals.reach(seq - 1) {
            self.delays.note_repair(delay + samples, shape.samples, REPAIR);
        }
        for back in 1..=if shape.has_deep { TOLD } else { 0 } {
            if self.arrivals.reach(seq - back) {
                self.delays.note_repair(delay + back * samples, shape.samples, DEEP_REPAIR);
            }
        }
    }

    fn take_copies(&mut self, frame: &Frame<'_>, seq: i64, time: i64, delay: i64) {
        for copy in frame.copies.iter().take(MOST_COPIES) {
            let Some(shape) = toc::shape(copy.opus).filter(|_| copy.back > 0) else {
                self.stats.malformed += 1;
                continue;
            };
            let back = i64::from(copy.back);
            let seq = seq - back;
            self.delays.expect_repair(back * shape.samples as i64);
            if self.arrivals.reach(seq) {
                let carried = time;
                let time = self.arrivals.time_of(seq, shape.samples as i64, (back, carried));
                self.delays.note_repair(delay + carried - time, shape.samples, REPAIR);
                self.playout.put(Head { seq, time, flags: Flags::default(), shape, is_copy: true }, copy.opus);
            }
        }
    }

    /// How far arrivals have fallen behind by drift alone.
    fn lag(&mut self, now: i64) -> i64 {
        self.lag += self.drift.lag() * (now - self.lag_at) as f64;
        self.lag_at = now;
        self.lag as i64
    }

    /// Samples since the first call, so that all times are whole numbers of one unit.
    fn since_epoch(&mut self, now: Instant) -> i64 {
        let epoch = *self.epoch.get_or_insert(now);
        samples(now.saturating_duration_since(epoch))
    }
}

/// How much faster to play to bring `delay` to `goal`.
fn settling(delay: Option<i64>, goal: i64) -> f64 {
    let wrong = delay.map_or(0, |delay| delay - goal) as f64;
    (wrong / (SETTLE * f64::from(SAMPLE_RATE))).clamp(-MOST_SETTLE, MOST_SETTLE)
}

fn samples(duration: Duration) -> i64 {
    (duration.as_nanos() * u128::from(SAMPLE_RATE) / 1_000_000_000) as i64
}

fn duration(samples: i64) -> Duration {
    Duration::from_micros(samples.max(0).unsigned_abs() * 1000 / MS.unsigned_abs())
}

fn share(unit: u32, part: u32, whole: u32) -> u16 {
    let share = u64::from(unit) * u64::from(part) / u64::from(whole.max(1));
    share.min(u64::from(u16::MAX)) as u16
}

#[cfg(test)]
mod tests;
