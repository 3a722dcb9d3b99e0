//! A call in words.

use std::time::Duration;

use wire::agent::Path;

use crate::{
    call::Call,
    person::{Person, words},
    point::{Counts, Point},
};

/// What the table says of one.
pub(crate) struct Row {
    pub(crate) path: String,
    pub(crate) delay: String,
    pub(crate) lost: String,
    pub(crate) missing: String,
    pub(crate) there: String,
}

impl Row {
    pub(crate) fn of(call: &Call, person: &Person) -> Self {
        let counts = person.points.iter().fold(Counts::default(), |sum, point| sum.plus(point.counts));
        Self {
            path: path(person),
            delay: delay(call, person),
            lost: lost(counts),
            missing: missing(counts),
            there: there(call, person),
        }
    }
}

fn path(person: &Person) -> String {
    let Some(last) = &person.last_route else { return "never a path".to_owned() };
    let ways = [Path::Direct, Path::Member, Path::Relay];
    let shares: Vec<_> = ways.map(|way| (way, person.points.iter().filter(|point| point.path == way).count())).into();
    let all: usize = shares.iter().map(|(_, count)| count).sum();
    let others = shares.iter().filter(|(way, count)| *way != last.0 && *count > 0);
    let others: Vec<_> = others
        .map(|(way, count)| format!("{} of the time {}", share(*count as u64, all as u64), words(&(*way, None, None))))
        .collect();
    if others.is_empty() { words(last) } else { format!("{}; {}", words(last), others.join(", ")) }
}

/// From mouth to ear, the median of all stretches in which there was a voice.
fn delay(call: &Call, person: &Person) -> String {
    let mut delays: Vec<f64> = person.points.iter().filter_map(|point| total(call, point)).collect();
    delays.sort_by(f64::total_cmp);
    delays.get(delays.len() / 2).map_or("unknown".to_owned(), |ms| format!("{ms:.0} ms"))
}

/// All stages of the delay in a stretch, in milliseconds.
pub(crate) fn total(call: &Call, point: &Point) -> Option<f64> {
    Some(call.stages.capture_ms + point.rtt.get()? / 2.0 + point.waits.get()? + call.stages.playout_ms)
}

fn lost(counts: Counts) -> String {
    match counts {
        Counts { frames: 0, .. } => "nothing came".to_owned(),
        Counts { lost: 0, .. } => "none".to_owned(),
        _ => share(counts.lost, counts.frames),
    }
}

fn missing(counts: Counts) -> String {
    match counts {
        Counts { played_ms: 0, .. } => "never heard".to_owned(),
        Counts { concealed_ms: 0, .. } => "nothing".to_owned(),
        _ => format!("{} of {}", span(counts.concealed_ms), span(counts.played_ms)),
    }
}

fn there(call: &Call, person: &Person) -> String {
    let seconds = (person.points.len() as f64 * call.span.as_secs_f64()).min(call.length.as_secs_f64());
    span((seconds * 1000.0) as u64)
}

/// A share in percent.
pub(crate) fn share(part: u64, whole: u64) -> String {
    let percent = part as f64 * 100.0 / whole.max(1) as f64;
    if part > 0 && percent < 0.1 { "under 0.1 %".to_owned() } else { format!("{percent:.1} %") }
}

/// A time as people say it.
pub(crate) fn span(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// A moment of the call.
pub(crate) fn moment(at: Duration) -> String {
    let s = at.as_secs();
    format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// A moment of the world, in UTC.
pub(crate) fn date(unix_s: u64) -> String {
    // Days to dates as in H. Hinnant's "chrono-compatible low-level date algorithms": years begin in March.
    let days = unix_s / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year}-{month:02}-{of_month:02} {:02}:{:02} UTC", unix_s / 3600 % 24, unix_s / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let rows = [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_764_140_092, "2025-11-26 06:54 UTC"),
        ];
        for (unix_s, text) in rows {
            assert_eq!(date(unix_s), text);
        }
    }

    #[test]
    fn times_and_shares_read_as_people_say_them() {
        assert_eq!([20, 1500, 61_000, 7_260_000].map(span), ["20 ms", "1.5 s", "1 min 1 s", "2 h 1 min"]);
        assert_eq!([share(1, 10_000), share(2, 1000), share(0, 0)], ["under 0.1 %", "0.2 %", "0.0 %"]);
        assert_eq!(moment(Duration::from_secs(3723)), "1:02:03");
    }
}
