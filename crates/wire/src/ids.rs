use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// An Ed25519 public key (RFC 8032): who a person or a server is. Shown as 64 hexadecimal digits.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct IdentityKey(pub [u8; 32]);

impl IdentityKey {
    /// The first 8 digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl fmt::Display for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityKey({})", self.short())
    }
}

/// A text is not an identity key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an identity key is 64 hexadecimal digits")]
pub struct ParseKeyError;

impl FromStr for IdentityKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ParseKeyError);
        }
        let mut key = [0; 32];
        for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| ParseKeyError)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| ParseKeyError)?;
        }
        Ok(Self(key))
    }
}

/// An X25519 public key (RFC 7748) that a member makes anew for each run.
#[derive(Clone, Copy, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct EphemeralKey(pub [u8; 32]);

impl fmt::Debug for EphemeralKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EphemeralKey({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// Where a member sits in its channel, given by the rendezvous; not reused while the channel lives.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct MemberSlot(pub u16);

/// A random number that one start of `puncher` picks; keys of one run say nothing about another's.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct RunId(pub u64);

/// How one puncher names a peer to its local programs; valid for one run of that puncher, never reused in it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PeerTag(pub u32);

impl fmt::Display for PeerTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text message's name, a UUIDv7 (RFC 9562); the same message keeps it on every way it takes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct MessageId(pub u128);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_being_written_and_read() {
        let key = IdentityKey(std::array::from_fn(|i| i as u8 * 7));
        assert_eq!(key.to_string().parse(), Ok(key));
    }

    #[test]
    fn what_is_not_64_digits_is_no_key() {
        for text in ["", "00", &"g".repeat(64), &"é".repeat(32), &"+1".repeat(32)] {
            assert_eq!(text.parse::<IdentityKey>(), Err(ParseKeyError), "{text}");
        }
    }
}
