//! The agent socket: how local programs share one `puncher`, as [`crate::frame`]s on a Unix stream.
//!
//! A program says [`ToPuncher::Open`] and is answered [`FromPuncher::Opened`], then one [`FromPuncher::Peer`] for
//! everybody who is there, then [`FromPuncher::Server`]: who has read so far knows all that there is to know.
//! From then on it sends on its lane and hears its lane; every change of a peer's state is told.
//! With `puncher join --pipe voice` stdin and stdout carry bare [`VoiceRecord`] frames and nothing else.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{IdentityKey, MessageId, PeerTag, local::Local, peer::Keeper, peer::Lane};

/// Version of what follows; `puncher` and programs of different versions refuse each other by name.
pub const VERSION: u16 = 4;

/// No record is longer.
pub const MAX_RECORD: usize = crate::peer::MAX_MESSAGE + 1024;

/// From a local program to `puncher`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ToPuncher {
    /// Opens a lane; the first record of a connection.
    Open {
        /// [`VERSION`] of the program.
        version: u16,
        /// What the program wants to hear and send; `Control` hears of peers only, and may send texts.
        lane: Lane,
        /// The program's name, for logs.
        program: String,
    },
    /// A voice packet to send.
    Voice(VoiceRecord),
    /// A text to send; its sender alone is answered, by one [`FromPuncher::Delivery`] for each addressed peer.
    Text {
        /// Its name.
        id: MessageId,
        /// Who gets it.
        to: Peers,
        /// What it says.
        #[serde(with = "serde_bytes")]
        body: Vec<u8>,
    },
    /// Something for the other programs at this `puncher`, not for the network.
    Local(Local),
    /// Ends the session as SIGTERM would: a proper leave, then every program's end.
    Leave,
}

/// From `puncher` to a local program.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum FromPuncher {
    /// The lane is open.
    Opened(Opened),
    /// It is not.
    Refused(String),
    /// A peer is there, or something about it changed.
    Peer(PeerStatus),
    /// A peer has left.
    Left {
        /// Who.
        tag: PeerTag,
        /// Its name.
        name: String,
        /// Why, in words.
        why: String,
    },
    /// A voice packet that came.
    Voice {
        /// Who sent it.
        from: PeerTag,
        /// When it came, by the clock that all programs of a machine share, in microseconds: who reads it later knows how late.
        came_us: u64,
        /// A [`crate::voice::Voice`], encoded.
        #[serde(with = "serde_bytes")]
        packet: Vec<u8>,
    },
    /// A text that came; the receiver answers nothing, `puncher` has acknowledged it.
    Text {
        /// Its name.
        id: MessageId,
        /// Who sent it.
        from: PeerTag,
        /// The sender's name when it came.
        name: String,
        /// Whether it is for us alone.
        direct: bool,
        /// What it says: remote text.
        #[serde(with = "serde_bytes")]
        body: Vec<u8>,
    },
    /// What became of a text for one peer.
    Delivery {
        /// Which text.
        id: MessageId,
        /// Whom it was for.
        to: PeerTag,
        /// That peer's name.
        name: String,
        /// What became of it.
        outcome: Delivery,
    },
    /// Every addressed peer of this text has its [`FromPuncher::Delivery`].
    Settled {
        /// Which text.
        id: MessageId,
    },
    /// Something from another program at this `puncher`.
    Local(Local),
    /// The link to the rendezvous, or its loss, in words.
    Server {
        /// Whether there is one.
        connected: bool,
        /// What happened.
        text: String,
    },
    /// `puncher` ends.
    Closing,
}

/// Who we are, as told to a program that opens a lane.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Opened {
    /// [`VERSION`] of `puncher`.
    pub version: u16,
    /// The channel.
    pub channel: String,
    /// Our name in it.
    pub name: String,
    /// Our key.
    pub key: IdentityKey,
}

/// A peer as local programs see it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PeerStatus {
    /// How it is named on this socket.
    pub tag: PeerTag,
    /// What it calls itself: remote text.
    pub name: String,
    /// Its key.
    pub key: IdentityKey,
    /// How packets get to it.
    pub path: Path,
    /// The address in use, if direct.
    pub addr: Option<SocketAddr>,
    /// The name of the member that carries the packets, if one does: remote text.
    pub via: Option<String>,
    /// Round trip on the path, in microseconds.
    pub rtt_us: Option<u32>,
    /// Whether the session is up and both have proved the channel secret.
    pub secure: bool,
}

/// How packets get to a peer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// Not at all, for the time being.
    None,
    /// Straight.
    Direct,
    /// Through the rendezvous.
    Relay,
    /// Through another member.
    Member,
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Direct => "direct",
            Self::Relay => "relay",
            Self::Member => "member",
        })
    }
}

/// One voice packet and whom it concerns.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct VoiceRecord {
    /// Towards `puncher`: who gets it. From `puncher --pipe voice`: whom it came from, always `One`.
    pub peers: Peers,
    /// A [`crate::voice::Voice`], encoded.
    #[serde(with = "serde_bytes")]
    pub packet: Vec<u8>,
}

/// Some of the peers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Peers {
    /// Everybody who is there.
    All,
    /// One of them.
    One(PeerTag),
    /// These.
    Some(Vec<PeerTag>),
}

/// What became of a text for one peer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// It is kept at the other end.
    Delivered(Keeper),
    /// The peer left, or its session ended, before it said that it has it.
    Lost,
    /// There is no such peer.
    Unknown,
    /// No answer in time.
    TimedOut,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decode, encode};

    #[test]
    fn record_bytes() {
        let open = ToPuncher::Open { version: 1, lane: Lane::Voice, program: "x".into() };
        assert_eq!(encode(&open), [0, 1, 2, 1, b'x']);
        let voice = ToPuncher::Voice(VoiceRecord { peers: Peers::All, packet: vec![7] });
        assert_eq!(encode(&voice), [1, 0, 1, 7]);
        assert_eq!(encode(&FromPuncher::Closing), [10]);
        assert_eq!(decode::<ToPuncher>("record", &encode(&voice)), Ok(voice));
    }
}
