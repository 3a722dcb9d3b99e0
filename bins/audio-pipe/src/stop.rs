//! Why and when the program is to end.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::control::{Switch, Switches};

/// After a signal: what can't end by then, such as a write to a pipe that nobody reads, is ended by the signal.
const LAST: Duration = Duration::from_secs(5);

/// Shared by all threads; the first that ends tells the others.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<Inner>);

#[derive(Default)]
struct Inner {
    asked: AtomicBool,
    signal: AtomicI32,
    failure: Mutex<Option<anyhow::Error>>,
    waiting: Mutex<()>,
    changed: Condvar,
}

impl Stop {
    /// One that SIGHUP, SIGINT and SIGTERM ask for; SIGUSR1 and SIGUSR2 turn the switches to and fro.
    pub(crate) fn on_signals(switches: Arc<Switches>) -> Result<Self> {
        let stop = Self::default();
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2]).context("catch signals")?;
        let told = stop.clone();
        let watch = move || {
            for signal in signals.forever() {
                match signal {
                    SIGUSR1 => switches.turn(Switch::Mute, None),
                    SIGUSR2 => switches.turn(Switch::Deafen, None),
                    _ => {
                        told.0.signal.store(signal, Ordering::Relaxed);
                        told.ask();
                        told.die_later();
                    }
                }
            }
        };
        thread::Builder::new().name("signals".into()).spawn(watch).context("start a thread")?;
        Ok(stop)
    }

    /// Everything shall end.
    pub(crate) fn ask(&self) {
        self.0.asked.store(true, Ordering::Release);
        drop(self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.changed.notify_all();
    }

    fn die_later(&self) {
        let stop = self.clone();
        let late = move || {
            thread::sleep(LAST);
            stop.die_of_signal();
        };
        if let Err(error) = thread::Builder::new().name("end".into()).spawn(late) {
            tracing::debug!(%error, "Nobody ends what hangs");
        }
    }

    /// Everything shall end, because of this; the first reason counts.
    pub(crate) fn fail(&self, error: anyhow::Error) {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.ask();
    }

    /// Passes a thread's result on: its failure ends everything.
    pub(crate) fn check(&self, result: Result<()>) {
        if let Err(error) = result {
            self.fail(error);
        }
    }

    /// Whether it was asked for.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::Acquire)
    }

    /// Waits until it is asked for, at most so long; whether it was.
    pub(crate) fn wait(&self, most: Duration) -> bool {
        let waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.changed.wait_timeout_while(waiting, most, |()| !self.is_asked()));
        self.is_asked()
    }

    /// Why it ended: a failure, else nothing.
    pub(crate) fn outcome(&self) -> Result<()> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    /// After everything is cleaned up: ends the program by the signal that asked for it, if one did.
    pub(crate) fn die_of_signal(&self) {
        let signal = self.0.signal.load(Ordering::Relaxed);
        if signal != 0 {
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    }
}
