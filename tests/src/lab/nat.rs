//! What a router does to packets, in the words of RFC 4787. The rules that make a Linux router do it are in
//! [`rules`](super::rules), what theory says of it in [`netsim`].

use netsim::Means;

/// On what the external port of an inside port depends (RFC 4787, section 4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mapping {
    /// No translation at all.
    None,
    /// What `masquerade` does.
    Linux,
    /// On nothing else.
    Endpoint,
    /// On the remote address.
    Address,
    /// On the remote address and port.
    AddressAndPort,
}

/// Who may send in (RFC 4787, section 5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Filtering {
    /// Everybody, to every inside port.
    Open,
    /// Everybody, to a port that has sent.
    Endpoint,
    /// Whom the port has sent to, from any port.
    Address,
    /// Whom the port has sent to, from that port.
    AddressAndPort,
}

/// How external ports are chosen (RFC 4787, section 4.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ports {
    /// As inside if it is free.
    Keep,
    /// Any.
    Random,
    /// The last one and so much more.
    Sequence(u16),
    /// Any of an aligned block of so many, a power of two.
    Block(u16),
}

/// As whom inside hosts reach each other by external addresses (RFC 4787, section 6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hairpin {
    /// They do not.
    No,
    /// As their external address.
    External,
    /// As their inside address.
    Inside,
}

/// What becomes of a packet that nobody asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unsolicited {
    /// Nothing.
    Drop,
    /// Its sender is told so.
    Reject,
    /// It gets to the router's own sockets, and as none is there, its sender is told so.
    Accept,
}

/// What becomes of UDP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Udp {
    /// It passes.
    Pass,
    /// Nothing.
    Drop,
    /// Its sender is told that it is forbidden.
    Reject,
    /// It passes to port 443 alone.
    Only443,
}

/// What there is of IPv6.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum V6 {
    /// Nothing.
    None,
    /// All of it.
    Open,
    /// A firewall that lets answers in (RFC 6092).
    Firewall,
    /// A firewall that lets everybody in to a port that has sent.
    Endpoint,
}

/// A router.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Nat {
    /// How it maps.
    pub mapping: Mapping,
    /// How it filters.
    pub filtering: Filtering,
    /// How it chooses ports.
    pub ports: Ports,
    /// Whether it turns packets back inside.
    pub hairpin: Hairpin,
    /// What it does with packets that nobody asked for.
    pub unsolicited: Unsolicited,
    /// Whether it lets UDP pass.
    pub udp: Udp,
}

/// Every kind by the name that specs use: those of [`netsim::Kind`].
pub const KINDS: [(&str, Nat); 17] = [
    ("open", Nat { filtering: Filtering::Open, unsolicited: Unsolicited::Accept, ..UNMAPPED }),
    ("fw", UNMAPPED),
    ("full", Nat { filtering: Filtering::Endpoint, ..PORT }),
    ("addr", Nat { filtering: Filtering::Address, ..PORT }),
    ("port", PORT),
    ("port-rand", Nat { ports: Ports::Random, ..PORT }),
    ("linux", LINUX),
    ("linux-open", Nat { unsolicited: Unsolicited::Accept, ..LINUX }),
    ("sym-adm", Nat { mapping: Mapping::Address, filtering: Filtering::Address, ..SYM }),
    ("sym", SYM),
    ("symseq", Nat { ports: Ports::Sequence(1), ..SYM }),
    ("block-512", Nat { ports: Ports::Block(512), ..SYM }),
    ("cgn", Nat { filtering: Filtering::Endpoint, ports: Ports::Random, hairpin: Hairpin::External, ..PORT }),
    ("cgn-sym", SYM),
    ("noudp", Nat { udp: Udp::Drop, ..PORT }),
    ("noudp-icmp", Nat { udp: Udp::Reject, ..PORT }),
    ("udp443", Nat { udp: Udp::Only443, ..PORT }),
];

const PORT: Nat = Nat {
    mapping: Mapping::Endpoint,
    filtering: Filtering::AddressAndPort,
    ports: Ports::Keep,
    hairpin: Hairpin::No,
    unsolicited: Unsolicited::Drop,
    udp: Udp::Pass,
};
const UNMAPPED: Nat = Nat { mapping: Mapping::None, ..PORT };
const LINUX: Nat = Nat { mapping: Mapping::Linux, ..PORT };
const SYM: Nat = Nat { mapping: Mapping::AddressAndPort, ports: Ports::Random, ..PORT };

impl Nat {
    /// The router of a kind.
    pub fn named(kind: &str) -> Option<Self> {
        KINDS.iter().find(|(name, _)| *name == kind).map(|(_, nat)| *nat)
    }

    /// The same router in virtual time.
    pub fn model(&self) -> netsim::Nat {
        let is_linux = self.mapping == Mapping::Linux;
        netsim::Nat {
            translate: self.mapping != Mapping::None,
            mapping: match self.mapping {
                Mapping::None | Mapping::Linux | Mapping::Endpoint => netsim::Mapping::EndpointIndependent,
                Mapping::Address => netsim::Mapping::AddressDependent,
                Mapping::AddressAndPort => netsim::Mapping::AddressAndPortDependent,
            },
            ports: match self.ports {
                Ports::Keep => netsim::Ports::Preserving,
                Ports::Random => netsim::Ports::Random,
                Ports::Sequence(step) => netsim::Ports::Sequential { step },
                Ports::Block(size) => netsim::Ports::Block { size },
            },
            filtering: match self.filtering {
                Filtering::Open | Filtering::Endpoint => netsim::Filtering::EndpointIndependent,
                Filtering::Address => netsim::Filtering::AddressDependent,
                Filtering::AddressAndPort => netsim::Filtering::AddressAndPortDependent,
            },
            hairpin: match self.hairpin {
                Hairpin::No => netsim::Hairpin::No,
                Hairpin::External => netsim::Hairpin::ExternalSource,
                Hairpin::Inside => netsim::Hairpin::InsideSource,
            },
            poison: is_linux && self.unsolicited == Unsolicited::Accept,
            overloads: is_linux,
            udp: match self.udp {
                Udp::Pass => netsim::Udp::Passes,
                Udp::Drop | Udp::Reject => netsim::Udp::Blocked,
                Udp::Only443 => netsim::Udp::Only(443),
            },
            ..netsim::Nat::default()
        }
    }

    /// By which means a host here and one behind `other` can get through to each other.
    pub fn means_with(&self, other: &Self) -> Means {
        netsim::direct_path_possible(self.model(), other.model())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_the_one_that_virtual_time_knows() {
        assert_eq!(KINDS.map(|(name, _)| name), netsim::Kind::ALL.map(netsim::Kind::name));
        for (name, nat) in KINDS {
            assert_eq!(Some(nat.model()), netsim::Kind::named(name).map(netsim::Kind::nat), "{name}");
        }
    }
}
