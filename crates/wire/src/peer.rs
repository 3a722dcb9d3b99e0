//! What two members say to each other once their session is secure and both have proved the channel secret.
//!
//! A session has lanes. Voice goes as unreliable datagrams, whose first byte is the lane; text and control go on one
//! ordered, flow-controlled stream per lane and direction, as [`crate::frame`]s.

use serde::{Deserialize, Serialize};

use crate::{MessageId, gossip::Gossip, guess::Guess, lend::Lend};

/// Application protocol of a session between members (RFC 7301).
pub const ALPN: &[u8] = b"punchline-link/1";
/// TLS exporter label (RFC 8446, 7.5) of the value that the channel proof is made over.
pub const PROOF_EXPORTER: &[u8] = b"EXPORTER-punchline-proof-v1";
/// The longest body of a text message.
pub const MAX_TEXT: usize = 1024 * 1024;
/// No message on a stream lane is longer.
pub const MAX_MESSAGE: usize = MAX_TEXT + 1024;

/// A kind of traffic between members.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Lane {
    /// [`Control`] messages.
    Control = 0,
    /// [`Text`] messages.
    Text = 1,
    /// [`crate::voice`] packets, as datagrams.
    Voice = 2,
}

impl Lane {
    /// The lane of this number.
    pub fn from_u8(number: u8) -> Option<Self> {
        [Self::Control, Self::Text, Self::Voice].into_iter().find(|lane| *lane as u8 == number)
    }
}

/// On the control lane. What a member does not know is no error: it ignores it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Control {
    /// About guessing ports together.
    Guess(Guess),
    /// Whom the sender carries the receiver's packets to.
    Lend(Lend),
    /// What the sender knows of other members.
    Gossip(Gossip),
}

/// On the text lane.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Text {
    /// A message.
    Message {
        /// Its name.
        id: MessageId,
        /// Whether it is for the receiver alone.
        direct: bool,
        /// What it says: UTF-8 by convention, and to be shown only as remote text.
        #[serde(with = "serde_bytes")]
        body: Vec<u8>,
    },
    /// The message has arrived and is kept.
    Ack {
        /// Which.
        id: MessageId,
        /// Who keeps it.
        by: Keeper,
    },
}

/// Who took responsibility for a message at the receiver's end.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Keeper {
    /// A chat program has it.
    Chat,
    /// `puncher` holds it until a chat program attaches.
    Puncher,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode;

    #[test]
    fn text_bytes() {
        let message = Text::Message { id: MessageId(5), direct: false, body: b"hi".to_vec() };
        assert_eq!(encode(&message), [0, 5, 0, 2, b'h', b'i']);
        assert_eq!(encode(&Text::Ack { id: MessageId(5), by: Keeper::Puncher }), [1, 5, 1]);
    }

    #[test]
    fn lanes_keep_their_numbers() {
        assert_eq!([0, 1, 2, 3].map(Lane::from_u8), [Some(Lane::Control), Some(Lane::Text), Some(Lane::Voice), None]);
    }
}
