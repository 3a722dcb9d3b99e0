//! Sound devices: PulseAudio by its own protocol, all others by cpal.
//!
//! Callbacks only move samples between the device and a ring, and count; a worker at the other end of the ring does the
//! rest. PulseAudio, which says what it wants to play, is given it by the worker itself, without a ring. A device that vanishes, stands still or is no longer the one to use gives way to another, and comes back when it
//! can; the call goes on. Every stream has a connection of its own, and a buffer as short as it was asked for, for what
//! systems choose by themselves is up to 2 s.

mod config;
mod lookout;
mod loopback;
mod loudspeaker;
mod margin;
mod microphone;
mod opening;
mod priority;
#[cfg(target_os = "linux")]
mod pulse;
mod ring;
mod select;
mod shared;
mod stream;

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use edge::{Exit, WithExit};

pub(crate) use loopback::{Loopback, Side};
pub(crate) use loudspeaker::{Loudspeaker, MOST};
pub(crate) use microphone::Microphone;
pub(crate) use priority::raise;
pub(crate) use select::{Facts, Name};
use select::{Host, System};

/// Samples that a ring holds: half a second, so that a stalled worker loses nothing that could still be heard in time.
const RING: usize = 24_000;

/// How much sound devices give or take at a time, if nothing else is said: shorter is sooner, and more work.
pub(crate) const PERIOD: Duration = Duration::from_micros(2500);

/// Which way sound goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Direction {
    Input,
    Output,
}

/// What `audio-pipe devices` tells of one device.
pub(crate) struct Listed {
    pub(crate) direction: Direction,
    pub(crate) host: &'static str,
    pub(crate) name: Name,
    pub(crate) facts: Facts,
    pub(crate) default: bool,
}

/// The sound systems of this machine, the best first.
pub(crate) fn systems() -> Vec<&'static str> {
    System::all().into_iter().map(System::name).collect()
}

/// All devices of the best sound system there is.
pub(crate) fn list() -> Result<Vec<Listed>> {
    let mut host = Host::open(None).exit(Exit::Unavailable)?;
    let mut listed = Vec::new();
    for direction in [Direction::Output, Direction::Input] {
        let default = host.default_device(direction).and_then(|device| device.name());
        for device in host.devices(direction)? {
            let Some(name) = device.name() else { continue };
            let default = default.as_ref() == Some(&name);
            let facts = device.facts(direction);
            listed.push(Listed { direction, host: host.system().name(), facts, default, name });
        }
    }
    if listed.is_empty() { Err(anyhow!("the system has none")).exit(Exit::Unavailable) } else { Ok(listed) }
}

/// What is known of the device of that name, or of the default one.
pub(crate) fn look_up(direction: Direction, wanted: Option<&str>) -> Result<Listed> {
    let mut host = Host::open(None)?;
    let device = host.find(direction, wanted)?.with_context(|| match wanted {
        None => "the system has none".to_owned(),
        Some(wanted) => format!("none is called {wanted}"),
    })?;
    let name = device.name().context("it has no name")?;
    let facts = device.facts(direction);
    Ok(Listed { direction, host: host.system().name(), name, facts, default: wanted.is_none() })
}
