//! A rendezvous on the virtual internet.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use identity::Identity;
use link::{CloseReason, Endpoint, LinkId, SendError};
use netsim::Outgoing;
use registry::{ConnId, Limits, Output, Registry};
use relay::Relay;
use wire::{
    datagram,
    signal::{self, ToMember, ToServer},
    stun::Question,
};

use crate::world::{SERVER_PORT, TUNNEL_PORT};

pub(crate) const KEY_SEED: [u8; 32] = [200; 32];

/// A rendezvous: what `bins/rendezvous` is, without sockets.
pub(crate) struct Server {
    pub(crate) endpoint: Endpoint,
    pub(crate) registry: Registry,
    relay: Option<Relay>,
    /// Frames that the relay owes its members.
    pub(crate) frames: VecDeque<(SocketAddr, Vec<u8>)>,
    pub(crate) forwarded: usize,
    /// STUN answers; the server has the three ports above its own, too.
    pub(crate) answers: VecDeque<Outgoing>,
    /// Whether STUN requests get no answer, as where a network asks too much.
    pub(crate) ignores_stun: bool,
    /// Early joins that have come.
    pub(crate) early_joins: usize,
    /// So many of them are lost on their way, from here on.
    pub(crate) loses_early_joins: usize,
    /// Where tunnels come from.
    tunnels: BTreeSet<SocketAddr>,
}

impl Server {
    /// `tickets` seals them, and differs from start to start.
    pub(crate) fn new(tickets: [u8; 32], now: Instant) -> Self {
        Self::with_key(&KEY_SEED, tickets, now)
    }

    pub(crate) fn with_key(seed: &[u8; 32], tickets: [u8; 32], now: Instant) -> Self {
        let identity = Identity::from_seed(seed);
        let config = link::Config { identity: &identity, seed: [201; 32], accept: link::Accept::Signal };
        // A session's own timeout is short enough.
        let limits = Limits { presence: Duration::MAX / 4, ..Limits::default() };
        let registry = registry::Config { server_key: identity.key(), adhoc: true, limits, seed: 1 };
        let relay = Some(Relay::new(relay::Limits::default(), [202; 32], now));
        let endpoint = Endpoint::new(config, now);
        let mut registry = Registry::new(registry);
        registry.give_tickets(tickets, now);
        Self {
            endpoint,
            registry,
            ignores_stun: false,
            early_joins: 0,
            loses_early_joins: 0,
            relay,
            frames: VecDeque::new(),
            forwarded: 0,
            answers: VecDeque::new(),
            tunnels: BTreeSet::new(),
        }
    }

    pub(crate) fn settle(&mut self, now: Instant) {
        while let Some((link, event)) = self.endpoint.poll_event() {
            let conn = ConnId(link.0);
            match event {
                link::Event::Connected { key, from, .. } => {
                    let exporter =
                        self.endpoint.export(link, signal::JOIN_EXPORTER, &key.0).expect("a session exports");
                    self.registry.handle_connected(conn, key, from, exporter, now);
                }
                link::Event::Message { body, .. } => {
                    let message = wire::decode::<ToServer>("message", &body).expect("members speak the protocol");
                    self.registry.handle_message(conn, message, now);
                }
                link::Event::Moved(addr) => {
                    self.registry.handle_moved(conn, addr, now);
                    if let Some(relay) = &mut self.relay {
                        relay.moved(conn, addr, addr.ip());
                    }
                }
                link::Event::Closed(CloseReason::Remote { .. }) => self.registry.handle_closed(conn, now),
                link::Event::Closed(_) => self.registry.handle_lost(conn, now),
                _ => {}
            }
        }
        while let Some(output) = self.registry.poll_output() {
            match output {
                Output::Send { conn, mut message } => {
                    if let ToMember::Joined(joined) = &mut message {
                        joined.relay = self.relay.as_ref().and_then(|relay| relay.grant(conn));
                        if conn.is_early() {
                            self.frames.extend(self.registry.early_answer(conn, joined));
                            continue;
                        }
                    }
                    let sent = self.endpoint.send_message(LinkId(conn.0), 0, &wire::encode(&message));
                    // The registry may hear of a session's end a little later.
                    assert!(matches!(sent, Ok(()) | Err(SendError::NotOpen)), "{sent:?}");
                }
                Output::Close { conn, why } => self.endpoint.close(LinkId(conn.0), why.code(), "closed", now),
                Output::Seated { conn, channel, slot } => {
                    let at = self.registry.early_source(conn).or_else(|| self.endpoint.remote(LinkId(conn.0)));
                    if let (Some(relay), Some(at)) = (&mut self.relay, at) {
                        relay.open(conn, &channel, slot, at, at.ip(), now);
                    }
                }
                Output::TakenOver { early, conn, .. } => {
                    if let Some(relay) = &mut self.relay {
                        assert!(relay.hand_over(early, conn), "who sits early has a session of the relay");
                    }
                }
                Output::Unseated { conn } => {
                    if let Some(relay) = &mut self.relay {
                        relay.close(conn);
                    }
                }
            }
        }
    }

    /// From which port somebody hears the server.
    pub(crate) fn port_to(&self, to: SocketAddr) -> u16 {
        if self.tunnels.contains(&to) { TUNNEL_PORT } else { SERVER_PORT }
    }

    pub(crate) fn handle_datagram(&mut self, port: u16, from: SocketAddr, payload: &[u8], now: Instant) {
        if port == TUNNEL_PORT {
            self.tunnels.insert(from);
        }
        if payload.first() == Some(&datagram::EARLY_JOIN) {
            if self.loses_early_joins > 0 {
                self.loses_early_joins -= 1;
                return;
            }
            self.early_joins += 1;
            self.registry.handle_early_join(from, payload, now);
            return self.settle(now);
        }
        if payload.first() != Some(&datagram::RELAY_UP) {
            self.endpoint.handle_datagram(from, payload, now);
            return self.settle(now);
        }
        let mut frame = payload.to_vec();
        let forwarded = self.relay.as_mut().map(|relay| relay.forward(from, &mut frame, now));
        if let Some(Ok(forwarded)) = forwarded {
            self.forwarded += forwarded.to.len();
            self.frames.extend(forwarded.to.iter().map(|to| (*to, forwarded.frame.to_vec())));
        }
    }

    pub(crate) fn answer(&mut self, port: u16, from: SocketAddr, datagram: &[u8]) {
        let Some(question) = Question::read(datagram).filter(|_| !self.ignores_stun) else { return };
        let payload = question.answer(from, None);
        let across = if port == SERVER_PORT { SERVER_PORT + 3 } else { SERVER_PORT };
        let Some(change) = question.change().filter(|change| !change.ip) else { return };
        let port = if change.port { across } else { port };
        self.answers.push_back(Outgoing { port, to: from, payload });
    }

    /// Relays for nobody from here on.
    pub(crate) fn stop_relaying(&mut self) {
        self.relay = None;
    }

    pub(crate) fn close(&mut self, now: Instant) {
        self.registry.close();
        self.settle(now);
    }
}
