//! A gain that changes without a click.

/// A change takes 5 ms.
const FADE: usize = 240;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Ramp {
    gain: f32,
    goal: f32,
    step: f32,
}

impl Ramp {
    pub(crate) fn at(gain: f32) -> Self {
        Self { gain, goal: gain, step: 0.0 }
    }

    /// Where it is to be.
    pub(crate) fn aim(&mut self, goal: f32) {
        if goal != self.goal {
            self.goal = goal;
            self.step = (goal - self.gain) / FADE as f32;
        }
    }

    /// Nobody hears how it gets there.
    pub(crate) fn arrive(&mut self) {
        self.gain = self.goal;
    }

    /// Adds `sound` to `sum`, both interleaved; one channel is heard in all.
    pub(crate) fn mix<const FROM: usize, const TO: usize>(&mut self, sound: &[f32], sum: &mut [f32]) {
        for (sum, sample) in sum.as_chunks_mut::<TO>().0.iter_mut().zip(sound.as_chunks::<FROM>().0) {
            let gain = self.next();
            for (channel, sum) in sum.iter_mut().enumerate() {
                *sum += sample[channel % FROM] * gain;
            }
        }
    }

    /// Scales `sound`, whose channels are interleaved.
    pub(crate) fn scale(&mut self, sound: &mut [f32], channels: usize) {
        if self.gain == 1.0 && self.goal == 1.0 {
            return;
        }
        for sample in sound.chunks_mut(channels) {
            let gain = self.next();
            sample.iter_mut().for_each(|value| *value *= gain);
        }
    }

    fn next(&mut self) -> f32 {
        if self.gain != self.goal {
            let is_there = (self.goal - self.gain).abs() <= self.step.abs();
            self.gain = if is_there { self.goal } else { self.gain + self.step };
        }
        self.gain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_takes_five_milliseconds_and_no_step_is_heard() {
        let mut ramp = Ramp::at(1.0);
        for goal in [0.0, 4.0, 1.0] {
            ramp.aim(goal);
            let mut sound = [1.0; 300];
            let before = ramp.gain;
            ramp.scale(&mut sound, 1);
            assert!(sound.windows(2).all(|two| (two[1] - two[0]).abs() < 0.02), "to {goal}");
            assert!((sound[119] - (before + goal) / 2.0).abs() < 0.02, "half of the way to {goal}: {}", sound[119]);
            assert_eq!(sound[240], goal);
        }
        let mut sum = [0.5; 10];
        ramp.mix::<1, 1>(&[0.25; 10], &mut sum);
        assert_eq!(sum, [0.75; 10]);
        ramp.mix::<1, 2>(&[0.25; 5], &mut sum);
        assert_eq!(sum, [1.0; 10], "in the middle");
        ramp.mix::<2, 2>(&[0.0, 0.5], &mut sum[..2]);
        assert_eq!(sum[..2], [1.0, 1.5]);
    }

    #[test]
    fn a_change_that_is_changed_goes_on_from_where_it_is() {
        let mut ramp = Ramp::at(1.0);
        let mut sound = [1.0; 100];
        ramp.aim(0.0);
        ramp.scale(&mut sound, 1);
        ramp.aim(1.0);
        let mut more = [1.0; 300];
        ramp.scale(&mut more, 1);
        assert!((more[0] - sound[99]).abs() < 0.01 && more[299] == 1.0);
    }
}
