use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use codec::RATE;
use cpal::traits::{DeviceTrait, StreamTrait};
use cpal::{FromSample, SampleFormat, SizedSample, Stream};
use edge::{Exit, WithExit};
use rtrb::{Consumer, Producer, RingBuffer};

use super::{BUILD, Chosen, Direction, Pulse, RETRY, RING, Shared, choose};
use crate::resample::Resampler;
use crate::stop::Stop;

/// What the ring holds beside what the next callback takes: the time that the worker may need to wake up and mix.
const MARGIN: Duration = Duration::from_millis(5);

/// A loudspeaker that is spoken through.
pub(crate) struct Loudspeaker {
    name: Option<String>,
    period: Duration,
    running: Running,
    underruns: u64,
}

struct Running {
    _stream: Stream,
    device: String,
    ring: Producer<f32>,
    shared: Arc<Shared>,
    resampler: Option<Resampler>,
    resampled: Vec<f32>,
    rate: u32,
    pulse: Pulse,
}

impl Loudspeaker {
    /// Opens the device of that name, or the default one.
    pub(crate) fn open(name: Option<&str>, period: Duration) -> Result<Self> {
        let running = Running::start(name, period)
            .map_err(|error| anyhow!("no loudspeaker: {error:#}; --output FILE plays to a file instead"))
            .exit(Exit::Unavailable)?;
        Ok(Self { name: name.map(str::to_owned), period, running, underruns: 0 })
    }

    /// Waits until the device wants more; `false` if everything is to end.
    pub(crate) fn wait(&mut self, stop: &Stop) -> bool {
        self.running.shared.adopt();
        while !stop.is_asked() {
            if self.running.pulse.is_dead(&self.running.shared) {
                self.restart(stop);
            } else if self.running.wants_more() {
                return true;
            } else {
                thread::park_timeout(Duration::from_millis(100));
            }
        }
        false
    }

    /// Takes what [`Self::wait`] asked for, at 48 kHz.
    pub(crate) fn play(&mut self, samples: &[f32]) {
        self.running.play(samples);
    }

    /// Waits until all that was taken is heard.
    pub(crate) fn drain(&self) {
        let deadline = Instant::now() + Duration::from_secs(1);
        while self.running.filled() > 0 && Instant::now() < deadline {
            thread::park_timeout(self.period);
        }
        // What the ring has given out is in the device for up to two periods; it does not say when that has been heard.
        thread::sleep(2 * self.period);
    }

    /// Samples that were not there in time, so far.
    pub(crate) fn underruns(&self) -> u64 {
        self.underruns + self.running.shared.missed.load(Ordering::Relaxed)
    }

    /// What the device in use is called.
    pub(crate) fn device(&self) -> &str {
        &self.running.device
    }

    fn restart(&mut self, stop: &Stop) {
        tracing::warn!("The loudspeaker is lost; looking for it, or for another one");
        self.underruns = self.underruns();
        while !stop.wait(RETRY) {
            let started =
                Running::start(self.name.as_deref(), self.period).or_else(|_| Running::start(None, self.period));
            match started {
                Ok(running) => {
                    tracing::warn!("A loudspeaker is back");
                    self.running = running;
                    self.running.shared.adopt();
                    return;
                }
                Err(error) => tracing::debug!("No loudspeaker: {error:#}"),
            }
        }
    }
}

impl Running {
    fn start(name: Option<&str>, period: Duration) -> Result<Self> {
        let Chosen { device, config, format } = choose(Direction::Output, name, period)?;
        let (ring, consumer) = RingBuffer::new(RING);
        let shared = Arc::new(Shared::default());
        let rate = config.sample_rate;
        shared.largest.store((u128::from(rate) * period.as_micros() / 1_000_000) as usize, Ordering::Relaxed);
        let mouth = Mouth {
            ring: consumer,
            shared: Arc::clone(&shared),
            channels: config.channels.into(),
            last: 0.0,
            primed: false,
        };
        let stream = match format {
            SampleFormat::F32 => build::<f32>(&device, config, mouth)?,
            _ => build::<i16>(&device, config, mouth)?,
        };
        let resampler = if rate == RATE { None } else { Some(Resampler::quick(RATE, rate)?) };
        stream.play()?;
        let device = device.description().map_or_else(|_| String::new(), |description| description.name().to_owned());
        Ok(Self { _stream: stream, device, ring, shared, resampler, resampled: Vec::new(), rate, pulse: Pulse::new() })
    }

    fn filled(&self) -> usize {
        RING - self.ring.slots()
    }

    /// Whether there is less than the next callback and the margin take.
    fn wants_more(&self) -> bool {
        let margin = (u128::from(self.rate) * MARGIN.as_micros() / 1_000_000) as usize;
        let level = (self.shared.largest.load(Ordering::Relaxed) + margin).min(RING / 2);
        self.shared.wake.store(level, Ordering::Release);
        self.filled() < level
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

fn build<T>(device: &cpal::Device, config: cpal::StreamConfig, mut mouth: Mouth) -> Result<Stream>
where
    T: SizedSample + FromSample<f32>,
{
    let shared = Arc::clone(&mouth.shared);
    let wanted = move |out: &mut [T], _: &cpal::OutputCallbackInfo| mouth.speak(out);
    Ok(device.build_output_stream(config, wanted, move |error| shared.handle_error(&error), Some(BUILD))?)
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

impl Mouth {
    fn speak<T>(&mut self, out: &mut [T])
    where
        T: SizedSample + FromSample<f32>,
    {
        /// What is left of the last sample from one to the next when nothing comes: gone within a millisecond.
        const FADE: f32 = 0.9;

        let frames = out.len() / self.channels;
        self.shared.count(frames);
        let mut missing = 0;
        for frame in out.chunks_exact_mut(self.channels) {
            self.last = self.ring.pop().unwrap_or_else(|_| {
                missing += 1;
                self.last * FADE
            });
            frame.fill(T::from_sample_(self.last));
        }
        self.primed |= missing < frames;
        if self.primed {
            self.shared.missed.fetch_add(missing as u64, Ordering::Relaxed);
        }
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
