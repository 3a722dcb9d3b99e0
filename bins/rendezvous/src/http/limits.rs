//! How much one source may ask of the HTTP port.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use registry::{Prefix, Rate, RateTable};

use super::problem::Problem;

const MAX_CONNECTIONS: usize = 4096;
const MAX_CONNECTIONS_PER_NETWORK: usize = 64;
/// Tunnels, which are connections no more.
const MAX_TUNNELS: usize = 1024;
const MAX_TUNNELS_PER_NETWORK: usize = 32;
const PER_SUBSCRIBER: Rate = Rate::per_second(20, 40);
const PER_NETWORK: Rate = Rate::per_second(200, 400);

/// What can be set.
pub(crate) struct GateConfig {
    /// Whether this machine itself is limited; a reverse proxy on it speaks for everybody.
    pub(crate) limit_loopback: bool,
    /// Channels that a network may create in a day.
    pub(crate) new_channels: u32,
    /// Random; decides which sources share a counter.
    pub(crate) seed: u64,
}

/// Lets connections and requests in, or not.
pub(crate) struct Gate {
    limit_loopback: bool,
    connections: Arc<Mutex<Connections>>,
    tunnels: Arc<Mutex<Connections>>,
    requests: Mutex<[RateTable; 2]>,
    creates: Mutex<RateTable>,
}

#[derive(Default)]
struct Connections {
    all: usize,
    by_network: HashMap<Prefix, usize>,
}

/// Counts one connection until it is dropped.
pub(super) struct Ticket {
    connections: Arc<Mutex<Connections>>,
    network: Option<Prefix>,
}

impl Gate {
    pub(crate) fn new(config: &GateConfig, now: Instant) -> Self {
        let table = |rate| RateTable::new(rate, config.seed, now);
        Self {
            limit_loopback: config.limit_loopback,
            connections: Arc::default(),
            tunnels: Arc::default(),
            requests: Mutex::new([table(PER_SUBSCRIBER), table(PER_NETWORK)]),
            creates: Mutex::new(table(Rate::per_day(config.new_channels))),
        }
    }

    /// Whether one more connection may be.
    pub(super) fn connect(&self, from: IpAddr) -> Option<Ticket> {
        self.count(&self.connections, from, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_NETWORK)
    }

    /// Whether one more tunnel may be.
    pub(super) fn tunnel(&self, from: IpAddr) -> Option<Ticket> {
        self.count(&self.tunnels, from, MAX_TUNNELS, MAX_TUNNELS_PER_NETWORK)
    }

    fn count(&self, all: &Arc<Mutex<Connections>>, from: IpAddr, most: usize, per_network: usize) -> Option<Ticket> {
        let network = self.limits(from).then(|| Prefix::network(from));
        let mut connections = lock(all);
        if connections.all >= most {
            return None;
        }
        if let Some(network) = network {
            let count = connections.by_network.entry(network).or_default();
            if *count >= per_network {
                return None;
            }
            *count += 1;
        }
        connections.all += 1;
        Some(Ticket { connections: Arc::clone(all), network })
    }

    /// Whether one more request may be.
    pub(super) fn request(&self, from: IpAddr, now: Instant) -> Result<(), Problem> {
        let [subscribers, networks] = &mut *lock(&self.requests);
        let refused = self.limits(from)
            && !(subscribers.take(Prefix::subscriber(from), now) && networks.take(Prefix::network(from), now));
        if refused { Err(Problem::too_many("too many requests from there", 1)) } else { Ok(()) }
    }

    /// Whether one more channel may be created.
    pub(super) fn create(&self, from: IpAddr, now: Instant) -> Result<(), Problem> {
        let refused = self.limits(from) && !lock(&self.creates).take(Prefix::network(from), now);
        if refused { Err(Problem::too_many("too many new channels from there today", 3600)) } else { Ok(()) }
    }

    fn limits(&self, from: IpAddr) -> bool {
        self.limit_loopback || !from.to_canonical().is_loopback()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut connections = lock(&self.connections);
        connections.all -= 1;
        let Some(network) = self.network else { return };
        if let Some(count) = connections.by_network.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                connections.by_network.remove(&network);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(limit_loopback: bool) -> Gate {
        Gate::new(&GateConfig { limit_loopback, new_channels: 20, seed: 7 }, Instant::now())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_has_its_share_of_connections() {
        let gate = gate(false);
        let mut tickets: Vec<_> = (0..100).map_while(|_| gate.connect(ip("192.0.2.1"))).collect();
        assert_eq!(tickets.len(), MAX_CONNECTIONS_PER_NETWORK);
        assert!(gate.connect(ip("192.0.2.200")).is_none(), "the same network");
        assert!(gate.connect(ip("198.51.100.1")).is_some());
        tickets.pop();
        assert!(gate.connect(ip("192.0.2.200")).is_some());
    }

    #[test]
    fn a_network_has_its_share_of_tunnels_besides_its_connections() {
        let gate = gate(false);
        let connections: Vec<_> = (0..100).map_while(|_| gate.connect(ip("192.0.2.1"))).collect();
        let tunnels: Vec<_> = (0..100).map_while(|_| gate.tunnel(ip("192.0.2.1"))).collect();
        assert_eq!((connections.len(), tunnels.len()), (MAX_CONNECTIONS_PER_NETWORK, MAX_TUNNELS_PER_NETWORK));
        drop(tunnels);
        assert!(gate.tunnel(ip("192.0.2.1")).is_some());
    }

    #[test]
    fn all_networks_together_have_a_limit_that_holds_for_this_machine_too() {
        let gate = gate(false);
        let tickets: Vec<_> = (0..5000).map_while(|_| gate.connect(ip("::1"))).collect();
        assert_eq!(tickets.len(), MAX_CONNECTIONS);
        assert!(gate.connect(ip("192.0.2.1")).is_none());
    }

    #[test]
    fn requests_and_new_channels_are_counted_per_source() {
        let gate = gate(false);
        let now = Instant::now();
        let served = |from: &str| (0..100).filter(|_| gate.request(ip(from), now).is_ok()).count();
        assert_eq!(served("192.0.2.1"), 40);
        assert_eq!(served("192.0.2.2"), 40);
        assert_eq!(served("127.0.0.1"), 100);
        assert_eq!((0..100).filter(|_| gate.create(ip("2001:db8::1"), now).is_ok()).count(), 20);
    }

    #[test]
    fn this_machine_is_limited_on_demand() {
        let gate = gate(true);
        let now = Instant::now();
        assert_eq!((0..100).filter(|_| gate.request(ip("::ffff:127.0.0.1"), now).is_ok()).count(), 40);
    }
}
