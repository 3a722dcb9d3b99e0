//! Says what a call was like: a table, or JSON, on stdout, and a page with plots.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use edge::{Exit, WithExit};
use tests::report::{Call, Report, html, table};

/// Not everybody heard everybody.
const NOT_HEARD: u8 = 1;

/// Measures who heard whom in a call, how late and how well.
///
/// Ends with 1 if not everybody heard everybody.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The folder of the call, with a folder for each member
    folder: PathBuf,
    /// Where the page goes [default: report.html in the folder]
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    #[command(flatten)]
    common: edge::Common,
}

fn main() -> ExitCode {
    let args: Args = match edge::parse() {
        Ok(args) => args,
        Err(code) => return code,
    };
    args.common.start();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NOT_HEARD),
        Err(error) => edge::fail("callreport", &error),
    }
}

fn run(args: &Args) -> Result<bool> {
    let folder = args.folder.canonicalize().with_context(|| format!("open {}", args.folder.display()));
    let call = Call::read(&folder.exit(Exit::NoInput)?).exit(Exit::Data)?;
    let page = args.page.clone().unwrap_or_else(|| call.folder.join("report.html"));
    let report = Report::of(&call, page);
    let write = || format!("write {}", report.report.display());
    std::fs::write(&report.report, html::page(&report)).with_context(write).exit(Exit::CannotCreate)?;
    let mut out = io::stdout().lock();
    if args.common.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        table::write(&report, &mut out)?;
    }
    Ok(report.all_heard())
}
