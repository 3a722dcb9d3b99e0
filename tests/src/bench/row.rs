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
    claim: Option<Claim>,
}

/// What should be seen, and what was.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Claim {
    expected: String,
    seen: String,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<&'a str>,
}

impl Row {
    /// Whether what was seen is what was expected, and the value is within its bound: `None` without either, or
    /// without a value for a bound.
    pub fn holds(&self) -> Option<bool> {
        let within = self.value.and_then(|value| self.bound.holds(value));
        match &self.claim {
            Some(claim) => Some(claim.expected == claim.seen && within != Some(false)),
            None => within,
        }
    }

    fn json(&self) -> Line<'_> {
        let (value, bound) = (self.value.map(rounded), self.bound.number().map(rounded));
        let (expected, seen) = self.claim.as_ref().map(|claim| (&*claim.expected, &*claim.seen)).unzip();
        Line { bench: self.bench, row: &self.row, value, unit: self.unit, bound, holds: self.holds(), expected, seen }
    }

    fn cells(&self) -> [String; 8] {
        let bound = self.bound.number().map_or(String::new(), |bound| format!("{}{}", self.bound.sign(), shown(bound)));
        let holds = match (self.holds(), self.value) {
            (Some(true), _) => "yes",
            (Some(false), _) => "NO",
            (None, None) => "skipped",
            (None, Some(_)) => "",
        };
        let value = self.value.map_or("-".to_owned(), shown);
        let claim = self.claim.clone().unwrap_or(Claim { expected: String::new(), seen: String::new() });
        let Claim { expected, seen } = claim;
        [self.bench.to_owned(), self.row.clone(), expected, seen, value, self.unit.to_owned(), bound, holds.to_owned()]
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
        let head = ["bench", "row", "expected", "seen", "value", "unit", "bound", "holds"].map(str::to_owned);
        let has_claims = self.0.iter().any(|row| row.claim.is_some());
        let shown = |column: &usize| has_claims || !(2..=3).contains(column);
        let lines: Vec<_> = [head].into_iter().chain(self.0.iter().map(Row::cells)).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<_> = (0..8).map(width).collect();
        for line in &lines {
            let cell = |(n, cell): (usize, &String)| match n {
                4 | 6 => format!("{cell:>0$}", widths[n]),
                _ => format!("{cell:<0$}", widths[n]),
            };
            let cells: Vec<_> = line.iter().enumerate().filter(|(n, _)| shown(n)).map(cell).collect();
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
        self.sheet.0.push(Row { bench: self.bench, row: row.into(), value, unit, bound, claim: None });
    }

    /// Adds a row that says what was seen where something was expected, and how long it took in milliseconds.
    pub fn compare(&mut self, row: String, [expected, seen]: [&str; 2], took: Option<f64>, bound: Bound) {
        let claim = Some(Claim { expected: expected.to_owned(), seen: seen.to_owned() });
        self.sheet.0.push(Row { bench: self.bench, row, value: took, unit: "ms", bound, claim });
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
    fn what_was_seen_is_held_against_what_was_expected() {
        let mut sheet = Sheet::default();
        let mut rows = sheet.of("paths");
        rows.compare("a x b".into(), ["direct", "direct"], Some(40.0), Bound::None);
        rows.compare("a x c".into(), ["relay", "none"], None, Bound::AtMost(1000.0));
        rows.compare("a x d".into(), ["relay", "relay"], Some(1200.0), Bound::AtMost(1000.0));

        assert_eq!(sheet.0.iter().map(Row::holds).collect::<Vec<_>>(), [Some(true), Some(false), Some(false)]);
        let (mut table, mut json) = (Vec::new(), Vec::new());
        sheet.write_table(&mut table).unwrap();
        sheet.write_json(&mut json).unwrap();
        assert_eq!(
            String::from_utf8(table).unwrap(),
            "bench  row    expected  seen    value  unit    bound  holds
paths  a x b  direct    direct     40  ms             yes
paths  a x c  relay     none        -  ms    <= 1000  NO
paths  a x d  relay     relay    1200  ms    <= 1000  NO
"
        );
        let second = String::from_utf8(json).unwrap().lines().nth(1).unwrap().to_owned();
        assert!(second.ends_with(r#""holds":false,"expected":"relay","seen":"none"}"#), "{second}");
    }

    #[test]
    fn what_is_no_number_was_not_measured() {
        let mut sheet = Sheet::default();
        sheet.of("x").add("y", f64::NAN, "ms", Bound::AtMost(1.0));
        assert_eq!(sheet.0[0].holds(), None);
    }
}
