//! Which tickets are good, and which have been used.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use identity::{EarlyKeys, TicketFacts, TicketKey};
use wire::{
    IdentityKey,
    early::EarlyJoin,
    signal::{Join, TICKET_LIFETIME, Ticket},
};

/// How many tickets back one may still be used: a bit each is kept of them, 32 KiB.
const WINDOW: u64 = 1 << 18;

/// The tickets of one run of a rendezvous.
pub(crate) struct Tickets {
    key: TicketKey,
    began: Instant,
    /// The next ticket's number.
    next: u64,
    /// A bit for each of the last [`WINDOW`] tickets, at its number's place: whether it has been used.
    used: Box<[u64]>,
}

/// An early join whose ticket is good, and used up by this.
pub(crate) struct Opened {
    pub(crate) facts: TicketFacts,
    pub(crate) keys: EarlyKeys,
    pub(crate) join: Join,
}

/// Why an early join gets silence.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum BadTicket {
    #[error("a ticket of another run, or none")]
    NotOurs,
    #[error("the ticket is for another address")]
    Elsewhere,
    #[error("the ticket has expired")]
    Expired,
    #[error("the ticket has been used, or is one of long ago")]
    Used,
    #[error("the join is not sealed with the ticket's key")]
    NotSealed,
}

impl Tickets {
    /// `key` must be random and secret.
    pub(crate) fn new(key: [u8; 32], now: Instant) -> Self {
        let used = vec![0; (WINDOW / 64) as usize].into_boxed_slice();
        Self { key: TicketKey::new(key), began: now, next: 0, used }
    }

    /// Makes a ticket for a member whose session validates its address; gives its number, too.
    pub(crate) fn issue(&mut self, member: IdentityKey, ip: IpAddr, now: Instant) -> (u64, Ticket) {
        let number = self.next;
        self.next += 1;
        let (word, bit) = place(number);
        self.used[word] &= !bit;
        let until = self.seconds(now).saturating_add(TICKET_LIFETIME.as_secs() as u32);
        (number, self.key.seal(&TicketFacts { number, member, ip, until }))
    }

    /// Opens an early join, and marks its ticket as used.
    pub(crate) fn open(&mut self, join: &EarlyJoin<'_>, from: IpAddr, now: Instant) -> Result<Opened, BadTicket> {
        // The short ticket first: garbage costs no more than that.
        let (facts, keys) = self.key.open(join.ticket).ok_or(BadTicket::NotOurs)?;
        if facts.ip != from.to_canonical() {
            return Err(BadTicket::Elsewhere);
        }
        if self.seconds(now) >= facts.until {
            return Err(BadTicket::Expired);
        }
        let (word, bit) = place(facts.number);
        if facts.number + WINDOW < self.next || self.used[word] & bit != 0 {
            return Err(BadTicket::Used);
        }
        let join = keys.open_join(join).ok_or(BadTicket::NotSealed)?;
        // Who does not know the key can't use a ticket up.
        self.used[word] |= bit;
        Ok(Opened { facts, keys, join })
    }

    fn seconds(&self, now: Instant) -> u32 {
        let running: Duration = now.saturating_duration_since(self.began);
        u32::try_from(running.as_secs()).unwrap_or(u32::MAX)
    }
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tickets").field("next", &self.next).finish_non_exhaustive()
    }
}

fn place(number: u64) -> (usize, u64) {
    let at = number % WINDOW;
    ((at / 64) as usize, 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: IdentityKey = IdentityKey([3; 32]);

    fn ip() -> IpAddr {
        [203, 0, 113, 7].into()
    }

    fn tickets() -> (Tickets, Instant) {
        #[allow(clippy::disallowed_methods, reason = "a test's time starts somewhere")]
        let now = Instant::now();
        (Tickets::new([1; 32], now), now)
    }

    fn join(ticket: &Ticket) -> Vec<u8> {
        let (channel, name) = ("lobby".to_owned(), "alice".to_owned());
        let join = Join { version: wire::VERSION, channel, name, proof: None, card: vec![5], hidden: false };
        EarlyKeys::new(&ticket.key).seal_join(&ticket.sealed, &join).unwrap().0
    }

    fn open(tickets: &mut Tickets, datagram: &[u8], from: IpAddr, now: Instant) -> Result<u64, BadTicket> {
        tickets.open(&EarlyJoin::split(datagram).unwrap(), from, now).map(|opened| opened.facts.number)
    }

    #[test]
    fn a_ticket_is_good_once() {
        let (mut tickets, now) = tickets();
        let (number, ticket) = tickets.issue(MEMBER, ip(), now);
        let datagram = join(&ticket);
        assert_eq!(open(&mut tickets, &datagram, ip(), now), Ok(number));
        assert_eq!(open(&mut tickets, &datagram, ip(), now), Err(BadTicket::Used));
    }

    #[test]
    fn a_ticket_is_good_from_its_own_address_alone() {
        let (mut tickets, now) = tickets();
        let datagram = join(&tickets.issue(MEMBER, "::ffff:203.0.113.7".parse().unwrap(), now).1);
        assert_eq!(open(&mut tickets, &datagram, [203, 0, 113, 8].into(), now), Err(BadTicket::Elsewhere));
        assert_eq!(open(&mut tickets, &datagram, ip(), now), Ok(0), "who used it elsewhere has not used it up");
    }

    #[test]
    fn a_ticket_is_good_for_a_day_in_one_run() {
        let (mut tickets, now) = tickets();
        let later = now + Duration::from_secs(1000);
        let datagram = join(&tickets.issue(MEMBER, ip(), later).1);
        assert_eq!(open(&mut tickets, &datagram, ip(), later + TICKET_LIFETIME), Err(BadTicket::Expired));
        let (mut restarted, _) = (Tickets::new([2; 32], now), now);
        assert_eq!(open(&mut restarted, &datagram, ip(), later), Err(BadTicket::NotOurs));
        let last = later + TICKET_LIFETIME - Duration::from_secs(1);
        assert_eq!(open(&mut tickets, &datagram, ip(), last), Ok(0));
    }

    #[test]
    fn who_does_not_know_the_key_does_not_use_a_ticket_up() {
        let (mut tickets, now) = tickets();
        let mut datagram = join(&tickets.issue(MEMBER, ip(), now).1);
        let last = datagram.len() - 1;
        datagram[last] ^= 1;
        assert_eq!(open(&mut tickets, &datagram, ip(), now), Err(BadTicket::NotSealed));
        datagram[last] ^= 1;
        assert_eq!(open(&mut tickets, &datagram, ip(), now), Ok(0));
    }

    #[test]
    fn a_ticket_that_is_too_old_to_be_remembered_is_refused_and_its_place_is_used_again() {
        let (mut tickets, now) = tickets();
        let first = join(&tickets.issue(MEMBER, ip(), now).1);
        let second = join(&tickets.issue(MEMBER, ip(), now).1);
        assert_eq!(open(&mut tickets, &first, ip(), now), Ok(0));
        tickets.next = WINDOW;
        let (number, last) = tickets.issue(MEMBER, ip(), now);
        assert_eq!(number, WINDOW);
        assert_eq!(open(&mut tickets, &first, ip(), now), Err(BadTicket::Used));
        assert_eq!(open(&mut tickets, &second, ip(), now), Ok(1));
        assert_eq!(open(&mut tickets, &join(&last), ip(), now), Ok(WINDOW));
    }
}
