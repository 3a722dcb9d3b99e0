//! What happens in the channel, as entries for a screen: follows the records of `puncher`, without a terminal and without a clock.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Instant,
};

use chat::{Outgoing, Receipt, Seen, Verdict};
use wire::{
    IdentityKey, MessageId, PeerTag,
    agent::{FromPuncher, Path, PeerStatus},
    local::{Ask, VoiceState, Volume},
};

use crate::voices::Voices;

/// So much of a text is shown when it was not delivered.
const SNIPPET_CHARS: usize = 24;

/// Something to show. All names and texts in it are remote text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Entry {
    /// A text came.
    Message { id: MessageId, name: String, key: Option<IdentityKey>, direct: bool, body: Vec<u8> },
    /// Somebody was there when we came.
    Here { name: String },
    /// Somebody came.
    Joined { name: String },
    /// Somebody is gone.
    Left { name: String, why: String },
    /// The session with somebody is secure, or takes another path.
    Connected { name: String, path: Path, addr: Option<SocketAddr>, rtt_us: Option<u32> },
    /// The session with somebody broke.
    Broken { name: String },
    /// A text of ours did not reach everybody.
    Undelivered { snippet: String, receipt: Receipt },
    /// The rendezvous is there, or not.
    Server { connected: bool, text: String },
    /// Somebody's voice is another than before; without a name it is our own.
    Voice { name: Option<String>, before: VoiceState, state: VoiceState },
    /// Somebody is played as loud as was wanted.
    Volume { name: String, volume: Volume },
    /// The talk did not do what was asked of it.
    NotDone { why: String },
    /// `puncher` refuses something.
    Refused { why: String },
}

/// What is known of the channel.
#[derive(Debug, Default)]
pub(crate) struct Room {
    peers: BTreeMap<PeerTag, Known>,
    seen: Seen,
    outgoing: Outgoing,
    snippets: BTreeMap<MessageId, String>,
    voices: Voices,
    /// Whether there is a rendezvous; unknown until everybody who is there has been told.
    server: Option<bool>,
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Known {
    status: PeerStatus,
    /// The path that was shown last.
    shown: Option<(Path, Option<SocketAddr>)>,
}

impl Room {
    /// Takes what `puncher` says.
    pub(crate) fn handle(&mut self, record: FromPuncher) {
        match record {
            FromPuncher::Peer(status) => self.handle_peer(status),
            FromPuncher::Left { tag, name, why } => {
                self.voices.leave(tag);
                if self.peers.remove(&tag).is_some() {
                    self.entries.push_back(Entry::Left { name, why });
                }
            }
            FromPuncher::Text { id, from, name, direct, body } => {
                if self.seen.insert(from, id) {
                    let key = self.peers.get(&from).map(|known| known.status.key);
                    self.entries.push_back(Entry::Message { id, name, key, direct, body });
                }
            }
            FromPuncher::Delivery { id, to, name, outcome } => self.outgoing.handle_delivery(id, to, &name, outcome),
            FromPuncher::Settled { id } => self.outgoing.handle_settled(id),
            FromPuncher::Server { connected, text } => self.handle_server(connected, text),
            FromPuncher::Local(local) => {
                let name = |tag| self.peers.get(&tag).map(|known| known.status.name.clone());
                self.entries.extend(self.voices.handle(local, name));
            }
            FromPuncher::Refused(why) => self.entries.push_back(Entry::Refused { why }),
            FromPuncher::Opened(_) | FromPuncher::Voice { .. } | FromPuncher::Closing => {}
        }
        self.take_receipts();
    }

    /// Follows a text that is about to be sent.
    pub(crate) fn start(&mut self, id: MessageId, text: &str, now: Instant) {
        let mut snippet: String = text.chars().take(SNIPPET_CHARS).collect();
        if snippet.len() < text.len() {
            snippet.push('…');
        }
        self.snippets.insert(id, snippet);
        self.outgoing.start(id, now);
    }

    /// Follows a question to the talks that is about to be sent.
    pub(crate) fn ask(&mut self, id: u64, what: &Ask) {
        self.voices.ask(id, what);
    }

    /// Gives up on texts that are overdue.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.outgoing.handle_timeout(now);
        self.take_receipts();
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.outgoing.poll_timeout()
    }

    /// `puncher` has ended: nothing more is delivered.
    pub(crate) fn close(&mut self) {
        self.outgoing.close();
        self.take_receipts();
    }

    /// The next thing to show.
    pub(crate) fn poll_entry(&mut self) -> Option<Entry> {
        self.entries.pop_front()
    }

    /// Whether all texts are settled and nothing waits to be shown.
    pub(crate) fn is_idle(&self) -> bool {
        self.outgoing.is_idle() && self.entries.is_empty()
    }

    /// Whether everybody who is there has been told.
    pub(crate) fn is_introduced(&self) -> bool {
        self.server.is_some()
    }

    /// Everybody who is there, and what is known of their voices.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (&PeerStatus, Option<VoiceState>)> {
        self.peers.values().map(|known| (&known.status, self.voices.of(known.status.tag)))
    }

    /// Takes the round trips as they are now: `puncher` tells of one only when a path changes.
    pub(crate) fn note_round_trips(&mut self, now: &[PeerStatus]) {
        for status in now {
            if let Some(known) = self.peers.get_mut(&status.tag) {
                known.status.rtt_us = status.rtt_us;
            }
        }
    }

    fn handle_peer(&mut self, status: PeerStatus) {
        let name = status.name.clone();
        let path = (status.path, status.addr);
        let Some(known) = self.peers.get_mut(&status.tag) else {
            let introduced = self.server.is_some();
            self.entries.push_back(if introduced { Entry::Joined { name } } else { Entry::Here { name } });
            self.peers
                .insert(status.tag, Known { status: PeerStatus { secure: false, ..status.clone() }, shown: None });
            if status.secure {
                self.handle_peer(status);
            }
            return;
        };
        let was_secure = std::mem::replace(&mut known.status, status.clone()).secure;
        match (was_secure, status.secure) {
            (true, false) => {
                known.shown = None;
                self.entries.push_back(Entry::Broken { name });
            }
            (_, true) if known.shown != Some(path) => {
                known.shown = Some(path);
                let PeerStatus { path, addr, rtt_us, .. } = status;
                self.entries.push_back(Entry::Connected { name, path, addr, rtt_us });
            }
            _ => {}
        }
    }

    fn handle_server(&mut self, connected: bool, text: String) {
        if self.server.replace(connected).unwrap_or(true) != connected {
            self.entries.push_back(Entry::Server { connected, text });
        }
    }

    fn take_receipts(&mut self) {
        while let Some(receipt) = self.outgoing.poll_receipt() {
            let snippet = self.snippets.remove(&receipt.id).unwrap_or_default();
            if receipt.verdict() != Verdict::Delivered {
                self.entries.push_back(Entry::Undelivered { snippet, receipt });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::{agent::Delivery, peer::Keeper};

    use super::*;

    fn peer(tag: u32, name: &str, path: Path, secure: bool) -> FromPuncher {
        let (key, name) = (IdentityKey([tag as u8; 32]), name.to_owned());
        FromPuncher::Peer(PeerStatus {
            tag: PeerTag(tag),
            name,
            key,
            path,
            addr: None,
            via: None,
            rtt_us: Some(38_000),
            secure,
        })
    }

    fn connected(name: &str, path: Path) -> Entry {
        Entry::Connected { name: name.into(), path, addr: None, rtt_us: Some(38_000) }
    }

    fn server(connected: bool) -> FromPuncher {
        FromPuncher::Server { connected, text: "seen".into() }
    }

    fn entries(room: &mut Room, records: impl IntoIterator<Item = FromPuncher>) -> Vec<Entry> {
        records.into_iter().for_each(|record| room.handle(record));
        std::iter::from_fn(|| room.poll_entry()).collect()
    }

    #[test]
    fn who_was_there_is_told_from_who_comes() {
        let shown = entries(
            &mut Room::default(),
            [peer(1, "alice", Path::Direct, true), server(true), peer(2, "bob", Path::None, false)],
        );
        let (alice, bob) = ("alice".to_owned(), "bob".to_owned());
        let expected = [Entry::Here { name: alice }, connected("alice", Path::Direct), Entry::Joined { name: bob }];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_path_is_shown_when_it_changes_and_not_when_its_round_trip_does() {
        let mut room = Room::default();
        entries(&mut room, [server(true), peer(1, "alice", Path::None, false)]);

        assert_eq!(entries(&mut room, [peer(1, "alice", Path::Relay, false)]), [], "not secure yet");
        assert_eq!(entries(&mut room, [peer(1, "alice", Path::Relay, true)]), [connected("alice", Path::Relay)]);
        assert_eq!(entries(&mut room, [peer(1, "alice", Path::Relay, true)]), []);
        assert_eq!(entries(&mut room, [peer(1, "alice", Path::Direct, true)]), [connected("alice", Path::Direct)]);
        let broken = Entry::Broken { name: "alice".into() };
        assert_eq!(entries(&mut room, [peer(1, "alice", Path::None, false)]), [broken]);
        assert_eq!(entries(&mut room, [peer(1, "alice", Path::Direct, true)]), [connected("alice", Path::Direct)]);
    }

    #[test]
    fn round_trips_are_those_of_the_moment_and_bring_nobody_back() {
        let mut room = Room::default();
        entries(&mut room, [server(true), peer(1, "alice", Path::Direct, true)]);
        let status = |tag, rtt_us| match peer(tag, "x", Path::Direct, true) {
            FromPuncher::Peer(status) => PeerStatus { rtt_us: Some(rtt_us), ..status },
            _ => unreachable!("a peer"),
        };

        room.note_round_trips(&[status(1, 90_000), status(2, 50_000)]);

        let known: Vec<_> = room.peers().map(|(peer, _)| (peer.name.as_str(), peer.rtt_us)).collect();
        assert_eq!(known, [("alice", Some(90_000))]);
        assert!(room.poll_entry().is_none());
    }

    #[test]
    fn a_text_that_comes_twice_is_shown_once() {
        let text = || FromPuncher::Text {
            id: MessageId(1),
            from: PeerTag(1),
            name: "alice".into(),
            direct: false,
            body: b"hi".to_vec(),
        };
        assert_eq!(entries(&mut Room::default(), [text(), text()]).len(), 1);
    }

    #[test]
    fn only_a_change_of_the_rendezvous_is_shown() {
        let mut room = Room::default();
        assert_eq!(entries(&mut room, [server(true), server(true)]), []);
        assert_eq!(entries(&mut room, [server(false), server(false), server(true)]).len(), 2);
        assert_eq!(entries(&mut Room::default(), [server(false)]).len(), 1);
    }

    #[test]
    fn only_texts_that_did_not_arrive_are_shown() {
        let mut room = Room::default();
        let delivery = |id, outcome| {
            [
                FromPuncher::Delivery { id: MessageId(id), to: PeerTag(1), name: "bob".into(), outcome },
                FromPuncher::Settled { id: MessageId(id) },
            ]
        };
        room.start(MessageId(1), "hi", Instant::now());
        room.start(MessageId(2), &"long ".repeat(20), Instant::now());

        assert_eq!(entries(&mut room, delivery(1, Delivery::Delivered(Keeper::Chat))), []);
        assert!(!room.is_idle());
        let shown = entries(&mut room, delivery(2, Delivery::TimedOut));

        let [Entry::Undelivered { snippet, receipt }] = shown.as_slice() else { panic!("{shown:?}") };
        assert_eq!((snippet.as_str(), receipt.failed().count()), ("long long long long long…", 1));
        assert!(room.is_idle());
    }

    #[test]
    fn texts_are_not_lost_in_silence_when_puncher_ends() {
        let mut room = Room::default();
        room.start(MessageId(1), "hi", Instant::now());
        room.close();
        assert!(matches!(room.poll_entry(), Some(Entry::Undelivered { .. })));
    }
}
