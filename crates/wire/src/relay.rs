//! Relay frames: how a session's packets travel between two members by way of their rendezvous, on its UDP port.
//!
//! ```text
//! up    | 0x18 | session 8 | to 2 | sealed |                      from a member, to one other
//!       | 0x18 | session 8 | 0xffff | n 1 | n x to 2 | sealed |   to several others at once
//! down  | 0x19 | from 2 | sealed |                                to a member
//! ```
//! Numbers are big-endian. The session is a secret between the member and the rendezvous ([`crate::signal::RelayGrant`]);
//! `to` and `from` are seats of the one channel that the session belongs to, so a frame can name no address. The
//! rendezvous does not look into the sealed part.

use crate::{
    MemberSlot,
    datagram::{RELAY_DOWN, RELAY_UP},
};

/// Bytes that a frame to one member has in front of the sealed part.
pub const UP_HEADER: usize = 11;
/// Bytes that a frame from the relay has in front of the sealed part.
pub const DOWN_HEADER: usize = 3;
/// The longest sealed part, so that a frame fits [`crate::datagram::MAX_DATAGRAM`].
pub const MAX_SEALED: usize = 1232;
/// Members that one frame can be for.
pub const MAX_FAN_OUT: usize = 32;

/// Stands in the place of a seat when a list of them follows; no member sits there.
const SEVERAL: u16 = 0xffff;

/// A frame on its way to the relay.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Up<'a> {
    /// Whose it is.
    pub session: u64,
    /// Whom it is for.
    pub to: Receivers<'a>,
    /// What is forwarded, unread.
    pub sealed: &'a [u8],
}

/// The seats that a frame is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Receivers<'a>(&'a [u8]);

impl Receivers<'_> {
    /// Each seat, in the order of the frame; a seat may come twice.
    pub fn seats(&self) -> impl ExactSizeIterator<Item = MemberSlot> + '_ {
        self.0.chunks_exact(2).map(|seat| MemberSlot(u16::from_be_bytes([seat[0], seat[1]])))
    }
}

impl<'a> Up<'a> {
    /// Splits a datagram; `None` if it can't be a frame to the relay.
    pub fn split(datagram: &'a [u8]) -> Option<Self> {
        let (head, rest) = datagram.split_at_checked(UP_HEADER - 2)?;
        let (&kind, session) = head.split_first()?;
        if kind != RELAY_UP {
            return None;
        }
        let session = u64::from_be_bytes(session.try_into().ok()?);
        let (to, sealed) = rest.split_at_checked(2)?;
        let (to, sealed) = if to == SEVERAL.to_be_bytes() { split_list(sealed)? } else { (to, sealed) };
        (1..=MAX_SEALED).contains(&sealed.len()).then_some(Self { session, to: Receivers(to), sealed })
    }
}

fn split_list(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&count, rest) = rest.split_first()?;
    let count = usize::from(count);
    if !(1..=MAX_FAN_OUT).contains(&count) {
        return None;
    }
    rest.split_at_checked(2 * count)
}

/// A frame to the relay, for one member.
pub fn up(session: u64, to: MemberSlot, sealed: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(UP_HEADER + sealed.len());
    frame.push(RELAY_UP);
    frame.extend_from_slice(&session.to_be_bytes());
    frame.extend_from_slice(&to.0.to_be_bytes());
    frame.extend_from_slice(sealed);
    frame
}

/// A frame to the relay, for several members: at least one and at most [`MAX_FAN_OUT`]; seats beyond that are left out.
pub fn fan_out(session: u64, to: &[MemberSlot], sealed: &[u8]) -> Vec<u8> {
    let to = &to[..to.len().min(MAX_FAN_OUT)];
    let mut frame = up(session, MemberSlot(SEVERAL), &[to.len() as u8]);
    frame.extend(to.iter().flat_map(|seat| seat.0.to_be_bytes()));
    frame.extend_from_slice(sealed);
    frame
}

/// The head of a frame from the relay; the sealed part follows it.
pub fn down_header(from: MemberSlot) -> [u8; DOWN_HEADER] {
    let [high, low] = from.0.to_be_bytes();
    [RELAY_DOWN, high, low]
}

/// Splits a datagram into the sender's seat and the sealed part; `None` if it can't be a frame from a relay.
pub fn split_down(datagram: &[u8]) -> Option<(MemberSlot, &[u8])> {
    let (head, sealed) = datagram.split_at_checked(DOWN_HEADER)?;
    let is_frame = head[0] == RELAY_DOWN && (1..=MAX_SEALED).contains(&sealed.len());
    is_frame.then_some((MemberSlot(u16::from_be_bytes([head[1], head[2]])), sealed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_bytes() {
        let frame = up(0x0102_0304_0506_0708, MemberSlot(9), b"xy");
        assert_eq!(frame, [24, 1, 2, 3, 4, 5, 6, 7, 8, 0, 9, b'x', b'y']);
        let frame = fan_out(1, &[MemberSlot(2), MemberSlot(0x103)], b"z");
        assert_eq!(frame, [24, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 2, 0, 2, 1, 3, b'z']);
        assert_eq!(down_header(MemberSlot(0x203)), [25, 2, 3]);
    }

    #[test]
    fn what_is_put_together_comes_apart_again() {
        let frame = up(7, MemberSlot(9), b"xy");
        let split = Up::split(&frame).expect("a frame");
        assert_eq!((split.session, split.sealed), (7, b"xy".as_slice()));
        assert_eq!(split.to.seats().collect::<Vec<_>>(), [MemberSlot(9)]);

        let seats = [MemberSlot(2), MemberSlot(3), MemberSlot(2)];
        let frame = fan_out(7, &seats, b"xy");
        let split = Up::split(&frame).expect("a frame");
        assert_eq!((split.to.seats().collect::<Vec<_>>(), split.sealed), (seats.to_vec(), b"xy".as_slice()));

        let down = [down_header(MemberSlot(4)).as_slice(), b"xy"].concat();
        assert_eq!(split_down(&down), Some((MemberSlot(4), b"xy".as_slice())));
    }

    #[test]
    fn what_is_too_short_too_long_or_for_nobody_is_no_frame() {
        let whole = fan_out(7, &[MemberSlot(2), MemberSlot(3)], b"x");
        for len in 0..whole.len() {
            assert_eq!(Up::split(&whole[..len]), None, "{len} bytes");
        }
        assert_eq!(Up::split(&up(7, MemberSlot(1), &[0; MAX_SEALED + 1])), None);
        assert!(Up::split(&up(7, MemberSlot(1), &[0; MAX_SEALED])).is_some());
        assert_eq!(Up::split(&fan_out(7, &[], b"x")), None, "nobody");
        let too_many = [up(7, MemberSlot(SEVERAL), &[MAX_FAN_OUT as u8 + 1]), vec![0; 200]].concat();
        assert_eq!(Up::split(&too_many), None);
        assert_eq!(Up::split(&down_header(MemberSlot(1))), None);
        assert_eq!(split_down(&down_header(MemberSlot(1))), None);
        assert_eq!(split_down(&[]), None);
    }
}
