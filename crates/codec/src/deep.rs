use std::ffi::c_int;
use std::ptr::NonNull;

use opusic_sys as sys;

use crate::{Error, RATE, check, describe};

/// What one packet says of the sound before it by deep redundancy (DRED), ready to be made sound of.
#[derive(Debug)]
pub(crate) struct Deep {
    decoder: NonNull<sys::OpusDREDDecoder>,
    dred: NonNull<sys::OpusDRED>,
    /// The packet that was read last.
    packet: Vec<u8>,
    reach: usize,
}

// SAFETY: both are blocks of memory that only this value points to; libopus keeps no thread-local data.
#[allow(unsafe_code, reason = "no safe crate decodes DRED at any place")]
unsafe impl Send for Deep {}

impl Deep {
    /// Has read nothing yet.
    ///
    /// # Errors
    /// [`Error::Opus`] if there is no memory.
    #[allow(unsafe_code, reason = "no safe crate decodes DRED at any place")]
    pub(crate) fn new() -> Result<Self, Error> {
        let mut error = sys::OPUS_OK;
        // SAFETY: the only pointer is to a local that lives through the call.
        let decoder = unsafe { sys::opus_dred_decoder_create(&raw mut error) };
        let decoder = NonNull::new(decoder).ok_or_else(|| describe(error))?;
        // SAFETY: as above.
        let dred = unsafe { sys::opus_dred_alloc(&raw mut error) };
        let Some(dred) = NonNull::new(dred) else {
            // SAFETY: it is live, and nothing uses it after this.
            unsafe { sys::opus_dred_decoder_destroy(decoder.as_ptr()) };
            return Err(describe(error));
        };
        Ok(Self { decoder, dred, packet: Vec::new(), reach: 0 })
    }

    /// Reads `packet` unless it is the one that was read last, and tells how many samples before it are covered.
    #[allow(unsafe_code, reason = "no safe crate decodes DRED at any place")]
    pub(crate) fn read(&mut self, packet: &[u8]) -> usize {
        if self.packet == packet {
            return self.reach;
        }
        self.packet.clear();
        self.packet.extend_from_slice(packet);
        self.reach = 0;
        let Ok(len) = i32::try_from(packet.len()) else { return 0 };
        let rate = RATE as i32;
        let mut end: c_int = 0;
        // SAFETY: both states are live and borrowed mutably, the bytes are `len` long, `end` lives through the call.
        let reach = unsafe {
            let (decoder, dred) = (self.decoder.as_ptr(), self.dred.as_ptr());
            sys::opus_dred_parse(decoder, dred, packet.as_ptr(), len, rate, rate, &raw mut end, 0)
        };
        self.reach = usize::try_from(reach).unwrap_or(0);
        self.reach
    }

    /// Fills `out` with the sound that begins `before` samples before the packet that was read.
    #[allow(unsafe_code, reason = "no safe crate decodes DRED at any place")]
    pub(crate) fn decode(
        &self,
        decoder: NonNull<sys::OpusDecoder>,
        before: usize,
        out: &mut [f32],
        channels: usize,
    ) -> Result<usize, Error> {
        let room = (out.len() / channels) as i32;
        let before = i32::try_from(before).unwrap_or(i32::MAX);
        // SAFETY: the caller's decoder is live and not used meanwhile; the redundancy was read, which is what makes its
        // reach more than nothing; libopus writes at most `room` samples of each channel, and `out` has room for them.
        let samples = unsafe {
            sys::opus_decoder_dred_decode_float(decoder.as_ptr(), self.dred.as_ptr(), before, out.as_mut_ptr(), room)
        };
        check(samples).map(|()| samples.unsigned_abs() as usize)
    }
}

impl Drop for Deep {
    #[allow(unsafe_code, reason = "no safe crate decodes DRED at any place")]
    fn drop(&mut self) {
        // SAFETY: both are live, and nothing uses them after this.
        unsafe {
            sys::opus_dred_free(self.dred.as_ptr());
            sys::opus_dred_decoder_destroy(self.decoder.as_ptr());
        }
    }
}

/// Drops from a packet what is not the frame itself: padding, and with it deep redundancy.
///
/// # Errors
/// [`Error::NotOpus`] if it is no packet; it is then as it was.
pub fn strip(packet: &mut Vec<u8>) -> Result<(), Error> {
    let stripped = opus::packet::unpad(packet).map_err(|_| Error::NotOpus { len: packet.len() })?;
    packet.truncate(stripped);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Decoder, Encoder, Settings};

    const FRAME: usize = 960;

    fn settings(bitrate: u32, expected_loss: Option<u8>) -> Settings {
        let (frame, deep) = (Duration::from_millis(20), Duration::from_secs(1));
        Settings { bitrate, frame, expected_loss, deep, ..Settings::default() }
    }

    /// Like speech: syllables of changing pitch, with pauses.
    fn speech(samples: usize) -> Vec<f32> {
        let mut phase = 0.0f32;
        let sample = |n: usize| {
            let t = n as f32 / RATE as f32;
            phase += (140.0 + 40.0 * (t * 2.5).sin()) / RATE as f32;
            let loud = (t * 4.0 * std::f32::consts::TAU).sin().max(0.0);
            let harmonic = |h: usize| (phase * h as f32 * std::f32::consts::TAU).sin() / h as f32;
            0.2 * loud * (1..25).map(harmonic).sum::<f32>()
        };
        (0..samples).map(sample).collect()
    }

    fn packets(settings: Settings, seconds: usize) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new(settings).expect("an encoder");
        let sound = speech(seconds * RATE as usize);
        sound.chunks_exact(FRAME).map(|frame| encoder.encode(frame).expect("a packet").to_vec()).collect()
    }

    /// How far back packets tell of, once the encoder has heard enough, in milliseconds.
    fn reach_ms(settings: Settings) -> usize {
        let mut deep = Deep::new().expect("memory");
        let mut reaches: Vec<usize> = packets(settings, 4)[100..].iter().map(|packet| deep.read(packet)).collect();
        reaches.sort_unstable();
        reaches[reaches.len() / 2] * 1000 / RATE as usize
    }

    #[test]
    fn deep_redundancy_reaches_far_with_what_settings_ask_for_it_and_not_with_less() {
        let (bitrate, loss) = Settings::DEEP;
        for (bitrate, loss) in [(bitrate, loss), (bitrate, 25), (64_000, 25)] {
            let reach = reach_ms(settings(bitrate, Some(loss)));
            assert!(reach >= 240, "{bitrate} b/s, {loss} %: {reach} ms");
        }
        // The trap: the bits are spent, and next to nothing comes of them.
        for (bitrate, loss) in [(32_000, 20), (32_000, 10)] {
            let reach = reach_ms(settings(bitrate, Some(loss)));
            assert!(reach < 40, "{bitrate} b/s, {loss} %: {reach} ms, so the least settings may be lower");
        }
        assert_eq!(reach_ms(Settings { deep: Duration::ZERO, ..settings(64_000, Some(25)) }), 0);
    }

    #[test]
    fn what_a_later_packet_tells_sounds_more_like_what_was_lost_than_what_is_made_up() {
        let packets = packets(settings(64_000, Some(25)), 4);
        let play = |lost: std::ops::Range<usize>, is_deep: bool| {
            let mut decoder = Decoder::new().expect("a decoder");
            let mut heard = Vec::new();
            for (n, packet) in packets.iter().enumerate().take(150) {
                let mut out = [0.0; FRAME];
                match lost.contains(&n) {
                    false => decoder.decode(packet, &mut out),
                    true if is_deep => decoder.decode_deep(&packets[lost.end], (lost.end - n) * FRAME, &mut out),
                    true => decoder.conceal(&mut out),
                }
                .expect("a frame");
                heard.extend_from_slice(&out);
            }
            heard
        };
        let truth = play(0..0, false);
        let levels = |heard: &[f32]| -> Vec<f32> {
            let lost = &heard[120 * FRAME..128 * FRAME];
            lost.chunks(480).map(|part| part.iter().map(|s| s * s).sum::<f32>().sqrt()).collect()
        };
        let off = |heard: &[f32]| -> f32 {
            levels(heard).iter().zip(levels(&truth)).map(|(heard, truth)| (heard - truth).abs()).sum()
        };
        let (deep, made_up) = (off(&play(120..128, true)), off(&play(120..128, false)));
        assert!(deep < 0.6 * made_up, "{deep} against {made_up}");
    }

    #[test]
    fn what_a_packet_does_not_tell_is_an_error() {
        let packets = packets(settings(64_000, Some(25)), 3);
        let mut decoder = Decoder::new().expect("a decoder");
        let mut out = [0.0; FRAME];
        let packet = &packets[140];
        assert_eq!(decoder.decode_deep(packet, FRAME, &mut out), Ok(FRAME));
        assert!(matches!(decoder.decode_deep(packet, 96_000, &mut out), Err(Error::Reach { before: 96_000, .. })));
        assert!(matches!(decoder.decode_deep(&[8 << 3, 0], FRAME, &mut out), Err(Error::Reach { reach: 0, .. })));
        assert!(matches!(decoder.decode_deep(&[], FRAME, &mut out), Err(Error::Reach { reach: 0, .. })));
        assert_eq!(decoder.decode_deep(packet, FRAME, &mut out[..481]), Err(Error::Length { samples: 481 }));
    }

    #[test]
    fn damaged_redundancy_is_never_a_panic() {
        let packets = packets(settings(64_000, Some(25)), 3);
        let mut decoder = Decoder::new().expect("a decoder");
        let mut out = [0.0; FRAME];
        let mut random = 7_u64;
        for _ in 0..2000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut packet = packets[110 + (random >> 60) as usize].clone();
            let at = (random >> 32) as usize % packet.len();
            packet[at] ^= (random >> 24) as u8 | 1;
            packet.truncate(packet.len() - (random >> 16) as usize % 8);
            let before = (random >> 40) as usize % 60_000;
            let _ = decoder.decode_deep(&packet, before, &mut out);
            assert!(out.iter().all(|sample| sample.is_finite()));
        }
    }

    #[test]
    fn a_stripped_packet_is_the_frame_alone() {
        let packets = packets(settings(64_000, Some(25)), 3);
        let mut packet = packets[140].clone();
        strip(&mut packet).expect("a packet");
        assert!(packet.len() + 20 < packets[140].len(), "{} of {} bytes", packet.len(), packets[140].len());
        assert_eq!(Deep::new().expect("memory").read(&packet), 0);
        let decoded = |packet: &[u8]| {
            let mut out = [0.0; FRAME];
            Decoder::new().and_then(|mut decoder| decoder.decode(packet, &mut out)).expect("a frame");
            out
        };
        assert_eq!(decoded(&packet), decoded(&packets[140]));
        assert!(strip(&mut Vec::new()).is_err());
    }
}
