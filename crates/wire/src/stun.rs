//! STUN Binding (RFC 8489): what a client asks and a rendezvous answers on the shared UDP port.
//!
//! Only Binding is spoken, without credentials: a request's USERNAME and MESSAGE-INTEGRITY are known and passed over.
//! A request from before RFC 5389, without the magic cookie, is nobody's. Answers carry no SOFTWARE and no reason
//! phrase, so that they stay close to the size of what was asked. Of RFC 5780 there is what tells how a NAT maps and
//! filters: CHANGE-REQUEST, RESPONSE-ORIGIN and OTHER-ADDRESS; never RESPONSE-PORT, which aims answers at others.
//!
//! ```
//! use wire::stun;
//!
//! let request = stun::request(stun::TransactionId([7; 12]));
//! let from = "192.0.2.1:32853".parse().unwrap();
//! let answer = stun::answer(&request, from).unwrap();
//! assert_eq!(stun::Message::decode(&answer).unwrap().mapped_address(), Some(from));
//! ```

mod encode;
mod server;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use encode::fingerprint;
pub use encode::{request, request_elsewhere};
pub use server::{Places, Question, answer};

const COOKIE: u32 = 0x2112_a442;
const HEADER: usize = 20;
const BINDING: u16 = 0x001;

const MAPPED_ADDRESS: u16 = 0x0001;
const CHANGE_REQUEST: u16 = 0x0003;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const FINGERPRINT: u16 = 0x8028;
const RESPONSE_ORIGIN: u16 = 0x802b;
const OTHER_ADDRESS: u16 = 0x802c;
/// From here on an attribute may be passed over by who does not know it.
const COMPREHENSION_OPTIONAL: u16 = 0x8000;
/// The comprehension-required attributes of RFC 8489 itself.
const KNOWN: [u16; 11] =
    [0x0001, 0x0006, 0x0008, 0x0009, 0x000a, 0x0014, 0x0015, 0x001c, 0x001d, 0x001e, XOR_MAPPED_ADDRESS];

/// Ties an answer to its request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TransactionId(pub [u8; 12]);

/// From where else a server is asked to answer (RFC 5780, 7.2).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Change {
    /// From its other IP address.
    pub ip: bool,
    /// From its other port.
    pub port: bool,
}

/// What a message is (RFC 8489, 5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// Asks and wants an answer.
    Request,
    /// Wants no answer.
    Indication,
    /// Answers with what was asked for.
    Success,
    /// Answers with an error code.
    Error,
}

/// Why a datagram is not a STUN message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StunError {
    /// The header is cut off, or the length is not that of the datagram.
    #[error("{0} bytes are not a whole STUN message")]
    Length(usize),
    /// The first two bits or the magic cookie are not STUN's.
    #[error("no STUN magic cookie")]
    Cookie,
    /// An attribute ends after the message.
    #[error("attribute {0:#06x} ends after the message")]
    Attribute(u16),
    /// The FINGERPRINT is not the message's.
    #[error("the FINGERPRINT is wrong")]
    Fingerprint,
}

/// A STUN message that has been checked as a whole; borrows the datagram.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Request, indication, success or error.
    pub class: Class,
    /// Which method; Binding is 1.
    pub method: u16,
    /// Ties answers to requests.
    pub transaction: TransactionId,
    /// Whether a (correct) FINGERPRINT is there.
    pub has_fingerprint: bool,
    attributes: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a datagram; afterwards every accessor is total.
    ///
    /// # Errors
    /// [`StunError`] says what is not as RFC 8489 has it.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, StunError> {
        let (header, attributes) = datagram.split_at_checked(HEADER).ok_or(StunError::Length(datagram.len()))?;
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if kind & 0xc000 != 0 || header[4..8] != COOKIE.to_be_bytes() {
            return Err(StunError::Cookie);
        }
        if length != attributes.len() || length % 4 != 0 {
            return Err(StunError::Length(datagram.len()));
        }
        let mut transaction = TransactionId([0; 12]);
        transaction.0.copy_from_slice(&header[8..]);
        let mut message =
            Self { class: class(kind), method: method(kind), transaction, has_fingerprint: false, attributes };
        message.check_attributes(datagram)?;
        Ok(message)
    }

    fn check_attributes(&mut self, datagram: &[u8]) -> Result<(), StunError> {
        let mut rest = self.attributes;
        while !rest.is_empty() {
            let at = datagram.len() - rest.len();
            let (kind, value, after) = split_attribute(rest)?;
            if kind == FINGERPRINT {
                // It is the last attribute (RFC 8489, 14.7) and covers all before it.
                if !after.is_empty() || value != fingerprint(&datagram[..at]).to_be_bytes() {
                    return Err(StunError::Fingerprint);
                }
                self.has_fingerprint = true;
            }
            rest = after;
        }
        Ok(())
    }

    /// The attributes, in their order.
    pub fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let mut rest = self.attributes;
        std::iter::from_fn(move || {
            let (kind, value, after) = split_attribute(rest).ok()?;
            rest = after;
            Some((kind, value))
        })
    }

    /// Where the answering server saw the request come from.
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        self.attributes().find_map(|(kind, value)| match kind {
            XOR_MAPPED_ADDRESS => address(value).map(|plain| xor(plain, self.transaction)),
            MAPPED_ADDRESS => address(value),
            _ => None,
        })
    }

    /// The code of an error answer, such as 420.
    pub fn error_code(&self) -> Option<u16> {
        let (_, value) = self.attributes().find(|(kind, _)| *kind == ERROR_CODE)?;
        let [_, _, class, number, ..] = *value else { return None };
        Some(u16::from(class & 7) * 100 + u16::from(number))
    }

    /// From where the answer came, as the server says (RFC 5780, 7.3).
    pub fn response_origin(&self) -> Option<SocketAddr> {
        self.plain_address(RESPONSE_ORIGIN)
    }

    /// From where a server answers that is asked to change both its address and its port (RFC 5780, 7.4).
    pub fn other_address(&self) -> Option<SocketAddr> {
        self.plain_address(OTHER_ADDRESS)
    }

    fn plain_address(&self, wanted: u16) -> Option<SocketAddr> {
        self.attributes().find(|(kind, _)| *kind == wanted).and_then(|(_, value)| address(value))
    }

    /// `None` if it makes no sense.
    fn change_request(&self) -> Option<Change> {
        let Some((_, value)) = self.attributes().find(|(kind, _)| *kind == CHANGE_REQUEST) else {
            return Some(Change::default());
        };
        let flags = u32::from_be_bytes(value.try_into().ok()?);
        Some(Change { ip: flags & 4 != 0, port: flags & 2 != 0 })
    }

    fn unknown_attributes(&self) -> Vec<u16> {
        let required = self.attributes().map(|(kind, _)| kind).filter(|kind| *kind < COMPREHENSION_OPTIONAL);
        let mut unknown: Vec<u16> = required.filter(|kind| !KNOWN.contains(kind)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }
}

fn split_attribute(bytes: &[u8]) -> Result<(u16, &[u8], &[u8]), StunError> {
    let (head, rest) = bytes.split_at_checked(4).ok_or(StunError::Attribute(0))?;
    let kind = u16::from_be_bytes([head[0], head[1]]);
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let (padded, after) = rest.split_at_checked(length.next_multiple_of(4)).ok_or(StunError::Attribute(kind))?;
    Ok((kind, &padded[..length], after))
}

fn class(kind: u16) -> Class {
    match kind & 0x110 {
        0x000 => Class::Request,
        0x010 => Class::Indication,
        0x100 => Class::Success,
        _ => Class::Error,
    }
}

fn method(kind: u16) -> u16 {
    kind & 0xf | (kind & 0xe0) >> 1 | (kind & 0x3e00) >> 2
}

fn address(value: &[u8]) -> Option<SocketAddr> {
    let (&[_, family, high, low], ip) = value.split_first_chunk::<4>()?;
    let ip = match family {
        1 => IpAddr::from(<[u8; 4]>::try_from(ip).ok()?),
        2 => IpAddr::from(<[u8; 16]>::try_from(ip).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([high, low])))
}

/// Hides an address from routers that rewrite what looks like one, or shows it again (RFC 8489, 14.2).
fn xor(address: SocketAddr, transaction: TransactionId) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) ^ COOKIE).into()),
        IpAddr::V6(ip) => {
            let mut mask = [0; 16];
            mask[..4].copy_from_slice(&COOKIE.to_be_bytes());
            mask[4..].copy_from_slice(&transaction.0);
            IpAddr::V6(Ipv6Addr::from(u128::from(ip) ^ u128::from_be_bytes(mask)))
        }
    };
    SocketAddr::new(ip, address.port() ^ (COOKIE >> 16) as u16)
}

#[cfg(test)]
mod tests;
