//! The closing table, for people.

use std::io::{self, Write};

use super::{Pair, Report};

pub(super) const HEAD: [&str; 10] =
    ["from", "to", "heard", "path", "address", "connect", "mouth to ear", "loss", "missing", "quality"];

/// What stands where there is nothing to show.
const NOTHING: &str = "-";
/// ESTOI of a call of which nothing is late.
const GOOD: f64 = 0.9;
/// Of a whole call no more is missing.
const WHOLE_MS: u64 = 500;

/// The columns of a pair, as on the page.
pub(super) fn cells(pair: &Pair) -> [String; 10] {
    let ms = |ms: Option<u64>| ms.map_or(NOTHING.to_owned(), |ms| format!("{ms} ms"));
    [
        pair.from.clone(),
        pair.to.clone(),
        heard(pair),
        pair.path.clone(),
        pair.addr.clone().unwrap_or(NOTHING.to_owned()),
        ms(pair.connect_ms),
        pair.hearing.delay_ms.map_or(NOTHING.to_owned(), |ms| format!("{ms:.1} ms")),
        pair.loss.map_or(NOTHING.to_owned(), |loss| format!("{:.1} %", loss * 100.0)),
        ms(pair.missing_ms),
        pair.quality.map_or(NOTHING.to_owned(), |quality| format!("{quality:.2}")),
    ]
}

fn heard(pair: &Pair) -> String {
    match (pair.heard, pair.mouth_to_ear_ms) {
        (true, _) => "yes".to_owned(),
        (false, Some(_)) => format!("badly, {} ms missing", pair.missing_ms.unwrap_or(0)),
        (false, None) => "no".to_owned(),
    }
}

/// Writes the table and a line on what its columns mean.
///
/// # Errors
/// If `out` takes no more.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let rows: Vec<[String; 10]> = report.pairs.iter().map(cells).collect();
    let head = HEAD.map(str::to_owned);
    let width = |column: usize| rows.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or(0);
    for row in [&head].into_iter().chain(&rows) {
        let cells: Vec<String> = row.iter().enumerate().map(|(n, cell)| format!("{cell:<0$}", width(n))).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    let heard = report.pairs.iter().filter(|pair| pair.heard).count();
    writeln!(
        out,
        "\n{heard} of {} voices heard; missing is speech of which nothing is heard, quality is ESTOI, 0 to 1.",
        report.pairs.len()
    )?;
    let is_whole = |pair: &Pair| pair.loss == Some(0.0) && pair.missing_ms.is_some_and(|ms| ms < WHOLE_MS);
    let is_late = |pair: &Pair| is_whole(pair) && pair.quality.is_some_and(|quality| quality < GOOD);
    if report.pairs.iter().any(is_late) {
        writeln!(
            out,
            "Low quality with nothing lost: this machine did something else for a while; try again when it is idle."
        )?;
    }
    Ok(())
}
