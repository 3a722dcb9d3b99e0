//! What is drawn of one who takes part.

use wire::agent::Path;

use crate::{
    call::Call,
    person::Person,
    point::Point,
    svg::{Plot, full},
};

/// Height of a drawing.
const HEIGHT: f64 = 110.0;
/// Height of the bands of path and mute.
const BANDS: f64 = 56.0;
/// What is quieter is not drawn, in dB below full scale.
const QUIET: f64 = 70.0;
/// Of fewer frames a share says nothing.
const FEWEST: u64 = 10;

/// A class of the page's style, and what is drawn in it.
type Line = (&'static str, fn(&Point) -> Option<f64>);
/// The same of a band, at this height.
type Band = (&'static str, f64, fn(&Point) -> bool);

/// Who was there by which path, and muted.
pub(crate) fn path(call: &Call, person: &Person) -> String {
    let mut plot = Plot::begin("path, and whether muted", BANDS, seconds(call), 2.0);
    plot.label(1.5, "path");
    plot.label(0.5, "mute");
    let bands: [Band; 5] = [
        ("direct", 1.15, |point| point.path == Path::Direct),
        ("member", 1.15, |point| point.path == Path::Member),
        ("relay", 1.15, |point| point.path == Path::Relay),
        ("none", 1.15, |point| point.path == Path::None),
        ("muted", 0.15, |point| point.is_muted),
    ];
    for (class, low, is_so) in bands {
        let cells: Vec<_> = cells(call, person, |point| is_so(point).then_some((low, low + 0.7))).collect();
        plot.area(class, &cells);
    }
    plot.end()
}

/// From mouth to ear, stage upon stage.
pub(crate) fn delay(call: &Call, person: &Person) -> String {
    let stages = |point: &Point| {
        let network = point.rtt.get().map_or(0.0, |rtt| rtt / 2.0);
        let waits = point.waits.get()?;
        Some([call.stages.capture_ms, network, waits, call.stages.playout_ms])
    };
    let highest = person.points.iter().filter_map(stages).map(|stages| stages.iter().sum()).fold(20.0, f64::max);
    stacked(
        call,
        person,
        "delay by stage, in milliseconds",
        (highest, &["capture", "network", "buffer", "playout"]),
        stages,
    )
}

/// What the jitter buffer aims at and does.
pub(crate) fn buffer(call: &Call, person: &Person) -> String {
    let lines: [Line; 3] = [
        ("jitter", |point| point.jitter.get()),
        ("target", |point| point.target.get()),
        ("waits", |point| point.waits.get()),
    ];
    lined(call, person, "jitter buffer, in milliseconds", 20.0, &lines)
}

/// What was lost, in percent of the frames, and what came late.
pub(crate) fn loss(call: &Call, person: &Person) -> String {
    let lines: [Line; 2] = [
        ("late", |point| percent(point.counts.late, point.counts.frames)),
        ("lost", |point| percent(point.counts.lost, point.counts.frames)),
    ];
    lined(call, person, "frames lost and late, in percent", 1.0, &lines)
}

/// What stood in for what was missing, in percent of the voice.
pub(crate) fn repair(call: &Call, person: &Person) -> String {
    let shares = |point: &Point| {
        let counts = &point.counts;
        let next = percent(counts.from_next, counts.frames)?;
        let copy = percent(counts.from_copy, counts.frames)?;
        let of_voice = |ms: u64| ms as f64 * 100.0 / counts.played_ms.max(ms).max(1) as f64;
        Some([next, copy, of_voice(counts.deep_ms), of_voice(counts.concealed_ms)])
    };
    let highest = person.points.iter().filter_map(shares).map(|shares| shares.iter().sum()).fold(1.0, f64::max);
    stacked(
        call,
        person,
        "what stood in, in percent of the voice",
        (highest, &["next", "copy", "deep", "concealed"]),
        shares,
    )
}

/// How loud, in dB of full scale.
pub(crate) fn level(call: &Call, person: &Person) -> String {
    let mut plot = Plot::begin("loudest of each moment, in dB of full scale", HEIGHT, seconds(call), QUIET);
    for db in [10.0, 40.0, 70.0] {
        plot.label(db, &format!("{}", db - QUIET));
    }
    let cells: Vec<_> =
        cells(call, person, |point| Some((0.0, QUIET - f64::from(point.level)))).filter(|cell| cell.3 > 0.0).collect();
    if cells.is_empty() {
        plot.note("silent");
    }
    plot.area("level", &cells);
    plot.end()
}

/// What the peer sees of our voice.
pub(crate) fn theirs(call: &Call, person: &Person) -> String {
    let lines: [Line; 2] = [("late", |point| point.their_late.get()), ("lost", |point| point.their_loss.get())];
    lined(call, person, "your frames lost and late there, in percent", 1.0, &lines)
}

/// How much of our voice the peer had to make up, in milliseconds of each second.
pub(crate) fn made_up_there(call: &Call, person: &Person) -> String {
    let per_second = |point: &Point| {
        point.their_loss.get()?;
        Some([point.their_concealed_ms as f64 / call.span.as_secs_f64()])
    };
    let highest = person.points.iter().filter_map(per_second).map(|[ms]| ms).fold(10.0, f64::max);
    stacked(
        call,
        person,
        "your voice made up there, in milliseconds of each second",
        (highest, &["concealed"]),
        per_second,
    )
}

fn percent(part: u64, of: u64) -> Option<f64> {
    (of >= FEWEST).then(|| (part as f64 * 100.0 / of as f64).min(100.0))
}

fn seconds(call: &Call) -> f64 {
    call.length.as_secs_f64()
}

/// From second to second, what there is in between.
fn cells<'a>(
    call: &'a Call,
    person: &'a Person,
    range: impl Fn(&Point) -> Option<(f64, f64)> + 'a,
) -> impl Iterator<Item = (f64, f64, f64, f64)> + 'a {
    person.points.iter().filter_map(move |point| {
        let (low, high) = range(point)?;
        Some((call.second(point.slot), call.second(point.slot + 1), low, high))
    })
}

fn stacked<const N: usize>(
    call: &Call,
    person: &Person,
    what: &str,
    (highest, classes): (f64, &[&str; N]),
    values: impl Fn(&Point) -> Option<[f64; N]>,
) -> String {
    let full = full(highest);
    let mut plot = Plot::begin(what, HEIGHT, seconds(call), full);
    plot.scale(&[0.0, full / 2.0, full]);
    let mut is_empty = true;
    for (n, class) in classes.iter().enumerate() {
        let layer = |point: &Point| {
            let values = values(point)?;
            let low: f64 = values[..n].iter().sum();
            Some((low, low + values[n]))
        };
        let cells: Vec<_> = cells(call, person, layer).collect();
        is_empty &= cells.iter().all(|(_, _, low, high)| low == high);
        plot.area(class, &cells);
    }
    if is_empty {
        plot.note("nothing");
    }
    plot.end()
}

fn lined(call: &Call, person: &Person, what: &str, least: f64, lines: &[Line]) -> String {
    let values = lines.iter().flat_map(|(_, of)| person.points.iter().filter_map(of));
    let full = full(values.fold(least, f64::max));
    let mut plot = Plot::begin(what, HEIGHT, seconds(call), full);
    plot.scale(&[0.0, full / 2.0, full]);
    let mut is_empty = true;
    for (class, of) in lines {
        let cells: Vec<_> =
            cells(call, person, |point| of(point).map(|v| (v, v))).map(|(from, to, v, _)| (from, to, v)).collect();
        is_empty &= cells.is_empty();
        plot.line(&format!("line {class}"), &cells);
    }
    if is_empty {
        plot.note("nothing");
    }
    plot.end()
}
