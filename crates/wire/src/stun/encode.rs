//! How a STUN message is written.

use std::net::{IpAddr, SocketAddr};

use super::{BINDING, CHANGE_REQUEST, COOKIE, Change, Class, FINGERPRINT, HEADER, TransactionId};

const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// A Binding request, with a FINGERPRINT so that it is told from everything else on the port.
pub fn request(transaction: TransactionId) -> Vec<u8> {
    let mut out = start(Class::Request, transaction);
    finish(&mut out, true);
    out
}

/// The same, to be answered from another of the server's addresses (RFC 5780, 7.2).
pub fn request_elsewhere(transaction: TransactionId, change: Change) -> Vec<u8> {
    let mut out = start(Class::Request, transaction);
    let flags = u32::from(change.ip) << 2 | u32::from(change.port) << 1;
    push_attribute(&mut out, CHANGE_REQUEST, &flags.to_be_bytes());
    finish(&mut out, true);
    out
}

pub(super) fn start(class: Class, transaction: TransactionId) -> Vec<u8> {
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

pub(super) fn push_address(out: &mut Vec<u8>, kind: u16, address: SocketAddr) {
    let mut value = vec![0, if address.is_ipv4() { 1 } else { 2 }];
    value.extend_from_slice(&address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => value.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => value.extend_from_slice(&ip.octets()),
    }
    push_attribute(out, kind, &value);
}

pub(super) fn push_attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

pub(super) fn finish(out: &mut Vec<u8>, with_fingerprint: bool) {
    let length = out.len() - HEADER + if with_fingerprint { 8 } else { 0 };
    out[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    if with_fingerprint {
        let crc = fingerprint(out);
        push_attribute(out, FINGERPRINT, &crc.to_be_bytes());
    }
}

pub(super) fn fingerprint(bytes: &[u8]) -> u32 {
    crc32(bytes) ^ FINGERPRINT_XOR
}

/// CRC-32 of ITU V.42, bit by bit: messages are short.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}
