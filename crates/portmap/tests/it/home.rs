//! The loop around a mapper, in virtual time.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::{Duration, Instant},
};

use portmap::{Event, Mapper, Network, Transmit};

use crate::router::{GATEWAY, PORT, Router};

/// A mapper at a router, without delay.
pub(crate) struct Home {
    pub(crate) mapper: Mapper,
    pub(crate) router: Router,
    pub(crate) now: Instant,
    pub(crate) events: Vec<(Duration, Event)>,
    /// When what was sent, in time from the start.
    pub(crate) sent: Vec<(Duration, Transmit)>,
    pub(crate) is_cut: bool,
    start: Instant,
}

impl Home {
    pub(crate) fn with(change: impl FnOnce(&mut Router)) -> Self {
        let start = netsim::epoch();
        let mut router = Router::new(start);
        change(&mut router);
        let mut mapper = Mapper::new(*b"a seed for tests");
        mapper.set_network(Some(network()), start);
        Self { mapper, router, now: start, events: Vec::new(), sent: Vec::new(), is_cut: false, start }
    }

    /// A home where this much time has passed.
    pub(crate) fn after(time: Duration, change: impl FnOnce(&mut Router)) -> Self {
        let mut home = Self::with(change);
        home.run_for(time);
        home
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.drain();
            match self.mapper.poll_timeout().filter(|due| *due <= end) {
                Some(due) => {
                    self.now = self.now.max(due);
                    self.mapper.handle_timeout(self.now);
                }
                None => break,
            }
        }
        self.now = end;
    }

    fn drain(&mut self) {
        loop {
            if let Some(out) = self.mapper.poll_transmit() {
                self.sent.push((self.now - self.start, out.clone()));
                let answer = self.router.answer(&out, self.now).filter(|_| !self.is_cut);
                if let Some((from, bytes)) = answer {
                    self.mapper.handle_datagram(from.into(), &bytes, self.now);
                }
            } else if let Some(request) = self.mapper.poll_request() {
                if self.is_cut {
                    self.mapper.handle_stream_error("no route", self.now);
                    continue;
                }
                assert_eq!(*request.to.ip(), GATEWAY, "nobody else is ever asked");
                for piece in self.router.serve(&request, self.now).chunks(1000) {
                    if self.mapper.wants_stream() {
                        self.mapper.handle_stream(piece, self.now);
                    }
                }
                if self.mapper.wants_stream() && self.router.http_lie.as_ref().is_none_or(|lie| !lie.is_empty()) {
                    self.mapper.handle_stream_end(self.now);
                }
            } else if let Some(event) = self.mapper.poll_event() {
                self.events.push((self.now - self.start, event));
            } else {
                return;
            }
        }
    }

    /// Hears something that nobody asked for.
    pub(crate) fn hear(&mut self, from: impl Into<SocketAddr>, bytes: &[u8]) {
        self.mapper.handle_datagram(from.into(), bytes, self.now);
        self.drain();
    }

    pub(crate) fn close(&mut self) {
        self.mapper.close(self.now);
        self.drain();
    }

    /// The mapped addresses and who got them, in the order of the events; `None` for a loss.
    pub(crate) fn told(&self) -> Vec<String> {
        let words = self.events.iter().map(|(_, event)| match event {
            Event::Mapped { addr, protocol, lease } => format!("{addr} {protocol} {}", lease.as_secs()),
            Event::Lost { why } => format!("lost: {why}"),
            Event::Unavailable { why } => {
                let why: Vec<_> = why.iter().map(|(protocol, why)| format!("{protocol}: {why}")).collect();
                format!("none: {}", why.join("; "))
            }
        });
        words.collect()
    }

    /// Whether the router forwards the mapped port at this moment.
    pub(crate) fn is_forwarded(&self) -> bool {
        let port = self.mapper.mapped().map(|addr| addr.port());
        port.and_then(|port| self.router.mappings.get(&port)).is_some_and(|end| *end > self.now)
    }
}

pub(crate) fn network() -> Network {
    Network { gateway: GATEWAY, internal: SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 7), PORT) }
}
