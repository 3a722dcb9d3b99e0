//! How fast members find each other, what that costs, and what becomes of a call when the network changes.

mod bytes;
mod crowd;
mod known;
mod life;
mod starts;

use anyhow::{Context, Result};

use super::{
    figures::median,
    member::{Joining, Member, ms_between},
    progress,
    row::{Bound, Rows},
    stage::Stage,
};

/// Of each kind that is compared.
const RUNS: usize = 10;
/// Round trips that are promised something.
const RTTS_MS: [u32; 2] = [40, 100];

/// Runs the bench.
pub(super) fn run(rows: &mut Rows<'_>) -> Result<()> {
    starts::run(rows).context("starts")?;
    without_delay(rows).context("without delay")?;
    for rtt in RTTS_MS {
        known::run(rtt, rows).with_context(|| format!("known to confirmed, RTT {rtt}"))?;
        crowd::run(rtt, rows).with_context(|| format!("ten at once, RTT {rtt}"))?;
        life::run(rtt, rows).with_context(|| format!("life of a path, RTT {rtt}"))?;
    }
    bytes::run(rows).context("overhead")
}

/// What is left where packets take no time: the programs' own work.
fn without_delay(rows: &mut Rows<'_>) -> Result<()> {
    let stage = Stage::build("near-", "A=port B=port")?;
    let (mut direct, mut secure) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let channel = format!("near-{run}");
        let mut alice = Member::join(&stage.lab, Joining::new("A1", &channel, "alice"))?;
        alice.joined()?;
        let mut bob = Member::join(&stage.lab, Joining::new("B1", &channel, "bob"))?;
        let known = alice.knew("bob")?.min(bob.knew("alice")?);
        let confirmed = alice.confirmed("bob")?.1.max(bob.confirmed("alice")?.1);
        direct.push(ms_between(known, confirmed));
        secure.push(ms_between(known, alice.connected("bob")?.max(bob.connected("alice")?)));
        bob.leave()?;
        alice.leave()?;
    }
    rows.add("no delay: known to direct on both sides", median(&direct), "ms", Bound::AtMost(5.0));
    rows.tell("no delay: known to direct and secure on both sides", median(&secure), "ms");
    Ok(())
}
