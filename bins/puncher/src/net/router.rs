//! The sockets between the router and the core that asks it for a port mapping.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    time::{Duration, Instant},
};

use ::portmap::{ANNOUNCE_PORT, Event, Mapper, Network, Request};
use mio::{
    Interest, Registry, Token,
    net::{TcpStream, UdpSocket},
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::net::gateway;

/// Routers announce to all hosts that they have started.
const ALL_HOSTS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
/// How long the end may wait for a router that is told over HTTP.
const GOODBYE: Duration = Duration::from_millis(300);
/// What a router sends in one datagram, and what is read from a connection at a time.
const MAX_RECEIVED: usize = 2048;
/// Datagrams taken from each socket before anything else gets its turn.
const RECEIVE_BUDGET: usize = 16;

/// The mapper and its sockets.
pub(crate) struct Router {
    mapper: Mapper,
    /// The socket that is to be reached.
    local: SocketAddr,
    network: Option<Network>,
    /// For datagrams to the gateway and to SSDP's group.
    asking: Option<UdpSocket>,
    announcements: Option<UdpSocket>,
    stream: Option<Stream>,
    /// Since when datagrams have been left unread, for the rest of the loop to have its turn.
    unread: Option<Instant>,
}

struct Stream {
    tcp: TcpStream,
    unsent: Vec<u8>,
}

impl Router {
    const ASKING: Token = Token(3);
    const ANNOUNCEMENTS: Token = Token(4);
    const STREAM: Token = Token(5);

    /// For the UDP socket at `local`; `None` if no mapping could lead there.
    pub(crate) fn new(local: SocketAddr, seed: [u8; 16]) -> Option<Self> {
        let is_v4 = match local.ip() {
            IpAddr::V4(ip) => !ip.is_loopback(),
            IpAddr::V6(ip) => ip.is_unspecified(),
        };
        is_v4.then(|| Self {
            mapper: Mapper::new(seed),
            local,
            network: None,
            asking: None,
            announcements: None,
            stream: None,
            unread: None,
        })
    }

    pub(crate) fn is_mine(token: Token) -> bool {
        [Self::ASKING, Self::ANNOUNCEMENTS, Self::STREAM].contains(&token)
    }

    /// Looks which gateway there is, and begins anew with another one. Says why there is none to ask.
    pub(crate) fn look(&mut self, registry: &Registry, now: Instant) -> Result<(), String> {
        let found = gateway::network(self.local).map_err(|error| error.to_string());
        let network = found.as_ref().ok().copied().flatten();
        if network != self.network {
            self.network = network;
            self.forget_sockets();
            if let Some(network) = network {
                self.asking = watched(registry, Self::ASKING, || asking_socket(*network.internal.ip()));
                self.announcements =
                    watched(registry, Self::ANNOUNCEMENTS, || announcement_socket(*network.internal.ip()));
            }
        }
        self.mapper.set_network(network.filter(|_| self.asking.is_some()), now);
        match found {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err("this host has no IPv4 gateway".to_owned()),
            Err(error) => Err(error),
        }
    }

    fn forget_sockets(&mut self) {
        (self.asking, self.announcements, self.stream) = (None, None, None);
    }

    pub(crate) fn mapped(&self) -> Option<SocketAddrV4> {
        self.mapper.mapped()
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.mapper.poll_event()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.mapper.poll_timeout().into_iter().chain(self.unread).min()
    }

    /// Asks for the mapping as if the router had lost it.
    pub(crate) fn renew(&mut self, now: Instant) {
        self.mapper.renew(now);
    }

    pub(crate) fn handle_time(&mut self, now: Instant) {
        if self.unread.take().is_some() {
            self.receive(now);
        }
        if self.mapper.poll_timeout().is_some_and(|due| due <= now) {
            self.mapper.handle_timeout(now);
        }
    }

    /// Something can be read from, or written to, one of the sockets.
    pub(crate) fn handle(&mut self, token: Token, now: Instant) {
        match token {
            Self::STREAM => self.progress(now),
            _ => self.receive(now),
        }
    }

    fn receive(&mut self, now: Instant) {
        let mut buffer = [0; MAX_RECEIVED];
        for socket in [&self.asking, &self.announcements].into_iter().flatten() {
            for turn in 0.. {
                if turn == RECEIVE_BUDGET {
                    self.unread = Some(now);
                    break;
                }
                match socket.recv_from(&mut buffer) {
                    Ok((len, from)) => self.mapper.handle_datagram(from, &buffer[..len], now),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => tracing::trace!(%error, "receive from the router"),
                }
            }
        }
    }

    /// Sends what the mapper has to say.
    pub(crate) fn drain(&mut self, registry: &Registry, now: Instant) {
        self.send();
        while let Some(request) = self.mapper.poll_request() {
            match connect(registry, &request) {
                Ok(tcp) => self.stream = Some(Stream { tcp, unsent: request.bytes }),
                Err(error) => {
                    self.stream = None;
                    self.mapper.handle_stream_error(&format!("connect to {}: {error}", request.to), now);
                }
            }
        }
        if !self.mapper.wants_stream() {
            self.stream = None;
        }
    }

    fn send(&mut self) {
        while let Some(transmit) = self.mapper.poll_transmit() {
            let sent = self.asking.as_ref().map(|socket| socket.send_to(&transmit.payload, transmit.to.into()));
            // What is lost is asked again.
            if let Some(Err(error)) = sent {
                tracing::debug!(to = %transmit.to, %error, "the router was not asked");
            }
        }
    }

    /// Writes and reads on the connection, as far as it goes.
    fn progress(&mut self, now: Instant) {
        let Some(mut stream) = self.stream.take() else { return };
        match stream.progress(&mut self.mapper, now) {
            Ok(true) if self.mapper.wants_stream() => self.stream = Some(stream),
            Ok(_) => {}
            Err(error) => self.mapper.handle_stream_error(&format!("talk to the router over HTTP: {error}"), now),
        }
    }

    /// Deletes the mapping, in a bounded time.
    pub(crate) fn close(mut self, now: Instant) {
        self.mapper.close(now);
        self.send();
        if let Some(request) = self.mapper.poll_request()
            && let Err(error) = self.say_goodbye(&request, now + GOODBYE)
        {
            tracing::debug!(to = %request.to, %error, "the mapping may not be deleted; it ends within the hour");
        }
    }

    fn say_goodbye(&mut self, request: &Request, deadline: Instant) -> io::Result<()> {
        let left = || match deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => io::Result::Ok(left),
        };
        let mut tcp = std::net::TcpStream::connect_timeout(&request.to.into(), left()?)?;
        tcp.set_write_timeout(Some(left()?))?;
        tcp.write_all(&request.bytes)?;
        let mut piece = [0; MAX_RECEIVED];
        while self.mapper.wants_stream() {
            tcp.set_read_timeout(Some(left()?))?;
            match tcp.read(&mut piece)? {
                0 => self.mapper.handle_stream_end(Instant::now()),
                len => self.mapper.handle_stream(&piece[..len], Instant::now()),
            }
        }
        Ok(())
    }
}

impl Stream {
    /// Whether there is more to come.
    fn progress(&mut self, mapper: &mut Mapper, now: Instant) -> io::Result<bool> {
        if let Some(error) = self.tcp.take_error()? {
            return Err(error);
        }
        while !self.unsent.is_empty() {
            match self.tcp.write(&self.unsent) {
                Ok(len) => drop(self.unsent.drain(..len)),
                // Not connected yet, or no room: the next event tells.
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => {
                    return Ok(true);
                }
                Err(error) => return Err(error),
            }
        }
        let mut piece = [0; MAX_RECEIVED];
        while mapper.wants_stream() {
            match self.tcp.read(&mut piece) {
                Ok(0) => {
                    mapper.handle_stream_end(now);
                    return Ok(false);
                }
                Ok(len) => mapper.handle_stream(&piece[..len], now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

/// Makes a socket and watches it. Without it there may be no mapping, or a restart of the router is noticed late.
fn watched(registry: &Registry, token: Token, make: impl FnOnce() -> io::Result<UdpSocket>) -> Option<UdpSocket> {
    let made = make().and_then(|mut socket| {
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(socket)
    });
    made.inspect_err(|error| tracing::debug!(%error, ?token, "a socket for port mappings could not be made")).ok()
}

fn asking_socket(local: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_multicast_if_v4(&local)?;
    // As far as UPnP's documents let a search go.
    socket.set_multicast_ttl_v4(2)?;
    socket.bind(&SocketAddr::from((local, 0)).into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

/// Several programs of a host may listen for announcements.
fn announcement_socket(local: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, ANNOUNCE_PORT)).into())?;
    // Linux delivers this group to everybody; elsewhere it may have to be joined.
    if let Err(error) = socket.join_multicast_v4(&ALL_HOSTS, &local) {
        tracing::debug!(%error, "join {ALL_HOSTS}");
    }
    Ok(UdpSocket::from_std(socket.into()))
}

fn connect(registry: &Registry, request: &Request) -> io::Result<TcpStream> {
    let mut tcp = TcpStream::connect(request.to.into())?;
    registry.register(&mut tcp, Router::STREAM, Interest::READABLE | Interest::WRITABLE)?;
    Ok(tcp)
}
