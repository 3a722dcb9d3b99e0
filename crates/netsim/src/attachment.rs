//! The end of a wire at a host or router, and what goes over it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use crate::{DropReason, Link, Rng, Segment, link::Lane};

/// Where something is attached, and by what wire.
pub(crate) struct Attachment {
    pub(crate) segment: Segment,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) link: Link,
    pub(crate) cut: bool,
    pub(crate) up: Lane,
    pub(crate) down: Lane,
}

#[derive(Clone)]
pub(crate) struct Packet {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) payload: Vec<u8>,
    pub(crate) ttl: u8,
}

impl Attachment {
    pub(crate) fn new(segment: Segment, addresses: &[IpAddr]) -> Self {
        let (up, down) = (Lane::default(), Lane::default());
        Self { segment, addresses: addresses.to_vec(), link: Link::default(), cut: false, up, down }
    }

    pub(crate) fn owns(&self, segment: Segment, ip: IpAddr) -> bool {
        self.segment == segment && self.addresses.contains(&ip)
    }

    pub(crate) fn pass_up(
        &mut self,
        packet: &Packet,
        now: Instant,
        rng: &mut Rng,
    ) -> Result<(Instant, Option<Instant>), DropReason> {
        if self.cut { Err(DropReason::Cut) } else { self.up.pass(&self.link, packet.ip_len(), now, rng) }
    }

    pub(crate) fn pass_down(
        &mut self,
        packet: &Packet,
        now: Instant,
        rng: &mut Rng,
    ) -> Result<(Instant, Option<Instant>), DropReason> {
        if self.cut { Err(DropReason::Cut) } else { self.down.pass(&self.link, packet.ip_len(), now, rng) }
    }
}

impl Packet {
    /// Takes routers off its time to live; false if it ends at one of them.
    pub(crate) fn pass_routers(&mut self, count: u8) -> bool {
        let passes = self.ttl > count;
        self.ttl = self.ttl.saturating_sub(count);
        passes
    }

    /// Length with UDP and IP headers.
    fn ip_len(&self) -> usize {
        self.payload.len() + if self.to.is_ipv4() { 28 } else { 48 }
    }
}
