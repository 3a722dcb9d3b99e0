//! The one loop: wait, feed one thing to the mesh, drain it.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use edge::{Exit, WithExit};
use mesh::{Event, Mesh, ServerEvent};
use mio::{Interest, Poll, Token};
use wire::{
    agent::{FromPuncher, Opened, Peers, ToPuncher, VoiceRecord},
    peer::{Keeper, Lane},
    signal::{Candidate, Refusal},
};

use crate::{
    agents::Agents,
    child::{Program, Signals},
    events::{Events, Line, key_text, kind_name, millis},
    held::Held,
    member::KnownServer,
    pins::Pins,
    socket::{self, Udp},
};

const UDP: Token = Token(0);
/// How often the interfaces are looked at.
const INTERFACE_POLL: Duration = Duration::from_secs(2);
/// Datagrams taken from the socket before anything else gets its turn.
const RECEIVE_BUDGET: usize = 64;
const MAX_RECEIVED: usize = 2048;

/// What the loop needs to run.
pub(crate) struct Parts {
    pub(crate) poll: Poll,
    pub(crate) udp: Udp,
    pub(crate) mesh: Mesh,
    pub(crate) agents: Agents,
    pub(crate) signals: Signals,
    pub(crate) events: Events,
    pub(crate) program: Option<Program>,
    /// The connection of `--pipe`; puncher ends with it.
    pub(crate) pipe: Option<Token>,
    pub(crate) known_server: KnownServer,
    pub(crate) known_peers: Pins,
    pub(crate) channel: String,
    pub(crate) name: String,
    pub(crate) advertised: Vec<Candidate>,
    pub(crate) with_loopback: bool,
    pub(crate) ready: Option<edge::ready::Ready>,
}

/// Why the loop ended well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// Somebody asked for it.
    Asked,
    /// A signal asked for it.
    Signal(i32),
    /// The program ended, with this code.
    Program(u8),
}

pub(crate) struct Driver {
    parts: Parts,
    held: Held,
    ending: Option<anyhow::Result<Ending>>,
    interfaces_at: Instant,
    interfaces: Vec<Candidate>,
    /// How it stands with the rendezvous, as told last.
    server: FromPuncher,
    /// A datagram that the socket had no room for.
    unsent: Option<mesh::Transmit>,
}

impl Driver {
    pub(crate) fn new(parts: Parts, interfaces: Vec<Candidate>, now: Instant) -> Self {
        let server = FromPuncher::Server { connected: false, text: "asking the rendezvous".to_owned() };
        let interfaces_at = now + INTERFACE_POLL;
        Self { parts, held: Held::default(), ending: None, interfaces_at, interfaces, server, unsent: None }
    }

    /// Runs until somebody asks for the end, then leaves properly.
    pub(crate) fn run(mut self) -> anyhow::Result<Ending> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.parts
            .poll
            .registry()
            .register(&mut self.parts.udp.socket, UDP, interest)
            .context("watch the UDP socket")?;
        let mut happened = mio::Events::with_capacity(64);
        loop {
            self.drain();
            if let Some(ending) = self.ending.take() {
                self.leave();
                return ending;
            }
            let now = Instant::now();
            let due = self.parts.mesh.poll_timeout().map_or(self.interfaces_at, |due| due.min(self.interfaces_at));
            match self.parts.poll.poll(&mut happened, Some(due.saturating_duration_since(now))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(error).context("wait for events");
                }
                _ => {}
            }
            for event in &happened {
                self.handle(event.token());
            }
            self.handle_time();
        }
    }

    fn handle(&mut self, token: Token) {
        match token {
            UDP => self.receive(),
            Agents::LISTENER => self.parts.agents.accept(self.parts.poll.registry()),
            Signals::TOKEN => self.handle_signals(),
            client => self.handle_client(client),
        }
    }

    fn handle_time(&mut self) {
        let now = Instant::now();
        if self.parts.mesh.poll_timeout().is_some_and(|due| due <= now) {
            self.parts.mesh.handle_timeout(now);
        }
        if self.interfaces_at <= now {
            self.interfaces_at = now + INTERFACE_POLL;
            self.look_at_interfaces(now);
        }
    }

    fn look_at_interfaces(&mut self, now: Instant) {
        let mut candidates = self.parts.advertised.clone();
        candidates.extend(socket::host_candidates(self.parts.udp.local(), self.parts.with_loopback));
        if candidates != self.interfaces {
            tracing::info!("the interfaces have changed");
            self.interfaces.clone_from(&candidates);
            self.parts.mesh.network_changed(candidates, now);
        }
    }

    fn receive(&mut self) {
        let mut buffer = [0; MAX_RECEIVED];
        loop {
            for _ in 0..RECEIVE_BUDGET {
                match self.parts.udp.receive(&mut buffer) {
                    Ok((len, from)) => self.parts.mesh.handle_datagram(from, &buffer[..len], Instant::now()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.drain(),
                    // An ICMP error for something sent earlier; the mesh learns from silence.
                    Err(error) => tracing::trace!(%error, "receive a datagram"),
                }
            }
            self.drain();
        }
    }

    /// Sends and reports everything that the mesh has to say.
    fn drain(&mut self) {
        loop {
            self.transmit();
            let Some(event) = self.parts.mesh.poll_event() else { return };
            self.handle_event(event);
        }
    }

    fn transmit(&mut self) {
        let now = Instant::now();
        while let Some(transmit) = self.unsent.take().or_else(|| self.parts.mesh.poll_transmit(now)) {
            match self.parts.udp.send(transmit.to, &transmit.payload) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.unsent = Some(transmit);
                    return;
                }
                // A route may be missing for one candidate and there for another; the mesh learns from silence.
                Err(error) => tracing::debug!(to = %transmit.to, %error, "a datagram was not sent"),
            }
        }
    }

    fn handle_signals(&mut self) {
        if let Some(signal) = self.parts.signals.take() {
            self.end(Ok(Ending::Signal(signal)));
        }
        match self.parts.program.as_mut().map(Program::ended) {
            Some(Ok(Some(code))) => {
                self.parts.program = None;
                self.end(Ok(Ending::Program(code)));
            }
            Some(Err(error)) => self.end(Err(error)),
            Some(Ok(None)) | None => {}
        }
    }

    fn end(&mut self, ending: anyhow::Result<Ending>) {
        self.ending.get_or_insert(ending);
    }

    fn leave(&mut self) {
        let now = Instant::now();
        self.parts.mesh.leave(now);
        let mut last_words = Vec::new();
        while let Some(transmit) = self.parts.mesh.poll_transmit(now) {
            last_words.push(transmit);
        }
        // Nobody will be here to repeat what gets lost, so it is said twice.
        for transmit in last_words.iter().chain(&last_words) {
            if let Err(error) = self.parts.udp.send(transmit.to, &transmit.payload) {
                tracing::debug!(to = %transmit.to, %error, "a goodbye was not sent");
            }
        }
        self.parts.agents.broadcast(&FromPuncher::Closing, self.parts.poll.registry(), |_, _| true);
        if let Some(program) = self.parts.program.take() {
            program.end();
        }
    }

    fn emit(&mut self, line: &Line<'_>) {
        if let Err(error) = self.parts.events.emit(line) {
            let ending = match error.kind() {
                io::ErrorKind::BrokenPipe => Ok(Ending::Asked),
                _ => Err(error).context("write an event line").exit(Exit::Io),
            };
            self.end(ending);
        }
    }
}

/// Local programs.
impl Driver {
    fn handle_client(&mut self, token: Token) {
        let registry = self.parts.poll.registry();
        let alive = self.parts.agents.progress(token, registry);
        while let Some(record) = self.parts.agents.next_record(token, self.parts.poll.registry()) {
            self.handle_record(token, record);
            self.drain();
        }
        if !alive && self.parts.pipe == Some(token) {
            self.end(Ok(Ending::Asked));
        }
    }

    fn handle_record(&mut self, token: Token, record: ToPuncher) {
        let now = Instant::now();
        match (record, self.parts.agents.lane(token)) {
            (ToPuncher::Open { version, lane, program }, None) => self.open_lane(token, version, lane, &program, now),
            (ToPuncher::Voice(VoiceRecord { peers, packet }), Some(Lane::Voice)) => {
                self.parts.mesh.send_voice(&peers, &packet, now);
            }
            (ToPuncher::Text { id, to, body }, Some(Lane::Text)) if body.len() <= wire::peer::MAX_TEXT => {
                self.parts.mesh.send_text(id, &to, body, now);
            }
            (ToPuncher::Local(local), Some(_)) => {
                let record = FromPuncher::Local(local);
                self.parts.agents.broadcast(&record, self.parts.poll.registry(), |other, _| other != token);
            }
            (ToPuncher::Leave, Some(_)) => self.end(Ok(Ending::Asked)),
            (_, lane) => {
                let what = lane.map_or("a lane has to be opened first".to_owned(), |lane| {
                    format!("this record does not belong on a {lane:?} lane")
                });
                self.parts.agents.send(token, &FromPuncher::Refused(what), self.parts.poll.registry());
            }
        }
    }

    fn open_lane(&mut self, token: Token, version: u16, lane: Lane, program: &str, now: Instant) {
        let registry = self.parts.poll.registry();
        if version != wire::VERSION {
            let why = format!("this puncher speaks version {} of the agent protocol, not {version}", wire::VERSION);
            self.parts.agents.send(token, &FromPuncher::Refused(why), registry);
            return;
        }
        tracing::debug!(?token, ?lane, program, "a local program opened a lane");
        self.parts.agents.open(token, lane);
        let opened = FromPuncher::Opened(Opened {
            version: wire::VERSION,
            channel: self.parts.channel.clone(),
            name: self.parts.name.clone(),
            key: self.parts.mesh.key(),
        });
        self.parts.agents.send(token, &opened, registry);
        self.introduce(token);
        if lane == Lane::Text {
            self.hand_over_held(token, now);
        }
    }

    /// Tells a program of everybody who is there.
    pub(crate) fn introduce(&mut self, token: Token) {
        for status in self.parts.mesh.peers().collect::<Vec<_>>() {
            self.parts.agents.send(token, &FromPuncher::Peer(status), self.parts.poll.registry());
        }
        let server = self.server.clone();
        self.parts.agents.send(token, &server, self.parts.poll.registry());
    }

    fn hand_over_held(&mut self, token: Token, now: Instant) {
        while let Some(text) = self.held.pop() {
            let (tag, id) = (text.from, text.id);
            self.parts.agents.send(token, &text.into_record(), self.parts.poll.registry());
            self.parts.mesh.acknowledge(tag, id, Keeper::Chat, now);
        }
    }

    fn tell_all(&mut self, record: &FromPuncher) {
        self.parts.agents.broadcast(record, self.parts.poll.registry(), |_, _| true);
    }

    fn tell_peer_status(&mut self, tag: wire::PeerTag) {
        if let Some(status) = self.parts.mesh.peer(tag) {
            self.tell_all(&FromPuncher::Peer(status));
        }
    }
}

/// What the mesh tells.
impl Driver {
    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Server(event) => self.handle_server(event),
            Event::Seen { tag, name, key } => self.handle_seen(tag, &name, key),
            Event::Path { tag, path, addr, kind, rtt, since_known, why } => {
                let Some(peer) = self.parts.mesh.peer(tag) else { return };
                self.emit(&Line::Path {
                    peer: &peer.name,
                    key: key_text(&peer.key),
                    addr,
                    path,
                    kind: kind_name(kind),
                    rtt_ms: rtt.map(millis),
                    since_known_ms: millis(since_known),
                    why: &why,
                });
                self.tell_all(&FromPuncher::Peer(peer));
            }
            Event::Secure { tag, since_known } => self.handle_link(tag, true, Some(millis(since_known)), ""),
            Event::Insecure { tag, why } => self.handle_link(tag, false, None, &why),
            Event::Left { tag, name, why } => {
                self.emit(&Line::Left { peer: &name, why: &why });
                self.tell_all(&FromPuncher::Left { tag, name, why });
            }
            Event::Voice { tag, packet } => {
                let record = FromPuncher::Voice(VoiceRecord { peers: Peers::One(tag), packet: packet.to_vec() });
                self.parts.agents.broadcast(&record, self.parts.poll.registry(), |_, lane| lane == Lane::Voice);
            }
            Event::Text { tag, id, direct, body } => self.handle_text(tag, id, direct, body),
            Event::Delivery { id, tag, name, outcome } => {
                self.tell_text(&FromPuncher::Delivery { id, to: tag, name, outcome });
            }
            Event::Settled { id } => self.tell_text(&FromPuncher::Settled { id }),
        }
    }

    fn handle_seen(&mut self, tag: wire::PeerTag, name: &str, key: wire::IdentityKey) {
        self.emit(&Line::Peer { peer: name, key: key_text(&key) });
        if self.parts.known_peers.has_changed(&self.pin_name(name), &key) {
            let text = format!(
                "{name} has another key than before: somebody else uses the name, or {name} has set up anew; \
                 nothing is sent there; if you know why: puncher trust {name}"
            );
            self.emit(&Line::Error { text });
            self.parts.mesh.block(tag, Instant::now());
            return;
        }
        self.tell_peer_status(tag);
    }

    /// Names are unique on one server, so the server is part of what a person's key is kept under.
    fn pin_name(&self, name: &str) -> String {
        format!("{name}@{}", self.parts.known_server)
    }

    fn tell_text(&mut self, record: &FromPuncher) {
        self.parts.agents.broadcast(record, self.parts.poll.registry(), |_, lane| lane == Lane::Text);
    }

    fn handle_link(&mut self, tag: wire::PeerTag, secure: bool, since_known_ms: Option<u64>, why: &str) {
        let Some(peer) = self.parts.mesh.peer(tag) else { return };
        let pin_name = self.pin_name(&peer.name);
        if secure && let Err(error) = self.parts.known_peers.meet(&pin_name, peer.key) {
            self.emit(&Line::Error { text: format!("{error:#}") });
        }
        self.emit(&Line::Link { peer: &peer.name, key: key_text(&peer.key), secure, since_known_ms, why });
        self.tell_all(&FromPuncher::Peer(peer));
    }

    fn handle_text(&mut self, tag: wire::PeerTag, id: wire::MessageId, direct: bool, body: Vec<u8>) {
        let now = Instant::now();
        let name = self.parts.mesh.peer(tag).map(|peer| peer.name).unwrap_or_default();
        let text = crate::held::Text { from: tag, id, name, direct, body };
        if self.parts.agents.has_lane(Lane::Text) {
            self.tell_text(&text.into_record());
            self.parts.mesh.acknowledge(tag, id, Keeper::Chat, now);
        } else if self.held.push(text) {
            self.parts.mesh.acknowledge(tag, id, Keeper::Puncher, now);
        } else {
            let text = "a text message was refused: too many wait for a chat program; start one".to_owned();
            self.emit(&Line::Error { text });
        }
    }

    fn handle_server(&mut self, event: ServerEvent) {
        match event {
            ServerEvent::Connecting => {}
            ServerEvent::Key(key) => {
                if let Err(error) = self.parts.known_server.remember(&key) {
                    self.emit(&Line::Error { text: format!("{error:#}") });
                }
            }
            ServerEvent::SecretNeeded(key) => match self.parts.known_server.channel_secret(key) {
                Ok(secret) => self.parts.mesh.set_secret(secret, Instant::now()),
                Err(error) => self.end(Err(error)),
            },
            ServerEvent::Joined { observed, name, peers } => self.joined(observed, name, peers),
            ServerEvent::Observed(addr) => self.server_line(true, format!("this member is seen at {addr}")),
            ServerEvent::Refused(refusal) => {
                let error = anyhow!(refusal.clone()).context(format!("join {}", self.parts.channel));
                self.end(Err(error).exit(refusal_exit(&refusal)));
            }
            ServerEvent::WrongKey => self.end(Err(self.parts.known_server.changed_key()).exit(Exit::Protocol)),
            ServerEvent::Lost { why, retry_in: None } => {
                let error = anyhow!("{why}").context(format!("reach the rendezvous {}", self.parts.known_server));
                self.end(Err(error).exit(Exit::Unavailable));
            }
            ServerEvent::Lost { why, retry_in: Some(wait) } => {
                if let Some(addr) = self.parts.known_server.next_addr() {
                    self.parts.mesh.set_server(addr);
                }
                let server = &self.parts.known_server;
                self.server_line(false, format!("{server} is not there ({why}); asking again in {} ms", millis(wait)));
            }
            ServerEvent::Closing => {
                self.server_line(false, format!("{} closes; calls go on without it", self.parts.known_server));
            }
        }
    }

    fn joined(&mut self, observed: SocketAddr, name: String, peers: usize) {
        self.emit(&Line::Joined { channel: &self.parts.channel.clone(), name: &name, observed, peers });
        self.tell_server(true, format!("joined, seen at {observed}"));
        self.parts.name = name;
        if let Some(ready) = self.parts.ready.take() {
            ready.signal();
        }
    }

    fn server_line(&mut self, connected: bool, text: String) {
        self.emit(&Line::Server { connected, text: text.clone() });
        self.tell_server(connected, text);
    }

    fn tell_server(&mut self, connected: bool, text: String) {
        self.server = FromPuncher::Server { connected, text };
        self.tell_all(&self.server.clone());
    }
}

fn refusal_exit(refusal: &Refusal) -> Exit {
    match refusal {
        Refusal::BadChannel(_) | Refusal::BadName(_) => Exit::Usage,
        Refusal::ProofNeeded(_) | Refusal::WrongProof => Exit::NoPermission,
        Refusal::TooManyAttempts(_) => Exit::TryAgain,
        Refusal::Protocol(_) | Refusal::Version(_) => Exit::Protocol,
        Refusal::UnknownChannel | Refusal::NameTaken | Refusal::ChannelFull(_) | Refusal::ServerFull => {
            Exit::Unavailable
        }
    }
}
