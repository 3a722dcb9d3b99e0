use std::fmt;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use wire::{IdentityKey, signal::Signature};
use zeroize::Zeroizing;

use crate::hex;

/// First word of a key file; a later format gets another number.
const FORMAT: &str = "punchline-identity-1";
/// DER of a PKCS #8 private key (RFC 8410, 7) up to the seed.
const PKCS8_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// An Ed25519 key pair (RFC 8032); wiped from memory when dropped, never shown.
#[derive(Clone)]
pub struct Identity(SigningKey);

impl Identity {
    /// Makes an identity from the operating system's randomness.
    ///
    /// # Panics
    /// If the operating system has none, which no program can do anything about.
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).expect("the operating system has randomness");
        Self::from_seed(&seed)
    }

    /// The identity with this RFC 8032 private key.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The RFC 8032 private key.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public key, by which others know this identity.
    pub fn key(&self) -> IdentityKey {
        IdentityKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes().to_vec())
    }

    /// The private key as PKCS #8 (RFC 8410), for TLS.
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([&PKCS8_PREFIX[..], &*self.seed()].concat())
    }

    /// The content of a key file.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{FORMAT} {}\n", *hex::encode(&*self.seed())))
    }

    /// Reads the content of a key file.
    ///
    /// # Errors
    /// [`ParseIdentityError`] if it is anything else; the error doesn't repeat the content.
    pub fn from_text(text: &str) -> Result<Self, ParseIdentityError> {
        let (format, seed) = text.trim().split_once(' ').ok_or(ParseIdentityError::Malformed)?;
        if format != FORMAT {
            return Err(ParseIdentityError::Format);
        }
        let seed = hex::decode(seed).ok_or(ParseIdentityError::Malformed)?;
        Ok(Self::from_seed(&seed))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.key().short())
    }
}

/// A text is not the content of a key file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParseIdentityError {
    /// It begins with another word.
    #[error("the key does not begin with {FORMAT:?}; another version may have written it")]
    Format,
    /// It is damaged.
    #[error("the key is not {FORMAT:?} and 64 hexadecimal digits")]
    Malformed,
}

/// Whether `signature` is `key`'s over `message`. Strict: weak keys and second encodings of a signature are refused.
pub fn verify(key: &IdentityKey, message: &[u8], signature: &Signature) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(&key.0) else { return false };
    let Ok(signature) = ed25519_dalek::Signature::from_slice(&signature.0) else { return false };
    key.verify_strict(message, &signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_signatures_are_those_of_rfc_8032() {
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let identity = Identity::from_seed(&seed);
        assert_eq!(identity.key().to_string(), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let signature = identity.sign(b"");
        assert!(hex::encode(&signature.0).starts_with("e5564300c360ac729086e2cc806e828a"));
        assert!(verify(&identity.key(), b"", &signature));
    }

    #[test]
    fn a_signature_holds_for_its_key_and_message_alone() {
        let (alice, bob) = (Identity::generate(), Identity::generate());
        let signature = alice.sign(b"hello");
        assert!(verify(&alice.key(), b"hello", &signature));
        assert!(!verify(&bob.key(), b"hello", &signature));
        assert!(!verify(&alice.key(), b"hallo", &signature));
        assert!(!verify(&alice.key(), b"hello", &Signature(signature.0[..63].to_vec())));
        assert!(!verify(&alice.key(), b"hello", &Signature(Vec::new())));
    }

    #[test]
    fn a_weak_key_verifies_nothing() {
        let mut identity_point = [0; 32];
        identity_point[0] = 1;
        let mut signature = vec![0; 64];
        signature[0] = 1;
        assert!(!verify(&IdentityKey(identity_point), b"anything", &Signature(signature)));
    }

    #[test]
    fn a_key_file_is_read_as_it_was_written() {
        let identity = Identity::from_seed(&[7; 32]);
        let text = identity.to_text();
        assert_eq!(*text, format!("punchline-identity-1 {}\n", "07".repeat(32)));
        assert_eq!(Identity::from_text(&text).unwrap().key(), identity.key());
        for bad in ["", "punchline-identity-1", "punchline-identity-1 07", "07", &text[..text.len() - 2]] {
            assert_eq!(Identity::from_text(bad).unwrap_err(), ParseIdentityError::Malformed, "{bad}");
        }
        assert_eq!(Identity::from_text("punchline-identity-2 x").unwrap_err(), ParseIdentityError::Format);
    }

    #[test]
    fn the_secret_is_not_in_the_debug_form() {
        let identity = Identity::from_seed(&[7; 32]);
        assert_eq!(format!("{identity:?}"), format!("Identity({})", identity.key().short()));
    }
}
