use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use quinn_proto::{
    Connection, ConnectionEvent, ConnectionHandle, Dir, Event as QuicEvent, FrameStats, ReadError, SendDatagramError,
    StreamEvent, VarInt,
};
use wire::IdentityKey;
use zeroize::Zeroizing;

use crate::{
    CloseReason, Event, Kind, LinkId, SendError, Stats, Transmit,
    bulk::{self, Pacer},
    census::Standing,
    echo::Echo,
    event::{CODE_PROOF, CODE_PROTOCOL, CODE_TIMEOUT},
    lanes::{self, CONTROL, Incoming, Outgoing},
    proof::{self, Proofs},
    tls,
};

/// An incoming link has so long to prove everything, an outgoing one from the end of the handshake on.
const PROOF_TIMEOUT: Duration = Duration::from_secs(20);

/// One link: a QUIC connection, and what is proved, sent and received on it.
pub(crate) struct Session {
    pub(crate) id: LinkId,
    pub(crate) handle: ConnectionHandle,
    pub(crate) kind: Kind,
    pub(crate) incoming: bool,
    pub(crate) connection: Connection,
    /// Where the other side was last known to be reachable.
    pub(crate) remote: SocketAddr,
    state: State,
    /// On a peer link.
    proofs: Option<Proofs>,
    deadline: Option<Instant>,
    outgoing: Vec<Outgoing>,
    received: Vec<Incoming>,
    pacer: Pacer,
    paced_until: Option<Instant>,
    echo: Echo,
}

enum State {
    /// TLS has not finished. A server's proof is on its way all the same.
    Handshake,
    /// The other side's key is proved, the channel secret isn't.
    Proving { key: IdentityKey },
    /// Everything is proved.
    Open,
    /// Nothing goes in or out any more; kept until late packets are unlikely.
    Closed,
}

/// A reason to end a session from this side.
struct Fault(u32, CloseReason);

impl Fault {
    fn protocol(what: impl Into<String>) -> Self {
        Self(CODE_PROTOCOL, CloseReason::Protocol(what.into()))
    }
}

pub(crate) type Events = VecDeque<(LinkId, Event)>;

impl Session {
    pub(crate) fn new(
        id: LinkId,
        kind: Kind,
        incoming: bool,
        proofs: Option<Proofs>,
        (handle, connection): (ConnectionHandle, Connection),
        mut echo: Echo,
        now: Instant,
    ) -> Self {
        if incoming {
            // A server has but one.
            echo.last_flight();
        }
        Self {
            id,
            handle,
            kind,
            incoming,
            remote: connection.remote_address(),
            connection,
            state: State::Handshake,
            proofs,
            deadline: incoming.then_some(now + PROOF_TIMEOUT),
            outgoing: Outgoing::all(kind),
            received: Vec::new(),
            pacer: Pacer::new(now),
            paced_until: None,
            echo,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    pub(crate) fn standing(&self) -> Standing {
        match self.state {
            State::Handshake | State::Proving { .. } => Standing::Pending,
            State::Open => Standing::Open,
            State::Closed => Standing::Closed,
        }
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.standing() == Standing::Pending
    }

    pub(crate) fn stats(&self) -> Stats {
        let path = self.connection.stats().path;
        Stats { rtt: path.rtt, sent: path.sent_packets, lost: path.lost_packets }
    }

    pub(crate) fn export(&self, label: &[u8], context: &[u8]) -> Option<[u8; 32]> {
        let mut value = [0; 32];
        self.connection.crypto_session().export_keying_material(&mut value, label, context).ok()?;
        Some(value)
    }

    pub(crate) fn send_datagram(&mut self, bytes: Bytes) -> Result<(), SendError> {
        if !self.is_open() || self.kind != Kind::Peer {
            return Err(SendError::NotOpen);
        }
        let len = bytes.len();
        self.connection.datagrams().send(bytes, true).map_err(|error| match error {
            SendDatagramError::TooLarge => {
                SendError::TooLong { len, max: self.connection.datagrams().max_size().unwrap_or_default() }
            }
            _ => SendError::NotOpen,
        })
    }

    pub(crate) fn send_message(&mut self, lane: u8, body: &[u8]) -> Result<(), SendError> {
        if !self.is_open() {
            return Err(SendError::NotOpen);
        }
        let max = self.kind.max_message();
        if body.len() > max {
            return Err(SendError::TooLong { len: body.len(), max });
        }
        let lane = self.outgoing.iter_mut().find(|out| out.lane() == lane).ok_or(SendError::NoLane(lane))?;
        lane.push(body, max)
    }

    pub(crate) fn close(&mut self, code: u32, reason: &str, now: Instant) {
        self.state = State::Closed;
        self.deadline = None;
        self.paced_until = None;
        self.echo.stop();
        self.outgoing.clear();
        self.received.clear();
        self.connection.close(now, VarInt::from_u32(code), Bytes::copy_from_slice(reason.as_bytes()));
    }

    /// Does what the connection has to report.
    pub(crate) fn poll(&mut self, events: &mut Events, now: Instant) {
        if let Err(fault) = self.prove_early() {
            self.fail(fault, events, now);
        }
        while let Some(event) = self.connection.poll() {
            if self.is_closed() {
                continue;
            }
            let done = match event {
                QuicEvent::Connected => self.handshaken(events, now),
                QuicEvent::Stream(StreamEvent::Opened { dir: Dir::Uni }) => {
                    let accepted = std::iter::from_fn(|| self.connection.streams().accept(Dir::Uni));
                    self.received.extend(accepted.map(Incoming::new));
                    self.read(events)
                }
                QuicEvent::Stream(StreamEvent::Readable { .. }) => self.read(events),
                QuicEvent::Stream(StreamEvent::Stopped { .. }) => Err(Fault::protocol("a lane was stopped")),
                QuicEvent::ConnectionLost { reason } => {
                    self.end(reason.into(), events);
                    Ok(())
                }
                QuicEvent::Stream(_)
                | QuicEvent::DatagramReceived
                | QuicEvent::HandshakeDataReady
                | QuicEvent::DatagramsUnblocked => Ok(()),
            };
            if let Err(fault) = done {
                self.fail(fault, events, now);
            }
        }
        // Last: the first of them come beside the proof.
        self.take_datagrams(events);
    }

    /// On a server, TLS has its keys before the client has answered: the proof goes with the first flight.
    fn prove_early(&mut self) -> Result<(), Fault> {
        let is_due = matches!(self.state, State::Handshake);
        match self.proofs.as_mut().filter(|_| is_due).and_then(Proofs::make_early) {
            Some(proof) => self.say_proof(&proof),
            None => Ok(()),
        }
    }

    fn say_proof(&mut self, proof: &[u8]) -> Result<(), Fault> {
        let control = self.outgoing.first_mut().ok_or_else(|| Fault::protocol("no control lane"))?;
        control.push(proof, self.kind.max_message()).map_err(|error| Fault::protocol(error.to_string()))
    }

    /// The other side's key is proved. On a peer link the proofs of the channel secret are due.
    fn handshaken(&mut self, events: &mut Events, now: Instant) -> Result<(), Fault> {
        let key = tls::peer_key(self.connection.crypto_session()).ok_or_else(|| Fault::protocol("no identity key"))?;
        self.echo.last_flight();
        if self.kind == Kind::Signal {
            self.open(key, events);
            return Ok(());
        }
        let no_proof = || Fault(CODE_PROOF, CloseReason::WrongProof);
        let exporter = self.export(wire::peer::PROOF_EXPORTER, &[]).map(Zeroizing::new).ok_or_else(no_proof)?;
        let proofs = self.proofs.as_mut().ok_or_else(no_proof)?;
        match proofs.exporter() {
            Some(early) if *early == exporter => {}
            Some(_) => return Err(Fault::protocol("TLS exports another value than it promised")),
            None => {
                let proof = proofs.make(exporter);
                self.say_proof(&proof)?;
            }
        }
        self.state = State::Proving { key };
        self.deadline = Some(now + PROOF_TIMEOUT);
        self.read(events)
    }

    fn open(&mut self, key: IdentityKey, events: &mut Events) {
        self.state = State::Open;
        self.deadline = None;
        if self.incoming {
            self.echo.stop();
        }
        let connected = Event::Connected { key, kind: self.kind, incoming: self.incoming, from: self.remote };
        events.push_back((self.id, connected));
    }

    fn take_datagrams(&mut self, events: &mut Events) {
        while let Some(bytes) = self.connection.datagrams().recv() {
            // What overtook the proof by more than a packet is voice that would be late anyway.
            if self.is_open() && self.kind == Kind::Peer {
                events.push_back((self.id, Event::Datagram(bytes)));
            }
        }
    }

    /// Takes what has come on the lanes. The control lane first: the proof there opens the others.
    fn read(&mut self, events: &mut Events) -> Result<(), Fault> {
        if matches!(self.state, State::Handshake) {
            return Ok(());
        }
        for at in 0..self.received.len() {
            self.read_lane_number(at)?;
        }
        for &lane in lanes::lanes(self.kind) {
            let Some(at) = self.received.iter().position(|incoming| incoming.lane == Some(lane)) else { continue };
            if lane == CONTROL || self.is_open() {
                self.read_lane(at, events)?;
            }
        }
        Ok(())
    }

    fn read_lane_number(&mut self, at: usize) -> Result<(), Fault> {
        if self.received[at].lane.is_some() {
            return Ok(());
        }
        let Some(&lane) = self.read_chunk(at, 1)?.as_deref().and_then(<[u8]>::first) else { return Ok(()) };
        if !lanes::lanes(self.kind).contains(&lane) {
            return Err(Fault::protocol(format!("there is no lane {lane}")));
        }
        if self.received.iter().any(|incoming| incoming.lane == Some(lane)) {
            return Err(Fault::protocol(format!("lane {lane} is there twice")));
        }
        self.received[at].lane = Some(lane);
        Ok(())
    }

    fn read_lane(&mut self, at: usize, events: &mut Events) -> Result<(), Fault> {
        while let Some(mut bytes) = self.read_chunk(at, usize::MAX)? {
            loop {
                let max = if self.is_open() { self.kind.max_message() } else { proof::LEN };
                let frame = self.received[at].frames.next(&mut bytes, max);
                match frame.map_err(|error| Fault::protocol(error.to_string()))? {
                    Some(body) => self.take_message(at, body, events)?,
                    None => break,
                }
            }
        }
        Ok(())
    }

    /// The next piece of a stream, `None` if there is none yet. Lanes don't end before the session does.
    fn read_chunk(&mut self, at: usize, max: usize) -> Result<Option<Bytes>, Fault> {
        let ended = || Fault::protocol("a lane ended");
        let mut stream = self.connection.recv_stream(self.received[at].stream);
        let mut chunks = stream.read(true).map_err(|_| ended())?;
        match chunks.next(max) {
            Ok(Some(chunk)) => Ok(Some(chunk.bytes)),
            Err(ReadError::Blocked) => Ok(None),
            Ok(None) | Err(ReadError::Reset(_)) => Err(ended()),
        }
    }

    fn take_message(&mut self, at: usize, body: Vec<u8>, events: &mut Events) -> Result<(), Fault> {
        match self.state {
            State::Open => {
                let lane = self.received[at].lane.unwrap_or(CONTROL);
                events.push_back((self.id, Event::Message { lane, body }));
                Ok(())
            }
            State::Proving { key } if self.proofs.as_ref().is_some_and(|proofs| proofs.holds(&body)) => {
                self.open(key, events);
                Ok(())
            }
            State::Proving { .. } => Err(Fault(CODE_PROOF, CloseReason::WrongProof)),
            State::Handshake | State::Closed => Ok(()),
        }
    }

    fn fail(&mut self, Fault(code, reason): Fault, events: &mut Events, now: Instant) {
        let text = reason.to_string();
        self.end(reason, events);
        self.close(code, &text, now);
    }

    /// The session is over; told if the layer above knows of it.
    fn end(&mut self, reason: CloseReason, events: &mut Events) {
        tracing::debug!(link = self.id.0, %reason, "a session ended");
        if self.is_open() || (!self.incoming && !self.is_closed()) {
            events.push_back((self.id, Event::Closed(reason)));
        }
        self.state = State::Closed;
        self.deadline = None;
        self.paced_until = None;
        self.echo.stop();
    }

    /// Hands messages to the connection, as many as may leave now.
    pub(crate) fn flush(&mut self, events: &mut Events, now: Instant) {
        self.paced_until = None;
        if self.is_closed() || self.outgoing.iter().all(Outgoing::is_empty) {
            return;
        }
        let (window, rtt) = (bulk::window_of(&self.connection), self.connection.rtt());
        self.connection.set_send_window(window);
        let mut allowed = self.pacer.refill(window, rtt, now) as usize;
        for lane in &mut self.outgoing {
            let written = lane.write(&mut self.connection, allowed);
            self.pacer.take(written);
            allowed -= written;
            if lane.take_writable(self.kind.max_message()) {
                events.push_back((self.id, Event::Writable));
            }
        }
        if allowed == 0 {
            self.paced_until = Some(self.pacer.due(window, rtt));
        }
    }

    /// The next datagram, if there is one.
    pub(crate) fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        let mut payload = Vec::with_capacity(wire::datagram::MAX_DATAGRAM);
        let transmit = self.connection.poll_transmit(now, 1, &mut payload)?;
        payload.truncate(transmit.size);
        if self.may_echo() {
            self.echo.sent(&payload, now);
        }
        Some(Transmit { to: transmit.destination, payload })
    }

    /// The handshake is not known to be over on both sides. To a member whose address is not validated, a server sends
    /// no more than QUIC says.
    fn may_echo(&self) -> bool {
        let may_repeat = self.kind == Kind::Peer || !self.incoming;
        may_repeat && (self.is_pending() || self.echo.due().is_some())
    }

    /// Takes a datagram of the other side, which may have come from elsewhere than before; tells whether that is a sign of
    /// life: authentic, and no copy of what came before.
    pub(crate) fn handle_datagram(
        &mut self,
        event: ConnectionEvent,
        from: SocketAddr,
        events: &mut Events,
        now: Instant,
    ) -> bool {
        let before = self.connection.stats().frame_rx;
        self.connection.handle_event(event);
        let after = self.connection.stats().frame_rx;
        // Another port of one address is what a router that has forgotten us gives: nobody else can be meant by it.
        if after.path_response > before.path_response || from.ip() == self.remote.ip() {
            self.follow(from, events);
        }
        let news = |of: FrameStats| (of.acks, of.crypto, of.stream, of.datagram, of.ping, of.handshake_done);
        let is_copy = news(after) == news(before);
        self.echo.heard(is_copy, now);
        if after.datagram > 0 {
            // They come from a server that has our proof.
            self.echo.confirmed();
        } else if after.handshake_done > 0 && self.is_open() {
            self.echo.only_answer();
        }
        self.end_echo();
        self.is_open() && !is_copy
    }

    fn end_echo(&mut self) {
        if self.is_open() && self.echo.is_over() {
            self.echo.stop();
        }
    }

    /// Hands everything to the connection that its window allows: there is no later.
    pub(crate) fn flush_unpaced(&mut self) {
        if self.is_open() {
            self.connection.set_send_window(bulk::MAX_WINDOW);
            for lane in &mut self.outgoing {
                lane.write(&mut self.connection, usize::MAX);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn proofs(&mut self) -> &mut Proofs {
        self.proofs.as_mut().expect("a peer link has proofs")
    }

    #[cfg(test)]
    pub(crate) fn withhold_proof(&mut self) {
        self.outgoing.clear();
    }

    /// Does what is due; gives copies to send to the other side.
    pub(crate) fn handle_timeout(&mut self, events: &mut Events, now: Instant) -> Vec<Transmit> {
        self.connection.handle_timeout(now);
        self.paced_until = None;
        let to = self.remote;
        let copies = self.echo.take_due(now).into_iter().flatten();
        let copies = copies.map(|payload| Transmit { to, payload: payload.clone() }).collect();
        self.end_echo();
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.fail(Fault(CODE_TIMEOUT, CloseReason::TimedOut), events, now);
        }
        copies
    }

    pub(crate) fn poll_timeout(&mut self) -> Option<Instant> {
        [self.connection.poll_timeout(), self.deadline, self.paced_until, self.echo.due()].into_iter().flatten().min()
    }

    /// Takes over the other side's address of which QUIC has taken an authentic packet.
    fn follow(&mut self, from: SocketAddr, events: &mut Events) {
        let remote = self.connection.remote_address();
        if remote == self.remote || remote != from {
            return;
        }
        self.remote = remote;
        if self.is_open() {
            events.push_back((self.id, Event::Moved(remote)));
        }
    }
}
