use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use punch::SocketId;
use wire::stun::{self, Class, Message, TransactionId};

use crate::Transmit;

/// When the rendezvous is asked, from the start; then it is given up.
const ASKS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(150), Duration::from_millis(400), Duration::from_millis(900)];
const GIVEN_UP: Duration = Duration::from_millis(1500);

/// Asks the rendezvous at which port it sees a fresh socket (RFC 8489, Binding).
#[derive(Debug)]
pub(super) struct Scout {
    socket: SocketId,
    id: TransactionId,
    started: Instant,
    asked: usize,
}

impl Scout {
    /// `id` is to be random.
    pub(super) fn new(socket: SocketId, id: [u8; 12], now: Instant) -> Self {
        Self { socket, id: TransactionId(id), started: now, asked: 0 }
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        self.started + ASKS.get(self.asked).copied().unwrap_or(GIVEN_UP)
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.started + GIVEN_UP
    }

    pub(super) fn poll_transmit(&mut self, server: SocketAddr, now: Instant) -> Option<Transmit> {
        if self.asked >= ASKS.len() || now < self.poll_timeout() {
            return None;
        }
        self.asked += 1;
        Some(Transmit { socket: self.socket, to: server, payload: stun::request(self.id).into(), ttl: None })
    }

    /// The port, if this is the answer.
    pub(super) fn handle_input(&self, socket: SocketId, datagram: &[u8]) -> Option<u16> {
        let message = Message::decode(datagram).ok().filter(|message| message.transaction == self.id)?;
        let is_answer = socket == self.socket && message.class == Class::Success;
        is_answer.then(|| message.mapped_address()).flatten().map(|seen| seen.port()).filter(|port| *port != 0)
    }
}
