//! The rendezvous at the lab's server.

use rustix::process::Signal;

use super::{Home, Program};
use crate::lab::{Lab, SERVER, SERVER_V4};

/// A running `rendezvous`; what it keeps outlives its end, so it can be started again.
#[derive(Debug)]
pub struct Rendezvous {
    home: Home,
    options: Vec<String>,
    program: Program,
}

impl Rendezvous {
    /// Starts it at the server's addresses, and waits until it is ready.
    pub fn start(lab: &Lab) -> Self {
        Self::with(lab, &[])
    }

    /// Starts it with more options.
    pub fn with(lab: &Lab, options: &[&str]) -> Self {
        let home = Home::new();
        let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
        let program = launch(lab, &home, &options);
        Self { home, options, program }
    }

    /// What members give as `--server`.
    pub fn address() -> String {
        SERVER_V4[0].to_string()
    }

    /// Kills it without a word.
    pub fn kill(&mut self) {
        self.program.signal(Signal::KILL);
        self.program.end();
    }

    /// Ends it as an administrator would.
    pub fn stop(&mut self) {
        self.program.signal(Signal::TERM);
        self.program.end();
    }

    /// Starts it again, with what it has kept.
    pub fn restart(&mut self, lab: &Lab) {
        self.program = launch(lab, &self.home, &self.options);
    }
}

fn launch(lab: &Lab, home: &Home, options: &[String]) -> Program {
    let mut command = home.command(lab, SERVER, "rendezvous");
    let mut program = Program::start(home, "rendezvous", command.args(["--data", "data"]).args(options));
    let ready = program.line("ready line");
    assert!(ready.starts_with("ready "), "{ready}");
    program
}
