//! Sessions, channels and sources, and how they are found.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
};

use registry::{ChannelName, ConnId, Prefix};
use slab::Slab;
use wire::MemberSlot;

use crate::{
    numbers::AsItIs,
    quota::{Level, Moment},
};

/// Everything that is known of who sits where.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) sessions: Slab<Session>,
    by_number: HashMap<u64, usize, AsItIs>,
    by_conn: HashMap<ConnId, usize>,
    pub(crate) channels: Shelf<ChannelName, Seats>,
    pub(crate) sources: Shelf<Prefix, Source>,
}

/// The right of one member to send.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) number: u64,
    pub(crate) conn: ConnId,
    pub(crate) seat: MemberSlot,
    /// Where its signalling session has been validated.
    pub(crate) addr: SocketAddr,
    /// In the shelf of channels.
    pub(crate) channel: usize,
    /// In the shelf of sources.
    pub(crate) source: usize,
    pub(crate) bytes: Level,
    pub(crate) packets: Level,
    /// A frame after that is worth telling.
    pub(crate) alive_until: Moment,
}

/// A channel's seats, in their order, and what its members may send together.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    taken: Vec<(MemberSlot, usize)>,
    pub(crate) bytes: Level,
}

impl Seats {
    /// Whose seat that is, in the book of sessions.
    pub(crate) fn session(&self, seat: MemberSlot) -> Option<usize> {
        let at = self.taken.binary_search_by_key(&seat, |(taken, _)| *taken).ok()?;
        Some(self.taken[at].1)
    }

    fn take(&mut self, seat: MemberSlot, session: usize) {
        match self.taken.binary_search_by_key(&seat, |(taken, _)| *taken) {
            Ok(at) => self.taken[at].1 = session,
            Err(at) => self.taken.insert(at, (seat, session)),
        }
    }

    fn empty(&mut self, seat: MemberSlot, session: usize) {
        self.taken.retain(|taken| *taken != (seat, session));
    }
}

/// What all members of one subscriber may send together.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) bytes: Level,
    pub(crate) is_limited: bool,
}

impl Book {
    /// In the book of sessions.
    pub(crate) fn find(&self, number: u64) -> Option<usize> {
        self.by_number.get(&number).copied()
    }

    pub(crate) fn add(&mut self, session: Session) {
        let (number, conn, seat, channel) = (session.number, session.conn, session.seat, session.channel);
        let at = self.sessions.insert(session);
        self.by_number.insert(number, at);
        self.by_conn.insert(conn, at);
        self.channels.value_mut(channel).take(seat, at);
    }

    pub(crate) fn by_conn(&mut self, conn: ConnId) -> Option<&mut Session> {
        self.by_conn.get(&conn).and_then(|at| self.sessions.get_mut(*at))
    }

    pub(crate) fn number(&self, conn: ConnId) -> Option<u64> {
        self.by_conn.get(&conn).map(|at| self.sessions[*at].number)
    }

    pub(crate) fn rename(&mut self, conn: ConnId, new: ConnId) -> bool {
        self.remove(new);
        let Some(at) = self.by_conn.remove(&conn) else { return false };
        self.sessions[at].conn = new;
        self.by_conn.insert(new, at);
        true
    }

    pub(crate) fn remove(&mut self, conn: ConnId) {
        let Some(at) = self.by_conn.remove(&conn) else { return };
        let session = self.sessions.remove(at);
        self.by_number.remove(&session.number);
        self.channels.value_mut(session.channel).empty(session.seat, at);
        self.channels.give_back(session.channel);
        self.sources.give_back(session.source);
    }

    /// Charges a session to another subscriber from here on.
    pub(crate) fn charge(&mut self, conn: ConnId, ip: IpAddr, new: impl FnOnce() -> Source) {
        let source = self.sources.borrow(Prefix::subscriber(ip), new);
        let Some(session) = self.by_conn(conn) else { return self.sources.give_back(source) };
        let before = std::mem::replace(&mut session.source, source);
        self.sources.give_back(before);
    }
}

/// Values that several sessions share; each is there as long as one of them is.
#[derive(Debug)]
pub(crate) struct Shelf<K, V> {
    entries: Slab<Entry<K, V>>,
    by_key: BTreeMap<K, usize>,
}

#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    value: V,
    users: usize,
}

impl<K, V> Default for Shelf<K, V> {
    fn default() -> Self {
        Self { entries: Slab::new(), by_key: BTreeMap::new() }
    }
}

impl<K: Clone + Ord, V> Shelf<K, V> {
    /// The place of a value, with one user more; made if it is not there.
    pub(crate) fn borrow(&mut self, key: K, new: impl FnOnce() -> V) -> usize {
        let entries = &mut self.entries;
        let at = *self
            .by_key
            .entry(key)
            .or_insert_with_key(|key| entries.insert(Entry { key: key.clone(), value: new(), users: 0 }));
        self.entries[at].users += 1;
        at
    }

    pub(crate) fn give_back(&mut self, at: usize) {
        let entry = &mut self.entries[at];
        entry.users -= 1;
        if entry.users == 0 {
            let entry = self.entries.remove(at);
            self.by_key.remove(&entry.key);
        }
    }

    pub(crate) fn value(&self, at: usize) -> &V {
        &self.entries[at].value
    }

    pub(crate) fn value_mut(&mut self, at: usize) -> &mut V {
        &mut self.entries[at].value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_value_is_there_as_long_as_somebody_uses_it() {
        let mut shelf = Shelf::default();
        let at = shelf.borrow("lobby", || 1);
        assert_eq!(shelf.borrow("lobby", || 2), at);
        shelf.give_back(at);
        assert_eq!(*shelf.value(at), 1);
        shelf.give_back(at);
        let at = shelf.borrow("lobby", || 3);
        assert_eq!(*shelf.value(at), 3);
    }

    #[test]
    fn a_session_takes_little_memory() {
        assert!(size_of::<Session>() <= 128, "{} bytes", size_of::<Session>());
    }
}
