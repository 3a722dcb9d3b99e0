use std::{
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

/// A protocol that asks for mappings, in the order of trust in it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    /// Port Control Protocol, RFC 6887.
    Pcp,
    /// NAT Port Mapping Protocol, RFC 6886.
    NatPmp,
    /// UPnP Internet Gateway Device.
    Upnp,
}

impl Protocol {
    pub(crate) const ALL: [Self; 3] = [Self::Pcp, Self::NatPmp, Self::Upnp];
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcp => "pcp",
            Self::NatPmp => "nat-pmp",
            Self::Upnp => "upnp",
        })
    }
}

/// The network as it is: whom to ask, and for what.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    /// The default gateway.
    pub gateway: Ipv4Addr,
    /// The UDP socket that is to be reached, at the address that this host has towards the gateway.
    pub internal: SocketAddrV4,
}

/// A datagram to send from a socket at [`Network::internal`]'s address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transmit {
    /// The gateway, or SSDP's multicast group.
    pub to: SocketAddrV4,
    /// What to send.
    pub payload: Vec<u8>,
}

/// What happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// The router forwards to us what comes to an address, or to another one than before.
    Mapped {
        /// The address.
        addr: SocketAddrV4,
        /// Who got it.
        protocol: Protocol,
        /// For how long, if it were not renewed.
        lease: Duration,
    },
    /// The mapping is no more; another one is asked for.
    Lost {
        /// What led to it.
        why: String,
    },
    /// There is no mapping. If one comes later all the same, [`Self::Mapped`] tells.
    Unavailable {
        /// What each protocol met with.
        why: Vec<(Protocol, String)>,
    },
}
