//! What the buffer costs on six kinds of path: how long sound waits in it, and how much of it comes too late.

use jitter::Stats;

use crate::call::{Call, Dice, Path, Wireless};

/// What comes before is the expectation at the start.
const SETTLED_MS: f64 = 10_000.0;

/// A kind of path, and what the buffer may cost on it.
struct Trace {
    name: &'static str,
    path: fn(u64) -> Box<dyn Path>,
    seconds: f64,
    /// Mean time that sound waits, beyond the network at its fastest and beside what a block costs anyway.
    most_ms: f64,
    /// Frames that come after their time, in percent.
    most_late: f64,
}

const TRACES: [Trace; 6] = [
    Trace { name: "LAN, 0 to 1.5 ms", path: lan, seconds: 130.0, most_ms: 6.0, most_late: 0.1 },
    Trace { name: "fibre, exponential, mean 1.2 ms", path: fibre, seconds: 130.0, most_ms: 8.0, most_late: 0.3 },
    Trace { name: "good Wi-Fi", path: good_wifi, seconds: 130.0, most_ms: 18.0, most_late: 1.5 },
    Trace {
        name: "busy Wi-Fi, stalls of 40 to 150 ms",
        path: busy_wifi,
        seconds: 130.0,
        most_ms: 60.0,
        most_late: 2.0,
    },
    Trace { name: "LTE, log-normal", path: lte, seconds: 130.0, most_ms: 55.0, most_late: 1.6 },
    Trace { name: "60 ms more for 100 s of 300", path: step, seconds: 300.0, most_ms: 30.0, most_late: 1.0 },
];

fn lan(seed: u64) -> Box<dyn Path> {
    let mut dice = Dice::new(seed);
    Box::new(move |_| Some(1.5 * dice.share()))
}

fn fibre(seed: u64) -> Box<dyn Path> {
    let mut dice = Dice::new(seed);
    Box::new(move |_| Some(dice.exponential(1.2)))
}

fn good_wifi(seed: u64) -> Box<dyn Path> {
    Box::new(Wireless::good(seed))
}

fn busy_wifi(seed: u64) -> Box<dyn Path> {
    Box::new(Wireless::busy(seed))
}

/// Two of a hundred take 45 ms more than the fastest of a second, and one of two hundred 55 ms more.
fn lte(seed: u64) -> Box<dyn Path> {
    let mut dice = Dice::new(seed);
    Box::new(move |_| Some((32.0 * (0.3 * dice.normal()).exp() - 14.0).max(0.0)))
}

fn step(seed: u64) -> Box<dyn Path> {
    let mut dice = Dice::new(seed);
    Box::new(move |sent: f64| {
        let more = if (100_000.0..200_000.0).contains(&sent) { 60.0 } else { 0.0 };
        Some(more + dice.exponential(1.2))
    })
}

/// Mean delay in milliseconds and share of late frames in percent, once settled, over all phases of pulls to frames.
fn cost(trace: &Trace, block: usize) -> (f64, f64) {
    let (mut delay, mut pulls, mut late, mut received) = (0.0, 0, 0, 0);
    for phase in 0..4 {
        let mut call = Call::on((trace.path)(phase + 1));
        call.phase_ms = phase as f64 * 2.5 + 1.25;
        call.block = block;
        call.has_pauses = true;
        let mut before = Stats::default();
        let after = call.run(trace.seconds, |heard| {
            if heard.at_ms < SETTLED_MS {
                before = heard.stats;
            } else if let Some(ms) = heard.delay_ms() {
                delay += ms;
                pulls += 1;
            }
        });
        late += after.late - before.late;
        received += after.received - before.received;
    }
    // A pull that comes at any time after a frame waits half a block anyway.
    let waits = block as f64 / 96.0;
    (delay / f64::from(pulls) - waits, 100.0 * late as f64 / received as f64)
}

#[test]
fn the_buffer_costs_little_delay_and_few_late_frames_on_every_kind_of_path() {
    let mut table = String::new();
    let mut holds = true;
    for trace in &TRACES {
        for block in [480, 240] {
            let (ms, late) = cost(trace, block);
            holds &= ms <= trace.most_ms && late <= trace.most_late;
            let (name, most_ms, most_late) = (trace.name, trace.most_ms, trace.most_late);
            table += &format!("{name}, {block}: {ms:.1} of {most_ms} ms, {late:.2} of {most_late} % late\n");
        }
    }
    assert!(holds, "\n{table}");
}
