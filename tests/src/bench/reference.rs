//! How fast this machine is: bounds on CPU time are for one that encodes a certain frame in a certain time.
//!
//! Virtual machines differ by more than a factor of two, and so does the same one from hour to hour. What a program takes is
//! measured against work that everybody can repeat, just before and just after it.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{figures::median, row::Rows, usage::time_of};

/// What the work took on the machine for which the bounds were set, in microseconds.
pub(super) const USUAL_US: f64 = 92.0;
/// The work: 10 ms of speech at 24 kb/s, with copies for 10 % loss and nearly all the effort that libopus can make.
const WORK: codec::Settings = codec::Settings {
    mode: codec::Mode::Voice,
    channels: 1,
    bitrate: 24_000,
    frame: Duration::from_millis(10),
    complexity: 9,
    expected_loss: Some(10),
    deep: Duration::ZERO,
};
/// So often, and so many frames each time.
const GOES: usize = 5;
const FRAMES: usize = 400;

/// What the work takes here.
#[derive(Debug, Default)]
pub(super) struct Reference {
    goes_us: Vec<f64>,
}

impl Reference {
    /// Does the work on some speech, several times.
    pub(super) fn measure(&mut self, speech: &[f32]) -> Result<()> {
        let frames = speech.chunks_exact(WORK.frame_samples()?).cycle();
        for _ in 0..GOES {
            let mut encoder = codec::Encoder::new(WORK)?;
            let mut outcome = Ok(());
            let took = time_of(|| {
                for frame in frames.clone().take(FRAMES) {
                    if let Err(error) = encoder.encode(frame) {
                        outcome = Err(error);
                    }
                }
            });
            outcome.context("encode speech")?;
            self.goes_us.push(took.as_secs_f64() * 1e6 / FRAMES as f64);
        }
        Ok(())
    }

    /// What a frame takes here, in microseconds; `None` before anything is measured.
    pub(super) fn us(&self) -> Option<f64> {
        median(&self.goes_us)
    }

    /// Adds what it is like here.
    pub(super) fn tell(&self, rows: &mut Rows<'_>) {
        rows.tell(format!("  a reference frame ({USUAL_US} µs on the usual machine) takes here"), self.us(), "µs");
    }

    /// What some share of a core would be where a frame takes [`USUAL_US`].
    pub(super) fn usual(&self, share: f64) -> Option<f64> {
        Some(share * USUAL_US / self.us()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_work_takes_twice_as_long_a_program_counts_half() {
        let slow = Reference { goes_us: vec![2.0 * USUAL_US; 5] };
        assert_eq!(slow.usual(8.0), Some(4.0));
        assert_eq!(Reference::default().usual(8.0), None);
    }

    #[test]
    fn the_work_is_done() {
        let mut reference = Reference::default();
        reference.measure(&[0.1; 4800]).unwrap();
        assert!(reference.us().is_some_and(|us| us > 1.0));
    }
}
