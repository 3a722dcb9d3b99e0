use codec::Decoder;
use jitter::{Decode, Undecodable};

/// The decoder of one speaker, as a [`jitter::Mixer`] wants it; without memory for one, all of it is silence.
#[derive(Debug)]
pub struct Ear {
    mono: Option<Decoder>,
    /// Made when two channels are first wanted.
    stereo: Option<Decoder>,
    is_stereo: bool,
}

impl Default for Ear {
    fn default() -> Self {
        Self { mono: Decoder::new().ok(), stereo: None, is_stereo: false }
    }
}

impl Ear {
    fn decoder(&mut self) -> Option<&mut Decoder> {
        if self.is_stereo { self.stereo.as_mut() } else { self.mono.as_mut() }
    }
}

impl Decode for Ear {
    fn decode(&mut self, opus: &[u8], out: &mut [f32]) -> Result<usize, Undecodable> {
        self.decoder().ok_or(Undecodable)?.decode(opus, out).map_err(|_| Undecodable)
    }

    fn decode_fec(&mut self, next: &[u8], out: &mut [f32]) -> Result<usize, Undecodable> {
        self.decoder().ok_or(Undecodable)?.decode_fec(next, out).map_err(|_| Undecodable)
    }

    fn deep_reach(&mut self, later: &[u8]) -> usize {
        self.decoder().and_then(|decoder| decoder.deep_reach(later).ok()).unwrap_or(0)
    }

    fn decode_deep(&mut self, later: &[u8], before: usize, out: &mut [f32]) -> Result<usize, Undecodable> {
        self.decoder().ok_or(Undecodable)?.decode_deep(later, before, out).map_err(|_| Undecodable)
    }

    fn conceal(&mut self, out: &mut [f32]) {
        let concealed = self.decoder().is_some_and(|decoder| decoder.conceal(out).is_ok());
        if !concealed {
            out.fill(0.0);
        }
    }

    fn reset(&mut self, channels: usize) {
        self.is_stereo = channels == 2;
        if self.is_stereo && self.stereo.is_none() {
            self.stereo = Decoder::with_channels(2).ok();
        }
        if let Some(decoder) = self.decoder() {
            decoder.reset();
        }
    }
}
