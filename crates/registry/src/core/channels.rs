//! Making, deleting and listing channels.

use std::{ops::Bound, time::Instant};

use wire::signal::{ChannelKind, LeaveReason, ToMember};

use super::{CloseWhy, CreateError, Output, Registry, What};
use crate::{
    channel::{Channel, ChannelInfo, ChannelRecord, MemberInfo},
    name::ChannelName,
};

impl Registry {
    /// Takes in a channel that was stored before the start.
    pub fn restore(&mut self, record: ChannelRecord) {
        self.insert(record.name.clone(), Channel::kept(record, true));
    }

    /// Reserves a channel while its record is being stored; people can join, lists do not show it.
    ///
    /// # Errors
    /// [`CreateError`] says what stands against it.
    pub fn create(&mut self, record: ChannelRecord) -> Result<(), CreateError> {
        if record.join_key.is_some() != (record.kind != ChannelKind::Open) {
            return Err(CreateError::JoinKey);
        }
        if let Some(other) = self.faces.get(&record.name.face()) {
            let same = *other == record.name;
            return Err(if same { CreateError::Exists } else { CreateError::LooksLike(other.clone()) });
        }
        let limit = self.config.limits.channels;
        if self.channels.len() >= limit {
            return Err(CreateError::Full(limit));
        }
        self.insert(record.name.clone(), Channel::kept(record, false));
        Ok(())
    }

    /// The record of a channel from [`Self::create`] is stored.
    pub fn confirm(&mut self, name: &ChannelName) {
        if let Some(channel) = self.channels.get_mut(name)
            && !std::mem::replace(&mut channel.confirmed, true)
        {
            let kind = channel.kind();
            self.report(name, kind, What::Created);
        }
    }

    /// Deletes a kept channel, or one from [`Self::create`] that could not be stored; its members are told and out.
    pub fn delete(&mut self, name: &ChannelName, now: Instant) {
        if self.channels.get(name).is_none_or(|channel| channel.record.is_none()) {
            return;
        }
        let Some(channel) = self.channels.remove(name) else { return };
        self.faces.remove(&name.face());
        let members: Vec<_> = channel.seats().map(|(slot, seat)| (slot, seat.conn)).collect();
        for (slot, conn) in members {
            self.outputs.push_back(Output::Unseated { conn });
            self.send(conn, ToMember::MemberLeft { slot, why: LeaveReason::ChannelDeleted });
            self.end(conn, CloseWhy::ChannelDeleted, now);
        }
        if channel.confirmed {
            self.report(name, channel.kind(), What::Deleted);
        }
    }

    /// Channels in the order of their names, those after `after`.
    pub fn channels(&self, after: Option<&ChannelName>) -> impl Iterator<Item = ChannelInfo> + '_ {
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.clone()));
        let all = self.channels.range((from, Bound::Unbounded));
        all.filter(|(_, channel)| channel.confirmed).map(|(name, channel)| channel.info(name))
    }

    /// One channel.
    pub fn channel(&self, name: &ChannelName) -> Option<ChannelInfo> {
        self.channels.get(name).filter(|channel| channel.confirmed).map(|channel| channel.info(name))
    }

    /// Who is in a channel, in the order they came.
    pub fn members(&self, name: &ChannelName) -> Vec<MemberInfo> {
        let seats = self.channels.get(name).into_iter().flat_map(Channel::seats);
        seats.map(|(_, seat)| MemberInfo { name: seat.name.as_str().to_owned(), since: seat.since }).collect()
    }

    /// How many channels and sessions there are.
    pub fn counts(&self) -> (usize, usize) {
        (self.channels.len(), self.sessions.len())
    }

    pub(super) fn insert(&mut self, name: ChannelName, channel: Channel) {
        self.faces.insert(name.face(), name.clone());
        self.channels.insert(name, channel);
    }
}
