//! From the start of a program until it hears the others.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::RUNS;
use crate::bench::{
    figures::{largest, median},
    member::{Joining, Member, ms_between},
    row::{Bound, Rows},
    stage::{RTT_MS, Stage},
    voice::{Heard, speak},
};

/// Keys are made by chance: after so many runs there have been enough of both orders.
const MOST_RUNS: usize = 40;
/// Three members start within 100 ms.
const STAGGER: Duration = Duration::from_millis(45);
const RTT: f64 = RTT_MS as f64;

/// Runs this part of the bench.
pub(super) fn run(rows: &mut Rows<'_>) -> Result<()> {
    let stage = Stage::apart("paths-", &["A", "B", "C"], "")?;
    cold_starts(&stage, rows).context("cold start")?;
    warm_starts(&stage, rows, "warm start to first voice, direct", 3.0 * RTT + 20.0).context("warm start")?;
    three_at_once(&stage, rows).context("three at once")?;
    drop(stage);
    let stage = Stage::spread("far-", RTT_MS, &[("A", "sym"), ("B", "sym")], "")?;
    let bound = 2.0 * RTT + 20.0;
    warm_starts(&stage, rows, "warm start to first voice, by relay", bound).context("warm start by relay")
}

/// What a start took until the first voice, in milliseconds.
struct Start {
    /// Whether the newcomer has the higher key, so that the session is opened by it.
    opens: bool,
    ready: f64,
    joined: f64,
    secure: f64,
    voice: f64,
}

/// The same with the direct path, on both sides.
struct ColdStart {
    start: Start,
    confirmed: [f64; 2],
    rtt: [f64; 2],
}

const NEWCOMERS: [(bool, &str); 2] =
    [(true, "the newcomer opens the session"), (false, "the other one opens the session")];

fn count(starts: &[&Start], opens: bool) -> usize {
    starts.iter().filter(|start| start.opens == opens).count()
}

fn cold_starts(stage: &Stage, rows: &mut Rows<'_>) -> Result<()> {
    let mut colds: Vec<ColdStart> = Vec::new();
    let of = |colds: &[ColdStart], opens| count(&colds.iter().map(|cold| &cold.start).collect::<Vec<_>>(), opens);
    while colds.len() < MOST_RUNS && [true, false].iter().any(|&opens| of(&colds, opens) < RUNS) {
        let cold = cold_start(stage, &format!("cold-{}", colds.len()))?;
        super::progress(&format!("cold start {}: voice after {:.0} ms", colds.len() + 1, cold.start.voice));
        colds.push(cold);
    }
    let both = |of: fn(&ColdStart) -> [f64; 2]| colds.iter().flat_map(of).collect::<Vec<_>>();
    let confirmed = both(|cold| cold.confirmed);
    rows.tell("round trip seen", median(&both(|cold| cold.rtt)), "ms");
    rows.add("known to confirmed", median(&confirmed), "ms", Bound::AtMost(RTT + 10.0));
    rows.tell("known to confirmed, worst", largest(&confirmed), "ms");
    let starts: Vec<Start> = colds.into_iter().map(|cold| cold.start).collect();
    tell_starts(rows, "cold start to first voice", &starts, 4.0 * RTT + 30.0);
    rows.tell("cold start until ready", median(&starts.iter().map(|start| start.ready).collect::<Vec<_>>()), "ms");
    Ok(())
}

/// Those where the newcomer opens the session, and the others.
fn tell_starts(rows: &mut Rows<'_>, what: &str, starts: &[Start], bound: f64) {
    for (opens, whose) in NEWCOMERS {
        let of = |of: fn(&Start) -> f64| {
            median(&starts.iter().filter(|start| start.opens == opens).map(of).collect::<Vec<_>>())
        };
        rows.add(format!("{what}, {whose}"), of(|start| start.voice), "ms", Bound::AtMost(bound));
        rows.tell("  of that until joined", of(|start| start.joined), "ms");
        rows.tell("  until secure", of(|start| start.secure), "ms");
    }
}

/// Starts of somebody who has met the rendezvous before.
fn warm_starts(stage: &Stage, rows: &mut Rows<'_>, what: &str, bound: f64) -> Result<()> {
    let mut starts: Vec<Start> = Vec::new();
    let of = |starts: &[Start], opens| count(&starts.iter().collect::<Vec<_>>(), opens);
    while starts.len() < MOST_RUNS && [true, false].iter().any(|&opens| of(&starts, opens) < RUNS) {
        let channel = format!("warm-{}", starts.len());
        let mut before = Member::join(&stage.lab, Joining::new("B1", "before", "bob"))?;
        before.joined()?;
        let come_back = || before.come_back(&stage.lab, Joining::talking("B1", &channel, "bob"));
        let (start, people) = first_voice_of(stage, &channel, come_back)?;
        people.leave()?;
        super::progress(&format!("{what} {}: after {:.0} ms", starts.len() + 1, start.voice));
        starts.push(start);
    }
    tell_starts(rows, what, &starts, bound);
    Ok(())
}

/// Who is in a channel, one of them talking.
struct People {
    alice: Member,
    bob: Member,
    feeding: thread::JoinHandle<()>,
}

impl People {
    fn leave(self) -> Result<()> {
        self.bob.leave()?;
        self.alice.leave()?;
        drop(self.feeding.join());
        Ok(())
    }
}

/// Alice is there and talks; Bob comes and hears her.
fn first_voice_of(stage: &Stage, channel: &str, bob: impl FnOnce() -> Result<Member>) -> Result<(Start, People)> {
    let mut alice = Member::join(&stage.lab, Joining::talking("A1", channel, "alice"))?;
    let (alice_key, _) = alice.ready()?;
    alice.joined()?;
    let feeding = speak(alice.program.stdin().context("a pipe")?);

    let mut bob = bob()?;
    let started = bob.started();
    let voice = Heard::listen(bob.program.stdout().context("a pipe")?).first_after(started)?;

    let (bob_key, ready) = bob.ready()?;
    let (joined, secure) = (bob.joined()?, bob.secure("alice")?);
    let since_start = |at| ms_between(started, at);
    let start = Start {
        opens: bob_key > alice_key,
        ready: since_start(ready),
        joined: since_start(joined),
        secure: since_start(secure),
        voice: since_start(voice),
    };
    Ok((start, People { alice, bob, feeding }))
}

fn cold_start(stage: &Stage, channel: &str) -> Result<ColdStart> {
    let (start, mut people) =
        first_voice_of(stage, channel, || Member::join(&stage.lab, Joining::talking("B1", channel, "bob")))?;
    let (ours, theirs) = (people.bob.confirmed("alice")?.0, people.alice.confirmed("bob")?.0);
    people.leave()?;
    let number = |value: Option<u64>| value.map_or(f64::NAN, |value| value as f64);
    Ok(ColdStart {
        start,
        confirmed: [number(ours.since_known_ms), number(theirs.since_known_ms)],
        rtt: [number(ours.rtt_ms), number(theirs.rtt_ms)],
    })
}

fn three_at_once(stage: &Stage, rows: &mut Rows<'_>) -> Result<()> {
    let mut took = Vec::new();
    for run in 0..RUNS {
        took.push(three(stage, &format!("three-{run}"))?);
        super::progress(&format!("three members {}: {:.0} ms", run + 1, took[run]));
    }
    rows.add("three join: last pair direct and secure", median(&took), "ms", Bound::AtMost(5.0 * RTT + 50.0));
    rows.tell("three join, worst", largest(&took), "ms");
    Ok(())
}

/// From the last one's start until every pair is connected, on both sides.
fn three(stage: &Stage, channel: &str) -> Result<f64> {
    let names = ["alice", "bob", "carol"];
    let start = Instant::now();
    let mut members = Vec::new();
    for (n, (node, name)) in ["A1", "B1", "C1"].into_iter().zip(names).enumerate() {
        thread::sleep((start + STAGGER * n as u32).saturating_duration_since(Instant::now()));
        members.push(Member::join(&stage.lab, Joining::new(node, channel, name))?);
    }
    let last = members[2].started();
    let mut connected = last;
    for (member, name) in members.iter_mut().zip(names) {
        for peer in names.into_iter().filter(|&peer| peer != name) {
            connected = connected.max(member.connected(peer)?);
        }
    }
    members.into_iter().try_for_each(Member::leave)?;
    Ok(ms_between(last, connected))
}
