//! Forms, queries and paths: `application/x-www-form-urlencoded`, percent-encoding, and the token of a form.

use std::net::IpAddr;

use hmac::{Hmac, KeyInit, Mac};
use registry::Prefix;
use sha2::Sha256;

/// The fields of a form or query.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads `name=value&...`; `None` if it is not text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let pieces = text.split('&').filter(|piece| !piece.is_empty());
        let field = |piece: &str| {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            Some((unescape(name, true)?, unescape(value, true)?))
        };
        pieces.map(field).collect::<Option<_>>().map(Self)
    }

    /// The value of a field; of two with one name, the first.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| &**value)
    }
}

/// Percent-decodes; `None` if an escape is broken or the result is not UTF-8.
pub(super) fn unescape(text: &str, plus_is_space: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?].map(|digit| char::from(digit).to_digit(16));
                let [Some(high), Some(low)] = digits else { return None };
                (high * 16 + low) as u8
            }
            b'+' if plus_is_space => b' ',
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

/// The token in a form that was made for somebody in that network in that hour: a page of another site can't know it.
pub(super) fn token(key: &[u8; 32], from: IpAddr, hour: u64) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { unreachable!("HMAC takes keys of any length") };
    mac.update(format!("form {hour} {:?}", Prefix::network(from)).as_bytes());
    mac.finalize().into_bytes()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a token is of this hour or the one before.
pub(super) fn is_valid(given: &str, key: &[u8; 32], from: IpAddr, hour: u64) -> bool {
    let same = |valid: String| {
        valid.len() == given.len() && valid.bytes().zip(given.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    };
    same(token(key, from, hour)) | same(token(key, from, hour.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_browsers_write_them() {
        let fields = Fields::parse("name=caf%C3%A9+am+Eck&kind=open&empty=&flag&name=second").unwrap();
        assert_eq!(fields.value("name"), Some("café am Eck"));
        assert_eq!((fields.value("empty"), fields.value("flag"), fields.value("none")), (Some(""), Some(""), None));
        for bad in ["a=%", "a=%4", "a=%zz", "a=%ff"] {
            assert!(Fields::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_token_holds_for_its_network_and_two_hours() {
        let (here, there) = ("192.0.2.1".parse().unwrap(), "198.51.100.1".parse().unwrap());
        let made = token(&[1; 32], here, 10);
        assert!(is_valid(&made, &[1; 32], here, 10) && is_valid(&made, &[1; 32], here, 11));
        assert!(!is_valid(&made, &[1; 32], here, 12));
        assert!(!is_valid(&made, &[1; 32], there, 10));
        assert!(!is_valid(&made, &[2; 32], here, 10));
        assert!(!is_valid("", &[1; 32], here, 10));
    }
}
