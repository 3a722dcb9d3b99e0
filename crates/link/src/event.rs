use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

use bytes::Bytes;
use quinn_proto::{ConnectionError, TransportErrorCode};
use wire::IdentityKey;

/// Close codes with a meaning of their own here; the layers above use others.
pub const OWN_CODES: RangeInclusive<u32> = 0x3fff_ff00..=0x3fff_ffff;
/// The proof of the channel secret is wrong.
pub(crate) const CODE_PROOF: u32 = 0x3fff_ff01;
/// Something was sent that must not be.
pub(crate) const CODE_PROTOCOL: u32 = 0x3fff_ff02;
/// The proof did not come in time.
pub(crate) const CODE_TIMEOUT: u32 = 0x3fff_ff03;

/// Alert access_denied (RFC 8446, 6.2), which our verifiers raise for a key that is not the expected one.
const ACCESS_DENIED: u8 = 49;
/// A reason that the other side gives is cut to this many bytes.
const MAX_REASON: usize = 256;

/// Names a link of one endpoint; never used again for another.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LinkId(pub u64);

/// What a link is for; both sides know before anything else.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// Between a member and its rendezvous: one lane, 0.
    Signal,
    /// Between two members: lanes as [`wire::peer::Lane`] numbers them, and datagrams.
    Peer,
}

impl Kind {
    pub(crate) fn alpn(self) -> &'static [u8] {
        match self {
            Self::Signal => wire::signal::ALPN,
            Self::Peer => wire::peer::ALPN,
        }
    }

    /// No message is longer.
    pub fn max_message(self) -> usize {
        match self {
            Self::Signal => wire::signal::MAX_MESSAGE,
            Self::Peer => wire::peer::MAX_MESSAGE,
        }
    }
}

/// Something that happened to a link.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// Everything is proved; the link carries messages and datagrams.
    Connected {
        /// The other side's key.
        key: IdentityKey,
        /// What the link is for.
        kind: Kind,
        /// Whether the other side opened it.
        incoming: bool,
        /// Where the other side is.
        from: SocketAddr,
    },
    /// A datagram came.
    Datagram(Bytes),
    /// A message came.
    Message {
        /// On which lane.
        lane: u8,
        /// The message.
        body: Vec<u8>,
    },
    /// The other side of a signalling link is at another address, and has shown that it can be reached there; or at another
    /// port of the address before, where that goes without showing.
    Moved(SocketAddr),
    /// After [`SendError::Full`]: there is room again.
    Writable,
    /// The link is gone. Comes for each link that [`Event::Connected`] or `connect` has named, unless this side closed it.
    Closed(CloseReason),
}

/// Why a link is gone.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CloseReason {
    /// The other side closed it.
    #[error("the other side closed the session: {reason} (code {code})")]
    Remote {
        /// The code that it gave.
        code: u32,
        /// The reason that it gave: remote text.
        reason: String,
    },
    /// The other side has another key than the expected one.
    #[error("the other side has another key than the one known")]
    WrongKey,
    /// The other side expects another key than ours.
    #[error("the other side does not accept our key")]
    KeyRefused,
    /// The two sides don't have the same channel secret.
    #[error("the two sides do not have the same channel secret")]
    WrongProof,
    /// Nothing was heard for too long.
    #[error("nothing was heard from the other side")]
    TimedOut,
    /// One side broke the protocol, or the two don't speak the same.
    #[error("protocol error: {0}")]
    Protocol(String),
}

impl From<ConnectionError> for CloseReason {
    fn from(error: ConnectionError) -> Self {
        let access_denied = TransportErrorCode::crypto(ACCESS_DENIED);
        match error {
            ConnectionError::ApplicationClosed(close) => {
                let reason = String::from_utf8_lossy(&close.reason[..close.reason.len().min(MAX_REASON)]).into_owned();
                match u32::try_from(u64::from(close.error_code)).unwrap_or(CODE_PROTOCOL) {
                    CODE_PROOF => Self::WrongProof,
                    CODE_TIMEOUT => Self::TimedOut,
                    code if OWN_CODES.contains(&code) => Self::Protocol(reason),
                    code => Self::Remote { code, reason },
                }
            }
            ConnectionError::TransportError(error) if error.code == access_denied => Self::WrongKey,
            ConnectionError::ConnectionClosed(close) if close.error_code == access_denied => Self::KeyRefused,
            ConnectionError::TimedOut => Self::TimedOut,
            other => Self::Protocol(other.to_string().chars().take(MAX_REASON).collect()),
        }
    }
}

/// A link can't be opened.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConnectError {
    /// No peer with that key was announced at that address.
    #[error("no peer with that key is expected there")]
    NotExpected,
    /// Of two members the one with the higher key connects to the other.
    #[error("the other member has the higher key, so it is the one that connects")]
    NotOurPart,
    /// That is our own key.
    #[error("the key is our own")]
    OwnKey,
    /// The endpoint has as many links as it may.
    #[error("there are {MAX} links already", MAX = crate::MAX_LINKS)]
    TooMany,
    /// Nothing can be at that address.
    #[error("{0} is not an address to connect to")]
    Address(SocketAddr),
}

/// Something can't be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SendError {
    /// Too much waits already; [`Event::Writable`] tells when to try again.
    #[error("too much waits to be sent")]
    Full,
    /// It is longer than anything of its kind may be.
    #[error("{len} bytes are more than the {max} allowed")]
    TooLong {
        /// How long it is.
        len: usize,
        /// How long it may be.
        max: usize,
    },
    /// The link has no such lane.
    #[error("there is no lane {0}")]
    NoLane(u8),
    /// The link is not connected yet, or not any more.
    #[error("the session is not open")]
    NotOpen,
}

/// Figures of a link.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Smoothed round trip.
    pub rtt: Duration,
    /// Packets sent.
    pub sent: u64,
    /// Packets thereof that were lost.
    pub lost: u64,
}
