use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use codec::RATE;
use cpal::{FromSample, SizedSample};
use rtrb::{Consumer, Producer, RingBuffer};

use super::lookout::{Changes, Lookout, Retry};
use super::margin::Margin;
use super::select::{Name, System, choose, explained};
use super::shared::{Pulse, Shared};
use super::stream::{Speaks, Stream};
use super::{Direction, RING};
use crate::resample::Resampler;
use crate::stop::Stop;

/// The most that is asked for at a time, in samples at 48 kHz.
pub(crate) const MOST: usize = 480;
/// As long as there is no device, the others go on talking: they are heard in such steps.
const STEP: Duration = Duration::from_millis(10);

/// A loudspeaker that is spoken through. It may come and go.
pub(crate) struct Loudspeaker {
    wanted: Option<String>,
    period: Duration,
    running: Option<Running>,
    /// The device in use, or the last one.
    name: Name,
    system: System,
    lookout: Lookout,
    changes: Changes,
    retry: Retry,
    /// Without a device: when the next step is due.
    due: Instant,
    underruns: u64,
}

struct Running {
    _stream: Stream,
    ring: Producer<f32>,
    shared: Arc<Shared>,
    resampler: Option<Resampler>,
    resampled: Vec<f32>,
    rate: u32,
    pulse: Pulse,
    margin: Margin,
    name: Name,
    system: System,
}

impl Loudspeaker {
    /// Opens the device of that name, or the default one.
    pub(crate) fn open(wanted: Option<&str>, period: Duration) -> Result<Self> {
        let instead = "--output FILE plays to a file instead";
        let running = explained(Running::start(wanted, period, None), "loudspeaker", instead)?;
        let now = Instant::now();
        Ok(Self {
            wanted: wanted.map(str::to_owned),
            period,
            name: running.name.clone(),
            system: running.system,
            lookout: Lookout::start(Direction::Output, wanted, running.system)?,
            running: Some(running),
            changes: Changes::new("loudspeaker"),
            retry: Retry::new(now),
            due: now,
            underruns: 0,
        })
    }

    /// Waits until the device wants more, and tells how much at 48 kHz, at most [`MOST`]; `None` if everything is to end.
    pub(crate) fn wait(&mut self, stop: &Stop) -> Option<usize> {
        while !stop.is_asked() {
            let now = Instant::now();
            match &mut self.running {
                Some(running) => {
                    running.shared.adopt();
                    if running.is_dead(now) {
                        self.lose(now);
                    } else if self.lookout.sees_better(&running.name) {
                        self.change();
                    } else if let Some(samples) = running.wants(now) {
                        return Some(samples);
                    } else {
                        thread::park_timeout(Duration::from_millis(100));
                    }
                }
                None if self.retry.is_due(now) => self.search(),
                None if now >= self.due => {
                    self.due += STEP;
                    return Some((u128::from(RATE) * STEP.as_millis() / 1000) as usize);
                }
                None => thread::park_timeout(self.retry.wait(now).min(self.due - now)),
            }
        }
        None
    }

    /// Takes what [`Self::wait`] asked for, at 48 kHz. Without a device nobody hears it.
    pub(crate) fn play(&mut self, samples: &[f32]) {
        if let Some(running) = &mut self.running {
            running.play(samples);
        }
    }

    /// Waits until all that was taken is heard.
    pub(crate) fn drain(&self) {
        let deadline = Instant::now() + Duration::from_secs(1);
        while self.running.as_ref().is_some_and(|running| running.filled() > 0) && Instant::now() < deadline {
            thread::park_timeout(self.period);
        }
        // What the ring has given out is in the device for up to two periods; it does not say when that has been heard.
        thread::sleep(2 * self.period);
    }

    /// Samples that were not there in time, so far.
    pub(crate) fn underruns(&self) -> u64 {
        let current = self.running.as_ref().map_or(0, |running| running.shared.missed.load(Ordering::Relaxed));
        self.underruns + current
    }

    /// What the device in use is called.
    pub(crate) fn device(&self) -> &str {
        &self.name.title
    }

    fn lose(&mut self, now: Instant) {
        self.underruns = self.underruns();
        self.running = None;
        self.lookout.forget();
        (self.retry, self.due) = (Retry::new(now), now);
    }

    /// Another device is better than the one in use, which plays on until that one does.
    fn change(&mut self) {
        self.lookout.forget();
        self.underruns = self.underruns();
        self.search();
    }

    fn search(&mut self) {
        let before = Some(self.system);
        let wanted = Running::start(self.wanted.as_deref(), self.period, before);
        let is_wanted = wanted.is_ok() && self.wanted.is_some();
        // Where a named device has gone, any other is better than silence.
        match wanted.or_else(|_| Running::start(None, self.period, before)) {
            Ok(running) => {
                self.changes.uses(&self.name, &running.name, is_wanted);
                self.name = running.name.clone();
                self.running = Some(running);
            }
            Err(error) => self.changes.none(&self.name, &error),
        }
    }
}

impl Running {
    fn start(name: Option<&str>, period: Duration, before: Option<System>) -> Result<Self> {
        let chosen = choose(Direction::Output, name, period, before)?;
        let (ring, consumer) = RingBuffer::new(RING);
        let shared = Arc::new(Shared::default());
        let rate = chosen.rate;
        shared.last.store((u128::from(rate) * period.as_micros() / 1_000_000) as usize, Ordering::Relaxed);
        let mouth = Mouth {
            ring: consumer,
            shared: Arc::clone(&shared),
            channels: chosen.channels.into(),
            last: 0.0,
            primed: false,
        };
        let stream = Stream::speak(&chosen, mouth)?;
        let resampler = if rate == RATE { None } else { Some(Resampler::quick(RATE, rate)?) };
        let (pulse, margin) = (Pulse::new(Instant::now()), Margin::new());
        Ok(Self {
            _stream: stream,
            ring,
            shared,
            resampler,
            resampled: Vec::new(),
            rate,
            pulse,
            margin,
            name: chosen.name,
            system: chosen.system,
        })
    }

    fn is_dead(&mut self, now: Instant) -> bool {
        self.shared.is_lost() || self.pulse.is_dead(self.shared.callbacks(), now)
    }

    fn filled(&self) -> usize {
        RING - self.ring.slots()
    }

    /// How much to play, if there is less than the next callback and the margin take.
    fn wants(&mut self, now: Instant) -> Option<usize> {
        let to_device = |samples: usize| samples * self.rate as usize / RATE as usize;
        if let Some(least) = self.shared.take_least() {
            self.margin.note(least * i64::from(RATE) / i64::from(self.rate), now);
        }
        let next = self.shared.last.load(Ordering::Relaxed);
        let level = (next + to_device(self.margin.samples())).min(RING / 2);
        self.shared.wake.store(level, Ordering::Release);
        let missing = level.saturating_sub(self.filled());
        // What one callback takes is mixed at once; short of that, the ring would wait for the rest of a step.
        let step = (next * RATE as usize / self.rate as usize).clamp(48, MOST);
        (missing > 0).then_some(step)
    }

    fn play(&mut self, samples: &[f32]) {
        let samples = match &mut self.resampler {
            None => samples,
            Some(resampler) => {
                self.resampled.clear();
                resampler.push(samples, &mut self.resampled);
                &self.resampled
            }
        };
        for sample in samples {
            // The ring is never this full; if it were, the oldest sound would be the least useful.
            let _ = self.ring.push(*sample);
        }
    }
}

/// The half of a loudspeaker that runs in the callback.
struct Mouth {
    ring: Consumer<f32>,
    shared: Arc<Shared>,
    channels: usize,
    last: f32,
    /// Whether there has been anything to play: silence before that is nobody's fault.
    primed: bool,
}

impl Speaks for Mouth {
    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn speak<T>(&mut self, out: &mut [T])
    where
        T: SizedSample + FromSample<f32>,
    {
        /// What is left of the last sample from one to the next when nothing comes: gone within a millisecond.
        const FADE: f32 = 0.9;

        let frames = out.len() / self.channels;
        let there = self.ring.slots();
        let mut missing = 0;
        for frame in out.chunks_exact_mut(self.channels) {
            self.last = self.ring.pop().unwrap_or_else(|_| {
                missing += 1;
                self.last * FADE
            });
            frame.fill(T::from_sample_(self.last));
        }
        if self.primed {
            self.shared.missed.fetch_add(missing as u64, Ordering::Relaxed);
            self.shared.note_left(there as i64 - frames as i64);
        }
        self.primed |= missing < frames;
        self.shared.count(frames);
        if self.ring.slots() < self.shared.wake.load(Ordering::Acquire) {
            self.shared.wake_worker();
        }
    }
}

#[cfg(test)]
mod tests {
    use assert_no_alloc::assert_no_alloc;

    use super::*;

    fn mouth(channels: usize) -> (Producer<f32>, Mouth) {
        let (ring, consumer) = RingBuffer::new(RING);
        let shared = Arc::new(Shared::default());
        shared.adopt();
        (ring, Mouth { ring: consumer, shared, channels, last: 0.0, primed: false })
    }

    #[test]
    fn the_callback_allocates_nothing_whatever_its_size() {
        let (mut ring, mut mouth) = mouth(2);
        (0..1000).for_each(|_| ring.push(0.5).expect("room"));
        let mut out = vec![0_i16; 48];
        let mut long = vec![0.0_f32; 4000];

        assert_no_alloc(|| {
            mouth.speak(&mut out);
            mouth.speak(&mut long);
        });

        assert_eq!(out, [16_384; 48]);
        assert_eq!(mouth.shared.missed.load(Ordering::Relaxed), 2000 - 976);
        assert_eq!(mouth.shared.take_least(), Some(976 - 2000));
    }

    #[test]
    fn an_underrun_fades_out_instead_of_clicking() {
        let (mut ring, mut mouth) = mouth(1);
        let mut out = [9.0_f32; 100];
        mouth.speak(&mut out);
        assert_eq!((out, mouth.shared.missed.load(Ordering::Relaxed)), ([0.0; 100], 0), "nothing has come yet");

        ring.push(1.0).expect("room");
        mouth.speak(&mut out);

        assert!(out.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 0.11) && out[99] < 0.001, "{out:?}");
    }
}
