//! `audio-pipe latency`: how long this machine takes from its loudspeaker to its microphone.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use edge::{Exit, Remote, WithExit};

use crate::args::LatencyArgs;
use crate::chirp::{chirp, find};
use crate::device::{Loopback, Side};

/// Streams settle for so long before the first sound.
const SETTLE: Duration = Duration::from_millis(300);
/// Sounds are so far apart, and each a little more, so that they fall to all places within a period.
const GAP: Duration = Duration::from_millis(20);
const SLIDE: Duration = Duration::from_micros(1700);

/// Plays sounds and tells how long they took.
pub(crate) fn latency(args: &LatencyArgs, json: bool) -> Result<()> {
    let names = [args.speaker.as_deref(), args.microphone.as_deref()];
    let periods = [args.speaker_period, args.microphone_period];
    let mut loopback = Loopback::open(names, periods, chirp)?;
    while loopback.age() < SETTLE {
        std::thread::sleep(GAP);
    }
    let sound = chirp(loopback.microphone.rate);
    let mut heard = Vec::new();
    for n in 0..args.clicks {
        heard.extend(loopback.round(args.within));
        std::thread::sleep(GAP + SLIDE * (n % 11));
    }
    let is_still = heard.is_empty();
    // To look for sounds takes a while of the time that is being measured: so it comes last.
    let mut took: Vec<_> = heard.iter().filter_map(|heard| heard.since_began(find(&sound, &heard.samples)?)).collect();
    took.sort_unstable();
    show(args, &loopback, &took, json)?;
    match took.len() {
        0 if is_still => Err(anyhow!("the devices stand still; `audio-pipe doctor` looks for the reason")),
        0 => Err(anyhow!(
            "none of {} sounds came back; turn the loudspeaker up and bring the microphone near it, or see whether one is muted (`audio-pipe doctor`)",
            args.clicks
        )),
        _ => return Ok(()),
    }
    .exit(Exit::Unavailable)
}

fn show(args: &LatencyArgs, loopback: &Loopback, took: &[Duration], json: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let ms = |share: f64| quantile(took, share).map(|took| (took.as_secs_f64() * 1e4).round() / 10.0);
    let sides = [
        ("loudspeaker", &loopback.loudspeaker, args.speaker_period),
        ("microphone", &loopback.microphone, args.microphone_period),
    ];
    let text = if json {
        let [loudspeaker, microphone] = sides.map(|(_, side, asked)| describe(side, asked));
        edge::json_line(&serde_json::json!({
            "v": 1, "type": "latency", "median_ms": ms(0.5), "p95_ms": ms(0.95), "min_ms": ms(0.0), "max_ms": ms(1.0),
            "played": args.clicks, "heard": took.len(), "loudspeaker": loudspeaker, "microphone": microphone,
        }))?
    } else {
        let mut lines: Vec<String> = sides.iter().map(|(kind, side, asked)| line(kind, side, *asked)).collect();
        if let (Some(median), Some(p95), Some(most)) = (ms(0.5), ms(0.95), ms(1.0)) {
            let heard = format!("{} of {} heard", took.len(), args.clicks);
            lines.push(format!("{:<11} {median} ms, 95 % within {p95} ms, all within {most} ms, {heard}", "loop"));
        }
        lines.join("\n")
    };
    writeln!(out, "{text}").context("write to the standard output").exit(Exit::Io)
}

fn rounded_ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}

fn line(kind: &str, side: &Side, asked: Duration) -> String {
    let [asked, got, reported] = [asked, side.period(), side.reported()].map(rounded_ms);
    let (name, rate, channels) = (Remote(&side.name.title).show(), side.rate, side.channels);
    format!(
        "{kind:<11} {name}, {rate} Hz, {channels} channels, {got} ms at a time ({asked} asked for), says {reported} ms"
    )
}

fn describe(side: &Side, asked: Duration) -> serde_json::Value {
    let [asked, got, reported] = [asked, side.period(), side.reported()].map(rounded_ms);
    serde_json::json!({
        "id": side.name.id, "name": side.name.title, "rate": side.rate, "channels": side.channels,
        "asked_ms": asked, "got_ms": got, "reported_ms": reported,
    })
}

/// The value below which a share of sorted values is.
fn quantile(sorted: &[Duration], share: f64) -> Option<Duration> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((share * last as f64).round() as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<_> = (1..=20).map(Duration::from_millis).collect();
        assert_eq!(quantile(&values, 0.0), Some(Duration::from_millis(1)));
        assert_eq!(quantile(&values, 0.95), Some(Duration::from_millis(19)));
        assert_eq!(quantile(&values[..1], 0.5), Some(Duration::from_millis(1)));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
