//! Which addresses may be sent to at all, whoever names them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Why no check will ever go to an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// Port 0 is no port.
    #[error("the port is 0")]
    Port,
    /// 0.0.0.0/8 or `::`.
    #[error("the address is unspecified")]
    Unspecified,
    /// This host itself; allowed only on demand, for a call between programs of one host.
    #[error("the address is loopback")]
    Loopback,
    /// Many hosts at once.
    #[error("the address is multicast or broadcast")]
    Multicast,
    /// 169.254.0.0/16 or fe80::/10: means nothing without an interface, and the services there are not ours to touch.
    #[error("the address is link-local")]
    LinkLocal,
    /// 240.0.0.0/4.
    #[error("the address is reserved")]
    Reserved,
}

/// The one spelling of an address: no IPv4 inside IPv6, no flow label, no scope.
pub(crate) fn normal(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// Refuses what no member can be reached at; takes a [`normal`] address.
pub(crate) fn check(addr: SocketAddr, allow_loopback: bool) -> Result<(), Refused> {
    if addr.port() == 0 {
        return Err(Refused::Port);
    }
    if addr.ip().is_loopback() {
        return if allow_loopback { Ok(()) } else { Err(Refused::Loopback) };
    }
    match addr.ip() {
        IpAddr::V4(ip) => check_v4(ip),
        IpAddr::V6(ip) => check_v6(ip),
    }
}

fn check_v4(ip: Ipv4Addr) -> Result<(), Refused> {
    match ip.octets() {
        [0, ..] => Err(Refused::Unspecified),
        [255, 255, 255, 255] | [224..=239, ..] => Err(Refused::Multicast),
        [169, 254, ..] => Err(Refused::LinkLocal),
        [240..=255, ..] => Err(Refused::Reserved),
        _ => Ok(()),
    }
}

fn check_v6(ip: Ipv6Addr) -> Result<(), Refused> {
    if ip.is_unspecified() {
        Err(Refused::Unspecified)
    } else if ip.is_multicast() {
        Err(Refused::Multicast)
    } else if ip.is_unicast_link_local() {
        Err(Refused::LinkLocal)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_one_reachable_host_pass() {
        let rows = [
            ("203.0.113.7:40112", Ok(())),
            ("192.168.1.2:5000", Ok(())),
            ("100.64.0.9:5000", Ok(())),
            ("[2001:db8::1]:5000", Ok(())),
            ("[fd12::1]:5000", Ok(())),
            ("203.0.113.7:0", Err(Refused::Port)),
            ("0.0.0.0:5000", Err(Refused::Unspecified)),
            ("0.1.2.3:5000", Err(Refused::Unspecified)),
            ("[::]:5000", Err(Refused::Unspecified)),
            ("127.0.0.1:5000", Err(Refused::Loopback)),
            ("127.9.9.9:5000", Err(Refused::Loopback)),
            ("[::1]:5000", Err(Refused::Loopback)),
            ("[::ffff:127.0.0.1]:5000", Err(Refused::Loopback)),
            ("224.0.0.251:5353", Err(Refused::Multicast)),
            ("255.255.255.255:9", Err(Refused::Multicast)),
            ("[ff02::1]:5000", Err(Refused::Multicast)),
            ("[::ffff:224.0.0.1]:5000", Err(Refused::Multicast)),
            ("169.254.169.254:80", Err(Refused::LinkLocal)),
            ("[fe80::1]:5000", Err(Refused::LinkLocal)),
            ("240.0.0.1:5000", Err(Refused::Reserved)),
        ];
        for (text, expected) in rows {
            assert_eq!(check(normal(text.parse().unwrap()), false), expected, "{text}");
        }
    }

    #[test]
    fn loopback_passes_on_demand_but_its_port_0_does_not() {
        assert_eq!(check("127.0.0.1:5000".parse().unwrap(), true), Ok(()));
        assert_eq!(check("[::1]:5000".parse().unwrap(), true), Ok(()));
        assert_eq!(check("127.0.0.1:0".parse().unwrap(), true), Err(Refused::Port));
    }

    #[test]
    fn an_address_has_one_spelling() {
        let mapped: SocketAddr = "[::ffff:203.0.113.7]:9".parse().unwrap();
        assert_eq!(normal(mapped), "203.0.113.7:9".parse().unwrap());
        let scoped: SocketAddr = "[2001:db8::1%7]:9".parse().unwrap();
        assert_eq!(normal(scoped), "[2001:db8::1]:9".parse().unwrap());
    }
}
