//! How datagrams are handed to the system: many by one call, where it can.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use std::{
        io::{self, IoSlice},
        net::{SocketAddr, UdpSocket},
        os::fd::AsRawFd,
    };

    use super::super::{FULL, Out};
    use nix::{
        errno::Errno,
        sys::socket::{
            ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, SockaddrStorage, sendmmsg,
            sendmsg,
        },
    };

    pub(in super::super) const HAS_RUNS: bool = true;

    /// What the system is told of datagrams: room that is used again.
    #[derive(Default)]
    pub(in super::super) struct Headers {
        ipv4: Option<HeadersTo<SockaddrIn>>,
        ipv6: Option<HeadersTo<SockaddrIn6>>,
    }

    struct HeadersTo<A> {
        headers: MultiHeaders<A>,
        to: Vec<Option<A>>,
    }

    impl<A: SockaddrLike + Copy> HeadersTo<A> {
        fn new() -> Self {
            Self { headers: MultiHeaders::preallocate(FULL, None), to: Vec::with_capacity(FULL) }
        }
    }

    /// Gives how many of them have been sent, of at most [`FULL`].
    pub(in super::super) fn send_each<'a>(
        socket: &UdpSocket,
        headers: &mut Headers,
        outs: &'a [Out],
        bytes: impl Fn(&'a Out) -> &'a [u8],
    ) -> io::Result<usize> {
        // A socket has addresses of one family.
        match outs[0].to {
            SocketAddr::V4(_) => {
                let address = |to| match to {
                    SocketAddr::V4(to) => Some(to.into()),
                    SocketAddr::V6(_) => None,
                };
                send_to(socket, headers.ipv4.get_or_insert_with(HeadersTo::new), outs, bytes, address)
            }
            SocketAddr::V6(_) => {
                let address = |to| match to {
                    SocketAddr::V4(_) => None,
                    SocketAddr::V6(to) => Some(to.into()),
                };
                send_to(socket, headers.ipv6.get_or_insert_with(HeadersTo::new), outs, bytes, address)
            }
        }
    }

    fn send_to<'a, A: SockaddrLike + Copy>(
        socket: &UdpSocket,
        HeadersTo { headers, to }: &mut HeadersTo<A>,
        outs: &'a [Out],
        bytes: impl Fn(&'a Out) -> &'a [u8],
        address: impl Fn(SocketAddr) -> Option<A>,
    ) -> io::Result<usize> {
        to.clear();
        to.extend(outs.iter().map(|out| address(out.to)));
        let slices: Vec<[IoSlice<'_>; 1]> = outs.iter().map(|out| [IoSlice::new(bytes(out))]).collect();
        let sent = sendmmsg(socket.as_raw_fd(), headers, &slices, &*to, [], MsgFlags::MSG_DONTWAIT)?;
        Ok(sent.count())
    }

    /// Sends datagrams to one address, of one length but for the last.
    pub(in super::super) fn send_run<'a>(
        socket: &UdpSocket,
        outs: &'a [Out],
        bytes: impl Fn(&'a Out) -> &'a [u8],
    ) -> io::Result<()> {
        let slices: Vec<IoSlice<'_>> = outs.iter().map(|out| IoSlice::new(bytes(out))).collect();
        let (to, size) = (SockaddrStorage::from(outs[0].to), outs[0].at.len() as u16);
        let size = [ControlMessage::UdpGsoSegments(&size)];
        sendmsg(socket.as_raw_fd(), &slices, &size, MsgFlags::MSG_DONTWAIT, Some(&to))?;
        Ok(())
    }

    /// The interface can't do checksums, without which there are no runs. Other errors concern one run, such as that the
    /// way is narrower than its datagrams.
    pub(in super::super) fn is_refusal_of_runs(error: &io::Error) -> bool {
        error.raw_os_error() == Some(Errno::EIO as i32)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod portable {
    use std::{io, net::UdpSocket};

    use super::super::Out;

    pub(in super::super) const HAS_RUNS: bool = false;

    #[derive(Default)]
    pub(in super::super) struct Headers;

    pub(in super::super) fn send_each<'a>(
        socket: &UdpSocket,
        _: &mut Headers,
        outs: &'a [Out],
        bytes: impl Fn(&'a Out) -> &'a [u8],
    ) -> io::Result<usize> {
        for (sent, out) in outs.iter().enumerate() {
            match socket.send_to(bytes(out), out.to) {
                Ok(_) => {}
                Err(_) if sent > 0 => return Ok(sent),
                Err(error) => return Err(error),
            }
        }
        Ok(outs.len())
    }

    pub(in super::super) fn send_run<'a>(
        socket: &UdpSocket,
        outs: &'a [Out],
        bytes: impl Fn(&'a Out) -> &'a [u8],
    ) -> io::Result<()> {
        send_each(socket, &mut Headers, outs, bytes).map(drop)
    }

    pub(in super::super) fn is_refusal_of_runs(_: &io::Error) -> bool {
        false
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use linux::{HAS_RUNS, Headers, is_refusal_of_runs, send_each, send_run};
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use portable::{HAS_RUNS, Headers, is_refusal_of_runs, send_each, send_run};
