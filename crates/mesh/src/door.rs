//! Who may ask this member to be introduced: those who have shown, by a knock, that they know the channel.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use identity::KnockKey;
use wire::{IdentityKey, knock::NONCE};

use crate::{Mesh, Relaying, Secret};

/// How long a knock opens the door.
const OPEN: Duration = Duration::from_secs(10);
const MAX_DOORS: usize = 64;
/// Knocks that are recognised if they come again.
const MAX_HEARD: usize = 1024;

/// The doors that are open, by the address of who knocked.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    open: BTreeMap<SocketAddr, Door>,
    heard: VecDeque<[u8; NONCE]>,
}

#[derive(Debug)]
struct Door {
    key: IdentityKey,
    until: Instant,
}

impl Doors {
    /// Opens a door, unless the knock came before or too many are open.
    fn open(&mut self, at: SocketAddr, key: IdentityKey, nonce: [u8; NONCE], now: Instant) -> bool {
        if self.heard.contains(&nonce) {
            return false;
        }
        if self.heard.len() >= MAX_HEARD {
            self.heard.pop_front();
        }
        self.heard.push_back(nonce);
        self.open.retain(|_, door| now < door.until);
        if self.open.len() >= MAX_DOORS {
            return false;
        }
        self.open.insert(at, Door { key, until: now + OPEN });
        true
    }

    /// Whether somebody may yet come in.
    pub(crate) fn is_any_open(&self, now: Instant) -> bool {
        self.open.values().any(|door| now < door.until)
    }

    /// Who may come in from there.
    pub(crate) fn key(&self, at: SocketAddr, now: Instant) -> Option<IdentityKey> {
        self.open.get(&at).filter(|door| now < door.until).map(|door| door.key)
    }
}

impl Mesh {
    /// Somebody who knows the channel wants to be listened to.
    pub(crate) fn handle_knock(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        let Some(secret) = self.secret.as_ref().filter(|_| self.may_introduce()) else { return };
        let by_name = matches!(self.config.secret, Secret::Open).then(|| KnockKey::of_name(&self.config.channel));
        let mut keys = [Some(secret.knock_key()), by_name].into_iter().flatten();
        let Some((nonce, key)) = keys.find_map(|key| key.open(datagram)) else {
            return tracing::trace!(%from, "ignored a knock: it is not of this channel");
        };
        if self.doors.open(from, key, nonce, now) {
            tracing::debug!(%from, key = %key.short(), "Somebody who knows the channel asks to be introduced");
            self.open_bridge(now);
        }
    }

    /// Who hides behind the relay, or is the rendezvous itself, has no such door.
    fn may_introduce(&self) -> bool {
        self.config.relaying != Relaying::Only && !self.config.introduce
    }

    /// Whether signalling packets from there are meant for this member.
    pub(crate) fn listens_to(&self, from: SocketAddr, now: Instant) -> bool {
        let is_server = from == self.config.server && !self.config.via.only;
        is_server
            || self.config.introduce
            || self.entry.asks(from)
            || self.doors.key(from, now).is_some()
            || self.is_being_introduced(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: IdentityKey = IdentityKey([5; 32]);

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([203, 0, 113, 7], port))
    }

    fn nonce(number: u16) -> [u8; NONCE] {
        std::array::from_fn(|at| number.to_be_bytes()[at % 2])
    }

    #[test]
    fn a_knock_opens_the_door_once_for_its_address_and_for_a_while() {
        let (mut doors, now) = (Doors::default(), netsim::epoch());
        assert!(doors.open(addr(1), KEY, nonce(1), now));
        assert_eq!((doors.key(addr(1), now), doors.key(addr(2), now)), (Some(KEY), None));
        assert_eq!(doors.key(addr(1), now + OPEN), None);
        assert!(doors.is_any_open(now) && !doors.is_any_open(now + OPEN));
        assert!(!doors.open(addr(2), KEY, nonce(1), now), "the same knock from elsewhere");
    }

    #[test]
    fn doors_and_the_memory_of_knocks_are_bounded() {
        let (mut doors, now) = (Doors::default(), netsim::epoch());
        let opened = (0..3000).filter(|number| doors.open(addr(*number), KEY, nonce(*number), now)).count();
        assert_eq!((opened, doors.open.len(), doors.heard.len()), (MAX_DOORS, MAX_DOORS, MAX_HEARD));
        assert!(doors.open(addr(1), KEY, nonce(5000), now + OPEN));
    }
}
