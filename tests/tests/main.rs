//! Whole calls of the real programs, behind real NATs, in one process per `cargo test`.
//!
//! The process moves into a sandbox before it has threads; every test builds its own lab in it. Where the system
//! has no sandboxes, or the programs are not built, tests count as ignored, and it is said why.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, reason = "all of it is test code")]

#[cfg(target_os = "linux")]
mod calls;
#[cfg(target_os = "linux")]
mod control;
#[cfg(target_os = "linux")]
mod early;
#[cfg(target_os = "linux")]
mod families;
#[cfg(target_os = "linux")]
mod guess;
#[cfg(target_os = "linux")]
mod lab;
#[cfg(target_os = "linux")]
mod lanes;
#[cfg(target_os = "linux")]
mod lend;
#[cfg(target_os = "linux")]
mod life;
#[cfg(target_os = "linux")]
mod matrix;
#[cfg(target_os = "linux")]
mod nat;
#[cfg(target_os = "linux")]
mod portmap;
#[cfg(target_os = "linux")]
mod relayed;
#[cfg(target_os = "linux")]
mod scripts;
#[cfg(target_os = "linux")]
mod strangers;
#[cfg(target_os = "linux")]
mod tones;
#[cfg(target_os = "linux")]
mod via;

/// Tests by name.
type Tests = Vec<(String, Box<dyn FnOnce() + Send>)>;

/// Tests by the names of their functions, after the module.
#[cfg(target_os = "linux")]
macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        vec![$((concat!(module_path!(), "::", stringify!($test)).to_owned(), Box::new($test) as Box<dyn FnOnce() + Send>)),*]
    };
}
#[cfg(target_os = "linux")]
pub(crate) use tests as listed;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let (mut arguments, names) = arguments();
    // Tests mostly wait: for packets on long wires, and for silence.
    arguments.test_threads.get_or_insert(4);
    let no_lab = tests::lab::sandbox::check().err();
    let programs = ["natlab", "rendezvous", "puncher", "audio-pipe", "chatctl"];
    let no_program = programs.iter().find_map(|name| tests::call::find(name).err());
    for hindrance in [&no_lab, &no_program].into_iter().flatten() {
        eprintln!("tests are skipped: {hindrance:#}");
    }
    let calls = [
        calls::tests(),
        control::tests(),
        early::tests(),
        families::tests(),
        guess::tests(),
        life::tests(),
        lanes::tests(),
        lend::tests(),
        matrix::tests(),
        nat::tests(),
        relayed::tests(),
        scripts::tests(),
        strangers::tests(),
        via::tests(),
    ];
    let calls = calls.into_iter().flatten().collect();
    let mut trials = trials(lab::tests(), no_lab.is_some());
    trials.extend(self::trials(calls, no_lab.is_some() || no_program.is_some()));
    let no_miniupnpd = tests::lab::sandbox::tool("miniupnpd").err();
    if let Some(hindrance) = &no_miniupnpd {
        eprintln!("tests of port mappings are skipped: {hindrance:#}");
    }
    let hindrances = [&no_lab, &no_program, &no_miniupnpd];
    trials.extend(self::trials(portmap::tests(), hindrances.into_iter().any(Option::is_some)));
    let no_speech = ["callreport", "speech"].iter().find_map(|name| tests::call::find(name).err());
    let no_speech = no_speech.or_else(|| tests::lab::sandbox::tool("espeak-ng").err());
    if let Some(hindrance) = &no_speech {
        eprintln!("the test of the demo is skipped: {hindrance:#}");
    }
    let hindrances = [&no_lab, &no_program, &no_speech];
    trials.extend(self::trials(scripts::demos(), hindrances.into_iter().any(Option::is_some)));
    trials.retain(|trial| names.is_empty() || names.iter().any(|name| trial.name().contains(name)));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The arguments of every test program, which may have several names; `libtest_mimic` knows only one.
#[cfg(target_os = "linux")]
fn arguments() -> (libtest_mimic::Arguments, Vec<String>) {
    const WITH_VALUES: [&str; 5] = ["--color", "--format", "--logfile", "--skip", "--test-threads"];
    let (mut names, mut rest, mut is_value) = (Vec::new(), Vec::new(), true);
    for word in std::env::args() {
        let kind = if is_value || word.starts_with('-') { &mut rest } else { &mut names };
        is_value = WITH_VALUES.contains(&word.as_str());
        kind.push(word);
    }
    if rest.iter().any(|word| word == "--exact") {
        rest.append(&mut names);
    }
    (libtest_mimic::Arguments::from_iter(rest), names)
}

#[cfg(target_os = "linux")]
fn trials(tests: Tests, are_hindered: bool) -> Vec<libtest_mimic::Trial> {
    let trial = |(name, test): (String, Box<dyn FnOnce() + Send>)| {
        let run = || {
            test();
            Ok(())
        };
        libtest_mimic::Trial::test(name.trim_start_matches("main::"), run).with_ignored_flag(are_hindered)
    };
    tests.into_iter().map(trial).collect()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("labs are made of Linux namespaces: no test of whole calls here");
}

/// A prefix of its own for a test's lab: tests run at the same time.
#[cfg(target_os = "linux")]
fn fresh_prefix() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("t{}-", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A lab for one test.
#[cfg(target_os = "linux")]
fn start_lab(spec: &str) -> tests::lab::Lab {
    tests::lab::Lab::start(&fresh_prefix(), spec).unwrap_or_else(|error| panic!("lab {spec:?}: {error:#}"))
}
