//! The nftables rules that make a Linux router behave as a [`Nat`] says.
//!
//! Linux's own NAT maps endpoint-independently as long as only one host uses a port, filters by address and port, and
//! gives two hosts one external port. The general router keeps its mappings in sets and maps of its own instead, which
//! every outgoing packet updates; so each axis can be chosen by itself.

use std::{fmt::Write, net::Ipv4Addr};

use super::{
    Filtering, Hairpin, Mapping, Nat, Ports, V6,
    nat::{Udp, Unsolicited},
};

/// A router at its place.
pub(super) struct Rules<'a> {
    pub(super) nat: &'a Nat,
    pub(super) external: Ipv4Addr,
    pub(super) v6: V6,
    /// How long a mapping lasts that nobody uses, in seconds.
    pub(super) timeout: u32,
}

/// Ports of a sequence before it starts again.
const SEQUENCE: u16 = 1024;
const FIRST_OF_SEQUENCE: u16 = 40_000;
/// Blocks start here, one after the other by the router's address.
const FIRST_BLOCK: u16 = 16_384;

impl Rules<'_> {
    /// The script; loading it forgets the general router's mappings.
    pub(super) fn script(&self) -> String {
        let mut rules = String::from("flush ruleset\n");
        match self.nat.mapping {
            Mapping::None => {}
            Mapping::Linux => rules.push_str(LINUX_TABLE),
            Mapping::Endpoint | Mapping::Address | Mapping::AddressAndPort => rules.push_str(&self.general()),
        }
        if self.nat.filtering != Filtering::Open {
            rules.push_str(&self.filter());
        }
        rules
    }

    fn general(&self) -> String {
        let (remote_type, remote) = match self.nat.mapping {
            Mapping::AddressAndPort => (" . ipv4_addr . inet_service", " . ip daddr . udp dport"),
            Mapping::Address => (" . ipv4_addr", " . ip daddr"),
            _ => ("", ""),
        };
        let external = self.external;
        let dnat = match self.nat.filtering {
            Filtering::Endpoint => "iifname \"wan\" meta l4proto udp dnat ip to ip daddr . udp dport map @in\n",
            Filtering::Address => {
                "iifname \"wan\" ip saddr . ip daddr . udp dport @ok dnat ip to ip daddr . udp dport map @in\n"
            }
            Filtering::Open | Filtering::AddressAndPort => "",
        };
        let dnat_hairpin = match self.nat.hairpin {
            Hairpin::No => String::new(),
            Hairpin::External | Hairpin::Inside => format!(
                "iifname != \"wan\" ip daddr {external} meta l4proto udp dnat ip to ip daddr . udp dport map @in\n"
            ),
        };
        let (snat_hairpin, learn_hairpin) = match self.nat.hairpin {
            Hairpin::External => (
                "meta l4proto udp ct status dnat iifname != \"wan\" jump assign\n",
                "meta l4proto udp ct status dnat oifname != \"wan\" jump learn\n",
            ),
            Hairpin::No | Hairpin::Inside => ("", ""),
        };
        GENERAL_TABLE
            .replace("TIMEOUT", &self.timeout.to_string())
            .replace("REMOTE_TYPE", remote_type)
            .replace("REMOTE", remote)
            .replace("SNAT_HAIRPIN", snat_hairpin)
            .replace("DNAT_HAIRPIN", &dnat_hairpin)
            .replace("LEARN_HAIRPIN", learn_hairpin)
            .replace("DNAT", dnat)
            .replace("ASSIGN", &self.assign())
    }

    fn assign(&self) -> String {
        let external = self.external;
        match self.nat.ports {
            Ports::Keep => format!("udp sport @used snat to {external}:1024-65535 random\nsnat to {external}\n"),
            Ports::Random => format!("meta l4proto udp snat to {external}:1024-65535 random\n"),
            Ports::Sequence(step) => {
                let ports = sequence(step);
                format!("meta l4proto udp snat to {external} : numgen inc mod {SEQUENCE} map {{\n{ports}\n}}\n")
            }
            Ports::Block(size) => {
                let [.., number] = external.octets();
                let blocks = (u16::MAX - FIRST_BLOCK) / size;
                let first = FIRST_BLOCK + u16::from(number) % blocks * size;
                format!("meta l4proto udp snat to {external}:{first}-{} random\n", first + (size - 1))
            }
        }
    }

    /// A stateful firewall, for both families. It starts late, after destinations are translated.
    fn filter(&self) -> String {
        let refuse = match self.nat.unsolicited {
            Unsolicited::Reject => "iifname \"wan\" meta l4proto udp reject\n",
            Unsolicited::Accept | Unsolicited::Drop => "",
        };
        let input = match self.nat.unsolicited {
            Unsolicited::Accept => "",
            Unsolicited::Drop => "iifname \"wan\" meta l4proto udp drop\n",
            Unsolicited::Reject => refuse,
        };
        let udp = match self.nat.udp {
            Udp::Pass => "",
            Udp::Drop => "meta l4proto udp drop\n",
            Udp::Reject => "meta l4proto udp reject with icmpx type admin-prohibited\n",
            Udp::Only443 => "iifname != \"wan\" udp dport != 443 drop\n",
        };
        let (v6, pin) = match self.v6 {
            V6::None | V6::Firewall => ("", ""),
            V6::Open => ("meta nfproto ipv6 accept\n", ""),
            V6::Endpoint => (
                "iifname \"wan\" ip6 daddr . udp dport @pin accept\n",
                "iifname != \"wan\" meta nfproto ipv6 meta l4proto udp update @pin { ip6 saddr . udp sport }\n",
            ),
        };
        FILTER_TABLE
            .replace("INPUT", input)
            .replace("NO_UDP", udp)
            .replace("REFUSE", refuse)
            .replace("TIMEOUT", &self.timeout.to_string())
            .replace("LEARN_PIN", pin)
            .replace("V6", v6)
    }
}

/// `numgen` counts in the host's byte order, ports are in the network's: only a map puts them right.
fn sequence(step: u16) -> String {
    (0..SEQUENCE).fold(String::new(), |mut text, n| {
        let comma = if n == 0 { "" } else { "," };
        // Writing to a String can't fail.
        let _ = write!(text, "{comma}{n}:{}", FIRST_OF_SEQUENCE + n * step);
        text
    })
}

/// The longest step that keeps a whole sequence within the ports there are.
pub(super) const MAX_STEP: u16 = (u16::MAX - FIRST_OF_SEQUENCE) / SEQUENCE;
/// The largest block of which there are several.
pub(super) const MAX_BLOCK: u16 = 8192;

/// Drops everything before the kernel makes a flow of it.
pub(super) const SWITCHED_OFF: &str = "flush ruleset
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
set pin {
type ipv6_addr . inet_service
flags dynamic,timeout
timeout TIMEOUTs
size 65535
}
chain input {
type filter hook input priority filter
ct state established,related accept
INPUT
}
chain forward {
type filter hook forward priority filter
policy drop
NO_UDP
LEARN_PIN
ct state established,related accept
iifname != \"wan\" accept
V6
ct status dnat accept
REFUSE
}
}
";

#[cfg(test)]
mod tests {
    use super::{super::KINDS, *};

    #[test]
    fn no_placeholder_is_left_in_rules() {
        for (kind, nat) in KINDS {
            for v6 in [V6::None, V6::Open, V6::Firewall, V6::Endpoint] {
                let rules = Rules { nat: &nat, external: Ipv4Addr::new(203, 0, 113, 21), v6, timeout: 120 }.script();
                for word in
                    ["TIMEOUT", "REMOTE", "HAIRPIN", "DNAT", "ASSIGN", "INPUT", "NO_UDP", "LEARN", "REFUSE", "V6"]
                {
                    assert!(!rules.contains(word), "{kind}: {word}");
                }
            }
        }
    }

    #[test]
    fn ports_of_sequences_and_blocks_are_ports() {
        assert!(sequence(MAX_STEP).ends_with(&(FIRST_OF_SEQUENCE + 1023 * MAX_STEP).to_string()));
        let block = Nat { ports: Ports::Block(MAX_BLOCK), ..Nat::named("sym").unwrap() };
        for number in 0..=255 {
            let external = Ipv4Addr::new(100, 64, 0, number);
            Rules { nat: &block, external, v6: V6::None, timeout: 120 }.assign();
        }
    }
}
