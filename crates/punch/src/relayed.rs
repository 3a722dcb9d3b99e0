//! The ways to a peer on which somebody relays. They need no proof to be taken, and are given up for any direct path.

use std::time::{Duration, Instant};

use wire::signal::CandidateKind;

use crate::{
    Event, Way,
    path::{Path, State},
    peer::Peer,
    schedule::RELAY_PLAN,
    shared::Shared,
};

impl Peer {
    /// Somebody says that it relays to the peer: that is a way from here on, to be measured, but not to be proved first.
    pub(crate) fn add_relay(&mut self, way: Way, now: Instant, shared: &mut Shared) {
        if way.is_direct() || self.path(way).is_some_and(|path| path.state != State::Untried) {
            return;
        }
        self.paths.retain(|path| path.way != way);
        let mut path = Path::new(way, CandidateKind::Relayed);
        path.state = State::Usable;
        path.start(RELAY_PLAN, now);
        self.paths.push(path);
        if self.selected.is_none() {
            self.select_usable(way, shared);
        }
    }

    /// Nobody relays this way any more.
    pub(crate) fn remove_relay(&mut self, way: Way, now: Instant, shared: &mut Shared) {
        if way.is_direct() || self.path(way).is_none() {
            return;
        }
        if self.selected == Some(way) {
            self.lose(now, shared);
        }
        self.paths.retain(|path| path.way != way);
    }

    /// A relayed way is proved. The search for a direct one goes on.
    pub(crate) fn relay_answered(&mut self, way: Way, is_first: bool, now: Instant, shared: &mut Shared) {
        if self.selected.is_none() {
            self.select_usable(way, shared);
        }
        if self.selected != Some(way) {
            return self.reconsider(now, shared);
        }
        let doubted = self.doubt.take().is_some();
        let since_known = self.search.as_ref().map_or(Duration::ZERO, |search| now.duration_since(search.since));
        let Some(path) = self.path(way).filter(|_| is_first || doubted) else { return };
        let (peer, kind, rtt) = (self.tag, path.kind, path.rtt.unwrap_or_default());
        tracing::info!(%peer, ?rtt, "A relayed way is confirmed");
        shared.events.push_back(Event::Confirmed { peer, way, kind, rtt, since_known });
    }
}
