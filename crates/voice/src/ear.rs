use codec::Decoder;
use jitter::{Decode, Undecodable};

/// The decoder of one speaker, as a [`jitter::Mixer`] wants it; without memory for one, all of it is silence.
#[derive(Debug)]
pub struct Ear(Option<Decoder>);

impl Default for Ear {
    fn default() -> Self {
        Self(Decoder::new().ok())
    }
}

impl Decode for Ear {
    fn decode(&mut self, opus: &[u8], out: &mut [f32]) -> Result<usize, Undecodable> {
        self.0.as_mut().ok_or(Undecodable)?.decode(opus, out).map_err(|_| Undecodable)
    }

    fn decode_fec(&mut self, next: &[u8], out: &mut [f32]) -> Result<usize, Undecodable> {
        self.0.as_mut().ok_or(Undecodable)?.decode_fec(next, out).map_err(|_| Undecodable)
    }

    fn deep_reach(&mut self, later: &[u8]) -> usize {
        self.0.as_mut().and_then(|decoder| decoder.deep_reach(later).ok()).unwrap_or(0)
    }

    fn decode_deep(&mut self, later: &[u8], before: usize, out: &mut [f32]) -> Result<usize, Undecodable> {
        self.0.as_mut().ok_or(Undecodable)?.decode_deep(later, before, out).map_err(|_| Undecodable)
    }

    fn conceal(&mut self, out: &mut [f32]) {
        let concealed = self.0.as_mut().is_some_and(|decoder| decoder.conceal(out).is_ok());
        if !concealed {
            out.fill(0.0);
        }
    }

    fn reset(&mut self) {
        if let Some(decoder) = &mut self.0 {
            decoder.reset();
        }
    }
}
