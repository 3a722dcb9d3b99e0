//! Programs in a lab, and when they said what.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, kill_process};

use super::usage::Pid;
use crate::{
    call::{Home, find},
    lab::Netns,
};

/// Longer than anything takes that works.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What a program said, and when it came.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) at: Instant,
    pub(super) text: String,
}

/// A running program; it is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Program {
    name: String,
    child: Child,
    lines: Option<Receiver<Line>>,
    log: PathBuf,
    pub(super) started: Instant,
}

/// Where a program's lines come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Says {
    /// On stdout; stderr is kept in a file.
    Stdout,
    /// On stderr; stdin and stdout are a lane.
    Stderr,
}

impl Program {
    /// Starts one of our programs in a node of a lab, or in the sandbox itself, without anything in between: its start
    /// is part of what is measured.
    pub(super) fn start(node: Option<&Netns>, home: &Home, program: &str, args: &[&str], says: Says) -> Result<Self> {
        let log = home.path().join(format!("{program}.stderr"));
        let mut command = home.own(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        match says {
            Says::Stdout => command.stderr(File::create(&log).context("make a log")?),
            Says::Stderr => command.stdin(Stdio::piped()).stderr(Stdio::piped()),
        };
        let started = Instant::now();
        let mut child = spawn(node, &mut command)?;
        let lines = match says {
            Says::Stdout => child.stdout.take().map(lines_of),
            Says::Stderr => child.stderr.take().map(lines_of),
        };
        Ok(Self { name: program.to_owned(), child, lines, log, started })
    }

    /// Starts a program that writes what it has to say to two files.
    pub(super) fn start_into(node: &Netns, command: &mut Command, out: File, log: PathBuf) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(out).stderr(File::create(&log).context("make a log")?);
        let started = Instant::now();
        Ok(Self { name, child: spawn(Some(node), command)?, lines: None, log, started })
    }

    /// The next line, if one comes by then.
    pub(super) fn line_by(&mut self, deadline: Instant) -> Option<Line> {
        self.lines.as_ref()?.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
    }

    /// The next line.
    pub(super) fn line(&mut self, waiting_for: &str) -> Result<Line> {
        let lines = self.lines.as_ref().context("its lines go elsewhere")?;
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => bail!("{}: no {waiting_for} in time{}", self.name, self.last_words()),
            Err(RecvTimeoutError::Disconnected) => {
                bail!("{}: ended without {waiting_for}{}", self.name, self.last_words())
            }
        }
    }

    pub(super) fn pid(&self) -> Pid {
        Pid(self.child.id())
    }

    pub(super) fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    pub(super) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Whether it still runs.
    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().with_context(|| format!("wait for {}", self.name))? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("{} did not end in time{}", self.name, self.last_words())
    }

    /// Ends it as a user would, and waits.
    pub(super) fn end(&mut self) -> Result<()> {
        // One that has ended can't be asked to.
        let _ = kill_process(rustix::process::Pid::from_child(&self.child), Signal::TERM);
        self.wait(PATIENCE).map(drop)
    }

    /// The end of what it has said on stderr.
    pub(super) fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().last().map_or(String::new(), |line| format!(": {line}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A built program as a command, for programs that start it.
pub(super) fn path(program: &str) -> Result<String> {
    Ok(find(program)?.to_string_lossy().into_owned())
}

/// Starts a program in a node, or in the sandbox itself.
fn spawn(node: Option<&Netns>, command: &mut Command) -> Result<Child> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut spawn = || command.spawn().with_context(|| format!("start {name}"));
    match node {
        Some(node) => node.within(spawn),
        None => spawn(),
    }
}

fn lines_of(stream: impl Read + Send + 'static) -> Receiver<Line> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for text in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(Line { at: Instant::now(), text }).is_err() {
                break;
            }
        }
    });
    lines
}
