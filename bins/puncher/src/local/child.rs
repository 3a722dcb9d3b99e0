//! The program that puncher runs and ends with, and the signals that end puncher.

use std::{
    io::Read,
    os::unix::{net::UnixStream, process::ExitStatusExt},
    path::Path,
    process::{Child, Command, ExitStatus},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use edge::{Exit, WithExit};
use mio::{Interest, Registry, Token};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, kill_process},
};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

/// Signals as something that the loop can wait for.
pub(crate) struct Signals {
    wake: mio::net::UnixStream,
    last: Arc<AtomicUsize>,
}

impl Signals {
    pub(crate) const TOKEN: Token = Token(2);

    pub(crate) fn watch(registry: &Registry) -> anyhow::Result<Self> {
        let (wake, waker) = UnixStream::pair().context("watch for signals")?;
        wake.set_nonblocking(true).context("watch for signals")?;
        let last = Arc::new(AtomicUsize::new(0));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            let number = usize::try_from(signal).context("watch for signals")?;
            signal_hook::flag::register_usize(signal, Arc::clone(&last), number).context("watch for signals")?;
        }
        for signal in [SIGHUP, SIGINT, SIGTERM, SIGCHLD] {
            let waker = waker.try_clone().context("watch for signals")?;
            signal_hook::low_level::pipe::register(signal, waker).context("watch for signals")?;
        }
        let mut wake = mio::net::UnixStream::from_std(wake);
        registry.register(&mut wake, Self::TOKEN, Interest::READABLE).context("watch for signals")?;
        Ok(Self { wake, last })
    }

    /// Waits until a signal comes, for so long at most.
    fn wait(&self, limit: Duration) {
        let mut wake = [PollFd::new(&self.wake, PollFlags::IN)];
        let limit = Timespec::try_from(limit).ok();
        // Whatever the outcome, the caller looks again.
        let _ = poll(&mut wake, limit.as_ref());
        let _ = (&self.wake).read(&mut [0; 64]);
    }

    /// The signal that asks puncher to end, if one came.
    pub(crate) fn take(&mut self) -> Option<i32> {
        let mut bytes = [0; 64];
        while self.wake.read(&mut bytes).is_ok_and(|len| len > 0) {}
        i32::try_from(self.last.swap(0, Ordering::Relaxed)).ok().filter(|signal| *signal != 0)
    }
}

/// The program that was named behind `--`.
pub(crate) struct Program {
    child: Child,
    name: String,
}

impl Program {
    pub(crate) fn start(words: &[String], sock: &Path) -> anyhow::Result<Option<Self>> {
        let Some((name, args)) = words.split_first() else { return Ok(None) };
        let child = Command::new(name)
            .args(args)
            .env("PUNCHER_SOCK", sock)
            .spawn()
            .with_context(|| format!("run {name}"))
            .exit(Exit::NoInput)?;
        Ok(Some(Self { child, name: name.clone() }))
    }

    /// Its exit code once it has ended: by a signal, 128 and the signal's number.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<u8>> {
        let status = self.child.try_wait().with_context(|| format!("wait for {}", self.name))?;
        Ok(status.map(code))
    }

    pub(crate) fn pass_on(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(signal)) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Gives it the time it needs to end, which is bounded: its socket is closed already.
    pub(crate) fn end(mut self, signals: &Signals) {
        self.pass_on(SIGTERM);
        let deadline = Instant::now() + GRACE;
        // The end of a child is a signal, too.
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            signals.wait(left);
        }
    }
}

/// How long the program may take to end.
const GRACE: Duration = Duration::from_secs(2);

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
