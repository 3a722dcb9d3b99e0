//! The tunnel to the rendezvous where UDP does not get through: a WebSocket (RFC 6455) on its HTTP port, each binary
//! message one datagram.

use std::{
    collections::VecDeque,
    io,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use mio::{Interest, Registry, Token, net::TcpStream};
use tungstenite::{
    Bytes, Error, HandshakeError, Message, WebSocket,
    client::{IntoClientRequest, client_with_config},
    handshake::{MidHandshake, client::ClientHandshake},
    protocol::WebSocketConfig,
};
use wire::datagram::MAX_DATAGRAM;

/// The path on the rendezvous.
const PATH: &str = "/tunnel";
/// A tunnel that is not open by then is given up.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// A connection whose other end has confirmed nothing for so long is over.
#[cfg(target_os = "linux")]
const UNANSWERED: Duration = Duration::from_secs(3);
/// Voice that has waited longer is of no use, and everything else is sent again.
const MAX_WAIT: Duration = Duration::from_millis(60);
/// Datagrams that may wait, whatever their age.
const MAX_WAITING: usize = 256;

/// One tunnel, from the first packet of its TCP connection on.
pub(crate) struct Tunnel {
    stage: Stage,
    /// What the WebSocket's handshake asks for.
    url: String,
    to: SocketAddr,
    began: Instant,
    waiting: VecDeque<(Instant, Bytes)>,
    /// The connection has taken as much as it can for now.
    is_full: bool,
}

enum Stage {
    Connecting(TcpStream),
    Handshake(MidHandshake<ClientHandshake<TcpStream>>),
    Open(Box<WebSocket<TcpStream>>),
    /// Between two stages, or after an error.
    Nothing,
}

/// What has happened to a tunnel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Progress {
    /// Nothing that matters.
    Waiting,
    /// It has just been opened.
    Opened,
}

impl Tunnel {
    pub(crate) const TOKEN: Token = Token(8);

    /// Begins to open a tunnel to the HTTP port of a rendezvous, which calls itself `host`.
    pub(crate) fn open(to: SocketAddr, host: &str, now: Instant, registry: &Registry) -> anyhow::Result<Self> {
        let doing = || format!("connect to {to} over TCP");
        let mut stream = TcpStream::connect(to).with_context(doing)?;
        registry.register(&mut stream, Self::TOKEN, Interest::READABLE | Interest::WRITABLE).with_context(doing)?;
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let url = format!("ws://{host}:{}{PATH}", to.port());
        let (waiting, is_full) = (VecDeque::new(), false);
        Ok(Self { stage: Stage::Connecting(stream), url, to, began: now, waiting, is_full })
    }

    /// Whether this host no longer has the address that the tunnel begins at: nothing comes back to it.
    pub(crate) fn is_cut_off(&self) -> bool {
        let Stage::Open(socket) = &self.stage else { return false };
        let Ok(local) = socket.get_ref().local_addr() else { return true };
        UdpSocket::bind((local.ip(), 0)).is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
    }

    /// When to call [`Self::progress`] though nothing has come.
    pub(crate) fn due(&self) -> Option<Instant> {
        (!matches!(self.stage, Stage::Open(_))).then(|| self.began + OPEN_WITHIN)
    }

    /// Goes on with what can go on.
    ///
    /// # Errors
    /// If the tunnel is closed or can't be opened.
    pub(crate) fn progress(&mut self, now: Instant) -> anyhow::Result<Progress> {
        let doing = format!("open a tunnel to {} over TCP", self.to);
        let was_open = matches!(self.stage, Stage::Open(_));
        if !was_open && now >= self.began + OPEN_WITHIN {
            return Err(anyhow!("no answer within {} s", OPEN_WITHIN.as_secs())).context(doing);
        }
        self.stage = match std::mem::replace(&mut self.stage, Stage::Nothing) {
            Stage::Connecting(stream) => self.connect(stream).context(doing)?,
            Stage::Handshake(handshake) => shake(handshake.handshake()).context(doing)?,
            Stage::Open(mut socket) => {
                self.is_full = !taken(socket.flush()).context("send through the tunnel")?;
                Stage::Open(socket)
            }
            Stage::Nothing => return Err(anyhow!("it is closed")).context(doing),
        };
        self.send_waiting(now)?;
        let is_open = matches!(self.stage, Stage::Open(_));
        Ok(if is_open && !was_open { Progress::Opened } else { Progress::Waiting })
    }

    fn connect(&self, stream: TcpStream) -> anyhow::Result<Stage> {
        if let Some(error) = stream.take_error()? {
            return Err(error.into());
        }
        match stream.peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(Stage::Connecting(stream)),
            Err(error) => return Err(error.into()),
        }
        // A datagram must not wait for the next one.
        stream.set_nodelay(true)?;
        // Else the system goes on for a quarter of an hour.
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNANSWERED))?;
        let config = WebSocketConfig::default()
            .write_buffer_size(0)
            .max_message_size(Some(MAX_DATAGRAM))
            .max_frame_size(Some(MAX_DATAGRAM));
        shake(
            client_with_config(self.url.as_str().into_client_request()?, stream, Some(config))
                .map(|(socket, _)| (socket, ())),
        )
    }

    /// The next datagram that has come.
    ///
    /// # Errors
    /// If the tunnel is closed.
    pub(crate) fn receive(&mut self) -> anyhow::Result<Option<Bytes>> {
        let Stage::Open(socket) = &mut self.stage else { return Ok(None) };
        loop {
            match socket.read() {
                Ok(Message::Binary(datagram)) => return Ok(Some(datagram)),
                Ok(Message::Close(_)) => return Err(anyhow!("the rendezvous closed the tunnel")),
                // tungstenite answers pings by itself.
                Ok(_) => {}
                Err(error) if would_block(&error) => return Ok(None),
                Err(error) => return Err(error).context("receive through the tunnel"),
            }
        }
    }

    /// Sends a datagram, or lets it wait for a moment; it is lost if that is too long.
    ///
    /// # Errors
    /// If the tunnel is closed.
    pub(crate) fn send(&mut self, datagram: Bytes, now: Instant) -> anyhow::Result<()> {
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((now, datagram));
        self.send_waiting(now)
    }

    fn send_waiting(&mut self, now: Instant) -> anyhow::Result<()> {
        let Stage::Open(socket) = &mut self.stage else { return Ok(()) };
        self.waiting.retain(|(since, _)| now.duration_since(*since) <= MAX_WAIT);
        while !self.is_full {
            let Some((_, datagram)) = self.waiting.pop_front() else { break };
            self.is_full = !taken(socket.write(Message::Binary(datagram))).context("send through the tunnel")?;
        }
        Ok(())
    }
}

type Shaken<T> = Result<(WebSocket<TcpStream>, T), HandshakeError<ClientHandshake<TcpStream>>>;

fn shake<T>(result: Shaken<T>) -> anyhow::Result<Stage> {
    match result {
        Ok((socket, _)) => Ok(Stage::Open(Box::new(socket))),
        Err(HandshakeError::Interrupted(handshake)) => Ok(Stage::Handshake(handshake)),
        Err(HandshakeError::Failure(error)) => Err(error.into()),
    }
}

/// Whether the connection has taken everything; if not, the rest is kept by the WebSocket.
fn taken(result: Result<(), Error>) -> Result<bool, Error> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if would_block(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn would_block(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}
