//! The closing table, for people.

use std::io::{self, Write};

use super::{Pair, Report};

pub(super) const HEAD: [&str; 9] =
    ["from", "to", "heard", "path", "address", "connect", "mouth to ear", "loss", "quality"];

/// What stands where there is nothing to show.
const NOTHING: &str = "-";

/// The columns of a pair, as on the page.
pub(super) fn cells(pair: &Pair) -> [String; 9] {
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
    let rows: Vec<[String; 9]> = report.pairs.iter().map(cells).collect();
    let head = HEAD.map(str::to_owned);
    let width = |column: usize| rows.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or(0);
    for row in [&head].into_iter().chain(&rows) {
        let cells: Vec<String> = row.iter().enumerate().map(|(n, cell)| format!("{cell:<0$}", width(n))).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    let heard = report.pairs.iter().filter(|pair| pair.heard).count();
    writeln!(out, "\n{heard} of {} voices heard; quality is ESTOI, 0 to 1.", report.pairs.len())
}
