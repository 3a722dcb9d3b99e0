use chacha20poly1305::{AeadInPlace, ChaCha20Poly1305, KeyInit, Nonce, Tag};
use wire::{
    IdentityKey, RunId,
    check::{AEAD_TAG, Check, Header},
};
use zeroize::Zeroizing;

use crate::derive;

const LABEL: &str = "punchline pair v1";
const PROOF_LABEL: &str = "punchline pair proof v1";

/// What two members share: one key and one tag for the checks of each direction, and the key of their session's proofs.
///
/// The keys hold for one run at each end, so packet numbers may begin at 0 in each run. Every member of the channel
/// could derive them: they keep strangers and the server out, they don't tell members apart. The session does.
#[derive(Clone)]
pub struct PairKeys {
    out: Direction,
    back: Direction,
    proof: Zeroizing<[u8; 32]>,
}

#[derive(Clone)]
struct Direction {
    cipher: ChaCha20Poly1305,
    tag: u32,
}

impl PairKeys {
    pub(crate) fn new(secret: &[u8; 32], me: (IdentityKey, RunId), peer: (IdentityKey, RunId)) -> Self {
        Self {
            out: Direction::new(secret, me, peer),
            back: Direction::new(secret, peer, me),
            proof: proof_key(secret, me, peer),
        }
    }

    /// The key with which both ends of a session prove to each other that they know the channel secret.
    ///
    /// It follows from both runs, too, which are random and travel in sealed cards alone: somebody outside the channel
    /// who gets hold of a proof can't try passwords on it.
    pub fn proof_key(&self) -> &Zeroizing<[u8; 32]> {
        &self.proof
    }

    /// The tag on what this member sends.
    pub fn my_tag(&self) -> u32 {
        self.out.tag
    }

    /// The tag on what the peer sends to this member.
    pub fn peer_tag(&self) -> u32 {
        self.back.tag
    }

    /// The datagram with this check. A number must not be used twice: it is the nonce.
    pub fn seal(&self, number: u64, check: &Check) -> Vec<u8> {
        let header = Header { tag: self.out.tag, number }.to_bytes();
        let mut sealed = wire::encode(check);
        let tag = self
            .out
            .cipher
            .encrypt_in_place_detached(&nonce(number), &header, &mut sealed)
            .expect("a check is short enough for the cipher");
        [&header[..], &sealed, &tag].concat()
    }

    /// Number and check of a datagram that the peer sealed for this member; `None` for any other. The caller refuses
    /// numbers that it has seen.
    pub fn open(&self, datagram: &[u8]) -> Option<(u64, Check)> {
        let (header, aad, sealed) = Header::split(datagram)?;
        if header.tag != self.back.tag {
            return None;
        }
        let (body, tag) = sealed.split_at_checked(sealed.len() - AEAD_TAG)?;
        let mut body = body.to_vec();
        self.back.cipher.decrypt_in_place_detached(&nonce(header.number), aad, &mut body, Tag::from_slice(tag)).ok()?;
        let check = wire::decode("check", &body).ok()?;
        Some((header.number, check))
    }
}

impl Direction {
    fn new(secret: &[u8; 32], from: (IdentityKey, RunId), to: (IdentityKey, RunId)) -> Self {
        let (from_run, to_run) = (from.1.0.to_be_bytes(), to.1.0.to_be_bytes());
        let keys = derive::expand::<36>(secret, LABEL, &[&from.0.0, &from_run, &to.0.0, &to_run]);
        let (key, tag) = keys.split_at(32);
        let tag = u32::from_be_bytes([tag[0], tag[1], tag[2], tag[3]]);
        Self { cipher: ChaCha20Poly1305::new(key.into()), tag }
    }
}

fn proof_key(secret: &[u8; 32], me: (IdentityKey, RunId), peer: (IdentityKey, RunId)) -> Zeroizing<[u8; 32]> {
    let (low, high) = if me < peer { (me, peer) } else { (peer, me) };
    let (low_run, high_run) = (low.1.0.to_be_bytes(), high.1.0.to_be_bytes());
    derive::expand(secret, PROOF_LABEL, &[&low.0.0, &low_run, &high.0.0, &high_run])
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = Nonce::default();
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChannelSecret, Identity};

    fn pair() -> (PairKeys, PairKeys) {
        let secret = ChannelSecret::open(&Identity::from_seed(&[1; 32]).key(), "lobby");
        let alice = (Identity::from_seed(&[2; 32]).key(), RunId(20));
        let bob = (Identity::from_seed(&[3; 32]).key(), RunId(30));
        (secret.pair_keys(alice, bob), secret.pair_keys(bob, alice))
    }

    #[test]
    fn checks_open_at_the_other_end_and_nowhere_else() {
        let (alice, bob) = pair();
        let check = Check::Pong { txid: 9, observed: "[2001:db8::1]:7".parse().ok() };
        let datagram = alice.seal(5, &check);
        assert!(datagram.len() <= wire::check::MAX);
        assert_eq!(bob.open(&datagram), Some((5, check)));
        assert_eq!(alice.open(&datagram), None, "not reflected");
        assert_eq!((alice.my_tag(), alice.peer_tag()), (bob.peer_tag(), bob.my_tag()));
        assert_ne!(alice.my_tag(), bob.my_tag());
    }

    #[test]
    fn another_run_has_other_keys() {
        let secret = ChannelSecret::open(&Identity::from_seed(&[1; 32]).key(), "lobby");
        let (a, b) = (Identity::from_seed(&[2; 32]).key(), Identity::from_seed(&[3; 32]).key());
        let datagram = secret.pair_keys((a, RunId(1)), (b, RunId(1))).seal(0, &Check::Ping { txid: 1 });
        assert!(secret.pair_keys((b, RunId(1)), (a, RunId(1))).open(&datagram).is_some());
        assert!(secret.pair_keys((b, RunId(2)), (a, RunId(1))).open(&datagram).is_none());
        assert!(secret.pair_keys((b, RunId(1)), (a, RunId(2))).open(&datagram).is_none());
    }

    #[test]
    fn any_changed_bit_and_any_cut_makes_a_check_unreadable() {
        let (alice, bob) = pair();
        let datagram = alice.seal(1, &Check::Ping { txid: 77 });
        for bit in 0..datagram.len() * 8 {
            let mut bent = datagram.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(bob.open(&bent), None, "bit {bit}");
        }
        for len in 0..datagram.len() {
            assert_eq!(bob.open(&datagram[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn sealed_bytes() {
        let (alice, _) = pair();
        let datagram = alice.seal(2, &Check::Ping { txid: 7 });
        assert_eq!(&*crate::hex::encode(&datagram), SEALED);
    }

    #[test]
    fn both_ends_have_one_proof_key_and_no_other_pair_or_run_has_it() {
        let secret = |channel| ChannelSecret::open(&Identity::from_seed(&[1; 32]).key(), channel);
        let [a, b, c] = [2, 3, 4].map(|seed| Identity::from_seed(&[seed; 32]).key());
        let key = |channel, me, peer| **secret(channel).pair_keys(me, peer).proof_key();
        let (alice, bob) = ((a, RunId(1)), (b, RunId(2)));
        assert_eq!(key("lobby", alice, bob), key("lobby", bob, alice));
        let mut keys = vec![
            key("lobby", alice, bob),
            key("kitchen", alice, bob),
            key("lobby", (a, RunId(9)), bob),
            key("lobby", alice, (b, RunId(9))),
            key("lobby", (a, RunId(2)), (b, RunId(1))),
            key("lobby", (c, RunId(1)), bob),
            key("lobby", alice, (c, RunId(2))),
        ];
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn proof_key_bytes() {
        let (alice, bob) = pair();
        assert_eq!(&*crate::hex::encode(alice.proof_key().as_slice()), PROOF_KEY);
        assert_eq!(&*crate::hex::encode(bob.proof_key().as_slice()), PROOF_KEY);
    }

    const PROOF_KEY: &str = "c4ccef7cb6adf6b33a5576cb47bc68277503bd1e0c3ceb160ad8112f394db37a";
    const SEALED: &str = "10446fcae60000000000000002c77c1e81e2536c621235545e2e08579796d9";
}
