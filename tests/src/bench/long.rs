//! Ten minutes of a call of three on bad wires: everything stays as it was.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{
    Options,
    figures::{largest, mean, median, slope},
    row::{Bound, Rows},
    sound::{Heard, speeches},
    stage::Stage,
    talk::{Finished, Talk},
};
use crate::report::Sound;

const MINUTES: u32 = 10;
/// So many of them are either end.
const END: usize = 3;
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
    let worst = worst_pair(&finished)?;
    rows.add(format!("{MINUTES} min: drift of mouth to ear, worst pair"), worst.drift(), "ms", Bound::AtMost(5.0));
    for (minute, delay) in (1..).zip(&worst.minutes) {
        rows.tell(format!("  there in minute {minute}"), *delay, "ms");
    }
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

/// From mouth to ear between two people, the median of each minute.
struct Pair {
    minutes: Vec<f64>,
}

impl Pair {
    /// How much the last minutes differ from the first ones, but for the very first, in which the network gets known. A
    /// buffer that steps to and fro between delays that are equally good does not drift: so each end is a mean.
    fn drift(&self) -> f64 {
        let ends = self.minutes.get(1..1 + END).zip(self.minutes.last_chunk::<END>());
        ends.and_then(|(first, last)| Some((mean(last)? - mean(first)?).abs())).unwrap_or(f64::NAN)
    }
}

/// The pair whose delay has changed most.
fn worst_pair(finished: &Finished) -> Result<Pair> {
    let members = &finished.call.members;
    let mut pairs = Vec::new();
    for listener in members {
        for (name, heard) in &listener.heard {
            let said = &members.iter().find(|member| member.name == *name).context("a stranger was heard")?.said;
            let minute = said.samples_of(60_000);
            // The first ten seconds are for getting to know the network.
            let begin = |n| if n == 0 { minute / 6 } else { n * minute };
            let delay = |n| delay(&piece(said, begin(n), (n + 1) * minute - begin(n)), heard);
            let minutes = (0..MINUTES as usize).map(delay).collect::<Result<Vec<_>>>()?;
            let shown: Vec<_> = minutes.iter().map(|ms| format!("{ms:.1}")).collect();
            super::progress(&format!("{} hears {name} after {} ms", listener.name, shown.join(" ")));
            pairs.push(Pair { minutes });
        }
    }
    pairs.into_iter().max_by(|a, b| a.drift().total_cmp(&b.drift())).context("nobody heard anybody")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn drift(minutes: [f64; 10]) -> f64 {
        Pair { minutes: minutes.into() }.drift()
    }

    #[test]
    fn a_buffer_that_steps_to_and_fro_does_not_drift() {
        assert!(drift([60.0, 69.0, 64.0, 69.0, 69.0, 64.0, 64.0, 69.0, 69.0, 64.0]) < 0.1);
    }

    #[test]
    fn what_grows_drifts_and_what_falls_too() {
        let growing = std::array::from_fn(|minute| 60.0 + minute as f64);
        assert!((drift(growing) - 6.0).abs() < 0.1);
        assert!((drift(growing.map(|ms| 100.0 - ms)) - 6.0).abs() < 0.1);
        assert!(Pair { minutes: vec![60.0] }.drift().is_nan(), "too short to say");
    }
}
