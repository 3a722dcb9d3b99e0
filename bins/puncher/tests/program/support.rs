//! People with settings, keys and sockets of their own, and the punchers that they run.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use edge::agent::{Client, Target};
use tempfile::TempDir;
use wire::peer::Lane;

/// Nothing here takes a second; this is for a machine that is busy otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A person's own settings, keys and sockets.
pub(crate) struct Person {
    pub(crate) home: TempDir,
}

impl Person {
    pub(crate) fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a directory") }
    }

    pub(crate) fn puncher(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_puncher"));
        command.arg("--no-input").args(args).env_remove("PUNCHLINE_SERVER").env_remove("PUNCHLINE_NAME");
        for (name, dir) in [("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "state"), ("XDG_RUNTIME_DIR", "run")] {
            let path = self.home.path().join(dir);
            std::fs::create_dir_all(&path).expect("a directory");
            command.env(name, path);
        }
        command
    }

    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let mut child = self
            .puncher(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("puncher starts");
        let (stdout, stderr) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        Running { stdin: child.stdin.take(), stdout: lines(stdout), stderr: lines(stderr), child }
    }

    /// A local program's lane of the puncher that listens.
    pub(crate) fn open(&self, lane: Lane) -> Client {
        let sock = Some(self.home.path().join("run/punchline/call.sock"));
        Client::connect(&Target { sock, channel: None }, lane, "test").expect("a lane").0
    }

    /// Exit code and what was said on stderr.
    pub(crate) fn fails(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = self.puncher(args).stdin(Stdio::null()).output().expect("puncher starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Receiver<String>,
    pub(crate) stderr: Receiver<String>,
}

pub(crate) fn lines(from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    receive
}

pub(crate) fn until(lines: &Receiver<String>, wanted: impl Fn(&str) -> bool) -> String {
    loop {
        let line = lines.recv_timeout(PATIENCE).expect("the line comes before the program ends");
        if wanted(&line) {
            return line;
        }
    }
}

impl Running {
    pub(crate) fn type_line(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().expect("stdin is open"), "{line}").expect("puncher reads");
    }

    pub(crate) fn signal(&self, name: &str) {
        Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().expect("kill runs");
    }

    pub(crate) fn code(mut self) -> Option<i32> {
        drop(self.stdin.take());
        self.child.wait().expect("the program ends").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One listens on a free port; returns it with the address to dial.
pub(crate) fn listen(person: &Person, more: &[&str]) -> (Running, String) {
    let args = [&["listen", "127.0.0.1:0", "--name", "alice", "--pipe", "text"], more].concat();
    let listener = person.start(&args);
    let ready = until(&listener.stderr, |line| line.starts_with("ready "));
    let addr = ready.split(' ').nth(2).expect("the address is the third word").to_owned();
    (listener, addr)
}
