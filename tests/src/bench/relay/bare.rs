//! A program that forwards and does nothing else.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};

use super::load::{Flow, Load, PAYLOAD, Shape};
use crate::bench::{program, usage::Pid};

/// As long as a frame of ours.
const HEADER: usize = 3;

/// A running forwarder between pairs of sockets; it is killed when this is dropped.
pub(super) struct Bare {
    child: Child,
    at: SocketAddr,
    sockets: Vec<UdpSocket>,
}

impl Bare {
    pub(super) fn start(sessions: usize) -> Result<Self> {
        let sockets: Vec<UdpSocket> =
            (0..sessions).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
        let mut command = Command::new(program::path("bareforward")?);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start bareforward")?;
        let (ports, out) = (child.stdin.take().context("its stdin")?, child.stdout.take().context("its stdout")?);
        let mut forwarder = Self { child, at: (Ipv4Addr::UNSPECIFIED, 0).into(), sockets };
        forwarder.introduce(ports, BufReader::new(out))?;
        Ok(forwarder)
    }

    fn introduce(&mut self, mut ports: impl Write, out: impl BufRead) -> Result<()> {
        let mut out = out.lines();
        let mut line = || out.next().context("bareforward has ended")?.context("read from bareforward");
        self.at = line()?.parse().context("its address")?;
        for pair in self.sockets.chunks_exact(2) {
            let [one, other] = [pair[0].local_addr()?.port(), pair[1].local_addr()?.port()];
            writeln!(ports, "{one} {other}\n{other} {one}").context("tell bareforward")?;
        }
        drop(ports);
        line().map(drop)
    }

    pub(super) fn load(&self) -> Result<Load> {
        let flow = |socket: &UdpSocket| {
            socket.connect(self.at)?;
            Ok(Flow { socket: socket.try_clone()?, frame: vec![7; HEADER + PAYLOAD] })
        };
        let flows = self.sockets.iter().map(flow).collect::<Result<_>>()?;
        let receivers = self.sockets.iter().map(UdpSocket::try_clone).collect::<Result<_, _>>()?;
        let pid = Pid(self.child.id());
        Ok(Load { pid, flows, receivers, copies: 1, heard_by: 1, shape: Shape::VOICE, callers: Vec::new() })
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // One that has ended needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
