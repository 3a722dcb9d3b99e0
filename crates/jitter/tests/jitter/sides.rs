//! A decoder that needs no codec.

use jitter::{Decode, Undecodable};

/// Decodes packets whose last bytes are the levels on the left and on the right, in hundredths; one channel is their mean. What is
/// missing is silence.
pub(crate) struct Sides {
    channels: usize,
}

impl Default for Sides {
    /// Speakers have one channel until they say otherwise.
    fn default() -> Self {
        Self { channels: 1 }
    }
}

impl Decode for Sides {
    fn decode(&mut self, opus: &[u8], out: &mut [f32]) -> Result<usize, Undecodable> {
        let [.., left, right] = opus else { return Err(Undecodable) };
        let [left, right] = [left, right].map(|level| f32::from(*level) / 100.0);
        match self.channels {
            2 => out.chunks_exact_mut(2).for_each(|sample| sample.copy_from_slice(&[left, right])),
            _ => out.fill((left + right) / 2.0),
        }
        Ok(out.len() / self.channels)
    }

    fn decode_fec(&mut self, _: &[u8], _: &mut [f32]) -> Result<usize, Undecodable> {
        Err(Undecodable)
    }

    fn deep_reach(&mut self, _: &[u8]) -> usize {
        0
    }

    fn decode_deep(&mut self, _: &[u8], _: usize, _: &mut [f32]) -> Result<usize, Undecodable> {
        Err(Undecodable)
    }

    fn conceal(&mut self, out: &mut [f32]) {
        out.fill(0.0);
    }

    fn reset(&mut self, channels: usize) {
        self.channels = channels;
    }
}
