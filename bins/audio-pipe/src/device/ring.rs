//! A ring between the callback of a loudspeaker and the worker that mixes for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use codec::RATE;
use cpal::{FromSample, SizedSample};
use rtrb::{Consumer, Producer, RingBuffer};

use super::RING;
use super::loudspeaker::MOST;
use super::margin::Margin;
use super::select::Chosen;
use super::shared::Shared;
use super::stream::{Speaks, Stream};
use crate::resample::Resampler;

/// Less than this is not mixed by itself: half a millisecond.
const LEAST: usize = RATE as usize / 2000;

/// The worker's half.
pub(super) struct Ring {
    _stream: Stream,
    ring: Producer<f32>,
    /// What is in the ring: one channel, or two that are interleaved.
    channels: usize,
    shared: Arc<Shared>,
    resampler: Option<Resampler>,
    resampled: Vec<f32>,
    rate: u32,
    margin: Margin,
}

impl Ring {
    /// For so many channels, no more than the device has.
    pub(super) fn start(chosen: &Chosen, period: Duration, channels: usize) -> Result<Self> {
        let (ring, consumer) = RingBuffer::new(RING * channels);
        let shared = Arc::new(Shared::default());
        let rate = chosen.rate;
        shared.last.store((u128::from(rate) * period.as_micros() / 1_000_000) as usize, Ordering::Relaxed);
        let mouth = Mouth {
            ring: consumer,
            shared: Arc::clone(&shared),
            channels,
            outs: chosen.channels.into(),
            last: [0.0; 2],
            primed: false,
        };
        let stream = Stream::speak(chosen, mouth)?;
        let resampler = Resampler::quick_if_needed(RATE, rate, channels)?;
        let (resampled, margin) = (Vec::new(), Margin::new());
        Ok(Self { _stream: stream, ring, channels, shared, resampler, resampled, rate, margin })
    }

    /// Waits until the ring has less than the next callback and the margin take. Tells how much to mix, at 48 kHz; `None`
    /// if that is nothing in time.
    pub(super) fn wait(&mut self, patience: Duration) -> Option<usize> {
        self.shared.adopt();
        let wanted = self.wants(Instant::now());
        if wanted.is_none() {
            thread::park_timeout(patience);
        }
        wanted
    }

    pub(super) fn play(&mut self, samples: &[f32]) {
        let samples = Resampler::apply(&mut self.resampler, samples, &mut self.resampled);
        // The ring is never so full that something is left out; if it were, the oldest sound would be the least useful.
        let fitting = samples.len().min(self.ring.slots()) / self.channels * self.channels;
        if let Ok(mut chunk) = self.ring.write_chunk(fitting) {
            let (first, second) = chunk.as_mut_slices();
            let (one, other) = samples[..fitting].split_at(first.len());
            first.copy_from_slice(one);
            second.copy_from_slice(other);
            // All channels of a sample at once: the callback never sees one without the other.
            chunk.commit_all();
        }
    }

    /// Samples of each channel in the ring.
    pub(super) fn filled(&self) -> usize {
        RING - self.ring.slots() / self.channels
    }

    pub(super) fn is_lost(&self) -> bool {
        self.shared.is_lost()
    }

    pub(super) fn callbacks(&self) -> u64 {
        self.shared.callbacks()
    }

    pub(super) fn missed(&self) -> u64 {
        self.shared.missed.load(Ordering::Relaxed)
    }

    fn wants(&mut self, now: Instant) -> Option<usize> {
        let (rate, here) = (self.rate as usize, RATE as usize);
        if let Some(least) = self.shared.take_least() {
            self.margin.note(least * i64::from(RATE) / i64::from(self.rate), now);
        }
        let next = self.shared.last.load(Ordering::Relaxed);
        let level = (next + self.margin.samples() * rate / here).min(RING / 2);
        self.shared.wake.store(level, Ordering::Release);
        let missing = level.saturating_sub(self.filled()) * here / rate;
        // What one callback takes is mixed at once. More than what is missing would stay in the ring for good.
        let step = (next * here / rate).clamp(LEAST, MOST);
        (missing >= LEAST).then_some(missing.min(step))
    }
}

/// The half of a loudspeaker that runs in the callback.
struct Mouth {
    ring: Consumer<f32>,
    shared: Arc<Shared>,
    /// One or two, as they are in the ring; and what the device has, which is no fewer.
    channels: usize,
    outs: usize,
    last: [f32; 2],
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

        let frames = out.len() / self.outs;
        let there = self.ring.slots() / self.channels;
        let mut missing = 0;
        for frame in out.chunks_exact_mut(self.outs) {
            match self.ring.pop() {
                Ok(sample) if self.channels == 1 => self.last = [sample; 2],
                Ok(left) => self.last = [left, self.ring.pop().unwrap_or(left)],
                Err(_) => {
                    missing += 1;
                    self.last = self.last.map(|sample| sample * FADE);
                }
            }
            spread(self.last, frame);
        }
        if self.primed {
            self.shared.missed.fetch_add(missing as u64, Ordering::Relaxed);
            self.shared.note_left(there as i64 - frames as i64);
        }
        self.primed |= missing < frames;
        self.shared.count(frames);
        if self.ring.slots() / self.channels < self.shared.wake.load(Ordering::Acquire) {
            self.shared.wake_worker();
        }
    }
}

/// Gives left and right to the first two outs of a device, and their mean to an only one and to all others.
fn spread<T: SizedSample + FromSample<f32>>([left, right]: [f32; 2], outs: &mut [T]) {
    outs.fill(T::from_sample_(f32::midpoint(left, right)));
    if let [first, second, ..] = outs {
        (*first, *second) = (T::from_sample_(left), T::from_sample_(right));
    }
}

#[cfg(test)]
mod tests {
    use assert_no_alloc::assert_no_alloc;

    use super::*;

    fn mouth(channels: usize, outs: usize) -> (Producer<f32>, Mouth) {
        let (ring, consumer) = RingBuffer::new(RING * channels);
        let shared = Arc::new(Shared::default());
        shared.adopt();
        (ring, Mouth { ring: consumer, shared, channels, outs, last: [0.0; 2], primed: false })
    }

    #[test]
    fn the_callback_allocates_nothing_whatever_its_size() {
        let (mut ring, mut mouth) = mouth(1, 2);
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
    fn left_and_right_go_to_the_first_two_outs_and_are_never_mixed_up() {
        for (outs, rest) in [(2, [].as_slice()), (6, &[0.25; 4])] {
            let (mut ring, mut mouth) = mouth(2, outs);
            [0.5, 0.0].repeat(10).into_iter().for_each(|sample| ring.push(sample).expect("room"));
            let mut out = vec![9.0_f32; 8 * outs];

            assert_no_alloc(|| mouth.speak(&mut out));

            assert_eq!(out, [&[0.5, 0.0], rest].concat().repeat(8), "{outs} outs");
            mouth.speak(&mut out);
            assert_eq!(mouth.shared.missed.load(Ordering::Relaxed), 6, "two were left");
            assert!(out.chunks_exact(outs).all(|sample| sample[1] == 0.0), "{out:?}");
        }
    }

    #[test]
    fn an_underrun_fades_out_instead_of_clicking() {
        let (mut ring, mut mouth) = mouth(1, 1);
        let mut out = [9.0_f32; 100];
        mouth.speak(&mut out);
        assert_eq!((out, mouth.shared.missed.load(Ordering::Relaxed)), ([0.0; 100], 0), "nothing has come yet");

        ring.push(1.0).expect("room");
        mouth.speak(&mut out);

        assert!(out.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 0.11) && out[99] < 0.001, "{out:?}");
    }
}
