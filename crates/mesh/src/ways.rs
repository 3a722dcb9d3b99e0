//! How packets get to peers and come from them: straight, or through somebody who relays.

use std::{net::SocketAddr, time::Instant};

use bytes::Bytes;
use link::Kind;
use punch::{SocketId, Way};
use wire::{
    MemberSlot, PeerTag,
    agent::Path,
    datagram::{self, EARLY_ANSWER, EARLY_VOICE, KNOCK, LEND_DOWN, LEND_UP, Protocol, RELAY_DOWN},
    relay,
    signal::{CandidateKind, RelayGrant},
};

use crate::{Event, Mesh, Relaying, Transmit, detour::TUNNEL, peer};

impl Mesh {
    /// Takes a datagram from one of the program's sockets; what is nobody's or a stranger's gets silence.
    pub fn handle_datagram(&mut self, at: SocketId, from: SocketAddr, datagram: &[u8], now: Instant) {
        let way = Way::Direct { socket: at, addr: from };
        let takes_direct = self.config.relaying != Relaying::Only;
        match datagram::protocol(datagram) {
            Some(Protocol::Quic) if link::kind(datagram) == Some(Kind::Signal) => {
                let listens = at == SocketId::MAIN && self.listens_to(from, now);
                if let Some(from) = self.signalling_source(at, from).or(listens.then_some(from)) {
                    self.signals.handle_datagram(from, datagram, now);
                }
            }
            Some(Protocol::Punchline) if datagram[0] == RELAY_DOWN => self.handle_relayed(at, from, datagram, now),
            Some(Protocol::Punchline) if datagram[0] == EARLY_ANSWER && at == SocketId::MAIN => {
                self.handle_early_answer(from, datagram, now);
            }
            _ if at == TUNNEL => tracing::trace!("ignored what has no business in a tunnel"),
            Some(Protocol::Quic) => match self.paths.peer_at(way) {
                Some(tag) => self.handle_session_packet(tag, way, datagram, now),
                None => tracing::trace!(%from, "ignored a session packet from an address that passed no check"),
            },
            Some(Protocol::Punchline) if takes_direct => match datagram[0] {
                LEND_UP => self.forward_lent(way, datagram, now),
                LEND_DOWN => self.handle_lent(way, datagram, now),
                KNOCK => self.handle_knock(from, datagram, now),
                EARLY_VOICE => match self.paths.peer_at(way) {
                    Some(tag) => self.handle_early_voice(tag, way, datagram, now),
                    None => tracing::trace!(%from, "ignored early voice from an address that passed no check"),
                },
                _ => self.handle_check(way, datagram, now),
            },
            Some(Protocol::Stun) if at == SocketId::MAIN => self.handle_stun(from, datagram, now),
            Some(Protocol::Stun) => self.handle_scouted(at, from, datagram, now),
            Some(Protocol::Punchline) | None => {
                tracing::trace!(%from, len = datagram.len(), "ignored a datagram");
            }
        }
        self.settle(now);
    }

    pub(crate) fn handle_session_packet(&mut self, tag: PeerTag, way: Way, packet: &[u8], now: Instant) {
        if link::kind(packet) == Some(Kind::Peer) && self.sessions.handle_datagram(peer::virtual_addr(tag), packet, now)
        {
            self.paths.note_received(tag, way, now);
        }
    }

    pub(crate) fn handle_check(&mut self, way: Way, datagram: &[u8], now: Instant) {
        if let Err(reason) = self.paths.handle_input(way, datagram, now) {
            tracing::trace!(%way, %reason, "ignored a check");
        }
    }

    /// Something came through the relay of the rendezvous.
    fn handle_relayed(&mut self, at: SocketId, from: SocketAddr, datagram: &[u8], now: Instant) {
        let is_relay = self.relay.is_some() && self.signalling_source(at, from) == self.rendezvous_at();
        let sender = relay::split_down(datagram).filter(|_| is_relay);
        let sender = sender.and_then(|(slot, sealed)| Some((self.peer_in(slot)?, sealed)));
        let Some((tag, sealed)) = sender else {
            return tracing::trace!(%from, "ignored a relay frame from elsewhere, or from nobody who is known");
        };
        match datagram::protocol(sealed) {
            Some(Protocol::Quic) => self.handle_session_packet(tag, Way::Server, sealed, now),
            Some(Protocol::Punchline) if sealed[0] == datagram::CHECK => self.handle_check(Way::Server, sealed, now),
            Some(Protocol::Punchline) if sealed[0] == EARLY_VOICE => {
                self.handle_early_voice(tag, Way::Server, sealed, now);
            }
            _ => tracing::trace!(%tag, "ignored what came through the relay"),
        }
    }

    fn peer_in(&self, slot: MemberSlot) -> Option<PeerTag> {
        self.peers.values().find(|peer| peer.slot == Some(slot)).map(|peer| peer.tag)
    }

    /// The rendezvous relays, or does not any more.
    pub(crate) fn set_relay(&mut self, grant: Option<RelayGrant>, now: Instant) {
        self.relay = grant;
        for tag in self.peers.keys().copied().collect::<Vec<_>>() {
            self.offer_relay(tag, now);
        }
    }

    /// Lets a peer be reached through the rendezvous if it is known there, and only then.
    pub(crate) fn offer_relay(&mut self, tag: PeerTag, now: Instant) {
        let has_seat = self.peers.get(&tag).is_some_and(|peer| peer.slot.is_some());
        if has_seat && self.relay.is_some() {
            self.paths.add_relay(tag, Way::Server, now);
        } else {
            self.paths.remove_relay(tag, Way::Server, now);
        }
    }

    /// Shows the rendezvous where this member is: it may be somewhere else than before.
    pub(crate) fn greet_server(&mut self, now: Instant) {
        if let Some(link) = self.signalling.link() {
            self.signals.ping(link, now);
        }
    }

    /// Takes the next datagram to send.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        loop {
            if let Some(transmit) = self.transmits.pop_front() {
                return Some(transmit);
            }
            if let Some(check) = self.paths.poll_transmit() {
                self.send(check.peer, check.way, check.payload.into(), check.ttl);
            } else if let Some(packet) = self.signals.poll_transmit(now) {
                return Some(self.for_rendezvous(packet.to, packet.payload.into()));
            } else if let Some(request) = self.observation.poll_transmit() {
                // Behind the session's first packet, for that needs the round trip more.
                return Some(request);
            } else {
                let packet = self.sessions.poll_transmit(now)?;
                if let Some(tag) = peer::tag_at(packet.to) {
                    self.route(tag, packet.payload.into(), now);
                }
            }
        }
    }

    /// Sends what the sessions have to say.
    pub(crate) fn send_session_packets(&mut self, now: Instant) {
        while let Some(packet) = self.sessions.poll_transmit(now) {
            if let Some(tag) = peer::tag_at(packet.to) {
                self.route(tag, packet.payload.into(), now);
            }
        }
    }

    pub(crate) fn send(&mut self, tag: PeerTag, way: Way, payload: Bytes, ttl: Option<u8>) {
        let transmit = match way {
            Way::Direct { socket, addr } => Some(Transmit { socket, to: addr, payload, ttl }),
            Way::Server => self.relay_frame(tag, &payload),
            Way::Member(lender) => self.lent_frame(tag, lender, &payload),
        };
        self.transmits.extend(transmit);
    }

    fn relay_frame(&self, tag: PeerTag, payload: &[u8]) -> Option<Transmit> {
        let (grant, slot) = (self.relay?, self.peers.get(&tag)?.slot?);
        Some(self.for_rendezvous(self.rendezvous_at()?, relay::up(grant.session, slot, payload).into()))
    }

    /// Sends a session packet by the peer's path, and by another if that is in doubt.
    fn route(&mut self, tag: PeerTag, payload: Bytes, now: Instant) {
        let route = self.paths.path(tag).filter(|_| self.paths.route(tag).is_some());
        if let Some(route) = route {
            self.paths.note_sent(tag, route.way, now);
            let trusts = self.peers.get(&tag).is_some_and(|peer| peer.trusts_way(self.round_trip, now));
            if let Some(spare) = self.paths.spare(tag).filter(|_| route.doubtful && !trusts) {
                self.send(tag, spare, payload.clone(), None);
            }
            self.send(tag, route.way, payload.clone(), None);
        } else if let Some(spare) = self.paths.spare(tag) {
            // What the selected address may get without an answer is used up.
            self.send(tag, spare, payload.clone(), None);
        }
        if route.is_none_or(|route| !route.way.is_direct()) {
            self.try_directly(tag, payload, now);
        }
    }

    /// Keeps a packet of a session that is being made for the first direct path, and tries the likeliest address with the
    /// first one: our check has just opened it, and if the guess is right, this saves half a round trip.
    fn try_directly(&mut self, tag: PeerTag, payload: Bytes, now: Instant) {
        let Some(peer) = self.peers.get_mut(&tag).filter(|peer| !peer.secure) else { return };
        let is_first = peer.held.is_empty();
        peer.hold(payload.clone());
        if let Some(guess) = self.paths.best_guess(tag).filter(|_| is_first) {
            peer.tried = Some((guess, now));
            self.paths.note_sent(tag, guess, now);
            self.send(tag, guess, payload, None);
        }
    }

    pub(crate) fn handle_path_event(&mut self, event: punch::Event, now: Instant) {
        match event {
            punch::Event::Usable { peer, way, kind } => {
                let why = if way.is_direct() { "an authentic check came" } else { "until there is a direct path" };
                self.path_found(peer, way, (kind, None), why, now);
            }
            punch::Event::Confirmed { peer, way, kind, rtt, .. } => {
                self.path_found(peer, way, (kind, Some(rtt)), "confirmed", now);
            }
            punch::Event::Switched { peer, way, kind, rtt } => {
                self.path_found(peer, way, (kind, Some(rtt)), "a better path", now);
            }
            punch::Event::Suspected { peer } | punch::Event::Doubtful { peer } => {
                self.greet_server(now);
                self.lend_suspected(peer, now);
                self.try_where_seen(peer, now);
            }
            punch::Event::Lost { peer, why } => {
                self.path_missing(peer, true, why.to_string(), now);
                self.try_where_seen(peer, now);
            }
            punch::Event::Unreachable { peer, why, .. } => {
                let why = self.with_routers(&why.to_string(), peer);
                self.path_missing(peer, false, why, now);
            }
            punch::Event::Guessed { peer, met } => {
                self.guess_ended(peer, met, now);
                if !met && self.peers.get(&peer).is_some_and(|peer| peer.path != Path::Direct) {
                    let why = self.with_routers("ports were guessed in vain", peer);
                    self.path_missing(peer, false, why, now);
                }
            }
        }
    }

    /// A reason, and what there is to say of the routers.
    fn with_routers(&self, why: &str, tag: PeerTag) -> String {
        self.why_not_direct(tag).map_or(why.to_owned(), |routers| format!("{why}: {routers}"))
    }

    fn path_found(
        &mut self,
        tag: PeerTag,
        way: Way,
        (kind, rtt): (CandidateKind, Option<std::time::Duration>),
        why: &str,
        now: Instant,
    ) {
        let Some(peer) = self.peers.get_mut(&tag) else { return };
        let before = peer.way.replace(way);
        if before != Some(way) {
            peer.way_since = now;
        }
        if let (true, Some(link)) = (before.is_some_and(|before| before != way), peer.link) {
            self.sessions.path_changed(link, now);
        }
        peer.path = match way {
            Way::Direct { .. } => Path::Direct,
            Way::Member(_) => Path::Member,
            Way::Server => Path::Relay,
        };
        let (path, since_known) = (peer.path, now.saturating_duration_since(peer.known_at));
        peer.note_relayed(now);
        if way.is_direct() {
            for payload in peer.take_held(way, self.round_trip, now) {
                self.paths.note_sent(tag, way, now);
                self.send(tag, way, payload, None);
            }
        }
        let (addr, via, why) = (way.addr(), self.lender_of(tag), why.to_owned());
        self.events.push_back(Event::Path { tag, path, addr, via, kind: Some(kind), rtt, since_known, why });
        self.lend_path_changed(tag, now);
        if let Some(addr) = addr.filter(|_| rtt.is_some()) {
            self.gossip_reached(tag, addr, now);
        }
    }

    /// There is no direct path, and no other one either if the last is lost.
    fn path_missing(&mut self, tag: PeerTag, is_lost: bool, why: String, now: Instant) {
        let Some(peer) = self.peers.get_mut(&tag) else { return };
        if is_lost {
            (peer.way, peer.path) = (None, Path::None);
            peer.note_relayed(now);
        }
        let (path, since_known) = (peer.path, now.saturating_duration_since(peer.known_at));
        let via = self.lender_of(tag);
        self.events.push_back(Event::Path { tag, path, addr: None, via, kind: None, rtt: None, since_known, why });
        self.lend_path_changed(tag, now);
    }
}
