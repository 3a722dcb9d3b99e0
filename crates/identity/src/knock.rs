use chacha20poly1305::{AeadInPlace, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use wire::{
    IdentityKey,
    datagram::KNOCK,
    knock::{HEADER, LEN, NONCE},
};
use zeroize::Zeroizing;

use crate::{ChannelSecret, derive};

const KEY: usize = 32;

/// What a knock at a member's door is sealed with: who has it knows the channel.
#[derive(Clone)]
pub struct KnockKey(Zeroizing<[u8; 32]>);

impl ChannelSecret {
    /// The key of those who know the channel's secret.
    pub fn knock_key(&self) -> KnockKey {
        KnockKey(self.expand("punchline knock v1"))
    }
}

impl KnockKey {
    /// The key of those who know an open channel's name and have yet to learn which server it belongs to.
    pub fn of_name(channel: &str) -> Self {
        Self(derive::extract("punchline knock name v1", &[channel.as_bytes()]))
    }

    /// The datagram by which `me` asks to be listened to. A nonce must not be used twice: it is what tells a knock from
    /// its repetition.
    pub fn seal(&self, nonce: [u8; NONCE], me: &IdentityKey) -> Vec<u8> {
        let mut knock = vec![KNOCK];
        knock.extend_from_slice(&nonce);
        let mut sealed = me.0;
        let tag = self
            .cipher()
            .encrypt_in_place_detached(XNonce::from_slice(&nonce), &knock, &mut sealed)
            .expect("a knock is short enough for the cipher");
        [&knock[..], &sealed, &tag].concat()
    }

    /// Nonce and sender of a knock; `None` for anything else.
    pub fn open(&self, datagram: &[u8]) -> Option<([u8; NONCE], IdentityKey)> {
        if datagram.len() != LEN || datagram[0] != KNOCK {
            return None;
        }
        let (head, sealed) = datagram.split_at(HEADER);
        let nonce: [u8; NONCE] = head[1..].try_into().ok()?;
        let (body, tag) = sealed.split_at(KEY);
        let mut key: [u8; KEY] = body.try_into().ok()?;
        self.cipher()
            .decrypt_in_place_detached(XNonce::from_slice(&nonce), head, &mut key, Tag::from_slice(tag))
            .ok()?;
        Some((nonce, IdentityKey(key)))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.0.as_slice().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identity;

    const ME: IdentityKey = IdentityKey([5; 32]);

    fn key(channel: &str) -> KnockKey {
        ChannelSecret::open(&Identity::from_seed(&[1; 32]).key(), channel).knock_key()
    }

    #[test]
    fn a_knock_is_understood_by_those_who_know_the_channel_and_by_nobody_else() {
        let knock = key("lobby").seal([7; NONCE], &ME);
        assert_eq!(knock.len(), LEN);
        assert_eq!(key("lobby").open(&knock), Some(([7; NONCE], ME)));
        for other in [key("attic"), KnockKey::of_name("lobby")] {
            assert_eq!(other.open(&knock), None);
        }
        let by_name = KnockKey::of_name("lobby").seal([8; NONCE], &ME);
        assert_eq!(KnockKey::of_name("lobby").open(&by_name), Some(([8; NONCE], ME)));
        assert_eq!(key("lobby").open(&by_name), None);
    }

    #[test]
    fn any_changed_bit_and_any_cut_makes_a_knock_unreadable() {
        let knock = key("lobby").seal([7; NONCE], &ME);
        for bit in 0..knock.len() * 8 {
            let mut bent = knock.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key("lobby").open(&bent), None, "bit {bit}");
        }
        for len in 0..knock.len() {
            assert_eq!(key("lobby").open(&knock[..len]), None, "{len} bytes");
        }
        assert_eq!(key("lobby").open(&[&knock[..], &[0]].concat()), None);
    }
}
