//! Measurements of the real programs, held against what is promised.
//!
//! Each bench runs the programs in a lab with known delays, and adds rows to a [`Sheet`]. A time is a median of ten
//! runs or more. What can't be measured here, for want of a program or of namespaces, is a row without a value.

mod caller;
mod devices;
mod edges;
mod figures;
mod long;
mod loss;
mod matrix;
mod member;
mod mixing;
mod network;
mod paths;
mod pesq;
mod processing;
mod program;
mod recorded;
mod reference;
mod relay;
mod row;
mod server;
mod sound;
mod stage;
mod stalls;
mod talk;
mod text;
mod usage;
mod voice;

use std::{io::Write, path::PathBuf};

use anyhow::{Context, Result};

pub use row::{Bound, Row, Rows, Sheet};

/// The benches, in the order in which they run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Bench {
    /// How fast members find each other
    Paths,
    /// How late and how well they hear each other, and what that costs
    Sound,
    /// What a rendezvous can do, and what it needs for that
    Server,
    /// What its relay can do, against coturn and a bare forwarder
    Relay,
    /// How long a text takes, and whether it comes
    Text,
}

/// How to measure.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// Of the sound, only a call of ten minutes with loss and jitter
    #[arg(long)]
    pub long: bool,
    /// Of the sound, only what goes through devices
    #[arg(long)]
    pub devices: bool,
    /// Of the sound, only calls over wires that lose and delay
    #[arg(long)]
    pub network: bool,
    /// Instead of the other paths, every pair of routers, in both orders of arrival
    #[arg(long)]
    pub matrix: bool,
    /// With --matrix: how often each pair meets
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub runs: usize,
    /// With --matrix: only pairs of which one router is of such a kind
    #[arg(long, value_name = "KIND")]
    pub kind: Vec<String>,
    /// Leave recordings, events and logs of all talks in this folder
    #[arg(long, value_name = "FOLDER")]
    pub keep: Option<PathBuf>,
}

impl Bench {
    /// Measures, and adds rows.
    ///
    /// # Errors
    /// If the programs do not do what is measured.
    pub fn run(self, options: &Options, sheet: &mut Sheet) -> Result<()> {
        match self {
            Self::Paths if options.matrix => matrix::run(options, &mut sheet.of("matrix")).context("matrix"),
            Self::Paths => paths::run(&mut sheet.of("paths")).context("paths"),
            Self::Sound if options.devices => devices::run(&mut sheet.of("sound")).context("devices"),
            Self::Sound if options.long => long::run(options, &mut sheet.of("sound")).context("ten minutes"),
            Self::Sound if options.network => network::run(options, &mut sheet.of("sound")).context("network"),
            Self::Sound => sound::run(options, &mut sheet.of("sound")).context("sound"),
            Self::Server => server::run(&mut sheet.of("server")).context("server"),
            Self::Relay => relay::run(&mut sheet.of("relay")).context("relay"),
            Self::Text => text::run(&mut sheet.of("text")).context("text"),
        }
    }
}

/// Tells on stderr how far it is.
fn progress(text: &str) {
    // A terminal that is gone stops no measurement.
    let _ = writeln!(std::io::stderr(), "bench: {text}");
}
