//! How far what is played is from where it should be.
//!
//! The *lead* of a frame is the time from when it would come if the network were at its fastest to the pull that needs
//! it. Sound comes in frames and goes in blocks, so the delay that is heard may exceed the lead by up to a block.

/// Lead beyond the target that is tolerated before sound is shortened, against swinging to and fro.
const SPARE: i64 = 96;
/// The same while frames slide against blocks, where every amount is possible.
const SPARE_SLIDING: i64 = 240;
/// Missing lead that is tolerated while frames slide.
const SHORT_SLIDING: i64 = 48;

/// What a pull knows of the time, in samples.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// The media time of the frame that comes at this time if the network is at its fastest.
    pub(crate) live: i64,
    /// The lead that every frame should have.
    pub(crate) target: i64,
    /// Samples in a pull.
    pub(crate) block: i64,
    /// Whether the sound is resampled, so that frames slide against blocks.
    pub(crate) is_resampled: bool,
}

impl Moment {
    /// The lead of the frame that is the worst off while sound is played from `at` on, `ahead` before a frame's border.
    pub(crate) fn lead(&self, at: i64, ahead: i64, frame: i64) -> i64 {
        let delay = self.live - at;
        if self.is_sliding(frame) {
            return delay - self.block;
        }
        delay - ahead % self.step(frame) - (self.block - frame).max(0)
    }

    /// By how much to shorten the sound (or to lengthen it, if negative) from `at` on, `ahead` before a frame's border.
    pub(crate) fn wish(&self, at: i64, ahead: i64, frame: i64) -> i64 {
        let spare = self.lead(at, ahead, frame) - self.target;
        if self.is_sliding(frame) {
            return if (-SHORT_SLIDING..SPARE_SLIDING).contains(&spare) { 0 } else { spare };
        }
        let step = self.step(frame);
        let beyond = ahead % step; // costs delay and gains no lead
        if spare < 0 {
            beyond - step * ((-spare + step - 1) / step)
        } else {
            beyond + step * ((spare - SPARE).max(0) / step)
        }
    }

    /// Lead changes in such steps.
    fn step(&self, frame: i64) -> i64 {
        self.block.min(frame).max(1)
    }

    fn is_sliding(&self, frame: i64) -> bool {
        let block = self.block.max(1);
        self.is_resampled || (frame % block != 0 && block % frame.max(1) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(block: i64) -> Moment {
        Moment { live: 10_000, target: 240, block, is_resampled: false }
    }

    #[test]
    fn a_lead_between_target_and_one_block_more_is_right() {
        for delay in [240, 480, 719] {
            assert_eq!(moment(480).wish(10_000 - delay, 480, 480), 0, "delay {delay}");
        }
    }

    #[test]
    fn whole_blocks_are_added_or_taken() {
        assert_eq!(moment(480).wish(10_000 - 239, 480, 480), -480);
        assert_eq!(moment(480).wish(10_000 - 240 - 96 - 480, 480, 480), 480);
        assert_eq!(moment(480).wish(10_000 - 240 - 96 - 479, 480, 480), 0);
        assert_eq!(moment(120).wish(10_000 - 240 - 96 - 479, 480, 480), 360, "short blocks, small steps");
    }

    #[test]
    fn what_stands_over_a_frame_is_taken_first() {
        let ahead = 480 + 200;
        assert_eq!(moment(480).wish(10_000 - 500, ahead, 480), 200);
        assert_eq!(moment(480).wish(10_000 - 400, ahead, 480), 200 - 480, "lead 200");
    }

    #[test]
    fn sound_that_slides_keeps_a_block_of_lead() {
        let sliding = Moment { is_resampled: true, ..moment(480) };
        assert_eq!(sliding.wish(10_000 - 720, 480, 480), 0);
        assert_eq!(sliding.wish(10_000 - 720 - 400, 480, 480), 400);
        assert_eq!(sliding.wish(10_000 - 720 + 100, 480, 480), -100);
    }
}
