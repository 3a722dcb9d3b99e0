//! Forwards UDP datagrams and does nothing else: what a relay could do at best. For measuring only.
//!
//! Prints its address, reads lines `FROM TO` (ports on this machine) until stdin ends, and prints `ready`. From then on
//! whatever comes from one port goes to the other.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    edge::run("bareforward", linux::run)
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    edge::fail("bareforward", &anyhow::anyhow!("the calls that it is made of are Linux'"))
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        io::{self, IoSlice, IoSliceMut, Write},
        net::{Ipv4Addr, SocketAddrV4, UdpSocket},
        os::fd::AsRawFd,
    };

    use anyhow::{Context, Result};
    use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

    const BATCH: usize = 64;
    const LONGEST: usize = 2048;

    pub(crate) fn run() -> Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("bind")?;
        say(&socket.local_addr()?.to_string())?;
        let mut ways = vec![None; 1 << 16];
        for line in io::stdin().lines() {
            let line = line.context("read a pair of ports")?;
            let (from, to) = line.split_once(' ').context("a line has two ports")?;
            let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, to.parse()?);
            ways[from.parse::<usize>()?] = Some(SockaddrIn::from(to));
        }
        say("ready")?;
        forward(&socket, &ways)
    }

    fn say(line: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).context("write to stdout")
    }

    fn forward(socket: &UdpSocket, ways: &[Option<SockaddrIn>]) -> Result<()> {
        let mut bytes = vec![0; BATCH * (LONGEST + 64)];
        let mut incoming = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        let mut outgoing = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        loop {
            let mut came: Vec<(usize, Option<SockaddrIn>)> = Vec::with_capacity(BATCH);
            {
                let mut slots: Vec<[IoSliceMut<'_>; 1]> =
                    bytes.chunks_exact_mut(LONGEST + 64).map(|slot| [IoSliceMut::new(slot)]).collect();
                let received = recvmmsg(socket.as_raw_fd(), &mut incoming, &mut slots, MsgFlags::MSG_WAITFORONE, None)
                    .context("receive")?;
                let to = |from: Option<SockaddrIn>| from.and_then(|from| ways[usize::from(from.port())]);
                came.extend(received.map(|message| (message.bytes, to(message.address))));
            }
            let slots = bytes.chunks_exact(LONGEST + 64).zip(&came).filter(|(_, (_, to))| to.is_some());
            let slices: Vec<[IoSlice<'_>; 1]> = slots.map(|(slot, (len, _))| [IoSlice::new(&slot[..*len])]).collect();
            let to: Vec<Option<SockaddrIn>> = came.iter().map(|(_, to)| *to).filter(Option::is_some).collect();
            if !to.is_empty() {
                // What can't be sent is lost, as in any forwarder.
                let _ = sendmmsg(socket.as_raw_fd(), &mut outgoing, &slices, to, [], MsgFlags::empty())
                    .map(Iterator::count);
            }
        }
    }
}
