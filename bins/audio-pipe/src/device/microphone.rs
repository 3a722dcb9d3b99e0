use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use codec::RATE;
use cpal::{FromSample, SizedSample};
use rtrb::{Consumer, Producer, RingBuffer};

use super::lookout::{Changes, Lookout, Retry};
use super::opening::{Found, Opening, find};
use super::select::{Chosen, Name, System, choose, explained};
use super::shared::{Pulse, Shared};
use super::stream::{Hears, Stream};
use super::{Direction, RING};
use crate::channels::reshape;
use crate::resample::Resampler;
use crate::stop::Stop;
use crate::timeline::Timeline;

/// A microphone that is listened to. It may come and go; while there is none, time passes in silence.
pub(crate) struct Microphone {
    wanted: Option<String>,
    period: Duration,
    /// One, or two that are interleaved.
    channels: usize,
    running: Option<Running>,
    opening: Option<Opening<Running>>,
    /// The device in use, or the last one.
    name: Name,
    system: System,
    lookout: Lookout,
    changes: Changes,
    retry: Retry,
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
        let opened = choose(Direction::Input, wanted, period, channels as u16, None);
        let running = explained(opened.and_then(|chosen| Running::start(chosen, channels)), "microphone", instead)?;
        Ok(Self {
            wanted: wanted.map(str::to_owned),
            period,
            channels,
            name: running.name.clone(),
            system: running.system,
            lookout: Lookout::start(Direction::Input, wanted, running.system)?,
            running: Some(running),
            opening: None,
            changes: Changes::new("microphone"),
            retry: Retry::new(Instant::now()),
            ready: Vec::new(),
            timeline: None,
            at: 0,
        })
    }

    /// How many channels are heard, interleaved.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Waits for a whole frame and tells the number of its first sample. Without a device, or if everything is to end, it is
    /// silent.
    pub(crate) fn next(&mut self, frame: &mut [f32], stop: &Stop) -> u64 {
        let samples = frame.len() / self.channels;
        while self.ready.len() < frame.len() {
            if stop.is_asked() {
                frame.fill(0.0);
                return self.at;
            }
            let now = Instant::now();
            self.take_opened(now);
            match self.running {
                Some(_) => self.listen(samples - self.ready.len() / self.channels, now),
                None => self.pass(samples, now),
            }
        }
        frame.copy_from_slice(&self.ready[..frame.len()]);
        self.ready.drain(..frame.len());
        self.at += samples as u64;
        self.at - samples as u64
    }

    /// Whether there is a device.
    pub(crate) fn is_there(&self) -> bool {
        self.running.is_some()
    }

    /// When sample 0 was heard.
    pub(crate) fn timeline(&self) -> Option<Timeline> {
        self.timeline
    }

    /// What the device in use is called.
    pub(crate) fn device(&self) -> &str {
        &self.name.title
    }

    /// Takes what the device brings, until so many samples are there, but not for long.
    fn listen(&mut self, missing: usize, now: Instant) {
        let Some(running) = &mut self.running else { return };
        if running.is_dead(now) {
            return self.lose(now);
        }
        running.wait(missing);
        running.drain(&mut self.ready, self.channels);
        if self.timeline.is_none() && !self.ready.is_empty() {
            self.timeline = Some(Timeline::ago((self.ready.len() / self.channels) as u64));
        }
        let missed = running.shared.missed.swap(0, Ordering::Relaxed);
        self.at += missed * u64::from(RATE) / u64::from(running.rate);
        // The one in use is listened to until the better one is open.
        if self.opening.is_none() && self.lookout.sees_better(&running.name) && self.retry.is_due(now) {
            self.lookout.forget();
            self.search();
        }
    }

    /// Lets time pass without a device: a frame of silence is there once it would have been heard.
    fn pass(&mut self, samples: usize, now: Instant) {
        if self.opening.is_none() && self.retry.is_due(now) {
            self.search();
        }
        let due = self.timeline.get_or_insert_with(Timeline::now).instant(self.at + samples as u64);
        match due.checked_duration_since(now) {
            Some(early) => thread::park_timeout(early),
            None => self.ready.resize(samples * self.channels, 0.0),
        }
    }

    fn lose(&mut self, now: Instant) {
        self.running = None;
        self.lookout.forget();
        self.retry = Retry::new(now);
        self.go_on(now);
    }

    /// Begins to look for the device that is wanted, or for any other.
    fn search(&mut self) {
        let (wanted, period, channels, system) = (self.wanted.clone(), self.period, self.channels, self.system);
        let in_use = self.running.as_ref().map(|running| running.name.clone());
        let choose =
            move |wanted: Option<&str>| choose(Direction::Input, wanted, period, channels as u16, Some(system));
        let start = move |chosen| Running::start(chosen, channels);
        match Opening::start(move || find(wanted.as_deref(), in_use.as_ref(), choose, start)) {
            Ok(opening) => self.opening = Some(opening),
            Err(error) => self.changes.none(&self.name, &error),
        }
    }

    /// Uses the device that was looked for, once it is open.
    fn take_opened(&mut self, now: Instant) {
        let Some(opened) = self.opening.as_ref().and_then(Opening::outcome) else { return };
        self.opening = None;
        match opened {
            Ok(Found { running, is_wanted }) => {
                self.changes.uses(&self.name, &running.name, is_wanted);
                self.name = running.name.clone();
                self.running = Some(running);
                self.retry = Retry::new(now);
                self.go_on(now);
            }
            Err(error) if self.running.is_none() => self.changes.none(&self.name, &error),
            Err(error) => tracing::debug!("A better microphone could not be opened: {error:#}"),
        }
    }

    /// What comes next is heard now, not when the last device brought something.
    fn go_on(&mut self, now: Instant) {
        self.ready.clear();
        let now = self.timeline.map_or(0, |timeline| timeline.sample(now));
        self.at = self.at.max(now);
    }
}

impl Running {
    fn start(chosen: Chosen, wanted: usize) -> Result<Self> {
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
        self.shared.adopt();
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
