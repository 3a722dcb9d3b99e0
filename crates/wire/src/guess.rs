//! How two members agree to guess each other's ports, on the control lane of their session.
//!
//! One of them, the leader, offers; the other one gets ready; both begin at once when they have the other's word. Neither
//! names an address to be sent to: that is where the rendezvous sees the other one. What is said of the routers decides alike on
//! both sides who opens sockets and who probes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::nat::{Filtering, Mapping, Ports};

/// What members say to each other about guessing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Guess {
    /// From the leader: let us guess.
    Offer {
        /// The leader's count of its offers to this member.
        number: u32,
        /// The leader's router, at this moment.
        router: Router,
    },
    /// The answer to an offer: the sender has begun, and the receiver begins when this comes.
    Ready {
        /// That of the offer.
        number: u32,
        /// The sender's router, at this moment.
        router: Router,
    },
    /// The other answer to an offer: not now.
    Refuse {
        /// That of the offer.
        number: u32,
        /// Why.
        why: Refusal,
    },
}

/// A router, as far as it matters for guessing.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Router {
    /// On what the external port depends.
    pub mapping: Option<Mapping>,
    /// How external ports are chosen.
    pub ports: Option<Ports>,
    /// Who may send in.
    pub filtering: Option<Filtering>,
    /// Whether what comes uninvited spoils the port towards its sender.
    pub poisoned: Option<bool>,
    /// At which port the rendezvous has just seen a fresh socket of the member; without one, where it sees the socket of all
    /// calls, if that is known.
    pub port: Option<u16>,
}

/// Why a member does not guess.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Refusal {
    /// Whoever runs it does not want it to.
    Off,
    /// It guesses with somebody else.
    Busy,
    /// It did lately, with the same member.
    TooSoon,
    /// No guess would meet, or none is needed.
    Hopeless,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "it does not guess",
            Self::Busy => "it guesses with somebody else",
            Self::TooSoon => "it did so lately",
            Self::Hopeless => "it sees no use in it",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{encode, peer::Control};

    #[test]
    fn message_bytes() {
        let router = Router {
            mapping: Some(Mapping::Apdm),
            ports: Some(Ports::Sequential { step: 1 }),
            filtering: Some(Filtering::Apdf),
            poisoned: None,
            port: Some(40_000),
        };
        let offer = Control::Guess(Guess::Offer { number: 7, router });
        assert_eq!(encode(&offer), [0, 0, 7, 1, 2, 1, 1, 2, 1, 2, 0, 1, 0xc0, 0xb8, 2]);
        let refusal = Control::Guess(Guess::Refuse { number: 7, why: Refusal::Busy });
        assert_eq!(encode(&refusal), [0, 2, 7, 1]);
    }
}
