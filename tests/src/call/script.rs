//! A person at `scripts/voice-chat`.

use std::{
    io::Write,
    process::{ChildStdin, ExitStatus},
    time::Instant,
};

use rustix::process::Signal;

use super::{Home, Program, program};
use crate::lab::Lab;

/// A running `scripts/voice-chat`, with what it and its programs say.
#[derive(Debug)]
pub struct VoiceChat {
    node: String,
    home: Home,
    program: Program,
    keyboard: ChildStdin,
}

impl VoiceChat {
    /// Starts it in a host, with these words behind the script's name.
    pub fn start<'a>(lab: &Lab, node: &str, home: Home, words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut command = home.script(lab, node, "voice-chat");
        let (program, keyboard) = Program::typed_to(&home, "voice-chat", command.args(words));
        Self { node: node.to_owned(), home, program, keyboard }
    }

    /// Waits for a line that has this in it; gives the whole line. Panics if it does not come in time, whatever else does.
    pub fn until(&mut self, part: &str) -> String {
        let start = Instant::now();
        loop {
            let line = self.program.line(part);
            assert!(start.elapsed() < program::PATIENCE, "no {part:?} in time: {}", self.program.story());
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) {
        self.keyboard.write_all(format!("{line}\n").as_bytes()).expect("somebody who reads it");
    }

    /// Runs one of our programs beside it, to its end; gives what that says on stdout.
    pub fn run(&self, lab: &Lab, name: &str, args: &[&str]) -> Vec<u8> {
        program::output(self.home.command(lab, &self.node, name).args(args)).stdout
    }

    /// Sends the script, and it alone, a signal.
    pub fn signal(&self, signal: Signal) {
        self.program.signal(signal);
    }

    /// Kills the programs of this name that it runs.
    pub fn kill(&self, name: &str) {
        self.program.signal_started(name, Signal::KILL);
    }

    /// Waits until it has ended, and every program that it has started.
    pub fn end(mut self) -> (ExitStatus, Home) {
        let status = self.program.end();
        (status, self.home)
    }
}
