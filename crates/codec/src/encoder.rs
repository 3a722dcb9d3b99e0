use std::time::Duration;

use crate::{Error, MAX_PACKET, RATE};

/// How an [`Encoder`] encodes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Bits per second.
    pub bitrate: u32,
    /// How much sound one packet carries: 2.5, 5, 10, 20, 40 or 60 ms.
    pub frame: Duration,
    /// Effort, 0 to 10.
    pub complexity: u8,
    /// The share of packets that may get lost, in percent; more makes the copies (LBRR) better, 0 leaves them out until
    /// more is expected. `None`: no copies ever.
    pub expected_loss: Option<u8>,
}

impl Default for Settings {
    /// Speech on a good path: 10 ms frames at 40 kb/s, nothing lost.
    fn default() -> Self {
        Self { bitrate: 40_000, frame: Duration::from_millis(10), complexity: 9, expected_loss: Some(0) }
    }
}

impl Settings {
    /// The samples of one frame.
    ///
    /// # Errors
    /// [`Error::Length`] if Opus has no frame of this duration.
    pub fn frame_samples(&self) -> Result<usize, Error> {
        let samples = (self.frame.as_micros() * u128::from(RATE) / 1_000_000) as usize;
        match samples {
            120 | 240 | 480 | 960 | 1920 | 2880 => Ok(samples),
            _ => Err(Error::Length { samples }),
        }
    }
}

/// Turns frames of mono speech into packets.
pub struct Encoder {
    inner: opus::Encoder,
    frame: usize,
    lookahead: usize,
    packet: [u8; MAX_PACKET],
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("frame", &self.frame).finish_non_exhaustive()
    }
}

impl Encoder {
    /// An encoder that has heard nothing yet.
    ///
    /// # Errors
    /// [`Error::Length`] for a frame that Opus does not have, else what libopus says of the settings.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let frame = settings.frame_samples()?;
        // Only VOIP with voice as the signal keeps to the modes that can carry LBRR.
        let mut inner = opus::Encoder::new(RATE, opus::Channels::Mono, opus::Application::Voip)?;
        inner.set_signal(opus::Signal::Voice)?;
        inner.set_complexity(settings.complexity.into())?;
        inner.set_inband_fec(settings.expected_loss.is_some())?;
        let lookahead = inner.get_lookahead()?.try_into().unwrap_or(0);
        let mut encoder = Self { inner, frame, lookahead, packet: [0; MAX_PACKET] };
        encoder.set_bitrate(settings.bitrate)?;
        encoder.set_expected_loss(settings.expected_loss.unwrap_or(0))?;
        Ok(encoder)
    }

    /// Encodes one frame; the packet is valid until the next call.
    ///
    /// # Errors
    /// [`Error::Length`] if `samples` is not one frame.
    pub fn encode(&mut self, samples: &[f32]) -> Result<&[u8], Error> {
        if samples.len() != self.frame {
            return Err(Error::Length { samples: samples.len() });
        }
        let len = self.inner.encode_float(samples, &mut self.packet)?;
        Ok(&self.packet[..len])
    }

    /// Sets the bits per second.
    ///
    /// # Errors
    /// What libopus says if they are out of its range.
    pub fn set_bitrate(&mut self, bitrate: u32) -> Result<(), Error> {
        let bits = i32::try_from(bitrate).unwrap_or(i32::MAX);
        Ok(self.inner.set_bitrate(opus::Bitrate::Bits(bits))?)
    }

    /// Tells the share of packets, in percent, that may get lost.
    ///
    /// # Errors
    /// What libopus says if it is more than 100.
    pub fn set_expected_loss(&mut self, percent: u8) -> Result<(), Error> {
        Ok(self.inner.set_packet_loss_perc(percent.into())?)
    }

    /// The samples of one frame.
    pub fn frame(&self) -> usize {
        self.frame
    }

    /// How many samples what is decoded lags behind what was encoded. So much silence after the end brings out the end.
    pub fn lookahead(&self) -> usize {
        self.lookahead
    }
}

impl From<opus::Error> for Error {
    fn from(error: opus::Error) -> Self {
        Self::Opus(error.description().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_durations_that_opus_has_are_frames() {
        for (micros, samples) in
            [(2500, 120), (5000, 240), (10_000, 480), (20_000, 960), (40_000, 1920), (60_000, 2880)]
        {
            let settings = Settings { frame: Duration::from_micros(micros), ..Settings::default() };
            assert_eq!(Encoder::new(settings).map(|e| e.frame()), Ok(samples));
        }
        let settings = Settings { frame: Duration::from_millis(15), ..Settings::default() };
        assert_eq!(Encoder::new(settings).err(), Some(Error::Length { samples: 720 }));
    }

    #[test]
    fn a_frame_of_another_length_is_refused() {
        let mut encoder = Encoder::new(Settings::default()).expect("an encoder");
        assert_eq!(encoder.encode(&[0.0; 479]).err(), Some(Error::Length { samples: 479 }));
    }

    #[test]
    fn the_bitrate_is_what_was_asked_for() {
        let mut encoder = Encoder::new(Settings::default()).expect("an encoder");
        let mut bytes = 0;
        for frame in 0..500 {
            let speechlike: Vec<f32> = (0..480)
                .map(|i| {
                    let t = (frame * 480 + i) as f32 / 48_000.0;
                    (t * 3.0).sin() * (1..20).map(|h| (t * 880.0 * h as f32).sin() / (4 * h) as f32).sum::<f32>()
                })
                .collect();
            bytes += encoder.encode(&speechlike).expect("a packet").len();
        }
        let bitrate = bytes * 8 / 5;
        assert!((30_000..44_000).contains(&bitrate), "{bitrate} b/s");
    }
}
