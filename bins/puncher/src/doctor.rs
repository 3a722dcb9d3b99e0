//! `puncher doctor`: twelve looks at what calls need, each with what to do if it is not there.

mod host;
mod network;
mod server;

use std::io::Write;

use anyhow::{Context, anyhow};
use edge::{Common, Exit, Settings, WithExit};
use serde::Serialize;

use crate::{args::Nat, classify, member};

/// How a check ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// Calls work, but not as well as they could.
    Warn,
    /// Calls do not work.
    Fail,
}

/// One check: what it is called, how it ended, and one sentence.
#[derive(Debug)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    text: String,
    /// What to exit with if it failed.
    exit: Exit,
}

impl Check {
    fn ok(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, text: text.into(), exit: Exit::Unavailable }
    }

    fn warn(name: &'static str, text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, ..Self::ok(name, text) }
    }

    fn fail(name: &'static str, exit: Exit, text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, exit, ..Self::ok(name, text) }
    }
}

/// Looks, prints a line for each check, and fails with the code of the first check that failed.
pub(crate) fn run(args: &Nat, common: &Common) -> anyhow::Result<()> {
    let mut checks = vec![host::sockets(), host::buffers(), host::interfaces()];
    let server = member::server(args.server.as_deref(), &Settings::load()?)?;
    let resolved = server.resolve();
    checks.push(server::name(&server, &resolved));
    if let Ok(addrs) = resolved {
        let found = classify::probe(&addrs, &classify::observers(&args.stun), args.bind)?;
        checks.push(network::sending(&found));
        checks.push(server::udp(&found));
        checks.push(server::neighbours(&found));
        checks.push(server::key(&server, found.server, args.bind)?);
        checks.push(server::clock(&server));
        checks.extend([network::mapping(&found), network::port_mapping(&found), network::ipv6(&found)]);
    }
    print(&checks, common.json)?;
    match checks.iter().find(|check| check.verdict == Verdict::Fail) {
        Some(failed) => Err(anyhow!("{}: {}", failed.name, failed.text)).exit(failed.exit),
        None => Ok(()),
    }
}

fn print(checks: &[Check], is_json: bool) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    for Check { name, verdict, text, .. } in checks {
        let line = if is_json {
            serde_json::json!({ "v": 1, "type": "check", "name": name, "verdict": verdict, "text": text }).to_string()
        } else {
            let word = match verdict {
                Verdict::Ok => "ok",
                Verdict::Warn => "warn",
                Verdict::Fail => "FAIL",
            };
            format!("{word:<5} {name:<13} {text}")
        };
        writeln!(stdout, "{line}").context("write to stdout").exit(Exit::Io)?;
    }
    Ok(())
}
