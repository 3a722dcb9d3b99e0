//! A member that lets others in: the rendezvous core for as long as somebody asks, and gossip to everybody else.
//!
//! In the registry sit this member and, in the place of sessions, all the peers that it knows. Who asks in takes a seat,
//! which tells this member of it, who tells all its peers before the roster goes out. Then the newcomer closes the
//! session: it is a peer like others by then.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    time::Instant,
};

use registry::ConnId;
use wire::{
    PeerTag,
    signal::{Join, Member, ToMember, ToServer},
};

use crate::{
    Mesh, Secret,
    introducer::{NO_EXPORTER, SELF},
    told::{Teller, Told, name_in},
};

/// Peers in the place of sessions have numbers from here on.
const FIRST_PEER: u64 = 1 << 62;
/// Where nobody is: the seat of one whose address is not known.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Which peers sit in the registry.
#[derive(Debug, Default)]
pub(crate) struct Bridge {
    /// Their seats' numbers, and the cards that lie there.
    seated: BTreeMap<PeerTag, (ConnId, Vec<u8>)>,
    next: u64,
    own_serial: u64,
}

impl Bridge {
    fn next_conn(&mut self) -> ConnId {
        self.next += 1;
        ConnId(FIRST_PEER + self.next)
    }
}

/// Whether that is a peer and no session.
pub(crate) fn is_peer(conn: ConnId) -> bool {
    conn.0 >= FIRST_PEER
}

impl Mesh {
    /// Starts to let others in, if that is not so already.
    pub(crate) fn open_bridge(&mut self, now: Instant) {
        if self.introducer.is_none() {
            self.start_registry(NOWHERE, Some(Bridge { own_serial: self.serial, ..Bridge::default() }), now);
            self.settle_introducer(now);
        }
    }

    /// Lets nobody in any more, once nobody asks.
    pub(crate) fn close_idle_bridge(&mut self, now: Instant) {
        let is_open = self.doors.is_any_open(now);
        self.introducer.take_if(|introducer| introducer.bridge.is_some() && introducer.links.is_empty() && !is_open);
    }

    /// Whether a session from there is one of those that ask.
    pub(crate) fn is_being_introduced(&self, from: SocketAddr) -> bool {
        let links = self.introducer.iter().flat_map(|introducer| introducer.links.values());
        links.into_iter().any(|link| self.signals.remote(*link) == Some(from))
    }

    /// Lets the registry know what this member knows.
    pub(crate) fn seat_peers(&mut self, now: Instant) {
        let join = |tag: &PeerTag| self.join_of_peer(*tag);
        let wanted: Vec<_> = self.peers.keys().filter_map(|tag| Some((*tag, join(tag)?))).collect();
        let own_card = self.secret.as_ref().map(|secret| secret.seal_card(&self.config.identity, &self.card()));
        let Some(introducer) = &mut self.introducer else { return };
        let (registry, Some(bridge)) = (&mut introducer.registry, &mut introducer.bridge) else { return };
        if let Some(card) = own_card.filter(|_| bridge.own_serial != self.serial) {
            bridge.own_serial = self.serial;
            registry.handle_message(SELF, ToServer::Card(card), now);
        }
        let is_wanted =
            |tag: &PeerTag, card: &Vec<u8>| wanted.iter().any(|(t, (_, _, join))| t == tag && join.card == *card);
        let over: Vec<_> =
            bridge.seated.iter().filter(|(tag, (_, card))| !is_wanted(tag, card)).map(|(t, _)| *t).collect();
        for tag in over {
            if let Some((conn, _)) = bridge.seated.remove(&tag) {
                registry.handle_closed(conn, now);
            }
        }
        for (tag, (key, observed, join)) in wanted {
            if bridge.seated.contains_key(&tag) {
                continue;
            }
            let conn = bridge.next_conn();
            bridge.seated.insert(tag, (conn, join.card.clone()));
            registry.handle_connected(conn, key, observed, NO_EXPORTER, now);
            registry.handle_message(conn, ToServer::Join(join), now);
        }
        self.settle_introducer(now);
    }

    fn join_of_peer(&self, tag: PeerTag) -> Option<(wire::IdentityKey, SocketAddr, Join)> {
        let (peer, secret) = (self.peers.get(&tag)?, self.secret.as_ref()?);
        let observed = peer.known.addresses().first().copied();
        let statement = identity::join_statement(&self.key(), &self.config.channel, &NO_EXPORTER, &peer.key);
        let needs_proof = !matches!(self.config.secret, Secret::Open);
        let join = Join {
            version: wire::VERSION,
            channel: self.config.channel.clone(),
            name: peer.name.clone(),
            proof: needs_proof.then(|| secret.join_key().sign(&statement)),
            card: peer.known.card.clone(),
            hidden: observed.is_none(),
        };
        Some((peer.key, observed.unwrap_or(NOWHERE), join))
    }

    /// The registry tells this member of somebody who asked in.
    pub(crate) fn handle_bridged(&mut self, message: ToMember, now: Instant) {
        let (ToMember::MemberJoined(member) | ToMember::MemberChanged(member)) = message else { return };
        let Member { key, observed, card: sealed, .. } = member;
        let Some(card) = self.read_card(&key, &sealed) else { return };
        let Some(name) = name_in(&card) else { return };
        self.told(Told { key, name, seen: observed, card, sealed, by: Teller::Introducer }, now);
        self.say_news(now);
    }
}
