//! `puncher doctor`: twelve looks at what calls need, each with what to do if it is not there.

mod host;
mod network;
mod server;

use edge::{Common, Settings};

use crate::{args::Nat, classify, member};

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
    edge::doctor::report(&checks, common.json)
}
