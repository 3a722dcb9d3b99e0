//! What each datagram is, and what becomes of it.

use std::{
    net::SocketAddr,
    ops::Range,
    task::{Context, Poll},
    time::Instant,
};

use wire::datagram::{EARLY_JOIN, Protocol, RELAY_UP};

use super::{Driver, inbox::Inbox, outbox::Outbox};
use crate::{
    observe::MAIN,
    tunnel::{self, Tunnels},
};

/// Calls for datagrams in a row, before what they caused is sent and everything else has its turn.
const TURNS: usize = 4;

/// Datagrams that are taken from tunnels in a row.
const TUNNELLED: usize = 64;

/// Where the bytes of a datagram are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// In the inbox, until it is used again.
    Inbox,
    Elsewhere,
}

impl Driver {
    /// Takes what has come, and sends at once what goes straight on; gives whether there may be more.
    pub(super) fn receive(&mut self, inbox: &mut Inbox) -> bool {
        for _ in 0..TURNS {
            let more = inbox.receive(&self.socket);
            let now = Instant::now();
            let (bytes, datagrams) = inbox.datagrams();
            for (from, at) in datagrams {
                // Nobody has such an address; who writes one on a packet means to be taken for a tunnel.
                if !tunnel::is_made_up(from) {
                    self.handle_datagram(bytes, at, Place::Inbox, from, now);
                }
                if self.outbox.is_full() {
                    self.flush(bytes);
                }
            }
            self.flush(bytes);
            if !more {
                return false;
            }
        }
        true
    }

    /// The same from tunnels. If there is nothing more, the context's waker is told of the next.
    pub(super) fn receive_tunnelled(&mut self, context: &mut Context<'_>) -> bool {
        let now = Instant::now();
        for _ in 0..TUNNELLED {
            let Poll::Ready((at, datagram)) = self.tunnels.poll_receive(context) else {
                self.flush(&[]);
                return false;
            };
            let mut datagram = datagram.to_vec();
            let whole = 0..datagram.len();
            self.handle_datagram(&mut datagram, whole, Place::Elsewhere, at, now);
        }
        self.flush(&[]);
        true
    }

    fn handle_datagram(&mut self, bytes: &mut [u8], at: Range<usize>, place: Place, from: SocketAddr, now: Instant) {
        let datagram = &bytes[at.clone()];
        match wire::datagram::protocol(datagram) {
            Some(Protocol::Quic) => {
                if let Some(conn) = self.sessions.get(&from) {
                    self.registry.handle_alive(*conn, now);
                }
                self.endpoint.handle_datagram(from, datagram, now);
            }
            Some(Protocol::Stun) => self.handle_stun(datagram, from, now),
            Some(Protocol::Punchline) if datagram[0] == RELAY_UP => self.forward(bytes, at, place, from, now),
            // A tunnel has no address that a ticket could be for.
            Some(Protocol::Punchline) if datagram[0] == EARLY_JOIN && place == Place::Inbox => {
                self.registry.handle_early_join(from, datagram, now);
            }
            // Checks are between members.
            Some(Protocol::Punchline) | None => {
                tracing::trace!(%from, length = datagram.len(), "Ignored a datagram");
            }
        }
    }

    /// The frame stays where it was received.
    fn forward(&mut self, bytes: &mut [u8], at: Range<usize>, place: Place, from: SocketAddr, now: Instant) {
        let Some(relay) = &mut self.relay else { return };
        match relay.forward(from, &mut bytes[at.clone()], now) {
            Ok(forwarded) => {
                let start = at.end - forwarded.frame.len();
                for to in forwarded.to {
                    if place == Place::Inbox && !tunnel::is_made_up(*to) {
                        self.outbox.push_received(*to, start..at.end);
                    } else {
                        post(&mut self.outbox, &self.tunnels, *to, forwarded.frame, now);
                    }
                }
            }
            Err(why) => tracing::trace!(%from, %why, "Dropped a frame"),
        }
    }

    fn handle_stun(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) {
        let seen = self.tunnels.peer(from).unwrap_or(from);
        match self.observers.reply(MAIN, datagram, seen, now) {
            Some(reply) if reply.through == MAIN => {
                post(&mut self.outbox, &self.tunnels, from, &reply.payload, now);
            }
            // Another port can't answer into a tunnel.
            Some(reply) if seen == from => self.observers.send(&reply, from),
            Some(_) | None => {}
        }
    }

    /// What finds no room is lost, as on the way; whoever asked asks again.
    fn flush(&mut self, inbox: &[u8]) {
        let lost = self.outbox.flush(&self.socket, inbox);
        if lost > 0 {
            tracing::debug!(lost, "Could not send datagrams");
        }
    }
}

fn post(outbox: &mut Outbox, tunnels: &Tunnels, to: SocketAddr, datagram: &[u8], now: Instant) {
    if tunnel::is_made_up(to) {
        tunnels.send(to, datagram, now);
    } else {
        outbox.push(to, datagram);
    }
}
