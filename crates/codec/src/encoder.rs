use std::ffi::c_int;
use std::ptr::NonNull;
use std::time::Duration;

use opusic_sys as sys;

use crate::{Error, MAX_PACKET, RATE, check, describe};

/// What is encoded, and what matters most about it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mode {
    /// Speech, with copies against loss; what is decoded lags behind by 6.5 ms.
    #[default]
    Voice,
    /// Any sound over a path that loses nothing: CELT alone, which lags behind by 2.5 ms and has no copies.
    LowDelay,
    /// Music, as well as the bitrate allows: CELT alone from about 64 kb/s a channel on; it lags behind by 6.5 ms.
    Music,
}

impl Mode {
    fn application(self) -> c_int {
        match self {
            // Only VOIP with voice as the signal keeps to the modes that can carry LBRR.
            Self::Voice => sys::OPUS_APPLICATION_VOIP,
            Self::LowDelay => sys::OPUS_APPLICATION_RESTRICTED_LOWDELAY,
            Self::Music => sys::OPUS_APPLICATION_AUDIO,
        }
    }
}

/// How an [`Encoder`] encodes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// What is encoded.
    pub mode: Mode,
    /// One, or two that are interleaved.
    pub channels: u8,
    /// Bits per second.
    pub bitrate: u32,
    /// How much sound one packet carries: 2.5, 5, 10, 20, 40 or 60 ms.
    pub frame: Duration,
    /// Effort, 0 to 10.
    pub complexity: u8,
    /// The share of packets that may get lost, in percent; more makes the copies (LBRR) better, 0 leaves them out until
    /// more is expected. `None`: no copies ever.
    pub expected_loss: Option<u8>,
    /// How far back each packet should tell of the sound before it, by deep redundancy (DRED), up to 1 s; how far it
    /// really does is up to the bits that are left for it: see [`Self::DEEP`].
    pub deep: Duration,
}

impl Default for Settings {
    /// Speech on a good path: 10 ms frames at 40 kb/s, nothing lost.
    fn default() -> Self {
        Self {
            mode: Mode::Voice,
            channels: 1,
            bitrate: 40_000,
            frame: Duration::from_millis(10),
            complexity: 9,
            expected_loss: Some(0),
            deep: Duration::ZERO,
        }
    }
}

impl Settings {
    /// The least bits per second, and the least expected loss in percent, with which deep redundancy reaches anywhere
    /// beside LBRR. libopus cuts its bits out of the bitrate by the expected loss; with less of either, the redundancy
    /// is left out, or it costs bits and reaches 15 ms.
    pub const DEEP: (u32, u8) = (48_000, 20);

    /// The samples of one frame.
    ///
    /// # Errors
    /// [`Error::Length`] if Opus has no frame of this duration.
    pub fn frame_samples(&self) -> Result<usize, Error> {
        frame_samples(self.frame)
    }
}

/// Turns frames of sound into packets.
#[derive(Debug)]
pub struct Encoder {
    state: NonNull<sys::OpusEncoder>,
    frame: usize,
    channels: usize,
    lookahead: usize,
    /// Bytes of the longest packet that may come out.
    room: usize,
    packet: [u8; MAX_PACKET],
}

// SAFETY: an encoder's state is one block of memory that only this value points to; libopus keeps no thread-local data.
#[allow(unsafe_code, reason = "no safe crate sets the reach of DRED")]
unsafe impl Send for Encoder {}

impl Encoder {
    /// An encoder that has heard nothing yet.
    ///
    /// # Errors
    /// [`Error::Length`] for a frame that Opus does not have, else what libopus says of the settings.
    #[allow(unsafe_code, reason = "no safe crate sets the reach of DRED")]
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let frame = settings.frame_samples()?;
        let mut error = sys::OPUS_OK;
        let channels = c_int::from(settings.channels);
        let application = settings.mode.application();
        // SAFETY: the only pointer is to a local that lives through the call.
        let state = unsafe { sys::opus_encoder_create(RATE as i32, channels, application, &raw mut error) };
        let state = NonNull::new(state).ok_or_else(|| describe(error))?;
        let channels = settings.channels.into();
        let mut encoder = Self { state, frame, channels, lookahead: 0, room: MAX_PACKET, packet: [0; MAX_PACKET] };
        match settings.mode {
            Mode::Voice => encoder.set(sys::OPUS_SET_SIGNAL_REQUEST, sys::OPUS_SIGNAL_VOICE)?,
            Mode::Music => encoder.set(sys::OPUS_SET_SIGNAL_REQUEST, sys::OPUS_SIGNAL_MUSIC)?,
            Mode::LowDelay => {}
        }
        encoder.set(sys::OPUS_SET_COMPLEXITY_REQUEST, settings.complexity.into())?;
        encoder.set(sys::OPUS_SET_INBAND_FEC_REQUEST, settings.expected_loss.is_some().into())?;
        encoder.lookahead = encoder.ask_lookahead()?;
        encoder.set_bitrate(settings.bitrate)?;
        encoder.set_expected_loss(settings.expected_loss.unwrap_or(0))?;
        encoder.set_deep(settings.deep)?;
        Ok(encoder)
    }

    /// Encodes one frame; the packet is valid until the next call.
    ///
    /// # Errors
    /// [`Error::Length`] if `samples` is not one frame.
    #[allow(unsafe_code, reason = "no safe crate sets the reach of DRED")]
    pub fn encode(&mut self, samples: &[f32]) -> Result<&[u8], Error> {
        if samples.len() != self.frame * self.channels {
            return Err(Error::Length { samples: samples.len() });
        }
        let (frame, room) = (self.frame as c_int, self.room as i32);
        // SAFETY: the state is live and borrowed mutably; libopus reads `frame` samples of each channel, which are there, and writes at
        // most `room` bytes, which is no more than `packet` has.
        let len = unsafe {
            sys::opus_encode_float(self.state.as_ptr(), samples.as_ptr(), frame, self.packet.as_mut_ptr(), room)
        };
        check(len)?;
        Ok(&self.packet[..len.unsigned_abs() as usize])
    }

    /// Sets how much sound the next packets carry.
    ///
    /// # Errors
    /// [`Error::Length`] for a frame that Opus does not have.
    pub fn set_frame(&mut self, frame: Duration) -> Result<(), Error> {
        self.frame = frame_samples(frame)?;
        Ok(())
    }

    /// Lets no packet be longer than so many bytes, whatever the bitrate: what has to fit a datagram.
    pub fn limit(&mut self, bytes: usize) {
        self.room = bytes.clamp(1, MAX_PACKET);
    }

    /// Sets the bits per second.
    ///
    /// # Errors
    /// What libopus says if they are out of its range.
    pub fn set_bitrate(&mut self, bitrate: u32) -> Result<(), Error> {
        self.set(sys::OPUS_SET_BITRATE_REQUEST, i32::try_from(bitrate).unwrap_or(i32::MAX))
    }

    /// Tells the share of packets, in percent, that may get lost.
    ///
    /// # Errors
    /// What libopus says if it is more than 100.
    pub fn set_expected_loss(&mut self, percent: u8) -> Result<(), Error> {
        self.set(sys::OPUS_SET_PACKET_LOSS_PERC_REQUEST, percent.into())
    }

    /// Sets how far back each packet should tell of the sound before it; more than 1 s is taken for 1 s.
    ///
    /// # Errors
    /// What libopus says if it was built without deep redundancy.
    pub fn set_deep(&mut self, reach: Duration) -> Result<(), Error> {
        /// 1.04 s, in libopus' units of 10 ms.
        const MOST: u128 = 104;
        self.set(sys::OPUS_SET_DRED_DURATION_REQUEST, (reach.as_millis() / 10).min(MOST) as c_int)
    }

    /// Sets the effort, 0 to 10.
    ///
    /// # Errors
    /// What libopus says if it is more than 10.
    pub fn set_complexity(&mut self, complexity: u8) -> Result<(), Error> {
        self.set(sys::OPUS_SET_COMPLEXITY_REQUEST, complexity.into())
    }

    /// How many channels the sound has: one or two.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The samples of one frame, of each channel.
    pub fn frame(&self) -> usize {
        self.frame
    }

    /// How many samples what is decoded lags behind what was encoded. So much silence after the end brings out the end.
    pub fn lookahead(&self) -> usize {
        self.lookahead
    }

    /// Makes a request that takes one number.
    #[allow(unsafe_code, reason = "no safe crate sets the reach of DRED")]
    fn set(&mut self, request: c_int, value: c_int) -> Result<(), Error> {
        // SAFETY: the state is live, and all requests that are made here take one int.
        check(unsafe { sys::opus_encoder_ctl(self.state.as_ptr(), request, value) })
    }

    #[allow(unsafe_code, reason = "no safe crate sets the reach of DRED")]
    fn ask_lookahead(&mut self) -> Result<usize, Error> {
        let mut lookahead: i32 = 0;
        // SAFETY: the state is live, and this request takes a pointer to an int that lives through the call.
        check(unsafe {
            sys::opus_encoder_ctl(self.state.as_ptr(), sys::OPUS_GET_LOOKAHEAD_REQUEST, &raw mut lookahead)
        })?;
        Ok(usize::try_from(lookahead).unwrap_or(0))
    }
}

impl Drop for Encoder {
    #[allow(unsafe_code, reason = "no safe crate sets the reach of DRED")]
    fn drop(&mut self) {
        // SAFETY: the state is live, and nothing uses it after this.
        unsafe { sys::opus_encoder_destroy(self.state.as_ptr()) }
    }
}

/// The samples of a frame of this duration, if Opus has one.
fn frame_samples(frame: Duration) -> Result<usize, Error> {
    let samples = (frame.as_micros() * u128::from(RATE) / 1_000_000) as usize;
    match samples {
        120 | 240 | 480 | 960 | 1920 | 2880 => Ok(samples),
        _ => Err(Error::Length { samples }),
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
    fn low_delay_lags_behind_by_a_quarter_of_a_frame_and_speech_by_less_than_one() {
        let lag = |mode, millis| {
            let settings = Settings { mode, frame: Duration::from_millis(millis), ..Settings::default() };
            Encoder::new(settings).expect("an encoder").lookahead()
        };
        assert_eq!((lag(Mode::Voice, 10), lag(Mode::LowDelay, 10), lag(Mode::LowDelay, 5)), (312, 120, 120));
    }

    #[test]
    fn low_delay_needs_no_layer_that_thinks_in_longer_frames() {
        let settings = Settings { mode: Mode::LowDelay, frame: Duration::from_millis(5), ..Settings::default() };
        let mut encoder = Encoder::new(settings).expect("an encoder");
        for n in 0..200 {
            let tone: Vec<f32> = (0..240).map(|i| ((n * 240 + i) as f32 * 0.03).sin() * 0.3).collect();
            let toc = encoder.encode(&tone).expect("a packet")[0];
            assert!(toc & 0x80 != 0, "CELT (RFC 6716, section 3.1), not {toc:#x}");
        }
    }

    #[test]
    fn music_in_two_channels_is_celt_and_both_are_heard_apart() {
        let settings =
            Settings { mode: Mode::Music, channels: 2, bitrate: 128_000, expected_loss: None, ..Settings::default() };
        let mut encoder = Encoder::new(settings).expect("an encoder");
        let mut decoder = crate::Decoder::with_channels(2).expect("a decoder");
        let (mut left, mut right) = (0.0, 0.0);
        for n in 0..50 {
            let tone = |i: usize| ((n * 480 + i) as f32 * std::f32::consts::TAU / 100.0).sin() * 0.3;
            let sound: Vec<f32> = (0..480).flat_map(|i| [tone(i), 0.0]).collect();
            let packet = encoder.encode(&sound).expect("a packet");
            assert_eq!((packet[0] >> 7, packet[0] >> 2 & 1), (1, 1), "CELT, stereo");
            let mut out = [0.0; 960];
            decoder.decode(packet, &mut out).expect("sound");
            let power = |of: usize| out.iter().skip(of).step_by(2).map(|sample| sample * sample).sum::<f32>();
            (left, right) = (left + power(0), right + power(1));
        }
        assert!(left > 500.0 && right < left / 100.0, "{left} {right}");
    }

    #[test]
    fn no_packet_is_longer_than_the_limit_and_all_are_decoded() {
        let mut random = 1_u64;
        let mut noise = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 40) as f32 / 16_777_216.0 - 0.5
        };
        for millis in [10, 20, 60] {
            let frame = Duration::from_millis(millis);
            let settings = Settings { mode: Mode::Music, channels: 2, bitrate: 510_000, frame, ..Settings::default() };
            let mut encoder = Encoder::new(settings).expect("an encoder");
            encoder.limit(700);
            for _ in 0..20 {
                let sound: Vec<f32> = (0..2 * encoder.frame()).map(|_| noise()).collect();
                let frame = encoder.frame();
                let packet = encoder.encode(&sound).expect("a packet");
                assert!(packet.len() <= 700 && crate::packet_samples(packet) == Some(frame), "{}", packet.len());
            }
        }
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
