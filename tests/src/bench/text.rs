//! How long a text takes, and whether it comes.

use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{
    figures::{largest, median},
    member::{Joining, Member, ms},
    program::{Program, Says},
    row::{Bound, Rows},
    stage::Stage,
};
use crate::call::Home;

/// Texts whose time is taken.
const TIMED: u32 = 20;
/// Texts that are counted.
const COUNTED: u32 = 1000;
/// So many programs send at the same time.
const WRITERS: usize = 8;
const LOSS_PERCENT: u8 = 5;

/// Runs the bench.
pub(super) fn run(rows: &mut Rows<'_>) -> Result<()> {
    let stage = Stage::apart("text-", &["A", "B"], "")?;
    let mut alice = Member::join(&stage.lab, Joining::new("A1", "den", "alice"))?;
    let mut bob = Member::join(&stage.lab, Joining::new("B1", "den", "bob"))?;
    alice.connected("bob")?;
    bob.connected("alice")?;
    let tail = Program::start(None, &bob.home, "chatctl", &["tail", "--json"], Says::Stdout)?;
    let mut inbox = Inbox { tail, came: BTreeMap::new() };

    let mut took = Vec::new();
    for n in 0..TIMED {
        let start = Instant::now();
        ensure!(send(&alice.home, n)?, "a text was not acknowledged");
        took.push(ms(start.elapsed()));
    }
    inbox.wait_for(TIMED)?;
    rows.tell("chatctl send, from start to acknowledged", median(&took), "ms");
    rows.tell("chatctl send, worst", largest(&took), "ms");

    stage.lab.wire("A", &format!("loss={LOSS_PERCENT}%").parse()?)?;
    super::progress(&format!("{COUNTED} texts at {LOSS_PERCENT} % loss"));
    let start = Instant::now();
    let acknowledged = send_many(&alice.home, TIMED..TIMED + COUNTED)?;
    let seconds = start.elapsed().as_secs_f64();
    // One more, on a clean wire: on an ordered lane everything before it has come when it comes.
    stage.lab.wire("A", &"loss=0%".parse()?)?;
    ensure!(send(&alice.home, TIMED + COUNTED)?, "the last text was not acknowledged");
    inbox.wait_for(TIMED + COUNTED + 1)?;
    let once = (TIMED..TIMED + COUNTED).filter(|n| inbox.came.get(n) == Some(&1)).count();
    let wanted = Bound::AtLeast(f64::from(COUNTED));
    rows.add(format!("delivered exactly once of {COUNTED} at {LOSS_PERCENT} % loss"), once as f64, "texts", wanted);
    rows.add("acknowledged of these", f64::from(acknowledged), "texts", wanted);
    rows.tell(format!("rate of {WRITERS} writers at {LOSS_PERCENT} % loss"), f64::from(COUNTED) / seconds, "texts/s");
    bob.leave()?;
    alice.leave()
}

/// Sends a text; whether everybody acknowledged it.
fn send(from: &Home, n: u32) -> Result<bool> {
    let mut command = from.own("chatctl");
    command.args(["send", &format!("text {n}")]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.status().context("run chatctl")?.success())
}

/// Sends each once; how many were acknowledged.
fn send_many(from: &Home, range: std::ops::Range<u32>) -> Result<u32> {
    let (next, acknowledged) = (AtomicU32::new(range.start), AtomicU32::new(0));
    let write = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if !range.contains(&n) {
                return anyhow::Ok(());
            }
            acknowledged.fetch_add(u32::from(send(from, n)?), Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(write)).collect();
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    Ok(acknowledged.into_inner())
}

/// What a `chatctl tail` shows.
struct Inbox {
    tail: Program,
    /// How often each text came.
    came: BTreeMap<u32, u32>,
}

#[derive(Deserialize)]
struct Line {
    text: String,
}

impl Inbox {
    /// Reads until so many different texts have come.
    fn wait_for(&mut self, count: u32) -> Result<()> {
        while self.came.len() < count as usize {
            let Ok(line) = self.tail.line("text") else { return Ok(()) };
            let line: Line = serde_json::from_str(&line.text).context("read a line of chatctl tail")?;
            let number = line.text.strip_prefix("text ").and_then(|number| number.parse().ok());
            *self.came.entry(number.context("a text that nobody sent")?).or_default() += 1;
        }
        Ok(())
    }
}
