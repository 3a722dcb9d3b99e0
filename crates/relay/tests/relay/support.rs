//! A relay with members, on a clock that only the test moves.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use registry::{ChannelName, ConnId};
use relay::{Dropped, Limits, Relay};
use wire::{MemberSlot, relay as frames};

pub(crate) struct Server {
    pub(crate) relay: Relay,
    pub(crate) now: Instant,
}

/// A member: its seat is also the number of its signalling session.
#[derive(Clone, Copy)]
pub(crate) struct Member {
    pub(crate) session: u64,
    pub(crate) seat: u16,
    pub(crate) at: SocketAddr,
}

impl Member {
    pub(crate) fn conn(&self) -> ConnId {
        ConnId(self.seat.into())
    }
}

/// What a frame became: what is sent, and where to.
pub(crate) type Sent = (Vec<u8>, Vec<SocketAddr>);

pub(crate) fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

/// Another address for each number, of other subscribers.
pub(crate) fn address(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    SocketAddr::from(([203, 0, high, low], 4000))
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        #[allow(clippy::disallowed_methods, reason = "a test's time starts somewhere")]
        let now = Instant::now();
        Self { relay: Relay::new(limits, [7; 32], now), now }
    }

    pub(crate) fn seat(&mut self, name: &str, seat: u16) -> Member {
        self.seat_at(name, seat, address(seat))
    }

    pub(crate) fn seat_at(&mut self, name: &str, seat: u16, at: SocketAddr) -> Member {
        let grant = self.relay.open(ConnId(seat.into()), &channel(name), MemberSlot(seat), at, at.ip(), self.now);
        Member { session: grant.session, seat, at }
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    pub(crate) fn send(&mut self, from: Member, to: u16, sealed: &[u8]) -> Result<Sent, Dropped> {
        self.take(from.at, frames::up(from.session, MemberSlot(to), sealed))
    }

    pub(crate) fn send_to_all(&mut self, from: Member, to: &[u16], sealed: &[u8]) -> Result<Sent, Dropped> {
        let to: Vec<_> = to.iter().copied().map(MemberSlot).collect();
        self.take(from.at, frames::fan_out(from.session, &to, sealed))
    }

    pub(crate) fn take(&mut self, from: SocketAddr, mut datagram: Vec<u8>) -> Result<Sent, Dropped> {
        let forwarded = self.relay.forward(from, &mut datagram, self.now)?;
        Ok((forwarded.frame.to_vec(), forwarded.to.to_vec()))
    }

    /// How many of the frames that come every so often get through, and the first reason why one does not.
    pub(crate) fn stream(
        &mut self,
        count: usize,
        every: Duration,
        mut send: impl FnMut(&mut Self) -> Result<Sent, Dropped>,
    ) -> (usize, Option<Dropped>) {
        let (mut through, mut why) = (0, None);
        for _ in 0..count {
            match send(self) {
                Ok(_) => through += 1,
                Err(dropped) => why = why.or(Some(dropped)),
            }
            self.wait(every);
        }
        (through, why)
    }
}
