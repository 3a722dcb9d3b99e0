//! What all programs share at their edge: where they meet people, scripts and the system.
//!
//! A program's `main` parses with [`parse`], hands the rest to [`run`], and tags what can go wrong with an [`Exit`] code:
//!
//! ```no_run
//! use edge::{Exit, WithExit};
//!
//! #[derive(clap::Parser)]
//! struct Args {
//!     #[command(flatten)]
//!     common: edge::Common,
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     let args: Args = match edge::parse() {
//!         Ok(args) => args,
//!         Err(code) => return code,
//!     };
//!     args.common.start();
//!     edge::run("example", || {
//!         let _socket = std::net::UdpSocket::bind("[::]:3478").exit(Exit::Unavailable)?;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! | item | for |
//! |---|---|
//! | [`Exit`], [`WithExit`], [`run`], [`fail`] | exit codes and the one line on stderr that explains them |
//! | [`Common`], [`parse`], [`logging`] | the options that every program has |
//! | [`Remote`], [`json_line`] | text that came from somebody else, made safe to show |
//! | [`ServerAddr`], [`InviteLink`] | what people paste to name a server or a channel |
//! | [`dirs`], [`settings`], [`secret_file`], [`KnownServers`] | files and where they are |
//! | [`agent`], [`talks`] | a program's connection to its `puncher`, and questions to the talks there |
//! | [`shared_us`], [`instant_of`], [`unix_millis`] | times that one program tells another |
//! | [`table()`] | rows in columns |
//! | [`forbid_fragments`] | datagrams that stay in one piece |
//! | [`doctor`] | what a program says of the machine that it is to run on |
//! | [`ready`] | telling a supervisor that the program serves |
//!
//! Only programs use it, never a core: it reads clocks, files and the environment.

pub mod agent;
mod args;
mod clock;
pub mod dirs;
pub mod doctor;
mod exit;
mod known_servers;
pub mod ready;
mod remote;
pub mod secret_file;
mod server;
pub mod settings;
mod table;
pub mod talks;
mod whole;

pub use args::{Common, logging, parse};
pub use clock::{instant_of, shared_us, unix_millis};
pub use exit::{Coded, Exit, WithExit, code_of, fail, fail_now, run};
pub use known_servers::KnownServers;
pub use remote::{Remote, json_line};
pub use server::{
    HTTP_PORT, InviteLink, ParseInviteError, ParseServerError, ServerAddr, UDP_PORT, parse_server, percent_encode,
};
pub use settings::Settings;
pub use table::table;
use unicode_normalization::UnicodeNormalization;
pub use whole::forbid_fragments;

/// A channel's name in the form in which a rendezvous keeps it: the same for whoever types it in another way.
pub fn channel_name(typed: &str) -> String {
    typed.trim_matches(' ').nfc().collect()
}

/// Bytes from the operating system's randomness.
///
/// # Errors
/// If it has none.
pub fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(anyhow::anyhow!("the operating system has no randomness: {error}")),
    }
}
