use std::fmt;

use crate::{Filtering, Hairpin, Mapping, Nat, Ports, Udp};

/// Kinds of routers by name, as people meet them.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// Lets everything pass.
    Open,
    /// Rewrites nothing, lets answers pass.
    Firewall,
    /// "Full cone".
    Full,
    /// "Address-restricted cone".
    Addr,
    /// "Port-restricted cone".
    Port,
    /// The same with ports that are not kept.
    PortRandom,
    /// Linux masquerading that drops what nobody asked for.
    Linux,
    /// Linux masquerading whose outside accepts: is poisoned by an early datagram.
    LinuxOpen,
    /// A mapping and a filter for each destination address.
    SymmetricAddr,
    /// "Symmetric".
    Symmetric,
    /// Symmetric with consecutive ports.
    SymmetricSequential,
    /// Symmetric within a block of 512 ports.
    SymmetricBlock,
    /// A carrier's NAT that was made for calls (RFC 6888).
    Carrier,
    /// A carrier's NAT that was not.
    CarrierSymmetric,
    /// Drops all UDP.
    NoUdp,
    /// Refuses all UDP.
    NoUdpIcmp,
    /// Lets UDP out to port 443 alone.
    Udp443,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Open,
        Self::Firewall,
        Self::Full,
        Self::Addr,
        Self::Port,
        Self::PortRandom,
        Self::Linux,
        Self::LinuxOpen,
        Self::SymmetricAddr,
        Self::Symmetric,
        Self::SymmetricSequential,
        Self::SymmetricBlock,
        Self::Carrier,
        Self::CarrierSymmetric,
        Self::NoUdp,
        Self::NoUdpIcmp,
        Self::Udp443,
    ];

    /// Those that let UDP pass, and whose behaviour does not depend on who sends first.
    pub const STEADY: [Self; 11] = [
        Self::Open,
        Self::Firewall,
        Self::Full,
        Self::Addr,
        Self::Port,
        Self::PortRandom,
        Self::Symmetric,
        Self::SymmetricSequential,
        Self::SymmetricBlock,
        Self::SymmetricAddr,
        Self::Carrier,
    ];

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What the lab of real routers calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Firewall => "fw",
            Self::Full => "full",
            Self::Addr => "addr",
            Self::Port => "port",
            Self::PortRandom => "port-rand",
            Self::Linux => "linux",
            Self::LinuxOpen => "linux-open",
            Self::SymmetricAddr => "sym-adm",
            Self::Symmetric => "sym",
            Self::SymmetricSequential => "symseq",
            Self::SymmetricBlock => "block-512",
            Self::Carrier => "cgn",
            Self::CarrierSymmetric => "cgn-sym",
            Self::NoUdp => "noudp",
            Self::NoUdpIcmp => "noudp-icmp",
            Self::Udp443 => "udp443",
        }
    }

    /// What a router of this kind does.
    pub fn nat(self) -> Nat {
        let cone = |filtering| Nat { filtering, ..Nat::default() };
        let symmetric = |ports| Nat { mapping: Mapping::AddressAndPortDependent, ports, ..Nat::default() };
        match self {
            Self::Open => Nat { translate: false, ..cone(Filtering::EndpointIndependent) },
            Self::Firewall => Nat { translate: false, ..Nat::default() },
            Self::Full => cone(Filtering::EndpointIndependent),
            Self::Addr => cone(Filtering::AddressDependent),
            Self::Port => Nat::default(),
            Self::PortRandom => Nat { ports: Ports::Random, ..Nat::default() },
            Self::Linux => Nat { overloads: true, ..Nat::default() },
            Self::LinuxOpen => Nat { overloads: true, poison: true, ..Nat::default() },
            Self::SymmetricAddr => Nat {
                mapping: Mapping::AddressDependent,
                filtering: Filtering::AddressDependent,
                ports: Ports::Random,
                ..Nat::default()
            },
            Self::Symmetric | Self::CarrierSymmetric => symmetric(Ports::Random),
            Self::SymmetricSequential => symmetric(Ports::Sequential { step: 1 }),
            Self::SymmetricBlock => symmetric(Ports::Block { size: 512 }),
            Self::Carrier => {
                Nat { ports: Ports::Random, hairpin: Hairpin::ExternalSource, ..cone(Filtering::EndpointIndependent) }
            }
            Self::NoUdp | Self::NoUdpIcmp => Nat { udp: Udp::Blocked, ..Nat::default() },
            Self::Udp443 => Nat { udp: Udp::Only(443), ..Nat::default() },
        }
    }
}

impl From<Kind> for Nat {
    fn from(kind: Kind) -> Self {
        kind.nat()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name() {
        assert!(Kind::ALL.into_iter().all(|kind| Kind::named(kind.name()) == Some(kind)));
        assert_eq!(Kind::named("fritz"), None);
    }
}
