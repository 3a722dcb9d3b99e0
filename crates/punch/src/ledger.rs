use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use wire::PeerTag;

/// Packets that an address gets which never answers, whoever named it and however often: nobody can aim more at a victim.
pub(crate) const LIMIT: u32 = 40;
/// The last ones of them are for answers to authentic checks from there. Without them, an address that was written to in
/// vain for a while, because a cable was out or a router forgot, would stay silent when its owner is back.
const ANSWERS: u32 = 10;
/// No more of them are traffic: a path that carries so much and is not confirmed is not worth the checks that may yet find it.
const TRAFFIC: u32 = 10;
/// Packets that a host gets at all its ports together as long as it does not answer at any: there may be many members behind one
/// router, but a victim has 65,536 ports.
const HOST_LIMIT: u32 = 400;
/// The last ones of them, too, are for answers.
const HOST_ANSWERS: u32 = 100;
/// After this time an address is taken for another one.
const FORGET: Duration = Duration::from_secs(3600);
/// Addresses in the book that one peer brought up.
const PER_PEER: usize = 128;
/// Addresses in the book, and hosts.
const TOTAL: usize = 4096;

/// Counts what was sent to each address that has not answered.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    accounts: BTreeMap<SocketAddr, Account>,
    /// When it was first written to, and how much was sent there.
    hosts: BTreeMap<Host, (Instant, u32)>,
    cleared: Option<Instant>,
}

/// What one victim has: an IPv4 address or an IPv6 /64.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Host(u128);

impl Host {
    fn of(addr: SocketAddr) -> Self {
        match addr.ip().to_canonical() {
            IpAddr::V4(ip) => Self(ip.to_ipv6_mapped().to_bits()),
            IpAddr::V6(ip) => Self(ip.to_bits() >> 64 << 64),
        }
    }
}

#[derive(Debug)]
struct Account {
    peer: PeerTag,
    since: Instant,
    sent: u32,
    traffic: u32,
}

impl Account {
    fn new(peer: PeerTag, since: Instant) -> Self {
        Self { peer, since, sent: 0, traffic: 0 }
    }
}

impl Ledger {
    /// Whether the address may get a packet that nothing from there has asked for.
    pub(crate) fn allows(&self, addr: SocketAddr, peer: PeerTag, now: Instant) -> bool {
        self.has_room(addr, LIMIT - ANSWERS, peer, now) && self.host_has_room(addr, HOST_LIMIT - HOST_ANSWERS, now)
    }

    /// Whether the address may get a packet because an authentic check has just come from there.
    pub(crate) fn allows_answer(&self, addr: SocketAddr, peer: PeerTag, now: Instant) -> bool {
        self.has_room(addr, LIMIT, peer, now) && self.host_has_room(addr, HOST_LIMIT, now)
    }

    fn host_has_room(&self, addr: SocketAddr, limit: u32, now: Instant) -> bool {
        let host = self.hosts.get(&Host::of(addr));
        host.is_none_or(|(since, sent)| *sent < limit || now.duration_since(*since) >= FORGET)
    }

    fn has_room(&self, addr: SocketAddr, limit: u32, peer: PeerTag, now: Instant) -> bool {
        match self.accounts.get(&addr) {
            Some(account) => account.sent < limit || now.duration_since(account.since) >= FORGET,
            None => self.accounts.values().filter(|account| account.peer == peer).count() < PER_PEER,
        }
    }

    /// Whether the address may get traffic.
    pub(crate) fn allows_traffic(&self, addr: SocketAddr) -> bool {
        let account = self.accounts.get(&addr);
        account.is_none_or(|account| account.traffic < TRAFFIC && account.sent < LIMIT - ANSWERS)
    }

    /// Counts a packet of traffic to an address that is not known to be a member's.
    pub(crate) fn charge_traffic(&mut self, addr: SocketAddr, peer: PeerTag, now: Instant) {
        self.charge(addr, peer, now);
        if let Some(account) = self.accounts.get_mut(&addr) {
            account.traffic += 1;
        }
    }

    /// Counts a packet to an address that is not known to be a member's.
    pub(crate) fn charge(&mut self, addr: SocketAddr, peer: PeerTag, now: Instant) {
        self.charge_host(Host::of(addr), now);
        if self.accounts.len() >= TOTAL && !self.accounts.contains_key(&addr) {
            make_room(&mut self.accounts, |account| (account.since, account.sent), now);
        }
        let account = self.accounts.entry(addr).or_insert(Account::new(peer, now));
        if now.duration_since(account.since) >= FORGET {
            *account = Account::new(peer, now);
        }
        account.sent += 1;
    }

    fn charge_host(&mut self, host: Host, now: Instant) {
        if self.hosts.len() >= TOTAL && !self.hosts.contains_key(&host) {
            make_room(&mut self.hosts, |account| *account, now);
        }
        let (since, sent) = self.hosts.entry(host).or_insert((now, 0));
        if now.duration_since(*since) >= FORGET {
            (*since, *sent) = (now, 0);
        }
        *sent += 1;
    }

    /// The address has answered: it is a member's, and so is its host.
    pub(crate) fn settle(&mut self, addr: SocketAddr) {
        self.accounts.remove(&addr);
        self.hosts.remove(&Host::of(addr));
    }

    /// Our own network has changed, so that whoever did not answer may answer now. No peer can bring this about, but an
    /// unsteady network can: hence at most every minute.
    pub(crate) fn clear(&mut self, now: Instant) {
        const EVERY: Duration = Duration::from_secs(60);
        if self.cleared.is_none_or(|at| now.duration_since(at) >= EVERY) {
            self.accounts.clear();
            self.hosts.clear();
            self.cleared = Some(now);
        }
    }
}

/// Forgets what is old; if that is not enough, who got least, so that nobody gets a second share by others being named.
fn make_room<K: Copy + Ord, A>(accounts: &mut BTreeMap<K, A>, of: impl Fn(&A) -> (Instant, u32), now: Instant) {
    accounts.retain(|_, account| now.duration_since(of(account).0) < FORGET);
    let least = accounts.iter().min_by_key(|(_, account)| (of(account).1, of(account).0)).map(|(key, _)| *key);
    if let Some(key) = least.filter(|_| accounts.len() >= TOTAL) {
        accounts.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerTag = PeerTag(1);
    const OTHER: PeerTag = PeerTag(2);

    fn addr(index: usize) -> SocketAddr {
        SocketAddr::from(([203, 0, (index >> 8) as u8, index as u8], 9))
    }

    #[test]
    fn a_silent_address_gets_its_share_once_whoever_asks() {
        let (mut ledger, now) = (Ledger::default(), netsim::epoch());
        for _ in 0..LIMIT - ANSWERS {
            assert!(ledger.allows(addr(1), PEER, now) && ledger.allows_traffic(addr(1)));
            ledger.charge(addr(1), PEER, now);
        }
        assert!(!ledger.allows(addr(1), PEER, now) && !ledger.allows_traffic(addr(1)));
        assert!(!ledger.allows(addr(1), OTHER, now + FORGET / 2));
        assert!(ledger.allows(addr(1), OTHER, now + FORGET));
    }

    #[test]
    fn the_last_of_40_packets_are_kept_for_answers() {
        let (mut ledger, now) = (Ledger::default(), netsim::epoch());
        (0..LIMIT - ANSWERS).for_each(|_| ledger.charge(addr(1), PEER, now));
        for _ in 0..ANSWERS {
            assert!(ledger.allows_answer(addr(1), PEER, now) && !ledger.allows(addr(1), PEER, now));
            ledger.charge(addr(1), PEER, now);
        }
        assert!(!ledger.allows_answer(addr(1), PEER, now) && !ledger.allows_answer(addr(1), OTHER, now));
        assert!(ledger.allows_answer(addr(1), PEER, now + FORGET));
    }

    #[test]
    fn traffic_leaves_enough_for_checks() {
        let (mut ledger, now) = (Ledger::default(), netsim::epoch());
        for _ in 0..TRAFFIC {
            assert!(ledger.allows_traffic(addr(1)));
            ledger.charge_traffic(addr(1), PEER, now);
        }
        assert!(!ledger.allows_traffic(addr(1)) && ledger.allows_traffic(addr(2)));
        assert!(ledger.allows(addr(1), PEER, now));
    }

    #[test]
    fn a_peer_can_bring_up_only_so_many_addresses() {
        let (mut ledger, now) = (Ledger::default(), netsim::epoch());
        for index in 0..PER_PEER {
            ledger.charge(addr(index), PEER, now);
        }
        assert!(!ledger.allows(addr(PER_PEER), PEER, now));
        assert!(ledger.allows(addr(PER_PEER), OTHER, now));
        ledger.settle(addr(0));
        assert!(ledger.allows(addr(PER_PEER), PEER, now));
    }

    #[test]
    fn the_ports_of_a_host_have_one_share_together_until_it_answers() {
        for (host, other) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8:0:1::1")] {
            let at = |ip: &str, port: u32| SocketAddr::new(ip.parse().unwrap(), port as u16);
            let (mut ledger, now) = (Ledger::default(), netsim::epoch());
            let mut sent = 0;
            // Each port is named by somebody new.
            while ledger.allows(at(host, sent), PeerTag(sent), now) {
                ledger.charge(at(host, sent), PeerTag(sent), now);
                sent += 1;
            }
            assert_eq!(sent, HOST_LIMIT - HOST_ANSWERS);
            assert!(ledger.allows_answer(at(host, 9999), PEER, now) && ledger.allows(at(other, 1), PEER, now));
            assert!(ledger.allows(at(host, 9999), PEER, now + FORGET));
            ledger.settle(at(host, 1));
            assert!(ledger.allows(at(host, 9999), PEER, now), "it is a member's router");
        }
    }

    #[test]
    fn the_book_never_grows_beyond_its_bound_and_forgets_no_victim() {
        let (mut ledger, now) = (Ledger::default(), netsim::epoch());
        (0..LIMIT).for_each(|_| ledger.charge(addr(0), PEER, now));
        for index in 0..TOTAL + 100 {
            ledger.charge(addr(1 + index), PeerTag(index as u32), now + Duration::from_millis(index as u64));
        }
        assert_eq!((ledger.accounts.len(), ledger.hosts.len()), (TOTAL, TOTAL));
        assert!(!ledger.allows_answer(addr(0), PEER, now));
    }

    #[test]
    fn an_unsteady_network_clears_the_book_once_a_minute() {
        let (mut ledger, now) = (Ledger::default(), netsim::epoch());
        ledger.clear(now);
        (0..LIMIT).for_each(|_| ledger.charge(addr(1), PEER, now));
        ledger.clear(now + Duration::from_secs(59));
        assert!(!ledger.allows(addr(1), PEER, now));
        ledger.clear(now + Duration::from_secs(60));
        assert!(ledger.allows(addr(1), PEER, now));
    }
}
