//! STUN Binding (RFC 8489): what a client asks and a rendezvous answers on the shared UDP port.
//!
//! Only Binding is spoken, without credentials: a request's USERNAME and MESSAGE-INTEGRITY are known and passed over.
//! A request from before RFC 5389, without the magic cookie, is nobody's. Answers carry no SOFTWARE and no reason
//! phrase, so that they stay close to the size of what was asked.
//!
//! ```
//! use wire::stun;
//!
//! let request = stun::request(stun::TransactionId([7; 12]));
//! let from = "192.0.2.1:32853".parse().unwrap();
//! let answer = stun::answer(&request, from).unwrap();
//! assert_eq!(stun::Message::decode(&answer).unwrap().mapped_address(), Some(from));
//! ```

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const COOKIE: u32 = 0x2112_a442;
const HEADER: usize = 20;
const BINDING: u16 = 0x001;
const FINGERPRINT_XOR: u32 = 0x5354_554e;

const MAPPED_ADDRESS: u16 = 0x0001;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const FINGERPRINT: u16 = 0x8028;
/// From here on an attribute may be passed over by who does not know it.
const COMPREHENSION_OPTIONAL: u16 = 0x8000;
/// The comprehension-required attributes of RFC 8489 itself.
const KNOWN: [u16; 11] =
    [0x0001, 0x0006, 0x0008, 0x0009, 0x000a, 0x0014, 0x0015, 0x001c, 0x001d, 0x001e, XOR_MAPPED_ADDRESS];

/// Ties an answer to its request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TransactionId(pub [u8; 12]);

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

    fn unknown_attributes(&self) -> Vec<u16> {
        let required = self.attributes().map(|(kind, _)| kind).filter(|kind| *kind < COMPREHENSION_OPTIONAL);
        let mut unknown: Vec<u16> = required.filter(|kind| !KNOWN.contains(kind)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }
}

/// A Binding request, with a FINGERPRINT so that it is told from everything else on the port.
pub fn request(transaction: TransactionId) -> Vec<u8> {
    let mut out = start(Class::Request, transaction);
    finish(&mut out, true);
    out
}

/// What a server answers to a datagram from `from`; `None` is silence: only a whole Binding request gets an answer.
pub fn answer(datagram: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let request = Message::decode(datagram).ok()?;
    if request.class != Class::Request || request.method != BINDING {
        return None;
    }
    let unknown = request.unknown_attributes();
    let mut out = if unknown.is_empty() {
        success(request.transaction, from)
    } else {
        unknown_attribute(request.transaction, &unknown)
    };
    finish(&mut out, request.has_fingerprint);
    Some(out)
}

fn success(transaction: TransactionId, from: SocketAddr) -> Vec<u8> {
    let mut out = start(Class::Success, transaction);
    let from = xor(SocketAddr::new(from.ip().to_canonical(), from.port()), transaction);
    let mut value = vec![0, if from.is_ipv4() { 1 } else { 2 }];
    value.extend_from_slice(&from.port().to_be_bytes());
    match from.ip() {
        IpAddr::V4(ip) => value.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => value.extend_from_slice(&ip.octets()),
    }
    push_attribute(&mut out, XOR_MAPPED_ADDRESS, &value);
    out
}

fn unknown_attribute(transaction: TransactionId, unknown: &[u16]) -> Vec<u8> {
    let mut out = start(Class::Error, transaction);
    push_attribute(&mut out, ERROR_CODE, &[0, 0, 4, 20]);
    let listed: Vec<u8> = unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
    push_attribute(&mut out, UNKNOWN_ATTRIBUTES, &listed);
    out
}

fn start(class: Class, transaction: TransactionId) -> Vec<u8> {
    let kind = BINDING
        | match class {
            Class::Request => 0x000,
            Class::Indication => 0x010,
            Class::Success => 0x100,
            Class::Error => 0x110,
        };
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&COOKIE.to_be_bytes());
    out.extend_from_slice(&transaction.0);
    out
}

fn push_attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn finish(out: &mut Vec<u8>, with_fingerprint: bool) {
    let length = out.len() - HEADER + if with_fingerprint { 8 } else { 0 };
    out[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    if with_fingerprint {
        let crc = fingerprint(out);
        push_attribute(out, FINGERPRINT, &crc.to_be_bytes());
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

fn fingerprint(bytes: &[u8]) -> u32 {
    crc32(bytes) ^ FINGERPRINT_XOR
}

/// CRC-32 of ITU V.42, bit by bit: messages are short.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSACTION: TransactionId =
        TransactionId([0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae]);

    /// RFC 5769, 2.1: SOFTWARE, PRIORITY, ICE-CONTROLLED, USERNAME, MESSAGE-INTEGRITY, FINGERPRINT.
    const SAMPLE_REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae
        802200105354554e207465737420636c69656e74 002400046e0001ff 80290008932ff9b151263b36
        000600096576746a3a68367659202020 000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2 80280004e57a3bcf";
    /// RFC 5769, 2.2.
    const SAMPLE_IPV4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae
        8022000b7465737420766563746f7220 002000080001a147e112a643
        000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7 80280004c07d4c96";
    /// RFC 5769, 2.3.
    const SAMPLE_IPV6: &str = "010100482112a442b7e7a701bc34d686fa87dfae
        8022000b7465737420766563746f7220 002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9
        00080014a382954e4be67bf11784c97c8292c275bfe3ed41 80280004c8fb0b4c";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    }

    fn with_attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut out = start(Class::Request, TRANSACTION);
        push_attribute(&mut out, kind, value);
        finish(&mut out, false);
        out
    }

    #[test]
    fn the_sample_request_of_rfc_5769_is_read() {
        let datagram = bytes(SAMPLE_REQUEST);
        let message = Message::decode(&datagram).unwrap();
        assert_eq!((message.class, message.method), (Class::Request, BINDING));
        assert_eq!(message.transaction, TRANSACTION);
        assert!(message.has_fingerprint);
        let attributes: Vec<_> = message.attributes().collect();
        assert_eq!(attributes.iter().map(|a| a.0).collect::<Vec<_>>(), [0x8022, 0x24, 0x8029, 6, 8, 0x8028]);
        assert_eq!(attributes[0].1, b"STUN test client");
        assert_eq!(attributes[3].1, b"evtj:h6vY");
    }

    #[test]
    fn the_sample_responses_of_rfc_5769_are_read() {
        for (sample, expected) in
            [(SAMPLE_IPV4, "192.0.2.1:32853"), (SAMPLE_IPV6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
        {
            let datagram = bytes(sample);
            let message = Message::decode(&datagram).unwrap();
            assert_eq!((message.class, message.has_fingerprint), (Class::Success, true));
            assert_eq!(message.mapped_address(), Some(expected.parse().unwrap()));
        }
    }

    #[test]
    fn a_request_is_answered_with_the_address_it_came_from() {
        for from in ["192.0.2.1:32853", "[2001:db8::7]:1"] {
            let from = from.parse().unwrap();
            let datagram = answer(&request(TRANSACTION), from).unwrap();
            let message = Message::decode(&datagram).unwrap();
            assert_eq!((message.class, message.transaction), (Class::Success, TRANSACTION));
            assert_eq!(message.mapped_address(), Some(from));
            assert!(message.has_fingerprint, "as the request had one");
        }
    }

    #[test]
    fn answer_bytes_are_those_of_the_sample_response() {
        let request = with_attribute(0x8022, b"x");
        let datagram = answer(&request, "192.0.2.1:32853".parse().unwrap()).unwrap();
        assert_eq!(datagram, bytes("0101000c2112a442b7e7a701bc34d686fa87dfae 002000080001a147e112a643"));
    }

    #[test]
    fn an_ipv4_mapped_source_is_told_as_ipv4() {
        let datagram = answer(&request(TRANSACTION), "[::ffff:192.0.2.1]:9".parse().unwrap()).unwrap();
        let message = Message::decode(&datagram).unwrap();
        assert_eq!(message.mapped_address(), Some("192.0.2.1:9".parse().unwrap()));
    }

    #[test]
    fn an_unknown_attribute_that_must_be_understood_is_refused_by_name() {
        let from = "192.0.2.1:1".parse().unwrap();
        let datagram = answer(&bytes(SAMPLE_REQUEST), from).unwrap();
        let message = Message::decode(&datagram).unwrap();
        assert_eq!((message.class, message.error_code()), (Class::Error, Some(420)));
        assert!(message.attributes().any(|a| a == (UNKNOWN_ATTRIBUTES, &[0x00, 0x24])), "PRIORITY");
        let change_request = with_attribute(0x0003, &[0, 0, 0, 2]);
        let datagram = answer(&change_request, from).unwrap();
        assert_eq!(Message::decode(&datagram).unwrap().error_code(), Some(420));
        assert!(datagram.len() * 10 <= change_request.len() * 16, "no more amplification than a success has");
    }

    #[test]
    fn what_is_no_whole_binding_request_gets_silence() {
        let from = "192.0.2.1:1".parse().unwrap();
        let good = request(TRANSACTION);
        let mut cases = vec![("a response", bytes(SAMPLE_IPV4))];
        for length in 0..good.len() {
            cases.push(("a cut request", good[..length].to_vec()));
        }
        cases.push(("a longer one", [&good[..], &[0]].concat()));
        let mut bent = |what, at: usize, byte: u8| {
            let mut datagram = good.clone();
            datagram[at] ^= byte;
            cases.push((what, datagram));
        };
        bent("a wrong fingerprint", good.len() - 1, 1);
        bent("a wrong cookie", 4, 1);
        bent("an indication", 1, 0x10);
        bent("another method", 1, 2);
        bent("a wrong length", 3, 4);
        bent("an attribute that is too long", HEADER + 3, 0x40);
        for (what, datagram) in cases {
            assert_eq!(answer(&datagram, from), None, "{what}: {datagram:02x?}");
        }
    }

    #[test]
    fn no_bytes_make_the_codec_panic() {
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        let samples = [SAMPLE_REQUEST, SAMPLE_IPV4, SAMPLE_IPV6].map(bytes);
        for _ in 0..20_000 {
            let mut datagram = samples[random() % 3].clone();
            for _ in 0..random() % 4 {
                let at = random() % datagram.len();
                datagram[at] = random() as u8;
            }
            datagram.truncate(random() % (datagram.len() * 2));
            if let Ok(message) = Message::decode(&datagram) {
                let _ = (message.mapped_address(), message.error_code(), message.attributes().count());
            }
            let _ = answer(&datagram, "[2001:db8::1]:2".parse().unwrap());
        }
    }
}
