use std::{fmt, time::Duration};

use wire::{PeerTag, signal::CandidateKind};

use crate::{Refused, Way};

/// A datagram to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transmit {
    /// To whom.
    pub peer: PeerTag,
    /// How, and where to.
    pub way: Way,
    /// What it carries.
    pub payload: Vec<u8>,
    /// The hops that it may take (IP_TTL, IPV6_UNICAST_HOPS); `None` is the system's default.
    pub ttl: Option<u8>,
}

/// Something that the caller wants to know. `way` is always the one that [`crate::Agent::route`] names from then on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// There is a path: both ends have sent on it and the peer's packet came. Traffic may flow.
    Usable {
        /// To whom.
        peer: PeerTag,
        /// How.
        way: Way,
        /// How the way was found.
        kind: CandidateKind,
    },
    /// The path is proved in both directions; also the end of a doubt.
    Confirmed {
        /// To whom.
        peer: PeerTag,
        /// How.
        way: Way,
        /// How the way was found.
        kind: CandidateKind,
        /// Round trip.
        rtt: Duration,
        /// Time since the search began: since the peer was added, or since the last path came in doubt.
        since_known: Duration,
    },
    /// Traffic moves to another path; also the end of a doubt.
    Switched {
        /// To whom.
        peer: PeerTag,
        /// How.
        way: Way,
        /// How the way was found.
        kind: CandidateKind,
        /// Round trip.
        rtt: Duration,
    },
    /// The path owes an answer: it may be dead, or a packet lost. Traffic should go by other ways too until one comes.
    Suspected {
        /// To whom.
        peer: PeerTag,
    },
    /// The path does not answer as it should. Traffic should go by other ways too; a new search has begun.
    Doubtful {
        /// To whom.
        peer: PeerTag,
    },
    /// The path is gone. The search goes on, ever more rarely.
    Lost {
        /// To whom.
        peer: PeerTag,
        /// What was noticed.
        why: LostReason,
    },
    /// A whole volley found no direct path. The search goes on, ever more rarely; told once in a search.
    Unreachable {
        /// To whom.
        peer: PeerTag,
        /// What was noticed.
        why: NoPath,
        /// When the next attempt begins.
        retry: Duration,
    },
    /// The ports have been guessed, or not.
    Guessed {
        /// Whose.
        peer: PeerTag,
        /// Whether there is a direct path.
        met: bool,
    },
}

impl Event {
    /// Whom it concerns.
    pub fn peer(&self) -> PeerTag {
        match self {
            Self::Usable { peer, .. }
            | Self::Confirmed { peer, .. }
            | Self::Switched { peer, .. }
            | Self::Suspected { peer }
            | Self::Doubtful { peer }
            | Self::Lost { peer, .. }
            | Self::Unreachable { peer, .. }
            | Self::Guessed { peer, .. } => *peer,
        }
    }
}

/// Why there is no direct path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoPath {
    /// The peer has no address that a check may go to.
    NoCandidates,
    /// No check of either side arrived.
    Silence,
    /// The peer's checks arrive here, ours do not arrive there.
    OneWay,
}

impl fmt::Display for NoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCandidates => "the peer has no address to try",
            Self::Silence => {
                "no check of either side arrives: UDP is blocked, or a NAT uses another port for each destination"
            }
            Self::OneWay => "the peer's checks arrive, ours do not arrive there",
        })
    }
}

/// Why a path is given up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LostReason {
    /// Nothing comes from the peer any more.
    Silence,
    /// Packets come, but ours are not answered.
    NoAnswer,
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silence => "nothing comes from the peer",
            Self::NoAnswer => "the peer does not answer",
        })
    }
}

/// Why a datagram was not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Ignored {
    /// It has not the form of a check.
    #[error("the datagram is no check")]
    NoCheck,
    /// Its tag is that of no peer.
    #[error("the check is not from a peer that we know")]
    Stranger,
    /// It was not sealed with the keys that its tag names.
    #[error("the check is forged or damaged")]
    Forged,
    /// Its number has been seen or is too old.
    #[error("the check came before")]
    Replayed,
    /// It comes from where no member can be.
    #[error("the check comes from a place that no peer can be at: {0}")]
    Source(Refused),
}
