//! Bytes of NAT-PMP (RFC 6886, section 3).

use std::net::Ipv4Addr;

/// The first byte of every NAT-PMP message.
pub(crate) const VERSION: u8 = 0;
const ADDRESS: u8 = 0;
const MAP_UDP: u8 = 1;
const RESPONSE: u8 = 0x80;

/// Asks for the router's external address.
pub(crate) const ADDRESS_REQUEST: [u8; 2] = [VERSION, ADDRESS];

/// Asks for a mapping of a UDP port; a lifetime of 0 deletes it, and then the external port must be 0.
pub(crate) fn map_request(internal_port: u16, suggested_port: u16, lifetime_s: u32) -> [u8; 12] {
    let ([i0, i1], [s0, s1]) = (internal_port.to_be_bytes(), suggested_port.to_be_bytes());
    let [l0, l1, l2, l3] = lifetime_s.to_be_bytes();
    [VERSION, MAP_UDP, 0, 0, i0, i1, s0, s1, l0, l1, l2, l3]
}

/// What a NAT-PMP server says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Response {
    /// Somebody asked in a version that it does not speak; it says so in its own.
    OtherVersion,
    Address {
        epoch: u32,
        external: Ipv4Addr,
    },
    Mapped {
        epoch: u32,
        internal_port: u16,
        external_port: u16,
        lifetime_s: u32,
    },
    Refused {
        opcode: u8,
        why: Refused,
    },
}

/// A result code other than 0 (section 3.5).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the router does not allow it")]
    NotAuthorized,
    #[error("the router has no connection, or is behind another NAT")]
    NetworkFailure,
    #[error("the router has no mappings left")]
    NoResources,
    #[error("the router refuses with code {0}")]
    Other(u16),
}

/// Why a datagram is no answer to us.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("{0} bytes are no NAT-PMP response")]
    Length(usize),
    #[error("opcode {0:#04x} is no response to us")]
    Opcode(u8),
}

/// Reads a response.
pub(crate) fn decode(bytes: &[u8]) -> Result<Response, DecodeError> {
    let too_short = DecodeError::Length(bytes.len());
    let [_, opcode, c0, c1, rest @ ..] = bytes else { return Err(too_short) };
    let (opcode, code) = (*opcode, u16::from_be_bytes([*c0, *c1]));
    if opcode & RESPONSE == 0 {
        return Err(DecodeError::Opcode(opcode));
    }
    match code {
        0 => {}
        1 => return Ok(Response::OtherVersion),
        code => return Ok(Response::Refused { opcode: opcode & !RESPONSE, why: code.into() }),
    }
    let epoch = u32::from_be_bytes(*rest.first_chunk().ok_or(too_short)?);
    match (opcode & !RESPONSE, rest.get(4..).unwrap_or_default()) {
        (ADDRESS, [a, b, c, d, ..]) => Ok(Response::Address { epoch, external: Ipv4Addr::new(*a, *b, *c, *d) }),
        (MAP_UDP, [i0, i1, x0, x1, l0, l1, l2, l3, ..]) => Ok(Response::Mapped {
            epoch,
            internal_port: u16::from_be_bytes([*i0, *i1]),
            external_port: u16::from_be_bytes([*x0, *x1]),
            lifetime_s: u32::from_be_bytes([*l0, *l1, *l2, *l3]),
        }),
        (ADDRESS | MAP_UDP, _) => Err(too_short),
        _ => Err(DecodeError::Opcode(opcode)),
    }
}

impl Refused {
    /// Whether the refusal is of a mapping, not of the address.
    pub(crate) fn is_of_mapping(opcode: u8) -> bool {
        opcode == MAP_UDP
    }
}

impl From<u16> for Refused {
    fn from(code: u16) -> Self {
        match code {
            2 => Self::NotAuthorized,
            3 => Self::NetworkFailure,
            4 => Self::NoResources,
            other => Self::Other(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_bytes() {
        assert_eq!(ADDRESS_REQUEST, [0, 0]);
        assert_eq!(map_request(40000, 40001, 3600), [0, 1, 0, 0, 0x9c, 0x40, 0x9c, 0x41, 0, 0, 14, 16]);
    }

    /// As miniupnpd 2.3.1 answers.
    #[test]
    fn response_bytes() {
        let address = Response::Address { epoch: 2, external: Ipv4Addr::new(203, 0, 113, 21) };
        assert_eq!(decode(&[0, 0x80, 0, 0, 0, 0, 0, 2, 203, 0, 113, 21]), Ok(address));
        let mapped = Response::Mapped { epoch: 2, internal_port: 40000, external_port: 40001, lifetime_s: 3600 };
        assert_eq!(decode(&[0, 0x81, 0, 0, 0, 0, 0, 2, 0x9c, 0x40, 0x9c, 0x41, 0, 0, 14, 16]), Ok(mapped));
        let refused = Response::Refused { opcode: 1, why: Refused::NotAuthorized };
        assert_eq!(decode(&[0, 0x81, 0, 2]), Ok(refused));
        assert_eq!(decode(&[0, 0x81, 0, 1]), Ok(Response::OtherVersion));
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let whole = [0, 0x81, 0, 0, 0, 0, 0, 2, 0x9c, 0x40, 0x9c, 0x41, 0, 0, 14, 16];
        for len in 0..whole.len() {
            assert!(decode(&whole[..len]).is_err(), "{len}");
        }
        assert_eq!(decode(&[0, 0, 0, 0]), Err(DecodeError::Opcode(0)));
        assert_eq!(decode(&[0, 0x82, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Err(DecodeError::Opcode(0x82)));
    }
}
