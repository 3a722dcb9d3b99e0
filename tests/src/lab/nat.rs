//! What a router does to packets, in the words of RFC 4787, and the nftables rules that make a Linux router do it.
//!
//! Linux's own NAT maps endpoint-independently as long as only one host uses a port, filters by address and port, and
//! gives two hosts one external port. The general router keeps its mappings in sets and maps of its own instead, which
//! every outgoing packet updates; so each axis can be chosen by itself.

use std::{fmt::Write, net::Ipv4Addr};

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
    /// One after another.
    Sequence,
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
    /// Whether inside hosts reach each other by external addresses.
    pub hairpin: bool,
    /// Whether what nobody asked for gets to the router's own sockets, and so an ICMP answer.
    pub input_open: bool,
    /// Whether it lets UDP pass.
    pub udp: bool,
}

/// Every kind by the name that specs use.
pub const KINDS: [(&str, Nat); 13] = [
    ("open", Nat { filtering: Filtering::Open, input_open: true, ..UNMAPPED }),
    ("fw", UNMAPPED),
    ("full", Nat { filtering: Filtering::Endpoint, ..PORT }),
    ("addr", Nat { filtering: Filtering::Address, ..PORT }),
    ("port", PORT),
    ("port-rand", Nat { ports: Ports::Random, ..PORT }),
    ("linux", LINUX),
    ("linux-open", Nat { input_open: true, ..LINUX }),
    ("sym", SYM),
    ("symseq", Nat { ports: Ports::Sequence, ..SYM }),
    ("sym-adm", Nat { mapping: Mapping::Address, filtering: Filtering::Address, ..SYM }),
    ("cgn", Nat { filtering: Filtering::Endpoint, ports: Ports::Random, hairpin: true, ..PORT }),
    ("noudp", Nat { udp: false, ..PORT }),
];

const PORT: Nat = Nat {
    mapping: Mapping::Endpoint,
    filtering: Filtering::AddressAndPort,
    ports: Ports::Keep,
    hairpin: false,
    input_open: false,
    udp: true,
};
const UNMAPPED: Nat = Nat { mapping: Mapping::None, ..PORT };
const LINUX: Nat = Nat { mapping: Mapping::Linux, ..PORT };
const SYM: Nat = Nat { mapping: Mapping::AddressAndPort, ports: Ports::Random, ..PORT };

impl Nat {
    /// The router of a kind.
    pub fn named(kind: &str) -> Option<Self> {
        KINDS.iter().find(|(name, _)| *name == kind).map(|(_, nat)| *nat)
    }

    /// Whether a host here and one behind `other` get through to each other when both just send to where the
    /// rendezvous has seen the other, and answer where packets come from.
    pub fn punches_with(&self, other: &Self) -> bool {
        let independent = |nat: &Self| !matches!(nat.mapping, Mapping::Address | Mapping::AddressAndPort);
        let any_port = |nat: &Self| nat.filtering != Filtering::AddressAndPort;
        let passes = |a: &Self, b: &Self| independent(a) && (independent(b) || any_port(a));
        self.udp && other.udp && (passes(self, other) || passes(other, self))
    }

    /// The rules of such a router with this external address; loading them forgets the general router's mappings.
    pub(crate) fn rules(&self, external: Ipv4Addr, timeout: u32) -> String {
        let mut rules = String::from("flush ruleset\n");
        match self.mapping {
            Mapping::None => {}
            Mapping::Linux => rules.push_str(LINUX_TABLE),
            Mapping::Endpoint | Mapping::Address | Mapping::AddressAndPort => {
                rules.push_str(&self.general(external, timeout));
            }
        }
        if self.filtering != Filtering::Open {
            rules.push_str(&self.filter());
        }
        rules
    }

    fn general(&self, external: Ipv4Addr, timeout: u32) -> String {
        let (remote_type, remote) = match self.mapping {
            Mapping::AddressAndPort => (" . ipv4_addr . inet_service", " . ip daddr . udp dport"),
            Mapping::Address => (" . ipv4_addr", " . ip daddr"),
            _ => ("", ""),
        };
        let assign = match self.ports {
            Ports::Keep => format!("udp sport @used snat to {external}:1024-65535 random\nsnat to {external}\n"),
            Ports::Random => format!("meta l4proto udp snat to {external}:1024-65535 random\n"),
            Ports::Sequence => format!("meta l4proto udp snat to {external} : numgen inc mod 1024 map {{\n{SEQ}\n}}\n")
                .replace(SEQ, &sequence()),
        };
        let (dnat_hairpin, snat_hairpin, learn_hairpin) = match self.hairpin {
            true => (
                format!(
                    "iifname != \"wan\" ip daddr {external} meta l4proto udp dnat ip to ip daddr . udp dport map @in\n"
                ),
                "meta l4proto udp ct status dnat iifname != \"wan\" jump assign\n",
                "meta l4proto udp ct status dnat oifname != \"wan\" jump learn\n",
            ),
            false => (String::new(), "", ""),
        };
        let dnat = match self.filtering {
            Filtering::Endpoint => "iifname \"wan\" meta l4proto udp dnat ip to ip daddr . udp dport map @in\n",
            Filtering::Address => {
                "iifname \"wan\" ip saddr . ip daddr . udp dport @ok dnat ip to ip daddr . udp dport map @in\n"
            }
            Filtering::Open | Filtering::AddressAndPort => "",
        };
        GENERAL_TABLE
            .replace("TIMEOUT", &timeout.to_string())
            .replace("REMOTE_TYPE", remote_type)
            .replace("REMOTE", remote)
            .replace("SNAT_HAIRPIN", snat_hairpin)
            .replace("DNAT_HAIRPIN", &dnat_hairpin)
            .replace("LEARN_HAIRPIN", learn_hairpin)
            .replace("DNAT", dnat)
            .replace("ASSIGN", &assign)
    }

    /// A stateful firewall, for both families. It starts late, after destinations are translated.
    fn filter(&self) -> String {
        let input = if self.input_open { "" } else { "iifname \"wan\" meta l4proto udp drop\n" };
        let udp = if self.udp { "" } else { "meta l4proto udp drop\n" };
        FILTER_TABLE.replace("INPUT", input).replace("NO_UDP", udp)
    }
}

const SEQ: &str = "SEQUENCE";

/// `numgen` counts in the host's byte order, ports are in the network's: only a map puts them right.
fn sequence() -> String {
    (0..1024).fold(String::new(), |mut text, n| {
        let comma = if n == 0 { "" } else { "," };
        // Writing to a String can't fail.
        let _ = write!(text, "{comma}{n}:{}", 40_000 + n);
        text
    })
}

/// Drops everything before the kernel makes a flow of it.
pub(crate) const SWITCHED_OFF: &str = "flush ruleset
table inet off {
chain everything {
type filter hook prerouting priority raw
policy drop
}
}
";

const LINUX_TABLE: &str = "table ip nat {
chain outbound {
type nat hook postrouting priority srcnat
oifname \"wan\" masquerade
}
}
";

/// nft wants a newline after each brace and statement. `ct original proto-src` in a key needs `meta l4proto` before it.
/// The reply direction learns as well: a flow that came from outside is the host's own from its first answer on.
const GENERAL_TABLE: &str = "table ip nat {
map out {
type ipv4_addr . inet_serviceREMOTE_TYPE : ipv4_addr . inet_service
flags dynamic,timeout
timeout TIMEOUTs
size 65535
}
map in {
type ipv4_addr . inet_service : ipv4_addr . inet_service
flags dynamic,timeout
timeout TIMEOUTs
size 65535
}
set ok {
type ipv4_addr . ipv4_addr . inet_service
flags dynamic,timeout
timeout TIMEOUTs
size 65535
}
set used {
type inet_service
flags dynamic,timeout
timeout TIMEOUTs
size 65535
}
chain assign {
meta l4proto udp snat ip to ip saddr . udp sportREMOTE map @out
ASSIGN
}
chain outbound {
type nat hook postrouting priority srcnat
SNAT_HAIRPIN
oifname != \"wan\" accept
meta l4proto udp jump assign
masquerade
}
chain inbound {
type nat hook prerouting priority dstnat
DNAT
DNAT_HAIRPIN
}
chain learn {
meta l4proto udp ct direction original update @out { ct original ip saddr . ct original proto-srcREMOTE : ip saddr . udp sport }
meta l4proto udp ct direction original update @in { ip saddr . udp sport : ct original ip saddr . ct original proto-src }
meta l4proto udp ct direction reply ct status dnat update @out { ct reply ip saddr . ct reply proto-srcREMOTE : ip saddr . udp sport }
meta l4proto udp ct direction reply ct status dnat update @in { ip saddr . udp sport : ct reply ip saddr . ct reply proto-src }
update @ok { ip daddr . ip saddr . udp sport }
update @used { udp sport }
}
chain after {
type filter hook postrouting priority 150
LEARN_HAIRPIN
oifname \"wan\" meta l4proto udp jump learn
}
}
";

const FILTER_TABLE: &str = "table inet filter {
chain input {
type filter hook input priority filter
ct state established,related accept
INPUT
}
chain forward {
type filter hook forward priority filter
policy drop
NO_UDP
ct state established,related accept
iifname != \"wan\" accept
ct status dnat accept
}
}
";

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(a: &str, b: &str) -> bool {
        let nat = |kind| Nat::named(kind).expect("a kind");
        assert_eq!(nat(a).punches_with(&nat(b)), nat(b).punches_with(&nat(a)), "{a} {b}");
        nat(a).punches_with(&nat(b))
    }

    #[test]
    fn independent_mappings_get_through_to_each_other() {
        let independent = ["open", "fw", "full", "addr", "port", "port-rand", "linux", "linux-open", "cgn"];
        for a in independent {
            assert!(independent.into_iter().all(|b| pair(a, b)), "{a}");
        }
    }

    #[test]
    fn a_symmetric_nat_gets_through_where_ports_do_not_matter() {
        for sym in ["sym", "symseq", "sym-adm"] {
            for lenient in ["open", "full", "addr", "cgn"] {
                assert!(pair(sym, lenient), "{sym} {lenient}");
            }
            for strict in ["fw", "port", "port-rand", "linux", "linux-open", "sym", "symseq", "sym-adm"] {
                assert!(!pair(sym, strict), "{sym} {strict}");
            }
        }
    }

    #[test]
    fn nothing_gets_through_where_udp_does_not() {
        assert!(KINDS.iter().all(|(kind, _)| !pair("noudp", kind)));
    }

    #[test]
    fn no_placeholder_is_left_in_rules() {
        for (kind, nat) in KINDS {
            let rules = nat.rules(Ipv4Addr::new(203, 0, 113, 21), 120);
            for word in ["TIMEOUT", "REMOTE", "HAIRPIN", "DNAT", "ASSIGN", "INPUT", "NO_UDP", SEQ] {
                assert!(!rules.contains(word), "{kind}: {word}");
            }
        }
    }
}
