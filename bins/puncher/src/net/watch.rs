//! Notices when the network may have changed: the system says so (Linux), or the host was asleep.

use std::time::{Duration, Instant, SystemTime};

use anyhow::anyhow;
use mio::{Registry, Token};

use crate::{
    driver::{Driver, INTERFACE_POLL},
    net::{socket, tunnel::Tunnel},
};

/// The two clocks may drift apart this much before that means that one of them stood still, or was set.
const JUMP: Duration = Duration::from_secs(5);

/// What is watched.
pub(crate) struct Watch {
    #[cfg(target_os = "linux")]
    messages: Option<std::os::fd::OwnedFd>,
    clocks: (Instant, SystemTime),
}

impl Watch {
    pub(crate) const TOKEN: Token = Token(9);

    /// Begins to watch. Where the system says nothing, looking at the interfaces every now and then has to do.
    pub(crate) fn start(registry: &Registry) -> Self {
        let clocks = (Instant::now(), SystemTime::now());
        #[cfg(target_os = "linux")]
        {
            let messages = linux::subscribe(registry, Self::TOKEN);
            if let Err(error) = &messages {
                tracing::debug!(%error, "the system will not tell of changes of the network");
            }
            Self { messages: messages.ok(), clocks }
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = registry;
            Self { clocks }
        }
    }

    /// Takes what the system has said; it is not read, for the interfaces are looked at anyway.
    pub(crate) fn take(&self) {
        #[cfg(target_os = "linux")]
        if let Some(messages) = &self.messages {
            linux::discard(messages);
        }
    }

    /// Whether the clocks have gone apart since the last call: the monotonic one stands still while the host sleeps.
    pub(crate) fn has_slept(&mut self) -> bool {
        let (then, wall_then) = std::mem::replace(&mut self.clocks, (Instant::now(), SystemTime::now()));
        let passed = self.clocks.0.duration_since(then);
        let wall_passed = self.clocks.1.duration_since(wall_then);
        has_jumped(passed, wall_passed.map_err(|back| back.duration()))
    }
}

impl Driver {
    /// The system says that something about the network has changed.
    pub(crate) fn handle_change(&mut self) {
        self.watch.take();
        self.look_at_interfaces(Instant::now());
    }

    /// Looks whether the network has changed without anybody's saying so.
    pub(crate) fn look_for_changes(&mut self, now: Instant) {
        if self.watch.has_slept() {
            tracing::info!("the host was asleep, or its clock was set");
            self.network_changed(now);
            if let Some(router) = &mut self.parts.router {
                router.renew(now);
            }
        }
        if self.interfaces_at <= now {
            self.look_at_interfaces(now);
        }
    }

    fn look_at_interfaces(&mut self, now: Instant) {
        self.interfaces_at = now + INTERFACE_POLL;
        let mut candidates = self.parts.advertised.clone();
        candidates.extend(socket::host_candidates(self.parts.udp.local(), self.parts.with_loopback));
        if candidates != self.interfaces {
            tracing::info!("the interfaces have changed");
            self.interfaces = candidates;
            self.network_changed(now);
        }
    }

    fn network_changed(&mut self, now: Instant) {
        self.parts.mesh.network_changed(self.own_candidates(), now);
        if self.tunnel.as_ref().is_some_and(Tunnel::is_cut_off) {
            self.close_tunnel(&anyhow!("the tunnel's network is gone"));
        }
        self.router_at = now;
    }
}

/// The wall clock's time is an error if that clock went back.
fn has_jumped(passed: Duration, wall_passed: Result<Duration, Duration>) -> bool {
    match wall_passed {
        Ok(wall_passed) => wall_passed.abs_diff(passed) > JUMP,
        Err(back) => back + passed > JUMP,
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        io,
        os::fd::{AsRawFd, OwnedFd},
    };

    use mio::{Interest, Registry, Token, unix::SourceFd};
    use rustix::{
        io::Errno,
        net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink, recv, socket_with},
    };

    /// RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE (rtnetlink(7)).
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

    pub(super) fn subscribe(registry: &Registry, token: Token) -> io::Result<OwnedFd> {
        // No protocol is NETLINK_ROUTE.
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &netlink::SocketAddrNetlink::new(0, GROUPS))?;
        registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)?;
        Ok(socket)
    }

    pub(super) fn discard(socket: &OwnedFd) {
        let mut buffer = [0_u8; 4096];
        // ENOBUFS says that there was more than it could keep, which is as good as a message.
        while let Ok(_) | Err(Errno::NOBUFS | Errno::INTR) = recv(socket, &mut buffer[..], RecvFlags::empty()) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_slept_or_whose_clock_was_set_is_noticed() {
        let second = Duration::from_secs(1);
        assert!(!has_jumped(second * 60, Ok(second * 60)));
        assert!(!has_jumped(second * 60, Ok(second * 64)));
        assert!(has_jumped(second, Ok(second * 3600)), "asleep for an hour");
        assert!(has_jumped(second * 10, Ok(second)), "set back a little");
        assert!(has_jumped(second, Err(second * 60)), "set back a minute");
    }
}
