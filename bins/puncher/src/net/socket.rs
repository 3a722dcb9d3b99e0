//! The one UDP socket, and the member's own addresses.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use anyhow::Context;
use edge::{Exit, WithExit};
use mio::{Interest, net::UdpSocket};
use socket2::{Domain, Protocol, Socket, Type};
use wire::signal::{Candidate, CandidateKind, MAX_CANDIDATES};

/// Room for a burst from every peer while the loop is busy.
pub(crate) const RECEIVE_BUFFER: usize = 1 << 20;

/// The member's UDP socket: IPv6 and IPv4 in one, or IPv4 alone where there is no IPv6.
pub(crate) struct Udp {
    pub(crate) socket: UdpSocket,
    is_v6: bool,
    local: SocketAddr,
}

impl Udp {
    pub(crate) fn bind(addr: Option<SocketAddr>) -> anyhow::Result<Self> {
        let any_v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let any_v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let bound = match addr {
            Some(addr) => bind(addr).with_context(|| format!("bind UDP {addr}")).exit(Exit::Unavailable)?,
            None => bind(any_v6).or_else(|_| bind(any_v4)).context("bind a UDP socket").exit(Exit::Unavailable)?,
        };
        let local = bound.local_addr().context("read the socket's address")?;
        Ok(Self { socket: UdpSocket::from_std(bound), is_v6: local.is_ipv6(), local })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, from) = self.socket.recv_from(buffer)?;
        Ok((len, SocketAddr::new(from.ip().to_canonical(), from.port())))
    }

    pub(crate) fn send(&self, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
        let to = match to.ip() {
            IpAddr::V4(ip) if self.is_v6 => SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()),
            IpAddr::V6(_) if !self.is_v6 => return Err(io::ErrorKind::NetworkUnreachable.into()),
            _ => to,
        };
        self.socket.send_to(payload, to).map(drop)
    }
}

/// What to wait for at a socket. Room to write only while something waits for it: else whatever leaves is an event.
pub(crate) fn interest(is_blocked: bool) -> Interest {
    if is_blocked { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE }
}

fn bind(addr: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    // A smaller buffer than asked for still works.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    if let Err(error) = edge::forbid_fragments(&socket, addr.is_ipv6()) {
        tracing::debug!(%error, "Datagrams may be cut on their way");
    }
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// The addresses of the host's interfaces at which the socket can be reached, real interfaces first.
pub(crate) fn host_candidates(local: SocketAddr, with_loopback: bool) -> Vec<Candidate> {
    let mut found: Vec<(bool, IpAddr)> = match if_addrs::get_if_addrs() {
        Ok(interfaces) => interfaces
            .into_iter()
            .filter(if_addrs::Interface::is_oper_up)
            .map(|i| (is_virtual(&i.name), i.ip()))
            .collect(),
        Err(error) => {
            tracing::warn!(%error, "the interfaces could not be listed; peers of the same network may not be reached directly");
            Vec::new()
        }
    };
    found.retain(|(_, ip)| is_usable(*ip, local, with_loopback));
    found.sort();
    found.dedup();
    let candidate = |(_, ip)| Candidate { addr: SocketAddr::new(ip, local.port()), kind: CandidateKind::Host };
    found.into_iter().map(candidate).take(MAX_CANDIDATES).collect()
}

fn is_usable(ip: IpAddr, local: SocketAddr, with_loopback: bool) -> bool {
    let is_bound = local.ip().is_unspecified() || local.ip().to_canonical() == ip;
    let is_reachable = match ip {
        IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => local.is_ipv6() && !ip.is_unicast_link_local() && !ip.is_unspecified(),
    };
    is_bound && is_reachable && (with_loopback || !ip.is_loopback())
}

/// Tunnels and container bridges: rarely a way to anybody, so they come last.
pub(crate) fn is_virtual(interface: &str) -> bool {
    const PREFIXES: [&str; 10] = ["docker", "br-", "veth", "virbr", "tun", "tap", "wg", "tailscale", "zt", "wt"];
    PREFIXES.iter().any(|prefix| interface.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_come_after_real_interfaces() {
        assert!(["docker0", "wg0", "tailscale0", "br-4f2"].into_iter().all(is_virtual));
        assert!(!["eth0", "enp3s0", "wlan0", "lo"].into_iter().any(is_virtual));
    }

    #[test]
    fn a_socket_bound_to_one_address_offers_that_address_alone() {
        let bound: SocketAddr = "192.0.2.1:5".parse().expect("an address");
        assert!(is_usable("192.0.2.1".parse().expect("ip"), bound, false));
        assert!(!is_usable("192.0.2.2".parse().expect("ip"), bound, false));
    }

    #[test]
    fn loopback_is_offered_only_if_asked_for() {
        let any: SocketAddr = "[::]:5".parse().expect("an address");
        let loopback = "127.0.0.1".parse().expect("ip");
        assert!(!is_usable(loopback, any, false));
        assert!(is_usable(loopback, any, true));
        assert!(!is_usable("fe80::1".parse().expect("ip"), any, true));
    }
}
