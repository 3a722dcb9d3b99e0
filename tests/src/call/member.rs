//! A member of a channel: one `puncher`, and what it has told.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::{ChildStdout, Command, ExitStatus, Output, Stdio},
};

use rustix::process::Signal;
use serde::Deserialize;

use super::{Home, Program, Rendezvous, program};
use crate::lab::Lab;

/// A running `puncher join`.
#[derive(Debug)]
pub struct Member {
    node: String,
    channel: String,
    name: String,
    home: Home,
    program: Program,
    state: State,
}

/// What a puncher's events amount to.
#[derive(Debug, Default)]
pub struct State {
    /// How often it has joined, if it has.
    pub joins: u32,
    /// Whether it has lost the rendezvous.
    pub is_alone: bool,
    /// Everybody who is there, by name.
    pub peers: BTreeMap<String, Peer>,
    /// The errors that it has told.
    pub errors: Vec<String>,
    /// What it told of port mappings, the latest last.
    pub portmaps: Vec<Portmap>,
}

/// A port mapping, or why there is none.
#[derive(Clone, Debug)]
pub struct Portmap {
    /// The address that the router forwards.
    pub addr: Option<SocketAddr>,
    /// Who got it.
    pub protocol: Option<String>,
    /// Why there is none.
    pub why: String,
}

/// What a puncher knows of a peer.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// How packets get there: none, direct, relay, member.
    pub path: String,
    /// The member that carries the packets, if one does.
    pub via: String,
    /// The address in use.
    pub addr: Option<SocketAddr>,
    /// Round trip, in milliseconds.
    pub rtt_ms: Option<u64>,
    /// From the introduction to the latest change of the path, in milliseconds.
    pub since_known_ms: u64,
    /// Why the path is what it is.
    pub why: String,
    /// Whether the session is up.
    pub is_secure: bool,
}

/// An event line, as far as tests look at it. What is not told is empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    v: u8,
    #[serde(rename = "type")]
    kind: String,
    peer: String,
    path: String,
    via: Option<String>,
    addr: Option<SocketAddr>,
    rtt_ms: Option<u64>,
    since_known_ms: Option<u64>,
    secure: bool,
    connected: bool,
    text: String,
    protocol: Option<String>,
    why: String,
}

impl State {
    /// Whether a peer is reached directly, and the session with it is up.
    pub fn is_direct(&self, peer: &str) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.path == "direct" && peer.is_secure)
    }

    /// Where a peer is reached.
    pub fn address_of(&self, peer: &str) -> Option<SocketAddr> {
        self.peers.get(peer)?.addr
    }

    fn take(&mut self, event: Event) {
        let Event { kind, peer, .. } = &event;
        match kind.as_str() {
            "joined" => (self.joins, self.is_alone) = (self.joins + 1, false),
            "server" => self.is_alone = !event.connected,
            "peer" => drop(self.peers.entry(peer.clone()).or_default()),
            "left" => drop(self.peers.remove(peer)),
            "path" => {
                let peer = self.peers.entry(peer.clone()).or_default();
                (peer.path, peer.addr, peer.rtt_ms) = (event.path, event.addr, event.rtt_ms);
                peer.via = event.via.unwrap_or_default();
                peer.since_known_ms = event.since_known_ms.unwrap_or_default();
                peer.why = event.why;
            }
            "link" => self.peers.entry(peer.clone()).or_default().is_secure = event.secure,
            "portmap" => {
                self.portmaps.push(Portmap { addr: event.addr, protocol: event.protocol, why: event.why });
            }
            "error" => self.errors.push(event.text),
            _ => {}
        }
    }
}

/// How to join.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// In which host.
    pub node: &'a str,
    /// Which channel.
    pub channel: &'a str,
    /// Under which name.
    pub name: &'a str,
    /// What else to give `puncher join`; with `--via` no rendezvous is named, with `--server` another one.
    pub more: &'a [&'a str],
}

impl Options<'_> {
    fn command(&self, lab: &Lab, home: &Home) -> Command {
        let mut command = home.command(lab, self.node, "puncher");
        let server = Rendezvous::address();
        command.args(["join", self.channel, "--name", self.name, "--json", "--no-input"]);
        if !self.more.iter().any(|option| ["--via", "--server"].contains(option)) {
            command.args(["--server", &server]);
        }
        command.args(self.more);
        command
    }
}

impl Member {
    /// Starts a puncher; whether it has joined is to be waited for.
    pub fn join(lab: &Lab, node: &str, channel: &str, name: &str) -> Self {
        Self::with(lab, &Options { node, channel, name, more: &[] })
    }

    /// Starts one with more options.
    pub fn with(lab: &Lab, options: &Options<'_>) -> Self {
        let home = Home::new();
        let program = Program::start(&home, options.name, &mut options.command(lab, &home));
        Self::new(options, home, program)
    }

    /// Starts one in a pipeline: `options.more` has `--pipe`.
    pub fn in_pipeline(lab: &Lab, options: &Options<'_>, stdin: Stdio) -> (Self, ChildStdout) {
        let home = Home::new();
        let (program, stdout) = Program::in_pipeline(&home, options.name, &mut options.command(lab, &home), stdin);
        (Self::new(options, home, program), stdout)
    }

    fn new(options: &Options<'_>, home: Home, program: Program) -> Self {
        let Options { node, channel, name, .. } = options;
        let [node, channel, name] = [node, channel, name].map(|text| (*text).to_owned());
        Self { node, channel, name, home, program, state: State::default() }
    }

    /// Waits until what it has told amounts to `wanted`; panics with all of it if that takes too long.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&State) -> bool) -> &State {
        while !wanted(&self.state) {
            let line = self.program.line(what);
            self.take(&line);
        }
        &self.state
    }

    /// Waits until it has joined.
    pub fn until_joined(&mut self) {
        self.until("joining", |state| state.joins > 0);
    }

    /// Waits until a router forwards a port to it.
    pub fn until_mapped(&mut self) -> (SocketAddr, String) {
        let is_mapped = |portmap: &Portmap| portmap.addr.is_some();
        let state = self.until("port mapping", |state| state.portmaps.last().is_some_and(is_mapped));
        let last = state.portmaps.last().cloned().expect("there is one");
        (last.addr.expect("an address"), last.protocol.unwrap_or_default())
    }

    /// Waits until it says that there is no port mapping; gives the reason.
    pub fn until_unmapped(&mut self) -> String {
        let is_none = |portmap: &Portmap| portmap.addr.is_none();
        let state = self.until("word that there is no port mapping", |s| s.portmaps.last().is_some_and(is_none));
        state.portmaps.last().map(|portmap| portmap.why.clone()).unwrap_or_default()
    }

    /// Waits for a secure session on a direct path; gives the peer's address.
    pub fn until_direct(&mut self, peer: &str) -> SocketAddr {
        let state = self.until(&format!("direct path to {peer}"), |state| state.is_direct(peer));
        state.address_of(peer).expect("a direct path has an address")
    }

    /// Waits until a peer is no longer there.
    pub fn until_gone(&mut self, peer: &str) {
        self.until(&format!("leave of {peer}"), |state| !state.peers.contains_key(peer));
    }

    /// What it has told so far.
    pub fn state(&mut self) -> &State {
        for line in self.program.lines_so_far() {
            self.take(&line);
        }
        &self.state
    }

    /// Runs one of our programs at this puncher's agent socket, to its end.
    pub fn run(&self, lab: &Lab, program: &str, args: &[&str]) -> Output {
        program::output(self.home.command(lab, &self.node, program).args(args))
    }

    /// Sends a text to everybody, and makes sure that all have it.
    pub fn say(&self, lab: &Lab, text: &str) {
        let output = self.run(lab, "chatctl", &["send", text]);
        assert!(output.status.success(), "chatctl send: {output:?}\n{}", self.program.story());
    }

    /// The user's directories.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The program itself.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// Leaves as SIGTERM makes it leave.
    pub fn leave(mut self) -> ExitStatus {
        self.program.signal(Signal::TERM);
        self.program.end()
    }

    /// Ends it without a word, and starts it again at once.
    #[must_use]
    pub fn killed_and_started(mut self, lab: &Lab) -> Self {
        self.program.signal(Signal::KILL);
        self.program.end();
        let Self { node, channel, name, home, .. } = self;
        let options = Options { node: &node, channel: &channel, name: &name, more: &[] };
        let program = Program::start(&home, &name, &mut options.command(lab, &home));
        Self { program, state: State::default(), node, channel, name, home }
    }

    /// Ends it without a word.
    pub fn kill(mut self) {
        self.program.signal(Signal::KILL);
        self.program.end();
    }

    fn take(&mut self, line: &str) {
        // In a pipeline warnings come the same way.
        if let Ok(event) = serde_json::from_str::<Event>(line) {
            assert_eq!(event.v, 1, "{line}");
            self.state.take(event);
        }
    }
}
