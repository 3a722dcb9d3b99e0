//! Gossip: what members tell each other about the others, so that a channel outlives its rendezvous.
//!
//! Nobody can make up a member: what counts of a record is its card, which its owner has sealed and signed, and of two
//! cards the one with the higher serial. Only the addresses are the word of the one that tells them.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::IdentityKey;

/// Members that one message may name.
pub const MAX_MEMBERS: usize = 64;
/// Addresses that one record may list.
pub const MAX_SEEN: usize = 4;

/// On the control lane: what the sender knows of other members, or of itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Gossip {
    /// At most [`MAX_MEMBERS`].
    pub members: Vec<Known>,
}

/// What a member knows of another one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Known {
    /// Its key.
    pub key: IdentityKey,
    /// Where it was seen, the latest first; at most [`MAX_SEEN`].
    pub seen: Vec<SocketAddr>,
    /// Its [`crate::signal::Card`], sealed.
    #[serde(with = "serde_bytes")]
    pub card: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_bytes() {
        let seen = vec!["203.0.113.7:40112".parse().expect("an address")];
        let gossip = Gossip { members: vec![Known { key: IdentityKey([7; 32]), seen, card: vec![9, 8] }] };
        let expected = [&[1][..], &[7; 32], &[1, 0, 203, 0, 113, 7, 0xb0, 0xb9, 2], &[2, 9, 8]].concat();
        assert_eq!(crate::encode(&gossip), expected);
        assert_eq!(crate::decode("gossip", &expected), Ok(gossip));
    }
}
