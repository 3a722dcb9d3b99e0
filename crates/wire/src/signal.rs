//! Signalling: what a member and its rendezvous say to each other, as [`crate::frame`]s on one QUIC stream each way.

use std::{fmt, net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{EphemeralKey, IdentityKey, MemberSlot, nat::NatFacts};

/// Application protocol of a signalling session (RFC 7301).
pub const ALPN: &[u8] = b"punchline-signal/1";
/// No signalling message is longer.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// A sealed card is at most this long.
pub const MAX_CARD: usize = 1024;
/// TLS exporter label (RFC 8446, 7.5) of the value that a join proof signs; the context is the member's key.
pub const JOIN_EXPORTER: &[u8] = b"EXPORTER-punchline-join-v1";

/// From a member to the rendezvous.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ToServer {
    /// Asks to become a member; the first message of a session.
    Join(Join),
    /// Replaces the sealed card, after a change of network.
    Card(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Leaves at once.
    Leave,
}

/// A request to become a member of a channel.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Join {
    /// [`crate::VERSION`] of the asker.
    pub version: u16,
    /// The channel's name.
    pub channel: String,
    /// What the others shall call the member.
    pub name: String,
    /// Signature by the channel's join key over the session's [`JOIN_EXPORTER`] value; `None` for open channels.
    pub proof: Option<Signature>,
    /// A [`Card`], sealed for the members of the channel.
    #[serde(with = "serde_bytes")]
    pub card: Vec<u8>,
    /// Whether the others are not to be told where the rendezvous sees the member.
    pub hidden: bool,
}

/// An Ed25519 signature (RFC 8032), 64 bytes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Signature(#[serde(with = "serde_bytes")] pub Vec<u8>);

/// From the rendezvous to a member.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ToMember {
    /// The join is accepted.
    Joined(Joined),
    /// The join is refused; the session ends.
    Refused(Refusal),
    /// Somebody joined; sent before that somebody gets its roster.
    MemberJoined(Member),
    /// A member's address or card changed.
    MemberChanged(Member),
    /// A member is gone.
    MemberLeft {
        /// Whose seat is empty.
        slot: MemberSlot,
        /// Why.
        why: LeaveReason,
    },
    /// The address that the rendezvous sees the receiver at has changed.
    Observed(SocketAddr),
    /// The rendezvous closes; calls go on without it.
    Closing,
    /// Replaces the ticket that came with [`Joined`], which is for another address.
    Ticket(Ticket),
    /// From a member that introduces others, before anything else: the key of the channel's rendezvous.
    Channel {
        /// From which an open channel's secret is made.
        server: IdentityKey,
    },
}

/// What a new member learns.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Joined {
    /// The seat of the receiver.
    pub slot: MemberSlot,
    /// The receiver's name as the others see it (normalised).
    pub name: String,
    /// Where the rendezvous sees the receiver; behind a tunnel, where its TCP connection comes from.
    pub observed: SocketAddr,
    /// What kind of channel it is.
    pub kind: ChannelKind,
    /// Everybody else.
    pub roster: Vec<Member>,
    /// What lets the receiver use the relay; `None` where the rendezvous relays for nobody.
    pub relay: Option<RelayGrant>,
    /// What shortens the next join; `None` where the rendezvous gives none.
    pub ticket: Option<Ticket>,
}

/// What lets a member join once more without waiting for a session ([`crate::early`]), from the same IP address.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ticket {
    /// For the rendezvous alone; [`crate::early::TICKET`] bytes.
    #[serde(with = "serde_bytes")]
    pub sealed: Vec<u8>,
    /// Secret between the member and the rendezvous, good for one join.
    pub key: [u8; 32],
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(..)")
    }
}

/// No ticket is good for longer.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The right to send [`crate::relay`] frames to the other members, for as long as the signalling session lives.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RelayGrant {
    /// Random; goes into each frame.
    pub session: u64,
}

/// One member as the others learn of it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Member {
    /// Its seat.
    pub slot: MemberSlot,
    /// Its name, unique in the channel.
    pub name: String,
    /// Its key, which it proved to the rendezvous.
    pub key: IdentityKey,
    /// Where the rendezvous saw it: addresses that it has validated, and no others; none of one that hides or is behind a
    /// tunnel.
    pub observed: Vec<SocketAddr>,
    /// Its [`Card`], sealed; the rendezvous can't read it.
    #[serde(with = "serde_bytes")]
    pub card: Vec<u8>,
}

/// What a member tells the other members alone, through the rendezvous but sealed from it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Card {
    /// The run whose pair keys hold.
    pub run: crate::RunId,
    /// The run's own key, from which those of early voice follow.
    pub ephemeral: EphemeralKey,
    /// Of two cards of a member the one with the higher number holds, whoever brings them.
    pub serial: u64,
    /// What the member calls itself.
    pub name: String,
    /// Addresses of the member's own interfaces, port mappings, and by-hand ones; at most [`MAX_CANDIDATES`].
    pub candidates: Vec<Candidate>,
    /// What the member knows of its router; `None` before anybody has said.
    pub nat: Option<NatFacts>,
}

/// Candidates that one card may list.
pub const MAX_CANDIDATES: usize = 8;

/// An address at which a member may be reachable.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Candidate {
    /// Where.
    pub addr: SocketAddr,
    /// How the member came by it.
    pub kind: CandidateKind,
}

/// How a candidate was found, best first (RFC 8445, 5.1.2.2).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum CandidateKind {
    /// An address of an interface of the host.
    Host,
    /// The source of an authentic check.
    PeerReflexive,
    /// As the rendezvous saw it.
    ServerReflexive,
    /// A port mapping of the router (PCP, NAT-PMP, UPnP).
    Mapped,
    /// Given by hand.
    Advertised,
    /// Somebody relays (RFC 8445, 5.1.1.2); no card lists it.
    Relayed,
}

impl fmt::Display for CandidateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::PeerReflexive => "prflx",
            Self::ServerReflexive => "srflx",
            Self::Mapped => "mapped",
            Self::Advertised => "advertised",
            Self::Relayed => "relayed",
        })
    }
}

/// Who may join a channel.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    /// Anyone on the server.
    Open,
    /// Who knows the password.
    Password,
    /// Who has the invite link.
    Invite,
}

impl fmt::Display for ChannelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Password => "password",
            Self::Invite => "invite",
        })
    }
}

/// Why somebody is no longer a member.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaveReason {
    /// It said so.
    Left,
    /// Nothing was heard from it for the presence timeout.
    Expired,
    /// The same key joined again.
    Replaced,
    /// The channel was deleted.
    ChannelDeleted,
}

/// Why a join is refused.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
pub enum Refusal {
    /// Nobody made this channel, and the server makes none on the fly.
    #[error("there is no such channel here, and this server makes none on the fly; create it first")]
    UnknownChannel,
    /// The channel's name can't be one.
    #[error("the channel name is not acceptable: {0}")]
    BadChannel(String),
    /// The member's name can't be one.
    #[error("the name is not acceptable: {0}")]
    BadName(String),
    /// Somebody in the channel has this name or one that looks the same.
    #[error("the name is taken in this channel; choose another")]
    NameTaken,
    /// The channel asks for a proof and there was none.
    #[error("the channel's {0} is needed to join: give it with --{0}-file")]
    ProofNeeded(ChannelKind),
    /// The proof is not by the channel's secret.
    #[error("the password or invite is not the channel's")]
    WrongProof,
    /// Too many wrong proofs from there.
    #[error("too many wrong attempts; try again in {0} seconds")]
    TooManyAttempts(u32),
    /// The channel has as many members as it may.
    #[error("the channel is full ({0} members)")]
    ChannelFull(u16),
    /// The server has as many channels or members as it may.
    #[error("the server is full")]
    ServerFull,
    /// The session's messages make no sense.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// Another version is spoken here.
    #[error("the server speaks version {0} of the protocol")]
    Version(u16),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decode, encode};

    #[test]
    fn the_key_of_a_ticket_is_not_in_its_debug_form() {
        assert_eq!(format!("{:?}", Ticket { sealed: vec![1], key: [2; 32] }), "Ticket(..)");
    }

    #[test]
    fn message_bytes() {
        let join = ToServer::Join(Join {
            version: 1,
            channel: "lobby".into(),
            name: "al".into(),
            proof: None,
            card: vec![9, 8],
            hidden: false,
        });
        assert_eq!(encode(&join), b"\x00\x01\x05lobby\x02al\x00\x02\x09\x08\x00");
        assert_eq!(encode(&ToServer::Leave), [2]);
        assert_eq!(encode(&ToMember::Closing), [6]);
        assert_eq!(encode(&ToMember::MemberLeft { slot: MemberSlot(3), why: LeaveReason::Expired }), [4, 3, 1]);
        assert_eq!(decode::<ToServer>("join", &encode(&join)), Ok(join));
        let ticket = Ticket { sealed: vec![7, 8], key: [9; 32] };
        assert_eq!(encode(&ToMember::Ticket(ticket)), [&[7, 2, 7, 8][..], &[9; 32]].concat());
    }
}
