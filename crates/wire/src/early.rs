//! Early joins: how a member that has met its rendezvous before takes its seat without waiting for a session.
//!
//! ```text
//! early join    0      1           77        101                  1184       1200
//!               | 0x12 | ticket 76 | nonce 24 | sealed Join, zeros | AEAD tag |
//! early answer  0      1                    n-16       n
//!               | 0x13 | sealed Joined      | AEAD tag |
//!
//! ticket        0          8                                                60         76
//!               | number 8 | sealed: identity key 32, IP address 16, until 4 | AEAD tag |
//! ```
//! The ticket is opaque to the member, as in RFC 8446, 4.6.1: the rendezvous sealed it for itself. Its number is the nonce of
//! that, and names the key that came with the ticket ([`crate::signal::Ticket`]); from that key follow the keys of join and
//! answer, and what the join's proof is made over in the place of a session's exporter value. The answer is sealed with the
//! nonce of the join. Numbers are big-endian, messages are postcard, and the IP address is an IPv6 one or a mapped IPv4 one.
//!
//! A join has the full length, so that its answer is never longer: that, and the address in the ticket, keep the rendezvous
//! from being aimed at others (RFC 9000, 8.1.3).

use crate::datagram::{EARLY_ANSWER, EARLY_JOIN};

/// Length of a ticket.
pub const TICKET: usize = 76;
/// Length of a join's nonce.
pub const NONCE: usize = 24;
/// Length of an AEAD tag.
pub const AEAD_TAG: usize = 16;
/// Length of an early join, and the most that an early answer may have.
pub const DATAGRAM: usize = 1200;
/// Bytes in front of the sealed join; all of them are authenticated.
pub const HEADER: usize = 1 + TICKET + NONCE;
/// The longest join that fits, and all that is sealed of one, zeros included.
pub const MAX_JOIN: usize = DATAGRAM - HEADER - AEAD_TAG;
/// The longest [`crate::signal::Joined`] that fits into an answer.
pub const MAX_JOINED: usize = DATAGRAM - 1 - AEAD_TAG;

/// The parts of an early join.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EarlyJoin<'a> {
    /// What the rendezvous sealed for itself.
    pub ticket: &'a [u8; TICKET],
    /// Not used twice with one key.
    pub nonce: &'a [u8; NONCE],
    /// The join and its tag.
    pub sealed: &'a [u8],
}

impl<'a> EarlyJoin<'a> {
    /// Splits a datagram; `None` if it can't be an early join.
    pub fn split(datagram: &'a [u8]) -> Option<Self> {
        if datagram.len() != DATAGRAM || datagram[0] != EARLY_JOIN {
            return None;
        }
        let (ticket, rest) = datagram[1..].split_first_chunk()?;
        let (nonce, sealed) = rest.split_first_chunk()?;
        Some(Self { ticket, nonce, sealed })
    }

    /// The bytes in front of the sealed part.
    pub fn header(ticket: &[u8; TICKET], nonce: &[u8; NONCE]) -> [u8; HEADER] {
        let mut header = [EARLY_JOIN; HEADER];
        header[1..=TICKET].copy_from_slice(ticket);
        header[1 + TICKET..].copy_from_slice(nonce);
        header
    }
}

/// The sealed part of an early answer with its tag; `None` if the datagram can't be one.
pub fn split_answer(datagram: &[u8]) -> Option<&[u8]> {
    let (&first, sealed) = datagram.split_first()?;
    (first == EARLY_ANSWER && sealed.len() > AEAD_TAG && datagram.len() <= DATAGRAM).then_some(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn join_bytes() {
        let mut datagram = vec![0; DATAGRAM];
        datagram[..HEADER].copy_from_slice(&EarlyJoin::header(&[7; TICKET], &[9; NONCE]));
        assert_eq!(datagram[..2], [18, 7]);
        assert_eq!(datagram[76..78], [7, 9]);
        assert_eq!(datagram[100..102], [9, 0]);
        let join = EarlyJoin::split(&datagram).unwrap();
        assert_eq!((join.ticket, join.nonce), (&[7; TICKET], &[9; NONCE]));
        assert_eq!(join.sealed.len(), MAX_JOIN + AEAD_TAG);
    }

    #[test]
    fn what_has_another_length_or_first_byte_is_no_early_join() {
        for len in [0, 1, HEADER, DATAGRAM - 1, DATAGRAM + 1] {
            assert_eq!(EarlyJoin::split(&vec![EARLY_JOIN; len]), None, "{len} bytes");
        }
        assert_eq!(EarlyJoin::split(&[EARLY_ANSWER; DATAGRAM]), None);
    }

    #[test]
    fn an_answer_has_something_sealed_and_is_no_longer_than_a_join() {
        assert_eq!(split_answer(&[]), None);
        assert_eq!(split_answer(&[EARLY_ANSWER; 1 + AEAD_TAG]), None);
        assert_eq!(split_answer(&[EARLY_ANSWER; DATAGRAM + 1]), None);
        assert_eq!(split_answer(&[EARLY_JOIN; 100]), None);
        assert_eq!(split_answer(&[EARLY_ANSWER; DATAGRAM]).map(<[u8]>::len), Some(MAX_JOINED + AEAD_TAG));
    }
}
