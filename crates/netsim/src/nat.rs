use std::time::Duration;

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
    /// Whether two hosts with the same inside port share one external port as long as their remotes differ (Linux,
    /// "port overloading"); if not, the second one gets a port of its own.
    pub overloads: bool,
    /// What it does to UDP as such.
    pub udp: Udp,
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

/// What becomes of UDP at a router that may be against it. Without ICMP, to drop and to reject are the same here.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Udp {
    /// It passes.
    #[default]
    Passes,
    /// It does not.
    Blocked,
    /// What goes to this port passes, and its answers.
    Only(u16),
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
            overloads: false,
            udp: Udp::Passes,
            table_limit: 4096,
        }
    }
}

impl Nat {
    /// What a host sees of this router and another one in front of it: of each axis the stricter.
    #[must_use]
    pub fn behind(self, outer: Self) -> Self {
        let keeps = outer.mapping == Mapping::EndpointIndependent && outer.ports == Ports::Preserving;
        Self {
            translate: self.translate || outer.translate,
            mapping: self.mapping.max(outer.mapping),
            filtering: self.filtering.max(outer.filtering),
            ports: if keeps { self.ports } else { outer.ports },
            poison: self.poison || outer.poison,
            udp: if self.udp == Udp::Passes { outer.udp } else { self.udp },
            ..self
        }
    }
}

impl Udp {
    /// Whether a datagram to this port gets out.
    pub(crate) fn lets_out(self, port: u16) -> bool {
        match self {
            Self::Passes => true,
            Self::Blocked => false,
            Self::Only(open) => port == open,
        }
    }
}
