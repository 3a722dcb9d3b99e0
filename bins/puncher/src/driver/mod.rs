//! The one loop: wait, feed one thing to the mesh, drain it.

mod detour;
mod handshakes;
mod locals;
mod portmap;
mod reports;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::{Duration, Instant},
};

use anyhow::Context;
use edge::{Exit, WithExit};
use mesh::{Mesh, SocketId};
use mio::{Poll, Token};
use wire::{MessageId, agent::FromPuncher, signal::Candidate};

use self::handshakes::Handshakes;
use crate::{
    events::{Events, Line},
    local::{
        agents::Agents,
        child::{Program, Signals},
        held::Held,
        pipe::Pipe,
    },
    member::{KnownServer, pins::Pins, remembered::Remembered, tickets::Tickets, writer::Writer},
    net::{
        router::Router,
        socket::{self, Udp},
        sockets::Sockets,
        tunnel::Tunnel,
        watch::Watch,
    },
};

const UDP: Token = Token(0);
/// How often the interfaces are looked at.
pub(crate) const INTERFACE_POLL: Duration = Duration::from_secs(2);
/// Datagrams taken from a socket before what follows from them is sent.
pub(crate) const RECEIVE_BUDGET: usize = 64;
/// And so often, before anything else gets its turn: a flood holds up neither timers nor signals nor local programs.
pub(crate) const RECEIVE_ROUNDS: usize = 16;
pub(crate) const MAX_RECEIVED: usize = 2048;
/// How long programs may take to read what is for them, at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What the loop needs to run.
pub(crate) struct Parts {
    pub(crate) poll: Poll,
    pub(crate) udp: Udp,
    pub(crate) mesh: Mesh,
    pub(crate) agents: Agents,
    pub(crate) signals: Signals,
    pub(crate) events: Events,
    pub(crate) program: Option<Program>,
    /// What `--pipe` makes of stdin and stdout; puncher ends with it.
    pub(crate) pipe: Option<Pipe>,
    pub(crate) known_server: KnownServer,
    /// Where members were reached, if that is kept.
    pub(crate) remembered: Option<Remembered>,
    pub(crate) known_peers: Pins,
    /// Where there is a rendezvous.
    pub(crate) tickets: Option<Tickets>,
    pub(crate) writer: Writer,
    pub(crate) channel: String,
    pub(crate) name: String,
    pub(crate) advertised: Vec<Candidate>,
    pub(crate) with_loopback: bool,
    /// Who is asked for a port mapping; nobody if that is not wanted, or would lead nowhere.
    pub(crate) router: Option<Router>,
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

/// The loop's state.
pub(crate) struct Driver {
    pub(crate) parts: Parts,
    pub(crate) held: Held,
    ending: Option<anyhow::Result<Ending>>,
    /// When to look at the interfaces again, though nobody has said that they changed.
    pub(crate) interfaces_at: Instant,
    pub(crate) watch: Watch,
    pub(crate) interfaces: Vec<Candidate>,
    /// When to look again which router there is.
    pub(crate) router_at: Instant,
    /// Why there is no router to ask, as told last.
    pub(crate) no_router: Option<String>,
    /// Which program waits for the outcome of which text.
    pub(crate) senders: BTreeMap<MessageId, Token>,
    /// Programs whose texts are not read while peers are slow to take them.
    pub(crate) waiting: BTreeSet<Token>,
    /// How it stands with the rendezvous, as told last.
    pub(crate) server: FromPuncher,
    /// A datagram that the socket had no room for.
    unsent: Option<mesh::Transmit>,
    /// The way to the rendezvous where UDP does not get through.
    pub(crate) tunnel: Option<Tunnel>,
    /// Whether the loop is told of room in the socket.
    awaits_room: bool,
    pub(crate) sockets: Sockets,
    handshakes: Handshakes,
    /// Sockets that were left before they were empty.
    pub(crate) unread: BTreeSet<Token>,
}

impl Driver {
    pub(crate) fn new(parts: Parts, interfaces: Vec<Candidate>, now: Instant) -> Self {
        let server = FromPuncher::Server { connected: false, text: format!("asking {}", parts.known_server) };
        let interfaces_at = now + INTERFACE_POLL;
        let sockets = Sockets::new(parts.udp.local());
        let watch = Watch::start(parts.poll.registry());
        Self {
            parts,
            sockets,
            held: Held::default(),
            ending: None,
            interfaces_at,
            watch,
            interfaces,
            // At once, but behind the first datagram to the rendezvous.
            router_at: now,
            no_router: None,
            senders: BTreeMap::new(),
            waiting: BTreeSet::new(),
            server,
            unsent: None,
            tunnel: None,
            awaits_room: false,
            handshakes: Handshakes::default(),
            unread: BTreeSet::new(),
        }
    }

    /// Runs until somebody asks for the end, then leaves properly.
    pub(crate) fn run(mut self) -> anyhow::Result<Ending> {
        self.parts
            .poll
            .registry()
            .register(&mut self.parts.udp.socket, UDP, socket::interest(false))
            .context("watch the UDP socket")?;
        let mut happened = mio::Events::with_capacity(64);
        loop {
            self.drain();
            if let Some(ending) = self.ending.take() {
                let left = self.leave();
                return ending.and_then(|ending| left.map(|()| ending));
            }
            self.watch_socket()?;
            let now = Instant::now();
            let tunnel_due = self.tunnel.as_ref().and_then(Tunnel::due);
            let mesh_due = self.parts.mesh.poll_timeout();
            let others = [mesh_due, tunnel_due, self.router_due()];
            let due = others.into_iter().flatten().fold(self.interfaces_at, Instant::min);
            let unread = std::mem::take(&mut self.unread);
            let due = if unread.is_empty() { due } else { now };
            match self.parts.poll.poll(&mut happened, Some(due.saturating_duration_since(now))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(error).context("wait for events");
                }
                _ => {}
            }
            for token in happened.iter().map(mio::event::Event::token).chain(unread) {
                self.handle(token);
            }
            self.handle_time(mesh_due);
            self.handle_waiting();
        }
    }

    /// Waits for room in the socket as long as a datagram needs it.
    fn watch_socket(&mut self) -> anyhow::Result<()> {
        let is_blocked = self.unsent.is_some();
        if is_blocked != self.awaits_room {
            let (registry, socket) = (self.parts.poll.registry(), &mut self.parts.udp.socket);
            registry.reregister(socket, UDP, socket::interest(is_blocked)).context("watch the UDP socket")?;
            self.awaits_room = is_blocked;
        }
        Ok(())
    }

    fn handle(&mut self, token: Token) {
        match token {
            UDP => self.receive(),
            Agents::LISTENER => self.parts.agents.accept(self.parts.poll.registry()),
            Signals::TOKEN => self.handle_signals(),
            Tunnel::TOKEN => self.handle_tunnel(),
            Watch::TOKEN => self.handle_change(),
            router if Router::is_mine(router) => self.handle_router(router),
            other => match Sockets::named(other) {
                Some(socket) => self.receive_aside(socket),
                None => self.handle_client(other),
            },
        }
    }

    /// Handles what was due, the mesh's as it was before the wait: what has come meanwhile changes that in the next turn.
    fn handle_time(&mut self, mesh_due: Option<Instant>) {
        let now = Instant::now();
        if mesh_due.is_some_and(|due| due <= now) {
            self.parts.mesh.handle_timeout(now);
        }
        if self.tunnel.as_ref().and_then(Tunnel::due).is_some_and(|due| due <= now) {
            self.handle_tunnel();
        }
        self.tell_unwritten();
        self.look_for_changes(now);
        self.handle_router_time(now);
    }

    fn tell_unwritten(&mut self) {
        while let Some(error) = self.parts.writer.failure() {
            self.emit(&Line::Error { text: format!("{error:#}") });
        }
    }

    fn receive(&mut self) {
        for _ in 0..RECEIVE_ROUNDS {
            let has_more = self.receive_some();
            self.drain();
            match self.handshakes.next() {
                Some((from, datagram)) => {
                    self.parts.mesh.handle_datagram(SocketId::MAIN, from, &datagram, Instant::now());
                }
                None if has_more => {}
                None => return,
            }
        }
        self.unread.insert(UDP);
    }

    /// Handles what has come, but for handshakes; whether there may be more.
    fn receive_some(&mut self) -> bool {
        let mut buffer = [0; MAX_RECEIVED];
        for _ in 0..RECEIVE_BUDGET {
            match self.parts.udp.receive(&mut buffer) {
                Ok((len, from)) => {
                    if !self.handshakes.defer(from, &buffer[..len]) {
                        self.parts.mesh.handle_datagram(SocketId::MAIN, from, &buffer[..len], Instant::now());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // An ICMP error for something sent earlier; the mesh learns from silence.
                Err(error) => tracing::trace!(%error, "receive a datagram"),
            }
        }
        true
    }

    /// Sends and reports everything that the mesh has to say.
    pub(crate) fn drain(&mut self) {
        loop {
            self.serve_sockets();
            self.transmit();
            let Some(event) = self.parts.mesh.poll_event() else { break };
            self.handle_event(event);
        }
        self.parts.agents.flush(self.parts.poll.registry());
    }

    fn transmit(&mut self) {
        let now = Instant::now();
        while let Some(transmit) = self.unsent.take().or_else(|| self.parts.mesh.poll_transmit(now)) {
            if transmit.socket == mesh::TUNNEL {
                self.send_by_tunnel(transmit.payload, now);
                continue;
            }
            if transmit.socket != SocketId::MAIN {
                self.send_aside(&transmit, now);
                continue;
            }
            match self.parts.udp.send(transmit.to, &transmit.payload) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.unsent = Some(transmit);
                    return;
                }
                // A route may be missing for one candidate and there for another; the mesh learns from silence.
                Err(error) => {
                    tracing::debug!(to = %transmit.to, %error, "a datagram was not sent");
                    self.parts.mesh.note_unsent(transmit.to, now);
                }
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

    pub(crate) fn end(&mut self, ending: anyhow::Result<Ending>) {
        self.ending.get_or_insert(ending);
    }

    fn leave(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        self.parts.mesh.leave(now);
        if let Some(remembered) = &self.parts.remembered {
            remembered.save(&self.parts.writer);
        }
        let mut last_words = Vec::new();
        while let Some(transmit) = self.parts.mesh.poll_transmit(now) {
            last_words.push(transmit);
        }
        // Nobody will be here to repeat what gets lost, so it is said twice.
        for transmit in last_words.iter().chain(&last_words) {
            if transmit.socket == mesh::TUNNEL {
                self.send_by_tunnel(transmit.payload.clone(), now);
                continue;
            }
            if transmit.socket != SocketId::MAIN {
                self.send_aside(transmit, now);
                continue;
            }
            if let Err(error) = self.parts.udp.send(transmit.to, &transmit.payload) {
                tracing::debug!(to = %transmit.to, %error, "a goodbye was not sent");
            }
        }
        if let Some(router) = self.parts.router.take() {
            router.close(now);
        }
        self.parts.agents.broadcast(&FromPuncher::Closing, self.parts.poll.registry(), |_, _| true);
        // Texts that are on their way to a program have been acknowledged.
        self.parts.agents.finish(LAST_WORDS);
        let piped = self.parts.pipe.take().map_or(Ok(()), |pipe| pipe.finish(LAST_WORDS));
        if let Some(program) = self.parts.program.take() {
            program.end(&self.parts.signals);
        }
        self.parts.writer.finish();
        self.tell_unwritten();
        piped
    }

    pub(crate) fn emit(&mut self, line: &Line<'_>) {
        if let Err(error) = self.parts.events.emit(line) {
            let ending = match error.kind() {
                io::ErrorKind::BrokenPipe => Ok(Ending::Asked),
                _ => Err(error).context("write an event line").exit(Exit::Io),
            };
            self.end(ending);
        }
    }
}
