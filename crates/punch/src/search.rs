//! The life of a peer in time: searches, doubts, keepalives. What is due, and what to do when it is.

use std::time::{Duration, Instant};

use crate::{
    Event, LostReason, NoPath, Way,
    choice::{alike, best_relayed, fastest, rescue_at, silent_at},
    path::{Path, State},
    peer::Peer,
    schedule::{
        CALL_ENDS, DOUBT, DOUBT_UNANSWERED, KEEPALIVE_BACKUP, KEEPALIVE_CALL, KEEPALIVE_IDLE, LOST_AFTER_DOUBT,
        REPEAT_HEARD, RETRY, RETRY_TIME, RIDE, VOLLEY_TIME, backoff, repeat, suspicious_after,
    },
    shared::Shared,
};

/// The search for a first direct path, or for one in the place of a path in doubt.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) since: Instant,
    round: u32,
    stage: Stage,
    /// Whether the caller knows that there is no path.
    told: bool,
}

#[derive(Debug)]
enum Stage {
    Volley { until: Instant },
    Pause { until: Instant },
}

impl Search {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, round: 0, stage: Stage::Volley { until: now + VOLLEY_TIME }, told: false }
    }

    /// There is something new to try.
    pub(crate) fn restart(&mut self, now: Instant) {
        let first = self.round == 0;
        *self = Self { since: if first { self.since } else { now }, ..Self::new(now) };
    }

    fn stage_ends(&self) -> Instant {
        match self.stage {
            Stage::Volley { until } | Stage::Pause { until } => until,
        }
    }
}

impl Peer {
    /// Does what is due, except for sending the pings that are.
    pub(crate) fn tick(&mut self, now: Instant, shared: &mut Shared) {
        if self.doubt.is_some_and(|since| since + LOST_AFTER_DOUBT <= now) {
            self.lose(now, shared);
        }
        if self.suspicious_at().is_some_and(|at| at <= now) {
            self.begin_suspicion(now, shared);
        }
        if self.doubt_at().is_some_and(|at| at <= now) {
            self.begin_doubt(now, shared);
        }
        if self.search.as_ref().is_some_and(|search| search.stage_ends() <= now) {
            self.next_stage(now, shared);
        }
        if self.is_settled() {
            self.reconsider(now, shared);
        }
        let others = self.selected_path().filter(|_| self.is_settled()).map(|current| alike(&self.paths, current));
        self.backup = others.and_then(|others| fastest(others, now)).map(|path| path.way);
    }

    /// Whether the paths that carry traffic are not those that the search looks for.
    fn is_settled(&self) -> bool {
        self.search.is_none() || self.selected.is_some_and(|way| !way.is_direct())
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        let lost_at = self.doubt.map(|since| since + LOST_AFTER_DOUBT);
        let stage_ends = self.search.as_ref().map(Search::stage_ends);
        let moves_at = self.selected_path().filter(|_| self.is_settled());
        let moves_at = moves_at.and_then(|current| rescue_at(&self.paths, current));
        [lost_at, self.suspicious_at(), self.doubt_at(), stage_ends, moves_at].into_iter().flatten().min()
    }

    /// When the next ping is due on a path of this peer.
    pub(crate) fn ping_due(&self, path: &Path) -> Option<Instant> {
        let upkeep = match Some(path.way) {
            _ if !self.is_settled() => None,
            way if way == self.selected => self.upkeep_due(path),
            way if way == self.backup => self.backup_due(path),
            _ => None,
        };
        [path.due(), upkeep].into_iter().flatten().min()
    }

    /// The local network has changed: nothing is known to work any more.
    pub(crate) fn network_changed(&mut self, now: Instant, shared: &mut Shared) {
        for path in &mut self.paths {
            path.rtt = None;
        }
        self.search = None;
        self.suspected = false;
        self.owed.clear();
        if self.selected.is_some() {
            self.doubt = None;
            self.begin_doubt(now, shared);
        } else {
            self.begin_search(now);
        }
    }

    /// Tries every address again, now.
    pub(crate) fn begin_search(&mut self, now: Instant) {
        self.search = Some(Search::new(now));
        self.begin_volley(now);
    }

    fn begin_doubt(&mut self, now: Instant, shared: &mut Shared) {
        tracing::debug!(peer = %self.tag, "The path is in doubt");
        self.doubt = Some(now);
        if self.search.is_none() {
            self.begin_search(now);
        }
        shared.events.push_back(Event::Doubtful { peer: self.tag });
    }

    /// Gives the selected path up, for a relayed one if there is one.
    pub(crate) fn lose(&mut self, now: Instant, shared: &mut Shared) {
        self.doubt = None;
        self.suspected = false;
        self.owed.clear();
        let Some(way) = self.selected.take() else { return };
        let silent = self.unheard.take().is_some();
        let mut why = LostReason::Silence;
        if let Some(path) = self.path_mut(way) {
            if path.unheard.is_none() && !silent {
                why = LostReason::NoAnswer;
            }
            path.forget();
        }
        shared.disclaim(way, self.tag);
        tracing::info!(peer = %self.tag, %why, "The path is lost");
        if self.search.is_none() {
            self.begin_search(now);
        }
        if let Some(way) = best_relayed(&self.paths, Some(way)).map(|path| path.way) {
            return self.select_usable(way, shared);
        }
        if let Some(search) = &mut self.search {
            search.told = true;
        }
        shared.events.push_back(Event::Lost { peer: self.tag, why });
    }

    fn next_stage(&mut self, now: Instant, shared: &mut Shared) {
        let why = self.why_no_path();
        let Some(search) = &mut self.search else { return };
        if let Stage::Pause { .. } = search.stage {
            search.stage = Stage::Volley { until: now + RETRY_TIME };
            return self.begin_retry(RETRY, now);
        }
        let retry = backoff(search.round);
        search.round += 1;
        search.stage = Stage::Pause { until: now + retry };
        if self.selected.is_none_or(|way| !way.is_direct()) && !search.told {
            search.told = true;
            tracing::info!(peer = %self.tag, %why, ?retry, "There is no direct path");
            shared.events.push_back(Event::Unreachable { peer: self.tag, why, retry });
        }
    }

    fn why_no_path(&self) -> NoPath {
        let mut direct = self.paths.iter().filter(|path| path.is_direct()).peekable();
        if direct.peek().is_none() {
            NoPath::NoCandidates
        } else if direct.any(|path| path.heard.is_some()) {
            NoPath::OneWay
        } else {
            NoPath::Silence
        }
    }

    /// When the selected path owes an answer, if nothing comes.
    fn suspicious_at(&self) -> Option<Instant> {
        let path = self.selected_path().filter(|_| !self.suspected && self.doubt.is_none())?;
        self.owed.since().map(|since| since + suspicious_after(path.rtt))
    }

    pub(crate) fn begin_suspicion(&mut self, now: Instant, shared: &mut Shared) {
        self.suspected = true;
        shared.events.push_back(Event::Suspected { peer: self.tag });
        let Some(way) = self.selected else { return };
        if let Some(path) = self.path_mut(way) {
            path.trigger(now);
        }
    }

    /// When the selected path comes in doubt, if nothing happens.
    fn doubt_at(&self) -> Option<Instant> {
        let path = self.selected_path().filter(|_| self.doubt.is_none())?;
        let patience = if path.state == State::Confirmed { DOUBT_UNANSWERED } else { DOUBT };
        let after = |since: Option<Instant>, patience: Duration| since.map(|at| at + patience);
        let signs = [after(path.unheard, DOUBT), after(self.unheard, DOUBT), after(path.unanswered, patience)];
        signs.into_iter().flatten().min()
    }

    /// When the selected path gets its next ping beside those of a volley.
    fn upkeep_due(&self, path: &Path) -> Option<Instant> {
        let (last_ping, last_sent) = (path.last_ping?, path.last_sent?);
        let in_call = self.traffic.is_some_and(|at| last_sent.duration_since(at) < CALL_ENDS);
        let keepalive = if in_call { KEEPALIVE_CALL } else { KEEPALIVE_IDLE };
        let repeat = repeat(path.rtt);
        let reasons = [
            Some(last_sent + keepalive.mul_f64(path.stretch)),
            self.traffic.filter(|at| *at > last_ping).map(|_| last_ping + RIDE),
            path.unheard.map(|_| last_ping + repeat),
            path.unanswered.map(|_| last_ping + repeat.max(REPEAT_HEARD)),
            self.unheard.map(|since| since.max(last_ping) + repeat),
        ];
        reasons.into_iter().flatten().min()
    }

    /// When the second best path gets its next ping: rarely, but at once when the selected one says nothing.
    fn backup_due(&self, path: &Path) -> Option<Instant> {
        let keepalive = path.last_sent.map(|at| at + KEEPALIVE_BACKUP.mul_f64(path.stretch));
        let silent = self.selected_path().filter(|selected| path.last_ping <= selected.unheard).and_then(silent_at);
        keepalive.into_iter().chain(silent).min()
    }

    /// Sends the ping that is due on a path, unless the address has had its share.
    pub(crate) fn send_due_ping(&mut self, way: Way, now: Instant, shared: &mut Shared) -> bool {
        let tag = self.tag;
        let Some(path) = self.paths.iter_mut().find(|path| path.way == way) else { return false };
        if let Some(addr) = way.addr().filter(|_| path.state != State::Confirmed) {
            let may_send = match path.is_answer {
                true => shared.ledger.allows_answer(addr, tag, now),
                false => shared.ledger.allows(addr, tag, now),
            };
            if !may_send {
                tracing::debug!(peer = %tag, %addr, "An address that never answered gets no more checks");
                path.stop();
                return false;
            }
            shared.ledger.charge(addr, tag, now);
        }
        path.note_ping(shared.send_ping(tag, &self.keys, way), now);
        path.stretch = shared.jitter.factor();
        true
    }
}
