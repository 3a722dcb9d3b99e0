use std::{fmt, net::SocketAddr};

use wire::PeerTag;

/// One of the program's UDP sockets; [`SocketId::MAIN`] is the one that is always there.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SocketId(pub u16);

impl SocketId {
    /// The socket that the member's own candidates name.
    pub const MAIN: Self = Self(0);
}

/// How a datagram gets to a peer: RFC 8445's candidate pair, but that a relayed one names who relays.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Way {
    /// From this socket to this address.
    Direct {
        /// From where.
        socket: SocketId,
        /// Where to.
        addr: SocketAddr,
    },
    /// Through another member, who has direct paths to both.
    Member(PeerTag),
    /// Through the relay of the rendezvous.
    Server,
}

impl Way {
    /// From the main socket to an address.
    pub fn to(addr: SocketAddr) -> Self {
        Self::Direct { socket: SocketId::MAIN, addr }
    }

    /// The address, if nobody relays.
    pub fn addr(self) -> Option<SocketAddr> {
        match self {
            Self::Direct { addr, .. } => Some(addr),
            Self::Member(_) | Self::Server => None,
        }
    }

    /// Whether nobody relays.
    pub fn is_direct(self) -> bool {
        self.addr().is_some()
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct { addr, .. } => write!(f, "{addr}"),
            Self::Member(tag) => write!(f, "by way of {tag}"),
            Self::Server => f.write_str("by way of the rendezvous"),
        }
    }
}
