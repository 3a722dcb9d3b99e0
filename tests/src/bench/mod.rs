//! Measurements of the real programs, held against what is promised.
//!
//! Each bench runs the programs in a lab with known delays, and adds [`row`]s to a [`Sheet`]. A time is a median of ten
//! runs or more. What can't be measured here, for want of a program or of namespaces, is a row without a value.

mod figures;
mod member;
mod paths;
mod program;
mod row;
mod stage;
mod usage;

use std::io::Write;

use anyhow::{Context, Result};

pub use row::{Bound, Row, Rows, Sheet};

/// The benches, in the order in which they run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Bench {
    /// How fast members find each other
    Paths,
}

impl Bench {
    /// Measures, and adds rows.
    ///
    /// # Errors
    /// If the programs do not do what is measured.
    pub fn run(self, sheet: &mut Sheet, _long: bool) -> Result<()> {
        match self {
            Self::Paths => paths::run(&mut sheet.of("paths")).context("paths"),
        }
    }
}

/// Tells on stderr how far it is.
fn progress(text: &str) {
    // A terminal that is gone stops no measurement.
    let _ = writeln!(std::io::stderr(), "bench: {text}");
}
