//! `rendezvous`: introduces the members of a channel to each other.
//!
//! One task owns the UDP socket with all sessions and the registry ([`udp`]); others answer STUN beside it ([`observe`]); HTTP asks it through [`directory`] and
//! hears of what happens through [`feed`]; kept channels are in a [`store`] beside it.

mod args;
mod data;
mod directory;
mod feed;
mod http;
mod observe;
mod routes;
mod serve;
mod stop;
mod store;
mod tunnel;
mod udp;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: args::Args = match edge::parse() {
        Ok(args) => args,
        Err(code) => return code,
    };
    args.common.start();
    edge::run("rendezvous", || serve::run(&args))
}
