//! What becomes of a call when the network changes: how long nothing is heard, and when it is direct again.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{RUNS, progress};
use crate::{
    bench::{
        figures::{largest, median},
        member::{ms, ms_between},
        program::PATIENCE,
        row::{Bound, Rows},
        stage::Stage,
        voice::{Leg, Talker},
    },
    lab::{Lab, Tap},
};

/// Calls at a time: they mostly wait.
const AT_ONCE: usize = 5;
/// From one event to the next, and at first.
const CALM: Duration = Duration::from_secs(2);
/// How long something stays cut.
const CUT: Duration = Duration::from_secs(2);
/// Nothing is heard for no longer than this, in milliseconds.
const SILENCE: f64 = 300.0;
/// The call is direct again by then, in milliseconds.
const DIRECT: f64 = 1000.0;

/// What happens, in this order: what comes last leaves a host where it was not before.
const EVENTS: [Event; 5] = [Event::Blocked, Event::Reboot, Event::RouterCable, Event::HostCable, Event::Roam];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Event {
    /// Something on the way lets nothing pass between the two.
    Blocked,
    Reboot,
    RouterCable,
    HostCable,
    Roam,
}

impl Event {
    fn name(self) -> &'static str {
        match self {
            Self::Blocked => "direct path cut for 2 s, the relay stays",
            Self::Reboot => "router restarts",
            Self::RouterCable => "cable of the router out for 2 s",
            Self::HostCable => "cable of the host out for 2 s",
            Self::Roam => "host moves to another network",
        }
    }

    /// Whether nothing at all passes meanwhile, so that silence counts from its end.
    fn is_outage(self) -> bool {
        matches!(self, Self::RouterCable | Self::HostCable)
    }

    fn lasts(self) -> Duration {
        match self {
            Self::Reboot | Self::Roam => Duration::ZERO,
            Self::Blocked | Self::RouterCable | Self::HostCable => CUT,
        }
    }

    fn begin(self, lab: &mut Lab, sites: &Sites) -> Result<()> {
        let Sites { own, other, another, host, .. } = sites;
        match self {
            Self::Blocked => lab.loss(own, other, 1.0).and_then(|()| lab.loss(other, own, 1.0)),
            Self::Reboot => lab.reboot(own),
            Self::RouterCable => lab.cable(own, false),
            Self::HostCable => lab.cable(host, false),
            Self::Roam => lab.roam(host, another),
        }
    }

    fn end(self, lab: &mut Lab, sites: &Sites) -> Result<()> {
        let Sites { own, other, host, .. } = sites;
        match self {
            Self::Blocked => lab.loss(own, other, 0.0).and_then(|()| lab.loss(other, own, 0.0)),
            Self::RouterCable => lab.cable(own, true),
            Self::HostCable => lab.cable(host, true),
            Self::Reboot | Self::Roam => Ok(()),
        }
    }
}

/// Runs this part of the bench.
pub(super) fn run(rtt: u32, rows: &mut Rows<'_>) -> Result<()> {
    let mut outcomes: Vec<(Event, Outcome)> = Vec::new();
    for round in 0..RUNS.div_ceil(AT_ONCE) {
        outcomes.extend(live(rtt, round)?);
    }
    for event in EVENTS {
        let of = |of: fn(&Outcome) -> f64| -> Vec<f64> {
            outcomes.iter().filter(|(which, _)| *which == event).map(|(_, outcome)| of(outcome)).collect()
        };
        let (silence, direct) = (of(|outcome| outcome.silence), of(|outcome| outcome.direct));
        let what = format!("{}, RTT {rtt}", event.name());
        let since = if event.is_outage() { "silence from its return" } else { "silence" };
        rows.add(format!("{what}: {since}"), median(&silence), "ms", Bound::AtMost(SILENCE));
        rows.tell("  worst", largest(&silence), "ms");
        rows.add(format!("{what}: direct again after"), median(&direct), "ms", Bound::AtMost(DIRECT));
        rows.tell("  worst", largest(&direct), "ms");
    }
    Ok(())
}

/// What came of an event, of both sides the worse, in milliseconds.
struct Outcome {
    silence: f64,
    /// From the end of the event until a frame came straight.
    direct: f64,
}

/// Where a call takes place.
struct Sites {
    /// The router of the host that things happen to, the other one's, and one more.
    own: String,
    other: String,
    another: String,
    host: String,
    peer: String,
}

impl Sites {
    fn new(number: usize) -> Self {
        let letter = char::from(b'a' + number as u8);
        let [own, other, another] = ["A", "B", "C"].map(|site| format!("{site}{letter}"));
        let (host, peer) = (format!("{own}1"), format!("{other}1"));
        Self { own, other, another, host, peer }
    }
}

/// A call under way, and what comes to either host.
struct Call {
    sites: Sites,
    talkers: [Talker; 2],
    taps: [Tap; 2],
}

/// Some calls at a time, and all that happens to them.
fn live(rtt: u32, round: usize) -> Result<Vec<(Event, Outcome)>> {
    let all: Vec<Sites> = (0..AT_ONCE).map(Sites::new).collect();
    let kinds = |sites: &'_ Sites| {
        [(sites.own.clone(), "port-rand"), (sites.other.clone(), "port"), (sites.another.clone(), "port")]
    };
    let spread: Vec<_> = all.iter().flat_map(kinds).collect();
    let spread: Vec<_> = spread.iter().map(|(site, kind)| (site.as_str(), *kind)).collect();
    let mut stage = Stage::spread(&format!("life{rtt}-{round}-"), rtt, &spread, "")?;
    let mut calls = all.into_iter().map(|sites| Call::begin(&stage, sites)).collect::<Result<Vec<_>>>()?;
    let mut outcomes = Vec::new();
    for event in EVENTS {
        thread::sleep(CALM);
        let times = happen(event, &mut stage.lab, &calls)?;
        for (call, (from, to)) in calls.iter_mut().zip(times) {
            let outcome = call.outcome(event, rtt, from, to).with_context(|| event.name())?;
            let Outcome { silence, direct } = outcome;
            progress(&format!("{}, RTT {rtt}: silence {silence:.0} ms, direct after {direct:.0} ms", event.name()));
            outcomes.push((event, outcome));
        }
    }
    calls.into_iter().try_for_each(|call| call.talkers.into_iter().try_for_each(Talker::leave))?;
    Ok(outcomes)
}

/// Lets it happen to each call; from when to when it did.
fn happen(event: Event, lab: &mut Lab, calls: &[Call]) -> Result<Vec<(Instant, Instant)>> {
    let mut times = Vec::new();
    for call in calls {
        let from = Instant::now();
        event.begin(lab, &call.sites)?;
        times.push((from, Instant::now()));
    }
    for (call, (_, to)) in calls.iter().zip(&mut times) {
        thread::sleep((*to + event.lasts()).saturating_duration_since(Instant::now()));
        event.end(lab, &call.sites)?;
        *to = if event.lasts().is_zero() { *to } else { Instant::now() };
    }
    Ok(times)
}

impl Call {
    fn begin(stage: &Stage, sites: Sites) -> Result<Self> {
        let channel = format!("call-{}", sites.own);
        let join = |host: &str, name: &str| Talker::join(&stage.lab, host, &channel, name);
        let mut talkers = [join(&sites.host, "alice")?, join(&sites.peer, "bob")?];
        for (talker, peer) in talkers.iter_mut().zip(["bob", "alice"]) {
            let connected = talker.member.connected(peer)?;
            talker.heard.first_after(connected)?;
        }
        let taps = [stage.lab.arrivals(&sites.host)?, stage.lab.arrivals(&sites.peer)?];
        Ok(Self { sites, talkers, taps })
    }

    fn outcome(&mut self, event: Event, rtt: u32, from: Instant, to: Instant) -> Result<Outcome> {
        let mut outcome = Outcome { silence: 0.0, direct: 0.0 };
        // What comes sooner was sent before.
        let one_way = Duration::from_millis(u64::from(rtt / 2));
        for (Talker { member, heard, .. }, tap) in self.talkers.iter_mut().zip(&self.taps) {
            let direct = until_direct(tap, to + one_way).with_context(|| member.story())?;
            heard.first_after(direct.max(to + CALM))?;
            let silence = match event.is_outage() {
                true => heard.first_after(to)? - to,
                false => heard.longest_silence(from, to + CALM),
            };
            outcome.silence = outcome.silence.max(ms(silence));
            outcome.direct = outcome.direct.max(ms_between(to, direct));
        }
        Ok(outcome)
    }
}

/// When a frame first came straight after a moment.
fn until_direct(tap: &Tap, after: Instant) -> Result<Instant> {
    loop {
        let passed = tap.passed();
        let mut frames = passed.iter().filter(|passed| passed.at >= after && Leg::of(passed) == Some(Leg::Direct));
        if let Some(first) = frames.next() {
            return Ok(first.at);
        }
        ensure!(after.elapsed() < PATIENCE, "no frame came straight");
        thread::sleep(Duration::from_millis(5));
    }
}
