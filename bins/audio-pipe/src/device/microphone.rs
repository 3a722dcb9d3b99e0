use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use codec::RATE;
use cpal::{FromSample, SizedSample};
use rtrb::{Consumer, Producer, RingBuffer};

use super::lookout::{Changes, Lookout, Retry};
use super::select::{Chosen, Name, System, choose, explained};
use super::shared::{Pulse, Shared};
use super::stream::{Hears, Stream};
use super::{Direction, RING};
use crate::channels::reshape;
use crate::resample::Resampler;
use crate::stop::Stop;
use crate::timeline::Timeline;

/// A microphone that is listened to. It may come and go; while there is none, time passes.
pub(crate) struct Microphone {
    wanted: Option<String>,
    period: Duration,
    /// One, or two that are interleaved.
    channels: usize,
    running: Running,
    lookout: Lookout,
    changes: Changes,
    ready: Vec<f32>,
    timeline: Option<Timeline>,
    /// The number of the next sample.
    at: u64,
}

struct Running {
    _stream: Stream,
    ring: Consumer<f32>,
    /// What the device brings: one channel, or two if that many are wanted.
    channels: usize,
    resampled: Vec<f32>,
    reshaped: Vec<f32>,
    shared: Arc<Shared>,
    resampler: Option<Resampler>,
    rate: u32,
    pulse: Pulse,
    name: Name,
    system: System,
}

impl Microphone {
    /// Opens the device of that name, or the default one, to hear so many channels of it. Where two are wanted and it has one,
    /// both are that.
    pub(crate) fn open(wanted: Option<&str>, period: Duration, channels: usize) -> Result<Self> {
        let instead = "--input FILE talks from a file instead";
        let running = explained(Running::start(wanted, period, channels, None), "microphone", instead)?;
        Ok(Self {
            wanted: wanted.map(str::to_owned),
            period,
            channels,
            lookout: Lookout::start(Direction::Input, wanted, running.system)?,
            running,
            changes: Changes::new("microphone"),
            ready: Vec::new(),
            timeline: None,
            at: 0,
        })
    }

    /// How many channels are heard, interleaved.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Waits for a whole frame and tells the number of its first sample. If everything is to end it is silent.
    pub(crate) fn next(&mut self, frame: &mut [f32], stop: &Stop) -> u64 {
        self.running.shared.adopt();
        while self.ready.len() < frame.len() {
            if stop.is_asked() {
                frame.fill(0.0);
                return self.at;
            }
            let missing = (frame.len() - self.ready.len()) / self.channels;
            self.running.wait(missing);
            self.running.drain(&mut self.ready, self.channels);
            if self.timeline.is_none() && !self.ready.is_empty() {
                self.timeline = Some(Timeline::ago((self.ready.len() / self.channels) as u64));
            }
            if self.running.is_dead(Instant::now()) {
                self.restart(stop);
            } else if self.lookout.sees_better(&self.running.name) {
                self.lookout.forget();
                self.search();
            }
            let missed = self.running.shared.missed.swap(0, Ordering::Relaxed);
            self.at += missed * u64::from(RATE) / u64::from(self.running.rate);
        }
        frame.copy_from_slice(&self.ready[..frame.len()]);
        self.ready.drain(..frame.len());
        let at = self.at;
        self.at += (frame.len() / self.channels) as u64;
        at
    }

    /// When sample 0 was heard.
    pub(crate) fn timeline(&self) -> Option<Timeline> {
        self.timeline
    }

    /// What the device in use is called.
    pub(crate) fn device(&self) -> &str {
        &self.running.name.title
    }

    fn restart(&mut self, stop: &Stop) {
        self.lookout.forget();
        let mut retry = Retry::new(Instant::now());
        while !stop.wait(retry.wait(Instant::now())) {
            if retry.is_due(Instant::now()) && self.search() {
                return;
            }
        }
    }

    /// Looks for the device that is wanted, or for any other; whether one is in use.
    fn search(&mut self) -> bool {
        let before = Some(self.running.system);
        let wanted = Running::start(self.wanted.as_deref(), self.period, self.channels, before);
        let is_wanted = wanted.is_ok() && self.wanted.is_some();
        // Where a named device has gone, any other is better than silence.
        match wanted.or_else(|_| Running::start(None, self.period, self.channels, before)) {
            Ok(running) => {
                self.changes.uses(&self.running.name, &running.name, is_wanted);
                self.running = running;
                self.running.shared.adopt();
                self.ready.clear();
                let now = self.timeline.map_or(0, |timeline| timeline.sample(Instant::now()));
                self.at = self.at.max(now);
                true
            }
            Err(error) => {
                self.changes.none(&self.running.name, &error);
                false
            }
        }
    }
}

impl Running {
    fn start(name: Option<&str>, period: Duration, wanted: usize, before: Option<System>) -> Result<Self> {
        let chosen = choose(Direction::Input, name, period, wanted as u16, before)?;
        let channels = usize::from(chosen.channels).min(wanted);
        let (producer, ring) = RingBuffer::new(RING * channels);
        let shared = Arc::new(Shared::default());
        let ear = Ear { ring: producer, shared: Arc::clone(&shared), channels, ins: chosen.channels.into() };
        let stream = Stream::listen(&chosen, ear)?;
        let (rate, pulse) = (chosen.rate, Pulse::new(Instant::now()));
        let resampler = Resampler::quick_if_needed(rate, RATE, channels)?;
        let (resampled, reshaped) = (Vec::new(), Vec::new());
        let Chosen { name, system, .. } = chosen;
        Ok(Self { _stream: stream, ring, channels, resampled, reshaped, shared, resampler, rate, pulse, name, system })
    }

    fn is_dead(&mut self, now: Instant) -> bool {
        self.shared.is_lost() || self.pulse.is_dead(self.shared.callbacks(), now)
    }

    /// Sleeps until that many samples, at 48 kHz, are there, but not long.
    fn wait(&self, samples: usize) {
        let wanted = (samples * self.rate as usize).div_ceil(RATE as usize);
        self.shared.wake.store(wanted, Ordering::Release);
        if self.ring.slots() / self.channels < wanted {
            thread::park_timeout(Duration::from_millis(100));
        }
    }

    fn drain(&mut self, ready: &mut Vec<f32>, channels: usize) {
        let Ok(chunk) = self.ring.read_chunk(self.ring.slots()) else { return };
        let (first, second) = chunk.as_slices();
        for samples in [first, second] {
            let samples = Resampler::apply(&mut self.resampler, samples, &mut self.resampled);
            ready.extend_from_slice(reshape(samples, [self.channels, channels], &mut self.reshaped));
        }
        chunk.commit_all();
    }
}

/// The half of a microphone that runs in the callback.
struct Ear {
    ring: Producer<f32>,
    shared: Arc<Shared>,
    /// One or two, as they go into the ring; and what the device has, which is no fewer.
    channels: usize,
    ins: usize,
}

impl Hears for Ear {
    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn hear<T>(&mut self, data: &[T])
    where
        T: SizedSample,
        f32: FromSample<T>,
    {
        let frames = data.len() / self.ins;
        self.shared.count(frames);
        let room = (self.ring.slots() / self.channels).min(frames);
        self.shared.missed.fetch_add((frames - room) as u64, Ordering::Relaxed);
        if let Ok(mut chunk) = self.ring.write_chunk(room * self.channels) {
            let (first, second) = chunk.as_mut_slices();
            let slots = first.iter_mut().chain(second);
            let ins = data.chunks_exact(self.ins);
            if self.channels == 1 {
                let scale = 1.0 / self.ins as f32;
                for (slot, frame) in slots.zip(ins) {
                    *slot = frame.iter().map(|sample| f32::from_sample_(*sample)).sum::<f32>() * scale;
                }
            } else {
                // Of more than two the first ones are left and right.
                let sides = ins.flat_map(|frame| &frame[..2]);
                slots.zip(sides).for_each(|(slot, sample)| *slot = f32::from_sample_(*sample));
            }
            chunk.commit_all();
        }
        if RING - self.ring.slots() / self.channels >= self.shared.wake.load(Ordering::Acquire) {
            self.shared.wake_worker();
        }
    }
}

#[cfg(test)]
mod tests {
    use assert_no_alloc::assert_no_alloc;

    use super::*;

    #[test]
    fn the_callback_allocates_nothing_whatever_its_size() {
        let (producer, mut ring) = RingBuffer::new(RING);
        let shared = Arc::new(Shared::default());
        shared.adopt();
        let mut ear = Ear { ring: producer, shared: Arc::clone(&shared), channels: 1, ins: 2 };
        let data = vec![0.5_f32; 2 * RING];
        let short = vec![i16::MAX; 48];

        assert_no_alloc(|| {
            ear.hear(&short);
            ear.hear(&data[..960]);
            ear.hear(&data);
        });

        assert_eq!(ring.slots(), RING);
        assert_eq!(shared.missed.load(Ordering::Relaxed), 24 + 480);
        assert_eq!(shared.frames(), 24 + 480 + RING as u64);
        assert!((ring.pop().expect("a sample") - 1.0).abs() < 0.001);
    }

    #[test]
    fn where_two_channels_are_wanted_the_first_two_of_a_device_are_heard_apart() {
        for ins in [2, 6] {
            let (producer, mut ring) = RingBuffer::new(2 * 100);
            let shared = Arc::new(Shared::default());
            shared.adopt();
            let mut ear = Ear { ring: producer, shared: Arc::clone(&shared), channels: 2, ins };
            let data: Vec<f32> = (0..101 * ins).map(|n| [0.5, -0.5, 9.0, 9.0, 9.0, 9.0][n % ins]).collect();

            assert_no_alloc(|| ear.hear(&data));

            let heard: Vec<f32> = std::iter::from_fn(|| ring.pop().ok()).collect();
            assert_eq!(heard, [0.5, -0.5].repeat(100), "of {ins}");
            assert_eq!(shared.missed.load(Ordering::Relaxed), 1);
        }
    }
}
