//! Who is talking.

/// Softer sound is nobody's voice: -50 dBFS.
const FLOOR: f32 = 1e-5;
/// A voice that has become softer is taken to go on for so many samples: 300 ms.
const HANG_OVER: usize = 14_400;

/// Whether a voice is heard: sound above a floor, and a moment after it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Activity {
    /// Samples until it is over.
    left: usize,
}

impl Activity {
    /// Takes the mean power of the next `samples` samples, 1 being that of a full-scale square wave; whether they are a voice's.
    pub fn note(&mut self, power: f32, samples: usize) -> bool {
        let is_voice = power > FLOOR;
        self.left = if is_voice { HANG_OVER } else { self.left.saturating_sub(samples) };
        is_voice
    }

    /// Whether somebody talks, or did a moment ago.
    pub fn is_talking(&self) -> bool {
        self.left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voice_goes_on_for_three_tenths_of_a_second_after_it_was_heard() {
        let mut activity = Activity::default();
        activity.note(1e-6, 480);
        assert!(!activity.is_talking(), "-60 dBFS is noise");
        activity.note(1e-4, 480);
        assert!((0..29).all(|_| !activity.note(0.0, 480) && activity.is_talking()));
        activity.note(0.0, 480);
        assert!(!activity.is_talking());
        activity.note(f32::NAN, 480);
        assert!(!activity.is_talking());
    }
}
