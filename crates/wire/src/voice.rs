//! The voice lane: what one `audio-pipe` sends to another, one datagram each (RFC 3550's ideas in fewer bytes).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::DecodeError;

/// A voice packet is at most this long, so that it fits one QUIC datagram on every path.
pub const MAX_PACKET: usize = 1100;

/// One datagram of the voice lane; borrows from the bytes that it was decoded from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Voice<'a> {
    /// A frame of sound.
    #[serde(borrow)]
    Frame(Frame<'a>),
    /// What the receiver of a stream sees of it; steers the sender.
    Report(Report),
}

/// A frame of sound, with copies of earlier ones against loss.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
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
    #[serde(borrow)]
    pub opus: &'a [u8],
    /// Copies of earlier frames.
    #[serde(borrow)]
    pub copies: Vec<Copy<'a>>,
}

/// A frame that was sent before, once more.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Copy<'a> {
    /// How many frames before the carrying one.
    pub back: u8,
    /// The same Opus packet.
    #[serde(borrow)]
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

/// Bits that go with a frame.
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

    /// Both sets of bits.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
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
        crate::encode(self)
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
        postcard::from_bytes(bytes).map_err(|_| DecodeError::Malformed { what: WHAT, len: bytes.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_bytes() {
        let frame = Voice::Frame(Frame {
            stream: 1,
            seq: 300,
            time: MediaTime(4),
            flags: Flags::TALKSPURT_START,
            level: 20,
            opus: &[0xAA, 0xBB],
            copies: vec![Copy { back: 2, opus: &[0xCC] }],
        });
        let bytes = frame.to_bytes();
        assert_eq!(bytes, [0, 1, 0xAC, 2, 4, 1, 20, 2, 0xAA, 0xBB, 1, 2, 1, 0xCC]);
        assert_eq!(Voice::from_bytes(&bytes), Ok(frame));
    }

    #[test]
    fn a_hostile_packet_is_an_error_and_allocates_no_more_than_it_has() {
        assert!(Voice::from_bytes(&[]).is_err());
        assert!(Voice::from_bytes(&[0, 1, 1, 1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]).is_err());
        assert!(Voice::from_bytes(&[0; MAX_PACKET + 1]).is_err());
    }

    #[test]
    fn media_time_wraps() {
        let late = MediaTime(u32::MAX - 1);
        assert_eq!(late.plus(4).since(late), 4);
        assert_eq!(late.since(late.plus(4)), -4);
    }
}
