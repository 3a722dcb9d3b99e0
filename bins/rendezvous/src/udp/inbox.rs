//! What has come: many datagrams by one call of the system, each left where it was received.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    ops::Range,
};

/// Datagrams, or runs of datagrams, that are taken at once.
const SLOTS: usize = 64;
/// The longest that comes: a run of datagrams from one source that the system has put together (GRO).
const SLOT: usize = 65_535;
/// From slot to slot. Odd in cache lines: the beginnings of datagrams would otherwise push each other out of the cache.
const STRIDE: usize = SLOT + 1 + 5 * 64;
/// So many at once, and by the time they have been dealt with there will be others.
const BUSY: usize = 4;
/// Longer datagrams are nobody's.
const LONGEST: usize = 2048;

/// Where datagrams are received.
pub(super) struct Inbox {
    bytes: Box<[u8]>,
    arrivals: Vec<Arrival>,
    /// How many slots the next call offers: twice as many as came last.
    offered: usize,
    /// Of which family the addresses of the socket are.
    is_ipv6: bool,
}

/// What one slot has got.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    from: SocketAddr,
    start: usize,
    len: usize,
    /// Length of each of its datagrams but the last.
    segment: usize,
}

impl Arrival {
    fn datagrams(self) -> impl Iterator<Item = Range<usize>> {
        let end = self.start + self.len;
        // An empty datagram is one as well.
        let starts = (self.start..end.max(self.start + 1)).step_by(self.segment.max(1));
        starts.map(move |start| start..end.min(start + self.segment))
    }
}

impl Inbox {
    pub(super) fn new(is_ipv6: bool) -> Self {
        let bytes = vec![0; SLOTS * STRIDE].into_boxed_slice();
        Self { bytes, arrivals: Vec::with_capacity(SLOTS), offered: 4, is_ipv6 }
    }

    /// Takes what has come; gives whether there may be more.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> bool {
        self.arrivals.clear();
        let bytes = &mut self.bytes[..self.offered * STRIDE];
        let received = system::receive(socket, self.is_ipv6, bytes, &mut self.arrivals);
        match received {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                // An ICMP error of an earlier datagram; it has been taken out of the socket by this.
                tracing::debug!(%error, "Could not receive");
                true
            }
            _ => {
                self.offered = (2 * self.arrivals.len()).clamp(4, SLOTS);
                // Whoever got less than asked for has emptied the socket: to be told so by another call would be waste, unless
                // so much has come that others will have followed meanwhile.
                self.arrivals.len() >= BUSY
            }
        }
    }

    /// The datagrams of the last call: from where, and where they are in the bytes.
    pub(super) fn datagrams(&mut self) -> (&mut [u8], impl Iterator<Item = (SocketAddr, Range<usize>)>) {
        let all = self.arrivals.iter().flat_map(|arrival| arrival.datagrams().map(|at| (arrival.from, at)));
        (&mut self.bytes, all.filter(|(_, at)| at.len() <= LONGEST))
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::{
        io::{self, IoSliceMut},
        net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket},
        os::fd::AsRawFd,
    };

    use super::{Arrival, SLOT, STRIDE};
    use nix::sys::socket::{
        ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg,
        setsockopt, sockopt,
    };

    /// Takes datagrams from a socket whose addresses are of IPv6, or of IPv4.
    pub(super) fn receive(
        socket: &UdpSocket,
        is_ipv6: bool,
        bytes: &mut [u8],
        arrivals: &mut Vec<Arrival>,
    ) -> io::Result<()> {
        if is_ipv6 {
            receive_from(socket, bytes, arrivals, |from: &SockaddrIn6| SocketAddrV6::from(*from).into())
        } else {
            receive_from(socket, bytes, arrivals, |from: &SockaddrIn| SocketAddrV4::from(*from).into())
        }
    }

    fn receive_from<A: SockaddrLike + Copy>(
        socket: &UdpSocket,
        bytes: &mut [u8],
        arrivals: &mut Vec<Arrival>,
        address: impl Fn(&A) -> SocketAddr,
    ) -> io::Result<()> {
        // Made for each call: the system writes into the headers how much room it has used, and they are not put back.
        let room = nix::cmsg_space!(i32);
        let mut headers = MultiHeaders::<A>::preallocate(bytes.len() / STRIDE, Some(room));
        let mut slots: Vec<[IoSliceMut<'_>; 1]> =
            bytes.chunks_exact_mut(STRIDE).map(|slot| [IoSliceMut::new(&mut slot[..SLOT])]).collect();
        let received = recvmmsg(socket.as_raw_fd(), &mut headers, &mut slots, MsgFlags::MSG_DONTWAIT, None)?;
        for (slot, message) in received.enumerate() {
            let Some(from) = message.address.as_ref().map(&address) else { continue };
            let segment = segment(&message).unwrap_or(message.bytes);
            arrivals.push(Arrival { from, start: slot * STRIDE, len: message.bytes, segment });
        }
        Ok(())
    }

    fn segment<A>(message: &RecvMsg<'_, '_, A>) -> Option<usize> {
        message.cmsgs().ok()?.find_map(|part| match part {
            ControlMessageOwned::UdpGroSegments(size) => usize::try_from(size).ok().filter(|size| *size > 0),
            _ => None,
        })
    }

    /// Lets the system put together datagrams of one source that come in a row.
    pub(in super::super) fn allow_runs(socket: &UdpSocket) {
        if let Err(error) = setsockopt(socket, sockopt::UdpGroSegment, &true) {
            tracing::debug!(%error, "This system puts no datagrams together");
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use std::{io, net::UdpSocket};

    use super::{Arrival, SLOT, STRIDE};

    pub(super) fn receive(
        socket: &UdpSocket,
        _is_ipv6: bool,
        bytes: &mut [u8],
        arrivals: &mut Vec<Arrival>,
    ) -> io::Result<()> {
        for (slot, bytes) in bytes.chunks_exact_mut(STRIDE).enumerate() {
            match socket.recv_from(&mut bytes[..SLOT]) {
                Ok((len, from)) => arrivals.push(Arrival { from, start: slot * STRIDE, len, segment: len }),
                Err(_) if !arrivals.is_empty() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(in super::super) fn allow_runs(_: &UdpSocket) {}
}

pub(super) use system::allow_runs;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{super::wait::Wait, *};

    fn lengths(len: usize, segment: usize) -> Vec<usize> {
        let from = SocketAddr::from(([192, 0, 2, 1], 1));
        Arrival { from, start: 7, len, segment }.datagrams().map(|at| at.len()).collect()
    }

    #[test]
    fn a_run_is_cut_into_its_datagrams() {
        assert_eq!(lengths(100, 100), [100]);
        assert_eq!(lengths(250, 100), [100, 100, 50]);
        assert_eq!(lengths(300, 100), [100, 100, 100]);
        assert_eq!(lengths(0, 0), [0]);
    }

    #[test]
    fn what_comes_is_received_in_its_order_and_too_long_ones_are_not() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        allow_runs(&socket);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = socket.local_addr().unwrap();
        let lengths = [5, 0, LONGEST, LONGEST + 1, 7].into_iter().chain(8..100);
        for len in lengths.clone() {
            sender.send_to(&vec![len as u8; len], at).unwrap();
        }
        let (mut inbox, mut wait) = (Inbox::new(false), Wait::new(&socket).unwrap());
        let mut came = Vec::new();
        while came.last() != Some(&99) {
            wait.until(Some(Instant::now() + Duration::from_secs(20))).unwrap();
            assert!(wait.is_readable, "more is to come");
            wait.is_readable = inbox.receive(&socket);
            let (bytes, datagrams) = inbox.datagrams();
            for (from, at) in datagrams {
                assert_eq!(from, sender.local_addr().unwrap());
                assert!(bytes[at.clone()].iter().all(|byte| *byte == at.len() as u8));
                came.push(at.len());
            }
        }
        assert_eq!(came, lengths.filter(|len| *len <= LONGEST).collect::<Vec<_>>());
    }
}
