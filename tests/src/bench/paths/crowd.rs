//! Many members who join at the same moment.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use wire::{
    datagram::{CHECK, Protocol, RELAY_UP, protocol},
    relay,
};

use super::{RUNS, progress};
use crate::{
    bench::{
        figures::{largest, median},
        member::{Joining, Member, ms, ms_between},
        row::{Bound, Rows},
        stage::Stage,
    },
    lab::{Lab, Passed, Tap},
};

const SITES: [(&str, &str); 10] = [
    ("A", "port"),
    ("B", "port"),
    ("C", "port"),
    ("D", "port"),
    ("E", "port"),
    ("F", "port"),
    ("G", "port"),
    ("H", "port"),
    ("I", "port"),
    ("J", "port"),
];
/// Datagrams that a member may send until all have found each other.
const PACKETS: f64 = 120.0;

/// Runs this part of the bench.
pub(super) fn run(rtt: u32, rows: &mut Rows<'_>) -> Result<()> {
    let stage = Stage::spread(&format!("ten{rtt}-"), rtt, &SITES, "")?;
    let mut all = Vec::new();
    for run in 0..RUNS {
        let crowd = meet(&stage, &format!("ten-{run}"))?;
        progress(&format!("ten members {}, RTT {rtt}: {:.0} ms, {} packets", run + 1, crowd.confirmed, crowd.packets));
        all.push(crowd);
    }
    let of = |of: fn(&Crowd) -> f64| all.iter().map(of).collect::<Vec<_>>();
    let (confirmed, packets) = (of(|crowd| crowd.confirmed), of(|crowd| crowd.packets));
    let what = format!("ten join at once, RTT {rtt}");
    let bound = Bound::AtMost(3.0 * f64::from(rtt) + 50.0);
    rows.add(format!("{what}: last start to all 45 pairs confirmed"), median(&confirmed), "ms", bound);
    rows.tell("  of that until the last one is ready", median(&of(|crowd| crowd.ready)), "ms");
    rows.tell("  until the last one has joined", median(&of(|crowd| crowd.joined)), "ms");
    rows.tell("  worst", largest(&confirmed), "ms");
    rows.tell("  processor time of all ten until then", median(&of(|crowd| crowd.cpu)), "ms");
    let what = format!("{what}: packets until then of who sends most");
    rows.add(what, median(&packets), "packets", Bound::AtMost(PACKETS));
    rows.tell("  worst", largest(&packets), "packets");
    rows.tell("  checks and STUN alone", median(&of(|crowd| crowd.finding)), "packets");
    Ok(())
}

/// What it took ten members, in milliseconds since the last one's start.
struct Crowd {
    ready: f64,
    joined: f64,
    confirmed: f64,
    /// Processor time of all, which is what they wait for if they share few processors.
    cpu: f64,
    /// UDP datagrams that left the host of who sent most: those that look for paths, and all.
    finding: f64,
    packets: f64,
}

/// Whether a datagram is for finding paths: a check, by whatever way, or STUN.
fn is_finding(passed: &Passed) -> bool {
    match passed.head[0] {
        RELAY_UP => passed.head[relay::UP_HEADER] == CHECK,
        first => first == CHECK || protocol(&[first]) == Some(Protocol::Stun),
    }
}

fn meet(stage: &Stage, channel: &str) -> Result<Crowd> {
    let hosts = SITES.map(|(site, _)| format!("{site}1"));
    let taps = hosts.iter().map(|host| stage.lab.departures(host)).collect::<Result<Vec<_>>>()?;
    let mut members = start_all(&stage.lab, channel, &hosts)?;
    let last = |times: Vec<Instant>| times.into_iter().max().unwrap_or_else(Instant::now);
    let started = last(members.iter().map(Member::started).collect());
    let ready = last(members.iter_mut().map(|member| Ok(member.ready()?.1)).collect::<Result<_>>()?);
    let joined = last(members.iter_mut().map(Member::joined).collect::<Result<_>>()?);
    let mut confirmed = started;
    for (own, member) in members.iter_mut().enumerate() {
        for (_, peer) in hosts.iter().enumerate().filter(|(other, _)| *other != own) {
            confirmed = confirmed.max(member.confirmed(peer)?.1);
        }
    }
    let cpu = members.iter().map(|member| member.program.pid().run_time()).sum::<Result<Duration>>()?;
    let sent = |counts: fn(&Passed) -> bool| {
        let of = |tap: &Tap| tap.passed().iter().filter(|passed| passed.at <= confirmed && counts(passed)).count();
        taps.iter().map(of).max().unwrap_or(0) as f64
    };
    let (finding, packets) = (sent(is_finding), sent(|_| true));
    members.into_iter().try_for_each(Member::leave)?;
    let since = |at| ms_between(started, at);
    Ok(Crowd {
        ready: since(ready),
        joined: since(joined),
        confirmed: since(confirmed),
        cpu: ms(cpu),
        finding,
        packets,
    })
}

/// Each on its own thread, so that nobody waits for another one's start.
fn start_all(lab: &Lab, channel: &str, hosts: &[String]) -> Result<Vec<Member>> {
    let start = |host: &String| Member::join(lab, Joining::new(host, channel, host));
    thread::scope(|scope| {
        let starts: Vec<_> = hosts.iter().map(|host| scope.spawn(move || start(host))).collect();
        starts.into_iter().map(|start| start.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}
