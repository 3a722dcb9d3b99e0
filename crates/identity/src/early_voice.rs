use std::fmt;

use chacha20poly1305::{AeadInPlace, ChaCha20Poly1305, KeyInit, Nonce, Tag};
use wire::{
    EphemeralKey, IdentityKey, RunId,
    early_voice::{AEAD_TAG, Header},
    voice::MAX_PACKET,
};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::{ChannelSecret, derive};

const SALT: &str = "punchline early voice v1";
const LABEL: &str = "punchline early voice key v1";

/// An X25519 key pair (RFC 7748) of one run; wiped from memory when dropped, never shown, never written.
pub struct Ephemeral(StaticSecret);

impl Ephemeral {
    /// Makes a key pair from the operating system's randomness.
    ///
    /// # Panics
    /// If the operating system has none.
    pub fn generate() -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(secret.as_mut()).expect("the operating system has randomness");
        Self::from_bytes(&secret)
    }

    /// The key pair with this RFC 7748 private key.
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        Self(StaticSecret::from(*secret))
    }

    /// The public key, which a card brings to the other members.
    pub fn key(&self) -> EphemeralKey {
        EphemeralKey(PublicKey::from(&self.0).to_bytes())
    }

    /// `None` if the result does not depend on this key (RFC 7748, 6.1): no honest peer has such a key.
    fn agree(&self, with: &EphemeralKey) -> Option<Zeroizing<[u8; 32]>> {
        let shared = self.0.diffie_hellman(&PublicKey::from(with.0));
        shared.was_contributory().then(|| Zeroizing::new(shared.to_bytes()))
    }
}

impl fmt::Debug for Ephemeral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ephemeral(..)")
    }
}

/// The keys of early voice between two members, one for each direction.
///
/// They follow from the ephemeral keys of both runs, which signed cards have brought: unlike those of [`crate::PairKeys`],
/// nobody else has them, be it another member or the rendezvous; and with the two runs, they are gone.
pub struct EarlyVoiceKeys {
    out: ChaCha20Poly1305,
    back: ChaCha20Poly1305,
}

/// One end: who, in which run, and the run's key.
type End = (IdentityKey, RunId, EphemeralKey);

impl ChannelSecret {
    /// The keys of early voice between this member and a peer whose verified card says this; `None` if the card's key is
    /// none.
    pub fn early_voice_keys(
        &self,
        ephemeral: &Ephemeral,
        (me, run): (IdentityKey, RunId),
        peer: (IdentityKey, RunId, EphemeralKey),
    ) -> Option<EarlyVoiceKeys> {
        let me = (me, run, ephemeral.key());
        let agreed = ephemeral.agree(&peer.2)?;
        let secret = derive::extract(self.expand::<32>(SALT), &[agreed.as_slice()]);
        Some(EarlyVoiceKeys { out: direction(&secret, me, peer), back: direction(&secret, peer, me) })
    }
}

fn direction(secret: &[u8; 32], from: End, to: End) -> ChaCha20Poly1305 {
    let (from_run, to_run) = (from.1.0.to_be_bytes(), to.1.0.to_be_bytes());
    let ends: [&[u8]; 6] = [&from.0.0, &from_run, &from.2.0, &to.0.0, &to_run, &to.2.0];
    let key: Zeroizing<[u8; 32]> = derive::expand(secret, LABEL, &ends);
    ChaCha20Poly1305::new(key.as_slice().into())
}

impl EarlyVoiceKeys {
    /// The datagram with this packet; `None` if the packet is empty or too long. A number must not be used twice: it is
    /// the nonce.
    pub fn seal(&self, number: u64, packet: &[u8]) -> Option<Vec<u8>> {
        if !(1..=MAX_PACKET).contains(&packet.len()) {
            return None;
        }
        let header = Header { number }.to_bytes();
        let mut sealed = packet.to_vec();
        let tag = self.out.encrypt_in_place_detached(&nonce(number), &header, &mut sealed).ok()?;
        Some([&header[..], &sealed, &tag].concat())
    }

    /// Number and packet of a datagram that the peer sealed for this member; `None` for any other. The caller refuses
    /// numbers that it has seen.
    pub fn open(&self, datagram: &[u8]) -> Option<(u64, Vec<u8>)> {
        let (header, aad, sealed) = Header::split(datagram)?;
        let (body, tag) = sealed.split_last_chunk::<AEAD_TAG>()?;
        let mut packet = body.to_vec();
        self.back.decrypt_in_place_detached(&nonce(header.number), aad, &mut packet, Tag::from_slice(tag)).ok()?;
        Some((header.number, packet))
    }
}

impl fmt::Debug for EarlyVoiceKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EarlyVoiceKeys(..)")
    }
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = Nonce::default();
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identity;

    /// A member in one of its runs.
    struct Member {
        key: IdentityKey,
        run: RunId,
        ephemeral: Ephemeral,
    }

    impl Member {
        fn new(identity: u8, run: u64, ephemeral: u8) -> Self {
            let key = Identity::from_seed(&[identity; 32]).key();
            Self { key, run: RunId(run), ephemeral: Ephemeral::from_bytes(&[ephemeral; 32]) }
        }

        fn keys(&self, channel: &str, peer: &Self) -> EarlyVoiceKeys {
            let told = (peer.key, peer.run, peer.ephemeral.key());
            secret(channel).early_voice_keys(&self.ephemeral, (self.key, self.run), told).unwrap()
        }
    }

    fn secret(channel: &str) -> ChannelSecret {
        ChannelSecret::open(&Identity::from_seed(&[1; 32]).key(), channel)
    }

    fn alice() -> Member {
        Member::new(2, 20, 120)
    }

    fn bob() -> Member {
        Member::new(3, 30, 130)
    }

    #[test]
    fn what_one_says_the_other_hears_in_both_directions() {
        let (left, right) = (alice().keys("lobby", &bob()), bob().keys("lobby", &alice()));
        assert_eq!(right.open(&left.seal(7, b"frame").unwrap()), Some((7, b"frame".to_vec())));
        assert_eq!(left.open(&right.seal(7, b"other").unwrap()), Some((7, b"other".to_vec())));
    }

    #[test]
    fn each_direction_has_a_key_of_its_own() {
        let (left, right) = (alice().keys("lobby", &bob()), bob().keys("lobby", &alice()));
        let said = left.seal(0, b"frame").unwrap();
        assert_eq!(left.open(&said), None, "not reflected");
        assert_ne!(said, right.seal(0, b"frame").unwrap());
    }

    #[test]
    fn nobody_else_and_no_other_run_or_channel_hears_it() {
        let said = alice().keys("lobby", &bob()).seal(0, b"frame").unwrap();
        let others = [
            ("another member", Member::new(4, 30, 140), alice()),
            ("another member under Bob's name and run", Member::new(3, 30, 140), alice()),
            ("who has Bob's ephemeral key, but not his name", Member::new(4, 30, 130), alice()),
            ("Bob in another run", Member::new(3, 31, 130), alice()),
            ("Bob, who took Alice for somebody else", bob(), Member::new(4, 20, 120)),
            ("Bob, who was told of another run of Alice", bob(), Member::new(2, 21, 120)),
            ("Bob, who was given another ephemeral key of Alice", bob(), Member::new(2, 20, 121)),
        ];
        for (who, me, peer) in others {
            assert_eq!(me.keys("lobby", &peer).open(&said), None, "{who}");
        }
        assert_eq!(bob().keys("kitchen", &alice()).open(&said), None, "another channel");
        assert!(bob().keys("lobby", &alice()).open(&said).is_some());
    }

    /// The points of low order (RFC 7748, 6.1), and those that are the same modulo the prime.
    #[test]
    fn a_key_that_makes_the_secret_known_to_all_is_refused() {
        let order_8 = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800";
        let also_8 = "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157";
        let p_and = |last: u8| {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (last, 0x7f);
            bytes
        };
        let mut one = [0; 32];
        one[0] = 1;
        let hex = |text: &str| crate::hex::decode(text).unwrap();
        let low: [[u8; 32]; 7] = [[0; 32], one, *hex(order_8), *hex(also_8), p_and(0xec), p_and(0xed), p_and(0xee)];
        for key in low {
            let peer = (bob().key, bob().run, EphemeralKey(key));
            let keys = secret("lobby").early_voice_keys(&alice().ephemeral, (alice().key, alice().run), peer);
            assert!(keys.is_none(), "{key:?}");
        }
    }

    #[test]
    fn any_changed_bit_and_any_cut_makes_it_unreadable() {
        let (left, right) = (alice().keys("lobby", &bob()), bob().keys("lobby", &alice()));
        let said = left.seal(1, b"frame").unwrap();
        for bit in 0..said.len() * 8 {
            let mut bent = said.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(right.open(&bent), None, "bit {bit}");
        }
        for len in 0..said.len() {
            assert_eq!(right.open(&said[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn what_is_no_packet_is_not_sealed() {
        let keys = alice().keys("lobby", &bob());
        assert!(keys.seal(0, &[]).is_none());
        assert!(keys.seal(1, &[0; MAX_PACKET + 1]).is_none());
        let longest = keys.seal(2, &[5; MAX_PACKET]).unwrap();
        assert_eq!(longest.len(), wire::early_voice::MAX);
        assert_eq!(bob().keys("lobby", &alice()).open(&longest), Some((2, vec![5; MAX_PACKET])));
    }

    #[test]
    fn each_generated_key_is_another_and_none_is_shown() {
        let (one, other) = (Ephemeral::generate(), Ephemeral::generate());
        assert_ne!(one.key(), other.key());
        assert_eq!(format!("{one:?}"), "Ephemeral(..)");
    }

    /// RFC 7748, 6.1.
    #[test]
    fn the_agreement_is_that_of_the_standard() {
        let hex = |text: &str| crate::hex::decode::<32>(text).unwrap();
        let bob = Ephemeral::from_bytes(&hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
        let alice = EphemeralKey(*hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
        let shared = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        assert_eq!(bob.key(), EphemeralKey(*hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")));
        assert_eq!(bob.agree(&alice), Some(shared));
    }

    #[test]
    fn sealed_bytes() {
        let datagram = alice().keys("lobby", &bob()).seal(2, b"frame").unwrap();
        assert_eq!(&*crate::hex::encode(&datagram), SEALED);
    }

    const SEALED: &str = "140000000000000002e26e68fec81c360735b1fbcb424cc2ee57b3f6f176";
}
