//! Path checks: the small sealed datagrams with which two members find out which addresses work between them.
//!
//! ```text
//! 0      1            5                  13                        n-16        n
//! | 0x10 | sender tag | packet number    | sealed Check (postcard) | AEAD tag |
//! ```
//! Tag and number are big-endian. The tag is derived from the pair's keys: it tells the receiver whose keys to try and
//! tells nobody else anything. The packet number is the AEAD nonce; a receiver accepts each number once.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::datagram;

/// Bytes in front of the sealed part; all of them are authenticated.
pub const HEADER: usize = 13;
/// Bytes of the AEAD tag behind the sealed part.
pub const AEAD_TAG: usize = 16;
/// No check is longer.
pub const MAX: usize = 96;

/// What a check says.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Check {
    /// Sent to every candidate; an authentic one is answered to the address that it came from.
    Ping {
        /// Picked by the sender, unique per ping.
        txid: u32,
    },
    /// Answers one ping.
    Pong {
        /// That of the ping.
        txid: u32,
        /// Where the ping came from, as its receiver saw it (RFC 8445's peer-reflexive address); `None` if it was relayed.
        observed: Option<SocketAddr>,
    },
}

/// The clear part of a check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// Names the sender to this receiver alone.
    pub tag: u32,
    /// Counts the checks from this sender to this receiver in this run.
    pub number: u64,
}

impl Header {
    /// The header's bytes.
    pub fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = datagram::CHECK;
        bytes[1..5].copy_from_slice(&self.tag.to_be_bytes());
        bytes[5..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    /// Splits a datagram into header, the header's bytes, and the sealed part; `None` if it can't be a check.
    pub fn split(datagram: &[u8]) -> Option<(Self, &[u8], &[u8])> {
        if datagram.len() > MAX || datagram.len() < HEADER + AEAD_TAG || datagram[0] != datagram::CHECK {
            return None;
        }
        let (head, sealed) = datagram.split_at(HEADER);
        let tag = u32::from_be_bytes(head[1..5].try_into().ok()?);
        let number = u64::from_be_bytes(head[5..].try_into().ok()?);
        Some((Self { tag, number }, head, sealed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decode, encode};

    #[test]
    fn header_bytes() {
        let bytes = Header { tag: 0x0102_0304, number: 5 }.to_bytes();
        assert_eq!(bytes, [16, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 5]);
    }

    #[test]
    fn check_bytes() {
        let ping = Check::Ping { txid: 7 };
        assert_eq!(encode(&ping), [0, 7]);
        let pong = Check::Pong { txid: 7, observed: "203.0.113.7:40112".parse().ok() };
        assert_eq!(encode(&pong), [1, 7, 1, 0, 203, 0, 113, 7, 0xb0, 0xb9, 2]);
        assert_eq!(decode::<Check>("check", &encode(&pong)), Ok(pong));
    }

    #[test]
    fn a_datagram_that_is_too_short_or_too_long_is_no_check() {
        for len in [0, 1, HEADER, HEADER + AEAD_TAG - 1, MAX + 1, 1500] {
            assert_eq!(Header::split(&vec![datagram::CHECK; len]), None, "{len} bytes");
        }
        assert!(Header::split(&[datagram::CHECK; HEADER + AEAD_TAG]).is_some());
    }
}
