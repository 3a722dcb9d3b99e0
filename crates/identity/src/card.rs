use chacha20poly1305::{AeadInPlace, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use wire::{
    DecodeError, IdentityKey,
    signal::{Card, MAX_CANDIDATES, MAX_CARD, Signature},
};
use zeroize::Zeroizing;

use crate::{ChannelSecret, Identity, verify};

const NONCE: usize = 24;
const TAG: usize = 16;
const SIGNATURE: usize = 64;

/// A sealed card can't be believed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CardError {
    /// It is shorter or longer than a card can be.
    #[error("{0} bytes are not a sealed card")]
    Length(usize),
    /// It was sealed with another secret, for another member, or changed on the way.
    #[error("the card was not sealed with this channel's secret")]
    Seal,
    /// Somebody else in the channel made it.
    #[error("the card is not signed by the member it names")]
    Signature,
    /// It is no card.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It lists more candidates than it may.
    #[error("the card lists {0} candidates, at most {MAX_CANDIDATES} are allowed")]
    Candidates(usize),
}

/// A sealed card is `nonce (24) | sealed (signature (64) | card) | AEAD tag (16)`, XChaCha20-Poly1305, with the
/// member's key as associated data. The nonce is a MAC of what is sealed: it repeats only if everything does, and
/// sealing needs no randomness.
///
/// The server may hand out an old card of a member again. That card is of an old run, or has old addresses: calls with
/// that member fail, which the server can have more simply.
impl ChannelSecret {
    /// Seals `card`, signed by `me`, for the members of the channel.
    pub fn seal_card(&self, me: &Identity, card: &Card) -> Vec<u8> {
        let member = me.key();
        let card = wire::encode(card);
        let signature = me.sign(&self.card_statement(&card));
        let mut sealed = [&signature.0[..], &card].concat();
        let nonce = self.card_nonce(&member, &sealed);
        let tag = self
            .card_cipher()
            .encrypt_in_place_detached(&nonce, &member.0, &mut sealed)
            .expect("a card is short enough for the cipher");
        [&nonce[..], &sealed, &tag].concat()
    }

    /// Opens a card that `from` sealed.
    ///
    /// # Errors
    /// [`CardError`] if it can't be believed.
    pub fn open_card(&self, from: &IdentityKey, sealed: &[u8]) -> Result<Card, CardError> {
        if sealed.len() < NONCE + SIGNATURE + TAG || sealed.len() > MAX_CARD {
            return Err(CardError::Length(sealed.len()));
        }
        let (nonce, sealed) = sealed.split_at(NONCE);
        let (body, tag) = sealed.split_at(sealed.len() - TAG);
        let mut body = body.to_vec();
        self.card_cipher()
            .decrypt_in_place_detached(XNonce::from_slice(nonce), &from.0, &mut body, Tag::from_slice(tag))
            .map_err(|_| CardError::Seal)?;
        let (signature, card) = body.split_at(SIGNATURE);
        if !verify(from, &self.card_statement(card), &Signature(signature.to_vec())) {
            return Err(CardError::Signature);
        }
        let card: Card = wire::decode("card", card)?;
        match card.candidates.len() {
            0..=MAX_CANDIDATES => Ok(card),
            count => Err(CardError::Candidates(count)),
        }
    }

    fn card_cipher(&self) -> XChaCha20Poly1305 {
        let key: Zeroizing<[u8; 32]> = self.expand("punchline card v2");
        XChaCha20Poly1305::new(key.as_slice().into())
    }

    fn card_nonce(&self, member: &IdentityKey, sealed: &[u8]) -> XNonce {
        let key: Zeroizing<[u8; 32]> = self.expand("punchline card nonce v2");
        let mut mac =
            <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key.as_slice()).expect("a MAC key has any length");
        mac.update(&member.0);
        mac.update(sealed);
        *XNonce::from_slice(&mac.finalize().into_bytes()[..NONCE])
    }

    /// What a member signs: the card, in this channel and no other that it may be in.
    fn card_statement(&self, card: &[u8]) -> Vec<u8> {
        let channel: Zeroizing<[u8; 32]> = self.expand("punchline card channel v1");
        [b"punchline card statement v2\0", channel.as_slice(), card].concat()
    }
}

#[cfg(test)]
mod tests {
    use wire::{
        EphemeralKey, RunId,
        nat::{MAX_SEEN, Mapping, NatFacts, Ports, Seen},
        signal::{Candidate, CandidateKind},
    };

    use super::*;

    fn secret() -> ChannelSecret {
        ChannelSecret::open(&Identity::from_seed(&[1; 32]).key(), "lobby")
    }

    fn card(candidates: usize) -> Card {
        let candidate = |i| Candidate {
            addr: format!("[2001:db8:ffff:ffff:ffff:ffff:ffff:{i:x}]:65535").parse().unwrap(),
            kind: CandidateKind::Advertised,
        };
        Card {
            run: RunId(u64::MAX),
            ephemeral: EphemeralKey([255; 32]),
            serial: u64::MAX,
            name: "n".repeat(128),
            candidates: (0..candidates).map(candidate).collect(),
            nat: None,
        }
    }

    #[test]
    fn the_longest_card_is_not_too_long() {
        let at = "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap();
        let nat = NatFacts {
            mapping: Some(Mapping::Apdm),
            ports: Some(Ports::Block { first: 61_440, size: 4096 }),
            mapped: Some(at),
            seen: vec![Seen { by: at, at }; MAX_SEEN],
            ..NatFacts::default()
        };
        let card = Card { nat: Some(nat), ..card(MAX_CANDIDATES) };
        let alice = Identity::from_seed(&[2; 32]);
        let sealed = secret().seal_card(&alice, &card);
        assert!(sealed.len() <= MAX_CARD, "{} bytes", sealed.len());
        assert_eq!(secret().open_card(&alice.key(), &sealed), Ok(card));
    }

    #[test]
    fn members_read_each_others_cards() {
        let alice = Identity::from_seed(&[2; 32]);
        let sealed = secret().seal_card(&alice, &card(MAX_CANDIDATES));
        assert!(sealed.len() <= MAX_CARD, "{} bytes", sealed.len());
        assert_eq!(secret().open_card(&alice.key(), &sealed), Ok(card(MAX_CANDIDATES)));
        assert_eq!(secret().seal_card(&alice, &card(MAX_CANDIDATES)), sealed, "no randomness");
    }

    #[test]
    fn the_server_can_neither_read_nor_swap_nor_change_a_card() {
        let (alice, bob) = (Identity::from_seed(&[2; 32]), Identity::from_seed(&[3; 32]));
        let sealed = secret().seal_card(&alice, &card(1));
        let another_channel = ChannelSecret::open(&Identity::from_seed(&[1; 32]).key(), "lobby2");
        assert_eq!(another_channel.open_card(&alice.key(), &sealed), Err(CardError::Seal));
        assert_eq!(secret().open_card(&bob.key(), &sealed), Err(CardError::Seal));
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert_eq!(secret().open_card(&alice.key(), &bent), Err(CardError::Seal), "byte {at}");
        }
    }

    #[test]
    fn a_member_cannot_speak_for_another() {
        let (alice, mallory) = (Identity::from_seed(&[2; 32]), Identity::from_seed(&[3; 32]));
        let body = wire::encode(&card(1));
        let signature = mallory.sign(&secret().card_statement(&body));
        let mut sealed = [&signature.0[..], &body].concat();
        let nonce = secret().card_nonce(&alice.key(), &sealed);
        let tag = secret().card_cipher().encrypt_in_place_detached(&nonce, &alice.key().0, &mut sealed).unwrap();
        let forged = [&nonce[..], &sealed, &tag].concat();
        assert_eq!(secret().open_card(&alice.key(), &forged), Err(CardError::Signature));
    }

    #[test]
    fn what_is_too_short_or_too_long_or_lists_too_much_is_refused() {
        let alice = Identity::from_seed(&[2; 32]);
        for len in [0, 1, NONCE + SIGNATURE + TAG - 1, MAX_CARD + 1] {
            assert_eq!(secret().open_card(&alice.key(), &vec![0; len]), Err(CardError::Length(len)));
        }
        let sealed = secret().seal_card(&alice, &card(MAX_CANDIDATES + 1));
        assert_eq!(secret().open_card(&alice.key(), &sealed), Err(CardError::Candidates(MAX_CANDIDATES + 1)));
    }
}
