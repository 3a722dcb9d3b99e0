//! Seats that are taken before their session is up, by those who were here before.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use identity::EarlyKeys;
use wire::{
    IdentityKey,
    early::{EarlyJoin, NONCE},
    signal::{Join, Joined, ToMember},
};

use super::{ConnId, Origin, Registry};
use crate::{name::ChannelName, tickets::Tickets};

/// A seat whose session has not come by then is emptied.
pub(super) const SESSION_WITHIN: Duration = Duration::from_secs(5);
/// Sets the names of what stands for sessions that are to come apart from the caller's; its tickets' numbers are the rest.
const EARLY: u64 = 1 << 63;

impl ConnId {
    /// Whether this stands for a session that is to come: [`Registry::handle_early_join`].
    pub fn is_early(self) -> bool {
        self.0 & EARLY != 0
    }
}

/// Tickets, and who has used one and has no session yet.
#[derive(Debug)]
pub(super) struct Early {
    tickets: Tickets,
    waiting: HashMap<ConnId, Waiting>,
}

struct Waiting {
    /// As the caller names it.
    from: SocketAddr,
    keys: EarlyKeys,
    nonce: [u8; NONCE],
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("from", &self.from).finish_non_exhaustive()
    }
}

impl Registry {
    /// Gives every member a ticket from here on. The key must be random, secret, and another in each run.
    pub fn give_tickets(&mut self, key: [u8; 32], now: Instant) {
        self.early = Some(Early { tickets: Tickets::new(key, now), waiting: HashMap::new() });
    }

    /// A datagram came that begins with [`EARLY_JOIN`](wire::datagram::EARLY_JOIN). If its ticket is good, somebody takes a
    /// seat by it, in the name of a session that [is to come](ConnId::is_early) and that takes the seat over by a join of
    /// its own; else it gets silence, and a session is what is left.
    pub fn handle_early_join(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        let Some(split) = EarlyJoin::split(datagram) else { return };
        let Some(early) = &mut self.early else { return };
        let opened = match early.tickets.open(&split, from.ip(), now) {
            Ok(opened) => opened,
            Err(why) => return tracing::debug!(%why, "Ignored an early join"),
        };
        let (number, member, join) = (opened.facts.number, opened.facts.member, opened.join);
        if self.has_later_ticket(&join, member, number) {
            return tracing::debug!("Ignored an early join that was held up on its way");
        }
        let conn = ConnId(EARLY | number);
        if let Err(why) = self.add_session(conn, member, Origin::Datagrams(from), opened.keys.exporter(), now) {
            return tracing::debug!(%why, "Ignored an early join");
        }
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.ticket = Some(number);
        }
        if let Some(early) = &mut self.early {
            early.waiting.insert(conn, Waiting { from, keys: opened.keys, nonce: *split.nonce });
        }
        if let Err(refusal) = self.join(conn, join, now) {
            // The join of its session will be told.
            tracing::debug!(%refusal, "Refused an early join");
            self.forget(conn);
        }
    }

    /// The datagram that tells a member with an early seat of it, and where it goes; `None` if that is too much for a
    /// datagram, and the member has to wait for its session.
    pub fn early_answer(&self, conn: ConnId, joined: &Joined) -> Option<(SocketAddr, Vec<u8>)> {
        let waiting = self.early.as_ref()?.waiting.get(&conn)?;
        Some((waiting.from, waiting.keys.seal_answer(&waiting.nonce, joined)?))
    }

    /// Where a member with an early seat is, as [`Self::handle_early_join`] was told.
    pub fn early_source(&self, conn: ConnId) -> Option<SocketAddr> {
        Some(self.early.as_ref()?.waiting.get(&conn)?.from)
    }

    /// Whether the member's seat is held by somebody with a later ticket: a datagram that was kept back must put nobody out.
    fn has_later_ticket(&self, join: &Join, member: IdentityKey, number: u64) -> bool {
        let seat = ChannelName::parse(&join.channel).ok().and_then(|name| {
            let channel = self.channels.get(&name)?;
            channel.seats().find(|(_, seat)| seat.key == member).map(|(_, seat)| seat.conn)
        });
        let session = seat.and_then(|conn| self.sessions.get(&conn));
        session.is_some_and(|session| session.ticket > Some(number))
    }

    /// A ticket for a member whose session is up.
    pub(super) fn new_ticket(&mut self, conn: ConnId, now: Instant) -> Option<wire::signal::Ticket> {
        let early = self.early.as_mut().filter(|_| !conn.is_early())?;
        let session = self.sessions.get_mut(&conn)?;
        let (number, ticket) = early.tickets.issue(session.key, session.origin.address().ip(), now);
        session.ticket = Some(number);
        Some(ticket)
    }

    /// The member has another IP address: its ticket is good for nothing.
    pub(super) fn replace_ticket(&mut self, conn: ConnId, now: Instant) {
        if let Some(ticket) = self.new_ticket(conn, now) {
            self.send(conn, ToMember::Ticket(ticket));
        }
    }

    pub(super) fn forget_early(&mut self, conn: ConnId) {
        if let Some(early) = &mut self.early {
            early.waiting.remove(&conn);
        }
    }
}
