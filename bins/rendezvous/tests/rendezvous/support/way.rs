//! How a member's datagrams go: by UDP, or through a tunnel.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use tokio_tungstenite::tungstenite::{self, Bytes, Message, WebSocket, client::IntoClientRequest};

use super::Server;

pub(crate) enum Way {
    Udp { socket: UdpSocket, server: SocketAddr },
    Tunnel { socket: Box<WebSocket<TcpStream>>, server: SocketAddr },
}

impl Way {
    pub(crate) fn udp(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind(if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }).unwrap();
        Self::Udp { socket, server }
    }

    pub(crate) fn tunnel(server: &Server) -> Self {
        let stream = TcpStream::connect(server.http).unwrap();
        stream.set_nodelay(true).unwrap();
        let request = format!("ws://{}/tunnel", server.http).into_client_request().unwrap();
        let (socket, response) = tungstenite::client(request, stream).unwrap();
        assert_eq!(response.status(), 101);
        Self::Tunnel { socket: Box::new(socket), server: server.udp }
    }

    /// As the server sees it.
    pub(crate) fn at(&self) -> SocketAddr {
        match self {
            Self::Udp { socket, .. } => socket.local_addr().unwrap(),
            Self::Tunnel { socket, .. } => socket.get_ref().local_addr().unwrap(),
        }
    }

    pub(crate) fn server(&self) -> SocketAddr {
        match self {
            Self::Udp { server, .. } | Self::Tunnel { server, .. } => *server,
        }
    }

    /// The server may be gone; then nothing comes, which the caller sees.
    pub(crate) fn send(&mut self, datagram: &[u8]) {
        match self {
            Self::Udp { socket, server } => drop(socket.send_to(datagram, *server)),
            Self::Tunnel { socket, .. } => drop(socket.send(Message::Binary(Bytes::copy_from_slice(datagram)))),
        }
    }

    /// The next datagram, if one comes in time.
    pub(crate) fn receive(&mut self, wait: Duration) -> Option<Vec<u8>> {
        let wait = Some(wait.max(Duration::from_millis(1)));
        match self {
            Self::Udp { socket, .. } => {
                let mut buffer = [0; 2048];
                socket.set_read_timeout(wait).unwrap();
                in_time(socket.recv(&mut buffer)).map(|length| buffer[..length].to_vec())
            }
            Self::Tunnel { socket, .. } => {
                socket.get_ref().set_read_timeout(wait).unwrap();
                match socket.read() {
                    Ok(Message::Binary(datagram)) => Some(datagram.to_vec()),
                    Ok(other) => panic!("not a datagram: {other:?}"),
                    Err(tungstenite::Error::Io(error)) => in_time(Err(error)),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}

fn in_time<T>(received: io::Result<T>) -> Option<T> {
    match received {
        Ok(received) => Some(received),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
            None
        }
        Err(error) => panic!("{error}"),
    }
}
