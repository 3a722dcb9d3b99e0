//! `puncher nat`: what router this host is behind, and what that means for calls.

mod probe;
mod report;
mod table;

use std::io::Write;

use anyhow::{Context, anyhow};
use edge::{Common, Exit, Settings, WithExit};

use crate::{args::Nat, member};

pub(crate) use probe::{Found, observers, probe};
pub(crate) use report::NatReport;
pub(crate) use table::is_seen_inside_only;

/// Asks, and prints the answer.
pub(crate) fn run(args: &Nat, common: &Common) -> anyhow::Result<()> {
    let server = member::server(args.server.as_deref(), &Settings::load()?)?;
    let found = probe(&server.resolve()?, &observers(&args.stun), args.bind)?;
    if found.facts.seen.is_empty() {
        let error = anyhow!(
            "no answer from {server} nor from any other: is the server's name right, and does the network let UDP out? \
             `puncher doctor` looks closer"
        );
        return Err(error).exit(Exit::Unavailable);
    }
    let text = if common.json { report::json(&found) } else { table::text(&found) };
    write!(std::io::stdout(), "{text}").context("write to stdout").exit(Exit::Io)
}
