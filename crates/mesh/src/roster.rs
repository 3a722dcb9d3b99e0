//! Who is in the channel, as the rendezvous tells it, and the sessions that follow from it.

use std::time::{Duration, Instant};

use link::{CloseReason, LinkId};
use wire::{
    IdentityKey, MemberSlot, PeerTag,
    agent::Delivery,
    signal::{self, Join, Joined, LeaveReason, Refusal, ToMember, ToServer},
};

use crate::{
    Event, Mesh, Relaying, Secret, ServerEvent,
    signalling::{CLOSE_LEFT, CLOSE_REPLACED, CONNECT_TIMEOUT, SIGNAL_LANE, State},
};

/// Peers may be nearer than a rendezvous that is farther away than this.
const MOST_EXPECTED: Duration = Duration::from_millis(200);
/// A session that broke is opened again after this.
const REOPEN_GAP: Duration = Duration::from_millis(500);

impl Mesh {
    pub(crate) fn say(&mut self, link: LinkId, message: &ToServer) {
        if let Err(error) = self.signals.send_message(link, SIGNAL_LANE, &wire::encode(message)) {
            tracing::debug!(%error, "a signalling message was not sent");
        }
    }

    pub(crate) fn join(&mut self, link: LinkId, now: Instant) {
        let exporter = self.signals.export(link, signal::JOIN_EXPORTER, &self.key().0);
        let Some(join) = exporter.and_then(|exporter| self.join_request(&exporter)) else { return };
        self.signalling = State::Joining { link, until: now + CONNECT_TIMEOUT };
        self.card_is_stale = false;
        self.say(link, &join);
    }

    pub(crate) fn join_request(&self, exporter: &[u8; 32]) -> Option<ToServer> {
        self.join_request_to(&self.config.server_key?, exporter)
    }

    /// What a join says to the rendezvous or member with this key; the exporter value binds its proof to one session.
    pub(crate) fn join_request_to(&self, asked: &IdentityKey, exporter: &[u8; 32]) -> Option<ToServer> {
        let (secret, me) = (self.secret.as_ref()?, self.key());
        let statement = identity::join_statement(asked, &self.config.channel, exporter, &me);
        let needs_proof = !matches!(self.config.secret, Secret::Open);
        Some(ToServer::Join(Join {
            version: wire::VERSION,
            channel: self.config.channel.clone(),
            name: self.config.name.clone(),
            proof: needs_proof.then(|| secret.join_key().sign(&statement)),
            card: secret.seal_card(&self.config.identity, &self.card()),
            hidden: self.config.relaying == Relaying::Only,
        }))
    }

    pub(crate) fn handle_server_event(&mut self, link: LinkId, event: link::Event, now: Instant) {
        match event {
            link::Event::Connected { key, .. } => self.server_connected(link, key, now),
            link::Event::Message { body, .. } => match wire::decode::<ToMember>("signalling message", &body) {
                Ok(message) => self.handle_signal(Some(link), message, now),
                Err(error) => tracing::debug!(%error, "ignored a message of the rendezvous"),
            },
            link::Event::Closed(CloseReason::WrongKey) => {
                self.signalling = State::Ended;
                self.events.push_back(Event::Server(ServerEvent::WrongKey));
            }
            link::Event::Closed(reason) => self.server_lost(reason.to_string(), now),
            link::Event::Datagram(_) | link::Event::Writable | link::Event::Moved(_) => {}
        }
    }

    /// `link` is the session with the rendezvous, `None` if this member is it.
    pub(crate) fn handle_signal(&mut self, link: Option<LinkId>, message: ToMember, now: Instant) {
        match message {
            ToMember::Joined(joined) => self.joined(link, joined, now),
            ToMember::Refused(refusal) => self.refused(link, refusal, now),
            ToMember::MemberJoined(member) | ToMember::MemberChanged(member) => self.member_told(member, now),
            ToMember::MemberLeft { slot, why } => self.member_left(slot, why, now),
            ToMember::Observed(addr) => {
                self.observe_anew(now);
                self.guess_from_elsewhere(now);
                self.events.push_back(Event::Server(ServerEvent::Observed(addr)));
            }
            ToMember::Ticket(ticket) => self.keep_ticket(ticket),
            // Members say that, and a rendezvous says it by being one.
            ToMember::Channel { .. } => {}
            ToMember::Closing => self.events.push_back(Event::Server(ServerEvent::Closing)),
        }
    }

    fn joined(&mut self, link: Option<LinkId>, joined: Joined, now: Instant) {
        if let Some(link) = link {
            self.signalling = State::Joined { link };
            self.expect_round_trip(link);
        }
        self.retry.succeeded();
        // Whoever would not wait for it at the start has a call by now that goes on without it.
        self.config.retry = true;
        self.detour_settles(now);
        self.observe_if_unanswered(now);
        // What has changed since the join was asked for.
        self.refresh_card(now);
        if self.early_settles(&joined) {
            return self.take_roster(joined, now);
        }
        self.seated(joined, now);
    }

    /// A call goes on without the rendezvous that does not let us in again, as after a restart in which somebody took our name. It
    /// is asked again, unless it would say the same for ever or take us for somebody who guesses passwords.
    fn refused(&mut self, link: Option<LinkId>, refusal: Refusal, now: Instant) {
        if let Some(link) = link {
            self.signals.close(link, CLOSE_LEFT, "refused", now);
        }
        let may_pass = matches!(
            refusal,
            Refusal::NameTaken
                | Refusal::ChannelFull(_)
                | Refusal::ServerFull
                | Refusal::TooManyAttempts(_)
                | Refusal::UnknownChannel
        );
        if may_pass && self.peers.values().any(|peer| peer.secure) {
            return self.server_lost(format!("it does not let us in again: {refusal}"), now);
        }
        self.signalling = State::Ended;
        self.events.push_back(Event::Server(ServerEvent::Refused(refusal)));
    }

    /// What is sent to peers is not repeated before an answer can be there, if they are about as far away as the rendezvous.
    fn expect_round_trip(&mut self, link: LinkId) {
        let Some(stats) = self.signals.stats(link) else { return };
        let observed = self.observation.rtt().unwrap_or(MOST_EXPECTED);
        self.round_trip = stats.rtt.min(observed).min(MOST_EXPECTED);
        self.paths.expect_round_trip(self.round_trip);
        self.sessions.expect_round_trip(self.round_trip);
    }

    /// The member is in the channel.
    pub(crate) fn seated(&mut self, joined: Joined, now: Instant) {
        self.events.push_back(Event::Server(ServerEvent::Joined {
            observed: joined.observed,
            name: joined.name.clone(),
            peers: joined.roster.len(),
        }));
        self.take_roster(joined, now);
    }

    fn take_roster(&mut self, joined: Joined, now: Instant) {
        self.slot = Some(joined.slot);
        for peer in self.peers.values_mut() {
            peer.slot = None;
        }
        let relay = joined.relay.filter(|_| self.config.relaying != Relaying::Refused);
        self.relay = relay;
        for member in joined.roster {
            self.member_told(member, now);
        }
        self.set_relay(relay, now);
        let unknown: Vec<_> = self.peers.values().filter(|p| p.slot.is_none() && !p.secure).map(|p| p.tag).collect();
        for tag in unknown {
            self.remove_peer(tag, "the rendezvous no longer knows it", now);
        }
    }

    /// Opens the session with a peer if that is our part: the higher key is the client.
    pub(crate) fn open_session(&mut self, tag: PeerTag, now: Instant) {
        let me = self.key();
        let Some(peer) = self.peers.get_mut(&tag) else { return };
        peer.reopen_at = None;
        if me < peer.key || peer.link.is_some() {
            return;
        }
        match self.sessions.connect(link::Kind::Peer, peer.virtual_addr(), Some(peer.key), now) {
            Ok(link) => {
                peer.link = Some(link);
                self.links.insert(link, tag);
            }
            Err(error) => {
                tracing::debug!(%tag, %error, "the session could not be opened");
                peer.reopen_at = Some(now + REOPEN_GAP);
            }
        }
    }

    pub(crate) fn session_secured(&mut self, tag: PeerTag, link: LinkId, incoming: bool, now: Instant) {
        let Some(peer) = self.peers.get_mut(&tag) else {
            return self.sessions.close(link, CLOSE_LEFT, "unknown peer", now);
        };
        if let Some(old) = peer.link.replace(link).filter(|old| *old != link) {
            self.links.remove(&old);
            self.sessions.close(old, CLOSE_REPLACED, "replaced by a newer session", now);
        }
        tracing::debug!(%tag, incoming, "session is up");
        peer.secure = true;
        peer.note_relayed(now);
        peer.held.clear();
        peer.tried = None;
        self.links.insert(link, tag);
        let since_known = now.saturating_duration_since(peer.known_at);
        self.events.push_back(Event::Secure { tag, since_known });
        self.early_voice_superseded(tag, now);
        self.flush_outbox(tag);
        self.lend_session_up(tag, now);
        self.gossip_session_up(tag, now);
    }

    pub(crate) fn session_closed(&mut self, tag: PeerTag, link: LinkId, reason: &CloseReason, now: Instant) {
        self.links.remove(&link);
        let has_rendezvous = self.has_rendezvous();
        let Some(peer) = self.peers.get_mut(&tag).filter(|peer| peer.link == Some(link)) else { return };
        peer.link = None;
        let was_secure = std::mem::take(&mut peer.secure);
        peer.note_relayed(now);
        let has_left = matches!(reason, CloseReason::Remote { code: CLOSE_LEFT, .. });
        if was_secure && has_left {
            self.bury(tag, now);
            return self.remove_peer(tag, "said goodbye", now);
        }
        // Where there is no rendezvous to say who is there, others may yet say where it is.
        if peer.slot.is_none() && has_rendezvous {
            return self.remove_peer(tag, &reason.to_string(), now);
        }
        peer.reopen_at = Some(now + REOPEN_GAP);
        if was_secure {
            self.events.push_back(Event::Insecure { tag, why: reason.to_string() });
            self.gossip_unheard(tag, now);
            self.enter_if_alone(now);
        }
        for id in self.deliveries.of(tag) {
            self.settle_delivery(id, tag, Delivery::Lost);
        }
        if let Some(peer) = self.peers.get_mut(&tag) {
            peer.outbox.clear();
        }
    }

    fn member_left(&mut self, slot: MemberSlot, why: LeaveReason, now: Instant) {
        if self.slot == Some(slot) {
            return self.put_out(why);
        }
        let Some(peer) = self.peers.values_mut().find(|peer| peer.slot == Some(slot)) else { return };
        let tag = peer.tag;
        peer.slot = None;
        let why = match why {
            LeaveReason::Left => "said goodbye",
            LeaveReason::ChannelDeleted => "the channel was deleted",
            // Only the rendezvous has lost it; a session that works says more.
            LeaveReason::Expired if peer.secure => return self.keep_without_seat(tag, now),
            // What it says of its new seat tells whether it is another run. If not, it may have our session already.
            LeaveReason::Replaced => return self.keep_without_seat(tag, now),
            LeaveReason::Expired => "the rendezvous no longer hears it",
        };
        self.bury(tag, now);
        self.remove_peer(tag, why, now);
    }

    fn keep_without_seat(&mut self, tag: PeerTag, now: Instant) {
        self.offer_relay(tag, now);
        if self.peers.get(&tag).is_some_and(|peer| peer.secure) {
            self.gossip_session_up(tag, now);
        }
    }

    /// The rendezvous has taken our own seat away.
    fn put_out(&mut self, why: LeaveReason) {
        self.slot = None;
        match why {
            // Joining again would put the other one out in turn, for ever.
            LeaveReason::Replaced | LeaveReason::ChannelDeleted => {
                self.signalling = State::Ended;
                self.events.push_back(Event::Server(ServerEvent::PutOut(why)));
            }
            // The session ends next; then we ask again.
            LeaveReason::Left | LeaveReason::Expired => {}
        }
    }

    pub(crate) fn remove_peer(&mut self, tag: PeerTag, why: &str, now: Instant) {
        for id in self.deliveries.of(tag) {
            self.settle_delivery(id, tag, Delivery::Lost);
        }
        if let Some(link) = self.peers.get(&tag).and_then(|peer| peer.link) {
            self.links.remove(&link);
            self.sessions.close(link, CLOSE_REPLACED, "removed", now);
            // Or the peer would go on with a session that nobody has.
            self.send_session_packets(now);
        }
        let Some(peer) = self.peers.remove(&tag) else { return };
        if let Some(early) = &peer.early_voice {
            self.spent.note(early);
        }
        self.sessions.unexpect(peer.virtual_addr());
        self.paths.remove_peer(tag);
        self.lend_peer_gone(tag, now);
        if let Some(addr) = peer.known.reached {
            self.entry.remember(addr);
        }
        self.enter_if_alone(now);
        self.events.push_back(Event::Left { tag, name: peer.name, why: why.to_owned() });
    }
}
