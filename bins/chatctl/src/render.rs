//! Entries and tables as lines, for people or as JSON.

use std::net::SocketAddr;

use chat::{Receipt, Verdict};
use edge::{Remote, talks};
use serde::Serialize;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;
use wire::{
    agent::{Delivery, Path, PeerStatus},
    local::{VoiceState, Volume},
    peer::Keeper,
};

pub(crate) use voice::is_for_programs;
use voice::{changes, voice_json};

use crate::room::Entry;

mod voice;

/// Version of the JSON lines.
const SCHEMA: u8 = 1;

/// How lines look on a terminal. Remote text can't imitate it: escapes in it are made visible.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Style {
    Plain,
    /// Names bold, status lines dim.
    Ansi,
}

impl Style {
    fn bold(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Ansi => format!("\x1b[1m{text}\x1b[0m"),
        }
    }

    fn dim(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Ansi => format!("\x1b[2m{text}\x1b[0m"),
        }
    }
}

/// The lines of a text: who says it before the first, and as many blanks before the others, so that no line of a text
/// looks like somebody else's.
pub(crate) fn message(name: &str, direct: bool, body: &[u8], style: Style) -> String {
    let name = Remote(name).show();
    let to_you = if direct { " (to you)" } else { "" };
    let indent = " ".repeat(name.width() + to_you.width() + 2);
    let lines = Remote(body).lines();
    format!("{}{to_you}: {}", style.bold(&name), lines.join(&format!("\n{indent}")))
}

/// An entry for people.
pub(crate) fn entry(entry: &Entry, style: Style) -> String {
    match entry {
        Entry::Message { name, direct, body, .. } => message(name, *direct, body, style),
        other => style.dim(&format!("* {}", status(other))),
    }
}

/// A status line without its mark.
fn status(entry: &Entry) -> String {
    let shown = |text: &str| Remote(text).show();
    match entry {
        Entry::Message { name, .. } => shown(name),
        Entry::Here { name } => format!("{} is here", shown(name)),
        Entry::Joined { name } => format!("{} has joined", shown(name)),
        Entry::Left { name, why } if why.is_empty() => format!("{} has left", shown(name)),
        Entry::Left { name, why } => format!("{} has left ({})", shown(name), shown(why)),
        Entry::Connected { name, path, addr, rtt_us } => {
            format!("{} is connected: {}", shown(name), route(*path, *addr, *rtt_us))
        }
        Entry::Broken { name } => format!("the connection with {} broke; another is being made", shown(name)),
        Entry::Undelivered { snippet, receipt } => format!("\"{}\": {}", shown(snippet), failure(receipt)),
        Entry::Server { connected: true, .. } => "the rendezvous is there".into(),
        Entry::Server { text, .. } => shown(text),
        Entry::Voice { name, before, state } => changes(name.as_deref(), *before, *state),
        Entry::Volume { name, volume: Volume::Off } => format!("{} is not played any more", shown(name)),
        Entry::Volume { name, volume } => format!("{} is played with {volume}", shown(name)),
        Entry::NotDone { why } => shown(why),
        Entry::Refused { why } => format!("puncher refuses: {}", shown(why)),
    }
}

/// Why a text did not reach everybody.
pub(crate) fn failure(receipt: &Receipt) -> String {
    let names = || {
        let whys: Vec<_> = receipt.failed().map(|who| format!("{} {}", Remote(&who.name).show(), who.why())).collect();
        whys.join(", ")
    };
    match receipt.verdict() {
        Verdict::Delivered => "everybody has it".into(),
        Verdict::Nobody if receipt.reached.is_empty() => "nobody is here".into(),
        Verdict::Incomplete if receipt.failed().next().is_none() => {
            "puncher did not say whether everybody has it".into()
        }
        Verdict::Nobody | Verdict::Incomplete => names(),
    }
}

fn route(path: Path, addr: Option<SocketAddr>, rtt_us: Option<u32>) -> String {
    let how = match path {
        Path::None => "no path yet".to_owned(),
        Path::Direct => "direct".to_owned(),
        Path::Relay => "through the rendezvous".to_owned(),
        Path::Member => "through another member".to_owned(),
    };
    let addr = addr.map(|addr| addr.to_string());
    let rtt = rtt_us.map(|us| format!("{} ms", millis(us)));
    [Some(how), addr, rtt].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// An entry as one line of JSON.
pub(crate) fn entry_json(entry: &Entry) -> Value {
    match entry {
        Entry::Message { id, name, key, direct, body } => json!({
            "v": SCHEMA, "ts_ms": edge::unix_millis(), "type": "message",
            "id": chat::id_text(*id), "sent_ms": chat::sent_at(*id),
            "from": name, "key": key.map(|key| key.to_string()), "direct": direct,
            "text": String::from_utf8_lossy(body),
        }),
        Entry::Here { name } | Entry::Joined { name } => event("joined", json!({ "peer": name })),
        Entry::Left { name, why } => event("left", json!({ "peer": name, "why": why })),
        Entry::Connected { name, path, addr, rtt_us } => event(
            "path",
            json!({ "peer": name, "path": path, "addr": addr, "rtt_ms": rtt_us.map(millis), "secure": true }),
        ),
        Entry::Broken { name } => event("path", json!({ "peer": name, "path": Path::None, "secure": false })),
        Entry::Undelivered { receipt, .. } => receipt_json(receipt),
        Entry::Server { connected, text } => event("server", json!({ "connected": connected, "text": text })),
        Entry::Voice { name, state, .. } => {
            let mut facts = voice_json(*state);
            facts["peer"] = json!(name);
            event("voice", facts)
        }
        Entry::Volume { name, volume } => event("volume", json!({ "peer": name, "volume": volume.to_string() })),
        Entry::NotDone { why } | Entry::Refused { why } => event("error", json!({ "text": why })),
    }
}

/// What became of a text, as one line of JSON.
pub(crate) fn receipt_json(receipt: &Receipt) -> Value {
    let reached = receipt.reached.iter().map(|reached| {
        let (delivered, outcome) = match reached.outcome {
            Delivery::Delivered(Keeper::Chat) => (true, "chat"),
            Delivery::Delivered(Keeper::Puncher) => (true, "puncher"),
            Delivery::Lost => (false, "lost"),
            Delivery::Unknown => (false, "unknown"),
            Delivery::TimedOut => (false, "timedout"),
        };
        json!({ "peer": reached.name, "delivered": delivered, "outcome": outcome })
    });
    event(
        "sent",
        json!({
            "id": chat::id_text(receipt.id),
            "delivered": receipt.verdict() == Verdict::Delivered,
            "peers": reached.collect::<Vec<_>>(),
        }),
    )
}

fn event(kind: &str, facts: Value) -> Value {
    let mut event = json!({ "v": SCHEMA, "ts_ms": edge::unix_millis(), "type": kind });
    if let (Value::Object(event), Value::Object(facts)) = (&mut event, facts) {
        event.extend(facts);
    }
    event
}

/// A peer as one line of JSON.
pub(crate) fn peer_json(peer: &PeerStatus, voice: Option<VoiceState>) -> Value {
    json!({
        "v": SCHEMA, "type": "peer", "voice": voice.map(voice_json), "peer": peer.name, "key": peer.key.to_string(), "path": peer.path,
        "addr": peer.addr, "via": peer.via, "rtt_ms": peer.rtt_us.map(millis), "secure": peer.secure,
    })
}

/// Peers as a table with a head.
pub(crate) fn peer_table<'a>(peers: impl IntoIterator<Item = (&'a PeerStatus, Option<VoiceState>)>) -> String {
    let row = |(peer, voice): (&PeerStatus, Option<VoiceState>)| {
        [
            Remote(&peer.name).show(),
            peer.key.short(),
            peer.path.to_string(),
            match (peer.addr, &peer.via) {
                (Some(addr), _) => addr.to_string(),
                (None, Some(via)) => format!("by way of {}", Remote(via).show()),
                (None, None) => "-".into(),
            },
            peer.rtt_us.map_or("-".into(), |us| format!("{}ms", millis(us))),
            if peer.secure { "yes" } else { "no" }.to_owned(),
            voice.map_or("-".to_owned(), talks::words),
        ]
    };
    edge::table(["NAME", "KEY", "PATH", "ADDRESS", "RTT", "SECURE", "VOICE"], peers.into_iter().map(row))
}

/// One line of JSON; what goes in is always JSON.
pub(crate) fn line(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(edge::json_line(value)?)
}

fn millis(us: u32) -> u32 {
    us.saturating_add(500) / 1000
}

#[cfg(test)]
mod tests {
    use chat::Reached;
    use wire::MessageId;

    use super::*;

    #[test]
    fn no_line_of_a_text_looks_like_somebody_elses() {
        assert_eq!(message("alice", false, b"hi", Style::Plain), "alice: hi");
        assert_eq!(message("alice", true, b"hi", Style::Plain), "alice (to you): hi");
        let forged = b"hi\nbob: I agree\r\n* bob has left\n";
        assert_eq!(message("eve", false, forged, Style::Plain), "eve: hi\n     bob: I agree\n     * bob has left");
        assert_eq!(message("日本", false, b"a\nb", Style::Plain), "日本: a\n      b");
    }

    #[test]
    fn remote_text_draws_nothing_and_our_own_style_is_closed() {
        let entries = [
            Entry::Message {
                id: MessageId(1),
                name: "\x1b[31meve".into(),
                key: None,
                direct: false,
                body: b"\x1b]0;x\x07\xc2\x9b".to_vec(),
            },
            Entry::Left { name: "\u{202e}eve".into(), why: "\x1bc".into() },
            Entry::Server { connected: false, text: "\x1b[2J".into() },
            Entry::Refused { why: "\u{9b}".into() },
        ];
        for remote in &entries {
            let plain = entry(remote, Style::Plain);
            assert!(!plain.chars().any(|c| c.is_control() || c == '\u{202e}'), "{plain:?}");
            let ansi = entry(remote, Style::Ansi);
            assert_eq!(ansi.matches("\x1b[").count(), 2, "{ansi:?}");
            assert!(!line(&entry_json(remote)).unwrap().chars().any(char::is_control));
        }
    }

    #[test]
    fn status_lines_are_sentences() {
        let addr = Some("203.0.113.7:40112".parse().unwrap());
        let name = || "alice".to_owned();
        let rows = [
            (Entry::Joined { name: name() }, "* alice has joined"),
            (Entry::Left { name: name(), why: "said goodbye".into() }, "* alice has left (said goodbye)"),
            (
                Entry::Connected { name: name(), path: Path::Direct, addr, rtt_us: Some(37_600) },
                "* alice is connected: direct, 203.0.113.7:40112, 38 ms",
            ),
            (
                Entry::Connected { name: name(), path: Path::Relay, addr: None, rtt_us: None },
                "* alice is connected: through the rendezvous",
            ),
            (Entry::Undelivered { snippet: "hi".into(), receipt: receipt(&[]) }, "* \"hi\": nobody is here"),
            (
                Entry::Undelivered { snippet: "hi".into(), receipt: receipt(&[Delivery::TimedOut, Delivery::Lost]) },
                "* \"hi\": peer0 did not acknowledge it in time, peer1 left before it arrived",
            ),
        ];
        for (shown, text) in rows {
            assert_eq!(entry(&shown, Style::Plain), text);
        }
    }

    #[test]
    fn json_keys_are_stable() {
        let id = chat::new_id(1_700_000_000_000, [1; 10]);
        let text = Entry::Message { id, name: "alice".into(), key: None, direct: true, body: b"a\nb".to_vec() };
        let value = entry_json(&text);
        assert_eq!((value["v"].as_u64(), value["type"].as_str()), (Some(1), Some("message")));
        assert_eq!((value["from"].as_str(), value["text"].as_str()), (Some("alice"), Some("a\nb")));
        assert_eq!((value["direct"].as_bool(), value["sent_ms"].as_u64()), (Some(true), Some(1_700_000_000_000)));

        let value = receipt_json(&receipt(&[Delivery::TimedOut]));
        assert_eq!((value["type"].as_str(), value["delivered"].as_bool()), (Some("sent"), Some(false)));
        assert_eq!(value["peers"][0]["peer"], "peer0");
        assert_eq!(value["peers"][0]["outcome"], "timedout");
    }

    fn receipt(outcomes: &[Delivery]) -> Receipt {
        let reached =
            |(index, outcome): (usize, &Delivery)| Reached { name: format!("peer{index}"), outcome: *outcome };
        Receipt { id: MessageId(1), settled: true, reached: outcomes.iter().enumerate().map(reached).collect() }
    }
}
