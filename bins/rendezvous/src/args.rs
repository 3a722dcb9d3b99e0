//! What the program is told on its command line.

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::RawFd,
    path::PathBuf,
};

/// Introduce the members of a channel to each other
///
/// Serves signalling and STUN on a UDP port, and a web page with a JSON interface on an HTTP port. Prints one line on
/// stdout once it serves: the addresses it got and its key.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "rendezvous", version)]
pub(crate) struct Args {
    /// Where to serve signalling and STUN; port 0 takes a free one. The three ports above answer STUN, too, if they are free
    #[arg(long, value_name = "ADDR:PORT", default_value = "[::]:3478")]
    pub(crate) udp: SocketAddr,
    /// Another address of this machine, where STUN alone is answered: it lets members tell their NATs more exactly
    #[arg(long, value_name = "ADDR")]
    pub(crate) udp2: Option<IpAddr>,
    /// Where to serve the web page and the JSON interface; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "[::]:8470")]
    pub(crate) http: SocketAddr,
    /// Where to keep the server's key and the channels [default: rendezvous in the XDG state directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Do not make a channel when somebody joins one that does not exist
    #[arg(long)]
    pub(crate) no_adhoc: bool,
    /// Members that a channel may have
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(2..=64))]
    pub(crate) max_members: u16,
    /// Channels that there may be
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) max_channels: usize,
    /// Channels that one network (IPv4 /24, IPv6 /56) may create in a day
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) new_channels: u32,
    /// Answers that one network (IPv4 /24, IPv6 /56) gets to STUN requests in a second, and four times as many after a pause; a member
    /// who joins asks about five
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) stun_rate: u32,
    /// Apply the limits per source to this machine too; by default it is exempt, for it may be a reverse proxy
    #[arg(long)]
    pub(crate) limit_loopback: bool,
    #[command(flatten)]
    pub(crate) relay: RelayArgs,
    /// Write a newline to this descriptor once the program serves, then close it
    #[arg(long, value_name = "FD")]
    pub(crate) ready_fd: Option<RawFd>,
    #[command(flatten)]
    pub(crate) common: edge::Common,
}

/// What the relay forwards, in 1000 bits of UDP payload per second unless said.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Relay")]
pub(crate) struct RelayArgs {
    /// Forward nothing for members that can't reach each other
    #[arg(long)]
    pub(crate) no_relay: bool,
    /// For one member; every copy of what it sends counts
    #[arg(long, value_name = "KBIT", default_value_t = 1_000)]
    pub(crate) relay_member: u32,
    /// Packets a second for one member
    #[arg(long, value_name = "N", default_value_t = 1_200)]
    pub(crate) relay_packets: u32,
    /// Bytes that a member may send at once after a pause
    #[arg(long, value_name = "BYTES", default_value_t = 64_000)]
    pub(crate) relay_burst: u32,
    /// For all members behind one address (IPv6: /64)
    #[arg(long, value_name = "KBIT", default_value_t = 2_000)]
    pub(crate) relay_source: u32,
    /// For all members of one channel
    #[arg(long, value_name = "KBIT", default_value_t = 8_000)]
    pub(crate) relay_channel: u32,
    /// For everybody together
    #[arg(long, value_name = "KBIT", default_value_t = 100_000)]
    pub(crate) relay_all: u32,
}

impl RelayArgs {
    /// The limits; `None` if nothing is to be forwarded.
    pub(crate) fn limits(&self, limit_loopback: bool) -> Option<relay::Limits> {
        let bits = |kilobits: u32| u64::from(kilobits) * 1000;
        (!self.no_relay).then(|| relay::Limits {
            session: bits(self.relay_member),
            session_packets: self.relay_packets.into(),
            burst: self.relay_burst.into(),
            source: bits(self.relay_source),
            limit_loopback,
            channel: bits(self.relay_channel),
            all: bits(self.relay_all),
        })
    }
}
