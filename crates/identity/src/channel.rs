use std::{fmt, str::FromStr};

use unicode_normalization::UnicodeNormalization;
use wire::{IdentityKey, RunId};
use zeroize::Zeroizing;

use crate::{Identity, PairKeys, derive, hex};

/// Argon2id's memory in KiB, passes and lanes: what RFC 9106, 4, recommends where memory is dear; about 200 ms.
const ARGON2: (u32, u32, u32) = (64 * 1024, 3, 1);

/// What the members of a channel share; wiped from memory when dropped, never shown.
#[derive(Clone)]
pub struct ChannelSecret(Zeroizing<[u8; 32]>);

impl ChannelSecret {
    /// The secret of an open channel: anybody who knows the names has it, the server too.
    pub fn open(server: &IdentityKey, channel: &str) -> Self {
        Self::extract("punchline open v1", &[&server.0, channel.as_bytes()])
    }

    /// The secret of a password channel; slow on purpose.
    ///
    /// The same password typed on another system gives the same secret: it is normalised to NFC (RFC 8265, 4.2).
    ///
    /// # Errors
    /// [`PasswordError`] if the password is empty or there is no memory for Argon2.
    pub fn from_password(server: &IdentityKey, channel: &str, password: &str) -> Result<Self, PasswordError> {
        Self::from_password_with_cost(server, channel, password, ARGON2)
    }

    fn from_password_with_cost(
        server: &IdentityKey,
        channel: &str,
        password: &str,
        (memory, passes, lanes): (u32, u32, u32),
    ) -> Result<Self, PasswordError> {
        if password.is_empty() {
            return Err(PasswordError::Empty);
        }
        let password: Zeroizing<String> = Zeroizing::new(password.nfc().collect());
        let salt = derive::extract("punchline password v1", &[&server.0, channel.as_bytes()]);
        let params = argon2::Params::new(memory, passes, lanes, Some(32)).map_err(PasswordError::Argon2)?;
        let mut secret = Self(Zeroizing::new([0; 32]));
        argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
            .hash_password_into(password.as_bytes(), salt.as_slice(), secret.0.as_mut())
            .map_err(PasswordError::Argon2)?;
        Ok(secret)
    }

    /// The secret of a channel that one is invited to.
    pub fn from_invite(invite: &InviteSecret) -> Self {
        Self::extract("punchline invite v1", &[invite.0.as_slice()])
    }

    fn extract(label: &str, secret: &[&[u8]]) -> Self {
        Self(derive::extract(label, secret))
    }

    /// The key pair that shows the server who may join; the server keeps its public half.
    pub fn join_key(&self) -> Identity {
        Identity::from_seed(&self.expand("punchline join v1"))
    }

    /// The keys that two members share, each in one of its runs.
    pub fn pair_keys(&self, me: (IdentityKey, RunId), peer: (IdentityKey, RunId)) -> PairKeys {
        PairKeys::new(&self.0, me, peer)
    }

    pub(crate) fn expand<const N: usize>(&self, label: &str) -> Zeroizing<[u8; N]> {
        derive::expand(&self.0, label, &[])
    }
}

impl fmt::Debug for ChannelSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelSecret(..)")
    }
}

/// What the join key signs, so that a signature admits one member to one channel of one server in one session.
pub fn join_statement(server: &IdentityKey, channel: &str, exporter: &[u8; 32], member: &IdentityKey) -> Vec<u8> {
    [b"punchline join statement v1\0", &server.0[..], exporter, &member.0, channel.as_bytes()].concat()
}

/// A password makes no secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PasswordError {
    /// It has no characters.
    #[error("the password is empty")]
    Empty,
    /// Argon2 refused.
    #[error("hash the password: {0}")]
    Argon2(argon2::Error),
}

/// 128 random bits, given to those who are invited, in the fragment of a link that browsers don't send to servers.
#[derive(Clone)]
pub struct InviteSecret(Zeroizing<[u8; 16]>);

impl InviteSecret {
    /// Makes a secret from the operating system's randomness.
    ///
    /// # Panics
    /// If the operating system has none.
    pub fn generate() -> Self {
        let mut secret = Self(Zeroizing::new([0; 16]));
        getrandom::fill(secret.0.as_mut()).expect("the operating system has randomness");
        secret
    }

    /// The secret with these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// 32 hexadecimal digits.
    pub fn to_text(&self) -> Zeroizing<String> {
        hex::encode(self.0.as_slice())
    }
}

impl fmt::Debug for InviteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteSecret(..)")
    }
}

impl FromStr for InviteSecret {
    type Err = ParseInviteError;

    fn from_str(text: &str) -> Result<Self, ParseInviteError> {
        hex::decode(text.trim()).map(Self).ok_or(ParseInviteError)
    }
}

/// A text is not an invite's secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an invite secret is 32 hexadecimal digits")]
pub struct ParseInviteError;

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: (u32, u32, u32) = (64, 1, 1);

    fn server() -> IdentityKey {
        Identity::from_seed(&[1; 32]).key()
    }

    fn fingerprint(secret: &ChannelSecret) -> String {
        secret.join_key().key().to_string()
    }

    #[test]
    fn each_server_channel_and_kind_has_its_own_secret() {
        let other_server = Identity::from_seed(&[2; 32]).key();
        let password = |server, channel, password| {
            ChannelSecret::from_password_with_cost(&server, channel, password, CHEAP).unwrap()
        };
        let secrets = [
            ChannelSecret::open(&server(), "lobby"),
            ChannelSecret::open(&server(), "lobby2"),
            ChannelSecret::open(&other_server, "lobby"),
            ChannelSecret::from_invite(&InviteSecret::from_bytes([0; 16])),
            ChannelSecret::from_invite(&InviteSecret::from_bytes([1; 16])),
            password(server(), "lobby", "sesame"),
            password(server(), "lobby", "Sesame"),
            password(server(), "lobby2", "sesame"),
            password(other_server, "lobby", "sesame"),
        ];
        let mut fingerprints: Vec<_> = secrets.iter().map(fingerprint).collect();
        fingerprints.sort();
        fingerprints.dedup();
        assert_eq!(fingerprints.len(), secrets.len());
    }

    #[test]
    fn the_keys_of_one_secret_say_nothing_about_each_other() {
        let secret = ChannelSecret::open(&server(), "lobby");
        let nobody = (IdentityKey([0; 32]), RunId(0));
        let pair = secret.pair_keys(nobody, nobody);
        assert_ne!(secret.join_key().seed(), *pair.proof_key());
        assert_ne!(secret.0, *pair.proof_key());
    }

    #[test]
    fn a_password_is_the_same_however_its_accents_are_typed() {
        let secret = |password| ChannelSecret::from_password_with_cost(&server(), "lobby", password, CHEAP).unwrap();
        assert_eq!(fingerprint(&secret("caf\u{e9}")), fingerprint(&secret("cafe\u{301}")));
    }

    #[test]
    fn an_empty_password_is_refused() {
        let error = ChannelSecret::from_password(&server(), "lobby", "").unwrap_err();
        assert_eq!(error, PasswordError::Empty);
    }

    /// A changed derivation locks everybody out of the channels they have.
    #[test]
    fn derived_keys_stay_what_they_are() {
        let open = ChannelSecret::open(&server(), "lobby");
        let password = ChannelSecret::from_password(&server(), "lobby", "sesame").unwrap();
        let invite = ChannelSecret::from_invite(&InviteSecret::from_bytes([5; 16]));
        assert_eq!([open, password, invite].map(|s| fingerprint(&s)[..16].to_owned()), PINNED);
    }

    const PINNED: [&str; 3] = ["c9f125b80c106c43", "254e96a89356a01a", "d94f49a3a7523e77"];

    #[test]
    fn an_invite_is_read_as_it_was_written() {
        let invite = InviteSecret::generate();
        let again: InviteSecret = invite.to_text().parse().unwrap();
        assert_eq!(again.0, invite.0);
        for bad in ["", "00", &"g".repeat(32), &"0".repeat(33)] {
            assert_eq!(bad.parse::<InviteSecret>().unwrap_err(), ParseInviteError, "{bad}");
        }
    }

    #[test]
    fn a_join_statement_names_server_channel_session_and_member() {
        let statement = |server: u8, channel, exporter, member| {
            join_statement(&IdentityKey([server; 32]), channel, &[exporter; 32], &IdentityKey([member; 32]))
        };
        let all = [
            statement(1, "a", 2, 3),
            statement(9, "a", 2, 3),
            statement(1, "b", 2, 3),
            statement(1, "a", 9, 3),
            statement(1, "a", 2, 9),
        ];
        for (i, left) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|right| left != right));
        }
    }
}
