//! Datagrams stay in one piece.

use std::{io, os::fd::AsFd};

/// Forbids that datagrams of a UDP socket are cut into fragments on their way, which many NATs drop and QUIC may not be
/// (RFC 9000 14). One that is too long for its way is lost in one piece.
///
/// # Errors
/// If the system refuses. Where it is not known how to ask it, nothing happens.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn forbid_fragments(socket: impl AsFd, is_ipv6: bool) -> io::Result<()> {
    use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};

    // A socket of IPv6 may send to IPv4 as well.
    if is_ipv6 {
        sockopt::set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)?;
    }
    sockopt::set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?;
    Ok(())
}

/// Does nothing: these systems cut no UDP datagrams by themselves, or are not known how to ask.
///
/// # Errors
/// None.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn forbid_fragments(_socket: impl AsFd, _is_ipv6: bool) -> io::Result<()> {
    Ok(())
}
