//! Whom to ask for a port mapping: the default gateway, and this host's address towards it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
};

use ::portmap::Network;

/// The network with a gateway that this host is in, for the UDP socket at `local`.
///
/// # Errors
/// If the routes can't be read, or this host has no address towards the gateway.
pub(crate) fn network(local: SocketAddr) -> io::Result<Option<Network>> {
    let Some(gateway) = default_gateway()? else { return Ok(None) };
    // Connecting a UDP socket sends nothing; it asks the kernel for the source address.
    let probe = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    probe.connect((gateway, 1))?;
    let SocketAddr::V4(towards) = probe.local_addr()? else { return Ok(None) };
    let is_bound_elsewhere = !local.ip().is_unspecified() && local.ip().to_canonical() != *towards.ip();
    let internal = SocketAddrV4::new(*towards.ip(), local.port());
    Ok((!is_bound_elsewhere).then_some(Network { gateway, internal }))
}

#[cfg(target_os = "linux")]
fn default_gateway() -> io::Result<Option<Ipv4Addr>> {
    Ok(read_routes(&std::fs::read_to_string("/proc/net/route")?))
}

#[cfg(not(target_os = "linux"))]
fn default_gateway() -> io::Result<Option<Ipv4Addr>> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "the default gateway can't be looked up on this system"))
}

/// The default gateway of the lowest metric in a table as Linux writes it.
#[cfg(any(target_os = "linux", test))]
fn read_routes(table: &str) -> Option<Ipv4Addr> {
    /// RTF_UP and RTF_GATEWAY of `linux/route.h`.
    const UP_BY_GATEWAY: u32 = 0x3;
    let routes = table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let mut hex = || u32::from_str_radix(words.next()?, 16).ok();
        let (destination, gateway, flags) = (hex()?, hex()?, hex()?);
        let metric: u32 = words.nth(2)?.parse().ok()?;
        let mask = u32::from_str_radix(words.next()?, 16).ok()?;
        let is_default = (destination, mask) == (0, 0) && flags & UP_BY_GATEWAY == UP_BY_GATEWAY;
        // The kernel prints the four bytes as a number of its own byte order.
        is_default.then(|| (metric, Ipv4Addr::from(gateway.to_ne_bytes())))
    });
    routes.min_by_key(|(metric, _)| *metric).map(|(_, gateway)| gateway)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    fn route(destination: u32, gateway: [u8; 4], flags: u32, metric: u32, mask: u32) -> String {
        let gateway = u32::from_ne_bytes(gateway);
        format!("eth0\t{destination:08X}\t{gateway:08X}\t{flags:04X}\t0\t0\t{metric}\t{mask:08X}\t0\t0\t0\n")
    }

    #[test]
    fn the_gateway_of_the_lowest_metric_is_asked() {
        let table = [
            HEAD.to_owned(),
            route(0, [192, 168, 2, 1], 3, 600, 0),
            route(0, [192, 168, 1, 1], 3, 100, 0),
            route(0x0a, [10, 0, 0, 9], 3, 0, 0xff),
        ];
        assert_eq!(read_routes(&table.concat()), Some(Ipv4Addr::new(192, 168, 1, 1)));
    }

    #[test]
    fn a_route_without_a_gateway_leads_to_nobody_who_maps_ports() {
        let table = [HEAD.to_owned(), route(0, [0; 4], 1, 0, 0), route(0, [192, 168, 1, 1], 2, 0, 0)];
        assert_eq!(read_routes(&table.concat()), None);
        assert_eq!(read_routes(""), None);
        assert_eq!(read_routes("Iface\nnonsense\neth0 xx yy\n"), None);
    }
}
