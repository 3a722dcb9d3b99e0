use std::ffi::c_int;
use std::ptr::{NonNull, null};

use opusic_sys as sys;

use crate::{Error, MAX_FRAME, RATE, check, deep::Deep, describe};

/// From 5 on lost frames are filled in by a neural network, from 6 on 20 ms frames of SILK are enhanced by one (LACE). From 7
/// on that is another one (NoLACE), which makes decoding take two to three times as long, for 0.02 of PESQ.
const PLAIN: c_int = 5;
const ENHANCING: c_int = 6;
/// Opus counts time in units of 2.5 ms.
const UNIT: usize = RATE as usize / 400;

/// Turns packets into sound, and the lack of packets into something that sounds like it.
#[derive(Debug)]
pub struct Decoder {
    state: NonNull<sys::OpusDecoder>,
    channels: usize,
    complexity: c_int,
    /// Made when the first frame is wanted of it.
    deep: Option<Deep>,
}

// SAFETY: a decoder's state is one block of memory that only this value points to; libopus keeps no thread-local data.
#[allow(unsafe_code, reason = "no safe crate reaches the decoder's complexity")]
unsafe impl Send for Decoder {}

impl Decoder {
    /// A mono decoder that has heard nothing yet; stereo packets are mixed down.
    ///
    /// # Errors
    /// [`Error::Opus`] if there is no memory.
    pub fn new() -> Result<Self, Error> {
        Self::with_channels(1)
    }

    /// A decoder of one or two channels, interleaved.
    ///
    /// # Errors
    /// [`Error::Opus`] if there is no memory or there are more channels.
    #[allow(unsafe_code, reason = "no safe crate reaches the decoder's complexity")]
    pub fn with_channels(channels: u8) -> Result<Self, Error> {
        let mut error = sys::OPUS_OK;
        // SAFETY: the only pointer is to a local that lives through the call.
        let state = unsafe { sys::opus_decoder_create(RATE as i32, c_int::from(channels), &raw mut error) };
        let state = NonNull::new(state).ok_or_else(|| describe(error))?;
        let mut decoder = Self { state, channels: channels.into(), complexity: 0, deep: None };
        decoder.set_complexity(PLAIN)?;
        Ok(decoder)
    }

    /// Decodes a packet to `out` and tells how many samples of each channel it had.
    ///
    /// # Errors
    /// [`Error::NotOpus`] if it is no packet, [`Error::Length`] if `out` is too short for it.
    pub fn decode(&mut self, packet: &[u8], out: &mut [f32]) -> Result<usize, Error> {
        let samples = packet_samples(packet).ok_or(Error::NotOpus { len: packet.len() })?;
        if out.len() < samples * self.channels {
            return Err(Error::Length { samples: out.len() });
        }
        self.run(Some(packet), out, false)
    }

    /// Fills `out`, as long as the lost frame was, from the copy that the packet after it carries; without a copy in it,
    /// the frame is made up.
    ///
    /// # Errors
    /// As [`Self::decode`] and [`Self::conceal`].
    pub fn decode_fec(&mut self, next: &[u8], out: &mut [f32]) -> Result<usize, Error> {
        packet_samples(next).ok_or(Error::NotOpus { len: next.len() })?;
        self.check_length(out)?;
        self.run(Some(next), out, true)
    }

    /// Fills `out` with the sound that began `before` samples before the packet `later`, from what that tells of it by
    /// deep redundancy.
    ///
    /// # Errors
    /// [`Error::Reach`] if it tells nothing of that time, [`Error::Length`] as [`Self::conceal`].
    pub fn decode_deep(&mut self, later: &[u8], before: usize, out: &mut [f32]) -> Result<usize, Error> {
        self.check_length(out)?;
        let (state, channels) = (self.state, self.channels);
        let deep = self.deep()?;
        let reach = deep.read(later);
        if before == 0 || before > reach {
            return Err(Error::Reach { before, reach });
        }
        deep.decode(state, before, out, channels)
    }

    /// How many samples before the packet `later` that tells of by deep redundancy.
    ///
    /// # Errors
    /// [`Error::Opus`] if there is no memory.
    pub fn deep_reach(&mut self, later: &[u8]) -> Result<usize, Error> {
        Ok(self.deep()?.read(later))
    }

    /// Fills `out`, as long as the lost frame was, with a guess at what was in it.
    ///
    /// # Errors
    /// [`Error::Length`] if `out` is no multiple of 2.5 ms up to 120 ms.
    pub fn conceal(&mut self, out: &mut [f32]) -> Result<usize, Error> {
        self.check_length(out)?;
        self.run(None, out, false)
    }

    /// Forgets what it has heard.
    #[allow(unsafe_code, reason = "no safe crate reaches the decoder's complexity")]
    pub fn reset(&mut self) {
        // SAFETY: the state is live, and this request takes nothing.
        unsafe { sys::opus_decoder_ctl(self.state.as_ptr(), sys::OPUS_RESET_STATE) };
    }

    fn deep(&mut self) -> Result<&mut Deep, Error> {
        match &mut self.deep {
            Some(deep) => Ok(deep),
            none => Ok(none.insert(Deep::new()?)),
        }
    }

    /// Enhances what can be enhanced. For shorter frames libopus would do no more than clear the network's memory, for each
    /// of them anew: a sixth of what decoding takes.
    fn follow(&mut self, packet: &[u8]) -> Result<(), Error> {
        let complexity = if is_enhanced(packet) { ENHANCING } else { PLAIN };
        if complexity == self.complexity { Ok(()) } else { self.set_complexity(complexity) }
    }

    #[allow(unsafe_code, reason = "no safe crate reaches the decoder's complexity")]
    fn set_complexity(&mut self, complexity: c_int) -> Result<(), Error> {
        // SAFETY: the state is live, and this request takes one int.
        check(unsafe { sys::opus_decoder_ctl(self.state.as_ptr(), sys::OPUS_SET_COMPLEXITY_REQUEST, complexity) })?;
        self.complexity = complexity;
        Ok(())
    }

    fn check_length(&self, out: &[f32]) -> Result<(), Error> {
        let unit = UNIT * self.channels;
        let fits = !out.is_empty() && out.len().is_multiple_of(unit) && out.len() <= MAX_FRAME * self.channels;
        if fits { Ok(()) } else { Err(Error::Length { samples: out.len() }) }
    }

    fn run(&mut self, packet: Option<&[u8]>, out: &mut [f32], fec: bool) -> Result<usize, Error> {
        packet.map_or(Ok(()), |packet| self.follow(packet))?;
        self.run_as_is(packet, out, fec)
    }

    #[allow(unsafe_code, reason = "no safe crate reaches the decoder's complexity")]
    fn run_as_is(&mut self, packet: Option<&[u8]>, out: &mut [f32], fec: bool) -> Result<usize, Error> {
        let (data, len) = packet.map_or((null(), 0), |p| (p.as_ptr(), p.len()));
        let not_opus = Error::NotOpus { len };
        let len = i32::try_from(len).map_err(|_| not_opus.clone())?;
        let room = c_int::try_from(out.len() / self.channels).unwrap_or(c_int::MAX);
        // SAFETY: the state is live and borrowed mutably; `data` is null with length 0 or points to `len` bytes; libopus
        // writes at most `room` samples of each channel, and `out` has room for them.
        let samples =
            unsafe { sys::opus_decode_float(self.state.as_ptr(), data, len, out.as_mut_ptr(), room, c_int::from(fec)) };
        match samples {
            sys::OPUS_INVALID_PACKET => Err(not_opus),
            _ => check(samples).map(|()| samples.unsigned_abs() as usize),
        }
    }
}

impl Drop for Decoder {
    #[allow(unsafe_code, reason = "no safe crate reaches the decoder's complexity")]
    fn drop(&mut self) {
        // SAFETY: the state is live, and nothing uses it after this.
        unsafe { sys::opus_decoder_destroy(self.state.as_ptr()) }
    }
}

/// How many samples of each channel a packet holds; `None` if it is no Opus packet.
pub fn packet_samples(packet: &[u8]) -> Option<usize> {
    let samples = opus::packet::get_nb_samples(packet, RATE).ok();
    samples.filter(|samples| *samples > 0 && *samples <= MAX_FRAME)
}

/// Whether there is SILK in a packet (RFC 6716, section 3.1), in frames of 20 ms or more.
fn is_enhanced(packet: &[u8]) -> bool {
    let has_silk = packet.first().is_some_and(|toc| toc & 0x80 == 0);
    has_silk && opus::packet::get_samples_per_frame(packet, RATE).is_ok_and(|samples| samples >= RATE as usize / 50)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Encoder, Settings};

    const FRAME: usize = 480;

    /// A way to fill in a lost frame.
    type Fill = fn(&mut Decoder, &[u8], &mut [f32]) -> Result<usize, Error>;

    #[test]
    fn what_is_decoded_is_what_was_encoded_a_look_ahead_later() {
        let mut encoder = Encoder::new(Settings::default()).expect("an encoder");
        let mut decoder = Decoder::new().expect("a decoder");
        let sound: Vec<f32> = (0..48_000).map(tone).collect();
        let mut heard = Vec::new();
        for frame in sound.chunks(FRAME) {
            let mut out = [0.0; FRAME];
            let samples = decoder.decode(encoder.encode(frame).expect("a packet"), &mut out);
            assert_eq!(samples, Ok(FRAME));
            heard.extend_from_slice(&out);
        }
        let lag = encoder.lookahead();
        assert_eq!(lag, 312);
        let (a, b) = (&sound[9600..40_000], &heard[9600 + lag..40_000 + lag]);
        assert!(likeness(a, b) > 0.9, "{}", likeness(a, b));
    }

    #[test]
    fn low_delay_is_decoded_as_any_other_sound_and_its_gaps_are_filled() {
        let settings = Settings {
            mode: crate::Mode::LowDelay,
            bitrate: 64_000,
            frame: std::time::Duration::from_millis(5),
            ..Settings::default()
        };
        let mut encoder = Encoder::new(settings).expect("an encoder");
        let mut decoder = Decoder::new().expect("a decoder");
        let sound: Vec<f32> = (0..48_000).map(tone).collect();
        let mut heard = Vec::new();
        for (n, frame) in sound.chunks(240).enumerate() {
            let mut out = [0.0; 240];
            let packet = encoder.encode(frame).expect("a packet");
            if n % 40 == 39 {
                // What a receiver conceals in its own units of 2.5 ms.
                assert_eq!(decoder.conceal(&mut out[..120]), Ok(120));
                assert_eq!(decoder.conceal(&mut out[120..]), Ok(120));
            } else {
                assert_eq!(decoder.decode(packet, &mut out), Ok(240));
            }
            heard.extend_from_slice(&out);
        }
        let lag = encoder.lookahead();
        let (a, b) = (&sound[9600..40_000], &heard[9600 + lag..40_000 + lag]);
        assert!(likeness(a, b) > 0.9, "{}", likeness(a, b));
    }

    #[test]
    fn what_is_heard_is_the_same_as_if_every_frame_were_enhanced_that_can_be() {
        let settings = Settings { bitrate: 16_000, ..Settings::default() };
        let mut encoder = Encoder::new(settings).expect("an encoder");
        let (mut decoder, mut always) = (Decoder::new().expect("a decoder"), Decoder::new().expect("a decoder"));
        always.set_complexity(ENHANCING).expect("complexity");
        let mut at = 0;
        let (mut seen, mut enhanced) = ([0, 0], 0);
        for millis in [10, 10, 20, 20, 20, 10, 20, 10, 10, 20, 40, 10].into_iter().cycle().take(240) {
            encoder.set_frame(std::time::Duration::from_millis(millis)).expect("a frame");
            let len = encoder.frame();
            let sound: Vec<f32> = (at..at + len).map(chirp).collect();
            at += len;
            let packet = encoder.encode(&sound).expect("a packet");
            let (mut heard, mut wanted) = (vec![0.0; len], vec![0.0; len]);
            decoder.decode(packet, &mut heard).expect("sound");
            always.run_as_is(Some(packet), &mut wanted, false).expect("sound");
            assert_eq!(heard, wanted, "at {at}");
            seen[usize::from(is_enhanced(packet))] += 1;
            enhanced += usize::from(decoder.complexity == ENHANCING);
        }
        assert!(seen.iter().all(|frames| *frames > 60) && enhanced == seen[1], "{seen:?} {enhanced}");
    }

    #[test]
    fn a_lost_frame_comes_back_from_its_successor_better_than_from_nothing() {
        let settings = Settings { expected_loss: Some(20), ..Settings::default() };
        let mut encoder = Encoder::new(settings).expect("an encoder");
        let packets: Vec<Vec<u8>> = (0..60_usize)
            .map(|n| {
                // A chirp: what is lost cannot be guessed from what was before.
                let frame: Vec<f32> = (0..FRAME).map(|i| chirp(n * FRAME + i)).collect();
                encoder.encode(&frame).expect("a packet").to_vec()
            })
            .collect();
        let play = |fill: Fill| {
            let mut decoder = Decoder::new().expect("a decoder");
            let mut heard = Vec::new();
            for (n, packet) in packets.iter().enumerate() {
                let mut out = [0.0; FRAME];
                let next = packets.get(n + 1).filter(|_| n % 4 == 3 && n > 20);
                match next {
                    Some(next) => fill(&mut decoder, next, &mut out),
                    None => decoder.decode(packet, &mut out),
                }
                .expect("a frame");
                heard.extend_from_slice(&out);
            }
            heard
        };
        let whole = play(|_, _, _| Ok(0));
        let repaired = play(Decoder::decode_fec);
        let guessed = play(|decoder, _, out| decoder.conceal(out));
        let truth: Vec<f32> = (0..whole.len()).map(|i| chirp(i.saturating_sub(312))).collect();
        let score = |heard: &[f32]| likeness(&truth[20 * FRAME..], &heard[20 * FRAME..]);
        assert!(score(&repaired) > score(&guessed), "{} {}", score(&repaired), score(&guessed));
        assert!(score(&guessed) > score(&whole), "{} {}", score(&guessed), score(&whole));
    }

    #[test]
    fn a_stereo_packet_is_no_more_than_a_mono_decoder_has_room_for() {
        let mut stereo =
            opus::Encoder::new(RATE, opus::Channels::Stereo, opus::Application::Audio).expect("an encoder");
        let packet = stereo.encode_vec_float(&[0.1; 2 * FRAME], 1000).expect("a packet");
        assert_eq!(Decoder::new().expect("a decoder").decode(&packet, &mut [0.0; FRAME]), Ok(FRAME));
        let mut two = Decoder::with_channels(2).expect("a decoder");
        assert_eq!(two.decode(&packet, &mut [0.0; FRAME]), Err(Error::Length { samples: FRAME }));
        assert_eq!(two.decode(&packet, &mut [0.0; 2 * FRAME]), Ok(FRAME));
    }

    #[test]
    fn bytes_that_are_no_packet_are_an_error_and_never_a_panic() {
        let mut decoder = Decoder::new().expect("a decoder");
        let mut out = [0.0; MAX_FRAME];
        assert_eq!(decoder.decode(&[], &mut out), Err(Error::NotOpus { len: 0 }));
        let mut random = 1_u64;
        for len in 1..600 {
            let bytes: Vec<u8> = (0..len)
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (random >> 56) as u8
                })
                .collect();
            let _ = decoder.decode(&bytes, &mut out);
            let _ = decoder.decode_fec(&bytes, &mut out[..FRAME]);
        }
    }

    #[test]
    fn concealment_needs_whole_units_of_time() {
        let mut decoder = Decoder::new().expect("a decoder");
        assert_eq!(decoder.conceal(&mut [0.0; 480]), Ok(480));
        assert_eq!(decoder.conceal(&mut []), Err(Error::Length { samples: 0 }));
        assert_eq!(decoder.conceal(&mut [0.0; 481]), Err(Error::Length { samples: 481 }));
        assert_eq!(decoder.conceal(&mut [0.0; MAX_FRAME + 120]), Err(Error::Length { samples: MAX_FRAME + 120 }));
    }

    fn tone(i: usize) -> f32 {
        let t = i as f32 / RATE as f32;
        0.3 * (t * 700.0 * std::f32::consts::TAU).sin() + 0.1 * (t * 1900.0 * std::f32::consts::TAU).sin()
    }

    fn chirp(i: usize) -> f32 {
        let t = i as f32 / RATE as f32;
        0.4 * ((200.0 + 800.0 * t) * t * std::f32::consts::TAU).sin()
    }

    fn likeness(a: &[f32], b: &[f32]) -> f32 {
        let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }
}
