//! Runs a core over a UDP socket until it has done its work, for commands that ask and end.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context;
use mio::{Interest, Poll, Token};

use crate::net::socket::Udp;

const MAX_RECEIVED: usize = 2048;

/// What can be run so.
pub(crate) trait Core {
    fn poll_transmit(&mut self, now: Instant) -> Option<(SocketAddr, Vec<u8>)>;
    fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8], now: Instant);
    fn handle_timeout(&mut self, now: Instant);
    fn poll_timeout(&mut self) -> Option<Instant>;
    /// Whether there is nothing left to do.
    fn is_done(&mut self) -> bool;
}

/// A datagram that the system did not take.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) to: SocketAddr,
    pub(crate) error: io::Error,
}

/// Runs until the core is done, at most for `limit`.
pub(crate) fn drive(udp: &mut Udp, core: &mut impl Core, limit: Duration) -> anyhow::Result<Vec<Unsent>> {
    let end = Instant::now() + limit;
    let mut poll = Poll::new().context("make an event queue")?;
    poll.registry().register(&mut udp.socket, Token(0), Interest::READABLE).context("watch the UDP socket")?;
    let (mut happened, mut unsent) = (mio::Events::with_capacity(8), Vec::new());
    loop {
        let now = Instant::now();
        if core.poll_timeout().is_some_and(|due| due <= now) {
            core.handle_timeout(now);
        }
        while let Some((to, payload)) = core.poll_transmit(now) {
            if let Err(error) = udp.send(to, &payload) {
                tracing::debug!(%to, %error, "a datagram was not sent");
                unsent.push(Unsent { to, error });
            }
        }
        if core.is_done() || now >= end {
            break;
        }
        let due = core.poll_timeout().map_or(end, |due| due.min(end));
        match poll.poll(&mut happened, Some(due.saturating_duration_since(now))) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error).context("wait for answers"),
            _ => receive(udp, core),
        }
    }
    poll.registry().deregister(&mut udp.socket).context("let go of the UDP socket")?;
    Ok(unsent)
}

fn receive(udp: &Udp, core: &mut impl Core) {
    let mut buffer = [0; MAX_RECEIVED];
    loop {
        match udp.receive(&mut buffer) {
            Ok((len, from)) => core.handle_datagram(from, &buffer[..len], Instant::now()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // An ICMP error for something sent earlier; the core learns from silence.
            Err(error) => tracing::trace!(%error, "receive a datagram"),
        }
    }
}
