//! Bytes of PCP MAP and ANNOUNCE (RFC 6887, sections 7, 11, 14.1).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

/// The first byte of every PCP message.
pub(crate) const VERSION: u8 = 2;
/// IANA's number of UDP.
const UDP: u8 = 17;
const ANNOUNCE: u8 = 0;
const MAP: u8 = 1;
const RESPONSE: u8 = 0x80;
const HEADER: usize = 24;
const MAP_LEN: usize = 60;
const MAX_LEN: usize = 1100;

/// Ties answers to the one who asked, and lets nobody else change the mapping (section 11.2).
pub(crate) type Nonce = [u8; 12];

/// A MAP request for UDP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapRequest {
    pub(crate) internal: SocketAddrV4,
    /// What is asked for; a port of 0 and an address of 0.0.0.0 leave it to the router.
    pub(crate) suggested: SocketAddrV4,
    pub(crate) nonce: Nonce,
    /// 0 deletes the mapping.
    pub(crate) lifetime_s: u32,
}

impl MapRequest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAP_LEN);
        bytes.extend([VERSION, MAP, 0, 0]);
        bytes.extend(self.lifetime_s.to_be_bytes());
        bytes.extend(self.internal.ip().to_ipv6_mapped().octets());
        bytes.extend(self.nonce);
        bytes.extend([UDP, 0, 0, 0]);
        bytes.extend(self.internal.port().to_be_bytes());
        bytes.extend(self.suggested.port().to_be_bytes());
        bytes.extend(self.suggested.ip().to_ipv6_mapped().octets());
        bytes
    }
}

/// What a PCP server says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Response {
    pub(crate) epoch: u32,
    pub(crate) body: Body,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Body {
    /// The router has started, or got another address.
    Announce,
    Mapped {
        external: SocketAddrV4,
        lifetime_s: u32,
    },
    Refused(Refused),
}

/// A result code other than SUCCESS (section 7.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the router speaks another version")]
    Version,
    #[error("the router does not allow it")]
    NotAuthorized,
    #[error("the router has no connection, or is behind another NAT")]
    NetworkFailure,
    #[error("the router has no mappings left")]
    NoResources,
    #[error("another router stands between this host and the one asked")]
    AddressMismatch,
    #[error("the router gives no mappings for UDP over IPv4")]
    NotSupported,
    #[error("the router refuses with code {0}")]
    Other(u8),
}

impl From<u8> for Refused {
    fn from(code: u8) -> Self {
        match code {
            1 => Self::Version,
            2 => Self::NotAuthorized,
            4 | 9 => Self::NotSupported,
            7 => Self::NetworkFailure,
            8 | 10 => Self::NoResources,
            12 => Self::AddressMismatch,
            other => Self::Other(other),
        }
    }
}

/// Why a datagram is no answer to us.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("{0} bytes are no PCP response")]
    Length(usize),
    #[error("a request, not a response")]
    Request,
    #[error("a response to opcode {0}")]
    Opcode(u8),
    #[error("a response to somebody else's request")]
    NotOurs,
    #[error("the external address is no IPv4 address")]
    Family,
    #[error("the external port is 0")]
    Port,
}

/// Reads a response to a request with this nonce for this internal port.
pub(crate) fn decode(bytes: &[u8], nonce: &Nonce, internal_port: u16) -> Result<Response, DecodeError> {
    let whole = bytes.len().is_multiple_of(4) && (HEADER..=MAX_LEN).contains(&bytes.len());
    let header = bytes.first_chunk::<HEADER>().filter(|_| whole).ok_or(DecodeError::Length(bytes.len()))?;
    let [_, opcode, _, code, l0, l1, l2, l3, e0, e1, e2, e3, ..] = *header;
    if opcode & RESPONSE == 0 {
        return Err(DecodeError::Request);
    }
    let epoch = u32::from_be_bytes([e0, e1, e2, e3]);
    // A server that does not know a version answers in its own, with no more than a header (section 9).
    if code != 0 && Refused::from(code) == Refused::Version {
        return Ok(Response { epoch, body: Body::Refused(Refused::Version) });
    }
    let body = match opcode & !RESPONSE {
        ANNOUNCE => Body::Announce,
        MAP => {
            let map = bytes.get(HEADER..).and_then(<[u8]>::first_chunk).ok_or(DecodeError::Length(bytes.len()))?;
            let external = decode_map(map, nonce, internal_port, code == 0)?;
            match (code, external) {
                (0, Some(external)) => Body::Mapped { external, lifetime_s: u32::from_be_bytes([l0, l1, l2, l3]) },
                _ => Body::Refused(code.into()),
            }
        }
        other => return Err(DecodeError::Opcode(other)),
    };
    Ok(Response { epoch, body })
}

fn decode_map(
    map: &[u8; MAP_LEN - HEADER],
    nonce: &Nonce,
    internal_port: u16,
    success: bool,
) -> Result<Option<SocketAddrV4>, DecodeError> {
    let [.., p0, p1, x0, x1] = *map.first_chunk::<20>().ok_or(DecodeError::NotOurs)?;
    if !map.starts_with(nonce) || map[12] != UDP || u16::from_be_bytes([p0, p1]) != internal_port {
        return Err(DecodeError::NotOurs);
    }
    if !success {
        return Ok(None);
    }
    let ip: [u8; 16] = *map.last_chunk().ok_or(DecodeError::Family)?;
    let ip: Ipv4Addr = Ipv6Addr::from(ip).to_ipv4_mapped().ok_or(DecodeError::Family)?;
    match u16::from_be_bytes([x0, x1]) {
        0 => Err(DecodeError::Port),
        port => Ok(Some(SocketAddrV4::new(ip, port))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: Nonce = *b"twelve bytes";

    fn request() -> MapRequest {
        MapRequest {
            internal: "192.168.7.11:40000".parse().unwrap(),
            suggested: "0.0.0.0:40000".parse().unwrap(),
            nonce: NONCE,
            lifetime_s: 3600,
        }
    }

    /// As miniupnpd 2.3.1 answers [`request`].
    fn response() -> Vec<u8> {
        let mut bytes = vec![2, 0x81, 0, 0, 0, 0, 14, 16, 0, 0, 0, 2];
        bytes.extend([0; 12]);
        bytes.extend(NONCE);
        bytes.extend([17, 0, 0, 0, 0x9c, 0x40, 0x9c, 0x41]);
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, 21]);
        bytes
    }

    #[test]
    fn request_bytes() {
        let mut expected = vec![2, 1, 0, 0, 0, 0, 14, 16];
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 7, 11]);
        expected.extend(NONCE);
        expected.extend([17, 0, 0, 0, 0x9c, 0x40, 0x9c, 0x40]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]);
        assert_eq!(request().encode(), expected);
    }

    #[test]
    fn response_bytes() {
        let mapped = Body::Mapped { external: "203.0.113.21:40001".parse().unwrap(), lifetime_s: 3600 };
        assert_eq!(decode(&response(), &NONCE, 40000), Ok(Response { epoch: 2, body: mapped }));
    }

    #[test]
    fn a_response_to_somebody_else_is_not_ours() {
        assert_eq!(decode(&response(), b"other  nonce", 40000), Err(DecodeError::NotOurs));
        assert_eq!(decode(&response(), &NONCE, 40001), Err(DecodeError::NotOurs));
        let mut tcp = response();
        tcp[36] = 6;
        assert_eq!(decode(&tcp, &NONCE, 40000), Err(DecodeError::NotOurs));
    }

    #[test]
    fn a_refusal_says_why() {
        let mut refused = response();
        refused[3] = 8;
        let body = decode(&refused, &NONCE, 40000).unwrap().body;
        assert_eq!(body, Body::Refused(Refused::NoResources));
    }

    #[test]
    fn what_is_cut_short_or_overlong_is_refused() {
        let whole = response();
        for len in 0..whole.len() {
            assert!(decode(&whole[..len], &NONCE, 40000).is_err(), "{len}");
        }
        let mut long = whole;
        long.resize(1104, 0);
        assert_eq!(decode(&long, &NONCE, 40000), Err(DecodeError::Length(1104)));
    }

    #[test]
    fn an_external_address_must_be_an_ipv4_address_with_a_port() {
        let mut v6 = response();
        v6[44] = 0x20;
        assert_eq!(decode(&v6, &NONCE, 40000), Err(DecodeError::Family));
        let mut port = response();
        port[42..44].fill(0);
        assert_eq!(decode(&port, &NONCE, 40000), Err(DecodeError::Port));
    }
}
