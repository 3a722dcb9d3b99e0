//! One program in one host.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::lab::Lab;

/// Longer than anything takes that works: a peer that is gone without a word is missed after 30 s.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Where a built program is: in the directory of this one, or above it as for tests.
///
/// # Errors
/// If it is not built.
pub fn find(name: &str) -> anyhow::Result<PathBuf> {
    let itself = std::env::current_exe().context("find this program")?;
    itself
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not built: cargo build --workspace"))
}

/// The directories of one user, removed when this is dropped.
#[derive(Debug)]
pub struct Home(TempDir);

impl Home {
    /// Makes them.
    #[expect(clippy::new_without_default, reason = "it does not come from nothing")]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("punchline-").tempdir().expect("a temporary directory");
        for (name, _) in Self::VARIABLES {
            fs::DirBuilder::new().mode(0o700).create(dir.path().join(name)).expect("a directory in it");
        }
        Self(dir)
    }

    const VARIABLES: [(&str, &str); 4] =
        [("config", "XDG_CONFIG_HOME"), ("state", "XDG_STATE_HOME"), ("run", "XDG_RUNTIME_DIR"), ("tmp", "TMPDIR")];

    /// The sockets and temporary files that programs have there.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let within = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let dirs = ["tmp", "run", "run/punchline"].map(|dir| self.path().join(dir));
        dirs.into_iter().flat_map(within).filter(|path| !path.is_dir()).collect()
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A program that runs in a node of the lab as the user whose home this is.
    pub fn command(&self, lab: &Lab, node: &str, program: &str) -> Command {
        let mut command = self.own("natlab");
        command.args(["exec", node, "--"]).arg(built(program)).env("LAB_PREFIX", lab.prefix());
        command
    }

    /// One of our scripts that runs in a node of the lab as this user, with the programs that are built.
    pub fn script(&self, lab: &Lab, node: &str, script: &str) -> Command {
        let mut command = self.own("natlab");
        command.args(["exec", node, "--"]).arg(script_at(script)).env("LAB_PREFIX", lab.prefix());
        command
    }

    /// One of our scripts that runs as this user, with the programs that are built.
    pub fn own_script(&self, script: &str) -> Command {
        self.as_user(Command::new(script_at(script)))
    }

    /// A program that runs as this user, wherever it is started.
    pub fn own(&self, program: &str) -> Command {
        self.as_user(Command::new(built(program)))
    }

    fn as_user(&self, mut command: Command) -> Command {
        command.env("HOME", self.path()).current_dir(self.path());
        command.envs(Self::VARIABLES.map(|(name, variable)| (variable, self.path().join(name))));
        // What scripts look at: which programs to run.
        command.env("PROGRAMS", built("natlab").parent().expect("a directory"));
        command
    }
}

fn script_at(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts").join(name)
}

fn built(program: &str) -> PathBuf {
    find(program).unwrap_or_else(|error| panic!("{error:#}"))
}

/// A running program. It is killed when this is dropped, and when the thread that started it ends.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
    log: PathBuf,
}

impl Program {
    /// Starts a program that tells what happens on stdout.
    pub fn start(home: &Home, name: &str, command: &mut Command) -> Self {
        let log = home.path().join(format!("{name}.stderr"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log).expect("a log"));
        let mut child = command.spawn().unwrap_or_else(|error| panic!("start {name}: {error}"));
        let lines = lines_of(child.stdout.take().expect("a pipe"));
        Self { name: name.to_owned(), child, lines, said: Vec::new(), log }
    }

    /// Starts a program of a pipeline, that tells what happens on stderr; its stdout is the next one's stdin.
    pub fn in_pipeline(home: &Home, name: &str, command: &mut Command, stdin: Stdio) -> (Self, ChildStdout) {
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("start {name}: {error}"));
        let stdout = child.stdout.take().expect("a pipe");
        let lines = lines_of(child.stderr.take().expect("a pipe"));
        let log = home.path().join("none");
        (Self { name: name.to_owned(), child, lines, said: Vec::new(), log }, stdout)
    }

    /// Starts a program that is typed to, as at a terminal: what it says on stdout and on stderr comes in one.
    ///
    /// Its end is that of all programs it has started, unless these write elsewhere.
    pub fn typed_to(home: &Home, name: &str, command: &mut Command) -> (Self, ChildStdin) {
        let (output, input) = std::io::pipe().expect("a pipe");
        command.stdin(Stdio::piped()).stdout(input.try_clone().expect("its end")).stderr(input);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("start {name}: {error}"));
        // The command has the pipe's other ends until then.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let stdin = child.stdin.take().expect("a pipe");
        let log = home.path().join("none");
        (Self { name: name.to_owned(), child, lines: lines_of(output), said: Vec::new(), log }, stdin)
    }

    /// The next line; panics if there is none in time.
    pub fn line(&mut self, waiting_for: &str) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                self.said.push(line.clone());
                line
            }
            Err(RecvTimeoutError::Timeout) => panic!("no {waiting_for} in time: {}", self.story()),
            Err(RecvTimeoutError::Disconnected) => panic!("ended without {waiting_for}: {}", self.story()),
        }
    }

    /// The lines that have come already.
    pub fn lines_so_far(&mut self) -> Vec<String> {
        let lines: Vec<_> = self.lines.try_iter().collect();
        self.said.extend_from_slice(&lines);
        lines
    }

    /// Everything that it has said, for a failing test's message.
    pub fn story(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        format!("{} said\n{}\nand on stderr\n{log}", self.name, self.said.join("\n"))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a running program");
    }

    /// Sends a signal to the programs of this name that it has started itself; panics if there are none.
    pub fn signal_started(&self, name: &str, signal: Signal) {
        let (name, parent) = (format!("Name:\t{name}\n"), format!("\nPPid:\t{}\n", self.child.id()));
        let is_wanted = |status: &String| status.starts_with(&name) && status.contains(&parent);
        let running = fs::read_dir("/proc").expect("a list of programs").filter_map(Result::ok);
        let pids = running.filter_map(|entry| {
            // Others come and go.
            let status = fs::read_to_string(entry.path().join("status")).ok();
            status.filter(is_wanted).and_then(|_| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        });
        let signalled = pids.map(|pid| kill_process(pid, signal).expect("a running program")).count();
        assert!(signalled > 0, "no {name} was started by {}", self.story());
    }

    /// Waits for the end, and for its last lines.
    pub fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().expect("a child"),
                Err(RecvTimeoutError::Timeout) => panic!("did not end in time: {}", self.story()),
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
pub(super) fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("a program that runs")
}

/// Reads lines on a thread, so that they can be waited for until a deadline.
fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}
