//! The network: who is attached where, and the queue of datagrams that are on their way.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use crate::{
    Hairpin, Link, Nat, Rng, Udp,
    attachment::{Attachment, Packet},
    table::Table,
};

/// A host of a [`Net`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HostId(usize);

/// A router of a [`Net`].
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RouterId(usize);

/// What hosts and routers are attached to: the internet, or the inside of a router.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Segment(usize);

impl Segment {
    /// The segment that everything public is attached to.
    pub const INTERNET: Self = Self(0);
}

impl RouterId {
    /// The segment behind this router.
    pub fn inside(self) -> Segment {
        Segment(self.0 + 1)
    }
}

/// A datagram that has arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// When.
    pub at: Instant,
    /// At which host.
    pub host: HostId,
    /// At which of its ports.
    pub port: u16,
    /// Where it seems to come from.
    pub from: SocketAddr,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// Why a datagram did not arrive.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum DropReason {
    /// By chance.
    Lost,
    /// Longer than the link's MTU.
    TooLong,
    /// The link's queue was full.
    QueueFull,
    /// Nobody has the address, or the sender has none of its family.
    NoRoute,
    /// A link on the way is cut.
    Cut,
    /// No mapping of the router has the port.
    NoMapping,
    /// The sender was not asked.
    Filtered,
    /// The router has no room for another mapping.
    TableFull,
    /// A datagram to the router's own outside came from inside.
    Hairpin,
    /// The router lets no such UDP pass.
    Blocked,
    /// It has passed as many routers as its time to live allows.
    Expired,
}

/// Hosts, routers, and the datagrams between them.
pub struct Net {
    rng: Rng,
    hosts: Vec<Host>,
    routers: Vec<Router>,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    moving: BTreeMap<u64, Step>,
    steps: u64,
    deliveries: VecDeque<Delivery>,
    drops: BTreeMap<DropReason, u64>,
    core_hops: u8,
}

/// The time to live that datagrams start with unless said otherwise.
pub const TTL: u8 = 64;
/// So many routers are in the middle of the internet unless said otherwise.
pub const CORE_HOPS: u8 = 8;

struct Host {
    port: Attachment,
    received: u64,
}

struct Router {
    port: Attachment,
    v4: Table,
    v6: Table,
}

enum Step {
    Enter(Segment, Packet),
    ReachHost(HostId, Packet),
    ReachRouter(RouterId, Packet),
}

impl Net {
    /// An empty network; everything that is left to chance follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            hosts: Vec::new(),
            routers: Vec::new(),
            queue: BinaryHeap::new(),
            moving: BTreeMap::new(),
            steps: 0,
            deliveries: VecDeque::new(),
            drops: BTreeMap::new(),
            core_hops: CORE_HOPS,
        }
    }

    /// Attaches a host with at most one address of each family, by a default [`Link`].
    pub fn add_host(&mut self, at: Segment, addresses: &[IpAddr]) -> HostId {
        self.hosts.push(Host { port: Attachment::new(at, addresses), received: 0 });
        HostId(self.hosts.len() - 1)
    }

    /// Attaches a router with a segment of its own behind it, by a default [`Link`]. `nat` is for IPv4; IPv6 is not
    /// translated but passes a firewall that lets answers in.
    pub fn add_router(&mut self, at: Segment, addresses: &[IpAddr], nat: Nat) -> RouterId {
        let firewall = Nat { translate: false, udp: nat.udp, ..Nat::default() };
        let port = Attachment::new(at, addresses);
        let outside = addresses.iter().copied().find(IpAddr::is_ipv4).unwrap_or(IpAddr::from([0, 0, 0, 0]));
        self.routers.push(Router { v4: Table::new(nat, outside), v6: Table::new(firewall, outside), port });
        RouterId(self.routers.len() - 1)
    }

    /// Replaces the wire of a host.
    pub fn set_link(&mut self, host: HostId, link: Link) {
        self.hosts[host.0].port.link = link;
    }

    /// Replaces the wire between a router and what is outside of it.
    pub fn set_uplink(&mut self, router: RouterId, link: Link) {
        self.routers[router.0].port.link = link;
    }

    /// Replaces what a router does to IPv6, forgetting its state.
    pub fn set_v6(&mut self, router: RouterId, firewall: Nat) {
        let router = &mut self.routers[router.0];
        router.v6 = Table::new(Nat { translate: false, ..firewall }, IpAddr::from([0, 0, 0, 0]));
    }

    /// Puts so many routers into the middle of the internet; a datagram whose time to live is not longer ends there.
    pub fn set_core_hops(&mut self, hops: u8) {
        self.core_hops = hops;
    }

    /// Cuts the wire between a router and what is outside of it, or mends it.
    pub fn cut_uplink(&mut self, router: RouterId, cut: bool) {
        self.routers[router.0].port.cut = cut;
    }

    /// Cuts the wire of a host, or mends it.
    pub fn cut(&mut self, host: HostId, cut: bool) {
        self.hosts[host.0].port.cut = cut;
    }

    /// Makes a router forget all mappings.
    pub fn reboot(&mut self, router: RouterId) {
        let router = &mut self.routers[router.0];
        router.v4.reboot();
        router.v6.reboot();
    }

    /// Gives a router another outside address, as a provider does at night; all mappings go.
    pub fn renumber(&mut self, router: RouterId, outside: IpAddr) {
        let router = &mut self.routers[router.0];
        router.v4 = Table::new(router.v4.nat(), outside);
        router.v6.reboot();
        router.port.addresses.retain(IpAddr::is_ipv6);
        router.port.addresses.push(outside);
    }

    /// Attaches a host somewhere else under other addresses, as a telephone does that leaves the house.
    pub fn move_host(&mut self, host: HostId, to: Segment, addresses: &[IpAddr]) {
        let link = self.hosts[host.0].port.link;
        self.hosts[host.0].port = Attachment { link, ..Attachment::new(to, addresses) };
    }

    /// The addresses of a host.
    pub fn addresses(&self, host: HostId) -> &[IpAddr] {
        &self.hosts[host.0].port.addresses
    }

    /// The addresses of a router's outside.
    pub fn outside_addresses(&self, router: RouterId) -> &[IpAddr] {
        &self.routers[router.0].port.addresses
    }

    /// Where a host is attached.
    pub fn segment(&self, host: HostId) -> Segment {
        self.hosts[host.0].port.segment
    }

    /// A router's outside addresses.
    pub fn router_addresses(&self, router: RouterId) -> &[IpAddr] {
        &self.routers[router.0].port.addresses
    }

    /// What a router is attached to.
    pub fn outside_of(&self, router: RouterId) -> Segment {
        self.routers[router.0].port.segment
    }

    /// Whether hosts on this segment have addresses that the internet knows.
    pub fn is_public(&self, segment: Segment) -> bool {
        let Some(router) = segment.0.checked_sub(1) else { return true };
        let router = &self.routers[router];
        !router.v4.nat().translate && self.is_public(router.port.segment)
    }

    /// How many datagrams have arrived at a host.
    pub fn received(&self, host: HostId) -> u64 {
        self.hosts[host.0].received
    }

    /// How many datagrams were dropped for this reason.
    pub fn dropped(&self, why: DropReason) -> u64 {
        self.drops.get(&why).copied().unwrap_or(0)
    }

    /// Sends a datagram from a port of a host.
    pub fn send(&mut self, host: HostId, from_port: u16, to: SocketAddr, payload: Vec<u8>, now: Instant) {
        self.send_with_ttl(host, from_port, to, payload, TTL, now);
    }

    /// Sends a datagram that passes so many routers less one, and ends at the next.
    pub fn send_with_ttl(
        &mut self,
        host: HostId,
        from_port: u16,
        to: SocketAddr,
        payload: Vec<u8>,
        ttl: u8,
        now: Instant,
    ) {
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        let own = &self.hosts[host.0].port.addresses;
        if to.ip().is_loopback() || own.contains(&to.ip()) {
            let from = SocketAddr::new(to.ip(), from_port);
            return self.push(now, Step::ReachHost(host, Packet { from, to, payload, ttl }));
        }
        match own.iter().find(|ip| ip.is_ipv4() == to.is_ipv4()) {
            Some(ip) => {
                let from = SocketAddr::new(*ip, from_port);
                self.leave(host, Packet { from, to, payload, ttl }, now);
            }
            None => self.drop_packet(DropReason::NoRoute),
        }
    }

    /// Sends a datagram with any source address, as an attacker's host may whose provider does not filter.
    pub fn forge(&mut self, host: HostId, from: SocketAddr, to: SocketAddr, payload: Vec<u8>, now: Instant) {
        self.leave(host, Packet { from, to, payload, ttl: TTL }, now);
    }

    fn leave(&mut self, host: HostId, packet: Packet, now: Instant) {
        let port = &mut self.hosts[host.0].port;
        let segment = port.segment;
        let passed = port.pass_up(&packet, now, &mut self.rng);
        self.pass_on(passed, packet, |packet| Step::Enter(segment, packet));
    }

    /// When the next thing happens in the network.
    pub fn next_event(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse((at, _))| *at)
    }

    /// Lets everything happen that is due.
    pub fn advance(&mut self, now: Instant) {
        while self.next_event().is_some_and(|at| at <= now) {
            let Some(Reverse((at, id))) = self.queue.pop() else { return };
            match self.moving.remove(&id) {
                Some(Step::Enter(Segment::INTERNET, packet)) => self.cross_the_core(packet, at),
                Some(Step::Enter(segment, packet)) => self.route(segment, packet, at),
                Some(Step::ReachHost(host, packet)) => self.deliver(host, packet, at),
                Some(Step::ReachRouter(router, packet)) => self.come_in(router, packet, at),
                None => {}
            }
        }
    }

    /// Takes the next datagram that has arrived.
    pub fn poll_delivery(&mut self) -> Option<Delivery> {
        self.deliveries.pop_front()
    }

    fn deliver(&mut self, host: HostId, packet: Packet, at: Instant) {
        self.hosts[host.0].received += 1;
        let Packet { from, to, payload, .. } = packet;
        self.deliveries.push_back(Delivery { at, host, port: to.port(), from, payload });
    }

    fn cross_the_core(&mut self, mut packet: Packet, now: Instant) {
        match packet.pass_routers(self.core_hops) {
            true => self.route(Segment::INTERNET, packet, now),
            false => self.drop_packet(DropReason::Expired),
        }
    }

    /// A datagram is on a segment's wire: to whom does it go next?
    fn route(&mut self, segment: Segment, packet: Packet, now: Instant) {
        let ip = packet.to.ip();
        let rng = &mut self.rng;
        if let Some(index) = self.hosts.iter().position(|host| host.port.owns(segment, ip)) {
            let passed = self.hosts[index].port.pass_down(&packet, now, rng);
            return self.pass_on(passed, packet, |packet| Step::ReachHost(HostId(index), packet));
        }
        if let Some(index) = (0..self.routers.len()).find(|index| self.leads_to(RouterId(*index), segment, ip)) {
            let passed = self.routers[index].port.pass_down(&packet, now, &mut self.rng);
            return self.pass_on(passed, packet, |packet| Step::ReachRouter(RouterId(index), packet));
        }
        match segment.0.checked_sub(1) {
            Some(router) => self.go_out(RouterId(router), packet, now),
            None => self.drop_packet(DropReason::NoRoute),
        }
    }

    /// Whether what is for `ip` and on `segment` has to enter this router.
    fn leads_to(&self, router: RouterId, segment: Segment, ip: IpAddr) -> bool {
        let node = &self.routers[router.0];
        if node.port.segment != segment {
            return false;
        }
        let translates = ip.is_ipv4() && node.v4.nat().translate;
        let inside = router.inside();
        node.port.addresses.contains(&ip)
            || !translates
                && (self.hosts.iter().any(|host| host.port.owns(inside, ip))
                    || (0..self.routers.len()).any(|inner| self.leads_to(RouterId(inner), inside, ip)))
    }

    fn go_out(&mut self, router: RouterId, mut packet: Packet, now: Instant) {
        let node = &mut self.routers[router.0];
        if !packet.pass_routers(1) {
            return self.drop_packet(DropReason::Expired);
        }
        let hairpin = node.port.addresses.contains(&packet.to.ip());
        let table = if packet.from.is_ipv4() { &mut node.v4 } else { &mut node.v6 };
        if !table.nat().udp.lets_out(packet.to.port()) {
            return self.drop_packet(DropReason::Blocked);
        }
        let how = table.nat().hairpin;
        if hairpin && how == Hairpin::No {
            return self.drop_packet(DropReason::Hairpin);
        }
        let external = match table.outbound(packet.from, packet.to, now, &mut self.rng) {
            Ok(external) => external,
            Err(why) => return self.drop_packet(why),
        };
        if hairpin {
            match table.inbound(packet.to, external, now) {
                Ok(inside) => packet.to = inside,
                Err(why) => return self.drop_packet(why),
            }
            if how == Hairpin::ExternalSource {
                packet.from = external;
            }
            return self.route(router.inside(), packet, now);
        }
        packet.from = external;
        let segment = node.port.segment;
        let passed = node.port.pass_up(&packet, now, &mut self.rng);
        self.pass_on(passed, packet, |packet| Step::Enter(segment, packet));
    }

    fn come_in(&mut self, router: RouterId, mut packet: Packet, now: Instant) {
        let node = &mut self.routers[router.0];
        let table = if packet.to.is_ipv4() { &mut node.v4 } else { &mut node.v6 };
        if table.nat().udp == Udp::Blocked {
            return self.drop_packet(DropReason::Blocked);
        }
        if !packet.pass_routers(1) {
            return self.drop_packet(DropReason::Expired);
        }
        match table.inbound(packet.to, packet.from, now) {
            Ok(inside) => {
                packet.to = inside;
                self.route(router.inside(), packet, now);
            }
            Err(why) => self.drop_packet(why),
        }
    }

    fn pass_on(
        &mut self,
        passed: Result<(Instant, Option<Instant>), DropReason>,
        packet: Packet,
        step: impl Fn(Packet) -> Step,
    ) {
        match passed {
            Ok((at, copy_at)) => {
                if let Some(copy_at) = copy_at {
                    self.push(copy_at, step(packet.clone()));
                }
                self.push(at, step(packet));
            }
            Err(why) => self.drop_packet(why),
        }
    }

    fn push(&mut self, at: Instant, step: Step) {
        self.steps += 1;
        self.moving.insert(self.steps, step);
        self.queue.push(Reverse((at, self.steps)));
    }

    fn drop_packet(&mut self, why: DropReason) {
        *self.drops.entry(why).or_default() += 1;
    }
}
