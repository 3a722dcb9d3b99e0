use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use identity::PairKeys;
use wire::{
    PeerTag,
    check::Header,
    signal::{Candidate, CandidateKind},
};

use crate::{
    Event, Ignored, Transmit, Way, choice::best_relayed, guess::Guesser, hygiene, path::State, peer::Peer,
    shared::Shared, surroundings::Surroundings, window::Window,
};

/// Windows of removed peers that are kept, so that their old checks stay refused if they come back with the same keys.
const MAX_RETIRED: usize = 64;

/// Finds and keeps a path to each peer; see the crate's description.
pub struct Agent {
    pub(crate) peers: BTreeMap<PeerTag, Peer>,
    /// Who may have sent a check with this tag.
    by_tag: BTreeMap<u32, Vec<PeerTag>>,
    retired: VecDeque<((u32, u32), Window)>,
    pub(crate) shared: Shared,
    pub(crate) guesser: Guesser,
    surroundings: Surroundings,
}

/// A path as it is now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Route {
    /// How to send.
    pub way: Way,
    /// How the way was found.
    pub kind: CandidateKind,
    /// Smoothed round trip, once measured.
    pub rtt: Option<Duration>,
    /// Whether traffic should go by [`Agent::spare`] too.
    pub doubtful: bool,
}

impl Agent {
    /// An agent without peers. There must be one agent for each run of the program, because the agent counts the packets
    /// that the run's keys seal.
    pub fn new(seed: u64) -> Self {
        Self {
            peers: BTreeMap::new(),
            by_tag: BTreeMap::new(),
            retired: VecDeque::new(),
            shared: Shared::new(seed),
            guesser: Guesser::default(),
            surroundings: Surroundings::default(),
        }
    }

    /// Lets peers be on this very host: for tests and for trying things out.
    pub fn allow_loopback(&mut self) {
        self.shared.allow_loopback = true;
    }

    /// Tells how long a round trip to a peer may take, as one to the rendezvous does: pings need not be denser than answers.
    pub fn expect_round_trip(&mut self, rtt: Duration) {
        self.surroundings.round_trip = Some(rtt);
        self.peers.values_mut().for_each(|peer| peer.surroundings = self.surroundings);
    }

    /// Tells where this member is seen from outside, if that is known: who is seen at other addresses is hardly in the same
    /// network, so the peer's private addresses are tried later.
    pub fn expect_neighbours_at(&mut self, seen: &[IpAddr]) {
        self.surroundings.note_seen(seen);
        self.peers.values_mut().for_each(|peer| peer.surroundings = self.surroundings);
    }

    /// Begins the search for a path to a peer. A peer of the same tag is replaced.
    pub fn add_peer(&mut self, peer: PeerTag, keys: PairKeys, candidates: &[Candidate], now: Instant) {
        self.remove_peer(peer);
        let window = self.take_retired((keys.my_tag(), keys.peer_tag())).unwrap_or_default();
        self.by_tag.entry(keys.peer_tag()).or_default().push(peer);
        let mut added = Peer::new(peer, keys, window, now);
        added.surroundings = self.surroundings;
        self.peers.insert(peer, added);
        self.add_candidates(peer, candidates, now);
    }

    /// Tries more addresses of a peer, those that are new at once and all if no path is known to work.
    pub fn add_candidates(&mut self, tag: PeerTag, candidates: &[Candidate], now: Instant) {
        if let Some(peer) = self.peers.get_mut(&tag) {
            peer.add_candidates(candidates, now, &mut self.shared);
        }
        self.drive_one(tag, now);
    }

    /// Somebody relays to a peer: the rendezvous, or another member. The way is taken at once if there is no other, and
    /// given up for the first direct one.
    pub fn add_relay(&mut self, tag: PeerTag, way: Way, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&tag) {
            peer.add_relay(way, now, &mut self.shared);
        }
        self.drive_one(tag, now);
    }

    /// Nobody relays to a peer this way any more.
    pub fn remove_relay(&mut self, tag: PeerTag, way: Way, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&tag) {
            peer.remove_relay(way, now, &mut self.shared);
        }
        self.drive_one(tag, now);
    }

    /// Forgets a peer.
    pub fn remove_peer(&mut self, peer: PeerTag) {
        let Some(gone) = self.peers.remove(&peer) else { return };
        let tag = gone.keys.peer_tag();
        if let Some(sharers) = self.by_tag.get_mut(&tag) {
            sharers.retain(|sharer| *sharer != peer);
            if sharers.is_empty() {
                self.by_tag.remove(&tag);
            }
        }
        if self.retired.len() >= MAX_RETIRED {
            self.retired.pop_front();
        }
        self.retired.push_back(((gone.keys.my_tag(), tag), gone.window));
        self.shared.disclaim_all(peer);
        self.guesser.forget(peer);
    }

    /// Tries all addresses of a peer now: the peer is known, by way of somebody else, to be trying too.
    pub fn check_again(&mut self, tag: PeerTag, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&tag).filter(|peer| peer.search.is_some() && peer.doubt.is_none()) {
            peer.begin_search(now);
        }
        self.drive_one(tag, now);
    }

    /// Takes a datagram whose first byte says that it is a check, and the way that it came.
    ///
    /// # Errors
    /// [`Ignored`] says why it was of no use; nobody is answered.
    pub fn handle_input(&mut self, from: Way, datagram: &[u8], now: Instant) -> Result<PeerTag, Ignored> {
        let from = normal(from);
        let (header, ..) = Header::split(datagram).ok_or(Ignored::NoCheck)?;
        let sharers = self.by_tag.get(&header.tag).ok_or(Ignored::Stranger)?;
        let opened = sharers.iter().find_map(|tag| Some((*tag, self.peers.get(tag)?.keys.open(datagram)?)));
        let (tag, (number, check)) = opened.ok_or(Ignored::Forged)?;
        let peer = self.peers.get_mut(&tag).ok_or(Ignored::Stranger)?;
        if !peer.window.accept(number) {
            return Err(Ignored::Replayed);
        }
        peer.handle_check(from, check, now, &mut self.shared)?;
        self.drive_one(tag, now);
        Ok(tag)
    }

    /// Notes that an authentic packet of the session with a peer came this way.
    pub fn note_received(&mut self, peer: PeerTag, from: Way, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.note_received(normal(from), now, &mut self.shared);
        }
    }

    /// Notes that a packet of the session went to a peer, by its [`Self::route`] or its [`Self::best_guess`].
    pub fn note_sent(&mut self, peer: PeerTag, way: Way, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.note_sent(way, now, &mut self.shared);
        }
    }

    /// Doubts every path and tries every address: an interface came or went, or the host was asleep.
    pub fn network_changed(&mut self, now: Instant) {
        self.shared.ledger.clear(now);
        for peer in self.peers.values_mut() {
            peer.network_changed(now, &mut self.shared);
        }
        self.drive(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.drive(now);
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.shared.outbox.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.shared.events.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ticks = self.peers.values().filter_map(Peer::next_tick);
        let all = self.peers.values().flat_map(|peer| peer.paths.iter().map(move |path| (peer, path)));
        let pings = all.filter_map(|(peer, path)| Some(self.turn(peer, peer.ping_due(path)?)));
        ticks.chain(pings.min()).chain(self.guess_timeout()).min()
    }

    /// Whose packets come this direct way; only ways that passed an authenticated check carry any.
    pub fn peer_at(&self, from: Way) -> Option<PeerTag> {
        self.shared.owner(normal(from))
    }

    /// How to send to a peer: its best usable path.
    pub fn route(&self, peer: PeerTag) -> Option<Way> {
        self.peers.get(&peer)?.route(&self.shared)
    }

    /// The candidate that most probably works, for those who can't wait for a direct [`Self::route`].
    pub fn best_guess(&self, peer: PeerTag) -> Option<Way> {
        self.peers.get(&peer)?.best_guess(&self.shared)
    }

    /// A relayed way beside the [`Self::route`], for what can't wait until it is clear whether that works.
    pub fn spare(&self, peer: PeerTag) -> Option<Way> {
        let peer = self.peers.get(&peer)?;
        best_relayed(&peer.paths, peer.selected).map(|path| path.way)
    }

    /// What there is to tell of the path to a peer.
    pub fn path(&self, peer: PeerTag) -> Option<Route> {
        let peer = self.peers.get(&peer)?;
        let path = peer.selected_path()?;
        let doubtful = peer.suspected || peer.doubt.is_some() || path.is_direct() && path.state != State::Confirmed;
        Some(Route { way: path.way, kind: path.kind, rtt: path.rtt, doubtful })
    }

    pub(crate) fn drive(&mut self, now: Instant) {
        for peer in self.peers.values_mut() {
            peer.tick(now, &mut self.shared);
        }
        self.send_pings(now);
        self.drive_guess(now);
    }

    /// The same after something has happened to one peer: of the others nothing is due before it is time.
    fn drive_one(&mut self, tag: PeerTag, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&tag) {
            peer.tick(now, &mut self.shared);
            if peer.paths.iter().any(|path| peer.ping_due(path).is_some_and(|due| due <= now)) {
                self.send_pings(now);
            }
        }
        self.drive_guess(now);
    }

    fn send_pings(&mut self, now: Instant) {
        while let Some((tag, way, turn)) = self.next_ping(now) {
            let sent = self.peers.get_mut(&tag).is_some_and(|peer| peer.send_due_ping(way, now, &mut self.shared));
            if sent {
                self.shared.pacer.take(turn, now);
            }
        }
    }

    /// The ping whose turn it is: first pings before repetitions, best candidates before others, all peers alike.
    fn next_ping(&self, now: Instant) -> Option<(PeerTag, Way, Instant)> {
        if self.shared.pacer.first_turn(now) > now {
            return None;
        }
        let all = self.peers.values().flat_map(|peer| peer.paths.iter().map(move |path| (peer, path)));
        let due = all.filter_map(|(peer, path)| Some((peer.ping_due(path).filter(|due| *due <= now)?, peer, path)));
        let due = due.filter(|(due, peer, _)| self.turn(peer, *due) <= now);
        let (due, peer, path) = due.min_by_key(|(due, _, path)| (path.precedence(), *due))?;
        Some((peer.tag, path.way, self.turn(peer, due)))
    }

    fn turn(&self, peer: &Peer, due: Instant) -> Instant {
        let pacer = &self.shared.pacer;
        if peer.is_unasked() { pacer.first_turn(due) } else { pacer.turn(due) }
    }

    fn take_retired(&mut self, tags: (u32, u32)) -> Option<Window> {
        let index = self.retired.iter().position(|(known, _)| *known == tags)?;
        self.retired.remove(index).map(|(_, window)| window)
    }
}

/// The one spelling of a way.
fn normal(way: Way) -> Way {
    match way {
        Way::Direct { socket, addr } => Way::Direct { socket, addr: hygiene::normal(addr) },
        relayed => relayed,
    }
}
