//! The way into a channel whose rendezvous this member has met before: by one datagram, beside the session that is being made.
//!
//! The datagram and its answer take one round trip, as the session's handshake does; so the member is in the channel, and the
//! others know of it, one round trip before the session could have said so. The session joins all the same, and takes the seat
//! over. If there is no answer, nothing is lost.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use identity::EarlyKeys;
use wire::{
    MemberSlot,
    early::NONCE,
    signal::{Joined, Ticket, ToServer},
};

use crate::{Event, Mesh, Secret, ServerEvent, Transmit, signalling::State};

/// When the datagram is sent again if there is neither an answer nor a session.
const COPIES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(300)];

/// How it stands with the early join.
#[derive(Default)]
pub(crate) struct Early {
    /// For the next attempt.
    ticket: Option<Ticket>,
    asked: Option<Asked>,
    /// The seat that an answer has told of, until the session does.
    seat: Option<MemberSlot>,
}

/// An early join on its way.
struct Asked {
    keys: EarlyKeys,
    nonce: [u8; NONCE],
    datagram: Bytes,
    /// When it is sent again; the earliest first.
    copies: Vec<Instant>,
}

impl Early {
    pub(crate) fn new(ticket: Option<Ticket>) -> Self {
        Self { ticket, ..Self::default() }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.asked.as_ref()?.copies.first().copied()
    }
}

impl Mesh {
    /// An attempt begins. Each ticket is for one.
    pub(crate) fn early_begins(&mut self, now: Instant) {
        (self.early.asked, self.early.seat) = (None, None);
        let (Some(ticket), Some(server)) = (self.early.ticket.take(), self.config.server_key) else { return };
        // To make a secret of a password takes longer than the round trip that could be saved.
        if self.secret.is_none() && matches!(self.config.secret, Secret::Deferred) || !self.take_secret(server) {
            return;
        }
        let keys = EarlyKeys::new(&ticket.key);
        let Some(ToServer::Join(join)) = self.join_request(&keys.exporter()) else { return };
        let Some((datagram, nonce)) = keys.seal_join(&ticket.sealed, &join) else {
            return tracing::debug!("no early join: it does not fit a datagram");
        };
        let datagram = Bytes::from(datagram);
        self.transmits.push_back(Transmit::from_main(self.config.server, datagram.clone()));
        let copies = COPIES.iter().map(|after| now + *after).collect();
        self.early.asked = Some(Asked { keys, nonce, datagram, copies });
    }

    pub(crate) fn early_timed_out(&mut self, now: Instant) {
        let is_waiting = matches!(self.signalling, State::Connecting { .. });
        let Some(asked) = &mut self.early.asked else { return };
        if !is_waiting {
            asked.copies.clear();
        } else if asked.copies.first().is_some_and(|at| *at <= now) {
            asked.copies.remove(0);
            self.transmits.push_back(Transmit::from_main(self.config.server, asked.datagram.clone()));
        }
    }

    /// What may be the answer has come from where the rendezvous is.
    pub(crate) fn handle_early_answer(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        let is_joining = matches!(self.signalling, State::Connecting { .. } | State::Joining { .. });
        let asked = self.early.asked.as_ref().filter(|_| is_joining && from == self.config.server);
        let Some(joined) = asked.and_then(|asked| asked.keys.open_answer(&asked.nonce, datagram)) else {
            return tracing::trace!(%from, "ignored what is no answer to an early join");
        };
        self.early.asked = None;
        self.seated(joined, now);
        self.early.seat = self.slot;
    }

    /// The session has joined; gives whether that is no news, because an answer to the early join has told it.
    pub(crate) fn early_settles(&mut self, joined: &Joined) -> bool {
        self.early.asked = None;
        if let Some(ticket) = &joined.ticket {
            self.keep_ticket(ticket.clone());
        }
        self.early.seat.take() == Some(joined.slot)
    }

    /// Keeps the ticket for the next attempt, and lets the program keep it for the next start.
    pub(crate) fn keep_ticket(&mut self, ticket: Ticket) {
        self.early.ticket = Some(ticket.clone());
        self.events.push_back(Event::Server(ServerEvent::Ticket(ticket)));
    }
}
