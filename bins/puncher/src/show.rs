//! What can be asked without becoming a member: who is there, and what one is called.

use std::io::Write;

use anyhow::Context;
use edge::{
    Common, Exit, Remote, WithExit,
    agent::{Client, Target},
};
use serde_json::json;
use wire::{agent::PeerStatus, peer::Lane};

use crate::member;

/// Prints one line per peer.
pub(crate) fn peers(target: &Target, common: &Common) -> anyhow::Result<()> {
    let (mut client, _) = Client::connect(target, Lane::Control, "puncher peers")?;
    let mut stdout = std::io::stdout().lock();
    for peer in client.roster()? {
        let line = if common.json { edge::json_line(&peer_json(&peer))? } else { line(&peer) };
        writeln!(stdout, "{line}").context("write to stdout").exit(Exit::Io)?;
    }
    Ok(())
}

/// `puncher name`.
pub(crate) fn name(given: Option<&str>, common: &Common) -> anyhow::Result<()> {
    let name = member::name::keep(given, common)?;
    writeln!(std::io::stdout(), "{}", Remote(&name).show()).context("write to stdout").exit(Exit::Io)
}

fn line(peer: &PeerStatus) -> String {
    let addr = peer.addr.map_or("-".to_owned(), |addr| addr.to_string());
    let rtt = peer.rtt_us.map(|us| format!(" {}ms", (us + 500) / 1000)).unwrap_or_default();
    let secure = if peer.secure { "" } else { " (not secure yet)" };
    let via = peer.via.as_ref().map(|via| format!(" (by way of {})", Remote(via).show())).unwrap_or_default();
    format!("peer {} {addr} {}{rtt}{via}{secure}", Remote(&peer.name).show(), peer.path)
}

fn peer_json(peer: &PeerStatus) -> serde_json::Value {
    json!({
        "v": 1,
        "type": "peer",
        "peer": peer.name,
        "key": peer.key.to_string(),
        "addr": peer.addr,
        "path": peer.path,
        "via": peer.via,
        "rtt_ms": peer.rtt_us.map(|us| (us + 500) / 1000),
        "secure": peer.secure,
    })
}
