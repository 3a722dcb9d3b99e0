//! Every pair of routers against what theory says of it: which path there is in the end, and after how long.

use std::{
    collections::BTreeSet,
    sync::{Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use netsim::Means;

use super::{
    Options,
    figures::median,
    member::{Joining, Member},
    row::{Bound, Rows},
    stage::Stage,
};
use crate::lab::{KINDS, Lab, Nat};

/// Those of the matrix; the others differ from these in what a sender of UDP is told.
const COUNT: usize = 15;
const RTTS_MS: [u32; 2] = [40, 100];
/// Pairs that meet at a time: they mostly wait, but with twice as many guesses come too late on two processors.
const AT_ONCE: usize = 4;
/// So long a pair may look for a direct path that needs no guess.
const PLAIN: Duration = Duration::from_secs(8);
/// So long where ports are guessed: a guess that does not meet is followed by another after half a minute.
const PATIENCE: Duration = Duration::from_secs(80);
/// So long it is watched whether a pair finds a direct path where there is none.
const WATCHED: Duration = Duration::from_secs(3);
/// A relayed pair is relayed by then.
const RELAYED: Bound = Bound::AtMost(1000.0);
/// Where a port is one of all, that many in a hundred meet in time.
const BY_CHANCE: Bound = Bound::AtLeast(95.0);
const IN_TIME_MS: f64 = 5000.0;

type Kind = (&'static str, Nat);

/// Two kinds; the first one's member joins first.
#[derive(Clone, Copy, Debug)]
struct Pair {
    kinds: [Kind; 2],
    number: usize,
}

/// What came of it.
#[derive(Clone, Debug)]
struct Outcome {
    path: String,
    took: Option<f64>,
}

/// Runs the bench.
pub(super) fn run(options: &Options, rows: &mut Rows<'_>) -> Result<()> {
    let pairs = pairs(&options.kind)?;
    for rtt in RTTS_MS {
        let outcomes = meet_all(&pairs, rtt, options.runs.max(1))?;
        for (pair, outcomes) in pairs.iter().zip(&outcomes) {
            tell(rows, pair, rtt, outcomes);
        }
        let by_chance = pairs.iter().zip(&outcomes).filter(|(pair, _)| pair.is_left_to_chance());
        let by_chance: Vec<_> = by_chance.flat_map(|(_, outcomes)| outcomes).collect();
        let in_time = by_chance.iter().filter(|outcome| outcome.is_direct_in(IN_TIME_MS)).count();
        let share = (!by_chance.is_empty()).then(|| 100.0 * in_time as f64 / by_chance.len() as f64);
        rows.add(format!("random symmetric with port-restricted, RTT {rtt}: direct in 5 s"), share, "%", BY_CHANCE);
        let all = outcomes.iter().flatten();
        let without = all.filter(|outcome| outcome.took.is_none() || outcome.path.contains("none")).count();
        rows.add(format!("without any path, RTT {rtt}"), without as f64, "", Bound::AtMost(0.0));
    }
    Ok(())
}

impl Outcome {
    fn is_direct_in(&self, ms: f64) -> bool {
        self.path == "direct" && self.took.is_some_and(|took| took <= ms)
    }
}

fn pairs(wanted: &[String]) -> Result<Vec<Pair>> {
    let kinds = &KINDS[..COUNT];
    if let Some(unknown) = wanted.iter().find(|name| !kinds.iter().any(|(kind, _)| kind == name)) {
        bail!("there is no kind {unknown} in the matrix");
    }
    let is_wanted = |kinds: &[Kind; 2]| {
        wanted.is_empty() || kinds.iter().any(|(name, _)| wanted.iter().any(|wanted| wanted == name))
    };
    let all = kinds.iter().flat_map(|first| kinds.iter().map(move |second| [*first, *second]));
    Ok(all.filter(is_wanted).enumerate().map(|(number, kinds)| Pair { kinds, number }).collect())
}

fn tell(rows: &mut Rows<'_>, pair: &Pair, rtt: u32, outcomes: &[Outcome]) {
    let [(first, _), (second, _)] = pair.kinds;
    let means = pair.means();
    let (expected, bound) = if means.is_direct() { ("direct", Bound::None) } else { ("relay", RELAYED) };
    // A member that relays is as good as the rendezvous.
    let word = |outcome: &Outcome| if outcome.path == "member" { "relay".to_owned() } else { outcome.path.clone() };
    let words: BTreeSet<_> = outcomes.iter().map(word).collect();
    let seen = words.iter().map(String::as_str).collect::<Vec<_>>().join("/");
    let times: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.took).collect();
    let took = median(&times);
    if pair.is_left_to_chance() {
        // Of some meetings nothing follows; all pairs together are held against a bound.
        let direct = outcomes.iter().filter(|outcome| outcome.path == "direct").count();
        let met = format!("{first}, then {second}, RTT {rtt} ({means}): {direct} of {} direct", outcomes.len());
        return rows.tell(met, took, "ms");
    }
    rows.compare(format!("{first}, then {second}, RTT {rtt} ({means})"), [expected, &seen], took, bound);
}

/// Every pair so often, in one lab in which each kind has two sites: one for who joins first, one for the other.
fn meet_all(pairs: &[Pair], rtt: u32, runs: usize) -> Result<Vec<Vec<Outcome>>> {
    let wire = format!("wire=delay~{}ms", rtt / 4);
    let used = |place: usize| pairs.iter().map(move |pair| pair.kinds[place].0).collect::<BTreeSet<_>>();
    let sites = [0, 1].iter().flat_map(|&place| {
        let wire = &wire;
        used(place).into_iter().map(move |kind| format!("{}={kind}:{wire}", site(place, kind)))
    });
    let sites: Vec<_> = sites.collect();
    let stage = Stage::build(&format!("m{rtt}-"), &format!("srv=server:{wire} {}", sites.join(" ")))?;
    let (lab, schedule) = (&stage.lab, Schedule::new(pairs, runs));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(|| schedule.work(lab, rtt))).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    Ok(schedule.outcomes.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The name of a kind's site for who joins first, or second. No digit ends it.
fn site(place: usize, kind: &str) -> String {
    let index = KINDS.iter().position(|(name, _)| *name == kind).unwrap_or(0) as u8;
    format!("{}{}", ["F", "S"][place], char::from(b'a' + index))
}

/// Which pairs are still to meet. A site has one pair at a time: others would take the ports that one counts on.
struct Schedule {
    waiting: Mutex<(Vec<Pair>, BTreeSet<String>)>,
    freed: Condvar,
    outcomes: Mutex<Vec<Vec<Outcome>>>,
}

impl Schedule {
    fn new(pairs: &[Pair], runs: usize) -> Self {
        let all = (0..runs).flat_map(|_| pairs.iter().copied()).rev().collect();
        Self {
            waiting: Mutex::new((all, BTreeSet::new())),
            freed: Condvar::new(),
            outcomes: Mutex::new(vec![Vec::new(); pairs.len()]),
        }
    }

    fn work(&self, lab: &Lab, rtt: u32) -> Result<()> {
        while let Some(pair) = self.take() {
            let [(first, _), (second, _)] = pair.kinds;
            let outcome = meet(lab, &pair).with_context(|| format!("{first}, then {second}"));
            self.release(&pair);
            let outcome = outcome?;
            super::progress(&format!("RTT {rtt}: {first}, then {second}: {} {:?}", outcome.path, outcome.took));
            self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)[pair.number].push(outcome);
        }
        Ok(())
    }

    fn take(&self) -> Option<Pair> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (pairs, busy) = &mut *waiting;
            if pairs.is_empty() {
                return None;
            }
            let is_free = |pair: &Pair| pair.sites().iter().all(|site| !busy.contains(site));
            if let Some(index) = pairs.iter().rposition(is_free) {
                let pair = pairs.remove(index);
                busy.extend(pair.sites());
                return Some(pair);
            }
            waiting = self.freed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn release(&self, pair: &Pair) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.1.retain(|site| !pair.sites().contains(site));
        self.freed.notify_all();
    }
}

impl Pair {
    fn means(&self) -> Means {
        let [(_, a), (_, b)] = self.kinds;
        a.means_with(&b)
    }

    /// Whether the one side's port is one of all, and the other's router asks for just that port.
    fn is_left_to_chance(&self) -> bool {
        let is_random = |(name, _): Kind| matches!(name, "sym" | "sym-adm" | "cgn-sym");
        let is_foreseen = |(name, _): Kind| matches!(name, "symseq" | "block-512");
        self.means() == Means::Birthday
            && self.kinds.into_iter().any(is_random)
            && !self.kinds.into_iter().any(is_foreseen)
    }

    fn sites(&self) -> [String; 2] {
        [site(0, self.kinds[0].0), site(1, self.kinds[1].0)]
    }
}

fn meet(lab: &Lab, pair: &Pair) -> Result<Outcome> {
    static MEETING: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let channel = format!("m{}", MEETING.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    for site in pair.sites() {
        // Guesses leave their ports behind: after some meetings a router of the lab gives two sockets one port, and a sequence,
        // which is short there, comes round to ports in use.
        lab.reboot(&site)?;
    }
    let [first, second] = pair.sites().map(|site| format!("{site}1"));
    let patience = match pair.means() {
        Means::Plain => PLAIN,
        Means::Prediction | Means::Birthday => PATIENCE,
        Means::Never => WATCHED,
    };
    let start = Instant::now();
    let mut first = Member::join(lab, Joining::new(&first, &channel, "first"))?;
    if !first.joins_by(start + PLAIN) {
        return Ok(Outcome { path: "none".into(), took: None });
    }
    let mut second = Member::join(lab, Joining::new(&second, &channel, "second"))?;
    let deadline = Instant::now() + patience;
    let ((there, there_took), (back, back_took)) =
        (first.path_by("second", deadline), second.path_by("first", deadline));
    let took = there_took.zip(back_took).map(|(there, back)| there.max(back));
    let is_missed = pair.means().is_direct() && !pair.is_left_to_chance() && there != "direct";
    for member in [&mut first, &mut second].into_iter().filter(|_| is_missed) {
        super::progress(&format!("what it told:\n{}", member.story()));
    }
    first.leave()?;
    second.leave()?;
    Ok(match there == back {
        true => Outcome { path: there, took },
        false => Outcome { path: format!("{there}+{back}"), took },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_has_every_pair_in_both_orders() {
        let pairs = pairs(&[]).unwrap();
        assert_eq!(pairs.len(), COUNT * COUNT);
        assert!(pairs.iter().enumerate().all(|(index, pair)| pair.number == index));
        assert_eq!(super::pairs(&["sym".into()]).unwrap().len(), 2 * COUNT - 1);
        assert!(super::pairs(&["fritz".into()]).is_err());
    }

    #[test]
    fn a_relay_is_expected_only_where_nothing_direct_is_possible() {
        let relayed = pairs(&[])
            .unwrap()
            .into_iter()
            .filter(|Pair { kinds: [(_, a), (_, b)], .. }| a.means_with(b) == Means::Never);
        let names: BTreeSet<_> = relayed.map(|pair| pair.kinds.map(|(name, _)| name)).collect();
        assert!(names.contains(&["sym", "cgn-sym"]) && names.contains(&["noudp", "open"]));
        assert!(!names.contains(&["block-512", "block-512"]) && !names.contains(&["sym", "port"]));
    }

    #[test]
    fn chance_is_what_decides_between_a_random_port_and_a_router_that_asks_for_it() {
        let by_chance = pairs(&[]).unwrap().into_iter().filter(Pair::is_left_to_chance);
        let names: BTreeSet<_> = by_chance.map(|pair| pair.kinds.map(|(name, _)| name)).collect();
        assert!(names.contains(&["sym", "port"]) && names.contains(&["linux", "cgn-sym"]), "{names:?}");
        for other in [["sym", "open"], ["sym", "sym"], ["symseq", "port"], ["symseq", "sym-adm"], ["noudp", "sym"]] {
            assert!(!names.contains(&other), "{other:?}");
        }
    }

    #[test]
    fn a_site_has_one_pair_at_a_time() {
        let pairs = pairs(&["sym".into()]).unwrap();
        let schedule = Schedule::new(&pairs, 1);
        let (a, b) = (schedule.take().unwrap(), schedule.take().unwrap());
        assert!(a.sites().iter().all(|site| !b.sites().contains(site)));
    }
}
