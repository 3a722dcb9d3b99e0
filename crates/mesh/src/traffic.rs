//! What members say to each other: voice packets, texts, and what became of the texts.

use std::time::Instant;

use bytes::Bytes;
use wire::{
    MessageId, PeerTag,
    agent::{Delivery, Peers},
    peer::{Control, Keeper, Lane, Text},
};

use crate::{Event, Mesh};

impl Mesh {
    /// Sends a voice packet; peers to whom there is no way yet miss it, as they would miss it on the wire.
    pub fn send_voice(&mut self, to: &Peers, packet: &[u8], now: Instant) {
        let mut datagram = Vec::with_capacity(1 + packet.len());
        datagram.push(Lane::Voice as u8);
        datagram.extend_from_slice(packet);
        let datagram = Bytes::from(datagram);
        for tag in self.addressed(to) {
            let Some(link) = self.peers.get(&tag).filter(|peer| peer.secure).and_then(|peer| peer.link) else {
                self.send_early_voice(tag, packet, now);
                continue;
            };
            if let Err(error) = self.sessions.send_datagram(link, datagram.clone()) {
                tracing::debug!(%tag, %error, "a voice packet was not sent");
            }
        }
        self.settle(now);
    }

    /// Sends a text; an [`Event::Delivery`] follows for each addressed peer, then [`Event::Settled`].
    pub fn send_text(&mut self, id: MessageId, to: &Peers, body: Vec<u8>, now: Instant) {
        let direct = !matches!(to, Peers::All);
        let tags = self.addressed(to);
        let message = wire::encode(&Text::Message { id, direct, body });
        self.deliveries.start(id, tags.iter().copied().collect(), now);
        for tag in tags {
            match self.peers.get_mut(&tag) {
                // Whoever is not there is waited for with so much and no more; nobody else has to wait for it.
                Some(peer) if !peer.secure && peer.outbox.is_full() => self.settle_delivery(id, tag, Delivery::Lost),
                Some(peer) => peer.outbox.push_text(message.clone()),
                None => self.settle_delivery(id, tag, Delivery::Unknown),
            }
            self.flush_outbox(tag);
        }
        self.settle(now);
    }

    /// Tells the sender of a text that it is kept.
    pub fn acknowledge(&mut self, tag: PeerTag, id: MessageId, by: Keeper, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&tag) {
            peer.outbox.push_ack(wire::encode(&Text::Ack { id, by }));
        }
        self.flush_outbox(tag);
        self.settle(now);
    }

    /// Whether local programs should wait before they send more text: for a peer that is there, and slow.
    pub fn is_text_backlogged(&self) -> bool {
        self.peers.values().any(|peer| peer.secure && peer.outbox.is_full())
    }

    fn addressed(&self, to: &Peers) -> Vec<PeerTag> {
        match to {
            Peers::All => self.peers.keys().copied().collect(),
            Peers::One(tag) => vec![*tag],
            Peers::Some(tags) => tags.clone(),
        }
    }

    pub(crate) fn settle_delivery(&mut self, id: MessageId, tag: PeerTag, outcome: Delivery) {
        if self.deliveries.settle(id, tag) {
            let name = self.peers.get(&tag).map(|peer| peer.name.clone()).unwrap_or_default();
            self.events.push_back(Event::Delivery { id, tag, name, outcome });
        }
    }

    pub(crate) fn handle_voice(&mut self, tag: PeerTag, bytes: &Bytes) {
        if bytes.first() == Some(&(Lane::Voice as u8)) {
            self.events.push_back(Event::Voice { tag, packet: bytes.slice(1..) });
        }
    }

    pub(crate) fn handle_message(&mut self, tag: PeerTag, lane: u8, body: &[u8], now: Instant) {
        match Lane::from_u8(lane) {
            Some(Lane::Control) => self.handle_control(tag, body, now),
            Some(Lane::Text) => self.handle_text(tag, body),
            Some(Lane::Voice) | None => {}
        }
    }

    fn handle_control(&mut self, tag: PeerTag, body: &[u8], now: Instant) {
        match wire::decode::<Control>("control message", body) {
            Ok(Control::Guess(guess)) => self.handle_guess(tag, guess, now),
            Ok(Control::Lend(offer)) => self.handle_lend(tag, offer, now),
            Ok(Control::Gossip(gossip)) => self.handle_gossip(tag, gossip, now),
            Err(error) => tracing::debug!(%tag, %error, "ignored a message on the control lane"),
        }
    }

    fn handle_text(&mut self, tag: PeerTag, body: &[u8]) {
        match wire::decode::<Text>("text message", body) {
            Ok(Text::Message { id, direct, body }) => self.events.push_back(Event::Text { tag, id, direct, body }),
            Ok(Text::Ack { id, by }) => self.settle_delivery(id, tag, Delivery::Delivered(by)),
            Err(error) => tracing::debug!(%tag, %error, "ignored a message on the text lane"),
        }
    }

    /// Says something about the session itself; false if there is none, or no room.
    pub(crate) fn say_to_peer(&mut self, tag: PeerTag, message: &Control) -> bool {
        let Some(link) = self.peers.get(&tag).filter(|peer| peer.secure).and_then(|peer| peer.link) else {
            return false;
        };
        match self.sessions.send_message(link, Lane::Control as u8, &wire::encode(message)) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%tag, %error, "a control message was not sent");
                false
            }
        }
    }

    pub(crate) fn flush_outbox(&mut self, tag: PeerTag) {
        let Some(peer) = self.peers.get_mut(&tag) else { return };
        let Some(link) = peer.link.filter(|_| peer.secure) else { return };
        while let Some(message) = peer.outbox.front() {
            match self.sessions.send_message(link, Lane::Text as u8, message) {
                Ok(()) => {}
                Err(link::SendError::Full) => return,
                Err(error) => tracing::debug!(%tag, %error, "a text message was not sent"),
            }
            peer.outbox.pop();
        }
    }
}
