//! What the loudspeaker plays, on its way to whoever takes it out of what the microphone hears.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rtrb::{Consumer, Producer, RingBuffer};
use speech::{BLOCK, Processor};

/// Samples that fit in between: half a second, for a thread at the microphone that stands still.
const RING: usize = 24_000;
/// How well both sides fit is looked at over so many frames.
const WINDOW: u32 = 50;
/// More than this may not wait for the rest of its block, for a near microphone hears it before that is whole: 4 ms.
const TOO_MUCH: usize = BLOCK * 2 / 5;
/// This much is enough for pulls that come now early, now late: 1 ms.
const ENOUGH: usize = BLOCK / 10;
/// A block of the microphone waits so long for what was played meanwhile.
const PATIENCE: Duration = Duration::from_millis(4);

/// The end at the loudspeaker.
pub(crate) struct Played {
    ring: Producer<f32>,
    link: Arc<Link>,
}

/// The end at the microphone.
///
/// The canceller counts blocks of both sides: a block that comes after the one of the microphone that it belongs to shifts
/// all that follows, and what was learnt of the room is lost. So the microphone waits for it, and the borders of blocks are
/// where it seldom has to.
pub(crate) struct Reference {
    ring: Consumer<f32>,
    link: Arc<Link>,
    ahead: Duration,
    /// Samples of silence in front of the next block.
    silence: usize,
    /// Blocks of the microphone that have had none of the loudspeaker.
    due: i32,
    /// Nothing has come when something was waited for.
    is_stalled: bool,
    window: Window,
}

#[derive(Default)]
struct Link {
    is_wanted: AtomicBool,
    is_waited_for: AtomicBool,
    waiter: OnceLock<Thread>,
}

/// What was seen since both sides were last made to fit.
struct Window {
    frames: u32,
    /// The least that had to wait for the rest of its block.
    least: usize,
    /// Frames that had to wait for a block.
    waits: u32,
}

const NOTHING_SEEN: Window = Window { frames: 0, least: RING, waits: 0 };

/// Both ends, for a loudspeaker that is heard `ahead` after it was given its samples.
pub(crate) fn far_end(ahead: Duration) -> (Played, Reference) {
    let (producer, ring) = RingBuffer::new(RING);
    let link = Arc::new(Link::default());
    let played = Played { ring: producer, link: Arc::clone(&link) };
    (played, Reference { ring, link, ahead, silence: 0, due: 0, is_stalled: false, window: NOTHING_SEEN })
}

impl Played {
    /// Takes what is played next. What does not fit is left out: the canceller finds the delay anew.
    pub(crate) fn play(&mut self, samples: &[f32]) {
        if !self.link.is_wanted.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(mut chunk) = self.ring.write_chunk(samples.len()) {
            let (first, second) = chunk.as_mut_slices();
            let (one, other) = samples.split_at(first.len());
            first.copy_from_slice(one);
            second.copy_from_slice(other);
            chunk.commit_all();
        }
        if self.link.is_waited_for.load(Ordering::Acquire)
            && let Some(waiter) = self.link.waiter.get()
        {
            waiter.unpark();
        }
    }
}

impl Reference {
    /// Wants it or not; what was played in between is of no use any more.
    pub(crate) fn want(&mut self, is_wanted: bool) {
        if self.link.is_wanted.swap(is_wanted, Ordering::Relaxed) != is_wanted {
            while self.ring.pop().is_ok() {}
            (self.silence, self.due, self.window) = (0, 0, NOTHING_SEEN);
        }
    }

    /// Tells the processor of what was played with the next block of the microphone, of which `blocks` are left to process.
    pub(crate) fn tell(&mut self, processor: &mut Processor, blocks: usize) {
        self.due += 1;
        if blocks <= 1 && self.link.is_wanted.load(Ordering::Relaxed) {
            self.wait();
        }
        // What a microphone brings late and at once is not told of all at once.
        for _ in 0..usize::try_from(self.due).unwrap_or(0).min(self.whole()) {
            let mut block = [0.0; BLOCK];
            let silence = std::mem::take(&mut self.silence);
            let Ok(chunk) = self.ring.read_chunk(BLOCK - silence) else { return };
            block[silence..].iter_mut().zip(chunk).for_each(|(sample, played)| *sample = played);
            processor.render(&block, self.ahead);
            self.due -= 1;
            self.is_stalled = false;
        }
        if blocks <= 1 && self.align() {
            processor.forget_echo();
        }
    }

    /// Blocks that are there.
    fn whole(&self) -> usize {
        (self.silence + self.ring.slots()) / BLOCK
    }

    fn wait(&mut self) {
        let is_missing = |reference: &Self| (reference.whole() as i64) < i64::from(reference.due);
        if self.is_stalled || !is_missing(self) {
            return;
        }
        self.window.waits += 1;
        self.link.waiter.get_or_init(thread::current);
        self.link.is_waited_for.store(true, Ordering::Release);
        let deadline = Instant::now() + PATIENCE;
        while is_missing(self) {
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                self.is_stalled = true;
                break;
            };
            thread::park_timeout(left);
        }
        self.link.is_waited_for.store(false, Ordering::Release);
        if self.is_stalled {
            self.due = i32::try_from(self.whole()).unwrap_or(i32::MAX);
        }
    }

    /// Each side cuts its sound into blocks where it happens to: shifts the cuts of what is played, once, if the rest of it
    /// has to wait for too long, or the microphone for it too often. True if they do not fit as they did.
    fn align(&mut self) -> bool {
        let window = &mut self.window;
        window.least = window.least.min(self.ring.slots());
        window.frames += 1;
        if window.frames < WINDOW {
            return false;
        }
        let due = self.due;
        // What is always late is in time for the next block.
        if window.waits > WINDOW / 2 {
            self.due = 0;
        }
        // What is always there in whole was played with sound of the microphone that was lost.
        self.due += i32::try_from(window.least / BLOCK).unwrap_or(0);
        let rest = window.least % BLOCK;
        if rest >= TOO_MUCH {
            self.silence = BLOCK - rest + ENOUGH;
            self.due += 1;
        }
        self.window = NOTHING_SEEN;
        self.due != due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_waits_that_is_not_wanted_and_nothing_is_more_than_half_a_second() {
        let (mut played, mut reference) = far_end(Duration::ZERO);
        played.play(&[0.1; 700]);
        assert_eq!(reference.ring.slots(), 0);
        reference.want(true);
        (0..100).for_each(|_| played.play(&[0.1; 700]));
        assert_eq!(reference.ring.slots(), RING / 700 * 700);
        reference.want(false);
        assert_eq!(reference.ring.slots(), 0);
    }

    #[test]
    fn each_block_of_the_microphone_is_told_of_one_that_was_played_and_of_more_only_if_they_stay() {
        let (mut played, mut reference) = far_end(Duration::ZERO);
        let mut processor = Processor::new(speech::Settings { echo: true, ..speech::Settings::default() });
        reference.want(true);
        played.play(&[0.1; 3 * BLOCK + 50]);
        reference.tell(&mut processor, 2);
        reference.tell(&mut processor, 1);
        assert_eq!(reference.ring.slots(), BLOCK + 50);
        for _ in 0..=WINDOW {
            played.play(&[0.1; BLOCK]);
            reference.tell(&mut processor, 1);
        }
        assert_eq!(reference.ring.slots(), 50);
    }

    #[test]
    fn nothing_is_waited_for_twice_where_nothing_is_played() {
        let (_played, mut reference) = far_end(Duration::ZERO);
        let mut processor = Processor::new(speech::Settings { echo: true, ..speech::Settings::default() });
        reference.want(true);
        (0..WINDOW / 2).for_each(|_| reference.tell(&mut processor, 1));
        assert_eq!(reference.window.waits, 1);
    }

    #[test]
    fn what_is_played_waits_no_longer_than_needed_for_the_rest_of_its_block() {
        let (mut played, mut reference) = far_end(Duration::ZERO);
        let mut processor = Processor::new(speech::Settings { echo: true, ..speech::Settings::default() });
        reference.want(true);
        played.play(&[0.1; 400]);
        for _ in 0..=WINDOW {
            played.play(&[0.1; BLOCK]);
            reference.tell(&mut processor, 1);
        }
        assert_eq!(reference.ring.slots(), ENOUGH);
        for _ in 0..10 * WINDOW {
            played.play(&[0.1; BLOCK]);
            reference.tell(&mut processor, 1);
        }
        assert_eq!(reference.ring.slots(), ENOUGH, "and stays so");
    }
}
