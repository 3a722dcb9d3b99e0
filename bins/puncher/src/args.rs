use std::{net::SocketAddr, os::fd::RawFd, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use mesh::Relaying;
use registry::{ChannelName, MemberName, NameError};

/// Opens a direct path to every member of a channel and carries lanes for other programs.
///
/// Prints one line per event: the kind, then what it is about.
///
///     peer alice 203.0.113.7:40112 direct 38ms
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) common: edge::Common,
}

const EXAMPLES: &str = "\
Examples:
  puncher join lobby --server talk.example.org --name alice
  audio-pipe capture | puncher join lobby --pipe voice | audio-pipe play
  puncher join lobby -- chatctl chat
  puncher join lobby --via friend.example.org:4000   (through a member, no server)
  puncher listen [::]:4000            (on one side, no server)
  puncher dial friend.example.org:4000  (on the other)";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Join a channel of a rendezvous
    Join(Join),
    /// Wait for callers at an address, without a rendezvous
    Listen(Listen),
    /// Call somebody who listens, without a rendezvous
    Dial(Dial),
    /// Show what router you are behind, and what that means for calls
    ///
    /// Asks the rendezvous at four ports, which takes a round trip, and then who may send in, which takes a second or two.
    Nat(Nat),
    /// Look at twelve things that calls need, and say what to do about each that is missing
    ///
    /// The exit code is 0 if calls will work (warnings count as working), else that of the first check that failed: 68 if the server's
    /// name is not known, 69 if the network or the server is not there, 76 if the server shows another key than before, 77 if this
    /// machine forbids it.
    Doctor(Nat),
    /// Show who is there, by which path
    Peers(edge::agent::Target),
    /// Show the name that is kept for you; without one, ask for it and keep it
    Name {
        /// Keep this name
        #[arg(value_parser = member_name)]
        name: Option<String>,
    },
    /// Forget the key that somebody, or a server, was met with, so that a new one is accepted
    Trust(Trust),
}

#[derive(Args, Debug)]
pub(crate) struct Join {
    /// The channel's name
    #[arg(value_parser = channel_name)]
    pub(crate) channel: String,
    /// The rendezvous
    #[arg(long, value_name = "HOST[:UDP_PORT]", env = "PUNCHLINE_SERVER")]
    pub(crate) server: Option<String>,
    /// A member that others can reach, and that lets you in; may be given several times, and needs no rendezvous
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "relay_only")]
    pub(crate) via: Vec<String>,
    /// Give up, with exit code 69, if the rendezvous is not there
    #[arg(long)]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) member: Member,
}

#[derive(Args, Debug)]
pub(crate) struct Listen {
    /// Where to wait
    #[arg(value_name = "ADDR:PORT")]
    pub(crate) addr: SocketAddr,
    /// A word both sides know
    #[arg(long, default_value = "call", value_parser = channel_name)]
    pub(crate) channel: String,
    #[command(flatten)]
    pub(crate) member: Member,
}

#[derive(Args, Debug)]
pub(crate) struct Dial {
    /// Where the other side listens
    #[arg(value_name = "HOST:PORT")]
    pub(crate) addr: String,
    /// A word both sides know
    #[arg(long, default_value = "call", value_parser = channel_name)]
    pub(crate) channel: String,
    /// Give up, with exit code 69, if nobody listens there
    #[arg(long)]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) member: Member,
}

/// Whose key is to be forgotten.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Trust {
    /// What the person calls itself
    pub(crate) name: Option<String>,
    /// The rendezvous, or whom you dial
    #[arg(long, value_name = "HOST[:UDP_PORT]")]
    pub(crate) server: Option<String>,
}

/// Whom to ask about the network.
#[derive(Args, Debug)]
pub(crate) struct Nat {
    /// The rendezvous
    #[arg(long, value_name = "HOST[:UDP_PORT]", env = "PUNCHLINE_SERVER")]
    pub(crate) server: Option<String>,
    /// Another STUN server to ask; may be given several times
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) stun: Vec<String>,
    /// The local address of the UDP socket [default: any address, any port]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) bind: Option<SocketAddr>,
}

/// What every way to become a member shares.
#[derive(Args, Debug)]
pub(crate) struct Member {
    /// What the others shall call you
    #[arg(long, env = "PUNCHLINE_NAME", value_parser = member_name)]
    pub(crate) name: Option<String>,
    /// The channel's password is the first line of this file
    #[arg(long, value_name = "FILE", conflicts_with = "invite_file")]
    pub(crate) password_file: Option<PathBuf>,
    /// The channel's invite link, or its secret part, is the first line of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) invite_file: Option<PathBuf>,
    /// The local address of the one UDP socket [default: any address, any port]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) bind: Option<SocketAddr>,
    /// An address at which the others can reach you, such as a forwarded port
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) advertise: Vec<SocketAddr>,
    /// Never go through the rendezvous, even where there is no direct path
    #[arg(long, conflicts_with = "relay_only")]
    pub(crate) no_relay: bool,
    /// Always go through the rendezvous, so that the others do not learn your address
    #[arg(long)]
    pub(crate) relay_only: bool,
    /// A STUN server to ask what your router does, besides the rendezvous; may be given several times
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) stun: Vec<String>,
    /// Do not ask the router to forward a port (PCP, NAT-PMP, UPnP)
    #[arg(long)]
    pub(crate) no_portmap: bool,
    /// Do not guess ports where routers choose another one for each destination
    #[arg(long)]
    pub(crate) no_guess: bool,
    /// Carry packets between two others that can't reach each other, sealed as they are
    #[arg(long, value_name = "WHETHER", default_value = "on")]
    pub(crate) lend: Switch,
    /// Use loopback addresses as well, for calls inside one machine [given where the own address, or the one that is dialled, is one]
    #[arg(long)]
    pub(crate) loopback: bool,
    /// Make stdin and stdout a lane; the event lines go to stderr
    #[arg(long, value_name = "LANE", conflicts_with = "program")]
    pub(crate) pipe: Option<PipeLane>,
    /// With --pipe: leave when stdin has ended and everything is delivered
    #[arg(long, requires = "pipe")]
    pub(crate) exit_at_eof: bool,
    /// Where local programs find this puncher [default: CHANNEL.sock in the runtime directory]
    #[arg(long, value_name = "PATH")]
    pub(crate) sock: Option<PathBuf>,
    /// Write a newline to this descriptor once the channel is joined
    #[arg(long, value_name = "FD")]
    pub(crate) ready_fd: Option<RawFd>,
    /// Run this program with PUNCHER_SOCK set, and end with it
    #[arg(last = true, value_name = "PROGRAM")]
    pub(crate) program: Vec<String>,
}

impl Member {
    pub(crate) fn relaying(&self) -> Relaying {
        match (self.no_relay, self.relay_only) {
            (true, _) => Relaying::Refused,
            (_, true) => Relaying::Only,
            _ => Relaying::Allowed,
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Switch {
    Off,
    On,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum PipeLane {
    /// Frames of voice records, as audio-pipe speaks them
    Voice,
    /// Lines of text
    Text,
}

/// The channel's name as the rendezvous keeps it, however it was typed.
fn channel_name(typed: &str) -> Result<String, NameError> {
    ChannelName::parse(typed).map(|name| name.as_str().to_owned())
}

fn member_name(typed: &str) -> Result<String, NameError> {
    MemberName::parse(typed).map(|name| name.as_str().to_owned())
}
