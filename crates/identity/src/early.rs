use std::net::{IpAddr, Ipv6Addr};

use chacha20poly1305::{AeadInPlace, ChaCha20Poly1305, KeyInit, Nonce, Tag, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use wire::{
    IdentityKey,
    datagram::EARLY_ANSWER,
    early::{self, AEAD_TAG, EarlyJoin, MAX_JOIN, MAX_JOINED, NONCE, TICKET},
    signal::{Join, Joined, Ticket},
};
use zeroize::Zeroizing;

use crate::derive;

/// What a ticket says, sealed, behind its number.
const TICKET_BODY: usize = TICKET - 8 - AEAD_TAG;

/// Seals tickets for a rendezvous, and knows its own: random for each run, so that tickets end with it.
pub struct TicketKey(Zeroizing<[u8; 32]>);

/// What a ticket says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TicketFacts {
    /// No other ticket of the run has it.
    pub number: u64,
    /// Who may join with it.
    pub member: IdentityKey,
    /// From where.
    pub ip: IpAddr,
    /// Until when, in seconds of the rendezvous' own clock.
    pub until: u32,
}

impl TicketKey {
    /// The key with these bytes, which must be random and secret.
    pub fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// Makes a ticket. A number must not be used twice: it is the nonce.
    pub fn seal(&self, facts: &TicketFacts) -> Ticket {
        let mut body = Vec::with_capacity(TICKET_BODY);
        body.extend_from_slice(&facts.member.0);
        body.extend_from_slice(&to_v6(facts.ip).octets());
        body.extend_from_slice(&facts.until.to_be_bytes());
        let number = facts.number.to_be_bytes();
        let tag = self
            .cipher()
            .encrypt_in_place_detached(&nonce(facts.number), &number, &mut body)
            .expect("a ticket is short enough for the cipher");
        Ticket { sealed: [&number[..], &body, &tag].concat(), key: *self.key_of(facts.number) }
    }

    /// Reads a ticket that this key has sealed, and gives the keys that came with it; `None` for any other bytes.
    pub fn open(&self, ticket: &[u8; TICKET]) -> Option<(TicketFacts, EarlyKeys)> {
        let (number, sealed) = ticket.split_first_chunk()?;
        let (body, tag) = sealed.split_first_chunk::<TICKET_BODY>()?;
        let mut body = *body;
        let counted = u64::from_be_bytes(*number);
        self.cipher().decrypt_in_place_detached(&nonce(counted), number, &mut body, Tag::from_slice(tag)).ok()?;
        let (member, rest) = body.split_first_chunk()?;
        let (ip, until) = rest.split_first_chunk::<16>()?;
        let facts = TicketFacts {
            number: counted,
            member: IdentityKey(*member),
            ip: IpAddr::V6(Ipv6Addr::from(*ip)).to_canonical(),
            until: u32::from_be_bytes(until.try_into().ok()?),
        };
        Some((facts, EarlyKeys::new(&self.key_of(counted))))
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        let key: Zeroizing<[u8; 32]> = derive::expand(&self.0, "punchline ticket v1", &[]);
        ChaCha20Poly1305::new(key.as_slice().into())
    }

    /// Follows from the number, so that the ticket need not carry it.
    fn key_of(&self, number: u64) -> Zeroizing<[u8; 32]> {
        derive::expand(&self.0, "punchline ticket key v1", &[&number.to_be_bytes()])
    }
}

fn to_v6(ip: IpAddr) -> Ipv6Addr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = Nonce::default();
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    nonce
}

/// What follows from the key of one ticket, at both ends.
pub struct EarlyKeys(Zeroizing<[u8; 32]>);

impl EarlyKeys {
    /// The keys of a ticket that came with this one.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*key))
    }

    /// What the join's proof is made over, in the place of a session's exporter value.
    pub fn exporter(&self) -> [u8; 32] {
        *derive::expand(&self.0, "punchline early exporter v1", &[])
    }

    /// The datagram with this join, and the nonce that its answer is sealed with; `None` if the ticket is none, or the join
    /// is too long.
    ///
    /// The nonce is a MAC of what is sealed: it repeats only if everything does, even if a ticket is used twice.
    pub fn seal_join(&self, ticket: &[u8], join: &Join) -> Option<(Vec<u8>, [u8; NONCE])> {
        let ticket = ticket.try_into().ok()?;
        let mut sealed = wire::encode(join);
        if sealed.len() > MAX_JOIN {
            return None;
        }
        sealed.resize(MAX_JOIN, 0);
        let nonce = self.join_nonce(ticket, &sealed);
        let header = EarlyJoin::header(ticket, &nonce);
        let tag = self
            .cipher("punchline early join v1")
            .encrypt_in_place_detached(XNonce::from_slice(&nonce), &header, &mut sealed)
            .expect("a join is short enough for the cipher");
        Some(([&header[..], &sealed, &tag].concat(), nonce))
    }

    /// Opens a join that was sealed with these keys.
    pub fn open_join(&self, datagram: &EarlyJoin<'_>) -> Option<Join> {
        let header = EarlyJoin::header(datagram.ticket, datagram.nonce);
        let body = open(&self.cipher("punchline early join v1"), datagram.nonce, &header, datagram.sealed)?;
        wire::decode("early join", &body).ok()
    }

    /// The answer to the join with this nonce; `None` if it is too long for a datagram. Each join has one answer.
    pub fn seal_answer(&self, nonce: &[u8; NONCE], joined: &Joined) -> Option<Vec<u8>> {
        let mut sealed = wire::encode(joined);
        if sealed.len() > MAX_JOINED {
            return None;
        }
        let tag = self
            .cipher("punchline early answer v1")
            .encrypt_in_place_detached(XNonce::from_slice(nonce), &[EARLY_ANSWER], &mut sealed)
            .expect("an answer is short enough for the cipher");
        Some([&[EARLY_ANSWER], &sealed[..], &tag].concat())
    }

    /// Opens the answer to the join with this nonce.
    pub fn open_answer(&self, nonce: &[u8; NONCE], datagram: &[u8]) -> Option<Joined> {
        let sealed = early::split_answer(datagram)?;
        let body = open(&self.cipher("punchline early answer v1"), nonce, &[EARLY_ANSWER], sealed)?;
        wire::decode("early answer", &body).ok()
    }

    fn cipher(&self, label: &str) -> XChaCha20Poly1305 {
        let key: Zeroizing<[u8; 32]> = derive::expand(&self.0, label, &[]);
        XChaCha20Poly1305::new(key.as_slice().into())
    }

    fn join_nonce(&self, ticket: &[u8; TICKET], join: &[u8]) -> [u8; NONCE] {
        let key: Zeroizing<[u8; 32]> = derive::expand(&self.0, "punchline early nonce v1", &[]);
        let mut mac =
            <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key.as_slice()).expect("a MAC key has any length");
        mac.update(ticket);
        mac.update(join);
        let mut nonce = [0; NONCE];
        nonce.copy_from_slice(&mac.finalize().into_bytes()[..NONCE]);
        nonce
    }
}

fn open(cipher: &XChaCha20Poly1305, nonce: &[u8; NONCE], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (body, tag) = sealed.split_last_chunk::<AEAD_TAG>()?;
    let mut body = body.to_vec();
    cipher.decrypt_in_place_detached(XNonce::from_slice(nonce), aad, &mut body, Tag::from_slice(tag)).ok()?;
    Some(body)
}

#[cfg(test)]
mod tests {
    use wire::{
        MemberSlot,
        signal::{ChannelKind, MAX_CARD},
    };

    use super::*;

    fn facts(number: u64) -> TicketFacts {
        TicketFacts { number, member: IdentityKey([3; 32]), ip: [203, 0, 113, 7].into(), until: 86_400 }
    }

    fn join(card: usize) -> Join {
        let (channel, name) = ("lobby".to_owned(), "alice".to_owned());
        Join { version: wire::VERSION, channel, name, proof: None, card: vec![5; card], hidden: false }
    }

    fn joined(name: &str) -> Joined {
        let (observed, kind) = ("203.0.113.7:1".parse().unwrap(), ChannelKind::Open);
        Joined { slot: MemberSlot(4), name: name.into(), observed, kind, roster: vec![], relay: None, ticket: None }
    }

    fn opened(datagram: &[u8]) -> Option<Join> {
        let join = EarlyJoin::split(datagram)?;
        TicketKey::new([1; 32]).open(join.ticket)?.1.open_join(&join)
    }

    #[test]
    fn a_ticket_says_what_was_put_in_to_its_maker_alone() {
        let key = TicketKey::new([1; 32]);
        for ip in ["203.0.113.7", "2001:db8::7", "::ffff:203.0.113.7"].map(|ip| ip.parse::<IpAddr>().unwrap()) {
            let facts = TicketFacts { ip, ..facts(9) };
            let sealed = key.seal(&facts).sealed.try_into().unwrap();
            assert_eq!(key.open(&sealed).unwrap().0, TicketFacts { ip: ip.to_canonical(), ..facts });
            assert!(TicketKey::new([2; 32]).open(&sealed).is_none(), "another run");
        }
    }

    #[test]
    fn each_ticket_has_its_own_key() {
        let key = TicketKey::new([1; 32]);
        assert_ne!(key.seal(&facts(1)).key, key.seal(&facts(2)).key);
        assert_ne!(key.seal(&facts(1)).key, TicketKey::new([2; 32]).seal(&facts(1)).key);
    }

    #[test]
    fn join_and_answer_open_at_the_other_end() {
        let ticket = TicketKey::new([1; 32]).seal(&facts(9));
        let ours = EarlyKeys::new(&ticket.key);
        let (datagram, nonce) = ours.seal_join(&ticket.sealed, &join(300)).unwrap();
        assert_eq!(datagram.len(), early::DATAGRAM);

        let split = EarlyJoin::split(&datagram).unwrap();
        let (facts_read, theirs) = TicketKey::new([1; 32]).open(split.ticket).unwrap();
        assert_eq!((facts_read, theirs.open_join(&split)), (facts(9), Some(join(300))));
        assert_eq!(ours.exporter(), theirs.exporter());

        let answer = theirs.seal_answer(split.nonce, &joined("alice")).unwrap();
        assert_eq!(ours.open_answer(&nonce, &answer), Some(joined("alice")));
        assert_eq!(ours.open_answer(&[0; NONCE], &answer), None, "the answer to another join");
    }

    #[test]
    fn any_changed_bit_and_any_cut_makes_a_join_unreadable() {
        let ticket = TicketKey::new([1; 32]).seal(&facts(9));
        let (datagram, _) = EarlyKeys::new(&ticket.key).seal_join(&ticket.sealed, &join(30)).unwrap();
        assert!(opened(&datagram).is_some());
        for bit in 0..datagram.len() * 8 {
            let mut bent = datagram.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(opened(&bent), None, "bit {bit}");
        }
        for len in 0..datagram.len() {
            assert_eq!(opened(&datagram[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn what_does_not_fit_a_datagram_is_not_sealed() {
        let ticket = TicketKey::new([1; 32]).seal(&facts(9));
        let keys = EarlyKeys::new(&ticket.key);
        assert!(keys.seal_join(&ticket.sealed, &join(MAX_CARD)).is_some());
        assert!(keys.seal_join(&ticket.sealed, &join(MAX_JOIN)).is_none());
        assert!(keys.seal_join(&ticket.sealed[1..], &join(1)).is_none(), "no ticket");
        assert!(keys.seal_answer(&[0; NONCE], &joined(&"x".repeat(MAX_JOINED))).is_none());
    }

    #[test]
    fn another_join_with_the_same_ticket_has_another_nonce() {
        let ticket = TicketKey::new([1; 32]).seal(&facts(9));
        let seal = |card| EarlyKeys::new(&ticket.key).seal_join(&ticket.sealed, &join(card)).unwrap();
        assert_eq!(seal(1), seal(1));
        assert_ne!(seal(1).1, seal(2).1);
    }
}
