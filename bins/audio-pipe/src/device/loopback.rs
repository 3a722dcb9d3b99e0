//! A sound out of the loudspeaker, and when the microphone hears it, without anything of ours in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use cpal::{FromSample, SizedSample};
use rtrb::{Consumer, Producer, RingBuffer};

use super::Direction;
use super::select::{Name, choose, explained};
use super::shared::Shared;
use super::stream::{Hears, Speaks, Stream};

/// What the rings hold: a second and a half of sound, and the times of as many callbacks.
const SOUND: usize = 72_000;
const TIMES: usize = 8192;

/// Two streams that run.
pub(crate) struct Loopback {
    _streams: [Stream; 2],
    pub(crate) loudspeaker: Side,
    pub(crate) microphone: Side,
    play: Arc<Play>,
    epoch: Instant,
    heard: Consumer<f32>,
    times: Consumer<(u64, usize)>,
    sound: Vec<f32>,
    stamps: Vec<(u64, usize)>,
}

/// One of the two devices.
pub(crate) struct Side {
    pub(crate) name: Name,
    pub(crate) rate: u32,
    pub(crate) channels: u16,
    shared: Arc<Shared>,
}

impl Side {
    /// How long sound takes to or from the device, as that says.
    pub(crate) fn reported(&self) -> Duration {
        self.shared.latency()
    }

    /// How much sound a callback takes or brings, on average since the start.
    pub(crate) fn period(&self) -> Duration {
        let frames = self.shared.frames() as f64 / self.shared.callbacks().max(1) as f64;
        Duration::from_secs_f64(frames / f64::from(self.rate))
    }

    /// How many frames callbacks have taken or brought.
    pub(crate) fn frames(&self) -> u64 {
        self.shared.frames()
    }

    /// Whether the stream still lives.
    pub(crate) fn is_lost(&self) -> bool {
        self.shared.is_lost()
    }
}

/// What the worker and the output callback share.
#[derive(Default)]
struct Play {
    asked: AtomicBool,
    /// When the last sound began, in nanoseconds since the epoch; 0 if it has not yet.
    began: AtomicU64,
}

/// What came back.
pub(crate) struct Captured {
    /// At the microphone's rate, from before the sound was played.
    pub(crate) samples: Vec<f32>,
    /// How long after the sound began each callback brought its samples: the number of the first of the next callback.
    stamps: Vec<(u64, usize)>,
    began: u64,
}

impl Captured {
    /// How long after the sound began this sample was here; `None` if it was here before.
    pub(crate) fn since_began(&self, sample: usize) -> Option<Duration> {
        let (at, _) = self.stamps.iter().find(|(_, end)| *end > sample)?;
        at.checked_sub(self.began).map(Duration::from_nanos)
    }
}

impl Loopback {
    /// Opens both; `sound` is made for the rate of the loudspeaker, and played whenever it is asked for.
    pub(crate) fn open(
        [loudspeaker, microphone]: [Option<&str>; 2],
        [speak, hear]: [Duration; 2],
        sound: impl FnOnce(u32) -> Vec<f32>,
    ) -> Result<Self> {
        let epoch = Instant::now();
        let hint = "`audio-pipe devices` lists what there is";
        let ears = choose(Direction::Input, microphone, hear, 1, None);
        let ears = explained(ears, "microphone", hint)?;
        let mouth = explained(choose(Direction::Output, loudspeaker, speak, 1, None), "loudspeaker", hint)?;
        let play = Arc::new(Play::default());
        let [microphone, loudspeaker] = [&ears, &mouth].map(|chosen| Side {
            name: chosen.name.clone(),
            rate: chosen.rate,
            channels: chosen.channels,
            shared: Arc::default(),
        });
        let (producer, heard) = RingBuffer::new(SOUND);
        let (stamps, times) = RingBuffer::new(TIMES);
        let (shared, channels) = (Arc::clone(&microphone.shared), microphone.channels.into());
        let input = Stream::listen(&ears, Ear { sound: producer, stamps, shared, channels, epoch })?;
        let sound = sound(loudspeaker.rate);
        let (shared, channels) = (Arc::clone(&loudspeaker.shared), loudspeaker.channels.into());
        let mouth_half = Mouth { at: sound.len(), sound, play: Arc::clone(&play), shared, channels, epoch };
        let output = Stream::speak(&mouth, mouth_half)?;
        let (sound, stamps) = (Vec::with_capacity(SOUND), Vec::with_capacity(TIMES));
        Ok(Self { _streams: [input, output], loudspeaker, microphone, play, epoch, heard, times, sound, stamps })
    }

    /// Plays the sound and gives what was heard until so long after it began; `None` if the devices stand still.
    pub(crate) fn round(&mut self, listen: Duration) -> Option<Captured> {
        self.drain();
        self.sound.clear();
        self.stamps.clear();
        self.play.began.store(0, Ordering::Relaxed);
        self.play.asked.store(true, Ordering::Release);
        let deadline = Instant::now() + 3 * listen;
        loop {
            self.drain();
            let began = self.play.began.load(Ordering::Acquire);
            let until = began + listen.as_nanos() as u64;
            if began > 0 && self.stamps.last().is_some_and(|(at, _)| *at >= until) {
                return Some(Captured { samples: self.sound.clone(), stamps: self.stamps.clone(), began });
            }
            if Instant::now() > deadline || self.microphone.is_lost() || self.loudspeaker.is_lost() {
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// How long the streams have been there.
    pub(crate) fn age(&self) -> Duration {
        self.epoch.elapsed()
    }

    fn drain(&mut self) {
        while let Ok((at, frames)) = self.times.pop() {
            let end = self.stamps.last().map_or(self.sound.len(), |(_, end)| *end) + frames;
            self.stamps.push((at, end));
        }
        let end = self.stamps.last().map_or(0, |(_, end)| *end);
        while self.sound.len() < end {
            let Ok(sample) = self.heard.pop() else { return };
            self.sound.push(sample);
        }
    }
}

struct Ear {
    sound: Producer<f32>,
    stamps: Producer<(u64, usize)>,
    shared: Arc<Shared>,
    channels: usize,
    epoch: Instant,
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
        let frames = data.len() / self.channels;
        self.shared.count(frames);
        // Sound without its time, or time without its sound, would shift all that follows.
        if self.sound.slots() < frames || self.stamps.slots() == 0 {
            return;
        }
        for frame in data.chunks_exact(self.channels) {
            let sum: f32 = frame.iter().map(|sample| f32::from_sample_(*sample)).sum();
            let _ = self.sound.push(sum / self.channels as f32);
        }
        let _ = self.stamps.push((self.epoch.elapsed().as_nanos() as u64, frames));
    }
}

struct Mouth {
    sound: Vec<f32>,
    at: usize,
    play: Arc<Play>,
    shared: Arc<Shared>,
    channels: usize,
    epoch: Instant,
}

impl Speaks for Mouth {
    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn speak<T>(&mut self, out: &mut [T])
    where
        T: SizedSample + FromSample<f32>,
    {
        self.shared.count(out.len() / self.channels);
        if self.play.asked.swap(false, Ordering::Acquire) {
            self.at = 0;
            self.play.began.store(self.epoch.elapsed().as_nanos() as u64, Ordering::Release);
        }
        for frame in out.chunks_exact_mut(self.channels) {
            frame.fill(T::from_sample_(self.sound.get(self.at).copied().unwrap_or(0.0)));
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use assert_no_alloc::assert_no_alloc;

    use super::*;

    #[test]
    fn what_is_played_when_asked_for_is_heard_with_its_time_and_nothing_is_allocated() {
        let epoch = Instant::now();
        let play = Arc::new(Play::default());
        let shared = Arc::new(Shared::default());
        let sound = vec![0.5; 30];
        let mut mouth =
            Mouth { sound, at: 30, play: Arc::clone(&play), shared: Arc::clone(&shared), channels: 2, epoch };
        let (producer, mut heard) = RingBuffer::new(100);
        let (stamps, mut times) = RingBuffer::new(2);
        let mut ear = Ear { sound: producer, stamps, shared, channels: 2, epoch };
        let mut out = [[9.0_f32; 40]; 3];

        assert_no_alloc(|| {
            mouth.speak(&mut out[0]);
            play.asked.store(true, Ordering::Release);
            mouth.speak(&mut out[1]);
            mouth.speak(&mut out[2]);
            out.iter().for_each(|out| ear.hear(out));
        });

        let played: Vec<f32> = std::iter::from_fn(|| heard.pop().ok()).collect();
        assert_eq!(played, [[0.0; 20], [0.5; 20]].concat(), "there is no place for the third time, nor for its sound");
        assert_eq!(out[2], [[0.5; 20], [0.0; 20]].concat()[..]);
        let began = play.began.load(Ordering::Acquire);
        let stamps = [times.pop().expect("a time"), times.pop().expect("a time")];
        assert!(began > 0 && stamps.iter().all(|(at, frames)| *at >= began && *frames == 20));
    }

    #[test]
    fn a_sample_was_here_when_its_callback_brought_it() {
        let captured = Captured { samples: vec![], stamps: vec![(100, 20), (300, 40), (500, 60)], began: 250 };
        assert_eq!(captured.since_began(10), None, "before the sound");
        assert_eq!(captured.since_began(20), Some(Duration::from_nanos(50)));
        assert_eq!(captured.since_began(59), Some(Duration::from_nanos(250)));
        assert_eq!(captured.since_began(60), None);
    }
}
