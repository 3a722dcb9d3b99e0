//! What is seen of a router, in words.

use std::fmt;

use super::{Filtering, Hairpin, Mapping, Nat, Ports, Udp, Unsolicited, V6};

/// What is seen of a router, or expected of it; one word for each question.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Conduct {
    /// On what the external port depends: EIM, ADM, APDM, or blocked.
    pub mapping: &'static str,
    /// Who gets in: EIF, ADF, APDF.
    pub filtering: &'static str,
    /// Whether ports stay: kept, random, step and how far, block.
    pub ports: String,
    /// What a second host with the same inside port gets: own, shared.
    pub second: &'static str,
    /// As whom hosts reach each other by external addresses: no, external, inside.
    pub hairpin: &'static str,
    /// What becomes of a packet that nobody asked for: silence, refused.
    pub unsolicited: &'static str,
    /// What a packet does that comes before the host has sent there: harmless, remaps.
    pub early: &'static str,
    /// What a sender hears where UDP is blocked: silence, refused; or that it is open to port 443.
    pub blocked: &'static str,
}

impl Conduct {
    /// What a router should do, by what it is.
    pub fn expected(nat: &Nat) -> Self {
        let blocked = match nat.udp {
            Udp::Pass => "",
            Udp::Drop => "silence",
            Udp::Reject => "refused",
            Udp::Only443 => "not 443",
        };
        if nat.udp != Udp::Pass {
            return Self { mapping: "blocked", blocked, ..Self::default() };
        }
        let maps = nat.mapping != Mapping::None;
        let keeps = maps && nat.ports == Ports::Keep;
        Self {
            mapping: match nat.mapping {
                Mapping::None | Mapping::Linux | Mapping::Endpoint => "EIM",
                Mapping::Address => "ADM",
                Mapping::AddressAndPort => "APDM",
            },
            filtering: match nat.filtering {
                Filtering::Open | Filtering::Endpoint => "EIF",
                Filtering::Address => "ADF",
                Filtering::AddressAndPort => "APDF",
            },
            ports: match nat.ports {
                Ports::Keep => "kept".into(),
                Ports::Random => "random".into(),
                Ports::Sequence(step) => format!("step {step}"),
                Ports::Block(_) => "block".into(),
            },
            second: match nat.mapping {
                Mapping::Endpoint => "own",
                Mapping::Linux => "shared",
                _ => "",
            },
            hairpin: match (maps, nat.hairpin) {
                (false, _) => "",
                (true, Hairpin::No) => "no",
                (true, Hairpin::External) => "external",
                (true, Hairpin::Inside) => "inside",
            },
            unsolicited: match nat.unsolicited {
                Unsolicited::Drop => "silence",
                // What is for a host behind a firewall is not for the firewall's own sockets.
                Unsolicited::Accept if !maps && nat.filtering != Filtering::Open => "silence",
                Unsolicited::Reject | Unsolicited::Accept => "refused",
            },
            early: match (keeps, nat.unsolicited) {
                (false, _) => "",
                (true, Unsolicited::Accept) => "remaps",
                (true, Unsolicited::Drop | Unsolicited::Reject) => "harmless",
            },
            blocked,
        }
    }
}

/// Who should get in by IPv6: everybody (open), everybody to a port that has sent (EIF), only who was asked (APDF).
pub fn expected_v6(v6: V6) -> &'static str {
    match v6 {
        V6::None => "none",
        V6::Open => "open",
        V6::Firewall => "APDF",
        V6::Endpoint => "EIF",
    }
}

impl fmt::Display for Conduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mapping, filtering, ports, second, hairpin, unsolicited, early, blocked } = self;
        let [filtering, ports, second] = [filtering, ports.as_str(), second].map(dash);
        let [hairpin, unsolicited, early, blocked] = [hairpin, unsolicited, early, blocked].map(|word| dash(word));
        write!(f, "{mapping:<8}{filtering:<6}{ports:<8}{second:<7}{hairpin:<9}{unsolicited:<9}{early:<9}{blocked}")
    }
}

/// The head of a table of [`Conduct`]s.
pub const HEAD: &str = "mapping filt. ports   second hairpin  unsolic. early    blocked";

fn dash(word: &str) -> &str {
    if word.is_empty() { "-" } else { word }
}
