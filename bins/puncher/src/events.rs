//! Event lines: what the mesh tells, for people or as JSON.

use std::{io::Write, net::SocketAddr, time::Duration};

use edge::Remote;
use serde::Serialize;
use wire::{IdentityKey, agent::Path, signal::CandidateKind};

use crate::classify::NatReport;

/// Version of the JSON lines.
const SCHEMA: u8 = 1;

/// One event line; `docs/events.schema.json` describes the JSON form.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Line<'a> {
    /// Local programs can connect; the socket is bound.
    Ready { channel: &'a str, sock: String, local: SocketAddr, key: String },
    /// The rendezvous is asked, was lost, or closes.
    Server { connected: bool, text: String },
    /// The channel is joined.
    Joined { channel: &'a str, name: &'a str, observed: SocketAddr, peers: usize },
    /// What router this member is behind, as far as is known.
    Nat(NatReport),
    /// Somebody is there.
    Peer { peer: &'a str, key: String },
    /// How packets get to a peer.
    Path {
        peer: &'a str,
        key: String,
        addr: Option<SocketAddr>,
        path: Path,
        /// Who carries the packets, if another member does.
        via: Option<&'a str>,
        kind: Option<String>,
        rtt_ms: Option<u64>,
        since_known_ms: u64,
        why: &'a str,
    },
    /// The session with a peer is secure, or no longer.
    Link { peer: &'a str, key: String, secure: bool, since_known_ms: Option<u64>, why: &'a str },
    /// The router forwards a port to us, or there is none that does.
    Portmap { addr: Option<SocketAddr>, protocol: Option<String>, lease_s: Option<u64>, why: &'a str },
    /// Somebody has left.
    Left { peer: &'a str, why: &'a str },
    /// Something went wrong that does not end the program.
    Error { text: String },
}

#[derive(Serialize)]
struct Stamped<'a> {
    v: u8,
    ts_ms: u64,
    #[serde(flatten)]
    line: &'a Line<'a>,
}

/// Where event lines go, and how.
pub(crate) struct Events {
    out: Box<dyn Write>,
    is_json: bool,
    is_quiet: bool,
    /// The last line on the router, as people read it.
    nat: String,
}

impl Events {
    pub(crate) fn new(to_stderr: bool, is_json: bool, is_quiet: bool) -> Self {
        let out: Box<dyn Write> = if to_stderr { Box::new(std::io::stderr()) } else { Box::new(std::io::stdout()) };
        Self { out, is_json, is_quiet, nat: String::new() }
    }

    /// Writes one line; an error means that nobody reads any more.
    pub(crate) fn emit(&mut self, line: &Line<'_>) -> std::io::Result<()> {
        if self.is_quiet && !self.is_json {
            return match line {
                Line::Error { text } => writeln!(std::io::stderr(), "puncher: {}", Remote(text).show()),
                _ => Ok(()),
            };
        }
        let mut text = if self.is_json {
            let stamped = Stamped { v: SCHEMA, ts_ms: edge::unix_millis(), line };
            serde_json::to_string(&stamped)?
        } else {
            line.for_people()
        };
        // What changed is not always in the words: for people, once is enough.
        if matches!(line, Line::Nat(_)) && !self.is_json && std::mem::replace(&mut self.nat, text.clone()) == text {
            return Ok(());
        }
        text.push('\n');
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

impl Line<'_> {
    fn for_people(&self) -> String {
        match self {
            Line::Ready { channel, sock, local, .. } => {
                format!("ready {} {local} {sock}", Remote(channel).show())
            }
            Line::Server { text, .. } => format!("server {}", Remote(text).show()),
            Line::Joined { channel, name, observed, peers } => {
                let (channel, name) = (Remote(channel).show(), Remote(name).show());
                format!("joined {channel} as {name}, seen at {observed}, with {peers} others")
            }
            Line::Nat(report) => format!("nat {}", report.line()),
            Line::Peer { peer, key } => format!("peer {} - none ({})", Remote(peer).show(), &key[..8.min(key.len())]),
            Line::Path { peer, addr, path, rtt_ms, why, .. } => {
                let addr = addr.map_or("-".to_owned(), |addr| addr.to_string());
                let rest = match (path, rtt_ms) {
                    (Path::None, _) => format!(" ({why})"),
                    (_, Some(rtt)) => format!(" {rtt}ms"),
                    (_, None) => String::new(),
                };
                format!("peer {} {addr} {path}{rest}", Remote(peer).show())
            }
            Line::Link { peer, secure: true, .. } => format!("link {} secure", Remote(peer).show()),
            Line::Link { peer, why, .. } => format!("link {} broken ({})", Remote(peer).show(), Remote(why).show()),
            Line::Portmap { addr: Some(addr), protocol, lease_s, .. } => {
                format!("portmap {addr} {} {}s", protocol.as_deref().unwrap_or("-"), lease_s.unwrap_or_default())
            }
            Line::Portmap { why, .. } => format!("portmap - none ({})", Remote(why).show()),
            Line::Left { peer, why } => format!("left {} ({})", Remote(peer).show(), Remote(why).show()),
            Line::Error { text } => format!("error {}", Remote(text).show()),
        }
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from((duration.as_micros() + 500) / 1000).unwrap_or(u64::MAX)
}

pub(crate) fn kind_name(kind: Option<CandidateKind>) -> Option<String> {
    kind.map(|kind| kind.to_string())
}

pub(crate) fn key_text(key: &IdentityKey) -> String {
    key.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path<'a>() -> Line<'a> {
        Line::Path {
            peer: "alice",
            key: "ab".repeat(32),
            addr: Some("203.0.113.7:40112".parse().expect("an address")),
            path: Path::Direct,
            via: None,
            kind: Some("srflx".into()),
            rtt_ms: Some(38),
            since_known_ms: 41,
            why: "confirmed",
        }
    }

    fn portmap<'a>() -> Line<'a> {
        let addr = "203.0.113.7:40112".parse().expect("an address");
        Line::Portmap { addr: Some(addr), protocol: Some("nat-pmp".into()), lease_s: Some(3600), why: "" }
    }

    #[test]
    fn a_portmap_line_says_where_or_why_not() {
        assert_eq!(portmap().for_people(), "portmap 203.0.113.7:40112 nat-pmp 3600s");
        let none = Line::Portmap { addr: None, protocol: None, lease_s: None, why: "pcp: no answer" };
        assert_eq!(none.for_people(), "portmap - none (pcp: no answer)");
    }

    #[test]
    fn people_are_told_of_the_same_router_once() {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let mut events = Events { out: Box::new(writer), is_json: false, is_quiet: false, nat: String::new() };
        let other = nat::NatFacts { mapping: Some(nat::Mapping::Eim), ..facts() };
        for facts in [facts(), facts(), other, facts()] {
            events.emit(&Line::Nat(NatReport::new(&facts))).expect("a reader");
        }
        drop(events);
        let mut told = String::new();
        std::io::Read::read_to_string(&mut reader, &mut told).expect("text");
        let lines: Vec<_> = told.lines().map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(lines, [Some("apdm"), Some("eim"), Some("apdm")], "{told}");
    }

    #[test]
    fn a_path_line_is_the_one_that_scripts_rely_on() {
        assert_eq!(path().for_people(), "peer alice 203.0.113.7:40112 direct 38ms");
    }

    #[test]
    fn json_keys_are_stable() {
        let line = serde_json::to_value(Stamped { v: 1, ts_ms: 5, line: &path() }).expect("JSON");
        assert_eq!(line["v"], 1);
        assert_eq!(line["type"], "path");
        assert_eq!(line["peer"], "alice");
        assert_eq!(line["addr"], "203.0.113.7:40112");
        assert_eq!(line["path"], "direct");
        assert_eq!(line["rtt_ms"], 38);
    }

    #[test]
    fn the_schema_describes_every_line() {
        let schema = include_str!("../../../docs/events.schema.json");
        let schema: serde_json::Value = serde_json::from_str(schema).expect("the schema is JSON");
        let kinds = schema["oneOf"].as_array().expect("a list of kinds");
        let lines = every_line();
        assert_eq!(kinds.len(), lines.len());
        for line in &lines {
            let object = serde_json::to_value(Stamped { v: 1, ts_ms: 5, line }).expect("JSON");
            let of_kind = |kind: &&serde_json::Value| kind["properties"]["type"]["const"] == object["type"];
            let kind = kinds.iter().find(of_kind).unwrap_or_else(|| panic!("{} is described", object["type"]));
            let keys: Vec<_> = object.as_object().expect("an object").keys().collect();
            let described: Vec<_> = kind["properties"].as_object().expect("properties").keys().collect();
            assert_eq!(keys, described, "{}", object["type"]);
            assert_eq!(kind["required"].as_array().map(Vec::len), Some(keys.len()), "{}", object["type"]);
        }
    }

    fn every_line<'a>() -> Vec<Line<'a>> {
        let addr = "203.0.113.7:40112".parse().expect("an address");
        let key = || "ab".repeat(32);
        vec![
            Line::Ready { channel: "lobby", sock: "/run/lobby.sock".into(), local: addr, key: key() },
            Line::Server { connected: false, text: "closes".into() },
            Line::Joined { channel: "lobby", name: "bob", observed: addr, peers: 1 },
            Line::Nat(NatReport::new(&facts())),
            Line::Peer { peer: "alice", key: key() },
            path(),
            Line::Link { peer: "alice", key: key(), secure: true, since_known_ms: Some(60), why: "" },
            portmap(),
            Line::Left { peer: "alice", why: "left" },
            Line::Error { text: "a text was refused".into() },
        ]
    }

    fn facts() -> nat::NatFacts {
        let seen = nat::Seen {
            by: "198.51.100.1:3478".parse().expect("an address"),
            at: "203.0.113.7:40112".parse().expect("an address"),
        };
        nat::NatFacts {
            translated: true,
            mapping: Some(nat::Mapping::Apdm),
            ports: Some(nat::Ports::Block { first: 40_000, size: 512 }),
            seen: vec![seen],
            ..nat::NatFacts::default()
        }
    }

    #[test]
    fn a_nat_line_says_the_classes_and_where_one_is_seen() {
        let line = Line::Nat(NatReport::new(&facts())).for_people();
        assert_eq!(line, "nat apdm block:512 unknown, seen at 203.0.113.7:40112");
    }

    #[test]
    fn a_name_can_not_draw_on_the_terminal() {
        let line = Line::Left { peer: "\u{1b}[2Jeve", why: "left" };
        assert!(!line.for_people().contains('\u{1b}'));
    }

    #[test]
    fn half_a_millisecond_rounds_up() {
        assert_eq!(millis(Duration::from_micros(499)), 0);
        assert_eq!(millis(Duration::from_micros(500)), 1);
    }
}
