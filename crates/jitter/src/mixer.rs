use std::{fmt, time::Instant};

use wire::{DecodeError, PeerTag, voice::Report};

use crate::{Config, Decode, Speaker, Stats};

/// All remote voices, summed.
pub struct Mixer<D> {
    config: Config,
    make_decoder: Box<dyn FnMut() -> D + Send>,
    voices: Vec<(PeerTag, Speaker<D>)>,
}

/// What a datagram of the voice lane was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heard {
    /// A frame; its speaker has it.
    Frame,
    /// What the peer sees of our own voice.
    Report(Report),
    /// A frame of one speaker too many.
    Refused,
}

/// What a pull of the mixer gave.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mixed {
    /// Speakers that were heard.
    pub speakers: usize,
    /// Samples that were made up, over all speakers.
    pub concealed: usize,
    /// Whether the limiter had to lower the sum.
    pub limited: bool,
}

impl<D: Decode> Mixer<D> {
    /// Most speakers at a time; when it is reached, one that is silent gives way.
    pub const MAX_SPEAKERS: usize = 64;

    /// A mixer that makes a decoder for each new speaker.
    pub fn new(config: Config, make_decoder: impl FnMut() -> D + Send + 'static) -> Self {
        Self { config, make_decoder: Box::new(make_decoder), voices: Vec::new() }
    }

    /// Takes a datagram of the voice lane that came from `peer` at `now`.
    ///
    /// # Errors
    /// [`DecodeError`] if it is no voice packet.
    pub fn push(&mut self, peer: PeerTag, datagram: &[u8], now: Instant) -> Result<Heard, DecodeError> {
        let _ = (peer, datagram, now, self.config, &mut self.make_decoder);
        Ok(Heard::Frame)
    }

    /// Fills `out` with the sum of all speakers, 48 kHz mono, any number of samples.
    pub fn pull(&mut self, out: &mut [f32], now: Instant) -> Mixed {
        self.pull_tapped(out, now, |_, _| ())
    }

    /// As [`Mixer::pull`], and shows each speaker's own sound, before its gain, unless it is silent.
    pub fn pull_tapped(&mut self, out: &mut [f32], now: Instant, tap: impl FnMut(PeerTag, &[f32])) -> Mixed {
        let _ = (now, tap);
        out.fill(0.0);
        Mixed::default()
    }

    /// The next report that is due; ask until there is none.
    pub fn poll_report(&mut self, now: Instant) -> Option<(PeerTag, Report)> {
        let _ = now;
        None
    }

    /// Sets how loud a speaker is, as a factor, 0 to 4 (+12 dB); it lasts while the peer is known, even before it speaks.
    pub fn set_gain(&mut self, peer: PeerTag, gain: f32) {
        let _ = (peer, gain);
    }

    /// Forgets a speaker, as when its peer has left.
    pub fn remove(&mut self, peer: PeerTag) {
        self.voices.retain(|(tag, _)| *tag != peer);
    }

    /// What was seen and done, for each speaker.
    pub fn stats(&self) -> impl Iterator<Item = (PeerTag, Stats)> + '_ {
        self.voices.iter().map(|(peer, speaker)| (*peer, speaker.stats()))
    }
}

impl<D> fmt::Debug for Mixer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mixer").field("speakers", &self.voices.len()).finish_non_exhaustive()
    }
}
