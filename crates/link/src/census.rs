//! Counts of incoming links, so that who knocks costs no look at everybody who is there.

use std::{collections::BTreeMap, net::IpAddr};

use crate::LinkId;

/// Signalling links from one network, so that nobody alone takes all there are.
const MAX_PER_NETWORK: usize = 64;
/// The first half of every address in 100::/64.
const DISCARD_ONLY: u128 = 0x0100_0000_0000_0000;

/// How far an incoming link is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// It has yet to prove something.
    Pending,
    Open,
    Closed,
}

/// The incoming links that are not closed.
#[derive(Debug, Default)]
pub(crate) struct Census {
    links: BTreeMap<LinkId, (Network, Standing)>,
    networks: BTreeMap<Network, usize>,
    pending: usize,
}

impl Census {
    /// Notes how far a link is, and where it comes from by now.
    pub(crate) fn note(&mut self, link: LinkId, from: IpAddr, standing: Standing) {
        let entry = (Network::of(from), standing);
        if self.links.get(&link) == Some(&entry) {
            return;
        }
        self.forget(link);
        if standing != Standing::Closed {
            self.links.insert(link, entry);
            *self.networks.entry(entry.0).or_default() += 1;
            self.pending += usize::from(standing == Standing::Pending);
        }
    }

    fn forget(&mut self, link: LinkId) {
        let Some((network, standing)) = self.links.remove(&link) else { return };
        self.pending -= usize::from(standing == Standing::Pending);
        if let Some(count) = self.networks.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.networks.remove(&network);
            }
        }
    }

    /// Links that have yet to prove something.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// Whether one more may come from there. Programs on this machine are no strangers.
    pub(crate) fn has_room_for(&self, from: IpAddr) -> bool {
        let count = self.networks.get(&Network::of(from)).copied().unwrap_or_default();
        from.to_canonical().is_loopback() || count < MAX_PER_NETWORK
    }
}

/// What one customer of the internet has: an IPv4 address or an IPv6 /64. In 100::/64, from which no packet comes (RFC 6666), drivers
/// name other ways to talk than UDP: each address is one such way.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Network(u128);

impl Network {
    fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self(ip.to_ipv6_mapped().to_bits()),
            IpAddr::V6(ip) if ip.to_bits() >> 64 == DISCARD_ONLY => Self(ip.to_bits()),
            IpAddr::V6(ip) => Self(ip.to_bits() >> 64 << 64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn full(from: &str) -> Census {
        let mut census = Census::default();
        (0..MAX_PER_NETWORK as u64).for_each(|id| census.note(LinkId(id), ip(from), Standing::Open));
        census
    }

    #[test]
    fn a_network_is_full_for_all_its_addresses_and_however_they_are_written() {
        for (from, same, other) in [
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.2"),
            ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"),
            ("100::1", "100::1", "100::2"),
        ] {
            let census = full(from);
            assert!(!census.has_room_for(ip(from)) && !census.has_room_for(ip(same)), "{from}");
            assert!(census.has_room_for(ip(other)), "{other}");
        }
    }

    #[test]
    fn programs_on_this_machine_have_room_on_any_socket() {
        for from in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(full(from).has_room_for(ip(from)), "{from}");
        }
    }

    #[test]
    fn what_closes_or_moves_makes_room() {
        let mut census = full("192.0.2.1");
        census.note(LinkId(0), ip("192.0.2.1"), Standing::Closed);
        assert!(census.has_room_for(ip("192.0.2.1")));
        census.note(LinkId(0), ip("192.0.2.1"), Standing::Pending);
        census.note(LinkId(0), ip("192.0.2.1"), Standing::Pending);
        assert_eq!((census.has_room_for(ip("192.0.2.1")), census.pending()), (false, 1));
        census.note(LinkId(0), ip("192.0.2.9"), Standing::Open);
        assert_eq!((census.has_room_for(ip("192.0.2.1")), census.pending()), (true, 0));
        (0..MAX_PER_NETWORK as u64).for_each(|id| census.note(LinkId(id), ip("192.0.2.1"), Standing::Closed));
        assert!(census.links.is_empty() && census.networks.is_empty());
    }
}
