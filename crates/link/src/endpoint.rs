use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use identity::Identity;
use quinn_proto::{
    ClientConfig, ConnectionHandle, DatagramEvent, Endpoint as Quic, EndpointEvent, Incoming, Transmit as QuicTransmit,
};
use wire::{IdentityKey, datagram::MAX_DATAGRAM};
use zeroize::Zeroizing;

use crate::{
    ConnectError, Event, Kind, LinkId, SendError, Stats,
    census::{Census, Standing},
    clock::Clock,
    early_exporter::EarlyExporter,
    echo::Echo,
    ids::Ids,
    proof::{Known, Proofs},
    session::{Events, Session},
    tls::Tls,
    transport::{MAX_PENDING, endpoint_config, server_config, transport_config},
};

/// An endpoint has no more links than this, open and opening.
pub const MAX_LINKS: usize = 4096;
/// From so many on, a stranger must show that it can be reached before anything is computed for it (RFC 9000, 8.1.2).
const RETRY_ABOVE: usize = 64;
/// Links from one expected address: the one in use, and attempts to replace it.
const MAX_PER_PEER: usize = 4;
/// Answers without a link that wait to be sent.
const MAX_ANSWERS: usize = 64;
/// The name that TLS asks for; raw keys have none.
const NO_NAME: &str = "punchline";

/// Who an endpoint is, and from whom it takes links.
pub struct Config<'a> {
    /// Whose key it proves.
    pub identity: &'a Identity,
    /// Random; the choices that are ours follow from it. TLS keys never do.
    pub seed: [u8; 32],
    /// What others may open.
    pub accept: Accept,
}

/// What others may open to an endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Accept {
    /// Nothing.
    None,
    /// Signalling links, from anywhere.
    Signal,
    /// Peer links, from expected peers.
    Peer,
    /// Both; what comes from an expected address is a peer link.
    Both,
}

impl Accept {
    fn takes(self, kind: Kind) -> bool {
        self == Self::Both || self == if kind == Kind::Signal { Self::Signal } else { Self::Peer }
    }
}

/// A datagram to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// What.
    pub payload: Vec<u8>,
}

/// All links of a program; see the crate's description.
pub struct Endpoint {
    quic: Quic,
    tls: Tls,
    ids: Arc<Ids>,
    accept: Accept,
    key: IdentityKey,
    clock: Arc<Clock>,
    expected: BTreeMap<SocketAddr, Known>,
    sessions: BTreeMap<LinkId, Session>,
    census: Census,
    by_handle: BTreeMap<ConnectionHandle, LinkId>,
    next_id: u64,
    /// Links that may have something to send, each once.
    ready: VecDeque<LinkId>,
    /// When each link wants to be called.
    timers: BTreeSet<(Instant, LinkId)>,
    due: BTreeMap<LinkId, Instant>,
    /// What goes out in front: last words, copies, answers without a link.
    answers: VecDeque<Transmit>,
    events: Events,
    /// How long an answer takes at least.
    round_trip: Duration,
}

impl Endpoint {
    /// An endpoint without links.
    pub fn new(config: Config<'_>, now: Instant) -> Self {
        let tls = Tls::new(config.identity);
        let clock = Clock::new(now);
        let server = (config.accept != Accept::None)
            .then(|| server_config(tls.server(Kind::Signal, None, None), Kind::Signal, &clock));
        let ids = Ids::new(config.seed);
        let kind = if config.accept == Accept::Peer { Kind::Peer } else { Kind::Signal };
        let endpoint_config = Arc::new(endpoint_config(config.seed, &ids, kind));
        Self {
            quic: Quic::new(endpoint_config, server, false, None),
            tls,
            ids,
            accept: config.accept,
            key: config.identity.key(),
            clock,
            expected: BTreeMap::new(),
            sessions: BTreeMap::new(),
            census: Census::default(),
            by_handle: BTreeMap::new(),
            next_id: 0,
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            due: BTreeMap::new(),
            answers: VecDeque::new(),
            events: VecDeque::new(),
            round_trip: Duration::ZERO,
        }
    }

    /// Tells how long an answer takes at least, of links that are made from here on: nothing is repeated before.
    pub fn expect_round_trip(&mut self, round_trip: Duration) {
        self.round_trip = round_trip;
    }

    /// Announces a peer: the one at this address, with this key. Of two, the one with the higher key connects to the
    /// other, and both need the announcement.
    ///
    /// The proof key is what both know as members of their channel. Whoever can send from the address gets to see a
    /// proof made with it before proving anything, so it must belong to these two alone, and not be one that can be
    /// found by trying.
    pub fn expect(&mut self, at: SocketAddr, key: IdentityKey, proof_key: Zeroizing<[u8; 32]>) {
        self.expected.insert(at, Known { key, proof_key });
    }

    /// Takes back an announcement. Links that it has led to stay; who has yet to prove something is forgotten, so that
    /// it can begin anew under another announcement.
    pub fn unexpect(&mut self, at: SocketAddr) {
        self.expected.remove(&at);
        let is_pending = |session: &Session| session.incoming && session.is_pending() && session.remote == at;
        let pending: Vec<_> = self.sessions.values().filter(|session| is_pending(session)).map(|s| s.id).collect();
        for id in pending {
            if let Some(session) = self.forget(id) {
                self.quic.handle_event(session.handle, EndpointEvent::drained());
            }
        }
    }

    /// Opens a link. With `expect`, only to the side with that key; without, [`Event::Connected`] tells the key. A peer
    /// must have been announced with [`Self::expect`].
    ///
    /// # Errors
    /// [`ConnectError`] if that can't be.
    pub fn connect(
        &mut self,
        kind: Kind,
        to: SocketAddr,
        expect: Option<IdentityKey>,
        now: Instant,
    ) -> Result<LinkId, ConnectError> {
        if expect == Some(self.key) {
            return Err(ConnectError::OwnKey);
        }
        let proofs = (kind == Kind::Peer).then(|| self.client_proofs(to, expect)).transpose()?;
        if self.sessions.len() >= MAX_LINKS {
            return Err(ConnectError::TooMany);
        }
        let mut config = ClientConfig::new(self.tls.client(kind, expect));
        config.transport_config(transport_config(kind, true)).initial_dst_cid_provider(self.ids.initial(kind));
        let connection = self.quic.connect(now, config, to, NO_NAME).map_err(|error| match error {
            quinn_proto::ConnectError::CidsExhausted => ConnectError::TooMany,
            _ => ConnectError::Address(to),
        })?;
        Ok(self.add(kind, false, proofs, connection, now))
    }

    fn client_proofs(&self, to: SocketAddr, expect: Option<IdentityKey>) -> Result<Proofs, ConnectError> {
        let peer = self.expected.get(&to).filter(|peer| expect == Some(peer.key)).ok_or(ConnectError::NotExpected)?;
        if peer.key > self.key {
            return Err(ConnectError::NotOurPart);
        }
        Ok(Proofs::of_client(self.key, peer.clone()))
    }

    fn add(
        &mut self,
        kind: Kind,
        incoming: bool,
        proofs: Option<Proofs>,
        connection: (ConnectionHandle, quinn_proto::Connection),
        now: Instant,
    ) -> LinkId {
        let id = LinkId(self.next_id);
        self.next_id += 1;
        self.by_handle.insert(connection.0, id);
        self.sessions
            .insert(id, Session::new(id, kind, incoming, proofs, connection, Echo::expecting(self.round_trip), now));
        self.drive(id, now);
        id
    }

    /// Takes a datagram. What is no link's, and opens none, gets no answer. Tells whether it is a sign of life of an open
    /// link's other side: authentic, and no copy of what came before.
    pub fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) -> bool {
        self.clock.set(now);
        if datagram.len() > MAX_DATAGRAM || !self.may_speak(from) {
            tracing::trace!(%from, len = datagram.len(), "ignored a datagram");
            return false;
        }
        let mut answer = Vec::new();
        match self.quic.handle(now, from, None, None, BytesMut::from(datagram), &mut answer) {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                let Some(&id) = self.by_handle.get(&handle) else { return false };
                let Some(session) = self.sessions.get_mut(&id) else { return false };
                let is_sign_of_life = session.handle_datagram(event, from, &mut self.events, now);
                self.drive(id, now);
                return is_sign_of_life;
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.take_incoming(incoming, now),
            // Version negotiation, stateless resets, early refusals: nothing that a stranger should hear.
            Some(DatagramEvent::Response(_)) | None => tracing::trace!(%from, "ignored a datagram of no session"),
        }
        false
    }

    /// Whether anything from this address can be meant for us.
    fn may_speak(&self, from: SocketAddr) -> bool {
        self.accept.takes(Kind::Signal)
            || self.expected.contains_key(&from)
            || self.sessions.values().any(|session| session.remote == from)
    }

    fn take_incoming(&mut self, incoming: Incoming, now: Instant) {
        let from = incoming.remote_address();
        let Some((kind, peer)) = self.admits(from) else {
            tracing::debug!(%from, "ignored a stranger's attempt to connect");
            return self.quic.ignore(incoming);
        };
        let pending = self.census.pending();
        if self.sessions.len() >= MAX_LINKS || pending >= MAX_PENDING {
            tracing::debug!(%from, pending, "ignored an attempt to connect: there are too many");
            return self.quic.ignore(incoming);
        }
        let mut buffer = Vec::new();
        if kind == Kind::Signal && pending >= RETRY_ABOVE && !incoming.remote_address_validated() {
            match self.quic.retry(incoming, &mut buffer) {
                Ok(retry) => self.answer(&retry, buffer),
                Err(error) => self.quic.ignore(error.into_incoming()),
            }
            return;
        }
        let early = peer.is_some().then(Arc::<EarlyExporter>::default);
        let tls = self.tls.server(kind, peer.as_ref().map(|peer| peer.key), early.as_ref());
        let proofs = peer.zip(early).map(|(peer, early)| Proofs::of_server(self.key, peer, early));
        match self.quic.accept(incoming, now, &mut buffer, Some(server_config(tls, kind, &self.clock))) {
            Ok(connection) => {
                self.add(kind, true, proofs, connection, now);
            }
            Err(error) => {
                tracing::debug!(%from, error = %error.cause, "an attempt to connect failed");
                if let Some(response) = error.response {
                    self.answer(&response, buffer);
                }
            }
        }
    }

    /// What may be opened from this address, and by which peer.
    fn admits(&self, from: SocketAddr) -> Option<(Kind, Option<Known>)> {
        let Some(peer) = self.expected.get(&from) else {
            let admitted = self.accept.takes(Kind::Signal) && self.census.has_room_for(from.ip());
            return admitted.then_some((Kind::Signal, None));
        };
        let of_peer = self.sessions.values().filter(|session| session.remote == from && !session.is_closed()).count();
        let admitted = self.accept.takes(Kind::Peer) && self.key < peer.key && of_peer < MAX_PER_PEER;
        admitted.then(|| (Kind::Peer, Some(peer.clone())))
    }

    fn answer(&mut self, transmit: &QuicTransmit, mut payload: Vec<u8>) {
        payload.truncate(transmit.size);
        if self.answers.len() < MAX_ANSWERS {
            self.answers.push_back(Transmit { to: transmit.destination, payload });
        }
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.clock.set(now);
        while let Some(&(_, id)) = self.timers.first().filter(|(due, _)| *due <= now) {
            self.set_timer(id, None);
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let copies = session.handle_timeout(&mut self.events, now);
            self.answers.extend(copies);
            self.drive(id, now);
            // A timer that is still due now would turn this loop for ever; it is due again at the next call.
            if self.due.get(&id).is_some_and(|due| *due <= now) {
                self.set_timer(id, Some(now + Duration::from_millis(1)));
            }
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Takes the next datagram to send.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if let Some(answer) = self.answers.pop_front() {
            return Some(answer);
        }
        while let Some(&id) = self.ready.front() {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.flush(&mut self.events, now);
                if let Some(transmit) = session.poll_transmit(now) {
                    return Some(transmit);
                }
            }
            self.ready.pop_front();
            self.settle(id, now);
        }
        None
    }

    /// Takes the next event. What was sent, received and due before may have caused some.
    pub fn poll_event(&mut self) -> Option<(LinkId, Event)> {
        self.events.pop_front()
    }

    /// After anything was done to a link: hears what it has to say, and lets it send.
    fn drive(&mut self, id: LinkId, now: Instant) {
        self.settle(id, now);
        if self.sessions.contains_key(&id) && !self.ready.contains(&id) {
            self.ready.push_back(id);
        }
    }

    fn settle(&mut self, id: LinkId, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let mut is_drained = false;
        session.poll(&mut self.events, now);
        while let Some(event) = session.connection.poll_endpoint_events() {
            is_drained |= event.is_drained();
            if let Some(event) = self.quic.handle_event(session.handle, event) {
                session.connection.handle_event(event);
            }
            session.poll(&mut self.events, now);
        }
        if is_drained {
            self.forget(id);
            return;
        }
        if session.incoming {
            self.census.note(id, session.remote.ip(), session.standing());
        }
        let due = session.poll_timeout();
        self.set_timer(id, due);
    }

    fn forget(&mut self, id: LinkId) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        self.census.note(id, session.remote.ip(), Standing::Closed);
        self.by_handle.remove(&session.handle);
        self.set_timer(id, None);
        Some(session)
    }

    fn set_timer(&mut self, id: LinkId, due: Option<Instant>) {
        let old = match due {
            Some(due) => self.due.insert(id, due),
            None => self.due.remove(&id),
        };
        if let Some(old) = old {
            self.timers.remove(&(old, id));
        }
        if let Some(due) = due {
            self.timers.insert((due, id));
        }
    }

    /// Sends a datagram over a peer link: soon, or never. If too many wait, the oldest is dropped.
    ///
    /// # Errors
    /// [`SendError`] if it is too long or the link is not open.
    pub fn send_datagram(&mut self, link: LinkId, bytes: Bytes) -> Result<(), SendError> {
        self.sessions.get_mut(&link).ok_or(SendError::NotOpen)?.send_datagram(bytes)?;
        self.make_ready(link);
        Ok(())
    }

    /// Sends a message on a lane.
    ///
    /// # Errors
    /// [`SendError::Full`] if too much waits there already: [`Event::Writable`] comes when there is room. Others of
    /// [`SendError`] if it can't be sent at all.
    pub fn send_message(&mut self, link: LinkId, lane: u8, body: &[u8]) -> Result<(), SendError> {
        self.sessions.get_mut(&link).ok_or(SendError::NotOpen)?.send_message(lane, body)?;
        self.make_ready(link);
        Ok(())
    }

    fn make_ready(&mut self, link: LinkId) {
        if !self.ready.contains(&link) {
            self.ready.push_back(link);
        }
    }

    #[cfg(test)]
    pub(crate) fn links(&self) -> Vec<LinkId> {
        self.sessions.keys().copied().collect()
    }

    #[cfg(test)]
    pub(crate) fn with_session(&mut self, link: LinkId, deed: impl FnOnce(&mut Session)) {
        deed(self.sessions.get_mut(&link).expect("the link is there"));
        self.make_ready(link);
    }

    /// Closes a link at once. Messages that wait are sent once, in front; what of them is lost stays lost. The other
    /// side is told code and reason; on this side no event follows.
    pub fn close(&mut self, link: LinkId, code: u32, reason: &str, now: Instant) {
        let Some(session) = self.sessions.get_mut(&link).filter(|session| !session.is_closed()) else { return };
        session.flush_unpaced();
        while let Some(transmit) = session.poll_transmit(now) {
            self.answers.push_back(transmit);
        }
        session.close(code, reason, now);
        self.drive(link, now);
    }

    /// Tells that a link's packets take another path: what was learnt of the old one is forgotten.
    pub fn path_changed(&mut self, link: LinkId, now: Instant) {
        if let Some(session) = self.sessions.get_mut(&link).filter(|session| session.is_open()) {
            session.connection.path_changed(now);
            self.drive(link, now);
        }
    }

    /// Asks the other side of a link for a sign of life, and shows it where this side is, if that has changed.
    pub fn ping(&mut self, link: LinkId, now: Instant) {
        if let Some(session) = self.sessions.get_mut(&link).filter(|session| session.is_open()) {
            session.connection.ping();
            self.drive(link, now);
        }
    }

    /// Closes every link.
    pub fn close_all(&mut self, code: u32, reason: &str, now: Instant) {
        let links: Vec<_> = self.sessions.keys().copied().collect();
        for link in links {
            self.close(link, code, reason, now);
        }
    }

    /// Whether no link is open and everything was sent: the program may end.
    pub fn is_idle(&self) -> bool {
        self.answers.is_empty() && self.ready.is_empty() && self.sessions.values().all(Session::is_closed)
    }

    /// A value that only the two sides of this link know (RFC 8446, 7.5).
    pub fn export(&self, link: LinkId, label: &[u8], context: &[u8]) -> Option<[u8; 32]> {
        self.sessions.get(&link)?.export(label, context)
    }

    /// Where the other side of a link is.
    pub fn remote(&self, link: LinkId) -> Option<SocketAddr> {
        self.sessions.get(&link).map(|session| session.remote)
    }

    /// Figures of a link.
    pub fn stats(&self, link: LinkId) -> Option<Stats> {
        self.sessions.get(&link).map(Session::stats)
    }
}
