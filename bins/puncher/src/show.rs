//! `puncher peers`: who is there, as the puncher of a channel sees it.

use std::io::Write;

use anyhow::Context;
use edge::{
    Common, Exit, Remote, WithExit,
    agent::{Client, Target},
};
use serde_json::json;
use wire::{agent::PeerStatus, peer::Lane};

/// Prints one line per peer.
pub(crate) fn peers(target: &Target, common: &Common) -> anyhow::Result<()> {
    let (mut client, _) = Client::connect(target, Lane::Control, "puncher peers")?;
    let mut stdout = std::io::stdout().lock();
    for peer in client.roster()? {
        let line = if common.json { json_line(&peer) } else { line(&peer) };
        writeln!(stdout, "{line}").context("write to stdout").exit(Exit::Io)?;
    }
    Ok(())
}

fn line(peer: &PeerStatus) -> String {
    let addr = peer.addr.map_or("-".to_owned(), |addr| addr.to_string());
    let rtt = peer.rtt_us.map(|us| format!(" {}ms", (us + 500) / 1000)).unwrap_or_default();
    let secure = if peer.secure { "" } else { " (not secure yet)" };
    format!("peer {} {addr} {}{rtt}{secure}", Remote(&peer.name).show(), peer.path)
}

fn json_line(peer: &PeerStatus) -> String {
    json!({
        "v": 1,
        "type": "peer",
        "peer": peer.name,
        "key": peer.key.to_string(),
        "addr": peer.addr,
        "path": peer.path,
        "rtt_ms": peer.rtt_us.map(|us| (us + 500) / 1000),
        "secure": peer.secure,
    })
    .to_string()
}
