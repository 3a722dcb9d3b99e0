//! The few calls that have no safe form: unsharing, packet sockets, interface flags. All unsafe code of the lab is here.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::thread::UnshareFlags;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Bytes of a `virtio_net_hdr`, which goes before every frame of a [`packet_socket`].
pub(crate) const VNET_HEADER: usize = 10;

/// Moves this thread to namespaces of its own; a user namespace only while the process has no other thread.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    assert!(!flags.contains(UnshareFlags::FILES), "shared descriptor tables are what I/O safety rests on");
    // SAFETY: the one unsafe thing about it, descriptors that mean something else in another thread, is excluded above.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// A non-blocking socket that gets every frame coming in at an interface and sends frames out of it.
///
/// With `PACKET_VNET_HDR` checksums that nobody has computed yet travel as such, so no offload needs to be off.
pub(crate) fn packet_socket(interface: &str) -> io::Result<OwnedFd> {
    let all = (libc::ETH_P_ALL as u16).to_be();
    // Without a protocol it hears nothing until it is bound: no frame of another interface slips in.
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    for option in [libc::PACKET_VNET_HDR, libc::PACKET_IGNORE_OUTGOING] {
        set_packet_option(&socket, option)?;
    }
    let index = rustix::net::netdevice::name_to_index(&socket, interface)?;
    // SAFETY: a zeroed sockaddr_storage is valid, large enough for a sockaddr_ll, and its first bytes are set as one.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, len| {
            let address = storage.cast::<libc::sockaddr_ll>();
            (*address).sll_family = libc::AF_PACKET as u16;
            (*address).sll_protocol = all;
            (*address).sll_ifindex = index as i32;
            *len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })?
    };
    socket.bind(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn set_packet_option(socket: &Socket, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let len = size_of_val(&on) as libc::socklen_t;
    // SAFETY: `on` lives through the call and `len` is its size.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, (&raw const on).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether an interface of this thread's network namespace is up and has found its other end.
pub(crate) fn is_running(interface: &str) -> io::Result<bool> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    // SAFETY: `ifreq` is plain data for which zeros are valid, and its name stays terminated.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    // SAFETY: SIOCGIFFLAGS reads the name of an ifreq and writes its flags.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just written this member of the union.
    let flags = i32::from(unsafe { request.ifr_ifru.ifru_flags });
    Ok(flags & libc::IFF_UP != 0 && flags & libc::IFF_RUNNING != 0)
}
