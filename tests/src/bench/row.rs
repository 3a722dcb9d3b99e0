//! What is measured, and whether it is good enough.

use std::io::{self, Write};

use serde::Serialize;

/// What a value is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// Nothing: it is for information.
    None,
    /// The value must not be more.
    AtMost(f64),
    /// The value must be less.
    Below(f64),
    /// The value must not be less.
    AtLeast(f64),
}

impl Bound {
    fn number(self) -> Option<f64> {
        match self {
            Self::None => None,
            Self::AtMost(bound) | Self::Below(bound) | Self::AtLeast(bound) => Some(bound),
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::None => "",
            Self::AtMost(_) => "<= ",
            Self::Below(_) => "< ",
            Self::AtLeast(_) => ">= ",
        }
    }

    /// Whether a value is within; not said of what has no bound.
    fn holds(self, value: f64) -> Option<bool> {
        match self {
            Self::None => None,
            Self::AtMost(bound) => Some(value <= bound),
            Self::Below(bound) => Some(value < bound),
            Self::AtLeast(bound) => Some(value >= bound),
        }
    }
}

/// One measured value. What could not be measured has none, and does not hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    bench: &'static str,
    row: String,
    value: Option<f64>,
    unit: &'static str,
    bound: Bound,
}

/// A row as scripts read it.
#[derive(Serialize)]
struct Line<'a> {
    bench: &'a str,
    row: &'a str,
    value: Option<f64>,
    unit: &'a str,
    bound: Option<f64>,
    holds: Option<bool>,
}

impl Row {
    /// Whether the value is within its bound: `None` without a bound, or without a value.
    pub fn holds(&self) -> Option<bool> {
        self.bound.holds(self.value?)
    }

    fn json(&self) -> Line<'_> {
        let (value, bound) = (self.value.map(rounded), self.bound.number().map(rounded));
        Line { bench: self.bench, row: &self.row, value, unit: self.unit, bound, holds: self.holds() }
    }

    fn cells(&self) -> [String; 6] {
        let bound = self.bound.number().map_or(String::new(), |bound| format!("{}{}", self.bound.sign(), shown(bound)));
        let holds = match (self.holds(), self.value) {
            (_, None) => "skipped",
            (Some(true), _) => "yes",
            (Some(false), _) => "NO",
            (None, _) => "",
        };
        let value = self.value.map_or("-".to_owned(), shown);
        [self.bench.to_owned(), self.row.clone(), value, self.unit.to_owned(), bound, holds.to_owned()]
    }
}

/// All rows of a run.
#[derive(Debug, Default)]
pub struct Sheet(Vec<Row>);

/// The rows of one bench, as they come.
#[derive(Debug)]
pub struct Rows<'a> {
    bench: &'static str,
    sheet: &'a mut Sheet,
}

impl Sheet {
    /// Where a bench puts its rows.
    pub fn of(&mut self, bench: &'static str) -> Rows<'_> {
        Rows { bench, sheet: self }
    }

    /// Whether every value with a bound is within it.
    pub fn holds(&self) -> bool {
        self.0.iter().all(|row| row.holds() != Some(false))
    }

    /// Writes the table.
    ///
    /// # Errors
    /// If `out` takes no more.
    pub fn write_table(&self, out: &mut impl Write) -> io::Result<()> {
        let head = ["bench", "row", "value", "unit", "bound", "holds"].map(str::to_owned);
        let lines: Vec<_> = [head].into_iter().chain(self.0.iter().map(Row::cells)).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<_> = (0..6).map(width).collect();
        for line in &lines {
            let cell = |(n, cell): (usize, &String)| match n {
                2 | 4 => format!("{cell:>0$}", widths[n]),
                _ => format!("{cell:<0$}", widths[n]),
            };
            let cells: Vec<_> = line.iter().enumerate().map(cell).collect();
            writeln!(out, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }

    /// Writes one JSON object per row.
    ///
    /// # Errors
    /// If `out` takes no more.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        self.0.iter().try_for_each(|row| writeln!(out, "{}", serde_json::to_string(&row.json())?))
    }
}

impl Rows<'_> {
    /// Adds a row. A value that is no number was not measured.
    pub fn add(&mut self, row: impl Into<String>, value: impl Into<Option<f64>>, unit: &'static str, bound: Bound) {
        let value = value.into().filter(|value| value.is_finite());
        self.sheet.0.push(Row { bench: self.bench, row: row.into(), value, unit, bound });
    }

    /// Adds a row for information.
    pub fn tell(&mut self, row: impl Into<String>, value: impl Into<Option<f64>>, unit: &'static str) {
        self.add(row, value, unit, Bound::None);
    }
}

/// As many digits as anybody reads.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value == value.round() => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet() -> Sheet {
        let mut sheet = Sheet::default();
        let mut rows = sheet.of("sound");
        rows.add("delay", 61.25, "ms", Bound::AtMost(66.5));
        rows.add("PESQ", None, "MOS", Bound::AtLeast(4.0));
        rows.tell("loss", 0.0, "%");
        sheet
    }

    #[test]
    fn a_row_holds_within_its_bound_and_says_nothing_without_one() {
        let mut sheet = sheet();
        assert!(sheet.holds(), "what is skipped or for information does not fail");
        assert_eq!(sheet.0.iter().map(Row::holds).collect::<Vec<_>>(), [Some(true), None, None]);
        sheet.of("sound").add("CPU", 6.0, "%", Bound::Below(6.0));
        assert!(!sheet.holds());
        assert_eq!(Bound::AtMost(6.0).holds(6.0), Some(true));
        assert_eq!(Bound::AtLeast(6.0).holds(5.9), Some(false));
    }

    #[test]
    fn scripts_read_one_object_per_row() {
        let mut out = Vec::new();
        sheet().write_json(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"bench":"sound","row":"delay","value":61.25,"unit":"ms","bound":66.5,"holds":true}
{"bench":"sound","row":"PESQ","value":null,"unit":"MOS","bound":4.0,"holds":null}
{"bench":"sound","row":"loss","value":0.0,"unit":"%","bound":null,"holds":null}
"#
        );
    }

    #[test]
    fn people_read_a_table() {
        let mut out = Vec::new();
        sheet().write_table(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "bench  row    value  unit    bound  holds
sound  delay   61.2  ms    <= 66.5  yes
sound  PESQ       -  MOS      >= 4  skipped
sound  loss       0  %
"
        );
    }

    #[test]
    fn what_is_no_number_was_not_measured() {
        let mut sheet = Sheet::default();
        sheet.of("x").add("y", f64::NAN, "ms", Bound::AtMost(1.0));
        assert_eq!(sheet.0[0].holds(), None);
    }
}
