//! puncher: opens a path to every member of a channel, and carries lanes for other programs.
//!
//! [`session`] puts the parts together and runs the one loop ([`driver`]), which stands between the sockets ([`net`]), the
//! programs on this host ([`local`]) and the core (`crates/mesh`). [`member`] is what is kept on disk. [`classify`] and
//! [`doctor`] ask and end.

mod args;
mod classify;
mod doctor;
mod drive;
mod driver;
mod events;
mod local;
mod member;
mod net;
mod session;
mod show;

use std::process::ExitCode;

use args::{Cli, Command};
use driver::Ending;

fn main() -> ExitCode {
    let cli: Cli = match edge::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    cli.common.start();
    let ending = match &cli.command {
        Command::Join(args) => session::join(args, &cli.common),
        Command::Listen(args) => session::listen(args, &cli.common),
        Command::Dial(args) => session::dial(args, &cli.common),
        Command::Name { name } => show::name(name.as_deref(), &cli.common).map(|()| Ending::Asked),
        Command::Trust(whom) => session::trust(whom).map(|()| Ending::Asked),
        Command::Nat(args) => classify::run(args, &cli.common).map(|()| Ending::Asked),
        Command::Doctor(args) => doctor::run(args, &cli.common).map(|()| Ending::Asked),
        Command::Peers(args) => show::peers(args, &cli.common).map(|()| Ending::Asked),
    };
    match ending {
        Ok(Ending::Asked) => ExitCode::SUCCESS,
        Ok(Ending::Program(code)) => ExitCode::from(code),
        Ok(Ending::Signal(signal)) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
        Err(error) => edge::fail("puncher", &error),
    }
}
