use std::net::SocketAddr;

use identity::{ChannelSecret, Ephemeral, Identity};
use wire::{
    IdentityKey, RunId,
    signal::{Candidate, Ticket},
};

use crate::Observe;

/// What a member has to know to join.
pub struct Config {
    /// Who joins.
    pub identity: Identity,
    /// The channel's name.
    pub channel: String,
    /// What the others shall call the member.
    pub name: String,
    /// Where the rendezvous is.
    pub server: SocketAddr,
    /// The rendezvous' key, if it is known from before; another key ends the join.
    pub server_key: Option<IdentityKey>,
    /// What the rendezvous gave at the last join, if that is kept: with it, this join takes a round trip less.
    pub ticket: Option<Ticket>,
    /// Where the channel secret comes from.
    pub secret: Secret,
    /// Addresses at which peers may reach this member, besides what the rendezvous observes.
    pub candidates: Vec<Candidate>,
    /// How to learn what router this member is behind; `None` asks nobody.
    pub observe: Option<Observe>,
    /// Whether ports may be guessed where routers choose another one for each destination.
    pub guess: bool,
    /// Random, new for each start.
    pub run: RunId,
    /// Generated anew for each start.
    pub ephemeral: Ephemeral,
    /// When the program started, in milliseconds since 1970: of two runs the later one's cards hold.
    pub started_at: u64,
    /// Random, new for each start; all further randomness is made from it.
    pub seed: [u8; 32],
    /// Whether loopback addresses may be candidates: for calls inside one machine.
    pub allow_loopback: bool,
    /// Whether a rendezvous that is not there is asked again and again.
    pub retry: bool,
    /// Whether the program can open a tunnel to the rendezvous where UDP does not get through.
    pub tunnel: bool,
    /// Whether packets may go through the relay of the rendezvous.
    pub relaying: Relaying,
    /// Members who may let this one in.
    pub via: Via,
    /// Whether this member carries packets between two others that can't reach each other.
    pub lend: bool,
    /// Whether this member is the rendezvous: it opens the channel itself and introduces whoever asks at `server`.
    pub introduce: bool,
}

/// Members who may let another one in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Via {
    /// Named by hand: asked at once.
    pub members: Vec<SocketAddr>,
    /// Where members of the channel were in an earlier run: asked when the rendezvous does not answer.
    pub remembered: Vec<SocketAddr>,
    /// Whether there is no rendezvous at all: `server` is not asked, and `server_key` is that of the channel, if known.
    pub only: bool,
}

/// Whether packets may go through the relay of the rendezvous.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Relaying {
    /// As long as there is no direct path, or beside one that is in doubt.
    #[default]
    Allowed,
    /// Always: peers learn no address of this member, and none of theirs is sent to.
    Only,
    /// Never.
    Refused,
}

/// Where the channel secret comes from.
pub enum Secret {
    /// From the channel's name: anyone on this server may join.
    Open,
    /// It is made from a password when the rendezvous' key is known: [`crate::ServerEvent::SecretNeeded`] asks for it.
    Deferred,
    /// This is it.
    Known(ChannelSecret),
}
