use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use codec::RATE;

use super::Direction;
use super::lookout::{Changes, Lookout, Retry};
use super::opening::{Found, Opening, find};
use super::priority::Once;
#[cfg(target_os = "linux")]
use super::pulse::Player;
use super::ring::Ring;
use super::select::{Chosen, Name, System, Way, choose, explained};
use super::shared::Pulse;
use crate::channels::reshape;
use crate::stop::Stop;

/// The most that is asked for at a time, in samples at 48 kHz.
pub(crate) const MOST: usize = 480;
/// How long to wait before looking whether everything is to end.
const PATIENCE: Duration = Duration::from_millis(100);
/// As long as there is no device, the others go on talking: they are heard in such steps.
const STEP: Duration = Duration::from_millis(10);

/// A loudspeaker that is spoken through. It may come and go.
pub(crate) struct Loudspeaker {
    wanted: Option<String>,
    period: Duration,
    running: Option<Running>,
    opening: Option<Opening<Running>>,
    /// The device in use, or the last one.
    name: Name,
    system: System,
    lookout: Lookout,
    changes: Changes,
    retry: Retry,
    /// Without a device: when the next step is due.
    due: Instant,
    underruns: u64,
    /// The thread that waits is the one that mixes.
    urgent: Once,
}

struct Running {
    outlet: Outlet,
    /// What the outlet takes: one channel, or two that are interleaved.
    channels: usize,
    reshaped: Vec<f32>,
    pulse: Pulse,
    name: Name,
    system: System,
}

/// How sound gets to a device.
enum Outlet {
    /// A callback takes it out of a ring, whenever it wants.
    Ring(Box<Ring>),
    /// The sound server says how much it wants, and is given that: nothing has to lie ready for it.
    #[cfg(target_os = "linux")]
    Server { player: Box<Player>, requests: u64, is_lost: bool },
}

impl Loudspeaker {
    /// Opens the device of that name, or the default one.
    pub(crate) fn open(wanted: Option<&str>, period: Duration) -> Result<Self> {
        let instead = "--output FILE plays to a file instead";
        let opened = choose(Direction::Output, wanted, period, 2, None).and_then(Running::start);
        let running = explained(opened, "loudspeaker", instead)?;
        let now = Instant::now();
        Ok(Self {
            wanted: wanted.map(str::to_owned),
            period,
            name: running.name.clone(),
            system: running.system,
            lookout: Lookout::start(Direction::Output, wanted, running.system)?,
            running: Some(running),
            opening: None,
            changes: Changes::new("loudspeaker"),
            retry: Retry::new(now),
            due: now,
            underruns: 0,
            urgent: Once::default(),
        })
    }

    /// Waits until the device wants more, and tells how much at 48 kHz, at most [`MOST`]: 0 if it wants nothing for a while; `None` if
    /// everything is to end.
    pub(crate) fn wait(&mut self, stop: &Stop) -> Option<usize> {
        self.urgent.raise();
        while !stop.is_asked() {
            let now = Instant::now();
            self.take_opened();
            let is_opening = self.opening.is_some();
            match &mut self.running {
                Some(running) => {
                    if running.is_dead(now) {
                        self.lose(now);
                    } else if !is_opening && self.lookout.sees_better(&running.name) && self.retry.is_due(now) {
                        // The one in use plays on until the better one does.
                        self.lookout.forget();
                        self.search();
                    } else {
                        return Some(running.wait().unwrap_or(0));
                    }
                }
                None if now >= self.due => {
                    self.due += STEP;
                    return Some((u128::from(RATE) * STEP.as_millis() / 1000) as usize);
                }
                None if !is_opening && self.retry.is_due(now) => self.search(),
                None => thread::park_timeout(self.due - now),
            }
        }
        None
    }

    /// Takes what [`Self::wait`] asked for, at 48 kHz, in so many interleaved channels. Without a device nobody hears it.
    pub(crate) fn play(&mut self, samples: &[f32], channels: usize) {
        if let Some(running) = &mut self.running {
            running.play(samples, channels);
        }
    }

    /// Waits until all that was taken is heard.
    pub(crate) fn drain(&self) {
        let deadline = Instant::now() + Duration::from_secs(1);
        while self.running.as_ref().is_some_and(|running| running.filled() > 0) && Instant::now() < deadline {
            thread::park_timeout(self.period);
        }
        thread::sleep(self.running.as_ref().map_or(Duration::ZERO, |running| running.tail(self.period)));
    }

    /// Samples that were not there in time, so far.
    pub(crate) fn underruns(&self) -> u64 {
        let current = self.running.as_ref().map_or(0, Running::missed);
        self.underruns + current
    }

    /// What the device in use is called.
    pub(crate) fn device(&self) -> &str {
        &self.name.title
    }

    /// How many channels are of use to it at this moment: one or two.
    pub(crate) fn channels(&self) -> usize {
        self.running.as_ref().map_or(1, |running| running.channels)
    }

    fn lose(&mut self, now: Instant) {
        self.underruns = self.underruns();
        self.running = None;
        self.lookout.forget();
        (self.retry, self.due) = (Retry::new(now), now);
    }

    /// Begins to look for the device that is wanted, or for any other.
    fn search(&mut self) {
        let (wanted, period, system) = (self.wanted.clone(), self.period, self.system);
        let in_use = self.running.as_ref().map(|running| running.name.clone());
        let choose = move |wanted: Option<&str>| choose(Direction::Output, wanted, period, 2, Some(system));
        match Opening::start(move || find(wanted.as_deref(), in_use.as_ref(), choose, Running::start)) {
            Ok(opening) => self.opening = Some(opening),
            Err(error) => self.changes.none(&self.name, &error),
        }
    }

    /// Uses the device that was looked for, once it is open.
    fn take_opened(&mut self) {
        let Some(opened) = self.opening.as_ref().and_then(Opening::outcome) else { return };
        self.opening = None;
        match opened {
            Ok(Found { running, is_wanted }) => {
                self.underruns = self.underruns();
                self.changes.uses(&self.name, &running.name, is_wanted);
                self.name = running.name.clone();
                self.running = Some(running);
                self.retry = Retry::new(Instant::now());
            }
            Err(error) if self.running.is_none() => self.changes.none(&self.name, &error),
            Err(error) => tracing::debug!("A better loudspeaker could not be opened: {error:#}"),
        }
    }
}

impl Running {
    fn start(chosen: Chosen) -> Result<Self> {
        let (period, channels) = (chosen.period, usize::from(chosen.channels).min(2));
        let outlet = match &chosen.way {
            #[cfg(target_os = "linux")]
            Way::Pulse => {
                let player = Box::new(Player::open(&chosen.name.id, period, channels)?);
                Outlet::Server { player, requests: 0, is_lost: false }
            }
            Way::Cpal { .. } => Outlet::Ring(Box::new(Ring::start(&chosen, period, channels)?)),
        };
        let (pulse, reshaped) = (Pulse::new(Instant::now()), Vec::new());
        Ok(Self { outlet, channels, reshaped, pulse, name: chosen.name, system: chosen.system })
    }

    fn wait(&mut self) -> Option<usize> {
        match &mut self.outlet {
            Outlet::Ring(ring) => ring.wait(PATIENCE),
            #[cfg(target_os = "linux")]
            Outlet::Server { player, requests, is_lost } => {
                let wanted = player.wait(PATIENCE).unwrap_or_else(|error| {
                    tracing::debug!("The loudspeaker's stream has ended: {error:#}");
                    *is_lost = true;
                    None
                });
                *requests += u64::from(wanted.is_some());
                wanted
            }
        }
    }

    fn play(&mut self, samples: &[f32], channels: usize) {
        let samples = reshape(samples, [channels, self.channels], &mut self.reshaped);
        match &mut self.outlet {
            Outlet::Ring(ring) => ring.play(samples),
            #[cfg(target_os = "linux")]
            Outlet::Server { player, is_lost, .. } => *is_lost |= player.play(samples).is_err(),
        }
    }

    fn is_dead(&mut self, now: Instant) -> bool {
        let (is_lost, calls) = match &self.outlet {
            Outlet::Ring(ring) => (ring.is_lost(), ring.callbacks()),
            #[cfg(target_os = "linux")]
            Outlet::Server { requests, is_lost, .. } => (*is_lost, *requests),
        };
        is_lost || self.pulse.is_dead(calls, now)
    }

    fn missed(&self) -> u64 {
        match &self.outlet {
            Outlet::Ring(ring) => ring.missed(),
            #[cfg(target_os = "linux")]
            Outlet::Server { player, .. } => player.missed(),
        }
    }

    /// Samples that no callback has taken.
    fn filled(&self) -> usize {
        match &self.outlet {
            Outlet::Ring(ring) => ring.filled(),
            #[cfg(target_os = "linux")]
            Outlet::Server { .. } => 0,
        }
    }

    /// How long it takes until what callbacks or the server have taken is heard, which they do not report.
    fn tail(&self, period: Duration) -> Duration {
        match &self.outlet {
            Outlet::Ring(_) => 2 * period,
            #[cfg(target_os = "linux")]
            Outlet::Server { player, .. } => player.held(),
        }
    }
}
