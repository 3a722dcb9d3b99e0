use std::{
    collections::VecDeque,
    net::IpAddr,
    time::{Duration, Instant},
};

use wire::signal::CandidateKind;

use crate::Way;

/// Pings of one path that may still be answered.
const MAX_PINGS: usize = 16;
/// A ping that arrives brings our next one forward, but not closer than that to the last: several arrive in a burst. As
/// short as the way to a neighbour: a ping that met the peer's NAT before the peer had sent anything is made good for at
/// once.
const TRIGGER_GAP: Duration = Duration::from_millis(1);

/// One way to a peer, and all that is known of it.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) way: Way,
    pub(crate) kind: CandidateKind,
    pub(crate) rank: Rank,
    pub(crate) state: State,
    /// Smoothed as in RFC 6298.
    pub(crate) rtt: Option<Duration>,
    /// When the last authentic packet came from there.
    pub(crate) heard: Option<Instant>,
    /// When the last pong came from there.
    pub(crate) answered: Option<Instant>,
    pub(crate) last_ping: Option<Instant>,
    /// When anything was sent there.
    pub(crate) last_sent: Option<Instant>,
    /// The first ping since anything came from there.
    pub(crate) unheard: Option<Instant>,
    /// The first ping since the last pong.
    pub(crate) unanswered: Option<Instant>,
    /// What keepalives of this path are stretched by, drawn anew for each ping.
    pub(crate) stretch: f64,
    plan: &'static [Duration],
    step: usize,
    due: Option<Instant>,
    /// Whether the next ping is due because a check came from there.
    pub(crate) is_answer: bool,
    pings: VecDeque<(u32, Instant)>,
}

/// In which order candidates get their pings, best first: what usually works comes first, so that with many peers the best
/// candidate of each has been tried before the second best of any.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Rank {
    Observed,
    HostV6,
    Mapped,
    Host,
    ByHand,
    Relayed,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// Nothing is known.
    Untried,
    /// The peer listed the address, we sent there, and an authentic packet came from there; or who relays says that it does.
    Usable,
    /// A ping was answered.
    Confirmed,
}

impl Path {
    pub(crate) fn new(way: Way, kind: CandidateKind) -> Self {
        Self {
            way,
            kind,
            rank: Rank::of(way, kind),
            state: State::Untried,
            rtt: None,
            heard: None,
            answered: None,
            last_ping: None,
            last_sent: None,
            unheard: None,
            unanswered: None,
            stretch: 1.0,
            plan: &[],
            step: 0,
            due: None,
            is_answer: false,
            pings: VecDeque::new(),
        }
    }

    /// The peer lists an address that was found otherwise before: it keeps its state.
    pub(crate) fn relabel(&mut self, kind: CandidateKind) {
        self.kind = kind;
        self.rank = Rank::of(self.way, kind);
    }

    /// Whether the peer itself named the address.
    pub(crate) fn is_listed(&self) -> bool {
        !matches!(self.kind, CandidateKind::PeerReflexive | CandidateKind::Relayed)
    }

    /// Whether nobody relays.
    pub(crate) fn is_direct(&self) -> bool {
        self.way.is_direct()
    }

    /// Whether the address means something only in the peer's own network (RFC 1918, RFC 4193).
    pub(crate) fn is_private(&self) -> bool {
        self.kind == CandidateKind::Host
            && self.way.addr().is_some_and(|addr| match addr.ip().to_canonical() {
                IpAddr::V4(ip) => ip.is_private(),
                IpAddr::V6(ip) => ip.is_unique_local(),
            })
    }

    /// Pings by this plan from now on.
    pub(crate) fn start(&mut self, plan: &'static [Duration], now: Instant) {
        (self.plan, self.step, self.due) = (plan, 0, plan.first().map(|first| now + *first));
    }

    /// Takes back what the plan has beyond so many pings.
    pub(crate) fn shorten(&mut self, pings: usize) {
        self.plan = &self.plan[..self.plan.len().min(pings)];
        if self.step >= self.plan.len() {
            self.due = None;
        }
    }

    pub(crate) fn stop(&mut self) {
        self.due = None;
    }

    /// The peer was heard there: pings at once (RFC 8445's triggered check).
    pub(crate) fn trigger(&mut self, now: Instant) {
        let at = self.last_ping.map_or(now, |last| now.max(last + TRIGGER_GAP));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// The same because a ping of the peer came from there.
    pub(crate) fn trigger_answer(&mut self, now: Instant) {
        self.trigger(now);
        self.is_answer = self.due.is_some_and(|due| due <= now + TRIGGER_GAP);
    }

    /// When the plan or a trigger wants the next ping.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// How far down the order the next ping is: each ping makes room for candidates of lower rank.
    pub(crate) fn precedence(&self) -> usize {
        self.rank as usize + self.step
    }

    pub(crate) fn note_ping(&mut self, txid: u32, now: Instant) {
        if self.pings.len() >= MAX_PINGS {
            self.pings.pop_front();
        }
        self.pings.push_back((txid, now));
        self.step += 1;
        let gap = self.plan.get(self.step).zip(self.plan.get(self.step - 1)).map(|(next, last)| *next - *last);
        self.due = gap.map(|gap| now + gap);
        self.is_answer = false;
        self.last_ping = Some(now);
        self.last_sent = Some(now);
        self.unheard.get_or_insert(now);
        self.unanswered.get_or_insert(now);
    }

    /// When the pings left that may still be answered.
    pub(crate) fn asked(&self) -> impl Iterator<Item = Instant> {
        self.pings.iter().map(|(_, at)| *at)
    }

    /// An authentic packet came from there.
    pub(crate) fn note_heard(&mut self, now: Instant) {
        self.heard = Some(now);
        self.unheard = None;
    }

    /// A pong came from there; returns the round trip if it answers a ping that went there.
    pub(crate) fn note_pong(&mut self, txid: u32, now: Instant) -> Option<Duration> {
        let index = self.pings.iter().position(|(known, _)| *known == txid)?;
        let (_, sent) = self.pings.remove(index)?;
        let sample = now.duration_since(sent);
        self.measure(sample, now);
        Some(sample)
    }

    /// A ping was answered after so long.
    pub(crate) fn measure(&mut self, sample: Duration, now: Instant) {
        self.rtt = Some(self.rtt.map_or(sample, |rtt| (rtt * 7 + sample) / 8));
        self.answered = Some(now);
        self.unanswered = None;
    }

    /// Nothing is known of the path any more, except that it exists.
    pub(crate) fn forget(&mut self) {
        *self = Self { plan: self.plan, step: self.step, due: self.due, ..Self::new(self.way, self.kind) };
    }
}

impl Rank {
    pub(crate) fn of(way: Way, kind: CandidateKind) -> Self {
        match (kind, way.addr().map(|addr| addr.ip())) {
            (CandidateKind::Relayed, _) | (_, None) => Self::Relayed,
            (CandidateKind::ServerReflexive | CandidateKind::PeerReflexive, _) => Self::Observed,
            (CandidateKind::Host, Some(IpAddr::V6(ip))) if !ip.is_unique_local() => Self::HostV6,
            (CandidateKind::Mapped, _) => Self::Mapped,
            (CandidateKind::Host, _) => Self::Host,
            (CandidateKind::Advertised, _) => Self::ByHand,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{PINGS_BESIDE, VOLLEY};

    fn path() -> Path {
        Path::new(Way::to("203.0.113.7:9".parse().unwrap()), CandidateKind::ServerReflexive)
    }

    fn run(path: &mut Path) -> Vec<Duration> {
        let start = netsim::epoch();
        let mut sent = Vec::new();
        while let Some(due) = path.due() {
            path.note_ping(sent.len() as u32, due);
            sent.push(due.duration_since(start));
        }
        sent
    }

    #[test]
    fn a_plan_is_followed_to_its_end() {
        let mut path = path();
        path.start(VOLLEY, netsim::epoch());
        assert_eq!(run(&mut path), VOLLEY);
    }

    #[test]
    fn a_shortened_plan_ends_early() {
        let mut path = path();
        path.start(VOLLEY, netsim::epoch());
        path.shorten(PINGS_BESIDE);
        assert_eq!(run(&mut path), VOLLEY[..PINGS_BESIDE]);
    }

    #[test]
    fn a_trigger_brings_a_ping_forward_but_not_two() {
        let (mut path, start) = (path(), netsim::epoch());
        let at = |millis| start + Duration::from_millis(millis);
        path.start(VOLLEY, start);
        path.note_ping(0, start);
        assert_eq!(path.due(), Some(at(20)));
        for _ in 0..2 {
            path.trigger(start + TRIGGER_GAP / 2);
            assert_eq!(path.due(), Some(start + TRIGGER_GAP));
        }
        path.trigger(at(12));
        assert_eq!(path.due(), Some(start + TRIGGER_GAP), "not put off");
        path.note_ping(1, at(12));
        assert_eq!(path.due(), Some(at(12 + 25)));
    }

    #[test]
    fn only_a_pong_to_a_ping_of_this_path_is_a_measurement() {
        let (mut path, start) = (path(), netsim::epoch());
        path.note_ping(5, start);
        assert_eq!(path.note_pong(6, start), None);
        assert_eq!(path.note_pong(5, start + Duration::from_millis(40)), Some(Duration::from_millis(40)));
        assert_eq!(path.note_pong(5, start), None, "each ping is answered once");
    }

    #[test]
    fn unanswered_pings_take_bounded_room() {
        let mut path = path();
        (0..1000).for_each(|txid| path.note_ping(txid, netsim::epoch()));
        assert_eq!(path.pings.len(), MAX_PINGS);
    }
}
