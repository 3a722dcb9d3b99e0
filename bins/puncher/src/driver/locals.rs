//! What local programs ask of the loop, and what they are told.

use std::time::Instant;

use mio::Token;
use wire::{
    agent::{self, FromPuncher, Opened, ToPuncher, VoiceRecord},
    local::{Ask, Local},
    peer::{Keeper, Lane},
};

use crate::driver::{Driver, Ending};

impl Driver {
    pub(crate) fn handle_client(&mut self, token: Token) {
        let mut progress = self.parts.agents.write(token, self.parts.poll.registry()).map(|()| true);
        while !self.waiting.contains(&token) && matches!(progress, Ok(true)) {
            progress = self.parts.agents.read(token);
            self.handle_records(token, progress.is_err());
        }
        if let Err(reason) = progress {
            self.parts.agents.dismiss(token, &reason, self.parts.poll.registry());
        }
        if self.parts.pipe.as_ref().is_some_and(|pipe| pipe.token == token) && !self.parts.agents.has(token) {
            self.end(Ok(Ending::Asked));
        }
    }

    /// Takes what was read of a program; all of it, if these are its last words. Otherwise a text has to wait while peers are slow.
    fn handle_records(&mut self, token: Token, are_last: bool) {
        while let Some(record) = self.parts.agents.next_record(token, self.parts.poll.registry()) {
            let is_text = matches!(record, ToPuncher::Text { .. });
            if is_text && !are_last && self.parts.mesh.is_text_backlogged() {
                self.parts.agents.withhold(token, record);
                self.waiting.insert(token);
                return;
            }
            self.handle_record(token, record);
            self.drain();
        }
    }

    /// Reads on from those who had to wait for slow peers.
    pub(crate) fn handle_waiting(&mut self) {
        if !self.waiting.is_empty() && !self.parts.mesh.is_text_backlogged() {
            for token in std::mem::take(&mut self.waiting) {
                self.handle_records(token, false);
                self.handle_client(token);
            }
        }
    }

    fn handle_record(&mut self, token: Token, record: ToPuncher) {
        let now = Instant::now();
        match (record, self.parts.agents.lane(token)) {
            (ToPuncher::Open { version, lane, program }, None) => self.open_lane(token, version, lane, &program, now),
            (ToPuncher::Voice(VoiceRecord { peers, packet }), Some(Lane::Voice)) => {
                self.parts.mesh.send_voice(&peers, &packet, now);
            }
            (ToPuncher::Text { id, to, body }, Some(Lane::Text | Lane::Control))
                if body.len() <= wire::peer::MAX_TEXT =>
            {
                self.senders.insert(id, token);
                self.parts.mesh.send_text(id, &to, body, now);
            }
            (ToPuncher::Local(Local::Ask { id, what }), Some(_)) => self.ask_talks(token, id, what),
            (ToPuncher::Local(local), Some(_)) => {
                let record = FromPuncher::Local(local);
                self.parts.agents.broadcast(&record, self.parts.poll.registry(), |other, _| other != token);
            }
            (ToPuncher::Leave, Some(_)) => self.end(Ok(Ending::Asked)),
            (_, lane) => {
                let what = lane.map_or("a lane has to be opened first".to_owned(), |lane| {
                    format!("this record does not belong on a {lane:?} lane")
                });
                self.parts.agents.send(token, &FromPuncher::Refused(what), self.parts.poll.registry());
            }
        }
    }

    /// Hands a question to every talk, and tells the asker how many these are. A pipe carries voice alone.
    fn ask_talks(&mut self, token: Token, id: u64, what: Ask) {
        let (registry, pipe) = (self.parts.poll.registry(), self.parts.pipe.as_ref().map(|pipe| pipe.token));
        let is_talk = |other, lane| lane == Lane::Voice && other != token && Some(other) != pipe;
        let ask = FromPuncher::Local(Local::Ask { id, what });
        let talks = self.parts.agents.broadcast(&ask, registry, is_talk);
        let talks = u16::try_from(talks).unwrap_or(u16::MAX);
        self.parts.agents.send(token, &FromPuncher::Local(Local::Asked { id, talks }), registry);
    }

    fn open_lane(&mut self, token: Token, version: u16, lane: Lane, program: &str, now: Instant) {
        let registry = self.parts.poll.registry();
        if version != agent::VERSION {
            let why = format!("this puncher speaks version {} of the agent protocol, not {version}", agent::VERSION);
            self.parts.agents.send(token, &FromPuncher::Refused(why), registry);
            return;
        }
        tracing::debug!(?token, ?lane, program, "a local program opened a lane");
        self.parts.agents.open(token, lane);
        let opened = FromPuncher::Opened(Opened {
            version: agent::VERSION,
            channel: self.parts.channel.clone(),
            name: self.parts.name.clone(),
            key: self.parts.mesh.key(),
        });
        self.parts.agents.send(token, &opened, registry);
        self.introduce(token);
        if lane == Lane::Text {
            self.hand_over_held(token, now);
        }
    }

    /// Tells a program of everybody who is there.
    pub(crate) fn introduce(&mut self, token: Token) {
        for status in self.parts.mesh.peers().collect::<Vec<_>>() {
            self.parts.agents.send(token, &FromPuncher::Peer(status), self.parts.poll.registry());
        }
        let server = self.server.clone();
        self.parts.agents.send(token, &server, self.parts.poll.registry());
    }

    fn hand_over_held(&mut self, token: Token, now: Instant) {
        while let Some(text) = self.held.pop() {
            let (tag, id) = (text.from, text.id);
            self.parts.agents.send(token, &text.into_record(), self.parts.poll.registry());
            self.parts.mesh.acknowledge(tag, id, Keeper::Chat, now);
        }
    }

    pub(crate) fn tell_all(&mut self, record: &FromPuncher) {
        self.parts.agents.broadcast(record, self.parts.poll.registry(), |_, _| true);
    }

    pub(crate) fn tell_peer_status(&mut self, tag: wire::PeerTag) {
        if let Some(status) = self.parts.mesh.peer(tag) {
            self.tell_all(&FromPuncher::Peer(status));
        }
    }
}
