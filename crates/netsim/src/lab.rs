use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{HostId, Net, TTL, epoch};

/// A sans-IO program that runs on a host.
pub trait Stack {
    /// Takes a datagram that arrived at one of its ports.
    fn handle_datagram(&mut self, port: u16, from: SocketAddr, payload: &[u8], now: Instant);
    /// Does what was due.
    fn handle_timeout(&mut self, now: Instant);
    /// Gives the next datagram to send.
    fn poll_transmit(&mut self, now: Instant) -> Option<Outgoing>;
    /// Gives the next datagram to send with its time to live; a stack that never sends short-lived ones need not say it.
    fn poll_packet(&mut self, now: Instant) -> Option<(Outgoing, u8)> {
        self.poll_transmit(now).map(|out| (out, TTL))
    }
    /// Tells when it wants to be called next.
    fn poll_timeout(&mut self) -> Option<Instant>;
}

/// A datagram that a [`Stack`] sends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outgoing {
    /// From which of its ports.
    pub port: u16,
    /// Where to.
    pub to: SocketAddr,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// A network with a program on each host, and the clock that drives them all.
pub struct Lab<S> {
    /// The network; change it between runs as you like.
    pub net: Net,
    stacks: BTreeMap<HostId, S>,
    now: Instant,
}

/// More turns than this without the clock moving mean that some program wants to be called again at once for ever.
const MAX_TURNS_AT_ONE_INSTANT: u32 = 100_000;

impl<S: Stack> Lab<S> {
    /// An empty network at [`epoch`].
    pub fn new(seed: u64) -> Self {
        Self { net: Net::new(seed), stacks: BTreeMap::new(), now: epoch() }
    }

    /// What time it is.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Puts a program on a host, in the place of any other.
    pub fn install(&mut self, host: HostId, stack: S) {
        self.stacks.insert(host, stack);
        self.drain(host);
    }

    /// Takes the program off a host, as kill -9 does.
    pub fn uninstall(&mut self, host: HostId) -> Option<S> {
        self.stacks.remove(&host)
    }

    /// Whether there is a program on a host.
    pub fn has_stack(&self, host: HostId) -> bool {
        self.stacks.contains_key(&host)
    }

    /// The program on a host.
    ///
    /// # Panics
    /// If there is none.
    pub fn stack(&self, host: HostId) -> &S {
        &self.stacks[&host]
    }

    /// The program on a host, if there is one, to look into or to change behind its back.
    pub fn stack_mut(&mut self, host: HostId) -> Option<&mut S> {
        self.stacks.get_mut(&host)
    }

    /// Does something to the program on a host, then sends what it wants sent.
    ///
    /// # Panics
    /// If there is none.
    pub fn with<R>(&mut self, host: HostId, deed: impl FnOnce(&mut S, Instant) -> R) -> R {
        let now = self.now;
        let result = deed(self.stacks.get_mut(&host).expect("a stack is installed on the host"), now);
        self.drain(host);
        result
    }

    /// Runs for so long.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// Runs until the condition holds, at most for so long; tells whether it holds.
    pub fn run_until(&mut self, limit: Duration, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            if holds(self) {
                return true;
            }
            if !self.step(end) {
                return holds(self);
            }
        }
    }

    /// Moves the clock to the next event, at most to `end`, and lets it happen; false if `end` came first.
    ///
    /// # Panics
    /// If a program keeps asking to be called at once.
    fn step(&mut self, end: Instant) -> bool {
        let due = self.stacks.values_mut().filter_map(Stack::poll_timeout).chain(self.net.next_event()).min();
        let Some(due) = due.filter(|due| *due <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(due);
        for turn in 0.. {
            assert!(turn < MAX_TURNS_AT_ONE_INSTANT, "a stack asks to be called at once, for ever");
            if !self.turn() {
                break;
            }
        }
        true
    }

    /// Everything that is due at this instant, once; tells whether there was anything.
    fn turn(&mut self) -> bool {
        let now = self.now;
        let mut busy = false;
        self.net.advance(now);
        while let Some(delivery) = self.net.poll_delivery() {
            busy = true;
            if let Some(stack) = self.stacks.get_mut(&delivery.host) {
                stack.handle_datagram(delivery.port, delivery.from, &delivery.payload, now);
                self.drain(delivery.host);
            }
        }
        let due = |stack: &mut S| stack.poll_timeout().is_some_and(|at| at <= now);
        let hosts: Vec<_> = self.stacks.iter_mut().filter_map(|(host, stack)| due(stack).then_some(*host)).collect();
        for host in hosts {
            busy = true;
            self.with(host, Stack::handle_timeout);
        }
        busy
    }

    fn drain(&mut self, host: HostId) {
        let Some(stack) = self.stacks.get_mut(&host) else { return };
        while let Some((Outgoing { port, to, payload }, ttl)) = stack.poll_packet(self.now) {
            self.net.send_with_ttl(host, port, to, payload, ttl, self.now);
        }
    }
}
