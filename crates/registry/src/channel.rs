//! One channel and its seats.

use std::{collections::BTreeMap, time::Instant};

use wire::{
    IdentityKey, MemberSlot,
    signal::{ChannelKind, Member},
};

use crate::{
    core::{ConnId, Origin},
    name::{ChannelName, Face, MemberName},
};

/// A kept channel as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChannelRecord {
    /// Its name.
    pub name: ChannelName,
    /// Who may join.
    pub kind: ChannelKind,
    /// What it is for, in its maker's words.
    pub description: String,
    /// Who made it, in its maker's words.
    pub author: String,
    /// Public half of the key that join proofs are made with; `None` for open channels.
    pub join_key: Option<IdentityKey>,
    /// SHA-256 of the capability that deletes it.
    pub owner: [u8; 32],
    /// Seconds since 1970.
    pub created_at: u64,
}

/// A channel as everybody may see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChannelInfo {
    /// Its name.
    pub name: ChannelName,
    /// Who may join.
    pub kind: ChannelKind,
    /// How many are in it.
    pub members: usize,
    /// What is stored of it; `None` if it was made on the fly.
    pub record: Option<ChannelRecord>,
}

/// A member as everybody who may see the channel's members may see it: no key, no address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MemberInfo {
    /// Its name.
    pub name: String,
    /// Since when it is there.
    pub since: Instant,
}

#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) record: Option<ChannelRecord>,
    /// A record that may yet fail to be stored is not shown.
    pub(crate) confirmed: bool,
    seats: BTreeMap<MemberSlot, Seat>,
    next_slot: u16,
}

#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) conn: ConnId,
    pub(crate) key: IdentityKey,
    pub(crate) name: MemberName,
    pub(crate) origin: Origin,
    /// Whether the others are not to be told where the member is.
    pub(crate) hidden: bool,
    pub(crate) card: Vec<u8>,
    pub(crate) since: Instant,
    faces: [Face; 2],
}

impl Seat {
    pub(crate) fn new(
        conn: ConnId,
        key: IdentityKey,
        name: MemberName,
        origin: Origin,
        hidden: bool,
        card: Vec<u8>,
        since: Instant,
    ) -> Self {
        let faces = name.faces();
        Self { conn, key, name, origin, hidden, card, since, faces }
    }

    pub(crate) fn member(&self, slot: MemberSlot) -> Member {
        Member {
            slot,
            name: self.name.as_str().to_owned(),
            key: self.key,
            observed: if self.hidden { Vec::new() } else { self.origin.observed() },
            card: self.card.clone(),
        }
    }
}

impl Channel {
    pub(crate) fn on_the_fly() -> Self {
        Self { record: None, confirmed: true, seats: BTreeMap::new(), next_slot: 0 }
    }

    pub(crate) fn kept(record: ChannelRecord, confirmed: bool) -> Self {
        Self { record: Some(record), confirmed, ..Self::on_the_fly() }
    }

    pub(crate) fn kind(&self) -> ChannelKind {
        self.record.as_ref().map_or(ChannelKind::Open, |record| record.kind)
    }

    pub(crate) fn len(&self) -> usize {
        self.seats.len()
    }

    pub(crate) fn seat_mut(&mut self, slot: MemberSlot) -> Option<&mut Seat> {
        self.seats.get_mut(&slot)
    }

    pub(crate) fn seats(&self) -> impl Iterator<Item = (MemberSlot, &Seat)> {
        self.seats.iter().map(|(slot, seat)| (*slot, seat))
    }

    pub(crate) fn slot_of(&self, key: IdentityKey) -> Option<MemberSlot> {
        self.seats().find(|(_, seat)| seat.key == key).map(|(slot, _)| slot)
    }

    /// Whether somebody with another key has this name or one that looks the same.
    pub(crate) fn is_taken(&self, name: &MemberName, by_other_than: IdentityKey) -> bool {
        let faces = name.faces();
        self.seats().any(|(_, seat)| seat.key != by_other_than && seat.faces.iter().any(|face| faces.contains(face)))
    }

    /// Seats somebody; numbers come round only after 65,535 seats, and never to one that is taken. The last number stands for several
    /// seats (see [`wire::relay`]).
    pub(crate) fn seat(&mut self, seat: Seat) -> MemberSlot {
        while self.next_slot == u16::MAX || self.seats.contains_key(&MemberSlot(self.next_slot)) {
            self.next_slot = self.next_slot.wrapping_add(1);
        }
        let slot = MemberSlot(self.next_slot);
        self.next_slot = self.next_slot.wrapping_add(1);
        self.seats.insert(slot, seat);
        slot
    }

    pub(crate) fn empty(&mut self, slot: MemberSlot) -> Option<Seat> {
        self.seats.remove(&slot)
    }

    pub(crate) fn info(&self, name: &ChannelName) -> ChannelInfo {
        ChannelInfo { name: name.clone(), kind: self.kind(), members: self.len(), record: self.record.clone() }
    }
}
