//! What a frame of voice costs on the wire beside its sound.

use std::{thread, time::Duration};

use anyhow::{Context, Result};

use crate::bench::{
    figures::{largest, mean},
    row::{Bound, Rows},
    stage::{RTT_MS, Stage},
    voice::{Leg, OPUS, Talker},
};

/// How long is counted.
const COUNTED: Duration = Duration::from_secs(3);
/// The path is settled by then, and the packets that look for longer ones have gone.
const START: Duration = Duration::from_secs(2);
const DIRECT: f64 = 40.0;
const RELAYED: f64 = 50.0;

/// Runs this part of the bench.
pub(super) fn run(rows: &mut Rows<'_>) -> Result<()> {
    for (kind, what, legs, bound) in [
        ("port", "direct", &[(Leg::Direct, "")][..], DIRECT),
        ("sym", "relayed", &[(Leg::Up, ", to the relay"), (Leg::Down, ", from the relay")], RELAYED),
    ] {
        let stage = Stage::spread(&format!("{what}-"), RTT_MS, &[("A", kind), ("B", kind)], "")?;
        let passed = talk(&stage)?;
        for (leg, where_to) in legs {
            let of_leg = passed.iter().filter(|(passed, _)| passed == leg);
            let bytes: Vec<_> = of_leg.map(|(_, len)| (len - OPUS) as f64).collect();
            let row = format!("bytes per voice packet, {what}{where_to}: payload of UDP without Opus");
            rows.add(row, mean(&bytes), "bytes", Bound::AtMost(bound));
            rows.tell("  most", largest(&bytes), "bytes");
        }
    }
    Ok(())
}

/// Two people talk at the same time; which frames go to one of them or come from it, and how long their datagrams are.
fn talk(stage: &Stage) -> Result<Vec<(Leg, usize)>> {
    let mut alice = Talker::join(&stage.lab, "A1", "call", "alice")?;
    alice.member.joined()?;
    let mut bob = Talker::join(&stage.lab, "B1", "call", "bob")?;
    let secure = alice.member.secure("bob")?.max(bob.member.secure("alice")?);
    for talker in [&alice, &bob] {
        talker.heard.first_after(secure)?;
    }
    thread::sleep(START);
    let taps = [stage.lab.arrivals("B1")?, stage.lab.departures("B1")?];
    thread::sleep(COUNTED);
    let passed = taps.iter().flat_map(|tap| tap.passed());
    let frames: Vec<_> = passed.filter_map(|passed| Some((Leg::of(&passed)?, passed.len))).collect();
    bob.leave()?;
    alice.leave()?;
    (!frames.is_empty()).then_some(frames).context("no frame has passed")
}
