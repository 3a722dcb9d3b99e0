use std::process::ExitCode;

use clap::{Parser, error::ErrorKind};
use tracing_subscriber::EnvFilter;

use crate::Exit;

/// The options that every program has.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Common {
    /// Say more on stderr; twice for still more
    #[arg(long, short, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Say nothing on stderr but errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Write one JSON object per line
    #[arg(long, global = true)]
    pub json: bool,
    /// Never ask: fail with exit code 64 instead
    #[arg(long, global = true)]
    pub no_input: bool,
    /// End when the program that started this one ends, however it ends
    #[arg(long, global = true)]
    pub die_with_parent: bool,
}

impl Common {
    /// Does what these options say: starts the log on stderr, ties the program to its parent.
    pub fn start(&self) {
        logging(self.verbose, self.quiet);
        if self.die_with_parent {
            die_with_parent();
        }
    }
}

/// Parses the program's arguments.
///
/// # Errors
/// What to exit with, after the help or the complaint is printed.
pub fn parse<T: Parser>() -> Result<T, ExitCode> {
    T::try_parse().map_err(|error| {
        // There is nobody to tell if the terminal is gone.
        let _ = error.print();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
            _ => Exit::Usage.into(),
        }
    })
}

/// Starts the log on stderr. `PUNCHLINE_LOG`, or else `RUST_LOG`, overrides the options. When and where in the code something was said
/// is told to those alone who ask for more than warnings.
pub fn logging(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (_, 0) => "warn",
        (_, 1) => "info",
        (_, 2) => "debug",
        _ => "trace",
    };
    let wanted = ["PUNCHLINE_LOG", "RUST_LOG"].into_iter().find_map(|name| Some((name, std::env::var(name).ok()?)));
    let (wanted, wrong) = match wanted.map(|(name, text)| (name, EnvFilter::try_new(text))) {
        Some((_, Ok(filter))) => (Some(filter), None),
        Some((name, Err(error))) => (None, Some((name, error))),
        None => (None, None),
    };
    let is_for_people = verbose == 0 && wanted.is_none();
    let filter = wanted.unwrap_or_else(|| EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).compact();
    // A second call, as in tests, changes nothing.
    let _ = if is_for_people { log.without_time().with_target(false).try_init() } else { log.try_init() };
    if let Some((name, error)) = wrong {
        tracing::warn!("{name} is ignored ({error}); it takes a level such as debug, or module=level");
    }
}

/// Asks the system for SIGTERM at the parent's end; where it can't be asked, says so.
#[cfg(target_os = "linux")]
fn die_with_parent() {
    use rustix::process::{Signal, set_parent_process_death_signal};

    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        tracing::warn!(%error, "this program will not end with its parent");
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent() {
    tracing::warn!("--die-with-parent does nothing on this system");
}
