//! Who listens at a host's cable: which UDP datagrams pass, and when.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Instant,
};

use anyhow::Context;
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    io::Errno,
    net::{RecvFlags, recv},
};

use super::{Lab, place::port_to, sys};

/// Behind it are the addresses and the ports; nothing in a lab sends a longer one.
const LONGEST: usize = sys::VNET_HEADER + 2048;

/// Bytes that are kept of a datagram.
const HEAD: usize = 12;

/// A UDP datagram that passed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Passed {
    /// When.
    pub at: Instant,
    /// Whence.
    pub from: SocketAddr,
    /// Whither.
    pub to: SocketAddr,
    /// How many bytes it carries.
    pub len: usize,
    /// The first of them; zeros if there are fewer.
    pub head: [u8; HEAD],
}

/// A listener; it ends when it is dropped.
#[derive(Debug)]
pub struct Tap {
    passed: Arc<Mutex<Vec<Passed>>>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Lab {
    /// Listens to what comes to a host by its first interface.
    ///
    /// # Errors
    /// If there is no such host, or the kernel refuses.
    pub fn arrivals(&self, host: &str) -> anyhow::Result<Tap> {
        self.plan.host(host)?;
        Tap::start(self, host, "eth0")
    }

    /// Listens to what a host sends, where it is at this time.
    ///
    /// # Errors
    /// As for [`Lab::arrivals`].
    pub fn departures(&self, host: &str) -> anyhow::Result<Tap> {
        let router = self.plan.host(host)?.router.clone();
        Tap::start(self, &router, &port_to(host))
    }
}

impl Tap {
    fn start(lab: &Lab, node: &str, interface: &str) -> anyhow::Result<Self> {
        let socket = lab.node(node)?.within(|| sys::packet_socket(interface).context("open a packet socket"))?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).context("make an eventfd")?);
        let passed = Arc::default();
        let (seen, end) = (Arc::clone(&passed), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("tap".into()).spawn(move || listen(&socket, &end, &seen));
        Ok(Self { passed, stop, thread: Some(thread.context("start a thread for a tap")?) })
    }

    /// What has passed so far, in its order.
    pub fn passed(&self) -> Vec<Passed> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // The thread watches it; a thread that has ended needs no telling.
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(socket: &OwnedFd, stop: &OwnedFd, passed: &Mutex<Vec<Passed>>) {
    let mut buffer = [0; LONGEST];
    loop {
        let mut watched = [socket, stop].map(|fd| PollFd::new(fd, PollFlags::IN));
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        if !watched[1].revents().is_empty() {
            return;
        }
        // An error is "nothing more", or a network that is down, which reading it has cleared.
        while let Ok((len, _)) = recv(socket, &mut buffer, RecvFlags::DONTWAIT) {
            let datagram = buffer[..len].get(sys::VNET_HEADER..).and_then(|frame| read(frame, Instant::now()));
            passed.lock().unwrap_or_else(PoisonError::into_inner).extend(datagram);
        }
    }
}

/// Reads an Ethernet frame, if it has a UDP datagram in it.
fn read(frame: &[u8], at: Instant) -> Option<Passed> {
    const UDP: u8 = 17;
    let (ethertype, packet) = (frame.get(12..14)?, frame.get(14..)?);
    let (from, to, datagram): (IpAddr, IpAddr, _) = match ethertype {
        [0x08, 0x00] if *packet.get(9)? == UDP => {
            let address = |at| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?).into());
            (address(12)?, address(16)?, packet.get(usize::from(packet[0] & 0xf) * 4..)?)
        }
        [0x86, 0xdd] if *packet.get(6)? == UDP => {
            let address = |at| Some(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?).into());
            (address(8)?, address(24)?, packet.get(40..)?)
        }
        _ => return None,
    };
    let [a, b, c, d, high, low, ..] = *datagram else { return None };
    let len = usize::from(u16::from_be_bytes([high, low])).checked_sub(8)?;
    let (from, to) = ((from, u16::from_be_bytes([a, b])).into(), (to, u16::from_be_bytes([c, d])).into());
    let mut head = [0; HEAD];
    head.iter_mut().zip(datagram.iter().skip(8).take(len)).for_each(|(to, byte)| *to = *byte);
    Some(Passed { at, from, to, len, head })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 192.0.2.1:258 says `0x18 0x07` to 192.0.2.2:772.
    fn frame() -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        frame.extend([1, 2, 3, 4, 0, 10, 0, 0, 0x18, 7]);
        frame
    }

    #[test]
    fn a_datagram_is_read_out_of_its_frame() {
        let [from, to] = ["192.0.2.1:258", "192.0.2.2:772"].map(|text| text.parse().unwrap());
        let (at, mut head) = (Instant::now(), [0; HEAD]);
        head[..2].copy_from_slice(&[0x18, 7]);
        assert_eq!(read(&frame(), at), Some(Passed { at, from, to, len: 2, head }));
    }

    #[test]
    fn what_is_no_udp_or_is_cut_off_is_nothing() {
        let mut tcp = frame();
        tcp[14 + 9] = 6;
        assert_eq!(read(&tcp, Instant::now()), None);
        assert!((0..14 + 20 + 6).all(|len| read(&frame()[..len], Instant::now()).is_none()));
    }
}
