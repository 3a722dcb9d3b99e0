//! What the loudspeaker plays, on its way to whoever takes it out of what the microphone hears.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rtrb::{Consumer, Producer, RingBuffer};
use speech::{BLOCK, Processor};

/// Samples that fit in between: half a second, for a thread at the microphone that stands still.
const RING: usize = 24_000;

/// What waits for the rest of its block at the end of a frame is looked at over so many frames.
const WINDOW: u32 = 50;
/// More than this is too much, for a near microphone hears it before its block is whole: 2.5 ms.
const TOO_MUCH: usize = BLOCK / 4;
/// This much is enough for pulls that come now early, now late: 1 ms.
const ENOUGH: usize = BLOCK / 10;

/// The end at the loudspeaker.
pub(crate) struct Played {
    ring: Producer<f32>,
    is_wanted: Arc<AtomicBool>,
}

/// The end at the microphone.
pub(crate) struct Reference {
    ring: Consumer<f32>,
    is_wanted: Arc<AtomicBool>,
    ahead: Duration,
    frames: u32,
    /// The least that had to wait for the rest of its block in this window.
    least: usize,
    /// Samples of silence in front of the next block.
    silence: usize,
}

/// Both ends, for a loudspeaker that is heard `ahead` after it was given its samples.
pub(crate) fn far_end(ahead: Duration) -> (Played, Reference) {
    let (producer, consumer) = RingBuffer::new(RING);
    let is_wanted = Arc::new(AtomicBool::new(false));
    let played = Played { ring: producer, is_wanted: Arc::clone(&is_wanted) };
    (played, Reference { ring: consumer, is_wanted, ahead, frames: 0, least: BLOCK, silence: 0 })
}

impl Played {
    /// Takes what is played next. What does not fit is left out: the canceller finds the delay anew.
    pub(crate) fn play(&mut self, samples: &[f32]) {
        if !self.is_wanted.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(mut chunk) = self.ring.write_chunk(samples.len()) {
            let (first, second) = chunk.as_mut_slices();
            let (one, other) = samples.split_at(first.len());
            first.copy_from_slice(one);
            second.copy_from_slice(other);
            chunk.commit_all();
        }
    }
}

impl Reference {
    /// Wants it or not; what was played in between is of no use any more.
    pub(crate) fn want(&mut self, is_wanted: bool) {
        if self.is_wanted.swap(is_wanted, Ordering::Relaxed) != is_wanted {
            while self.ring.pop().is_ok() {}
        }
    }

    /// Tells the processor of what was played, if there are `blocks` of the microphone left to process: all of it by the
    /// last of them.
    pub(crate) fn tell(&mut self, processor: &mut Processor, blocks: usize) {
        let waiting = (self.silence + self.ring.slots()) / BLOCK;
        for _ in 0..waiting.div_ceil(blocks.max(1)) {
            let mut block = [0.0; BLOCK];
            let silence = std::mem::take(&mut self.silence);
            let Ok(chunk) = self.ring.read_chunk(BLOCK - silence) else { return };
            block[silence..].iter_mut().zip(chunk).for_each(|(sample, played)| *sample = played);
            processor.render(&block, self.ahead);
        }
        if blocks <= 1 {
            self.align();
        }
    }

    /// Both sides cut their sound into blocks, each where it happens to: shifts the cuts of what is played, once, if it has
    /// to wait for them.
    fn align(&mut self) {
        self.least = self.least.min(self.ring.slots());
        self.frames += 1;
        if self.frames < WINDOW {
            return;
        }
        if (TOO_MUCH..BLOCK).contains(&self.least) {
            self.silence = BLOCK - self.least + ENOUGH;
        }
        (self.frames, self.least) = (0, BLOCK);
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
    fn of_a_long_frame_each_block_gets_its_share_of_what_was_played() {
        let (mut played, mut reference) = far_end(Duration::ZERO);
        let mut processor = Processor::new(speech::Settings { echo: true, ..speech::Settings::default() });
        reference.want(true);
        played.play(&[0.1; 5 * BLOCK + 100]);
        reference.tell(&mut processor, 2);
        assert_eq!(reference.ring.slots(), 2 * BLOCK + 100);
        reference.tell(&mut processor, 1);
        assert_eq!(reference.ring.slots(), 100);
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
