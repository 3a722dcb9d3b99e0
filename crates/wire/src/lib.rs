//! Every message that crosses a socket or a pipe, as bytes.
//!
//! Nothing here has behaviour: a message is a type, its encoding is postcard, and a decoder is total: whatever the
//! bytes are, it returns a value or a [`DecodeError`], never panics, and never allocates more than it was handed.
//!
//! | module | who talks to whom | carried by |
//! |---|---|---|
//! | [`datagram`] | everybody on the one UDP socket | first byte of each datagram |
//! | [`stun`] | any STUN client and the rendezvous | UDP, RFC 8489 |
//! | [`check`] | two members, before they have a session | UDP, sealed by their pair keys |
//! | [`early`] | a member and its rendezvous, before they have a session | UDP, sealed by the key of a ticket |
//! | [`early_voice`] | two members, before they have a session | UDP, sealed by keys of both runs |
//! | [`relay`] | two members, by way of their rendezvous | UDP |
//! | [`knock`] | a newcomer and a member that introduces it | UDP, sealed by the channel's secret |
//! | [`lend`] | two members, by way of a third | UDP |
//! | [`nat`] | members, about their routers | a sealed card of [`signal`] |
//! | [`signal`] | a member and its rendezvous | a QUIC stream of [`frame`]s |
//! | [`peer`] | two members | QUIC streams of [`frame`]s |
//! | [`gossip`] | two members, about the others | [`peer::Control`] |
//! | [`guess`] | two members whose routers are in the way | the control lane of [`peer`] |
//! | [`voice`] | two members' `audio-pipe`s | QUIC datagrams, [`early_voice`] |
//! | [`agent`] | a local program and `puncher` | a Unix stream or a pipe of [`frame`]s |
//! | [`local`] | the local programs at one `puncher` | [`agent`] |

pub mod agent;
pub mod check;
pub mod datagram;
pub mod early;
pub mod early_voice;
pub mod frame;
pub mod gossip;
pub mod guess;
mod ids;
pub mod knock;
pub mod lend;
pub mod local;
pub mod nat;
pub mod peer;
pub mod relay;
pub mod signal;
pub mod stun;
pub mod voice;

pub use ids::{EphemeralKey, IdentityKey, MemberSlot, MessageId, ParseKeyError, PeerTag, RunId};

use serde::{Serialize, de::DeserializeOwned};

/// Version of the signalling and peer protocols; programs of different versions refuse each other by name.
pub const VERSION: u16 = 3;

/// Why bytes are not a message.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are no encoding of the expected type.
    #[error("{len} bytes are not a {what}")]
    Malformed {
        /// The type that was expected.
        what: &'static str,
        /// How many bytes there were.
        len: usize,
    },
    /// The message announces or has more bytes than its kind may have.
    #[error("a {what} of {len} bytes is longer than the {max} bytes allowed")]
    TooLong {
        /// The type that was expected.
        what: &'static str,
        /// How many bytes there are or were announced.
        len: usize,
        /// The most there may be.
        max: usize,
    },
}

/// Encodes `message` as postcard.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_allocvec(message).expect("a message type has no map and no unsized sequence, so it always encodes")
}

/// Decodes one message; bytes left over are allowed, so that a later version may append fields.
pub fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, DecodeError> {
    postcard::from_bytes(bytes).map_err(|_| DecodeError::Malformed { what, len: bytes.len() })
}
