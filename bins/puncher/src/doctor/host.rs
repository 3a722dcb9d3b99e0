//! What this machine has.

use std::net::UdpSocket;

use edge::{Exit, doctor::Check};

use crate::net::socket::{self, RECEIVE_BUFFER, Udp};

/// Local programs find their puncher at a socket in a directory that is closed to others.
pub(super) fn sockets() -> Check {
    const NAME: &str = "agent socket";
    let dir = match edge::dirs::runtime_dir() {
        Ok(dir) => dir,
        Err(error) => {
            let text = format!("{error:#}; give audio-pipe and chatctl a directory of yours with XDG_RUNTIME_DIR");
            return Check::fail(NAME, Exit::NoPermission, text);
        }
    };
    let probe = dir.join(format!("doctor-{}.sock", std::process::id()));
    let bound = std::os::unix::net::UnixListener::bind(&probe);
    // It is gone anyway if it could not be made.
    let _ = std::fs::remove_file(&probe);
    match bound {
        Ok(_) => Check::ok(NAME, format!("programs can meet in {}", dir.display())),
        Err(error) => {
            let text = format!(
                "no socket can be made in {} ({error}); set XDG_RUNTIME_DIR to a directory of yours",
                dir.display()
            );
            Check::fail(NAME, Exit::NoPermission, text)
        }
    }
}

/// A short buffer loses packets while the machine is busy.
pub(super) fn buffers() -> Check {
    const NAME: &str = "UDP buffers";
    let udp = match Udp::bind(None) {
        Ok(udp) => udp,
        Err(error) => return Check::fail(NAME, Exit::Unavailable, format!("{error:#}; is there no network at all?")),
    };
    // Linux doubles what it is asked for, to have room for its own records.
    match socket2::SockRef::from(&udp.socket).recv_buffer_size() {
        Ok(size) if size >= RECEIVE_BUFFER => Check::ok(NAME, format!("{} KiB", size / 1024)),
        Ok(size) => {
            let text = format!(
                "{} KiB of the {} KiB asked for, enough for a call of few; for large channels: sysctl -w net.core.rmem_max={RECEIVE_BUFFER}",
                size / 1024,
                RECEIVE_BUFFER / 1024
            );
            if size >= RECEIVE_BUFFER / 16 { Check::ok(NAME, text) } else { Check::warn(NAME, text) }
        }
        Err(error) => Check::warn(NAME, format!("the size could not be read ({error})")),
    }
}

/// A tunnel that takes everything makes every way longer.
pub(super) fn interfaces() -> Check {
    const NAME: &str = "interfaces";
    let (Some(source), Ok(interfaces)) = (default_source(), if_addrs::get_if_addrs()) else {
        return Check::fail(NAME, Exit::Unavailable, "no interface leads to the internet; connect to a network");
    };
    let own = interfaces.iter().find(|interface| interface.ip() == source).map_or("?", |interface| &interface.name);
    let mut others: Vec<_> =
        interfaces.iter().filter(|other| !other.is_loopback() && other.name != own).map(|other| &*other.name).collect();
    others.sort_unstable();
    others.dedup();
    let beside = if others.is_empty() { String::new() } else { format!(", besides {}", others.join(", ")) };
    if socket::is_virtual(own) {
        let text = format!(
            "{own} ({source}) goes first{beside}: a tunnel makes ways longer; leave it for calls, or exempt puncher from it"
        );
        return Check::warn(NAME, text);
    }
    Check::ok(NAME, format!("{own} ({source}){beside}"))
}

/// The address that packets to the internet leave from; nothing is sent.
fn default_source() -> Option<std::net::IpAddr> {
    let source = |any: &str, somewhere: &str| {
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect((somewhere, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    source("0.0.0.0", "192.0.2.1").or_else(|| source("::", "2001:db8::1"))
}
