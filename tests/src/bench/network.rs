//! How well a voice is heard over wires that lose and delay: the real programs behind real NATs, from file to file.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{
    Options,
    figures::{mean, median},
    pesq::Pesq,
    recorded,
    row::{Bound, Rows},
    sound::{EXCERPT, excerpts, heard},
    stage::Stage,
    talk::Talk,
    usage::Sent,
};
use crate::speech::RATE;

/// How long everybody is listened to, as in virtual time: a multiple of an excerpt's length.
const SECONDS: f64 = 24.0;
/// Before that, everybody says the beginning once more, while the senders adapt: one excerpt.
const ADAPTED: usize = 1;
/// What is sent is counted from here to there.
const COUNTED: (Duration, Duration) = (Duration::from_secs(8), Duration::from_secs(30));
const WIRE_KB_PER_S: f64 = 15.0;

/// What the wire of one of two does in either direction, so that every packet between them meets it once; and how well they
/// shall hear each other.
const NETWORKS: [(&str, &str, f64); 7] = [
    ("without loss", "loss=0%", 4.4),
    ("10 % lost", "loss=10%", 4.15),
    ("20 % lost", "loss=20%", 3.85),
    ("30 % lost", "loss=30%", 3.2),
    ("10 % lost in bursts of 3", "loss=10%,burst=3", 3.0),
    ("20 ms of jitter", "delay=10ms,jitter=10ms", 4.4),
    ("50 ms of jitter", "delay=25ms,jitter=25ms", 4.4),
];

/// Runs this part of the bench.
pub(super) fn run(options: &Options, rows: &mut Rows<'_>) -> Result<()> {
    let Some(speeches) = recorded::speeches(SECONDS)? else {
        super::progress("recorded speech is missing, so bad wires are skipped: scripts/setup bench installs it");
        return Ok(());
    };
    let lead = EXCERPT * RATE as usize;
    let speeches: Vec<_> = speeches.iter().map(|speech| [&speech[..lead.min(speech.len())], speech].concat()).collect();
    let pesq = Pesq::find();
    for (number, (name, wire, bound)) in (1..).zip(NETWORKS) {
        super::progress(&format!("two people talk behind NATs, {name}"));
        let stage = Stage::apart("network-", &["A", "B"], "")?;
        stage.lab.wire("A", &wire.parse()?)?;
        let talk = Talk::begin(&stage, options, &format!("network-{number}"), &speeches)?;
        let bytes_per_s = sent(&talk)?;
        let finished = talk.finish()?;
        let heard = heard(&finished).with_context(|| format!("a call, {name}"))?;
        let pairs: Vec<_> =
            heard.iter().flat_map(|heard| excerpts(&heard.said, &heard.received).split_off(ADAPTED)).collect();
        let score = pesq.as_ref().map(|pesq| pesq.scores(&pairs)).transpose()?.and_then(|scores| mean(&scores));
        rows.add(format!("behind NATs, {name}: PESQ-WB"), score, "MOS", Bound::AtLeast(bound));
        let wire = mean(&bytes_per_s).map(|bytes| bytes / 1000.0);
        rows.add("  all that is sent, headers of UDP and IP included", wire, "kB/s", Bound::AtMost(WIRE_KB_PER_S));
        let delays: Vec<f64> = heard.iter().flat_map(|heard| heard.delays().skip(EXCERPT)).collect();
        rows.tell("  mouth to ear", median(&delays), "ms");
        rows.tell("  made up", finished.concealed(), "%");
        rows.tell("  lost by the network", finished.lost(), "%");
    }
    Ok(())
}

/// How many bytes each sends in a second, as IP packets.
fn sent(talk: &Talk) -> Result<Vec<f64>> {
    let (from, to) = COUNTED;
    let count = || -> Result<Vec<Sent>> { talk.processes()?.iter().map(|[puncher, _]| puncher.sent()).collect() };
    talk.wait_until(from);
    let before = count()?;
    talk.wait_until(to);
    let after = count()?;
    let bytes = before.iter().zip(after).map(|(before, after)| after.bytes - before.bytes);
    Ok(bytes.map(|bytes| bytes as f64 / (to - from).as_secs_f64()).collect())
}
