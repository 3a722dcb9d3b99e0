//! UDP sockets in a lab, and how long packets take between them.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::Context;
use socket2::{Domain, Socket, Type};

use super::{Lab, SERVER, SERVER_V4};

/// A packet that is due is there long before.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How late a wire's packets are: sends one per millisecond from a host to the server, and gives the sorted times.
///
/// # Errors
/// If sockets fail.
pub fn one_way_times(lab: &Lab, host: &str, packets: u32) -> anyhow::Result<Vec<Duration>> {
    let from = socket(lab, host, (Ipv4Addr::UNSPECIFIED, 0).into())?;
    let to = socket(lab, SERVER, (SERVER_V4[0], 7100).into())?;
    let address = to.local_addr().context("ask for an address")?;
    let start = Instant::now();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            let mut times = Vec::new();
            let mut patience = PATIENCE;
            while let Some((text, _)) = receive(&to, patience)? {
                let sent = Duration::from_nanos(text.parse().context("a time")?);
                times.push(start.elapsed().saturating_sub(sent));
                patience = Duration::from_millis(500);
                if times.len() == packets as usize {
                    break;
                }
            }
            times.sort();
            Ok(times)
        });
        for n in 0..packets {
            let due = Duration::from_millis(n.into());
            std::thread::sleep(due.saturating_sub(start.elapsed()));
            let now = start.elapsed().as_nanos();
            from.send_to(now.to_string().as_bytes(), address).context("send to the server")?;
        }
        receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A socket of a node, bound to an address.
pub(super) fn socket(lab: &Lab, node: &str, address: SocketAddr) -> anyhow::Result<UdpSocket> {
    let bind = || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        // A port is free again only when no other thread is about to start a program, which holds it for a moment.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        Ok::<_, std::io::Error>(socket.into())
    };
    lab.node(node)?.within(|| bind().with_context(|| format!("bind {address} in {node}")))
}

/// The next packet as text and its sender, if one comes in time.
pub(super) fn receive(socket: &UdpSocket, patience: Duration) -> anyhow::Result<Option<(String, SocketAddr)>> {
    socket.set_read_timeout(Some(patience)).context("set a timeout")?;
    let mut buffer = [0; 64];
    match socket.recv_from(&mut buffer) {
        Ok((len, from)) => Ok(Some((String::from_utf8_lossy(&buffer[..len]).into_owned(), from))),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error).context("receive"),
    }
}
