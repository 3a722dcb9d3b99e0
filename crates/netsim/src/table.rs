//! The state of one router for one address family: which mappings there are and who may use them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use crate::{DropReason, Filtering, Mapping, Nat, Ports, Rng};

/// How long an uninvited datagram's state lasts on a router that keeps such.
const POISON_TIME: Duration = Duration::from_secs(30);
const FIRST_PORT: u16 = 1024;

pub(crate) struct Table {
    nat: Nat,
    /// The outside address; unused if nothing is translated.
    outside: IpAddr,
    entries: BTreeMap<Key, Entry>,
    /// Several only if the router overloads ports.
    by_external: BTreeMap<SocketAddr, Vec<Key>>,
    poisoned: BTreeMap<(SocketAddr, SocketAddr), Instant>,
    /// Nothing expires before.
    expires: Option<Instant>,
    next_port: Option<u16>,
    block: Option<u16>,
}

/// What a mapping belongs to; absent parts do not matter.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Key {
    inside: SocketAddr,
    remote_ip: Option<IpAddr>,
    remote_port: Option<u16>,
}

struct Entry {
    external: SocketAddr,
    created: Instant,
    usage: Usage,
    remotes: BTreeMap<SocketAddr, Usage>,
}

#[derive(Clone, Copy)]
struct Usage {
    last: Instant,
    two_way: bool,
}

impl Table {
    pub(crate) fn new(nat: Nat, outside: IpAddr) -> Self {
        Self {
            nat,
            outside,
            entries: BTreeMap::new(),
            by_external: BTreeMap::new(),
            poisoned: BTreeMap::new(),
            expires: None,
            next_port: None,
            block: None,
        }
    }

    pub(crate) fn nat(&self) -> Nat {
        self.nat
    }

    /// Forgets everything, as a router does that lost its power.
    pub(crate) fn reboot(&mut self) {
        *self = Self::new(self.nat, self.outside);
    }

    /// A datagram goes out; returns the source that the outside sees.
    pub(crate) fn outbound(
        &mut self,
        inside: SocketAddr,
        remote: SocketAddr,
        now: Instant,
        rng: &mut Rng,
    ) -> Result<SocketAddr, DropReason> {
        self.expire(now);
        let key = self.key_for(inside, remote);
        if !self.entries.contains_key(&key) {
            if self.entries.len() >= self.nat.table_limit {
                return Err(DropReason::TableFull);
            }
            let external = self.allocate(key, rng).ok_or(DropReason::TableFull)?;
            self.by_external.entry(external).or_default().push(key);
            let usage = Usage { last: now, two_way: false };
            self.entries.insert(key, Entry { external, created: now, usage, remotes: BTreeMap::new() });
            self.expires_at(self.nat.lifetime.absolute.map(|limit| now + limit));
        }
        let entry = self.entries.get_mut(&key).expect("it was there or was just made");
        entry.usage.last = now;
        entry.remotes.entry(remote).or_insert(Usage { last: now, two_way: false }).last = now;
        let external = entry.external;
        self.expires_at(Some(now + self.nat.lifetime.one_way.min(self.nat.lifetime.two_way)));
        Ok(external)
    }

    /// A datagram comes in; returns the destination inside.
    pub(crate) fn inbound(
        &mut self,
        external: SocketAddr,
        remote: SocketAddr,
        now: Instant,
    ) -> Result<SocketAddr, DropReason> {
        if !self.nat.translate && self.nat.filtering == Filtering::EndpointIndependent {
            return Ok(external);
        }
        self.expire(now);
        let Some(owners) = self.by_external.get(&external) else {
            self.note_uninvited(external, remote, now);
            return Err(DropReason::NoMapping);
        };
        let asked = |key: &&Key| self.entries.get(key).is_some_and(|entry| entry.lets_in(remote, self.nat.filtering));
        let Some(key) = owners.iter().find(asked).copied() else {
            self.note_uninvited(external, remote, now);
            return Err(DropReason::Filtered);
        };
        let touch = |usage: &mut Usage| {
            usage.two_way = true;
            if self.nat.lifetime.inbound_refresh {
                usage.last = now;
            }
        };
        let entry = self.entries.get_mut(&key).expect("both maps change together");
        touch(&mut entry.usage);
        entry.remotes.get_mut(&remote).map(touch);
        Ok(key.inside)
    }

    fn note_uninvited(&mut self, external: SocketAddr, remote: SocketAddr, now: Instant) {
        if self.nat.poison && self.poisoned.len() < self.nat.table_limit {
            self.poisoned.insert((external, remote), now + POISON_TIME);
            self.expires_at(Some(now + POISON_TIME));
        }
    }

    fn expires_at(&mut self, at: Option<Instant>) {
        self.expires = self.expires.into_iter().chain(at).min();
    }

    /// Whether another host talks to this remote from this external address.
    fn is_taken(&self, external: SocketAddr, remote: SocketAddr, inside: SocketAddr) -> bool {
        let owners = self.by_external.get(&external).into_iter().flatten();
        owners.filter(|key| key.inside != inside).any(|key| self.entries[key].remotes.contains_key(&remote))
    }

    fn key_for(&self, inside: SocketAddr, remote: SocketAddr) -> Key {
        let by_port = Key { inside, remote_ip: Some(remote.ip()), remote_port: Some(remote.port()) };
        let key = match self.nat.mapping {
            Mapping::EndpointIndependent => Key { inside, remote_ip: None, remote_port: None },
            Mapping::AddressDependent => Key { remote_port: None, ..by_port },
            Mapping::AddressAndPortDependent => by_port,
        };
        let natural = match self.entries.get(&key) {
            Some(entry) => entry.external,
            None => SocketAddr::new(self.outside, inside.port()),
        };
        let clash = self.poisoned.contains_key(&(natural, remote))
            || self.nat.overloads && self.is_taken(natural, remote, inside);
        if clash || self.entries.contains_key(&by_port) { by_port } else { key }
    }

    fn allocate(&mut self, key: Key, rng: &mut Rng) -> Option<SocketAddr> {
        if !self.nat.translate {
            return Some(key.inside);
        }
        let remote = key.remote_ip.zip(key.remote_port).map(|(ip, port)| SocketAddr::new(ip, port));
        let wanted = SocketAddr::new(self.outside, key.inside.port());
        let clash = remote.is_some_and(|remote| self.poisoned.contains_key(&(wanted, remote)));
        match self.nat.ports {
            Ports::Preserving if !clash && self.may_have(wanted, key.inside, remote) => Some(wanted),
            Ports::Preserving | Ports::Random => self.random_from(FIRST_PORT, u16::MAX - FIRST_PORT, rng),
            Ports::Sequential { step } => self.next_in_sequence(step, rng),
            Ports::Block { size } => {
                let blocks = u64::from((u16::MAX - FIRST_PORT) / size);
                let block = *self.block.get_or_insert_with(|| u16::MAX - size + 1 - rng.below(blocks) as u16 * size);
                self.random_from(block, size, rng)
            }
        }
    }

    fn may_have(&self, wanted: SocketAddr, inside: SocketAddr, remote: Option<SocketAddr>) -> bool {
        match remote {
            _ if self.is_free(wanted.port()) => true,
            Some(remote) => self.nat.overloads && !self.is_taken(wanted, remote, inside),
            None => self.nat.overloads,
        }
    }

    fn is_free(&self, port: u16) -> bool {
        !self.by_external.contains_key(&SocketAddr::new(self.outside, port))
    }

    fn random_from(&self, first: u16, count: u16, rng: &mut Rng) -> Option<SocketAddr> {
        let start = rng.below(u64::from(count)) as u16;
        let port = (0..count).map(|i| first + ((u32::from(start) + u32::from(i)) % u32::from(count)) as u16);
        port.into_iter().find(|port| self.is_free(*port)).map(|port| SocketAddr::new(self.outside, port))
    }

    fn next_in_sequence(&mut self, step: u16, rng: &mut Rng) -> Option<SocketAddr> {
        let first = || FIRST_PORT + rng.below(u64::from(u16::MAX - FIRST_PORT)) as u16;
        let mut port = self.next_port.unwrap_or_else(first);
        for _ in 0..u16::MAX {
            let next = port.checked_add(step).unwrap_or(FIRST_PORT);
            if self.is_free(port) {
                self.next_port = Some(next);
                return Some(SocketAddr::new(self.outside, port));
            }
            port = next;
        }
        None
    }

    fn expire(&mut self, now: Instant) {
        if self.expires.is_none_or(|at| now < at) {
            return;
        }
        let lifetime = self.nat.lifetime;
        let end = |usage: &Usage| usage.last + if usage.two_way { lifetime.two_way } else { lifetime.one_way };
        let mut next: Option<Instant> = None;
        let mut keep_until = |at: Instant| {
            next = Some(next.map_or(at, |next| next.min(at)));
            at > now
        };
        let mut gone = Vec::new();
        self.entries.retain(|key, entry| {
            entry.remotes.retain(|_, usage| end(usage) > now && keep_until(end(usage)));
            let end = lifetime.absolute.map_or(end(&entry.usage), |limit| end(&entry.usage).min(entry.created + limit));
            let keep = end > now && keep_until(end);
            if !keep {
                gone.push((entry.external, *key));
            }
            keep
        });
        self.poisoned.retain(|_, until| *until > now && keep_until(*until));
        for (external, key) in gone {
            self.release(external, key);
        }
        self.expires = next;
    }

    fn release(&mut self, external: SocketAddr, key: Key) {
        if let Some(owners) = self.by_external.get_mut(&external) {
            owners.retain(|owner| *owner != key);
            if owners.is_empty() {
                self.by_external.remove(&external);
            }
        }
    }
}

impl Entry {
    fn lets_in(&self, remote: SocketAddr, filtering: Filtering) -> bool {
        match filtering {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => self.remotes.keys().any(|known| known.ip() == remote.ip()),
            Filtering::AddressAndPortDependent => self.remotes.contains_key(&remote),
        }
    }
}

#[cfg(test)]
mod tests;
