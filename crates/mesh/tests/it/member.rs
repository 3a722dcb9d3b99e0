//! A member as it runs on a host of the virtual internet.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use mesh::{Config, Event, Mesh, ServerEvent, SocketId, SocketRequest};
use netsim::{Outgoing, TTL};

use crate::world::{PORT, TUNNEL_PORT, server_addr};

/// A member and everything it told, with the time it told it.
pub(crate) struct Member {
    pub(crate) mesh: Mesh,
    pub(crate) told: Vec<(Instant, Event)>,
    pub(crate) started: Instant,
    /// Packets to each address that has never answered.
    to_the_silent: BTreeMap<SocketAddr, u32>,
    heard: BTreeSet<SocketAddr>,
    /// The sockets beside the main one, and the most that there ever were.
    pub(crate) sockets: BTreeSet<SocketId>,
    pub(crate) most_sockets: usize,
    /// Whose datagrams never arrive here.
    deaf_to: Vec<IpAddr>,
    /// The first datagrams that came, but for QUIC's.
    overheard: Vec<Vec<u8>>,
    /// Every datagram that left, and when.
    pub(crate) sent: Vec<(Instant, Outgoing)>,
}

/// Sockets beside the main one have ports from here on.
const FIRST_EXTRA: u16 = 20_000;

impl Member {
    /// Starts on a host.
    pub(crate) fn new(config: Config, now: Instant) -> Self {
        Self {
            mesh: Mesh::new(config, now),
            told: Vec::new(),
            started: now,
            to_the_silent: BTreeMap::new(),
            heard: BTreeSet::new(),
            sockets: BTreeSet::new(),
            most_sockets: 0,
            deaf_to: Vec::new(),
            overheard: Vec::new(),
            sent: Vec::new(),
        }
    }

    pub(crate) fn handle_datagram(&mut self, port: u16, from: SocketAddr, payload: &[u8], now: Instant) {
        let Some(at) = self.socket_at(port).filter(|_| !self.deaf_to.contains(&from.ip())) else { return };
        self.note_heard(from);
        if payload.first().is_some_and(|first| *first < 64) && self.overheard.len() < 100 {
            self.overheard.push(payload.to_vec());
        }
        self.mesh.handle_datagram(at, from, payload, now);
        self.settle(now);
    }

    pub(crate) fn settle(&mut self, now: Instant) {
        while let Some(event) = self.mesh.poll_event() {
            if event == Event::Server(ServerEvent::Tunnel(true)) {
                self.mesh.tunnel_opened(now);
            }
            self.told.push((now, event));
        }
        while let Some(request) = self.mesh.poll_socket_request() {
            match request {
                SocketRequest::Open(id) => assert!(self.sockets.insert(id), "{id:?} is open"),
                SocketRequest::Close(id) => assert!(self.sockets.remove(&id), "{id:?} is not open"),
            }
            self.most_sockets = self.most_sockets.max(self.sockets.len());
        }
    }

    /// The next datagram to send, if its socket is open, and its time to live.
    pub(crate) fn poll_packet(&mut self, now: Instant) -> Option<(Outgoing, u8)> {
        loop {
            self.settle(now);
            let out = self.mesh.poll_transmit(now)?;
            let (port, to) = match out.socket {
                mesh::TUNNEL => (TUNNEL_PORT, SocketAddr::new(out.to.ip(), TUNNEL_PORT)),
                SocketId::MAIN => (PORT, out.to),
                extra if self.sockets.contains(&extra) => (FIRST_EXTRA + extra.0, out.to),
                _ => continue,
            };
            let ttl = out.ttl.unwrap_or(TTL);
            if out.socket == SocketId::MAIN && ttl == TTL {
                self.note_sent(out.to);
            }
            let outgoing = Outgoing { port, to, payload: out.payload.to_vec() };
            self.sent.push((now, outgoing.clone()));
            return Some((outgoing, ttl));
        }
    }

    fn socket_at(&self, port: u16) -> Option<SocketId> {
        let extra = port.checked_sub(FIRST_EXTRA).map(SocketId).filter(|id| self.sockets.contains(id));
        match port {
            PORT => Some(SocketId::MAIN),
            TUNNEL_PORT => Some(mesh::TUNNEL),
            _ => extra,
        }
    }

    fn note_sent(&mut self, to: SocketAddr) {
        if !self.heard.contains(&to) && to.ip() != server_addr().ip() {
            *self.to_the_silent.entry(to).or_default() += 1;
        }
    }

    fn note_heard(&mut self, from: SocketAddr) {
        if self.heard.insert(from) {
            self.to_the_silent.remove(&from);
        }
    }

    /// The address that has got most without ever answering, the rendezvous aside, and how many packets.
    pub(crate) fn most_to_the_silent(&self) -> Option<(SocketAddr, u32)> {
        self.to_the_silent.iter().map(|(addr, count)| (*addr, *count)).max_by_key(|(_, count)| *count)
    }

    /// What was sent to the silent until here does not count.
    pub(crate) fn forget_silence(&mut self) {
        self.to_the_silent.clear();
    }

    /// Nothing from these addresses arrives from here on.
    pub(crate) fn be_deaf_to(&mut self, addresses: Vec<IpAddr>) {
        self.deaf_to.extend(addresses);
    }

    /// Everything arrives again.
    pub(crate) fn hear_all(&mut self) {
        self.deaf_to.clear();
    }

    /// The first datagram that came and begins so.
    pub(crate) fn overheard(&self, first: u8) -> Option<Vec<u8>> {
        self.overheard.iter().find(|datagram| datagram.first() == Some(&first)).cloned()
    }

    /// Packets to addresses that have never answered, the rendezvous aside.
    pub(crate) fn sent_to_the_silent(&self) -> u32 {
        self.to_the_silent.values().sum()
    }

    /// When the first event came that is so.
    pub(crate) fn when(&self, is_so: impl Fn(&Event) -> bool) -> Option<Duration> {
        self.told.iter().find(|(_, event)| is_so(event)).map(|(at, _)| *at - self.started)
    }
}
