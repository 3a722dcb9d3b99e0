//! Between the sessions, the registry and the relay.

use std::{net::SocketAddr, time::Instant};

use link::{CloseReason, Event, Kind, LinkId};
use registry::{ConnId, Origin, Output};
use wire::{
    peer::Lane,
    signal::{JOIN_EXPORTER, Joined, ToMember, ToServer},
};

use super::Driver;
use crate::tunnel;

impl Driver {
    pub(super) fn handle_event(&mut self, link: LinkId, event: Event) {
        let (conn, now) = (ConnId(link.0), Instant::now());
        match event {
            Event::Connected { key, kind: Kind::Signal, from, .. } => {
                let Some(exporter) = self.endpoint.export(link, JOIN_EXPORTER, &key.0) else { return };
                let Some(origin) = self.origin(from) else { return };
                self.sessions.insert(from, conn);
                self.registry.handle_connected(conn, key, origin, exporter, now);
            }
            Event::Message { body, .. } => match wire::decode::<ToServer>("signalling message", &body) {
                Ok(message) => self.registry.handle_message(conn, message, now),
                Err(error) => {
                    tracing::debug!(%error, "A session made no sense");
                    self.registry.handle_garbage(conn, now);
                }
            },
            Event::Moved(to) => {
                self.forget(conn);
                let Some(origin) = self.origin(to) else { return };
                self.sessions.insert(to, conn);
                if let Some(relay) = &mut self.relay {
                    relay.moved(conn, to, origin.address().ip());
                }
                self.registry.handle_moved(conn, origin, now);
            }
            Event::Closed(why) => {
                tracing::debug!(%why, "A session ended");
                self.forget(conn);
                match why {
                    CloseReason::Remote { .. } => self.registry.handle_closed(conn, now),
                    _ => self.registry.handle_lost(conn, now),
                }
            }
            Event::Connected { .. } | Event::Datagram(_) | Event::Writable => {}
        }
    }

    pub(super) fn carry_out(&mut self, output: Output) {
        match output {
            Output::Seated { conn, channel, slot } => {
                let at = self.registry.early_source(conn).or_else(|| self.endpoint.remote(LinkId(conn.0)));
                let origin = at.and_then(|at| self.origin(at));
                if let (Some(relay), Some(at), Some(origin)) = (&mut self.relay, at, origin) {
                    relay.open(conn, &channel, slot, at, origin.address().ip(), Instant::now());
                }
            }
            Output::TakenOver { early, conn, channel, slot } => {
                let at = self.endpoint.remote(LinkId(conn.0));
                let origin = at.and_then(|at| self.origin(at));
                if let (Some(relay), Some(at), Some(origin)) = (&mut self.relay, at, origin) {
                    if relay.hand_over(early, conn) {
                        relay.moved(conn, at, origin.address().ip());
                    } else {
                        relay.open(conn, &channel, slot, at, origin.address().ip(), Instant::now());
                    }
                }
            }
            Output::Unseated { conn } => {
                if let Some(relay) = &mut self.relay {
                    relay.close(conn);
                }
            }
            Output::Send { conn, mut message } => {
                if let ToMember::Joined(joined) = &mut message {
                    joined.relay = self.relay.as_ref().and_then(|relay| relay.grant(conn));
                    if conn.is_early() {
                        return self.answer_early(conn, joined);
                    }
                }
                let sent = self.endpoint.send_message(LinkId(conn.0), Lane::Control as u8, &wire::encode(&message));
                if let Err(error) = sent {
                    // Without this message its picture of the channel would be wrong for ever: it has to join again.
                    tracing::debug!(%error, "A member does not take what it is sent");
                    self.endpoint.close(LinkId(conn.0), registry::CloseWhy::Silent.code(), "", Instant::now());
                    self.forget(conn);
                    self.registry.handle_lost(conn, Instant::now());
                }
                // In this order, and not in one that the sessions choose: who is in the channel hears of a newcomer first.
                self.transmit();
            }
            Output::Close { conn, why } => {
                self.transmit(); // what was said before must be on its way
                self.endpoint.close(LinkId(conn.0), why.code(), &why.to_string(), Instant::now());
                self.forget(conn);
            }
        }
    }

    fn answer_early(&mut self, conn: ConnId, joined: &Joined) {
        // Those who are in the channel hear of a newcomer first.
        self.transmit();
        let Some((to, datagram)) = self.registry.early_answer(conn, joined) else {
            tracing::debug!("A roster is too long for an early answer");
            return;
        };
        self.send(&datagram, to);
    }

    fn forget(&mut self, conn: ConnId) {
        let from = self.endpoint.remote(LinkId(conn.0));
        if from.is_some_and(|from| self.sessions.get(&from) == Some(&conn)) {
            from.map(|from| self.sessions.remove(&from));
        } else {
            self.sessions.retain(|_, other| *other != conn);
        }
    }

    /// Where a session comes from that is at this address; `None` if that was a tunnel which is closed.
    fn origin(&self, at: SocketAddr) -> Option<Origin> {
        if tunnel::is_made_up(at) { self.tunnels.peer(at).map(Origin::Tunnel) } else { Some(Origin::Datagrams(at)) }
    }
}
