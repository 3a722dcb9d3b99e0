//! Measures the programs, and says whether what is promised holds.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    cli::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    edge::fail("bench", &anyhow::anyhow!("labs are made of Linux namespaces: nothing is measured here"))
}

#[cfg(target_os = "linux")]
mod cli {
    use std::{io, process::ExitCode};

    use anyhow::{Context, Result};
    use clap::{Parser, ValueEnum};
    use edge::{Exit, WithExit};
    use tests::{
        bench::{Bench, Options, Sheet},
        lab::sandbox,
    };

    /// A value is not within its bound.
    const NOT_HELD: u8 = 1;

    /// Measures the real programs in a lab of NATs, and holds the figures against what is promised.
    ///
    /// Ends with 1 if a bound does not hold.
    #[derive(Debug, Parser)]
    #[command(version)]
    struct Args {
        /// What to measure [default: all]
        #[arg(value_enum)]
        benches: Vec<Bench>,
        #[command(flatten)]
        options: Options,
        #[command(flatten)]
        common: edge::Common,
    }

    pub(crate) fn main() -> ExitCode {
        let args: Args = match edge::parse() {
            Ok(args) => args,
            Err(code) => return code,
        };
        args.common.start();
        let mut sheet = Sheet::default();
        let result = measure(&args, &mut sheet);
        // What was measured before something broke is worth showing.
        let shown = show(&args, &sheet);
        match result.and(shown) {
            Ok(()) if sheet.holds() => ExitCode::SUCCESS,
            Ok(()) => ExitCode::from(NOT_HELD),
            Err(error) => edge::fail("bench", &error),
        }
    }

    fn measure(args: &Args, sheet: &mut Sheet) -> Result<()> {
        sandbox::enter().exit(Exit::Unavailable)?;
        let benches = Bench::value_variants().iter();
        let wanted = benches.filter(|bench| args.benches.is_empty() || args.benches.contains(bench));
        for bench in wanted {
            bench.run(&args.options, sheet)?;
        }
        Ok(())
    }

    fn show(args: &Args, sheet: &Sheet) -> Result<()> {
        let mut out = io::stdout().lock();
        let written = if args.common.json { sheet.write_json(&mut out) } else { sheet.write_table(&mut out) };
        written.context("write to stdout").exit(Exit::Io)
    }
}
