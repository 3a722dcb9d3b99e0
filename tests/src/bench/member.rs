//! A puncher whose events are timed.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Deserialize;

use super::program::{Line, Program, Says};
use crate::{
    call::{Home, Rendezvous},
    lab::Lab,
};

/// A running `puncher join`.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) program: Program,
    pub(super) home: Home,
    events: Vec<Event>,
}

/// A line of `puncher --json`, as far as it is measured.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    peer: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    pub(super) key: String,
    pub(super) rtt_ms: Option<u64>,
    pub(super) since_known_ms: Option<u64>,
    #[serde(default)]
    secure: bool,
    /// When it came, and the whole of it.
    #[serde(skip)]
    at: Option<Instant>,
    #[serde(skip)]
    line: String,
}

impl Event {
    fn is_of(&self, kind: &str, peer: &str) -> bool {
        self.kind == kind && self.peer == peer
    }

    /// A direct path that was answered on: before that, only something came on it.
    fn is_confirmed(&self, peer: &str) -> bool {
        self.is_of("path", peer) && self.path == "direct" && self.rtt_ms.is_some()
    }
}

/// How to join.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joining<'a> {
    pub(super) node: &'a str,
    pub(super) channel: &'a str,
    pub(super) name: &'a str,
    /// Whether stdin and stdout are the voice lane.
    pub(super) talks: bool,
}

impl<'a> Joining<'a> {
    pub(super) fn new(node: &'a str, channel: &'a str, name: &'a str) -> Self {
        Self { node, channel, name, talks: false }
    }

    /// With stdin and stdout as the voice lane.
    pub(super) fn talking(node: &'a str, channel: &'a str, name: &'a str) -> Self {
        Self { talks: true, ..Self::new(node, channel, name) }
    }
}

impl Member {
    /// Starts it in a lab that has a rendezvous; what it takes until it has joined is to be waited for.
    pub(super) fn join(lab: &Lab, how: Joining<'_>) -> Result<Self> {
        Self::start(Home::new(), lab, how)
    }

    /// Leaves properly, and comes back as the same person to another channel.
    pub(super) fn come_back(mut self, lab: &Lab, how: Joining<'_>) -> Result<Self> {
        self.program.end()?;
        Self::start(self.home, lab, how)
    }

    fn start(home: Home, lab: &Lab, how: Joining<'_>) -> Result<Self> {
        let server = Rendezvous::address();
        let mut args = vec!["join", how.channel, "--server", &server, "--name", how.name, "--json", "--no-input"];
        let says = if how.talks { Says::Stderr } else { Says::Stdout };
        if how.talks {
            args.extend(["--pipe", "voice"]);
        }
        let program = Program::start(Some(lab.node(how.node)?), &home, "puncher", &args, says)?;
        Ok(Self { program, home, events: Vec::new() })
    }

    pub(super) fn started(&self) -> Instant {
        self.program.started
    }

    /// Waits for an event; gives the first of its kind, and when it came.
    pub(super) fn first(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Result<(Event, Instant)> {
        loop {
            let found = self.events.iter().find(|event| wanted(event));
            if let Some((event, at)) = found.and_then(|event| Some((event.clone(), event.at?))) {
                return Ok((event, at));
            }
            let line = self.program.line(what)?;
            self.take(&line);
        }
    }

    /// When it was ready, and its key.
    pub(super) fn ready(&mut self) -> Result<(String, Instant)> {
        self.first("ready line", |event| event.kind == "ready").map(|(event, at)| (event.key, at))
    }

    /// When it had joined.
    pub(super) fn joined(&mut self) -> Result<Instant> {
        self.first("joining", |event| event.kind == "joined").map(|(_, at)| at)
    }

    /// When it first heard of a peer.
    pub(super) fn knew(&mut self, peer: &str) -> Result<Instant> {
        self.first("introduction", |event| event.is_of("peer", peer)).map(|(_, at)| at)
    }

    /// The first direct path to a peer that is confirmed.
    pub(super) fn confirmed(&mut self, peer: &str) -> Result<(Event, Instant)> {
        self.first("direct path", |event| event.is_confirmed(peer))
    }

    /// When the session with a peer was up.
    pub(super) fn secure(&mut self, peer: &str) -> Result<Instant> {
        self.first("secure session", |event| event.is_of("link", peer) && event.secure).map(|(_, at)| at)
    }

    /// When a peer was reached directly and the session was up.
    pub(super) fn connected(&mut self, peer: &str) -> Result<Instant> {
        Ok(self.confirmed(peer)?.1.max(self.secure(peer)?))
    }

    /// Takes what it tells until then, or until a peer is reached directly and the session is up; gives the last path to
    /// the peer, and how long that took from when the peer was known, in milliseconds.
    pub(super) fn path_by(&mut self, peer: &str, deadline: Instant) -> (String, Option<f64>) {
        while !(self.has_path(peer, "direct") && self.is_secure(peer)) {
            let Some(line) = self.program.line_by(deadline) else { break };
            self.take(&line);
        }
        let paths = self.events.iter().filter(|event| event.is_of("path", peer));
        let Some(last) = paths.clone().next_back().filter(|_| self.is_secure(peer)) else {
            return ("none".into(), None);
        };
        // The first that was of this kind: later ones are better addresses.
        let first = paths.rev().take_while(|event| event.path == last.path).last().unwrap_or(last);
        (last.path.clone(), first.since_known_ms.map(|ms| ms as f64))
    }

    /// Whether it joins by then.
    pub(super) fn joins_by(&mut self, deadline: Instant) -> bool {
        while !self.events.iter().any(|event| event.kind == "joined") {
            let Some(line) = self.program.line_by(deadline) else { return false };
            self.take(&line);
        }
        true
    }

    fn has_path(&self, peer: &str, path: &str) -> bool {
        self.events.iter().rfind(|event| event.is_of("path", peer)).is_some_and(|event| event.path == path)
    }

    fn is_secure(&self, peer: &str) -> bool {
        self.events.iter().rfind(|event| event.is_of("link", peer)).is_some_and(|event| event.secure)
    }

    fn take(&mut self, line: &Line) {
        // In a pipeline warnings come the same way.
        if let Ok(event) = serde_json::from_str::<Event>(&line.text) {
            self.events.push(Event { at: Some(line.at), line: line.text.clone(), ..event });
        }
    }

    /// All that it has told so far, for when something goes wrong.
    pub(super) fn story(&mut self) -> String {
        while let Some(line) = self.program.line_by(Instant::now()) {
            self.take(&line);
        }
        self.events.iter().map(|event| event.line.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// Leaves properly.
    pub(super) fn leave(mut self) -> Result<()> {
        self.program.end()
    }
}

/// Milliseconds from one moment to another.
pub(super) fn ms_between(from: Instant, to: Instant) -> f64 {
    ms(to.saturating_duration_since(from))
}

pub(super) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(line: &str) -> Event {
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn a_path_is_confirmed_when_it_has_a_round_trip() {
        let usable = r#"{"v":1,"type":"path","peer":"bob","key":"k","addr":"192.0.2.1:1","path":"direct","kind":"srflx","rtt_ms":null,"since_known_ms":20,"why":"usable"}"#;
        let confirmed = usable.replace("null", "40");
        assert!(!event(usable).is_confirmed("bob"));
        assert!(event(&confirmed).is_confirmed("bob"));
        assert!(!event(&confirmed).is_confirmed("carol"));
        assert_eq!(event(&confirmed).since_known_ms, Some(20));
    }

    #[test]
    fn an_event_of_another_kind_is_read_as_well() {
        assert_eq!(event(r#"{"v":1,"ts_ms":5,"type":"joined","channel":"x","peers":0}"#).kind, "joined");
    }
}
