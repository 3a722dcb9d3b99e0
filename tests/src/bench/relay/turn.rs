//! coturn, and what a TURN client says to it (RFC 8656), as far as it is measured.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use wire::stun;

use super::load::{Flow, Load, PAYLOAD, Shape};
use crate::{bench::usage::Pid, call::Home};

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const ALLOCATE: u16 = 0x0003;
const CHANNEL_BIND: u16 = 0x0009;
const SUCCESS: u16 = 0x0100;
const REQUESTED_TRANSPORT: u16 = 0x0019;
const CHANNEL_NUMBER: u16 = 0x000c;
const XOR_PEER_ADDRESS: u16 = 0x0012;
const CHANNEL: u16 = 0x4000;

/// A running coturn; it is killed when this is dropped.
pub(super) struct Coturn {
    child: Child,
    pub(super) at: SocketAddr,
}

impl Coturn {
    /// Starts it with what it needs for the measurement and no more; `None` if it is not installed.
    pub(super) fn start(home: &Home) -> Result<Option<Self>> {
        let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new("turnserver");
        command.args(["-n", "-z", "--no-cli", "--no-tls", "--no-dtls", "--no-tcp", "--no-tcp-relay", "-m", "1"]);
        command.args(["--allow-loopback-peers", "--no-software-attribute", "--log-file", "/dev/null", "--simple-log"]);
        command.args(["-L", "127.0.0.1", "-E", "127.0.0.1", "-p", &port.to_string()]);
        command.arg("--pidfile").arg(home.path().join("turnserver.pid")).current_dir(home.path());
        let child = match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("start turnserver"),
        };
        let coturn = Self { child, at: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) };
        ask(&connect(coturn.at)?, &stun::request(stun::TransactionId([1; 12]))).context("wait for coturn")?;
        Ok(Some(coturn))
    }

    pub(super) fn pid(&self) -> Pid {
        Pid(self.child.id())
    }

    /// Flows to peers that have no allocations of their own, which is the shortest way through it.
    pub(super) fn load(&self, sessions: usize) -> Result<Load> {
        let (mut flows, mut receivers) = (Vec::new(), Vec::new());
        for _ in 0..sessions {
            let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("bind a peer")?;
            flows.push(self.flow_to(SocketAddrV4::new(Ipv4Addr::LOCALHOST, peer.local_addr()?.port()))?);
            receivers.push(peer);
        }
        Ok(Load { pid: self.pid(), flows, receivers, copies: 1, heard_by: 0, shape: Shape::VOICE, callers: Vec::new() })
    }

    /// An allocation, and a channel of it to that peer.
    fn flow_to(&self, peer: SocketAddrV4) -> Result<Flow> {
        let socket = connect(self.at)?;
        succeed(&socket, &message(ALLOCATE, &[(REQUESTED_TRANSPORT, &[17, 0, 0, 0])])).context("allocate")?;
        let [high, low] = (peer.port() ^ 0x2112).to_be_bytes();
        let ip = peer.ip().octets();
        let address: [u8; 8] =
            [0, 1, high, low, ip[0] ^ COOKIE[0], ip[1] ^ COOKIE[1], ip[2] ^ COOKIE[2], ip[3] ^ COOKIE[3]];
        let [high, low] = CHANNEL.to_be_bytes();
        let bind = message(CHANNEL_BIND, &[(CHANNEL_NUMBER, &[high, low, 0, 0]), (XOR_PEER_ADDRESS, &address)]);
        succeed(&socket, &bind).context("bind a channel")?;
        let mut frame = [CHANNEL.to_be_bytes(), (PAYLOAD as u16).to_be_bytes()].concat();
        frame.resize(4 + PAYLOAD, 7);
        Ok(Flow { socket, frame })
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        // One that has ended needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(to: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("bind a client")?;
    socket.connect(to)?;
    Ok(socket)
}

/// A request whose attributes are whole words.
fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let length: usize = attributes.iter().map(|(_, value)| 4 + value.len()).sum();
    let mut out = [kind.to_be_bytes(), (length as u16).to_be_bytes()].concat();
    out.extend(COOKIE);
    out.extend([7; 12]);
    for (kind, value) in attributes {
        out.extend(kind.to_be_bytes());
        out.extend((value.len() as u16).to_be_bytes());
        out.extend_from_slice(value);
    }
    out
}

fn succeed(socket: &UdpSocket, request: &[u8]) -> Result<()> {
    let answer = ask(socket, request)?;
    let [high, low, ..] = answer[..] else { bail!("an empty answer") };
    let (expected, kind) = (u16::from_be_bytes([request[0], request[1]]) | SUCCESS, u16::from_be_bytes([high, low]));
    if kind == expected { Ok(()) } else { bail!("coturn answers {kind:#06x}") }
}

/// Asks until there is an answer.
fn ask(socket: &UdpSocket, request: &[u8]) -> Result<Vec<u8>> {
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let (deadline, mut buffer) = (Instant::now() + Duration::from_secs(15), [0; 1500]);
    while Instant::now() < deadline {
        socket.send(request).ok(); // a server that does not listen yet refuses
        if let Ok(len) = socket.recv(&mut buffer) {
            return Ok(buffer[..len].to_vec());
        }
    }
    bail!("no answer")
}
