//! What a program's `doctor` tells: checks, each with one sentence of what it is and what to do.

use std::io::Write;

use anyhow::{Context, anyhow};
use serde::Serialize;

use crate::{Exit, WithExit};

/// How a check ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All is well.
    Ok,
    /// It works, but not as well as it could.
    Warn,
    /// It does not work.
    Fail,
}

/// One check: what it is called, how it ended, and one sentence.
#[derive(Debug)]
pub struct Check {
    /// What it looked at, in a word or two.
    pub name: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What it saw, and what to do about it.
    pub text: String,
    /// What to exit with if it failed.
    pub exit: Exit,
}

impl Check {
    /// All is well.
    pub fn ok(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, text: text.into(), exit: Exit::Unavailable }
    }

    /// It works, but not as well as it could.
    pub fn warn(name: &'static str, text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, ..Self::ok(name, text) }
    }

    /// It does not work.
    pub fn fail(name: &'static str, exit: Exit, text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, exit, ..Self::ok(name, text) }
    }

    fn line(&self, is_json: bool) -> serde_json::Result<String> {
        let Self { name, verdict, text, .. } = self;
        if is_json {
            let check = serde_json::json!({ "v": 1, "type": "check", "name": name, "verdict": verdict, "text": text });
            return crate::json_line(&check);
        }
        let word = match verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        Ok(format!("{word:<5} {name:<13} {text}"))
    }
}

/// Prints a line for each check.
///
/// # Errors
/// With the code of the first check that failed, if one did; or if stdout takes no more.
pub fn report(checks: &[Check], is_json: bool) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    for check in checks {
        writeln!(stdout, "{}", check.line(is_json)?).context("write to stdout").exit(Exit::Io)?;
    }
    match checks.iter().find(|check| check.verdict == Verdict::Fail) {
        Some(failed) => Err(anyhow!("{}: {}", failed.name, failed.text)).exit(failed.exit),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_a_line_for_people_or_an_object_for_scripts() {
        let check = Check::warn("sound", "it is low; turn it up");
        assert_eq!(check.line(false).expect("a line"), "warn  sound         it is low; turn it up");
        let line = check.line(true).expect("a line");
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&line["type"], &line["verdict"]), (&"check".into(), &"warn".into()));
    }

    #[test]
    fn what_a_device_calls_itself_draws_nothing_in_json() {
        let line = Check::ok("microphone", "\u{9b}2J\u{202e}").line(true).expect("a line");
        assert!(line.contains(r"\u009b2J\u202e"), "{line:?}");
    }

    #[test]
    fn the_first_failure_is_what_the_program_ends_with() {
        let checks = [
            Check::warn("a", "so so"),
            Check::fail("b", Exit::NoPermission, "not allowed"),
            Check::fail("c", Exit::Unavailable, "not there"),
        ];
        let error = report(&checks, false).expect_err("a failure");
        assert_eq!((crate::code_of(&error), error.to_string()), (Exit::NoPermission, "b: not allowed".to_owned()));
        assert!(report(&checks[..1], true).is_ok());
    }
}
