use std::{fmt, time::Duration};

/// What a router does to the datagrams of one address family, in the words of RFC 4787.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nat {
    /// Whether addresses are rewritten at all; if not, this is a stateful firewall.
    pub translate: bool,
    /// When two destinations see the same external port.
    pub mapping: Mapping,
    /// Which external port a new mapping gets.
    pub ports: Ports,
    /// Who may answer.
    pub filtering: Filtering,
    /// What becomes of a datagram from inside to the router's own outside address.
    pub hairpin: Hairpin,
    /// How long state lasts.
    pub lifetime: Lifetime,
    /// Whether an uninvited datagram from outside makes state of its own, so that the next datagram from inside to
    /// that very place gets another port (Linux, if the outside interface accepts or rejects).
    pub poison: bool,
    /// Mappings there may be at a time.
    pub table_limit: usize,
}

/// RFC 4787, section 4.1, mildest first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Mapping {
    /// One external port for all destinations.
    EndpointIndependent,
    /// One for each destination address.
    AddressDependent,
    /// One for each destination address and port.
    AddressAndPortDependent,
}

/// RFC 4787, section 5, mildest first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Filtering {
    /// Anyone who knows the mapping.
    EndpointIndependent,
    /// Any port of an address that was sent to.
    AddressDependent,
    /// Only who was sent to.
    AddressAndPortDependent,
}

/// Which external port a new mapping gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ports {
    /// The inside port if it is free, else any.
    Preserving,
    /// The last one plus the step.
    Sequential {
        /// How far.
        step: u16,
    },
    /// Any.
    Random,
    /// Any of one aligned block.
    Block {
        /// How many ports the block has; a power of two.
        size: u16,
    },
}

/// RFC 4787, section 6.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hairpin {
    /// Dropped.
    No,
    /// Delivered, from the sender's external address (REQ-9).
    ExternalSource,
    /// Delivered, from the sender's inside address.
    InsideSource,
}

/// How long a mapping and its filter entries last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lifetime {
    /// Unused, as long as nothing came back.
    pub one_way: Duration,
    /// Unused, once something came back.
    pub two_way: Duration,
    /// Used or not.
    pub absolute: Option<Duration>,
    /// Whether what comes in counts as use.
    pub inbound_refresh: bool,
}

impl Default for Lifetime {
    /// Linux connection tracking.
    fn default() -> Self {
        Self {
            one_way: Duration::from_secs(30),
            two_way: Duration::from_secs(120),
            absolute: None,
            inbound_refresh: true,
        }
    }
}

/// Kinds of routers by name, as people meet them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// Lets everything pass.
    Open,
    /// Rewrites nothing, lets answers pass.
    Firewall,
    /// "Full cone".
    Full,
    /// "Address-restricted cone".
    Addr,
    /// "Port-restricted cone"; also Linux masquerading that drops on its outside.
    Port,
    /// The same with ports that are not kept.
    PortRandom,
    /// "Symmetric".
    Symmetric,
    /// Symmetric with consecutive ports.
    SymmetricSequential,
    /// Symmetric within a block of 512 ports.
    SymmetricBlock,
    /// A mapping and a filter for each destination address.
    SymmetricAddr,
    /// Linux masquerading whose outside accepts or rejects: is poisoned by an early datagram.
    LinuxOpen,
    /// A carrier's NAT that was made for calls (RFC 6888).
    Carrier,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 12] = [
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
        Self::LinuxOpen,
        Self::Carrier,
    ];

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
            Self::Symmetric => symmetric(Ports::Random),
            Self::SymmetricSequential => symmetric(Ports::Sequential { step: 1 }),
            Self::SymmetricBlock => symmetric(Ports::Block { size: 512 }),
            Self::SymmetricAddr => Nat {
                mapping: Mapping::AddressDependent,
                filtering: Filtering::AddressDependent,
                ports: Ports::Random,
                ..Nat::default()
            },
            Self::LinuxOpen => Nat { poison: true, ..Nat::default() },
            Self::Carrier => {
                Nat { ports: Ports::Random, hairpin: Hairpin::ExternalSource, ..cone(Filtering::EndpointIndependent) }
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Open => "open",
            Self::Firewall => "fw",
            Self::Full => "full",
            Self::Addr => "addr",
            Self::Port => "port",
            Self::PortRandom => "port-rand",
            Self::Symmetric => "sym",
            Self::SymmetricSequential => "sym-seq",
            Self::SymmetricBlock => "sym-block",
            Self::SymmetricAddr => "sym-adm",
            Self::LinuxOpen => "linux-open",
            Self::Carrier => "cgn",
        })
    }
}

impl Default for Nat {
    /// The common home router: endpoint-independent mapping that keeps ports, address and port-dependent filtering.
    fn default() -> Self {
        Self {
            translate: true,
            mapping: Mapping::EndpointIndependent,
            ports: Ports::Preserving,
            filtering: Filtering::AddressAndPortDependent,
            hairpin: Hairpin::No,
            lifetime: Lifetime::default(),
            poison: false,
            table_limit: 4096,
        }
    }
}

impl Nat {
    /// What a host sees of this router and another one in front of it: of each axis the stricter.
    #[must_use]
    pub fn behind(self, outer: Self) -> Self {
        Self {
            translate: self.translate || outer.translate,
            mapping: self.mapping.max(outer.mapping),
            filtering: self.filtering.max(outer.filtering),
            ..self
        }
    }

    /// Whether plain punching can give these two a path in both directions, each knowing where the rendezvous sees the
    /// other: the oracle of every test that pairs routers. It knows nothing of prediction, and takes it that neither
    /// router is poisoned.
    pub fn can_punch(self, other: Self) -> bool {
        let through = |from: Self, to: Self| from.reaches(to) && to.is_heard_by(from);
        through(self, other) || through(other, self)
    }

    /// Whether a datagram that we send to where the rendezvous sees `to` arrives, `to` having sent likewise.
    fn reaches(self, to: Self) -> bool {
        match (to.mapping, to.filtering) {
            (_, Filtering::EndpointIndependent) => true,
            (Mapping::EndpointIndependent, Filtering::AddressDependent) => true,
            (Mapping::EndpointIndependent, Filtering::AddressAndPortDependent) => {
                self.mapping == Mapping::EndpointIndependent
            }
            _ => false,
        }
    }

    /// Whether our answer to `asker`, who sent to where the rendezvous sees us, arrives.
    fn is_heard_by(self, asker: Self) -> bool {
        self.mapping == Mapping::EndpointIndependent || asker.filtering != Filtering::AddressAndPortDependent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oracle_says_what_was_measured_with_real_nats() {
        let symmetric = [Kind::Symmetric, Kind::SymmetricSequential, Kind::SymmetricBlock, Kind::SymmetricAddr];
        let lenient = [Kind::Open, Kind::Full, Kind::Addr, Kind::Carrier];
        for a in Kind::ALL {
            for b in Kind::ALL {
                let hard = usize::from(symmetric.contains(&a)) + usize::from(symmetric.contains(&b));
                let expected = hard == 0 || hard == 1 && (lenient.contains(&a) || lenient.contains(&b));
                assert_eq!(a.nat().can_punch(b.nat()), expected, "{a} and {b}");
            }
        }
    }

    #[test]
    fn a_home_router_behind_a_carrier_is_as_strict_as_the_stricter() {
        let chain = Kind::Port.nat().behind(Kind::Carrier.nat());
        assert!(chain.can_punch(Kind::Port.nat()));
        assert!(!Kind::Port.nat().behind(Kind::Symmetric.nat()).can_punch(Kind::Port.nat()));
    }
}
