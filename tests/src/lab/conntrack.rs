//! The kernel's table of flows in this thread's network namespace.

use std::fs;

use anyhow::Context;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, netlink, recv, send, socket};

/// Delete, of the conntrack subsystem, by which `nfnetlink` numbers its messages.
const DELETE: u16 = 0x0102;
/// A request that is to be acknowledged.
const FLAGS: u16 = 5;

/// Forgets every flow, as a reboot would.
pub(super) fn flush() -> anyhow::Result<()> {
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, Some(netlink::NETFILTER)).context("open netlink")?;
    // Length, type, flags, then zeros: without a tuple it means every flow of every family.
    let mut message = [0; 20];
    message[0..4].copy_from_slice(&20u32.to_ne_bytes());
    message[4..6].copy_from_slice(&DELETE.to_ne_bytes());
    message[6..8].copy_from_slice(&FLAGS.to_ne_bytes());
    send(&socket, &message, SendFlags::empty()).context("ask for the flows to be forgotten")?;
    let mut answer = [0; 256];
    recv(&socket, &mut answer, RecvFlags::empty()).context("hear that the flows are forgotten")?;
    Ok(())
}

/// How long unused flows last. A flow that got no answer lasts 30 s at most, as is Linux's way.
pub(super) fn set_timeouts(seconds: u32) {
    let set = |name: &str, seconds: u32| {
        // Without NAT and firewall there is no such setting.
        let _ = fs::write(format!("/proc/sys/net/netfilter/{name}"), seconds.to_string());
    };
    set("nf_conntrack_udp_timeout", seconds.min(30));
    set("nf_conntrack_udp_timeout_stream", seconds);
}
