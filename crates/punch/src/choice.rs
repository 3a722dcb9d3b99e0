//! Which of a peer's paths carries the traffic. Each side chooses for itself; the two directions may differ.
//!
//! A direct path is taken before any relayed one, whatever the round trips. Paths are compared with their like only: what
//! leads from one sort to the other is the end of a search, or the loss of a path.

use std::time::{Duration, Instant};

use crate::{
    Way,
    path::{Path, State},
};

/// An IPv6 path may be this much slower and still be taken: no NAT on it forgets us.
const V6_BONUS: Duration = Duration::from_millis(3);
/// Another member may be this much slower than the rendezvous and still relay.
const MEMBER_BONUS: Duration = Duration::from_millis(30);
/// A path has to be this much faster before traffic moves to it.
const HYSTERESIS: Duration = Duration::from_millis(5);
/// A path that is asked and says nothing for two round trips and a little has failed, within these bounds.
const SILENCE_MIN: Duration = Duration::from_millis(100);
const SILENCE_MAX: Duration = Duration::from_millis(600);
/// A path that answered longer ago has to answer again before it is taken.
const FRESH: Duration = Duration::from_secs(60);

/// The path that traffic should move to from `current`, if there is one.
pub(crate) fn better<'a>(paths: &'a [Path], current: &Path, now: Instant) -> Option<&'a Path> {
    if rescue_at(paths, current).is_some_and(|at| at <= now) {
        return rescuers(paths, current).min_by_key(|path| score(path));
    }
    let answers = |path: &&Path| silent_at(path).is_none_or(|at| now < at);
    let best = fastest(alike(paths, current).filter(answers), now)?;
    let moves = current.state != State::Confirmed || score(best) + HYSTERESIS.as_micros() as i64 <= score(current);
    moves.then_some(best)
}

/// When to give up the current path, because it does not answer and another one does.
pub(crate) fn rescue_at(paths: &[Path], current: &Path) -> Option<Instant> {
    rescuers(paths, current).next()?;
    silent_at(current)
}

/// When a path should have answered that was asked and has not yet.
pub(crate) fn silent_at(path: &Path) -> Option<Instant> {
    let patience = (path.rtt.unwrap_or_default() * 2 + Duration::from_millis(20)).clamp(SILENCE_MIN, SILENCE_MAX);
    path.unheard.map(|since| since + patience)
}

/// Paths that have answered since the current one should have.
fn rescuers<'a>(paths: &'a [Path], current: &Path) -> impl Iterator<Item = &'a Path> {
    let asked = current.unheard;
    let confirmed = alike(paths, current).filter(|path| path.state == State::Confirmed);
    confirmed.filter(move |path| asked.is_some() && path.answered > asked)
}

/// Other paths that are direct if this one is, and relayed if it is.
pub(crate) fn alike<'a>(paths: &'a [Path], current: &Path) -> impl Iterator<Item = &'a Path> {
    let (way, is_direct) = (current.way, current.is_direct());
    paths.iter().filter(move |path| path.way != way && path.is_direct() == is_direct)
}

/// The best of the relayed ways that work, but for one.
pub(crate) fn best_relayed(paths: &[Path], but: Option<Way>) -> Option<&Path> {
    let works = |path: &&Path| !path.is_direct() && path.state != State::Untried && Some(path.way) != but;
    paths.iter().filter(works).min_by_key(|path| (path.unheard.is_some(), score(path)))
}

/// The fastest path that has proved itself lately.
pub(crate) fn fastest<'a>(paths: impl Iterator<Item = &'a Path>, now: Instant) -> Option<&'a Path> {
    let is_fresh = |path: &&Path| path.answered.is_some_and(|at| now.duration_since(at) < FRESH);
    paths.filter(|path| path.state == State::Confirmed).filter(is_fresh).min_by_key(|path| score(path))
}

/// Smoothed round trip in microseconds, with the bonus.
fn score(path: &Path) -> i64 {
    let bonus = match path.way {
        Way::Direct { addr, .. } if addr.is_ipv6() => V6_BONUS,
        Way::Member(_) => MEMBER_BONUS,
        Way::Direct { .. } | Way::Server => Duration::ZERO,
    };
    path.rtt.map_or(i64::MAX / 2, |rtt| rtt.as_micros() as i64 - bonus.as_micros() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::signal::CandidateKind;

    const V4: &str = "203.0.113.7:9";
    const V4_OTHER: &str = "192.168.1.7:9";
    const V6: &str = "[2001:db8::7]:9";

    fn confirmed(addr: &str, rtt_ms: u64) -> Path {
        let mut path = Path::new(Way::to(addr.parse().unwrap()), CandidateKind::Host);
        path.state = State::Confirmed;
        path.note_ping(0, netsim::epoch());
        path.note_pong(0, netsim::epoch() + Duration::from_millis(rtt_ms));
        path.note_heard(netsim::epoch() + Duration::from_millis(rtt_ms));
        path
    }

    fn moves(current: (&str, u64), other: (&str, u64)) -> bool {
        let paths = [confirmed(current.0, current.1), confirmed(other.0, other.1)];
        better(&paths, &paths[0], netsim::epoch() + Duration::from_secs(1)).is_some()
    }

    #[test]
    fn traffic_moves_for_5_ms_and_ipv6_counts_for_3() {
        let rows = [
            ((V4, 40), (V4_OTHER, 36), false),
            ((V4, 40), (V4_OTHER, 35), true),
            ((V4, 40), (V4_OTHER, 60), false),
            ((V4, 40), (V6, 38), true),
            ((V4, 40), (V6, 39), false),
            ((V6, 40), (V4, 33), false),
            ((V6, 40), (V4, 32), true),
        ];
        for (current, other, expected) in rows {
            assert_eq!(moves(current, other), expected, "{current:?} to {other:?}");
        }
    }

    #[test]
    fn a_silent_path_yields_to_a_slower_one_that_answered_since() {
        let asked = netsim::epoch() + Duration::from_secs(1);
        let now = asked + Duration::from_millis(200);
        let mut paths = [confirmed(V4, 10), confirmed(V4_OTHER, 90)];
        paths[0].note_ping(9, asked);
        assert!(better(&paths, &paths[0], now).is_none(), "neither has answered since");
        paths[1].note_ping(9, now);
        paths[1].note_pong(9, now);
        assert!(better(&paths, &paths[0], asked + Duration::from_millis(40)).is_none(), "it may still answer");
        assert!(better(&paths, &paths[0], now).is_some());
    }

    #[test]
    fn a_path_that_failed_is_not_taken_back_before_it_answers() {
        let asked = netsim::epoch() + Duration::from_secs(1);
        let mut paths = [confirmed(V4, 90), confirmed(V4_OTHER, 10)];
        paths[1].note_ping(9, asked);
        assert!(better(&paths, &paths[0], asked + Duration::from_millis(200)).is_none());
        paths[1].note_heard(asked + Duration::from_millis(300));
        assert!(better(&paths, &paths[0], asked + Duration::from_millis(300)).is_some());
    }

    #[test]
    fn an_answer_of_last_hour_counts_for_nothing() {
        let paths = [confirmed(V4, 90), confirmed(V4_OTHER, 10)];
        assert!(better(&paths, &paths[0], netsim::epoch() + Duration::from_secs(3600)).is_none());
    }
}
