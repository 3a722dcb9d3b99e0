//! Member relay: how a session's packets travel between two members by way of a third, who has direct paths to both.
//!
//! ```text
//! up    | 0x1a | grant 8 | sealed |      from a member, to the one that lends
//! down  | 0x1b | grant 8 | sealed |      from the one that lends, to the other member
//! ```
//! A grant is a random number, big-endian, that the lender gives for an ordered pair ([`Lend`]): upwards it names the pair
//! of sender and receiver, downwards the same pair turned round, so that each of the two sees its own numbers only. A
//! frame names no address, and the lender sends as much as it gets. It does not look into the sealed part.

use serde::{Deserialize, Serialize};

use crate::{
    IdentityKey,
    datagram::{LEND_DOWN, LEND_UP},
};

/// Bytes in front of the sealed part, in both directions.
pub const HEADER: usize = 9;
/// The longest sealed part: what fits a frame of the rendezvous' relay fits here, too.
pub const MAX_SEALED: usize = crate::relay::MAX_SEALED;
/// Grants that one message may list.
pub const MAX_GRANTS: usize = 64;

/// From a member that lends, on the control lane: all those whom it carries the receiver's packets to. It replaces what was
/// said before; an empty list ends it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Lend {
    /// At most [`MAX_GRANTS`].
    pub grants: Vec<Grant>,
}

/// The right to send to one other member by way of the lender.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Grant {
    /// Whom it leads to.
    pub to: IdentityKey,
    /// Random; goes into each frame.
    pub number: u64,
}

/// A frame to the lender.
pub fn up(number: u64, sealed: &[u8]) -> Vec<u8> {
    frame(LEND_UP, number, sealed)
}

/// A frame from the lender.
pub fn down(number: u64, sealed: &[u8]) -> Vec<u8> {
    frame(LEND_DOWN, number, sealed)
}

fn frame(kind: u8, number: u64, sealed: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + sealed.len());
    frame.push(kind);
    frame.extend_from_slice(&number.to_be_bytes());
    frame.extend_from_slice(sealed);
    frame
}

/// Splits a frame of either direction into the grant's number and the sealed part; `None` if it can't be one.
pub fn split(datagram: &[u8]) -> Option<(u64, &[u8])> {
    let (head, sealed) = datagram.split_at_checked(HEADER)?;
    let (kind, number) = head.split_first()?;
    let is_frame = [LEND_UP, LEND_DOWN].contains(kind) && (1..=MAX_SEALED).contains(&sealed.len());
    is_frame.then_some((u64::from_be_bytes(number.try_into().ok()?), sealed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_bytes() {
        assert_eq!(up(0x0102_0304_0506_0708, b"xy"), [26, 1, 2, 3, 4, 5, 6, 7, 8, b'x', b'y']);
        assert_eq!(down(9, b"z"), [27, 0, 0, 0, 0, 0, 0, 0, 9, b'z']);
    }

    #[test]
    fn message_bytes() {
        let lend = Lend { grants: vec![Grant { to: IdentityKey([7; 32]), number: 300 }] };
        assert_eq!(crate::encode(&lend), [&[1][..], &[7; 32], &[0xac, 2]].concat());
        assert_eq!(crate::encode(&Lend::default()), [0]);
    }

    #[test]
    fn what_is_put_together_comes_apart_again_and_nothing_else_does() {
        assert_eq!(split(&up(7, b"xy")), Some((7, b"xy".as_slice())));
        assert_eq!(split(&down(8, b"z")), Some((8, b"z".as_slice())));
        let whole = up(7, b"x");
        for len in 0..whole.len() {
            assert_eq!(split(&whole[..len]), None, "{len} bytes");
        }
        assert!(split(&up(7, &[0; MAX_SEALED])).is_some());
        assert_eq!(split(&up(7, &[0; MAX_SEALED + 1])), None);
        assert_eq!(split(&crate::relay::up(7, crate::MemberSlot(1), b"xy")), None);
    }
}
