//! Looks whether the device in use is still the one to use: others come and go, and so does the default.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Direction;
use super::select::{Host, Name, System};

/// How often devices are listed where the system does not tell when they change, and after a change.
const EVERY: Duration = Duration::from_millis(500);

/// A thread that lists devices now and then.
pub(super) struct Lookout {
    view: Arc<View>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct View {
    /// The device to use, once it was seen twice in a row: a server that has just started does not know all yet.
    best: Mutex<Option<Name>>,
    over: AtomicBool,
    /// What was seen does not hold any more, whether there are news or not.
    forgotten: AtomicBool,
}

impl Lookout {
    /// Begins to look for the device that a name means, and for the default one.
    pub(super) fn start(direction: Direction, wanted: Option<&str>, on: System) -> Result<Self> {
        let view = Arc::new(View::default());
        let (shared, wanted) = (Arc::clone(&view), wanted.map(str::to_owned));
        let look = move || watch(direction, wanted.as_deref(), on, &shared);
        let thread = thread::Builder::new().name("lookout".into()).spawn(look).context("start a thread")?;
        Ok(Self { view, thread })
    }

    /// Whether there is a better device than this one.
    pub(super) fn sees_better(&self, current: &Name) -> bool {
        let best = self.view.best.lock().unwrap_or_else(PoisonError::into_inner);
        best.as_ref().is_some_and(|best| best.id != current.id)
    }

    /// Lets what was seen before not count any more.
    pub(super) fn forget(&self) {
        *self.view.best.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.view.forgotten.store(true, Ordering::Release);
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.view.over.store(true, Ordering::Release);
        self.thread.thread().unpark();
    }
}

fn watch(direction: Direction, wanted: Option<&str>, on: System, view: &View) {
    let mut host = None;
    let mut last = None;
    while !view.over.load(Ordering::Acquire) {
        // One connection is kept: a new one for every look would disturb the server.
        if host.is_none() {
            host = connect(on);
        }
        let found = host.as_mut().and_then(|host| best(host, direction, wanted));
        if found.is_none() {
            host = None;
        }
        let is_sure = found == last;
        *view.best.lock().unwrap_or_else(PoisonError::into_inner) = found.clone().filter(|_| is_sure);
        last = found;
        match &mut host {
            None => thread::park_timeout(EVERY),
            Some(known) => {
                if wait(known, view, is_sure).is_err() {
                    host = None;
                }
            }
        }
    }
}

/// Waits until it is time to look again: what was seen once is looked at again after a while; what was seen twice holds
/// until there are news.
fn wait(host: &mut Host, view: &View, is_sure: bool) -> Result<()> {
    let is_time = || view.over.load(Ordering::Acquire) || view.forgotten.swap(false, Ordering::AcqRel) || !is_sure;
    while !host.wait(EVERY)? && !is_time() {}
    Ok(())
}

/// A system that tells of changes, if it can.
fn connect(on: System) -> Option<Host> {
    let mut host = Host::open(Some(on)).ok()?;
    host.subscribe().ok()?;
    Some(host)
}

fn best(host: &mut Host, direction: Direction, wanted: Option<&str>) -> Option<Name> {
    let found = host.find(direction, wanted).ok()?;
    found.or_else(|| host.default_device(direction))?.name()
}

/// When to try again what has failed: soon, then ever less often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    due: Instant,
    gap: Duration,
}

impl Retry {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(3);

    /// The first time is at once.
    pub(super) fn new(now: Instant) -> Self {
        Self { due: now, gap: Self::FIRST }
    }

    /// Whether it is time; the next one is later.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        if now < self.due {
            return false;
        }
        self.due = now + self.gap;
        self.gap = (self.gap * 2).min(Self::LONGEST);
        true
    }
}

/// What is said when a stream runs on a device other than before; nothing is said twice.
#[derive(Debug)]
pub(super) struct Changes {
    what: &'static str,
    is_told: bool,
}

impl Changes {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, is_told: false }
    }

    /// There is no device, or no sound server; said once.
    pub(super) fn none(&mut self, before: &Name, error: &anyhow::Error) {
        if !std::mem::replace(&mut self.is_told, true) {
            let (what, title) = (self.what, shown(before));
            tracing::warn!("The {what} {title} is lost ({error:#}); looking for it, or for another one");
        }
    }

    /// A device is in use.
    pub(super) fn uses(&mut self, before: &Name, device: &Name, is_wanted: bool) {
        let what = self.what;
        let was_told = std::mem::take(&mut self.is_told);
        match (before.id == device.id, is_wanted) {
            (true, _) if was_told => tracing::warn!("The {what} {} is back", shown(device)),
            (true, _) => tracing::warn!("The {what} {} stood still; it was started anew", shown(device)),
            (false, true) => tracing::warn!("The {what} is {} again", shown(device)),
            (false, false) => {
                tracing::warn!("The {what} is {} from here on, in place of {}", shown(device), shown(before));
            }
        }
    }
}

fn shown(name: &Name) -> String {
    edge::Remote(&name.title).show()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_device_is_looked_for_at_once_then_ever_less_often() {
        let start = Instant::now();
        let mut retry = Retry::new(start);
        let tried: Vec<_> = (0..10_000).filter(|ms| retry.is_due(start + Duration::from_millis(*ms))).collect();

        assert_eq!(tried, [0, 100, 300, 700, 1500, 3100, 6100, 9100]);
    }
}
