use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use punch::SocketId;
use wire::{
    guess::Router,
    nat::Ports,
    stun::{self, Class, Message, TransactionId},
};

use crate::Transmit;

/// When the rendezvous is asked, from the start; then it is given up.
const ASKS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(150), Duration::from_millis(400), Duration::from_millis(900)];
const GIVEN_UP: Duration = Duration::from_millis(1500);
/// Two ports that were chosen right after each other are no farther apart in a sequence.
const NEXT: u16 = 16;
/// The same where others had seen a block, in which two ports are near each other by chance, too.
const NEXT_IN_BLOCK: u16 = 4;

/// Asks two ports of the rendezvous where they see a fresh socket (RFC 8489, Binding): of a router that chooses a port for each,
/// that says where it is, and how it goes on.
#[derive(Debug)]
pub(super) struct Scout {
    socket: SocketId,
    ids: [TransactionId; 2],
    seen: [Option<u16>; 2],
    started: Instant,
    asked: usize,
    requests: VecDeque<Transmit>,
}

impl Scout {
    /// `id` is to be random.
    pub(super) fn new(socket: SocketId, id: [u8; 12], now: Instant) -> Self {
        let mut other = id;
        other[0] ^= 1;
        let ids = [id, other].map(TransactionId);
        Self { socket, ids, seen: [None; 2], started: now, asked: 0, requests: VecDeque::new() }
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        self.started + ASKS.get(self.asked).copied().unwrap_or(GIVEN_UP)
    }

    /// Whether there is nothing more to wait for.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.seen.iter().all(Option::is_some) || now >= self.started + GIVEN_UP
    }

    pub(super) fn poll_transmit(&mut self, server: SocketAddr, now: Instant) -> Option<Transmit> {
        if self.asked < ASKS.len() && now >= self.poll_timeout() {
            self.asked += 1;
            let unanswered = (0..).zip(self.ids.iter().zip(self.seen)).filter(|(_, (_, seen))| seen.is_none());
            self.requests.extend(unanswered.map(|(index, (id, _))| {
                let to = SocketAddr::new(server.ip(), server.port().saturating_add(index));
                Transmit { socket: self.socket, to, payload: stun::request(*id).into(), ttl: None }
            }));
        }
        self.requests.pop_front()
    }

    pub(super) fn handle_input(&mut self, socket: SocketId, datagram: &[u8]) {
        let Ok(message) = Message::decode(datagram) else { return };
        let index = self.ids.iter().position(|id| *id == message.transaction);
        let port = message.mapped_address().map(|seen| seen.port()).filter(|port| *port != 0);
        if let Some(index) =
            index.filter(|_| socket == self.socket && message.class == Class::Success && port.is_some())
        {
            self.seen[index] = port;
        }
    }

    /// The router as it is, given what was known of it.
    pub(super) fn revise(&self, router: Router) -> Router {
        let [first, next] = self.seen;
        let port = next.or(first);
        let ports = match (router.ports, first.zip(next)) {
            (Some(known @ (Ports::Sequential { .. } | Ports::Block { .. })), Some((first, next)))
                if first != next && is_next(known, first.abs_diff(next)) =>
            {
                let step = i32::from(next) - i32::from(first);
                i16::try_from(step).ok().map(|step| Ports::Sequential { step })
            }
            (Some(Ports::Sequential { .. }), Some((first, next))) if first != next => {
                let size = 1_u32 << (16 - (first ^ next).leading_zeros());
                Some(
                    u16::try_from(size).map_or(Ports::Random, |size| Ports::Block { first: first & !(size - 1), size }),
                )
            }
            (ports, _) => ports,
        };
        Router { ports, port, ..router }
    }
}

fn is_next(known: Ports, distance: u16) -> bool {
    distance <= if matches!(known, Ports::Block { .. }) { NEXT_IN_BLOCK } else { NEXT }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revised(ports: Ports, seen: [Option<u16>; 2]) -> (Option<Ports>, Option<u16>) {
        let scout = Scout { seen, ..Scout::new(SocketId(1), [0; 12], netsim::epoch()) };
        let router = scout.revise(Router { ports: Some(ports), ..Router::default() });
        (router.ports, router.port)
    }

    #[test]
    fn two_ports_in_a_row_say_more_than_what_was_seen_before() {
        let sequence = |step| Ports::Sequential { step };
        let block = |first, size| Ports::Block { first, size };
        for (ports, seen, expected, last) in [
            (sequence(7), [Some(5000), Some(5001)], sequence(1), Some(5001)),
            (sequence(1), [Some(5000), Some(4998)], sequence(-2), Some(4998)),
            (block(4992, 128), [Some(5000), Some(5001)], sequence(1), Some(5001)),
            (block(4608, 512), [Some(5000), Some(4700)], block(4608, 512), Some(4700)),
            (block(4992, 128), [Some(5000), Some(5008)], block(4992, 128), Some(5008)),
            (sequence(6), [Some(5000), Some(4700)], block(4608, 512), Some(4700)),
            (sequence(3), [Some(5000), None], sequence(3), Some(5000)),
            (sequence(3), [None, Some(5003)], sequence(3), Some(5003)),
            (sequence(3), [None, None], sequence(3), None),
            (Ports::Random, [Some(5000), Some(5001)], Ports::Random, Some(5001)),
            (Ports::Preserving, [Some(5000); 2], Ports::Preserving, Some(5000)),
        ] {
            assert_eq!(revised(ports, seen), (Some(expected), last), "{ports:?} {seen:?}");
        }
    }
}
