//! What a member knows of the router in front of it, in the words of RFC 4787.

use std::{fmt, net::SocketAddr};

use serde::{Deserialize, Serialize};

/// Observations that one card may list.
pub const MAX_SEEN: usize = 8;

/// What a member tells the others of its router, so that they know where to look for it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct NatFacts {
    /// Whether there is a NAT at all: somebody saw an address that is none of the host's own.
    pub translated: bool,
    /// On what the external port depends; `None` if fewer than two places have answered.
    pub mapping: Option<Mapping>,
    /// How external ports are chosen.
    pub ports: Option<Ports>,
    /// Who may send in.
    pub filtering: Option<Filtering>,
    /// Whether the router lets its own outside address be reached from inside.
    pub hairpin: Option<bool>,
    /// Whether what comes uninvited spoils the port towards its sender (Linux, if its outside accepts or rejects), so that the
    /// first packet must go outwards.
    pub poisoned: Option<bool>,
    /// Whether the member was seen by IPv6.
    pub ipv6: bool,
    /// Where a port mapping of the router leads to the member's socket (PCP, NAT-PMP, UPnP).
    pub mapped: Option<SocketAddr>,
    /// Who saw the member where, in the order in which the router was made to choose; at most [`MAX_SEEN`].
    pub seen: Vec<Seen>,
}

/// One observation.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Seen {
    /// Who looked.
    pub by: SocketAddr,
    /// Where it saw the member.
    pub at: SocketAddr,
}

/// On what the external port of an inside port depends (RFC 4787, 4.1), mildest first.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mapping {
    /// On nothing else: endpoint-independent.
    Eim,
    /// On the remote address.
    Adm,
    /// On the remote address and port.
    Apdm,
}

/// Who may send to an external port (RFC 4787, 5), mildest first.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Filtering {
    /// Everybody: endpoint-independent.
    Eif,
    /// Whom the port has sent to, from any port of theirs; or everybody, where no second address could tell.
    Adf,
    /// Whom the port has sent to, from that port alone.
    Apdf,
}

/// How external ports are chosen (RFC 4787, 4.2), the easiest to foresee first.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Ports {
    /// As inside.
    Preserving,
    /// The last one plus a step.
    Sequential {
        /// How far; negative downwards.
        step: i16,
    },
    /// Somewhere in one aligned block.
    Block {
        /// The first port of the block.
        first: u16,
        /// How many ports the smallest block has that explains what was seen; a power of two, at most 4096.
        size: u16,
    },
    /// Anywhere, as far as was seen.
    Random,
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eim => "one port for all destinations",
            Self::Adm => "another port for every destination address",
            Self::Apdm => "another port for every destination",
        })
    }
}

impl fmt::Display for Filtering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eif => "lets everybody in",
            Self::Adf => "lets in whom you have sent to, from any port",
            Self::Apdf => "lets in only whom you have sent to",
        })
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preserving => f.write_str("as inside"),
            Self::Sequential { step } => write!(f, "one after another (step {step})"),
            Self::Block { first, size } => {
                write!(f, "in a block of {size} ({first}-{})", u32::from(*first) + u32::from(*size) - 1)
            }
            Self::Random => f.write_str("chosen by the router"),
        }
    }
}
