//! Text and channels from the command line. See [`args`] for what it does; a running `puncher` does the rest.

mod args;
mod channels;
mod http;
mod lines;
mod notices;
mod oneshot;
mod owners;
mod render;
mod room;
mod screen;
mod session;
mod voices;

use std::process::ExitCode;

use args::{Cli, Command};

fn main() -> ExitCode {
    let cli: Cli = match edge::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    cli.common.start();
    match run(&cli) {
        Ok(code) => code,
        Err(error) => edge::fail("chatctl", &error),
    }
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        Command::Send(args) => oneshot::send(args, &cli.target, &cli.common)?,
        Command::Tail(args) => oneshot::tail(args, &cli.target, &cli.common)?,
        Command::Peers => oneshot::peers(&cli.target, &cli.common)?,
        Command::Chat(args) => return session::chat(args, &cli.target, &cli.common),
        Command::Channels(args) => channels::run(args, &cli.common)?,
    }
    Ok(ExitCode::SUCCESS)
}
