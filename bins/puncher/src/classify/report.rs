//! What is known of a router, as JSON: in event lines and for `puncher nat --json`.

use std::net::SocketAddr;

use nat::{Filtering, Mapping, NatFacts, Outlook, Ports, Sample};
use serde::Serialize;

use super::{
    Found,
    table::{is_seen_inside_only, partners},
};
use crate::events::millis;

/// The facts, flat, for scripts.
#[derive(Debug, Serialize)]
pub(crate) struct NatReport {
    translated: bool,
    mapping: Option<Mapping>,
    ports: Option<&'static str>,
    step: Option<i16>,
    block_first: Option<u16>,
    block_size: Option<u16>,
    filtering: Option<Filtering>,
    hairpin: Option<bool>,
    poisoned: Option<bool>,
    ipv6: bool,
    mapped: Option<SocketAddr>,
    seen: Vec<SeenReport>,
}

#[derive(Debug, Serialize)]
struct SeenReport {
    by: SocketAddr,
    at: SocketAddr,
}

impl NatReport {
    pub(crate) fn new(facts: &NatFacts) -> Self {
        let (mut step, mut block_first, mut block_size) = (None, None, None);
        let ports = facts.ports.map(|ports| match ports {
            Ports::Preserving => "preserving",
            Ports::Sequential { step: by } => {
                step = Some(by);
                "sequential"
            }
            Ports::Block { first, size } => {
                (block_first, block_size) = (Some(first), Some(size));
                "block"
            }
            Ports::Random => "random",
        });
        Self {
            translated: facts.translated,
            mapping: facts.mapping,
            ports,
            step,
            block_first,
            block_size,
            filtering: facts.filtering,
            hairpin: facts.hairpin,
            poisoned: facts.poisoned,
            ipv6: facts.ipv6,
            mapped: facts.mapped,
            seen: facts.seen.iter().map(|seen| SeenReport { by: seen.by, at: seen.at }).collect(),
        }
    }

    /// In one line, for people.
    pub(crate) fn line(&self) -> String {
        let word = |word: Option<String>| word.unwrap_or_else(|| "unknown".to_owned());
        let mapping = word(self.mapping.map(|mapping| format!("{mapping:?}").to_lowercase()));
        let filtering = word(self.filtering.map(|filtering| format!("{filtering:?}").to_lowercase()));
        let detail = match (self.step, self.block_size) {
            (Some(step), _) => format!(":{step}"),
            (_, Some(size)) => format!(":{size}"),
            _ => String::new(),
        };
        let ports = self.ports.unwrap_or("unknown");
        let at = self.seen.first().map_or("nowhere".to_owned(), |seen| seen.at.to_string());
        format!("{mapping} {ports}{detail} {filtering}, seen at {at}")
    }
}

#[derive(Serialize)]
struct Whole {
    v: u8,
    r#type: &'static str,
    server: SocketAddr,
    local_port: u16,
    #[serde(flatten)]
    report: NatReport,
    /// Each family, in the order of asking; `seen` has the one that decides.
    samples: Vec<SeenReport>,
    silent: Vec<SocketAddr>,
    rtt_ms: Option<u64>,
    took_ms: u64,
    /// By kind of partner; nothing where nobody outside has looked.
    calls: serde_json::Map<String, serde_json::Value>,
}

pub(super) fn json(found: &Found) -> String {
    let known = Some(&found.facts).filter(|facts| !is_seen_inside_only(facts));
    let calls = known.into_iter().flat_map(partners);
    let calls = calls.map(|(key, _, outlook)| (key.to_owned(), word(outlook).into()));
    let whole = Whole {
        v: 1,
        r#type: "nat",
        server: found.server,
        local_port: found.port,
        report: NatReport::new(&found.facts),
        samples: found.samples.iter().map(|Sample { seen, .. }| SeenReport { by: seen.by, at: seen.at }).collect(),
        silent: found.silent.clone(),
        rtt_ms: found.rtt.map(millis),
        took_ms: millis(found.took),
        calls: calls.collect(),
    };
    // Nothing in it has a key that is no text, so it always encodes.
    serde_json::to_string(&whole).unwrap_or_default() + "\n"
}

fn word(outlook: Outlook) -> &'static str {
    match outlook {
        Outlook::Direct => "direct",
        Outlook::Guessed => "guessed",
        Outlook::Relayed => "relayed",
    }
}
