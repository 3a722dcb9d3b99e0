//! What the mesh tells, as event lines and to local programs.

use std::{net::SocketAddr, time::Instant};

use anyhow::anyhow;
use edge::{Exit, WithExit};
use mesh::{Event, ServerEvent};
use wire::{
    IdentityKey, MessageId, PeerTag,
    agent::FromPuncher,
    peer::{Keeper, Lane},
    signal::{LeaveReason, Refusal},
};

use crate::{
    classify::NatReport,
    driver::Driver,
    events::{Line, key_text, kind_name, millis},
    local::held::Text,
};

impl Driver {
    pub(crate) fn handle_event(&mut self, event: Event) {
        match event {
            Event::Server(event) => self.handle_server(event),
            Event::Nat(facts) => self.emit(&Line::Nat(NatReport::new(&facts))),
            Event::Seen { tag, name, key } => self.handle_seen(tag, &name, key),
            Event::Path { tag, path, addr, via, kind, rtt, since_known, why } => {
                let Some(peer) = self.parts.mesh.peer(tag) else { return };
                if let (Some(addr), Some(_), Some(remembered)) = (addr, rtt, &mut self.parts.remembered) {
                    remembered.note(addr, &self.parts.writer);
                }
                self.emit(&Line::Path {
                    peer: &peer.name,
                    key: key_text(&peer.key),
                    addr,
                    path,
                    via: via.as_deref(),
                    kind: kind_name(kind),
                    rtt_ms: rtt.map(millis),
                    since_known_ms: millis(since_known),
                    why: &why,
                });
                self.tell_all(&FromPuncher::Peer(peer));
            }
            Event::Secure { tag, since_known } => self.handle_link(tag, true, Some(millis(since_known)), ""),
            Event::Insecure { tag, why } => self.handle_link(tag, false, None, &why),
            Event::Left { tag, name, why } => {
                self.emit(&Line::Left { peer: &name, why: &why });
                self.tell_all(&FromPuncher::Left { tag, name, why });
            }
            Event::Voice { tag, packet } => {
                let record = FromPuncher::Voice { from: tag, came_us: edge::shared_us(), packet: packet.to_vec() };
                self.parts.agents.queue_voice(&record, self.parts.poll.registry());
            }
            Event::Text { tag, id, direct, body } => self.handle_text(tag, id, direct, body),
            Event::Delivery { id, tag, name, outcome } => {
                let record = FromPuncher::Delivery { id, to: tag, name, outcome };
                if let Some(sender) = self.senders.get(&id) {
                    self.parts.agents.send(*sender, &record, self.parts.poll.registry());
                }
            }
            Event::Settled { id } => {
                if let Some(sender) = self.senders.remove(&id) {
                    self.parts.agents.send(sender, &FromPuncher::Settled { id }, self.parts.poll.registry());
                }
            }
        }
    }

    fn handle_seen(&mut self, tag: PeerTag, name: &str, key: IdentityKey) {
        self.emit(&Line::Peer { peer: name, key: key_text(&key) });
        let error = match self.parts.known_peers.has_changed(&self.pin_name(name), &key) {
            Ok(false) => return self.tell_peer_status(tag),
            Ok(true) => format!(
                "{name} has another key than before: somebody else uses the name, or {name} has set up anew; \
                 nothing is sent there; if you know why: puncher trust {name}, and {name} starts anew"
            ),
            Err(error) => format!("{error:#}: nothing is sent to {name} whose key can't be compared"),
        };
        self.emit(&Line::Error { text: error });
        self.parts.mesh.block(tag, Instant::now());
    }

    /// Names are unique on one server, so the server is part of what a person's key is kept under.
    fn pin_name(&self, name: &str) -> String {
        format!("{name}@{}", self.parts.known_server.realm())
    }

    /// Tells the programs on the text lane; returns how many took it.
    pub(crate) fn tell_text(&mut self, record: &FromPuncher) -> usize {
        self.parts.agents.broadcast(record, self.parts.poll.registry(), |_, lane| lane == Lane::Text)
    }

    fn handle_link(&mut self, tag: PeerTag, secure: bool, since_known_ms: Option<u64>, why: &str) {
        let Some(peer) = self.parts.mesh.peer(tag) else { return };
        let pin_name = self.pin_name(&peer.name);
        if secure {
            self.parts.known_peers.meet(&pin_name, peer.key, &self.parts.writer);
        }
        self.emit(&Line::Link { peer: &peer.name, key: key_text(&peer.key), secure, since_known_ms, why });
        self.tell_all(&FromPuncher::Peer(peer));
    }

    fn handle_text(&mut self, tag: PeerTag, id: MessageId, direct: bool, body: Vec<u8>) {
        let now = Instant::now();
        let name = self.parts.mesh.peer(tag).map(|peer| peer.name).unwrap_or_default();
        let text = Text { from: tag, id, name, direct, body };
        if self.tell_text(&text.clone().into_record()) > 0 {
            self.parts.mesh.acknowledge(tag, id, Keeper::Chat, now);
        } else if self.held.push(text) {
            self.parts.mesh.acknowledge(tag, id, Keeper::Puncher, now);
        } else {
            let text = "a text message was refused: too many wait for a chat program; start one".to_owned();
            self.emit(&Line::Error { text });
        }
    }

    /// A call goes on without its rendezvous, so it does without one that can't be trusted, or lets this member in no more.
    fn end_unless_in_call(&mut self, error: anyhow::Error, exit: Exit) {
        if self.parts.mesh.peers().any(|peer| peer.secure) {
            return self.emit(&Line::Error { text: format!("{error:#}; calls go on without the rendezvous") });
        }
        self.end(Err(error).exit(exit));
    }

    fn handle_server(&mut self, event: ServerEvent) {
        match event {
            ServerEvent::Connecting => {}
            ServerEvent::Tunnel(wanted) => self.want_tunnel(wanted),
            ServerEvent::Key(key) => {
                if let Err(error) = self.parts.known_server.remember(&key, &self.parts.writer) {
                    self.emit(&Line::Error { text: format!("{error:#}") });
                }
            }
            ServerEvent::SecretNeeded(key) => match self.parts.known_server.channel_secret(key) {
                Ok(secret) => self.parts.mesh.set_secret(secret, Instant::now()),
                Err(error) => self.end(Err(error)),
            },
            ServerEvent::Ticket(ticket) => {
                if let Some(tickets) = &self.parts.tickets {
                    tickets.keep(ticket, &self.parts.writer);
                }
            }
            ServerEvent::Joined { observed, name, peers } => self.joined(observed, name, peers),
            ServerEvent::Observed(addr) => self.server_line(true, format!("this member is seen at {addr}")),
            ServerEvent::Refused(refusal) => {
                let error = anyhow!(refusal.clone()).context(format!("join {}", self.parts.channel));
                self.end_unless_in_call(error, refusal_exit(&refusal));
            }
            ServerEvent::PutOut(why) => {
                let what = match why {
                    LeaveReason::Replaced => "another program joined with the same key and has our place",
                    _ => "the channel was deleted",
                };
                let error = anyhow!(what).context(format!("stay in {}", self.parts.channel));
                self.end(Err(error).exit(Exit::Unavailable));
            }
            ServerEvent::WrongKey => {
                let error = self.parts.known_server.changed_key();
                self.end_unless_in_call(error, Exit::Protocol);
            }
            ServerEvent::Lost { why, retry_in: None } => {
                let error = anyhow!("{why}").context(format!("reach {}", self.parts.known_server));
                self.end(Err(error).exit(Exit::Unavailable));
            }
            ServerEvent::Lost { why, retry_in: Some(wait) } => {
                if let Some(addr) = self.parts.known_server.next_addr() {
                    self.parts.mesh.set_server(addr);
                }
                let server = &self.parts.known_server;
                self.server_line(false, format!("{server} is not there ({why}); asking again in {} ms", millis(wait)));
            }
            ServerEvent::Closing => {
                self.server_line(false, format!("{} closes; calls go on without it", self.parts.known_server));
            }
        }
    }

    fn joined(&mut self, observed: SocketAddr, name: String, peers: usize) {
        if self.parts.mesh.is_tunnelled() {
            self.server_line(
                true,
                "UDP does not get through to the rendezvous: everything goes over TCP, by its relay".to_owned(),
            );
        }
        self.emit(&Line::Joined { channel: &self.parts.channel.clone(), name: &name, observed, peers });
        self.tell_server(true, format!("joined, seen at {observed}"));
        self.parts.name = name;
        if let Some(ready) = self.parts.ready.take() {
            ready.signal();
        }
    }

    fn server_line(&mut self, connected: bool, text: String) {
        self.emit(&Line::Server { connected, text: text.clone() });
        self.tell_server(connected, text);
    }

    pub(crate) fn tell_server(&mut self, connected: bool, text: String) {
        self.server = FromPuncher::Server { connected, text };
        self.tell_all(&self.server.clone());
    }
}

fn refusal_exit(refusal: &Refusal) -> Exit {
    match refusal {
        Refusal::BadChannel(_) | Refusal::BadName(_) => Exit::Usage,
        Refusal::ProofNeeded(_) | Refusal::WrongProof => Exit::NoPermission,
        Refusal::TooManyAttempts(_) => Exit::TryAgain,
        Refusal::Protocol(_) | Refusal::Version(_) => Exit::Protocol,
        Refusal::UnknownChannel | Refusal::NameTaken | Refusal::ChannelFull(_) | Refusal::ServerFull => {
            Exit::Unavailable
        }
    }
}
