//! Joining, changing and leaving.

use std::{cmp::Reverse, time::Instant};

use wire::{
    IdentityKey, MemberSlot,
    signal::{ChannelKind, Join, Joined, LeaveReason, MAX_CARD, Refusal, Signature, ToMember},
};

use super::{CloseWhy, ConnId, Output, Phase, Registry, What, early::SESSION_WITHIN};
use crate::{
    channel::{Channel, Seat},
    name::{ChannelName, MemberName},
};

impl Registry {
    pub(super) fn join(&mut self, conn: ConnId, join: Join, now: Instant) -> Result<(), Refusal> {
        if join.version != wire::VERSION {
            return Err(Refusal::Version(wire::VERSION));
        }
        if join.card.len() > MAX_CARD {
            return Err(Refusal::Protocol("card too long".into()));
        }
        let channel = ChannelName::parse(&join.channel).map_err(|error| Refusal::BadChannel(error.to_string()))?;
        let name = MemberName::parse(&join.name).map_err(|error| Refusal::BadName(error.to_string()))?;
        let Some(session) = self.sessions.get(&conn) else { return Ok(()) };
        let key = session.key;
        let seat = Seat::new(conn, key, name, session.origin, join.hidden, join.card, now);
        self.admit(conn, &channel, join.proof.as_ref(), now)?;
        self.check_room(&channel, &seat)?;

        if !self.channels.contains_key(&channel) {
            self.open(channel.clone(), Channel::on_the_fly());
        }
        if self.takes_over(&channel, &seat, now) {
            return Ok(());
        }
        self.replace(&channel, key, now);
        self.seat(conn, &channel, seat, now);
        Ok(())
    }

    /// Whether this session may come in at all.
    fn admit(
        &mut self,
        conn: ConnId,
        name: &ChannelName,
        proof: Option<&Signature>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Some(channel) = self.channels.get(name) else {
            return self.admit_to_new(name);
        };
        let Some(join_key) = channel.record.as_ref().and_then(|record| record.join_key) else { return Ok(()) };
        let proof = proof.ok_or(Refusal::ProofNeeded(channel.kind()))?;
        let Some(session) = self.sessions.get(&conn) else { return Ok(()) };
        if let Some(left) = self.guesses.refusal(session.network, now) {
            return Err(Refusal::TooManyAttempts(left.as_secs() as u32 + 1));
        }
        let statement =
            identity::join_statement(&self.config.server_key, name.as_str(), &session.exporter, &session.key);
        if !identity::verify(&join_key, &statement, proof) {
            self.guesses.note_wrong(session.network, now);
            return Err(Refusal::WrongProof);
        }
        Ok(())
    }

    fn admit_to_new(&self, name: &ChannelName) -> Result<(), Refusal> {
        if !self.config.adhoc {
            return Err(Refusal::UnknownChannel);
        }
        if self.channels.len() >= self.config.limits.channels {
            return Err(Refusal::ServerFull);
        }
        match self.faces.get(&name.face()) {
            Some(other) => Err(Refusal::BadChannel(format!("it looks like that of the channel \"{other}\""))),
            None => Ok(()),
        }
    }

    fn check_room(&self, name: &ChannelName, seat: &Seat) -> Result<(), Refusal> {
        let Some(channel) = self.channels.get(name) else { return Ok(()) };
        if channel.is_taken(&seat.name, seat.key) {
            return Err(Refusal::NameTaken);
        }
        let limit = self.config.limits.members;
        if channel.len() >= usize::from(limit) && channel.slot_of(seat.key).is_none() {
            return Err(Refusal::ChannelFull(limit));
        }
        Ok(())
    }

    /// Empties the seat of the same key: after a change of network the old session may take 30 s to be seen dead.
    fn replace(&mut self, name: &ChannelName, key: IdentityKey, now: Instant) {
        let seat = self.channels.get(name).and_then(|channel| {
            let slot = channel.slot_of(key)?;
            channel.seats().find(|(at, _)| *at == slot).map(|(slot, seat)| (slot, seat.conn))
        });
        if let Some((slot, old)) = seat {
            self.vacate(name, slot, LeaveReason::Replaced);
            self.send(old, ToMember::MemberLeft { slot, why: LeaveReason::Replaced });
            self.end(old, CloseWhy::Replaced, now);
        }
    }

    fn seat(&mut self, conn: ConnId, name: &ChannelName, seat: Seat, now: Instant) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        let called = seat.name.as_str().to_owned();
        let kind = channel.kind();
        let slot = channel.seat(seat);
        let members = channel.len();
        self.hold(conn, name, slot, now);
        self.tell_others(name, slot, ToMember::MemberJoined);
        self.outputs.push_back(Output::Seated { conn, channel: name.clone(), slot });
        self.welcome(conn, name, slot, now);
        self.report(name, kind, What::Joined { name: called, members });
    }

    /// Gives a seat that was taken early to the session of the one who took it, if that is so.
    fn takes_over(&mut self, name: &ChannelName, new: &Seat, now: Instant) -> bool {
        let Some(channel) = self.channels.get_mut(name).filter(|_| !new.conn.is_early()) else { return false };
        let Some(slot) = channel.slot_of(new.key) else { return false };
        let Some(seat) = channel.seat_mut(slot) else { return false };
        if !seat.conn.is_early() || seat.name.as_str() != new.name.as_str() {
            return false;
        }
        let early = std::mem::replace(&mut seat.conn, new.conn);
        let has_changed = (&seat.card, seat.origin, seat.hidden) != (&new.card, new.origin, new.hidden);
        (seat.card, seat.origin, seat.hidden) = (new.card.clone(), new.origin, new.hidden);
        self.forget(early);
        self.hold(new.conn, name, slot, now);
        if has_changed {
            self.tell_others(name, slot, ToMember::MemberChanged);
        }
        self.outputs.push_back(Output::TakenOver { early, conn: new.conn, channel: name.clone(), slot });
        self.welcome(new.conn, name, slot, now);
        true
    }

    /// A session has a seat from here on.
    fn hold(&mut self, conn: ConnId, name: &ChannelName, slot: MemberSlot, now: Instant) {
        let within = if conn.is_early() { SESSION_WITHIN } else { self.config.limits.presence };
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        session.phase = Phase::Seated(name.clone(), slot);
        session.deadline = now + within;
        if conn.is_early() {
            self.deadlines.push(Reverse((session.deadline, conn)));
        }
    }

    /// Tells a member what it needs to know.
    fn welcome(&mut self, conn: ConnId, name: &ChannelName, slot: MemberSlot, now: Instant) {
        let ticket = self.new_ticket(conn, now);
        let (Some(channel), Some(session)) = (self.channels.get(name), self.sessions.get(&conn)) else { return };
        let kind = channel.kind();
        let (mut called, mut roster) = (String::new(), Vec::new());
        for (at, seat) in channel.seats() {
            if at == slot {
                seat.name.as_str().clone_into(&mut called);
            } else {
                roster.push(seat.member(at));
            }
        }
        let observed = session.origin.address();
        self.send(conn, ToMember::Joined(Joined { slot, name: called, observed, kind, roster, relay: None, ticket }));
    }

    pub(super) fn change(&mut self, name: &ChannelName, slot: MemberSlot, change: impl FnOnce(&mut Seat)) {
        if let Some(seat) = self.channels.get_mut(name).and_then(|channel| channel.seat_mut(slot)) {
            change(seat);
            self.tell_others(name, slot, ToMember::MemberChanged);
        }
    }

    fn tell_others(
        &mut self,
        name: &ChannelName,
        slot: MemberSlot,
        message: impl Fn(wire::signal::Member) -> ToMember,
    ) {
        let Some(channel) = self.channels.get(name) else { return };
        let Some((_, seat)) = channel.seats().find(|(at, _)| *at == slot) else { return };
        let member = seat.member(slot);
        let others: Vec<ConnId> = channel.seats().filter(|(at, _)| *at != slot).map(|(_, seat)| seat.conn).collect();
        for other in others {
            self.send(other, message(member.clone()));
        }
    }

    /// Empties a session's seat, if it has one; the session itself stays.
    pub(super) fn leave(&mut self, conn: ConnId, why: LeaveReason) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if let Phase::Seated(channel, slot) = session.phase.clone() {
            session.phase = Phase::Waiting;
            self.vacate(&channel, slot, why);
            if why == LeaveReason::Expired {
                self.send(conn, ToMember::MemberLeft { slot, why });
            }
            self.close_if_unused(&channel);
        }
    }

    /// Empties a seat and tells those who remain.
    fn vacate(&mut self, name: &ChannelName, slot: MemberSlot, why: LeaveReason) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        let Some(gone) = channel.empty(slot) else { return };
        let (kind, members) = (channel.kind(), channel.len());
        self.outputs.push_back(Output::Unseated { conn: gone.conn });
        let others: Vec<ConnId> = channel.seats().map(|(_, seat)| seat.conn).collect();
        for other in others {
            self.send(other, ToMember::MemberLeft { slot, why });
        }
        self.report(name, kind, What::Left { name: gone.name.as_str().to_owned(), members, why });
    }

    fn close_if_unused(&mut self, name: &ChannelName) {
        if self.channels.get(name).is_some_and(|channel| channel.record.is_none() && channel.len() == 0) {
            self.channels.remove(name);
            self.faces.remove(&name.face());
            self.report(name, ChannelKind::Open, What::Deleted);
        }
    }

    fn open(&mut self, name: ChannelName, channel: Channel) {
        self.report(&name, channel.kind(), What::Created);
        self.insert(name, channel);
    }
}
