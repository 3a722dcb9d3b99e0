//! What each datagram is, and what becomes of it.

use std::{net::SocketAddr, ops::Range, time::Instant};

use wire::datagram::{Protocol, RELAY_UP};

use super::{Driver, inbox::Inbox};
use crate::observe::MAIN;

/// Calls for datagrams in a row, before what they caused is sent and everything else has its turn.
const TURNS: usize = 4;

impl Driver {
    /// Takes what has come, and sends at once what goes straight on.
    pub(super) fn receive(&mut self, inbox: &mut Inbox) {
        for _ in 0..TURNS {
            let more = inbox.receive(&self.socket);
            let now = Instant::now();
            for (from, at) in inbox.datagrams() {
                self.handle_datagram(&mut inbox.bytes, at, from, now);
                if self.outbox.is_full() {
                    self.flush(&inbox.bytes);
                }
            }
            self.flush(&inbox.bytes);
            if !more {
                return;
            }
        }
    }

    fn handle_datagram(&mut self, bytes: &mut [u8], at: Range<usize>, from: SocketAddr, now: Instant) {
        let datagram = &bytes[at.clone()];
        match wire::datagram::protocol(datagram) {
            Some(Protocol::Quic) => {
                if let Some(conn) = self.sessions.get(&from) {
                    self.registry.handle_alive(*conn, now);
                }
                self.endpoint.handle_datagram(from, datagram, now);
            }
            Some(Protocol::Stun) => self.handle_stun(datagram, from, now),
            Some(Protocol::Punchline) if datagram[0] == RELAY_UP => self.forward(bytes, at, from, now),
            // Checks are between members.
            Some(Protocol::Punchline) | None => {
                tracing::trace!(%from, length = datagram.len(), "Ignored a datagram");
            }
        }
    }

    /// The frame stays where it was received.
    fn forward(&mut self, bytes: &mut [u8], at: Range<usize>, from: SocketAddr, now: Instant) {
        let Some(relay) = &mut self.relay else { return };
        match relay.forward(from, &mut bytes[at.clone()], now) {
            Ok(forwarded) => {
                let frame = at.end - forwarded.frame.len()..at.end;
                for to in forwarded.to {
                    self.outbox.push_received(*to, frame.clone());
                }
            }
            Err(why) => tracing::trace!(%from, %why, "Dropped a frame"),
        }
    }

    fn handle_stun(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) {
        match self.observers.reply(MAIN, datagram, from, now) {
            Some(reply) if reply.through == MAIN => self.outbox.push(from, &reply.payload),
            Some(reply) => self.observers.send(&reply, from),
            None => {}
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
