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
        let nonsense = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "169.254.1.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"];
        for text in nonsense {
            let ip = text.parse().unwrap();
            assert_eq!(check(ip), Err(Unusable::Nonsense(ip)), "{text}");
        }
        let behind = ["10.1.2.3", "172.16.0.1", "192.168.178.1", "100.64.0.1", "100.127.255.255", "192.0.0.1"];
        for text in behind {
            let ip = text.parse().unwrap();
            assert_eq!(check(ip), Err(Unusable::BehindNat(ip)), "{text}");
        }
        for text in ["8.8.8.8", "100.63.255.255", "100.128.0.1", "192.0.1.1", "203.0.113.7"] {
            assert_eq!(check(text.parse().unwrap()), Ok(()), "{text}");
        }
    }
}
