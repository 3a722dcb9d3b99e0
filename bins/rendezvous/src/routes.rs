//! From which of its addresses this machine sends, where a socket is bound to all of them.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

/// Addresses rarely change.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// Places on the internet that nobody has (RFC 5737, RFC 3849); nothing is sent there.
const SOMEWHERE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SOMEWHERE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// The addresses that the default routes lead from, as they were a short while ago.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    looked_at: Option<Instant>,
    v4: Option<IpAddr>,
    v6: Option<IpAddr>,
}

impl Routes {
    /// The address from which an answer to `to` goes out; `None` if there is no way.
    pub(crate) fn source_for(&mut self, to: IpAddr, now: Instant) -> Option<IpAddr> {
        if to.is_loopback() {
            return Some(to);
        }
        if self.looked_at.is_none_or(|at| now.duration_since(at) >= KEPT_FOR) {
            *self = Self { looked_at: Some(now), v4: source(SOMEWHERE_V4.into()), v6: source(SOMEWHERE_V6.into()) };
        }
        if to.is_ipv4() { self.v4 } else { self.v6 }
    }
}

/// Asks the system's routes, by a socket that sends nothing.
fn source(to: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.connect(SocketAddr::new(to, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_answered_from_the_address_that_it_asked() {
        let mut routes = Routes::default();
        for ip in ["127.0.0.1", "127.0.0.9", "::1"] {
            let ip = ip.parse().unwrap();
            assert_eq!(routes.source_for(ip, Instant::now()), Some(ip));
        }
    }
}
