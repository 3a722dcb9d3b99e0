//! How far what is played is from where it should be.
//!
//! The *lead* of a frame is the time from when it would come if the network were at its fastest to the pull that needs
//! it. Sound comes in frames and goes in blocks, so only some leads can be had, and the delay that is heard may exceed
//! the lead by up to a block.

use crate::{resample, target::Costs};

/// A change has to be worth as much as 2 ms of delay, against swinging to and fro.
const WORTH_IT: f32 = 0.05;
/// While frames slide against blocks, every lead can be had; this close to the best is good enough: 5 and 1 ms.
const SPARE_SLIDING: i64 = 240;
const SHORT_SLIDING: i64 = 48;

/// What a pull knows of the time, in samples.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment<'a> {
    /// The media time of the frame that comes at this time if the network is at its fastest.
    pub(crate) live: i64,
    /// What each lead costs.
    pub(crate) costs: &'a Costs,
    /// Samples in a pull.
    pub(crate) block: i64,
    /// Whether the sound is resampled, so that frames slide against blocks.
    pub(crate) is_resampled: bool,
}

impl Moment<'_> {
    /// Whether a frame that begins at `time` has waited long enough to begin a talkspurt with it.
    pub(crate) fn is_due(&self, time: i64, frame: i64) -> bool {
        let lead = self.live - time;
        if self.is_sliding(frame) {
            return lead >= self.goal();
        }
        lead >= 0 && self.steps(lead, self.block.max(1)) >= 0
    }

    /// By how much to shorten the sound (or to lengthen it, if negative) from `at` on, `ahead` before a frame's border.
    pub(crate) fn wish(&self, at: i64, ahead: i64, frame: i64) -> i64 {
        let delay = self.live - at;
        if self.is_sliding(frame) {
            let spare = delay - self.goal();
            return if (-SHORT_SLIDING..SPARE_SLIDING).contains(&spare) { 0 } else { spare };
        }
        let step = self.block.min(frame).max(1);
        let beyond = ahead % step; // costs delay and gains no lead
        let lead = delay - beyond - (self.block - frame).max(0);
        beyond + step * self.steps(lead, step)
    }

    /// The delay to have while frames slide, when each has a lead of up to a block less.
    pub(crate) fn goal(&self) -> i64 {
        self.costs.cheapest() + self.block + resample::LOOK_AHEAD as i64
    }

    /// How many steps less (or more, if negative) than `lead` are the cheapest.
    fn steps(&self, lead: i64, step: i64) -> i64 {
        let best = self.costs.cheapest();
        // The cheapest that can be had is next to the cheapest of all, on one side or the other.
        let above = (lead - best).div_euclid(step);
        let candidates = [above, above + 1];
        let cost = |steps: i64| self.costs.of(lead - steps * step);
        let cheapest = if cost(candidates[1]) < cost(candidates[0]) { candidates[1] } else { candidates[0] };
        if cost(cheapest) + WORTH_IT < cost(0) { cheapest } else { 0 }
    }

    fn is_sliding(&self, frame: i64) -> bool {
        let block = self.block.max(1);
        self.is_resampled || (frame % block != 0 && block % frame.max(1) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delays::BINS;

    /// Most frames are up to 5 ms late.
    fn costs() -> Costs {
        Costs::new((0..=BINS).map(|ms| 1.0 - 0.2 * ms.min(5) as f32), (1, 250))
    }

    fn wish(block: i64, delay: i64, ahead: i64) -> i64 {
        Moment { live: 10_000, costs: &costs(), block, is_resampled: false }.wish(10_000 - delay, ahead, 480)
    }

    #[test]
    fn a_lead_between_the_target_and_one_block_more_is_right() {
        for delay in [240, 480, 719] {
            assert_eq!(wish(480, delay, 480), 0, "delay {delay}");
        }
    }

    #[test]
    fn whole_blocks_are_added_or_taken() {
        assert_eq!(wish(480, 200, 480), -480);
        assert_eq!(wish(480, 240 + 480, 480), 480);
        assert_eq!(wish(120, 240 + 480 - 1, 480), 360, "short blocks, small steps");
    }

    #[test]
    fn what_stands_over_a_frame_is_taken_first() {
        assert_eq!(wish(480, 500, 480 + 200), 200);
        assert_eq!(wish(480, 400, 480 + 200), 200 - 480, "lead 200");
    }

    #[test]
    fn a_small_gain_is_not_worth_a_change() {
        assert_eq!(wish(120, 240 + 90, 480), 0);
        assert_eq!(wish(48, 240 + 48, 480), 0);
    }

    #[test]
    fn sound_that_slides_keeps_a_block_of_lead() {
        let costs = costs();
        let sliding = Moment { live: 10_000, costs: &costs, block: 480, is_resampled: true };
        let goal = sliding.goal();
        assert_eq!(goal, 240 + 480 + 18);
        assert_eq!(sliding.wish(10_000 - goal, 480, 480), 0);
        assert_eq!(sliding.wish(10_000 - goal - 400, 480, 480), 400);
        assert_eq!(sliding.wish(10_000 - goal + 100, 480, 480), -100);
    }
}
