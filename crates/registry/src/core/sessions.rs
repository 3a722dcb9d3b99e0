//! The life of a session, from connected to closed.

use std::{
    cmp::Reverse,
    time::{Duration, Instant},
};

use wire::{
    IdentityKey,
    signal::{LeaveReason, MAX_CARD, Refusal, ToMember, ToServer},
};

use super::{CloseWhy, ConnId, Origin, Output, Phase, Registry, Session};
use crate::limit::{Bucket, Prefix};

/// How long a member has to read its last message and close, before we do.
const LINGER: Duration = Duration::from_secs(2);

impl Registry {
    /// A session is up: its key is proved and its address validated, or it came through a tunnel. `exporter` is the session's
    /// [`JOIN_EXPORTER`](wire::signal::JOIN_EXPORTER) value.
    pub fn handle_connected(
        &mut self,
        conn: ConnId,
        key: IdentityKey,
        origin: impl Into<Origin>,
        exporter: [u8; 32],
        now: Instant,
    ) {
        if let Err(why) = self.add_session(conn, key, origin.into(), exporter, now) {
            self.outputs.push_back(Output::Close { conn, why });
        }
    }

    pub(super) fn add_session(
        &mut self,
        conn: ConnId,
        key: IdentityKey,
        origin: Origin,
        exporter: [u8; 32],
        now: Instant,
    ) -> Result<(), CloseWhy> {
        let origin = origin.canonical();
        let from = origin.address().ip();
        let network = Prefix::network(from);
        let limits = &self.config.limits;
        let from_there = self.networks.get(&network).copied().unwrap_or(0);
        if self.closing {
            return Err(CloseWhy::Closing);
        }
        let is_limited = limits.limit_loopback || !from.is_loopback();
        if self.sessions.len() >= limits.sessions || is_limited && from_there >= limits.sessions_per_network {
            return Err(CloseWhy::Full);
        }
        let deadline = now + limits.join_within;
        let messages = Bucket::full(now);
        let phase = Phase::Waiting;
        let session = Session { key, origin, exporter, network, phase, deadline, messages, ticket: None };
        self.sessions.insert(conn, session);
        self.networks.insert(network, from_there + 1);
        self.deadlines.push(Reverse((deadline, conn)));
        Ok(())
    }

    /// A message came on a session.
    pub fn handle_message(&mut self, conn: ConnId, message: ToServer, now: Instant) {
        self.handle_alive(conn, now);
        let rate = self.config.limits.messages;
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if matches!(session.phase, Phase::Ending(_)) {
            return;
        }
        if !session.messages.take(rate, now) {
            return self.refuse(conn, Refusal::Protocol("too many messages".into()), now);
        }
        match (message, session.phase.clone()) {
            (ToServer::Join(join), Phase::Waiting) => {
                if let Err(refusal) = self.join(conn, join, now) {
                    self.refuse(conn, refusal, now);
                }
            }
            (ToServer::Card(card), Phase::Seated(channel, slot)) if card.len() <= MAX_CARD => {
                self.change(&channel, slot, |seat| seat.card = card);
            }
            (ToServer::Card(_), Phase::Seated(..)) => self.refuse(conn, Refusal::Protocol("card too long".into()), now),
            (ToServer::Leave, Phase::Seated(..)) => {
                self.leave(conn, LeaveReason::Left);
                self.end(conn, CloseWhy::Left, now);
            }
            (ToServer::Leave, _) => self.end(conn, CloseWhy::Left, now),
            (ToServer::Join(_), _) => self.refuse(conn, Refusal::Protocol("joined already".into()), now),
            (ToServer::Card(_), _) => self.refuse(conn, Refusal::Protocol("not joined".into()), now),
        }
    }

    /// Bytes that make no message came on a session.
    pub fn handle_garbage(&mut self, conn: ConnId, now: Instant) {
        if self.sessions.get(&conn).is_some_and(|session| !matches!(session.phase, Phase::Ending(_))) {
            self.refuse(conn, Refusal::Protocol("not a message".into()), now);
        }
    }

    /// A session shows a sign of life other than a message.
    pub fn handle_alive(&mut self, conn: ConnId, now: Instant) {
        let presence = self.config.limits.presence;
        if let Some(session) = self.sessions.get_mut(&conn)
            && matches!(session.phase, Phase::Seated(..))
            && !conn.is_early()
        {
            session.deadline = now + presence;
        }
    }

    /// A session goes on from another, validated, address, or through a tunnel.
    pub fn handle_moved(&mut self, conn: ConnId, origin: impl Into<Origin>, now: Instant) {
        self.handle_alive(conn, now);
        let origin = origin.into().canonical();
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if session.origin == origin {
            return;
        }
        let is_elsewhere = session.origin.address().ip() != origin.address().ip();
        session.origin = origin;
        if let Phase::Seated(channel, slot) = session.phase.clone() {
            self.send(conn, ToMember::Observed(origin.address()));
            self.change(&channel, slot, |seat| seat.origin = origin);
            if is_elsewhere {
                self.replace_ticket(conn, now);
            }
        }
    }

    /// The member closed the session.
    pub fn handle_closed(&mut self, conn: ConnId, _now: Instant) {
        self.leave(conn, LeaveReason::Left);
        self.forget(conn);
    }

    /// The session layer has lost the member.
    pub fn handle_lost(&mut self, conn: ConnId, _now: Instant) {
        self.leave(conn, LeaveReason::Expired);
        self.forget(conn);
    }

    /// Time has come to [`Self::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(Reverse((at, conn))) = self.deadlines.peek().copied()
            && at <= now
        {
            self.deadlines.pop();
            let Some(session) = self.sessions.get(&conn) else { continue };
            if session.deadline > now {
                self.deadlines.push(Reverse((session.deadline, conn)));
            } else {
                self.expire(conn, now);
            }
        }
    }

    fn expire(&mut self, conn: ConnId, now: Instant) {
        let Some(session) = self.sessions.get(&conn) else { return };
        match session.phase {
            Phase::Seated(..) => {
                self.leave(conn, LeaveReason::Expired);
                self.end(conn, CloseWhy::Silent, now);
            }
            Phase::Waiting => self.close_session(conn, CloseWhy::Silent),
            Phase::Ending(why) => self.close_session(conn, why),
        }
    }

    pub(super) fn refuse(&mut self, conn: ConnId, refusal: Refusal, now: Instant) {
        self.leave(conn, LeaveReason::Left);
        tracing::debug!(conn = conn.0, %refusal, "Refused a session");
        self.send(conn, ToMember::Refused(refusal));
        self.end(conn, CloseWhy::Refused, now);
    }

    /// Lets the member read what was said last.
    pub(super) fn end(&mut self, conn: ConnId, why: CloseWhy, now: Instant) {
        if conn.is_early() {
            return self.forget(conn);
        }
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.phase = Phase::Ending(why);
            session.deadline = now + LINGER;
            self.deadlines.push(Reverse((session.deadline, conn)));
        }
    }

    fn close_session(&mut self, conn: ConnId, why: CloseWhy) {
        self.outputs.push_back(Output::Close { conn, why });
        self.forget(conn);
    }

    pub(super) fn forget(&mut self, conn: ConnId) {
        self.forget_early(conn);
        let Some(session) = self.sessions.remove(&conn) else { return };
        if let Some(count) = self.networks.get_mut(&session.network) {
            *count -= 1;
            if *count == 0 {
                self.networks.remove(&session.network);
            }
        }
    }
}
