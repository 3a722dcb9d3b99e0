//! The voice lane: what one `audio-pipe` sends to another, one datagram each (RFC 3550's ideas in fewer bytes).
//!
//! ```text
//! frame         | flags 1 | stream 1 | seq 2 | level 1 | time 1..5 | opus |
//! with copies   | flags 1 | stream 1 | seq 2 | level 1 | time 1..5 | len 1..2 | opus | copy | copy ..
//! copy          | back 1 | len 1..2 | opus |
//! report        | 0x80 | report |
//! ```
//! Every byte is sent a hundred times a second to everybody, so a frame says no length that the datagram says. The flags' bit
//! 0x40 tells that copies follow; `seq` is big-endian; times, lengths and the report are as postcard has them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::DecodeError;

/// A voice packet is at most this long, so that it fits one QUIC datagram on every path.
pub const MAX_PACKET: usize = 1100;

/// The first byte of a report; a frame's has this bit clear.
const REPORT: u8 = 0x80;
/// Among the flags: copies follow.
const COPIES: u8 = 0x40;
/// The flags that [`Flags`] may have.
const FLAGS: u8 = !(REPORT | COPIES);

/// One datagram of the voice lane; borrows from the bytes that it was decoded from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Voice<'a> {
    /// A frame of sound.
    Frame(Frame<'a>),
    /// What the receiver of a stream sees of it; steers the sender.
    Report(Report),
}

/// A frame of sound, with copies of earlier ones against loss.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// Which stream of the sender; a new number means a new start of everything below.
    pub stream: u8,
    /// Counts the frames of a stream, wrapping.
    pub seq: u16,
    /// When the first sample of the frame was heard.
    pub time: MediaTime,
    /// What there is to know of the frame beside its sound.
    pub flags: Flags,
    /// Level in -dBov, 0 (loudest) to 127 (silence), as in RFC 6464.
    pub level: u8,
    /// One Opus packet (RFC 6716); its TOC byte tells the frame's duration.
    pub opus: &'a [u8],
    /// Copies of earlier frames.
    pub copies: Vec<Copy<'a>>,
}

/// A frame that was sent before, once more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Copy<'a> {
    /// How many frames before the carrying one.
    pub back: u8,
    /// The same Opus packet.
    pub opus: &'a [u8],
}

/// The sender's sample clock in units of 2.5 ms, wrapping after 124 days; starts anywhere.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct MediaTime(pub u32);

impl MediaTime {
    /// One unit.
    pub const UNIT: Duration = Duration::from_micros(2500);

    /// This time plus `units` of 2.5 ms.
    #[must_use]
    pub fn plus(self, units: u32) -> Self {
        Self(self.0.wrapping_add(units))
    }

    /// Units from `earlier` to this time, negative if it is later.
    pub fn since(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }
}

/// Bits that go with a frame, of which the two highest are not sent.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Flags(pub u8);

impl Flags {
    /// The first frame after silence: the receiver may set its delay anew.
    pub const TALKSPURT_START: Self = Self(1);
    /// The last frame before silence: what is missing after it is not lost.
    pub const TALKSPURT_END: Self = Self(2);
    /// The speaker has muted the microphone.
    pub const MUTED: Self = Self(4);
    /// The stream ends with this frame.
    pub const STREAM_END: Self = Self(8);
    /// The speaker records what it hears.
    pub const RECORDING: Self = Self(0x10);
    /// The speaker hears nobody.
    pub const DEAFENED: Self = Self(0x20);

    /// Both sets of bits.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These bits, but none of `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all bits of `other` are set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What a receiver sees of one stream, sent every 200 ms.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Report {
    /// The stream that is reported on.
    pub stream: u8,
    /// The highest sequence number seen.
    pub highest: u16,
    /// Frames that the network lost since the last report, in tenths of a percent.
    pub loss_permille: u16,
    /// Mean length of the gaps, in tenths of a frame.
    pub burst_tenths: u16,
    /// Frames that came after their time, in tenths of a percent.
    pub late_permille: u16,
    /// The 98th percentile of the delay above the minimum, in milliseconds.
    pub jitter_ms: u16,
    /// What the buffer aims at, in milliseconds.
    pub buffer_ms: u16,
    /// Sound that was made up since the last report, in milliseconds.
    pub concealed_ms: u16,
}

impl<'a> Voice<'a> {
    /// The datagram's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Frame(frame) => frame.to_bytes(),
            Self::Report(report) => [&[REPORT], &crate::encode(report)[..]].concat(),
        }
    }

    /// Reads a datagram.
    ///
    /// # Errors
    /// [`DecodeError`] if it is too long or no voice packet.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "voice packet";
        if bytes.len() > MAX_PACKET {
            return Err(DecodeError::TooLong { what: WHAT, len: bytes.len(), max: MAX_PACKET });
        }
        let voice = match bytes.split_first() {
            Some((&REPORT, report)) => postcard::from_bytes(report).ok().map(Self::Report),
            Some((first, rest)) if first & REPORT == 0 => Frame::read(*first, rest).map(Self::Frame),
            _ => None,
        };
        voice.ok_or(DecodeError::Malformed { what: WHAT, len: bytes.len() })
    }
}

impl<'a> Frame<'a> {
    fn to_bytes(&self) -> Vec<u8> {
        let copies = if self.copies.is_empty() { 0 } else { COPIES };
        let [high, low] = self.seq.to_be_bytes();
        let mut bytes = vec![self.flags.0 & FLAGS | copies, self.stream, high, low, self.level];
        bytes.extend(crate::encode(&self.time));
        if self.copies.is_empty() {
            bytes.extend_from_slice(self.opus);
            return bytes;
        }
        bytes.extend(crate::encode(&self.opus));
        for copy in &self.copies {
            bytes.push(copy.back);
            bytes.extend(crate::encode(&copy.opus));
        }
        bytes
    }

    fn read(first: u8, rest: &'a [u8]) -> Option<Self> {
        let (&[stream, high, low, level], rest) = rest.split_first_chunk()?;
        let (time, mut rest) = postcard::take_from_bytes(rest).ok()?;
        let (mut opus, mut copies) = (rest, Vec::new());
        if first & COPIES != 0 {
            (opus, rest) = postcard::take_from_bytes(rest).ok()?;
            while let Some((&back, after)) = rest.split_first() {
                let (opus, after) = postcard::take_from_bytes(after).ok()?;
                copies.push(Copy { back, opus });
                rest = after;
            }
        }
        let seq = u16::from_be_bytes([high, low]);
        Some(Self { stream, seq, time, flags: Flags(first & FLAGS), level, opus, copies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame<'a>(copies: Vec<Copy<'a>>) -> Voice<'a> {
        Voice::Frame(Frame {
            stream: 1,
            seq: 300,
            time: MediaTime(300),
            flags: Flags::TALKSPURT_START,
            level: 20,
            opus: &[0xAA, 0xBB],
            copies,
        })
    }

    #[test]
    fn frame_bytes() {
        let alone = frame(Vec::new());
        let bytes = alone.to_bytes();
        assert_eq!(bytes, [1, 1, 1, 0x2C, 20, 0xAC, 2, 0xAA, 0xBB]);
        assert_eq!(Voice::from_bytes(&bytes), Ok(alone));

        let with_copies = frame(vec![Copy { back: 2, opus: &[0xCC] }, Copy { back: 4, opus: &[] }]);
        let bytes = with_copies.to_bytes();
        assert_eq!(bytes, [0x41, 1, 1, 0x2C, 20, 0xAC, 2, 2, 0xAA, 0xBB, 2, 1, 0xCC, 4, 0]);
        assert_eq!(Voice::from_bytes(&bytes), Ok(with_copies));
    }

    #[test]
    fn every_flag_is_a_bit_of_the_first_byte() {
        let rows = [
            (Flags::TALKSPURT_START, 1),
            (Flags::TALKSPURT_END, 2),
            (Flags::MUTED, 4),
            (Flags::STREAM_END, 8),
            (Flags::RECORDING, 0x10),
            (Flags::DEAFENED, 0x20),
        ];
        for (flags, bit) in rows {
            let bytes = Voice::Frame(Frame { flags, ..silence() }).to_bytes();
            assert_eq!(bytes[0], bit);
            assert_eq!(Voice::from_bytes(&bytes), Ok(Voice::Frame(Frame { flags, ..silence() })));
        }
    }

    fn silence() -> Frame<'static> {
        let (time, flags) = (MediaTime(0), Flags::default());
        Frame { stream: 1, seq: 0, time, flags, level: 127, opus: &[0xF8], copies: Vec::new() }
    }

    #[test]
    fn report_bytes() {
        let report = Voice::Report(Report { stream: 1, highest: 300, buffer_ms: 40, ..Report::default() });
        let bytes = report.to_bytes();
        assert_eq!(bytes, [0x80, 1, 0xAC, 2, 0, 0, 0, 0, 40, 0]);
        assert_eq!(Voice::from_bytes(&bytes), Ok(report));
    }

    #[test]
    fn a_hostile_packet_is_an_error_and_allocates_no_more_than_it_has() {
        for hostile in [&[][..], &[0x80], &[0x81, 1, 0, 0, 0, 0], &[0, 1, 2, 3], &[0x40, 1, 0, 0, 0, 1, 2, 0xAA]] {
            assert!(Voice::from_bytes(hostile).is_err(), "{hostile:?}");
        }
        assert!(Voice::from_bytes(&[0x40, 1, 0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]).is_err());
        assert!(Voice::from_bytes(&[0; MAX_PACKET + 1]).is_err());
    }

    #[test]
    fn media_time_wraps() {
        let late = MediaTime(u32::MAX - 1);
        assert_eq!(late.plus(4).since(late), 4);
        assert_eq!(late.since(late.plus(4)), -4);
    }
}
