//! What was said before it was clear that somebody speaks.

use std::collections::VecDeque;

/// How long sound is held back, in samples: 120 ms. It takes the detector up to that long to be sure.
const HELD: usize = 5760;
/// What is sent of it begins this long before the voice rises above the noise: 20 ms.
const PRE_ROLL: usize = 960;
/// A voice is this much louder (6 dB) than the noise before it.
const RISE: f32 = 4.0;
/// How fast the noise's level is followed up, in a sample: 3 dB in a second.
const CREEP: f32 = 1.0 + 1.44e-5;

/// Frames that a closed gate holds back for a while, to be sent at once when it opens: from where the voice begins, so that
/// no onset is lost and none waits for longer than it must. While the gate is open nothing waits.
#[derive(Debug)]
pub struct Onset {
    most: usize,
    pre_roll: usize,
    held: VecDeque<Held>,
    spare: Vec<Vec<f32>>,
    /// The power of what there is without a voice.
    noise: f32,
}

#[derive(Debug)]
struct Held {
    at: u64,
    power: f32,
    frame: Vec<f32>,
}

impl Onset {
    /// For frames of so many samples.
    pub fn new(frame: usize) -> Self {
        let frames = |samples: usize| samples.div_ceil(frame.max(1));
        let (most, pre_roll) = (frames(HELD), frames(PRE_ROLL));
        Self { most, pre_roll, held: VecDeque::new(), spare: Vec::new(), noise: f32::MAX }
    }

    /// Keeps a frame whose first sample is number `at`, and forgets the oldest if there are too many.
    pub fn hold(&mut self, at: u64, frame: &[f32]) {
        let power = frame.iter().map(|sample| sample * sample).sum::<f32>() / frame.len().max(1) as f32;
        self.noise = (self.noise * CREEP.powi(frame.len() as i32)).min(power.max(1e-9));
        if self.held.len() >= self.most {
            self.spare.extend(self.held.pop_front().map(|held| held.frame));
        }
        let mut kept = self.spare.pop().unwrap_or_default();
        kept.clear();
        kept.extend_from_slice(frame);
        self.held.push_back(Held { at, power, frame: kept });
    }

    /// The gate opens: forgets what is no part of the voice that begins, nor after sample `from`.
    pub fn open(&mut self, from: u64) {
        let is_loud = |held: &Held| held.power > self.noise * RISE;
        let first = self.held.iter().position(is_loud).unwrap_or(self.held.len());
        let quiet = first.saturating_sub(self.pre_roll);
        let sent = self.held.iter().take_while(|held| held.at < from).count();
        for _ in 0..quiet.max(sent) {
            self.spare.extend(self.held.pop_front().map(|held| held.frame));
        }
    }

    /// The oldest frame that is held back.
    pub fn release(&mut self) -> Option<(u64, Vec<f32>)> {
        self.held.pop_front().map(|held| (held.at, held.frame))
    }

    /// Takes a frame back that was released, so that its memory serves again.
    pub fn recycle(&mut self, frame: Vec<f32>) {
        if self.spare.len() < self.most {
            self.spare.push(frame);
        }
    }

    /// Forgets all of it.
    pub fn clear(&mut self) {
        while let Some((_, frame)) = self.release() {
            self.recycle(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn onset(frame: usize, levels: &[f32]) -> Onset {
        let mut onset = Onset::new(frame);
        for (n, level) in (0..).zip(levels) {
            onset.hold(n * frame as u64, &vec![*level; frame]);
        }
        onset
    }

    fn released(onset: &mut Onset, from: u64) -> Vec<u64> {
        onset.open(from);
        std::iter::from_fn(|| onset.release()).map(|(at, frame)| at / frame.len() as u64).collect()
    }

    #[test]
    fn what_is_sent_begins_a_little_before_the_voice_does() {
        let levels = [vec![0.01; 20], vec![0.1; 5]].concat();
        assert_eq!(released(&mut onset(480, &levels), 0), [18, 19, 20, 21, 22, 23, 24]);
        assert_eq!(released(&mut onset(960, &levels[10..]), 0), [9, 10, 11, 12, 13, 14]);
    }

    #[test]
    fn of_a_voice_that_was_there_all_the_time_as_much_is_sent_as_was_held_back() {
        let levels = [vec![0.01; 20], vec![0.1; 30]].concat();
        assert_eq!(released(&mut onset(480, &levels), 0), (38..50).collect::<Vec<_>>());
        assert_eq!(released(&mut onset(2880, &levels), 0), [48, 49]);
    }

    #[test]
    fn what_was_sent_already_is_not_sent_again_and_what_is_cleared_is_gone() {
        let levels = [vec![0.01; 20], vec![0.1; 5]].concat();
        assert_eq!(released(&mut onset(480, &levels), 10_561), [23, 24]);
        let mut onset = onset(480, &levels);
        onset.clear();
        assert_eq!(released(&mut onset, 0), []);
    }

    #[test]
    fn where_nothing_stands_out_nothing_is_sent() {
        assert_eq!(released(&mut onset(480, &[0.01; 30]), 0), [28, 29]);
    }
}
