//! A member that introduces others: the rendezvous core inside a member, for calls without a server.
//!
//! The member itself sits in the registry like everybody else, only that its session needs no wire.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use link::{CloseReason, LinkId};
use registry::{ChannelName, ChannelRecord, ConnId, Limits, Output, Registry};
use wire::{
    IdentityKey,
    signal::{self, ChannelKind, ToMember, ToServer},
};

use crate::{
    Mesh, Secret,
    bridge::{self, Bridge},
    signalling::{CLOSE_LEFT, SIGNAL_LANE},
};

/// The member's own session.
pub(crate) const SELF: ConnId = ConnId(0);
/// Its exporter value: there is no TLS session with oneself, and nobody else can be this session.
pub(crate) const NO_EXPORTER: [u8; 32] = [0; 32];

/// The rendezvous core and the sessions of those who asked it.
pub(crate) struct Introducer {
    pub(crate) registry: Registry,
    pub(crate) links: BTreeMap<ConnId, LinkId>,
    /// What there is besides if this member only lets others in.
    pub(crate) bridge: Option<Bridge>,
}

impl Introducer {
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.registry.poll_timeout()
    }

    fn poll_output(&mut self) -> Option<Output> {
        // Nobody here wants to know what happened.
        while self.registry.poll_event().is_some() {}
        self.registry.poll_output()
    }
}

fn conn(link: LinkId) -> ConnId {
    ConnId(link.0 + 1)
}

impl Mesh {
    /// Opens the channel here and takes the first seat in it.
    pub(crate) fn introduce(&mut self, now: Instant) {
        self.start_registry(self.config.server, None, now);
        self.settle_introducer(now);
    }

    /// Makes a registry in which this member has the first seat.
    pub(crate) fn start_registry(&mut self, at: SocketAddr, bridge: Option<Bridge>, now: Instant) {
        let me = self.key();
        // The member itself shows no sign of life on any wire.
        let limits = Limits {
            presence: Duration::MAX / 4,
            channels: 1,
            members: 2 * Limits::default().members,
            ..Limits::default()
        };
        let adhoc = matches!(self.config.secret, Secret::Open);
        let config = registry::Config {
            server_key: me,
            adhoc,
            limits,
            seed: u64::from_le_bytes(self.config.seed[..8].try_into().unwrap_or_default()),
        };
        let mut registry = Registry::new(config);
        if let (Some(secret), false, Ok(name)) = (&self.secret, adhoc, ChannelName::parse(&self.config.channel)) {
            registry.restore(ChannelRecord {
                name,
                kind: ChannelKind::Password,
                description: String::new(),
                author: String::new(),
                join_key: Some(secret.join_key().key()),
                owner: [0; 32],
                created_at: 0,
            });
        }
        registry.handle_connected(SELF, me, at, NO_EXPORTER, now);
        if let Some(join) = self.join_request_to(&me, &NO_EXPORTER) {
            registry.handle_message(SELF, join, now);
        }
        self.introducer = Some(Introducer { registry, links: BTreeMap::new(), bridge });
    }

    /// Says something as the member that this member is.
    pub(crate) fn say_to_introducer(&mut self, message: ToServer, now: Instant) {
        if let Some(introducer) = &mut self.introducer {
            introducer.registry.handle_message(SELF, message, now);
        }
        self.settle_introducer(now);
    }

    /// Says to this member itself, or to another, what the registry wants said.
    pub(crate) fn settle_introducer(&mut self, now: Instant) {
        while let Some(output) = self.introducer.as_mut().and_then(Introducer::poll_output) {
            match output {
                Output::Send { conn: SELF, message } if self.config.introduce => self.handle_signal(None, message, now),
                Output::Send { conn: SELF, message } => self.handle_bridged(message, now),
                // Peers hear by gossip.
                Output::Send { conn, .. } if bridge::is_peer(conn) => {}
                Output::Send { conn, message } => {
                    if let Some(link) = self.introduced(conn) {
                        self.say_to_asker(link, &message);
                    }
                }
                Output::Close { conn, why } => {
                    // A session that we close says nothing more.
                    let introducer = self.introducer.as_mut();
                    if let Some(link) = introducer.and_then(|introducer| introducer.links.remove(&conn)) {
                        self.signals.close(link, why.code(), &why.to_string(), now);
                    }
                }
                // A member that introduces others relays nothing.
                Output::Seated { .. } | Output::Unseated { .. } | Output::TakenOver { .. } => {}
            }
        }
    }

    fn say_to_asker(&mut self, link: LinkId, message: &ToMember) {
        if let Err(error) = self.signals.send_message(link, SIGNAL_LANE, &wire::encode(message)) {
            tracing::debug!(%error, "a signalling message was not sent");
        }
    }

    fn introduced(&self, conn: ConnId) -> Option<LinkId> {
        self.introducer.as_ref()?.links.get(&conn).copied()
    }

    /// Somebody asks this member as it would ask a rendezvous.
    pub(crate) fn handle_asker(&mut self, link: LinkId, event: link::Event, now: Instant) {
        let exporter = match &event {
            link::Event::Connected { key, .. } => self.signals.export(link, signal::JOIN_EXPORTER, &key.0),
            _ => None,
        };
        match &event {
            link::Event::Connected { key, from, .. } if !self.may_ask(*key, *from, now) => {
                return self.signals.close(link, CLOSE_LEFT, "nobody knocked", now);
            }
            link::Event::Connected { .. } => self.greet_asker(link),
            link::Event::Message { .. } => self.seat_peers(now),
            _ => {}
        }
        let Some(introducer) = &mut self.introducer else { return };
        let (registry, conn) = (&mut introducer.registry, conn(link));
        match event {
            link::Event::Connected { key, from, .. } => {
                introducer.links.insert(conn, link);
                registry.handle_connected(conn, key, from, exporter.unwrap_or_default(), now);
            }
            link::Event::Message { body, .. } => match wire::decode::<ToServer>("signalling message", &body) {
                Ok(message) => registry.handle_message(conn, message, now),
                Err(_) => registry.handle_garbage(conn, now),
            },
            link::Event::Moved(addr) => registry.handle_moved(conn, addr, now),
            link::Event::Closed(reason) => {
                introducer.links.remove(&conn);
                match reason {
                    CloseReason::Remote { .. } => registry.handle_closed(conn, now),
                    _ => registry.handle_lost(conn, now),
                }
            }
            link::Event::Datagram(_) | link::Event::Writable => {}
        }
        self.settle_introducer(now);
    }

    /// Who listens for callers is asked by anyone, others by those who knocked.
    fn may_ask(&self, key: IdentityKey, from: SocketAddr, now: Instant) -> bool {
        self.config.introduce || self.introducer.is_some() && self.doors.key(from, now) == Some(key)
    }

    /// Tells who asks from which server's key the channel's secret is made: its own asker may not know.
    fn greet_asker(&mut self, link: LinkId) {
        if let Some(server) = self.config.server_key.or(self.entry.word).filter(|_| !self.config.introduce) {
            self.say_to_asker(link, &ToMember::Channel { server });
        }
    }

    pub(crate) fn introducer_timed_out(&mut self, now: Instant) {
        if let Some(introducer) = self.introducer.as_mut().filter(|i| i.poll_timeout().is_some_and(|at| at <= now)) {
            introducer.registry.handle_timeout(now);
        }
        self.settle_introducer(now);
        self.close_idle_bridge(now);
    }

    pub(crate) fn close_introducer(&mut self, now: Instant) {
        if let Some(introducer) = &mut self.introducer {
            introducer.registry.close();
        }
        self.settle_introducer(now);
    }
}
