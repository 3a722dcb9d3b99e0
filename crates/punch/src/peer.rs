//! One peer: its paths, and what its checks say about them.

use std::{net::SocketAddr, time::Duration, time::Instant};

use identity::PairKeys;
use wire::{
    PeerTag,
    check::Check,
    signal::{Candidate, CandidateKind, MAX_CANDIDATES},
};

use crate::{
    Event, Ignored, SocketId, Way,
    choice::better,
    hygiene,
    owed::Owed,
    pace::Limiter,
    path::{Path, Rank, State},
    schedule::{LEFT_AFTER, PINGS_BESIDE},
    search::Search,
    shared::Shared,
    surroundings::Surroundings,
    window::Window,
};

/// Addresses that the peer did not list but sent from.
const MAX_REFLEXIVE: usize = 8;
/// Pongs to one peer: one each gap in the long run, and so many at a time.
const PONG_GAP: Duration = Duration::from_millis(10);
const PONG_BURST: u32 = 50;
/// Paths are compared at most this often when the peer changes between them.
const COMPARE_GAP: Duration = Duration::from_millis(200);

pub(crate) struct Peer {
    pub(crate) tag: PeerTag,
    pub(crate) keys: PairKeys,
    pub(crate) window: Window,
    pub(crate) paths: Vec<Path>,
    pub(crate) surroundings: Surroundings,
    /// What carries the traffic.
    pub(crate) selected: Option<Way>,
    /// What is kept open beside it.
    pub(crate) backup: Option<Way>,
    /// Where the last packet came from that was no answer.
    source: Option<Way>,
    compared: Option<Instant>,
    /// There is one as long as no direct path is known to work.
    pub(crate) search: Option<Search>,
    /// Since when the selected path has been in doubt.
    pub(crate) doubt: Option<Instant>,
    /// Whether the selected path owes an answer: traffic goes by other ways, too, until it comes.
    pub(crate) suspected: bool,
    /// When a session packet last went or came.
    pub(crate) traffic: Option<Instant>,
    /// The first session packet sent since anything came from the peer.
    pub(crate) unheard: Option<Instant>,
    /// What was sent by the selected path and has no answer yet.
    pub(crate) owed: Owed,
    pongs: Limiter,
}

impl Peer {
    pub(crate) fn new(tag: PeerTag, keys: PairKeys, window: Window, now: Instant) -> Self {
        Self {
            tag,
            keys,
            window,
            paths: Vec::new(),
            surroundings: Surroundings::default(),
            selected: None,
            backup: None,
            source: None,
            compared: None,
            search: Some(Search::new(now)),
            doubt: None,
            suspected: false,
            traffic: None,
            unheard: None,
            owed: Owed::default(),
            pongs: Limiter::new(PONG_GAP, PONG_BURST),
        }
    }

    /// The peer says where it may be. What is new to us is tried at once.
    pub(crate) fn add_candidates(&mut self, candidates: &[Candidate], now: Instant, shared: &mut Shared) {
        let listed = self.acceptable(candidates, shared.allow_loopback);
        let mut added = false;
        for (addr, kind) in &listed {
            let way = Way::to(*addr);
            if let Some(path) = self.paths.iter_mut().find(|path| path.way == way && path.is_listed()) {
                path.relabel(*kind);
                continue;
            }
            if !self.make_room(Path::is_listed, MAX_CANDIDATES, &listed, shared) {
                continue;
            }
            if let Some(path) = self.path_mut(way) {
                path.relabel(*kind);
            } else {
                self.paths.push(Path::new(way, *kind));
                added = true;
                if self.search.is_none() {
                    self.try_beside(way, now);
                }
            }
        }
        if let Some(search) = self.search.as_mut().filter(|_| added) {
            search.restart(now);
            self.begin_volley(now);
        }
    }

    fn acceptable(&self, candidates: &[Candidate], allow_loopback: bool) -> Vec<(SocketAddr, CandidateKind)> {
        let mut accepted: Vec<(SocketAddr, CandidateKind)> = Vec::new();
        for candidate in candidates {
            let addr = hygiene::normal(candidate.addr);
            match hygiene::check(addr, allow_loopback) {
                Ok(()) if accepted.iter().any(|(known, _)| *known == addr) => {}
                Ok(()) if matches!(candidate.kind, CandidateKind::PeerReflexive | CandidateKind::Relayed) => {}
                Ok(()) => accepted.push((addr, candidate.kind)),
                Err(why) => tracing::debug!(peer = %self.tag, %addr, %why, "Refused a candidate"),
            }
        }
        accepted.sort_by_key(|(addr, kind)| Rank::of(Way::to(*addr), *kind));
        accepted.truncate(MAX_CANDIDATES);
        accepted
    }

    /// Whether another path of a sort may be added; drops one that is not worth keeping if there are too many.
    fn make_room(
        &mut self,
        sort: impl Fn(&Path) -> bool,
        max: usize,
        keep: &[(SocketAddr, CandidateKind)],
        shared: &mut Shared,
    ) -> bool {
        if self.paths.iter().filter(|path| sort(path)).count() < max {
            return true;
        }
        let selected = self.selected;
        let spare = |path: &&Path| {
            sort(path) && Some(path.way) != selected && !keep.iter().any(|(addr, _)| Way::to(*addr) == path.way)
        };
        let worst = self.paths.iter().filter(spare).min_by_key(|path| (path.state == State::Confirmed, path.heard));
        let Some(way) = worst.map(|path| path.way) else { return false };
        self.paths.retain(|path| path.way != way);
        shared.disclaim(way, self.tag);
        true
    }

    /// Takes an authentic check.
    pub(crate) fn handle_check(
        &mut self,
        from: Way,
        check: Check,
        now: Instant,
        shared: &mut Shared,
    ) -> Result<(), Ignored> {
        let is_new = self.path(from).is_none();
        if is_new && !self.add_source(from, shared)? {
            return Ok(());
        }
        self.note_heard(from, now, shared);
        match check {
            Check::Ping { txid } => {
                self.note_source(from, now);
                self.handle_ping(from, txid, now, shared);
            }
            Check::Pong { txid, .. } => self.handle_pong(from, txid, now, shared),
        }
        if is_new {
            self.try_beside(from, now);
        }
        Ok(())
    }

    /// A check came from where nobody said that the peer is; `false` if there is no room for that.
    fn add_source(&mut self, from: Way, shared: &mut Shared) -> Result<bool, Ignored> {
        let Some(addr) = from.addr() else {
            // The peer knows of a relay that we have yet to hear of.
            self.paths.push(Path::new(from, CandidateKind::Relayed));
            return Ok(true);
        };
        hygiene::check(addr, shared.allow_loopback).map_err(Ignored::Source)?;
        if !self.make_room(|path| path.kind == CandidateKind::PeerReflexive, MAX_REFLEXIVE, &[], shared) {
            return Ok(false);
        }
        tracing::debug!(peer = %self.tag, %addr, "A peer's check came from an address that it did not list");
        self.paths.push(Path::new(from, CandidateKind::PeerReflexive));
        Ok(true)
    }

    fn handle_ping(&mut self, from: Way, txid: u32, now: Instant, shared: &mut Shared) {
        self.answer(from, txid, now, shared);
        let (tag, searching, surroundings) = (self.tag, self.search.is_some(), self.surroundings);
        let Some(path) = self.path_mut(from) else { return };
        let opened = path.is_listed() && path.last_ping.is_some() || !path.is_direct();
        let allowed = path.way.addr().is_none_or(|addr| shared.ledger.allows(addr, tag, now));
        if path.state == State::Untried && opened && allowed && shared.claim(from, tag, false, now) {
            path.state = State::Usable;
        }
        let is_wanted = path.is_direct() && searching || path.state != State::Confirmed;
        if is_wanted {
            match surroundings.answered_by(path, now).filter(|_| path.is_listed()) {
                Some(at) => path.trigger(at),
                None => path.trigger_answer(now),
            }
        }
        let is_usable = path.state == State::Usable;
        if is_usable && self.selected.is_none_or(|way| from.is_direct() && !way.is_direct()) {
            self.select_usable(from, shared);
        }
    }

    /// Traffic goes by a way that owes nothing yet.
    fn select(&mut self, way: Way) {
        if self.selected.replace(way) != Some(way) {
            self.owed.clear();
        }
        self.suspected = false;
    }

    /// Traffic goes by a way that is not proved yet.
    pub(crate) fn select_usable(&mut self, way: Way, shared: &mut Shared) {
        self.select(way);
        let kind = self.path(way).map_or(CandidateKind::PeerReflexive, |path| path.kind);
        tracing::debug!(peer = %self.tag, %kind, "A path is usable");
        shared.events.push_back(Event::Usable { peer: self.tag, way, kind });
    }

    fn answer(&mut self, to: Way, txid: u32, now: Instant, shared: &mut Shared) {
        let Some(path) = self.paths.iter_mut().find(|path| path.way == to) else { return };
        let unproved = to.addr().filter(|_| path.state != State::Confirmed);
        if !self.pongs.is_ready(now) || unproved.is_some_and(|addr| !shared.ledger.allows_answer(addr, self.tag, now)) {
            return;
        }
        if let Some(addr) = unproved {
            shared.ledger.charge(addr, self.tag, now);
        }
        self.pongs.take(now);
        path.last_sent = Some(now);
        shared.send_pong(self.tag, &self.keys, to, txid);
    }

    fn handle_pong(&mut self, from: Way, txid: u32, now: Instant, shared: &mut Shared) {
        let tag = self.tag;
        let Some(path) = self.path_mut(from) else { return };
        if path.note_pong(txid, now).is_none() {
            // It answers a ping that went elsewhere: the peer's NAT maps us otherwise, and this is where it is. Unless it is a
            // guess that was right.
            let Some(sent) = shared.probes.take(txid, from) else { return };
            path.measure(now.duration_since(sent), now);
        }
        if !shared.claim(from, tag, true, now) {
            return;
        }
        let is_first = std::mem::replace(&mut path.state, State::Confirmed) != State::Confirmed;
        path.stop();
        let Some(addr) = from.addr() else { return self.relay_answered(from, is_first, now, shared) };
        if is_first {
            shared.ledger.settle(addr);
        }
        match self.search.take() {
            Some(search) => self.end_search(from, &search, now, shared),
            None => self.reconsider(now, shared),
        }
    }

    /// A direct path is proved: the search is over.
    fn end_search(&mut self, way: Way, search: &Search, now: Instant, shared: &mut Shared) {
        let moved = self.doubt.take().is_some() && self.selected.is_some_and(|old| old != way && old.is_direct());
        self.select(way);
        for path in &mut self.paths {
            path.shorten(PINGS_BESIDE);
        }
        let Some(path) = self.path(way) else { return };
        let (peer, kind, rtt) = (self.tag, path.kind, path.rtt.unwrap_or_default());
        tracing::info!(%peer, %kind, ?rtt, "A path is confirmed");
        shared.events.push_back(if moved {
            Event::Switched { peer, way, kind, rtt }
        } else {
            Event::Confirmed { peer, way, kind, rtt, since_known: now.duration_since(search.since) }
        });
    }

    /// Moves to a better path if there is one.
    pub(crate) fn reconsider(&mut self, now: Instant, shared: &mut Shared) {
        let Some(current) = self.selected_path() else { return };
        let Some(path) = better(&self.paths, current, now) else { return };
        let (peer, way, kind, rtt) = (self.tag, path.way, path.kind, path.rtt.unwrap_or_default());
        tracing::info!(%peer, %kind, ?rtt, "Traffic moves to another path");
        self.select(way);
        shared.events.push_back(Event::Switched { peer, way, kind, rtt });
    }

    fn note_heard(&mut self, from: Way, now: Instant, shared: &mut Shared) {
        let tag = self.tag;
        let Some(path) = self.path_mut(from) else { return };
        path.note_heard(now);
        let rtt = path.rtt;
        // What comes through a relay says nothing of a direct path.
        if from.is_direct() || self.selected.is_none_or(|way| !way.is_direct()) {
            self.owed.note_heard(rtt, now);
            self.unheard = None;
            self.suspected = false;
        } else if self.is_left(now) {
            self.begin_suspicion(now, shared);
        }
        shared.note_heard(from, tag, now);
    }

    /// Whether the peer, who was just heard by a relay, no longer uses the direct path: it has moved, or misses what we say.
    fn is_left(&self, now: Instant) -> bool {
        let heard = self.selected_path().and_then(|path| path.heard);
        let is_silent = heard.is_some_and(|heard| now.duration_since(heard) > LEFT_AFTER);
        is_silent && !self.suspected && self.search.is_none()
    }

    /// The peer chose to send from there. If it sent from elsewhere before, it may have moved, or merely have chosen another
    /// path: then both are asked at once.
    fn note_source(&mut self, from: Way, now: Instant) {
        if !from.is_direct() {
            return;
        }
        let changed = self.source.replace(from) != Some(from) && self.selected != Some(from);
        let lately = self.compared.is_some_and(|at| now.duration_since(at) < COMPARE_GAP);
        if !changed || lately || self.search.is_some() || self.selected.is_none() {
            return;
        }
        self.compared = Some(now);
        let both = [Some(from), self.selected];
        for path in self.paths.iter_mut().filter(|path| both.contains(&Some(path.way))) {
            path.trigger(now);
        }
    }

    /// An authentic session packet came.
    pub(crate) fn note_received(&mut self, from: Way, now: Instant, shared: &mut Shared) {
        if self.path(from).is_some() {
            self.note_heard(from, now, shared);
            self.note_source(from, now);
            self.traffic = Some(now);
        }
    }

    /// A session packet went out this way.
    pub(crate) fn note_sent(&mut self, way: Way, now: Instant, shared: &mut Shared) {
        let (tag, chosen) = (self.tag, self.selected == Some(way));
        let Some(path) = self.path_mut(way) else { return };
        path.last_sent = Some(now);
        if let Some(addr) = way.addr().filter(|_| path.state != State::Confirmed) {
            shared.ledger.charge_traffic(addr, tag, now);
        }
        if chosen {
            self.traffic = Some(now);
            self.unheard.get_or_insert(now);
            self.owed.note_sent(now);
        }
    }

    /// Where to send, as long as that is allowed.
    pub(crate) fn route(&self, shared: &Shared) -> Option<Way> {
        let path = self.selected_path()?;
        let is_allowed = || path.way.addr().is_none_or(|addr| shared.ledger.allows_traffic(addr));
        (path.state == State::Confirmed || is_allowed()).then_some(path.way)
    }

    /// The address that most probably works.
    pub(crate) fn best_guess(&self, shared: &Shared) -> Option<Way> {
        let is_allowed = |path: &&Path| path.way.addr().is_some_and(|addr| shared.ledger.allows_traffic(addr));
        self.paths.iter().filter(is_allowed).min_by_key(|path| path.rank).map(|path| path.way)
    }

    pub(crate) fn selected_path(&self) -> Option<&Path> {
        self.selected.and_then(|way| self.path(way))
    }

    pub(crate) fn path(&self, way: Way) -> Option<&Path> {
        self.paths.iter().find(|path| path.way == way)
    }

    pub(crate) fn path_mut(&mut self, way: Way) -> Option<&mut Path> {
        self.paths.iter_mut().find(|path| path.way == way)
    }

    /// Pings every address by the plan that fits it.
    pub(crate) fn begin_volley(&mut self, now: Instant) {
        let usual = self.surroundings.volley();
        let seen = self.paths.iter().filter(|path| path.kind == CandidateKind::ServerReflexive);
        let mut seen = seen.filter_map(|path| path.way.addr()).map(|addr| addr.ip()).peekable();
        let aside = if seen.peek().is_some() { self.surroundings.volley_aside(seen) } else { usual };
        for path in self.volley_paths() {
            path.start(if path.is_private() { aside } else { usual }, now);
        }
    }

    /// Pings every address once more, by one plan.
    pub(crate) fn begin_retry(&mut self, plan: &'static [Duration], now: Instant) {
        self.volley_paths().for_each(|path| path.start(plan, now));
    }

    fn volley_paths(&mut self) -> impl Iterator<Item = &mut Path> {
        self.paths.iter_mut().filter(|path| path.is_direct() || path.state == State::Untried)
    }

    /// Whether no address of the peer has been tried yet.
    pub(crate) fn is_unasked(&self) -> bool {
        self.paths.iter().all(|path| path.last_ping.is_none())
    }

    /// Whether the peer was heard on a socket.
    pub(crate) fn uses(&self, id: SocketId) -> bool {
        self.paths.iter().any(|path| matches!(path.way, Way::Direct { socket, .. } if socket == id))
    }

    /// A socket is no more, and no way from it.
    pub(crate) fn drop_socket(&mut self, gone: SocketId, now: Instant, shared: &mut Shared) {
        let is_gone = |way: Way| matches!(way, Way::Direct { socket, .. } if socket == gone);
        if self.selected.is_some_and(is_gone) {
            self.lose(now, shared);
        }
        for path in self.paths.iter().filter(|path| is_gone(path.way)) {
            shared.disclaim(path.way, self.tag);
        }
        self.paths.retain(|path| !is_gone(path.way));
        self.backup = self.backup.filter(|way| !is_gone(*way));
        self.source = self.source.filter(|way| !is_gone(*way));
    }

    /// Tries one way: in full while there is no path, briefly beside one.
    fn try_beside(&mut self, way: Way, now: Instant) {
        let searching = self.search.is_some() && way.is_direct();
        let plan = self.surroundings.volley();
        let Some(path) = self.path_mut(way) else { return };
        path.start(plan, now);
        if !searching {
            path.shorten(PINGS_BESIDE);
        }
    }
}
