//! Calls made by chance: routers of every kind, loss and jitter, and everything that happens to people's
//! networks. In the end there is what theory and the product allow, and nothing that must never be.
//!
//! A scenario is a [`Script`]: made from a seed, or read from a file in `tests/seeds`. One that fails is written there;
//! those that are there are played first, in every run. `SCENARIOS=10000` plays so many of them (scripts/test does), and
//! `SCENARIO=17` the one of that seed.
//!
//! A file that starts with `# open:` and a reason tells of a fault that is known and not repaired: it must fail, and the
//! line has to go with the fault.

mod play;
mod script;

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use netsim::Means;
use play::Play;
use script::Script;

/// What the product can do; raise it when it can do more.
const CAPABLE: Capable = Capable { means: Means::Prediction, fresh_socket: false, relay: true, tunnel: true };
/// Played unless `SCENARIOS` says otherwise.
const SCENARIOS: u64 = 1000;
/// After so many failures there is enough to look at.
const ENOUGH: usize = 5;

/// A scenario that failed once.
struct Known {
    file: PathBuf,
    script: Script,
    is_open: bool,
}

/// Which pairs get to each other, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capable {
    /// The hardest means by which it gets direct paths.
    pub(crate) means: Means,
    /// Whether it gets one through a poisoned router.
    pub(crate) fresh_socket: bool,
    /// Whether those without a direct path have a session by relay.
    pub(crate) relay: bool,
    /// Whether the rendezvous is reached where UDP is blocked; here, by port 443.
    pub(crate) tunnel: bool,
}

#[test]
fn whatever_happens_everybody_who_can_be_reached_is_and_every_text_comes_once() {
    let known = known_failures();
    let open: BTreeSet<_> = known.iter().filter(|known| known.is_open).map(|known| known.script.seed).collect();
    for Known { file, script, is_open } in &known {
        match (play(script), is_open) {
            (Ok(_), false) | (Err(_), true) => {}
            (Ok(_), true) => panic!("{} holds: take out the line that says it is open", file.display()),
            (Err(what), false) => panic!("{}: {what}\n{script}", file.display()),
        }
    }
    let seeds = match number("SCENARIO") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SCENARIOS").unwrap_or(SCENARIOS),
    };
    let (count, virtual_time, failures) = play_all(seeds, &open);
    println!("{} known ({} open) and {count} made by chance, {virtual_time:?} of calls", known.len(), open.len());
    assert!(failures.is_empty(), "{} scenarios fail: {failures:#?}", failures.len());
}

/// Plays the scenarios of these seeds on all cores; gives how many, how long they were, and which failed with what.
fn play_all(seeds: std::ops::Range<u64>, open: &BTreeSet<u64>) -> (u64, Duration, Vec<String>) {
    let next = AtomicU64::new(seeds.start);
    let played = Mutex::new((0, Duration::ZERO, Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || played.lock().unwrap_or_else(PoisonError::into_inner).2.len() >= ENOUGH {
                return;
            }
            if open.contains(&seed) {
                continue;
            }
            let script = Script::of(seed);
            let result = play(&script);
            let mut played = played.lock().unwrap_or_else(PoisonError::into_inner);
            played.0 += 1;
            match result {
                Ok(time) => played.1 += time,
                Err(what) => played.2.push(keep(&script, &what)),
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    played.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Plays a scenario; gives how much virtual time it took, or what is wrong.
fn play(script: &Script) -> Result<Duration, String> {
    catch_unwind(AssertUnwindSafe(|| Play::new(script, CAPABLE).run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    })
}

/// Writes a scenario that fails to its file; gives a line about it.
fn keep(script: &Script, what: &str) -> String {
    let file = seeds_dir().join(format!("{}.txt", script.seed));
    let why: String = what.lines().map(|line| format!("# {line}\n")).collect();
    match fs::write(&file, format!("{why}{script}")) {
        Ok(()) => format!("{}: {what}", file.display()),
        Err(error) => format!("seed {} ({}: {error}): {what}", script.seed, file.display()),
    }
}

fn known_failures() -> Vec<Known> {
    let Ok(entries) = fs::read_dir(seeds_dir()) else { return Vec::new() };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let script = text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Known { file, script, is_open: text.starts_with("# open:") }
    };
    files.into_iter().map(read).collect()
}

fn seeds_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds")
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}
