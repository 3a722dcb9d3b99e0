//! When a voice begins and ends.

use std::time::Duration;

use crate::{BLOCK, RATE};

/// This sure of a voice, it begins ...
const OPEN: f32 = 0.7;
/// ... and while this sure, it goes on.
const HOLD: f32 = 0.35;

/// Somebody speaks, or has spoken so short a time ago that a pause for breath is no end.
#[derive(Debug, Default)]
pub(crate) struct Talkspurt {
    /// Samples until it ends, unless there is more of it.
    rest: u64,
}

impl Talkspurt {
    /// Takes the score of one block's voice; whether the talkspurt lasts.
    pub(crate) fn follow(&mut self, score: f32, samples: usize, hangover: Duration) -> bool {
        let lasts = self.rest > 0;
        if score >= if lasts { HOLD } else { OPEN } {
            let hangover = hangover.as_micros() as u64 * u64::from(RATE) / 1_000_000;
            // A voice is there for a block at least, also without any hangover.
            self.rest = hangover.max(BLOCK as u64);
            return true;
        }
        self.rest = self.rest.saturating_sub(samples as u64);
        self.rest > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_more_to_begin_than_to_go_on_and_it_ends_after_the_hangover() {
        let mut talkspurt = Talkspurt::default();
        let mut follow = |score, blocks: usize| -> Vec<bool> {
            (0..blocks).map(|_| talkspurt.follow(score, BLOCK, Duration::from_millis(300))).collect()
        };
        assert_eq!(follow(0.5, 3), [false; 3]);
        assert_eq!(follow(0.7, 1), [true]);
        assert_eq!(follow(0.4, 100), [true; 100]);
        assert_eq!(follow(0.3, 29), [true; 29]);
        assert_eq!(follow(0.35, 1), [true]);
        assert_eq!(follow(0.3, 31), [vec![true; 29], vec![false; 2]].concat());
    }
}
