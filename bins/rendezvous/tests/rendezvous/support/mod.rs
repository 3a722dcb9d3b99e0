//! A running rendezvous, and clients for each of its three protocols.

mod http;
mod member;
mod way;

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use wire::IdentityKey;

pub(crate) use http::{Stream, raw};
pub(crate) use member::{Member, identity};
pub(crate) use way::Way;

/// Nothing here takes so long unless something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The program, serving on loopback; killed when dropped.
pub(crate) struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) udp: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) key: IdentityKey,
    /// Removed with the server.
    data: Option<TempDir>,
}

pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rendezvous"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("RUST_LOG").env_remove("PUNCHLINE_LOG");
    command
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(args: &[&str]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut server = Self::start_in(data.path(), args);
        server.data = Some(data);
        server
    }

    /// At a port whose three neighbours it has got, too.
    pub(crate) fn start_with_neighbours(args: &[&str]) -> Self {
        loop {
            let server = Self::start_with(args);
            let port = server.udp.port();
            // Whoever else has one would answer nothing.
            let answers = |port: u16| {
                let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                socket.connect(("127.0.0.1", port)).unwrap();
                let request = wire::stun::request(wire::stun::TransactionId([8; 12]));
                socket.send(&request).is_ok() && socket.recv(&mut [0; 2048]).is_ok()
            };
            if port < u16::MAX - 3 && (port..=port + 3).all(answers) {
                return server;
            }
        }
    }

    /// On loopback, or wherever the arguments say.
    pub(crate) fn start_in(data: &Path, args: &[&str]) -> Self {
        let mut command = command();
        for (option, value) in [("--udp", "127.0.0.1:0"), ("--http", "127.0.0.1:0")] {
            if !args.contains(&option) {
                command.args([option, value]);
            }
        }
        command.args(["--json", "--data"]).arg(data).args(args).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no ready line: {line:?}"));
        let text = |name: &str| ready[name].as_str().unwrap();
        let (udp, http, key) = (text("udp").parse(), text("http").parse(), text("key").parse());
        Self { child, stdout, udp: udp.unwrap(), http: http.unwrap(), key: key.unwrap(), data: None }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        resident.trim().trim_end_matches("kB").trim().parse::<usize>().unwrap() * 1024
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end; returns what else was written on stdout.
    pub(crate) fn wait(&mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap(), rest)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until the answer is yes.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never came about: {what}");
        std::thread::yield_now();
    }
}
