//! Opening a device without waiting for it.

use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

use anyhow::{Context, Result, anyhow};

use super::select::{Chosen, Name};

/// A stream that a thread of its own opens: a sound server that hangs holds up neither who is heard nor who speaks.
pub(super) struct Opening<T>(Receiver<Result<Found<T>>>);

/// What was opened.
pub(super) struct Found<T> {
    pub(super) running: T,
    /// Whether it is the device that was asked for by name.
    pub(super) is_wanted: bool,
}

impl<T: Send + 'static> Opening<T> {
    /// Begins to open; the thread that calls this is woken when it is done.
    pub(super) fn start(open: impl FnOnce() -> Result<Found<T>> + Send + 'static) -> Result<Self> {
        let (opened, outcome) = mpsc::channel();
        let worker = thread::current();
        let work = move || {
            // Nobody waits for it any more if the talk is over.
            let _ = opened.send(open());
            worker.unpark();
        };
        thread::Builder::new().name("opening".into()).spawn(work).context("start a thread")?;
        Ok(Self(outcome))
    }

    /// How it went, once that is known.
    pub(super) fn outcome(&self) -> Option<Result<Found<T>>> {
        match self.0.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(anyhow!("opening it failed"))),
        }
    }
}

/// Opens the device that is wanted, or any other: where a named one has gone, that is better than silence. The one in use, if one
/// is, is better than to open it again.
pub(super) fn find<T>(
    wanted: Option<&str>,
    in_use: Option<&Name>,
    choose: impl Fn(Option<&str>) -> Result<Chosen>,
    start: impl Fn(Chosen) -> Result<T>,
) -> Result<Found<T>> {
    let error = match choose(wanted).and_then(&start) {
        Ok(running) => return Ok(Found { running, is_wanted: wanted.is_some() }),
        Err(error) => error,
    };
    let others = wanted.and_then(|_| choose(None).ok()).filter(|other| in_use != Some(&other.name));
    let Some(other) = others else { return Err(error) };
    Ok(Found { running: start(other)?, is_wanted: false })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::device::select::{System, Way};

    fn name(id: &str) -> Name {
        Name { id: id.to_owned(), title: id.to_owned() }
    }

    /// Where there are these devices, of which the first is the default: what is opened if `busy` can't be.
    fn found(there: &[&str], busy: &str, wanted: Option<&str>, in_use: Option<&str>) -> Option<(String, bool)> {
        let choose = |wanted: Option<&str>| {
            let id =
                there.iter().find(|id| wanted.is_none_or(|wanted| wanted == **id)).context("none is called that")?;
            let (name, system, period) = (name(id), System::Pulse, Duration::ZERO);
            Ok(Chosen { name, system, period, rate: 48_000, channels: 1, way: Way::Pulse })
        };
        let start = |chosen: Chosen| (chosen.name.id != busy).then_some(chosen.name.id).context("it is busy");
        let found = find(wanted, in_use.map(name).as_ref(), choose, start).ok()?;
        Some((found.running, found.is_wanted))
    }

    #[test]
    fn a_named_device_is_taken_or_any_other_but_never_the_one_in_use_again() {
        let taken = |id: &str, is_wanted| Some((id.to_owned(), is_wanted));
        assert_eq!(found(&["spk", "usb"], "", Some("usb"), Some("spk")), taken("usb", true));
        assert_eq!(found(&["spk", "usb"], "", None, None), taken("spk", false));
        assert_eq!(found(&["spk"], "", Some("usb"), None), taken("spk", false), "it is away");
        assert_eq!(found(&["new", "spk"], "", Some("usb"), Some("spk")), taken("new", false), "a new default");
        assert_eq!(found(&["spk", "usb"], "usb", Some("usb"), Some("spk")), None, "the better one is busy");
        assert_eq!(found(&["spk", "usb"], "usb", Some("usb"), None), taken("spk", false));
        assert_eq!(found(&["spk"], "spk", None, None), None);
    }

    #[test]
    fn opening_is_waited_for_only_as_long_as_one_likes() {
        let (go, wait) = mpsc::channel::<()>();
        let opening = Opening::start(move || {
            wait.recv()?;
            Ok(Found { running: 7, is_wanted: true })
        });
        let opening = opening.expect("a thread");
        assert!(opening.outcome().is_none(), "it hangs");
        go.send(()).expect("it waits");
        let found = std::iter::repeat_with(|| {
            thread::park_timeout(Duration::from_secs(1));
            opening.outcome()
        });
        let found = found.flatten().next().expect("an outcome").expect("a device");
        assert_eq!((found.running, found.is_wanted), (7, true));
    }
}
