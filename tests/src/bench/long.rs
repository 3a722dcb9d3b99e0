//! Ten minutes of a call of three on bad wires: everything stays as it was.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{
    Options,
    figures::{largest, median, slope},
    row::{Bound, Rows},
    sound::{Heard, speeches},
    stage::Stage,
    talk::{Finished, Talk},
};
use crate::report::Sound;

const MINUTES: u32 = 10;
/// Pieces of speech that are said again and again.
const PIECE_SECONDS: f64 = 24.0;
/// Two wires are between any two: together 2 % loss, and up to 20 ms more or less.
const WIRES: &str = "+jitter~10ms+loss~1%";
/// Memory grows while a program starts; from then on it must not.
const SETTLED: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_secs(5);
const MIB: f64 = 1024.0 * 1024.0;

/// Runs the bench.
pub(super) fn run(options: &Options, rows: &mut Rows<'_>) -> Result<()> {
    let stage = Stage::apart("long-", &["A", "B", "C"], WIRES)?;
    let length = Duration::from_secs(60) * MINUTES;
    let speeches = speeches(PIECE_SECONDS)?;
    let times = (length.as_secs_f64() / PIECE_SECONDS).ceil() as usize + 1;
    let speeches: Vec<_> = speeches.into_iter().map(|speech| speech.repeat(times)).collect();
    super::progress(&format!("three people talk for {MINUTES} minutes with 2 % loss and 20 ms jitter"));
    let mut talk = Talk::begin(&stage, options, "long", &speeches)?;
    drop(speeches);
    let growth = watch(&mut talk, length)?;
    rows.add(format!("{MINUTES} min: processes that ended"), growth.ended, "processes", Bound::AtMost(0.0));
    let finished = talk.finish()?;

    for (program, slopes) in ["puncher", "audio-pipe"].into_iter().zip(&growth.slopes) {
        let row = format!("{MINUTES} min: memory growth of {program}, worst of three");
        rows.add(row, largest(slopes), "MiB/10 min", Bound::Below(1.0));
    }
    rows.add(format!("{MINUTES} min: drift of mouth to ear, worst pair"), drift(&finished)?, "ms", Bound::AtMost(5.0));
    rows.tell(format!("{MINUTES} min: concealed"), finished.concealed(), "%");
    rows.tell(format!("{MINUTES} min: lost by the network"), finished.lost(), "%");
    Ok(())
}

/// What the processes were like meanwhile.
struct Growth {
    ended: f64,
    /// Of each member's puncher and audio-pipe, in MiB per ten minutes.
    slopes: [Vec<f64>; 2],
}

fn watch(talk: &mut Talk, length: Duration) -> Result<Growth> {
    talk.wait_until(SETTLED);
    let processes = talk.processes()?;
    let mut points = vec![[Vec::new(), Vec::new()]; processes.len()];
    let mut at = SETTLED;
    // The last look is before anybody comes to the end.
    while at + LOOK < length {
        let ended = talk.ended();
        if ended > 0 {
            return Ok(Growth { ended: ended as f64, slopes: [Vec::new(), Vec::new()] });
        }
        for (pids, points) in processes.iter().zip(&mut points) {
            for (pid, points) in pids.iter().zip(points) {
                points.push((at.as_secs_f64() / 600.0, pid.memory()? as f64 / MIB));
            }
        }
        at += LOOK;
        talk.wait_until(at);
    }
    let slopes = [0, 1].map(|program| points.iter().filter_map(|points| slope(&points[program])).collect());
    Ok(Growth { ended: 0.0, slopes })
}

/// How much later than at the start people hear each other at the end, in the pair where that differs most.
fn drift(finished: &Finished) -> Result<Option<f64>> {
    let members = &finished.call.members;
    let mut differences = Vec::new();
    for listener in members {
        for (name, heard) in &listener.heard {
            let said = &members.iter().find(|member| member.name == *name).context("a stranger was heard")?.said;
            let minute = said.samples_of(60_000);
            // The first ten seconds are for getting to know the network.
            let early = piece(said, minute / 6, minute);
            let late = piece(said, minute * (MINUTES as usize - 1), minute);
            differences.push((delay(&late, heard)? - delay(&early, heard)?).abs());
        }
    }
    Ok(largest(&differences))
}

fn delay(said: &Sound, heard: &Sound) -> Result<f64> {
    let delays: Vec<f64> = Heard::compare(said, heard)?.delays().collect();
    median(&delays).context("nothing was heard")
}

fn piece(sound: &Sound, from: usize, len: usize) -> Sound {
    let since = from as u64 * 1_000_000_000 / u64::from(sound.rate);
    let samples = sound.samples[from.min(sound.samples.len())..(from + len).min(sound.samples.len())].to_vec();
    Sound { samples, start_unix_ns: sound.start_unix_ns + since, ..sound.clone() }
}
