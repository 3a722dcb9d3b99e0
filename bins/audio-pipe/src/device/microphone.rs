use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use codec::RATE;
use cpal::traits::{DeviceTrait, StreamTrait};
use cpal::{FromSample, SampleFormat, SizedSample, Stream};
use edge::{Exit, WithExit};
use rtrb::{Consumer, Producer, RingBuffer};

use super::{BUILD, Chosen, Direction, Pulse, RETRY, RING, Shared, choose};
use crate::resample::Resampler;
use crate::stop::Stop;
use crate::timeline::Timeline;

/// A microphone that is listened to.
pub(crate) struct Microphone {
    name: Option<String>,
    period: Duration,
    running: Running,
    ready: Vec<f32>,
    timeline: Option<Timeline>,
    /// The number of the next sample.
    at: u64,
}

struct Running {
    _stream: Stream,
    device: String,
    ring: Consumer<f32>,
    shared: Arc<Shared>,
    resampler: Option<Resampler>,
    rate: u32,
    pulse: Pulse,
}

impl Microphone {
    /// Opens the device of that name, or the default one.
    pub(crate) fn open(name: Option<&str>, period: Duration) -> Result<Self> {
        let running = Running::start(name, period)
            .map_err(|error| anyhow!("no microphone: {error:#}; --input FILE talks from a file instead"))
            .exit(Exit::Unavailable)?;
        Ok(Self { name: name.map(str::to_owned), period, running, ready: Vec::new(), timeline: None, at: 0 })
    }

    /// Waits for a whole frame and tells the number of its first sample. If everything is to end it is silent.
    pub(crate) fn next(&mut self, frame: &mut [f32], stop: &Stop) -> u64 {
        self.running.shared.adopt();
        while self.ready.len() < frame.len() {
            if stop.is_asked() {
                frame.fill(0.0);
                return self.at;
            }
            let missing = frame.len() - self.ready.len();
            self.running.wait(missing);
            self.running.drain(&mut self.ready);
            if self.timeline.is_none() && !self.ready.is_empty() {
                self.timeline = Some(Timeline::ago(self.ready.len() as u64));
            }
            if self.running.pulse.is_dead(&self.running.shared) {
                self.restart(stop);
            }
            let missed = self.running.shared.missed.swap(0, Ordering::Relaxed);
            self.at += missed * u64::from(RATE) / u64::from(self.running.rate);
        }
        frame.copy_from_slice(&self.ready[..frame.len()]);
        self.ready.drain(..frame.len());
        let at = self.at;
        self.at += frame.len() as u64;
        at
    }

    /// When sample 0 was heard.
    pub(crate) fn timeline(&self) -> Option<Timeline> {
        self.timeline
    }

    /// What the device in use is called.
    pub(crate) fn device(&self) -> &str {
        &self.running.device
    }

    fn restart(&mut self, stop: &Stop) {
        tracing::warn!("The microphone is lost; looking for it, or for another one");
        while !stop.wait(RETRY) {
            // Where a named device has gone, any other is better than silence.
            let started =
                Running::start(self.name.as_deref(), self.period).or_else(|_| Running::start(None, self.period));
            match started {
                Ok(running) => {
                    tracing::warn!("A microphone is back");
                    self.running = running;
                    self.running.shared.adopt();
                    self.ready.clear();
                    let now = self.timeline.map_or(0, |timeline| timeline.sample(std::time::Instant::now()));
                    self.at = self.at.max(now);
                    return;
                }
                Err(error) => tracing::debug!("No microphone: {error:#}"),
            }
        }
    }
}

impl Running {
    fn start(name: Option<&str>, period: Duration) -> Result<Self> {
        let Chosen { device, config, format } = choose(Direction::Input, name, period)?;
        let (producer, ring) = RingBuffer::new(RING);
        let shared = Arc::new(Shared::default());
        let channels = config.channels.into();
        let ear = Ear { ring: producer, shared: Arc::clone(&shared), channels };
        let stream = match format {
            SampleFormat::F32 => build::<f32>(&device, config, ear)?,
            _ => build::<i16>(&device, config, ear)?,
        };
        stream.play()?;
        let device = device.description().map_or_else(|_| String::new(), |description| description.name().to_owned());
        let rate = config.sample_rate;
        let resampler = if rate == RATE { None } else { Some(Resampler::quick(rate, RATE)?) };
        Ok(Self { _stream: stream, device, ring, shared, resampler, rate, pulse: Pulse::new() })
    }

    /// Sleeps until that many samples, at 48 kHz, are there, but not long.
    fn wait(&self, samples: usize) {
        let wanted = (samples * self.rate as usize).div_ceil(RATE as usize);
        self.shared.wake.store(wanted, Ordering::Release);
        if self.ring.slots() < wanted {
            thread::park_timeout(Duration::from_millis(100));
        }
    }

    fn drain(&mut self, ready: &mut Vec<f32>) {
        let Ok(chunk) = self.ring.read_chunk(self.ring.slots()) else { return };
        let (first, second) = chunk.as_slices();
        for samples in [first, second] {
            match &mut self.resampler {
                None => ready.extend_from_slice(samples),
                Some(resampler) => resampler.push(samples, ready),
            }
        }
        chunk.commit_all();
    }
}

fn build<T>(device: &cpal::Device, config: cpal::StreamConfig, mut ear: Ear) -> Result<Stream>
where
    T: SizedSample,
    f32: FromSample<T>,
{
    let shared = Arc::clone(&ear.shared);
    let heard = move |data: &[T], _: &cpal::InputCallbackInfo| ear.hear(data);
    Ok(device.build_input_stream(config, heard, move |error| shared.handle_error(&error), Some(BUILD))?)
}

/// The half of a microphone that runs in the callback.
struct Ear {
    ring: Producer<f32>,
    shared: Arc<Shared>,
    channels: usize,
}

impl Ear {
    fn hear<T>(&mut self, data: &[T])
    where
        T: SizedSample,
        f32: FromSample<T>,
    {
        let frames = data.len() / self.channels;
        self.shared.count(frames);
        let room = self.ring.slots().min(frames);
        self.shared.missed.fetch_add((frames - room) as u64, Ordering::Relaxed);
        if let Ok(mut chunk) = self.ring.write_chunk(room) {
            let (first, second) = chunk.as_mut_slices();
            let scale = 1.0 / self.channels as f32;
            for (slot, frame) in first.iter_mut().chain(second).zip(data.chunks_exact(self.channels)) {
                *slot = frame.iter().map(|sample| f32::from_sample_(*sample)).sum::<f32>() * scale;
            }
            chunk.commit_all();
        }
        if RING - self.ring.slots() >= self.shared.wake.load(Ordering::Acquire) {
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
        let mut ear = Ear { ring: producer, shared: Arc::clone(&shared), channels: 2 };
        let data = vec![0.5_f32; 2 * RING];
        let short = vec![i16::MAX; 48];

        assert_no_alloc(|| {
            ear.hear(&short);
            ear.hear(&data[..960]);
            ear.hear(&data);
        });

        assert_eq!(ring.slots(), RING);
        assert_eq!(shared.missed.load(Ordering::Relaxed), 24 + 480);
        assert_eq!(shared.largest.load(Ordering::Relaxed), RING);
        assert!((ring.pop().expect("a sample") - 1.0).abs() < 0.001);
    }
}
