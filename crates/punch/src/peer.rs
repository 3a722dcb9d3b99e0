//! One peer: its paths, and what its checks say about them.

use std::{net::SocketAddr, time::Duration, time::Instant};

use identity::PairKeys;
use wire::{
    PeerTag,
    check::Check,
    signal::{Candidate, CandidateKind, MAX_CANDIDATES},
};

use crate::{
    Event, Ignored,
    choice::better,
    hygiene,
    pace::Limiter,
    path::{Path, Rank, State},
    schedule::{PINGS_BESIDE, VOLLEY},
    search::Search,
    shared::Shared,
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
    /// What carries the traffic.
    pub(crate) selected: Option<SocketAddr>,
    /// What is kept open beside it.
    pub(crate) backup: Option<SocketAddr>,
    /// Where the last packet came from that was no answer.
    source: Option<SocketAddr>,
    compared: Option<Instant>,
    /// There is one as long as no path is known to work.
    pub(crate) search: Option<Search>,
    /// Since when the selected path has been in doubt.
    pub(crate) doubt: Option<Instant>,
    /// When a session packet last went or came.
    pub(crate) traffic: Option<Instant>,
    /// The first session packet sent since anything came from the peer.
    pub(crate) unheard: Option<Instant>,
    pongs: Limiter,
}

impl Peer {
    pub(crate) fn new(tag: PeerTag, keys: PairKeys, window: Window, now: Instant) -> Self {
        Self {
            tag,
            keys,
            window,
            paths: Vec::new(),
            selected: None,
            backup: None,
            source: None,
            compared: None,
            search: Some(Search::new(now)),
            doubt: None,
            traffic: None,
            unheard: None,
            pongs: Limiter::new(PONG_GAP, PONG_BURST),
        }
    }

    /// The peer says where it may be. What is new to us is tried at once.
    pub(crate) fn add_candidates(&mut self, candidates: &[Candidate], now: Instant, shared: &mut Shared) {
        let listed = self.acceptable(candidates, shared.allow_loopback);
        let mut added = false;
        for (addr, kind) in &listed {
            if let Some(path) = self.paths.iter_mut().find(|path| path.addr == *addr && path.is_listed()) {
                path.relabel(*kind);
                continue;
            }
            if !self.make_room(Path::is_listed, MAX_CANDIDATES, &listed, shared) {
                continue;
            }
            if let Some(path) = self.path_mut(*addr) {
                path.relabel(*kind);
            } else {
                self.paths.push(Path::new(*addr, *kind));
                added = true;
                if self.search.is_none() {
                    self.try_beside(*addr, now);
                }
            }
        }
        if let Some(search) = self.search.as_mut().filter(|_| added) {
            search.restart(now);
            self.start_volley(VOLLEY, now);
        }
    }

    fn acceptable(&self, candidates: &[Candidate], allow_loopback: bool) -> Vec<(SocketAddr, CandidateKind)> {
        let mut accepted: Vec<(SocketAddr, CandidateKind)> = Vec::new();
        for candidate in candidates {
            let addr = hygiene::normal(candidate.addr);
            match hygiene::check(addr, allow_loopback) {
                Ok(()) if accepted.iter().any(|(known, _)| *known == addr) => {}
                Ok(()) if candidate.kind == CandidateKind::PeerReflexive => {}
                Ok(()) => accepted.push((addr, candidate.kind)),
                Err(why) => tracing::debug!(peer = %self.tag, %addr, %why, "Refused a candidate"),
            }
        }
        accepted.sort_by_key(|(addr, kind)| Rank::of(*addr, *kind));
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
            sort(path) && Some(path.addr) != selected && !keep.iter().any(|(addr, _)| *addr == path.addr)
        };
        let worst = self.paths.iter().filter(spare).min_by_key(|path| (path.state == State::Confirmed, path.heard));
        let Some(addr) = worst.map(|path| path.addr) else { return false };
        self.paths.retain(|path| path.addr != addr);
        shared.disclaim(addr, self.tag);
        true
    }

    /// Takes an authentic check.
    pub(crate) fn handle_check(
        &mut self,
        from: SocketAddr,
        check: Check,
        now: Instant,
        shared: &mut Shared,
    ) -> Result<(), Ignored> {
        hygiene::check(from, shared.allow_loopback).map_err(Ignored::Source)?;
        let is_new = self.path(from).is_none();
        if is_new {
            if !self.make_room(|path| !path.is_listed(), MAX_REFLEXIVE, &[], shared) {
                return Ok(());
            }
            tracing::debug!(peer = %self.tag, addr = %from, "A peer's check came from an address that it did not list");
            self.paths.push(Path::new(from, CandidateKind::PeerReflexive));
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

    fn handle_ping(&mut self, from: SocketAddr, txid: u32, now: Instant, shared: &mut Shared) {
        self.answer(from, txid, now, shared);
        let (tag, searching) = (self.tag, self.search.is_some());
        let Some(path) = self.path_mut(from) else { return };
        let opened = path.state == State::Untried && path.is_listed() && path.last_ping.is_some();
        if opened && shared.ledger.allows(from, tag, now) && shared.claim(from, tag, false, now) {
            path.state = State::Usable;
        }
        if searching || path.state != State::Confirmed {
            path.trigger(now);
        }
        if path.state == State::Usable && self.selected.is_none() {
            self.selected = Some(from);
            let kind = self.path(from).map_or(CandidateKind::PeerReflexive, |path| path.kind);
            tracing::debug!(peer = %tag, %kind, "A path is usable");
            shared.events.push_back(Event::Usable { peer: tag, addr: from, kind });
        }
    }

    fn answer(&mut self, to: SocketAddr, txid: u32, now: Instant, shared: &mut Shared) {
        let Some(path) = self.paths.iter_mut().find(|path| path.addr == to) else { return };
        let proved = path.state == State::Confirmed;
        if !self.pongs.is_ready(now) || !proved && !shared.ledger.allows(to, self.tag, now) {
            return;
        }
        if !proved {
            shared.ledger.charge(to, self.tag, now);
        }
        self.pongs.take(now);
        path.last_sent = Some(now);
        shared.send_pong(&self.keys, to, txid);
    }

    fn handle_pong(&mut self, from: SocketAddr, txid: u32, now: Instant, shared: &mut Shared) {
        let tag = self.tag;
        let Some(path) = self.path_mut(from) else { return };
        if path.note_pong(txid, now).is_none() {
            // It answers a ping that went elsewhere: the peer's NAT maps us otherwise, and this is where it is.
            return;
        }
        if !shared.claim(from, tag, true, now) {
            return;
        }
        if path.state != State::Confirmed {
            path.state = State::Confirmed;
            shared.ledger.settle(from);
        }
        path.stop();
        match self.search.take() {
            Some(search) => self.end_search(from, &search, now, shared),
            None => self.reconsider(now, shared),
        }
    }

    /// A path is proved: the search is over.
    fn end_search(&mut self, addr: SocketAddr, search: &Search, now: Instant, shared: &mut Shared) {
        let moved = self.doubt.take().is_some() && self.selected != Some(addr);
        self.selected = Some(addr);
        for path in &mut self.paths {
            path.shorten(PINGS_BESIDE);
        }
        let Some(path) = self.path(addr) else { return };
        let (peer, kind, rtt) = (self.tag, path.kind, path.rtt.unwrap_or_default());
        tracing::info!(%peer, %kind, ?rtt, "A path is confirmed");
        shared.events.push_back(if moved {
            Event::Switched { peer, addr, kind, rtt }
        } else {
            Event::Confirmed { peer, addr, kind, rtt, since_known: now.duration_since(search.since) }
        });
    }

    /// Moves to a better path if there is one.
    pub(crate) fn reconsider(&mut self, now: Instant, shared: &mut Shared) {
        let Some(current) = self.selected_path() else { return };
        let Some(path) = better(&self.paths, current, now) else { return };
        let (peer, addr, kind, rtt) = (self.tag, path.addr, path.kind, path.rtt.unwrap_or_default());
        tracing::info!(%peer, %kind, ?rtt, "Traffic moves to another path");
        self.selected = Some(addr);
        shared.events.push_back(Event::Switched { peer, addr, kind, rtt });
    }

    fn note_heard(&mut self, from: SocketAddr, now: Instant, shared: &mut Shared) {
        let tag = self.tag;
        let Some(path) = self.path_mut(from) else { return };
        path.note_heard(now);
        self.unheard = None;
        shared.note_heard(from, tag, now);
    }

    /// The peer chose to send from there. If it sent from elsewhere before, it may have moved, or merely have chosen another
    /// path: then both are asked at once.
    fn note_source(&mut self, from: SocketAddr, now: Instant) {
        let changed = self.source.replace(from) != Some(from) && self.selected != Some(from);
        let lately = self.compared.is_some_and(|at| now.duration_since(at) < COMPARE_GAP);
        if !changed || lately || self.search.is_some() || self.selected.is_none() {
            return;
        }
        self.compared = Some(now);
        let both = [Some(from), self.selected];
        for path in self.paths.iter_mut().filter(|path| both.contains(&Some(path.addr))) {
            path.trigger(now);
        }
    }

    /// An authentic session packet came.
    pub(crate) fn note_received(&mut self, from: SocketAddr, now: Instant, shared: &mut Shared) {
        if self.path(from).is_some() {
            self.note_heard(from, now, shared);
            self.note_source(from, now);
            self.traffic = Some(now);
        }
    }

    /// A session packet went out, to the selected path or the best guess.
    pub(crate) fn note_sent(&mut self, now: Instant, shared: &mut Shared) {
        let Some(addr) = self.selected.or_else(|| self.best_guess(shared)) else { return };
        let (tag, chosen) = (self.tag, self.selected.is_some());
        let Some(path) = self.path_mut(addr) else { return };
        path.last_sent = Some(now);
        if path.state != State::Confirmed {
            shared.ledger.charge(addr, tag, now);
        }
        if chosen {
            self.traffic = Some(now);
            self.unheard.get_or_insert(now);
        }
    }

    /// Where to send, as long as that is allowed.
    pub(crate) fn route(&self, shared: &Shared) -> Option<SocketAddr> {
        let path = self.selected_path()?;
        (path.state == State::Confirmed || !shared.ledger.is_spent(path.addr)).then_some(path.addr)
    }

    /// The candidate that most probably works.
    pub(crate) fn best_guess(&self, shared: &Shared) -> Option<SocketAddr> {
        let untold = self.paths.iter().filter(|path| !shared.ledger.is_spent(path.addr));
        untold.min_by_key(|path| path.rank).map(|path| path.addr)
    }

    pub(crate) fn selected_path(&self) -> Option<&Path> {
        self.selected.and_then(|addr| self.path(addr))
    }

    pub(crate) fn path(&self, addr: SocketAddr) -> Option<&Path> {
        self.paths.iter().find(|path| path.addr == addr)
    }

    pub(crate) fn path_mut(&mut self, addr: SocketAddr) -> Option<&mut Path> {
        self.paths.iter_mut().find(|path| path.addr == addr)
    }

    pub(crate) fn start_volley(&mut self, plan: &'static [Duration], now: Instant) {
        for path in &mut self.paths {
            path.start(plan, now);
        }
    }

    /// Tries one address: in full while there is no path, briefly beside one.
    fn try_beside(&mut self, addr: SocketAddr, now: Instant) {
        let searching = self.search.is_some();
        let Some(path) = self.path_mut(addr) else { return };
        path.start(VOLLEY, now);
        if !searching {
            path.shorten(PINGS_BESIDE);
        }
    }
}
