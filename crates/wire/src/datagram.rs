//! Which protocol a datagram on the shared UDP socket belongs to, told by its first byte (in the manner of RFC 7983).

/// First byte of a path check ([`crate::check`]).
pub const CHECK: u8 = 16;
/// First byte of a knock ([`crate::knock`]).
pub const KNOCK: u8 = 17;
/// First byte of an early join ([`crate::early`]).
pub const EARLY_JOIN: u8 = 18;
/// First byte of the answer to an early join ([`crate::early`]).
pub const EARLY_ANSWER: u8 = 19;
/// First byte of early voice ([`crate::early_voice`]).
pub const EARLY_VOICE: u8 = 20;
/// First byte of a relay frame on its way to the relay ([`crate::relay`]).
pub const RELAY_UP: u8 = 24;
/// First byte of a relay frame on its way from the relay ([`crate::relay`]).
pub const RELAY_DOWN: u8 = 25;
/// First byte of a frame on its way to a member that lends ([`crate::lend`]).
pub const LEND_UP: u8 = 26;
/// First byte of a frame on its way from a member that lends ([`crate::lend`]).
pub const LEND_DOWN: u8 = 27;

/// No datagram that we send is longer (QUIC's and relay framing's share of the IPv6 minimum MTU).
pub const MAX_DATAGRAM: usize = 1280;

/// The protocols that share the socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// RFC 8489.
    Stun,
    /// Checks, early joins, early voice and relay frames; the first byte tells which.
    Punchline,
    /// RFC 9000.
    Quic,
}

/// Tells the protocol of a datagram; `None` is nobody's and gets silence.
pub fn protocol(datagram: &[u8]) -> Option<Protocol> {
    match *datagram.first()? {
        0..=3 => Some(Protocol::Stun),
        16..=63 => Some(Protocol::Punchline),
        64..=127 | 192..=255 => Some(Protocol::Quic),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_tells_the_protocol() {
        for (first, expected) in [
            (0, Some(Protocol::Stun)),
            (3, Some(Protocol::Stun)),
            (4, None),
            (CHECK, Some(Protocol::Punchline)),
            (EARLY_VOICE, Some(Protocol::Punchline)),
            (RELAY_DOWN, Some(Protocol::Punchline)),
            (LEND_UP, Some(Protocol::Punchline)),
            (LEND_DOWN, Some(Protocol::Punchline)),
            (64, Some(Protocol::Quic)),
            (127, Some(Protocol::Quic)),
            (128, None),
            (192, Some(Protocol::Quic)),
            (255, Some(Protocol::Quic)),
        ] {
            assert_eq!(protocol(&[first]), expected, "first byte {first}");
        }
        assert_eq!(protocol(&[]), None);
    }
}
