//! Which addresses a router may claim to have on the internet.

use std::net::Ipv4Addr;

/// Why an external address is of no use to peers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Unusable {
    /// The router has an inside address of another router.
    #[error("the router is behind carrier NAT (or another router): its own address is {0}")]
    BehindNat(Ipv4Addr),
    /// The router is offline, or lies.
    #[error("the router says that its address is {0}, which nobody on the internet can have")]
    Nonsense(Ipv4Addr),
}

/// Refuses what peers can't reach. Documentation ranges pass: they reach nobody, and laboratories are made of them.
pub(crate) fn check(ip: Ipv4Addr) -> Result<(), Unusable> {
    match ip.octets() {
        [0 | 127 | 224..=255, ..] | [169, 254, ..] => Err(Unusable::Nonsense(ip)),
        [100, 64..=127, ..] | [192, 0, 0, _] => Err(Unusable::BehindNat(ip)),
        _ if ip.is_private() => Err(Unusable::BehindNat(ip)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_peers_can_reach_pass() {
        let rows: [(&str, fn(Ipv4Addr) -> Unusable); 13] = [
            ("0.0.0.0", Unusable::Nonsense),
            ("0.1.2.3", Unusable::Nonsense),
            ("127.0.0.1", Unusable::Nonsense),
            ("169.254.1.1", Unusable::Nonsense),
            ("224.0.0.1", Unusable::Nonsense),
            ("240.0.0.1", Unusable::Nonsense),
            ("255.255.255.255", Unusable::Nonsense),
            ("10.1.2.3", Unusable::BehindNat),
            ("172.16.0.1", Unusable::BehindNat),
            ("192.168.178.1", Unusable::BehindNat),
            ("100.64.0.1", Unusable::BehindNat),
            ("100.127.255.255", Unusable::BehindNat),
            ("192.0.0.1", Unusable::BehindNat),
        ];
        for (text, why) in rows {
            let ip = text.parse().unwrap();
            assert_eq!(check(ip), Err(why(ip)), "{text}");
        }
        for text in ["8.8.8.8", "100.63.255.255", "100.128.0.1", "192.0.1.1", "203.0.113.7"] {
            assert_eq!(check(text.parse().unwrap()), Ok(()), "{text}");
        }
    }
}
