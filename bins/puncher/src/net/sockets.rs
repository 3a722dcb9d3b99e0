//! The UDP sockets beside the main one: many for a guess, and the one that a guess has left open, for as long as it is used.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

use mesh::{SocketId, SocketRequest, Transmit};
use mio::{Interest, Registry, Token, net::UdpSocket};

use crate::driver::{Driver, MAX_RECEIVED, RECEIVE_BUDGET, RECEIVE_ROUNDS};

/// The open sockets by the names that the mesh gives them.
#[derive(Debug)]
pub(crate) struct Sockets {
    at: Ipv4Addr,
    open: BTreeMap<SocketId, Socket>,
}

#[derive(Debug)]
struct Socket {
    udp: UdpSocket,
    /// The system's default time to live.
    ttl: u32,
}

impl Sockets {
    /// Tokens from here on are theirs; no other ever counts so far.
    const FIRST_TOKEN: usize = usize::MAX - 0xffff;

    /// Sockets for a host whose main socket is there.
    pub(crate) fn new(main: SocketAddr) -> Self {
        let at = match main.ip().to_canonical() {
            IpAddr::V4(ip) => ip,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        Self { at, open: BTreeMap::new() }
    }

    /// Whose token it is.
    pub(crate) fn named(token: Token) -> Option<SocketId> {
        token.0.checked_sub(Self::FIRST_TOKEN).and_then(|number| u16::try_from(number).ok()).map(SocketId)
    }

    fn token(id: SocketId) -> Token {
        Token(Self::FIRST_TOKEN + usize::from(id.0))
    }

    fn open(&mut self, id: SocketId, registry: &Registry) -> io::Result<()> {
        let mut udp = UdpSocket::bind(SocketAddr::from((self.at, 0)))?;
        let ttl = udp.ttl()?;
        registry.register(&mut udp, Self::token(id), Interest::READABLE)?;
        self.open.insert(id, Socket { udp, ttl });
        Ok(())
    }

    fn close(&mut self, id: SocketId, registry: &Registry) {
        if let Some(mut socket) = self.open.remove(&id)
            && let Err(error) = registry.deregister(&mut socket.udp)
        {
            tracing::debug!(%error, "stop watching a UDP socket");
        }
    }

    /// Sends if the socket is open; what finds no room is lost, as on the way.
    fn send(&self, transmit: &Transmit) -> io::Result<()> {
        let Some(Socket { udp, ttl }) = self.open.get(&transmit.socket) else { return Ok(()) };
        if let Some(short) = transmit.ttl {
            udp.set_ttl(short.into())?;
        }
        let sent = udp.send_to(&transmit.payload, transmit.to);
        if transmit.ttl.is_some() {
            udp.set_ttl(*ttl)?;
        }
        match sent {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    fn receive(&self, id: SocketId, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.open.get(&id).ok_or(io::ErrorKind::WouldBlock)?.udp.recv_from(buffer)
    }
}

impl Driver {
    /// Opens and closes sockets as the mesh says.
    pub(crate) fn serve_sockets(&mut self) {
        while let Some(request) = self.parts.mesh.poll_socket_request() {
            let registry = self.parts.poll.registry();
            match request {
                SocketRequest::Close(id) => self.sockets.close(id, registry),
                SocketRequest::Open(id) => {
                    if let Err(error) = self.sockets.open(id, registry) {
                        tracing::debug!(%error, "open another UDP socket; there will be fewer");
                        self.parts.mesh.handle_socket_gone(id, Instant::now());
                    }
                }
            }
        }
    }

    pub(crate) fn send_aside(&mut self, transmit: &Transmit, now: Instant) {
        if let Err(error) = self.sockets.send(transmit) {
            tracing::debug!(to = %transmit.to, %error, "a datagram was not sent");
            self.parts.mesh.note_unsent(transmit.to, now);
        }
    }

    pub(crate) fn receive_aside(&mut self, id: SocketId) {
        let mut buffer = [0; MAX_RECEIVED];
        for _ in 0..RECEIVE_ROUNDS {
            for _ in 0..RECEIVE_BUDGET {
                match self.sockets.receive(id, &mut buffer) {
                    Ok((len, from)) => self.parts.mesh.handle_datagram(id, from, &buffer[..len], Instant::now()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.drain(),
                    Err(error) => {
                        tracing::trace!(%error, "receive a datagram");
                        self.parts.mesh.note_unsent(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), Instant::now());
                    }
                }
            }
            self.drain();
        }
        self.unread.insert(Sockets::token(id));
    }
}

#[cfg(test)]
mod tests {
    use mio::{Events, Poll};

    use super::*;

    #[test]
    fn an_open_socket_sends_and_receives_and_a_closed_one_does_neither() {
        let (mut poll, mut events) = (Poll::new().expect("a queue"), Events::with_capacity(4));
        let mut sockets = Sockets::new("127.0.0.1:9".parse().expect("an address"));
        let (left, right) = (SocketId(1), SocketId(2));
        for id in [left, right] {
            sockets.open(id, poll.registry()).expect("a socket");
        }
        let to = sockets.open[&right].udp.local_addr().expect("an address");
        let transmit = Transmit { socket: left, to, payload: b"hi".to_vec().into(), ttl: Some(1) };

        sockets.send(&transmit).expect("sent");

        poll.poll(&mut events, None).expect("an event");
        let told: Vec<_> = events.iter().filter_map(|event| Sockets::named(event.token())).collect();
        assert_eq!(told, [right]);
        let mut buffer = [0; 8];
        assert_eq!(sockets.receive(right, &mut buffer).expect("a datagram").0, 2);
        assert_ne!(sockets.open[&left].udp.ttl().expect("readable"), 1, "the next one goes as far as ever");

        sockets.close(left, poll.registry());
        sockets.send(&transmit).expect("dropped");
        let nothing = sockets.receive(right, &mut buffer).map_err(|error| error.kind());
        assert_eq!(nothing, Err(io::ErrorKind::WouldBlock));
    }

    #[test]
    fn no_other_token_names_a_socket() {
        for token in [0, 1, 8, 16, 1 << 20] {
            assert_eq!(Sockets::named(Token(token)), None);
        }
    }
}
