//! Beginnings of talkspurts that come in one burst: who sends has to be sure of a voice before it sends what began it. How
//! late that comes says nothing of the path.

/// The delay of one frame, in samples.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Delay {
    pub(crate) delay: i64,
    pub(crate) samples: usize,
    pub(crate) arrived: i64,
}

/// Holds back the delay of a frame that may be the beginning of a burst, until the next frame tells.
#[derive(Debug, Default)]
pub(crate) struct Burst {
    first: Option<Delay>,
}

impl Burst {
    /// Takes the delay of a frame; `starts` if nothing but silence was before it. Gives the delays that do tell something.
    pub(crate) fn note(&mut self, frame: Delay, starts: bool) -> impl Iterator<Item = Delay> + use<> {
        let before = self.first.take();
        let follows_at_once = |before: Delay| {
            let half = frame.samples as i64 / 2;
            frame.arrived - before.arrived < half && before.delay - frame.delay > half
        };
        let is_burst = !starts && before.is_some_and(follows_at_once);
        let is_held = starts || is_burst;
        self.first = is_held.then_some(frame);
        before.filter(|_| !is_burst).into_iter().chain((!is_held).then_some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of frames of 10 ms that come at these milliseconds; those with a mark begin a talkspurt.
    fn told(frames: &[(i64, i64, bool)]) -> Vec<i64> {
        let mut burst = Burst::default();
        let mut told = Vec::new();
        for (time, arrived, starts) in frames {
            let delay = Delay { delay: (arrived - time) * 48, samples: 480, arrived: arrived * 48 };
            told.extend(burst.note(delay, *starts).map(|delay| delay.delay / 48));
        }
        told
    }

    #[test]
    fn of_a_burst_only_the_last_frame_tells_how_long_the_path_is() {
        assert_eq!(told(&[(0, 35, true), (10, 35, false), (20, 36, false), (30, 36, false), (40, 45, false)]), [6, 5]);
    }

    #[test]
    fn every_frame_tells_of_a_talkspurt_that_begins_as_others_do() {
        assert_eq!(told(&[(0, 5, true), (10, 16, false), (20, 20, false)]), [5, 6, 0]);
        assert_eq!(told(&[(0, 5, true), (400, 407, true), (800, 803, true), (810, 813, false)]), [5, 7, 3, 3]);
    }

    #[test]
    fn what_catches_up_in_the_middle_of_a_talkspurt_was_late() {
        assert_eq!(told(&[(0, 5, true), (10, 15, false), (20, 45, false), (30, 45, false)]), [5, 5, 25, 15]);
    }
}
