//! Early voice: what two members say to each other from the moment they know each other until their session is secure.
//!
//! ```text
//! 0      1                   9                            n-16        n
//! | 0x14 | packet number     | sealed packet of the voice | AEAD tag |
//! |      |                   | lane (crate::voice)        |          |
//! ```
//! The number is big-endian. It is the AEAD nonce, and counts the packets of one direction; a receiver accepts each number
//! once. The bytes in front of the sealed part are authenticated. Whose packet it is follows from the way that it came: from
//! the address that passed a check, or from the seat or the grant that a frame names.

use crate::{datagram, voice};

/// Bytes in front of the sealed part; all of them are authenticated.
pub const HEADER: usize = 9;
/// Bytes of the AEAD tag behind the sealed part.
pub const AEAD_TAG: usize = 16;
/// No datagram of early voice is longer; it fits a relay frame.
pub const MAX: usize = HEADER + voice::MAX_PACKET + AEAD_TAG;

/// The clear part of a datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// Counts the packets of this direction in these runs of both members.
    pub number: u64,
}

impl Header {
    /// The header's bytes.
    pub fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [datagram::EARLY_VOICE; HEADER];
        bytes[1..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    /// Splits a datagram into header, the header's bytes, and the sealed part; `None` if it can't be early voice.
    pub fn split(datagram: &[u8]) -> Option<(Self, &[u8], &[u8])> {
        let is_long_enough = datagram.len() > HEADER + AEAD_TAG;
        if !is_long_enough || datagram.len() > MAX || datagram[0] != datagram::EARLY_VOICE {
            return None;
        }
        let (head, sealed) = datagram.split_at(HEADER);
        let number = u64::from_be_bytes(head[1..].try_into().ok()?);
        Some((Self { number }, head, sealed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_bytes() {
        let bytes = Header { number: 0x0102 }.to_bytes();
        assert_eq!(bytes, [20, 0, 0, 0, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let header = Header { number: u64::MAX - 7 };
        let datagram = [&header.to_bytes()[..], &[9; AEAD_TAG + 1]].concat();
        assert_eq!(Header::split(&datagram), Some((header, &header.to_bytes()[..], &[9; AEAD_TAG + 1][..])));
    }

    #[test]
    fn what_is_too_short_or_too_long_or_begins_otherwise_is_no_early_voice() {
        for len in [0, 1, HEADER, HEADER + AEAD_TAG, MAX + 1] {
            assert_eq!(Header::split(&vec![datagram::EARLY_VOICE; len]), None, "{len} bytes");
        }
        assert!(Header::split(&[datagram::EARLY_VOICE; HEADER + AEAD_TAG + 1]).is_some());
        assert!(Header::split(&[datagram::EARLY_VOICE; MAX]).is_some());
        assert_eq!(Header::split(&[datagram::CHECK; HEADER + AEAD_TAG + 1]), None);
    }

    const _: () = assert!(MAX <= crate::relay::MAX_SEALED, "the longest one fits a relay frame");
}
