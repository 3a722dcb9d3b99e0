use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use punch::SocketId;
use wire::{
    IdentityKey, MessageId, PeerTag,
    agent::{Delivery, Path},
    nat::NatFacts,
    signal::{CandidateKind, LeaveReason, Refusal, Ticket},
};

/// A datagram to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transmit {
    /// From which of the program's sockets.
    pub socket: SocketId,
    /// Where.
    pub to: SocketAddr,
    /// What.
    pub payload: Bytes,
    /// The hops that it may take; `None` is the system's default.
    pub ttl: Option<u8>,
}

impl Transmit {
    /// A datagram from the main socket.
    pub(crate) fn from_main(to: SocketAddr, payload: Bytes) -> Self {
        Self { socket: SocketId::MAIN, to, payload, ttl: None }
    }
}

/// What happened, for the program around the mesh.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// About the rendezvous.
    Server(ServerEvent),
    /// What router this member is behind, as far as is known; more may follow.
    Nat(NatFacts),
    /// Somebody is in the channel.
    Seen {
        /// How it is named from here on.
        tag: PeerTag,
        /// What it calls itself.
        name: String,
        /// Its key, as the rendezvous says; true once the peer is secure.
        key: IdentityKey,
    },
    /// How packets get to a peer has changed.
    Path {
        /// Whose path.
        tag: PeerTag,
        /// The way.
        path: Path,
        /// The address, if direct.
        addr: Option<SocketAddr>,
        /// The name of the member that carries the packets, if one does.
        via: Option<String>,
        /// How the address was found.
        kind: Option<CandidateKind>,
        /// Round trip, if measured.
        rtt: Option<Duration>,
        /// From the moment the peer was known to this one.
        since_known: Duration,
        /// Why, in words.
        why: String,
    },
    /// The session is up and both have proved the channel secret.
    Secure {
        /// With whom.
        tag: PeerTag,
        /// From the moment the peer was known to this one.
        since_known: Duration,
    },
    /// The session broke; another is being made.
    Insecure {
        /// With whom.
        tag: PeerTag,
        /// Why, in words.
        why: String,
    },
    /// A peer is gone.
    Left {
        /// Who.
        tag: PeerTag,
        /// Its name.
        name: String,
        /// Why, in words.
        why: String,
    },
    /// A voice packet came.
    Voice {
        /// From whom.
        tag: PeerTag,
        /// A [`wire::voice::Voice`], undecoded.
        packet: Bytes,
    },
    /// A text came; [`crate::Mesh::acknowledge`] it once it is kept.
    Text {
        /// From whom.
        tag: PeerTag,
        /// Its name.
        id: MessageId,
        /// Whether it is for us alone.
        direct: bool,
        /// What it says.
        body: Vec<u8>,
    },
    /// What became of a text for one peer.
    Delivery {
        /// Which text.
        id: MessageId,
        /// For whom.
        tag: PeerTag,
        /// That peer's name.
        name: String,
        /// What became of it.
        outcome: Delivery,
    },
    /// Every addressed peer of a text has its outcome.
    Settled {
        /// Which text.
        id: MessageId,
    },
}

/// What happened between the member and the rendezvous.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerEvent {
    /// An attempt begins.
    Connecting,
    /// There was no key to expect; the server showed this one. To be remembered.
    Key(IdentityKey),
    /// The channel secret is needed, made with this server key: [`crate::Mesh::set_secret`].
    SecretNeeded(IdentityKey),
    /// The rendezvous does not answer over UDP: a tunnel to it is wanted, see [`crate::Mesh::tunnel_opened`]; or no more.
    Tunnel(bool),
    /// The member is in the channel.
    Joined {
        /// Where the rendezvous sees it.
        observed: SocketAddr,
        /// Its name as the others see it.
        name: String,
        /// How many others there are.
        peers: usize,
    },
    /// To be kept in the place of any other of this rendezvous, for the next start.
    Ticket(Ticket),
    /// The address that the rendezvous sees has changed.
    Observed(SocketAddr),
    /// The rendezvous refuses the member. Final.
    Refused(Refusal),
    /// The rendezvous showed another key than the one expected. Final.
    WrongKey,
    /// The rendezvous has taken the member's seat away. Final.
    PutOut(LeaveReason),
    /// There is no session with the rendezvous.
    Lost {
        /// Why, in words.
        why: String,
        /// When it is asked again; `None` is never.
        retry_in: Option<Duration>,
    },
    /// The rendezvous says that it closes.
    Closing,
}
