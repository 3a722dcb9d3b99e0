//! Sound devices, by cpal.
//!
//! Its callbacks only move samples between the device and a ring, and count; a worker at the other end of the ring does
//! the rest, and builds the stream anew when the device is lost. Every stream has a host of its own, because two
//! streams on one PulseAudio connection disturb each other; and never the default buffer size, which is 2 s there.

mod loudspeaker;
mod microphone;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use cpal::traits::{DeviceTrait, HostTrait};
use cpal::{BufferSize, Device, ErrorKind, Host, SampleFormat, StreamConfig};
use edge::{Exit, WithExit};

pub(crate) use loudspeaker::Loudspeaker;
pub(crate) use microphone::Microphone;

/// Samples that a ring holds: half a second, so that a stalled worker loses nothing that could still be heard in time.
const RING: usize = 24_000;
/// A stream without a callback for so long is dead, whatever the system says.
const SILENT: Duration = Duration::from_secs(2);
/// Before a lost device is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How long a sound server may take to make a stream.
const BUILD: Duration = Duration::from_secs(5);

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
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) default: bool,
}

/// All devices of the best sound system there is.
pub(crate) fn list() -> Result<Vec<Listed>> {
    let host = host().exit(Exit::Unavailable)?;
    let default = |direction| default_device(&host, direction).and_then(|device| device.id().ok());
    let defaults = [default(Direction::Input), default(Direction::Output)];
    let mut listed = Vec::new();
    for device in usable(&host)? {
        let (Ok(id), Ok(description)) = (device.id(), device.description()) else { continue };
        for (direction, default) in [Direction::Input, Direction::Output].into_iter().zip(&defaults) {
            if supports(&device, direction) {
                listed.push(Listed {
                    direction,
                    host: host.id().name(),
                    id: id.id().to_owned(),
                    name: description.name().to_owned(),
                    default: default.as_ref() == Some(&id),
                });
            }
        }
    }
    if listed.is_empty() { Err(anyhow!("the system has none")).exit(Exit::Unavailable) } else { Ok(listed) }
}

/// PipeWire before PulseAudio before anything else; ALSA only where there is no sound server.
fn host() -> Result<Host> {
    let rank = |id: &cpal::HostId| match id.name() {
        "PipeWire" => 0,
        "PulseAudio" => 1,
        "JACK" => 3,
        _ => 2,
    };
    let mut ids = cpal::available_hosts();
    ids.sort_by_key(rank);
    let mut reason = anyhow!("there is no sound system");
    for id in ids {
        match cpal::host_from_id(id) {
            Ok(host) => return Ok(host),
            Err(error) => reason = error.into(),
        }
    }
    Err(reason)
}

/// ALSA's plugins promise a timing that they do not keep, so there only real hardware counts.
fn usable(host: &Host) -> Result<Vec<Device>> {
    let is_alsa = host.id().name() == "ALSA";
    let is_hardware = |device: &Device| device.id().is_ok_and(|id| id.id().contains("hw:"));
    Ok(host.devices()?.filter(|device| !is_alsa || is_hardware(device)).collect())
}

fn supports(device: &Device, direction: Direction) -> bool {
    match direction {
        Direction::Input => device.supports_input(),
        Direction::Output => device.supports_output(),
    }
}

fn default_device(host: &Host, direction: Direction) -> Option<Device> {
    let device = match direction {
        Direction::Input => host.default_input_device(),
        Direction::Output => host.default_output_device(),
    };
    if host.id().name() == "ALSA" {
        return usable(host).ok()?.into_iter().find(|device| supports(device, direction));
    }
    device
}

/// The device of that name, or the default one, and how to run it.
fn choose(direction: Direction, name: Option<&str>, period: Duration) -> Result<Chosen> {
    let host = host()?;
    let device = match name {
        None => default_device(&host, direction).context("the system has none")?,
        Some(name) => {
            let devices = usable(&host)?;
            let is_exact = |device: &&Device| {
                device.id().is_ok_and(|id| id.id() == name) || device.description().is_ok_and(|d| d.name() == name)
            };
            let fits = |device: &&Device| supports(device, direction);
            let found = devices.iter().filter(fits).find(is_exact).or_else(|| {
                let wanted = name.to_lowercase();
                let is_part =
                    |device: &&Device| device.description().is_ok_and(|d| d.name().to_lowercase().contains(&wanted));
                devices.iter().filter(fits).find(is_part)
            });
            found.cloned().with_context(|| format!("none is called {name} (`audio-pipe devices` lists them)"))?
        }
    };
    let (config, format) = configure(&device, direction, period)?;
    Ok(Chosen { device, config, format })
}

struct Chosen {
    device: Device,
    config: StreamConfig,
    format: SampleFormat,
}

/// 48 kHz `f32` mono if the device has it, else what is nearest to it.
fn configure(device: &Device, direction: Direction, period: Duration) -> Result<(StreamConfig, SampleFormat)> {
    let (default, ranges): (_, Vec<_>) = match direction {
        Direction::Input => (device.default_input_config()?, device.supported_input_configs()?.collect()),
        Direction::Output => (device.default_output_config()?, device.supported_output_configs()?.collect()),
    };
    let format = |format| match format {
        SampleFormat::F32 => Some(0),
        SampleFormat::I16 => Some(1),
        _ => None,
    };
    // Only a sound server mixes down well; hardware is asked for the channels that it has by nature.
    let best = ranges
        .into_iter()
        .filter(|range| range.channels() == default.channels() || range.channels() == 1)
        .filter_map(|range| Some((format(range.sample_format())?, !range.contains_rate(codec::RATE), range)))
        .min_by_key(|(format, other_rate, range)| (*other_rate, range.channels(), *format));
    let (_, other_rate, range) = best.context("it has no format that is known here")?;
    let rate = if other_rate {
        default.sample_rate().clamp(range.min_sample_rate(), range.max_sample_rate())
    } else {
        codec::RATE
    };
    let frames = (u128::from(rate) * period.as_micros() / 1_000_000) as u32;
    let frames = match range.buffer_size() {
        cpal::SupportedBufferSize::Range { min, max } => frames.clamp(*min, *max),
        cpal::SupportedBufferSize::Unknown => frames,
    };
    let config = StreamConfig { channels: range.channels(), sample_rate: rate, buffer_size: BufferSize::Fixed(frames) };
    Ok((config, range.sample_format()))
}

/// What a callback and its worker share.
#[derive(Default)]
struct Shared {
    worker: OnceLock<Thread>,
    /// The ring's fill at which the worker is to be woken.
    wake: AtomicUsize,
    /// The stream has failed.
    lost: AtomicBool,
    callbacks: AtomicU64,
    /// The most frames that a callback asked for or brought.
    largest: AtomicUsize,
    /// Frames that did not fit into the ring, or that were not there in time.
    missed: AtomicU64,
}

impl Shared {
    /// From the callback.
    fn count(&self, frames: usize) {
        self.callbacks.fetch_add(1, Ordering::Relaxed);
        self.largest.fetch_max(frames, Ordering::Relaxed);
    }

    /// From the callback: a futex, and only if the worker sleeps.
    fn wake_worker(&self) {
        if let Some(worker) = self.worker.get() {
            worker.unpark();
        }
    }

    /// From the thread that cpal reports errors on.
    fn handle_error(&self, error: &cpal::Error) {
        tracing::debug!(%error, "The sound device reported an error");
        let is_harmless =
            matches!(error.kind(), ErrorKind::Xrun | ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied);
        if !is_harmless {
            self.lost.store(true, Ordering::Release);
            self.wake_worker();
        }
    }

    /// From the worker, before it first waits.
    fn adopt(&self) {
        self.worker.get_or_init(thread::current);
    }
}

/// Notices that callbacks have stopped.
struct Pulse {
    callbacks: u64,
    since: Instant,
}

impl Pulse {
    fn new() -> Self {
        Self { callbacks: 0, since: Instant::now() }
    }

    fn is_dead(&mut self, shared: &Shared) -> bool {
        let callbacks = shared.callbacks.load(Ordering::Relaxed);
        if callbacks != self.callbacks {
            *self = Self { callbacks, since: Instant::now() };
        }
        shared.lost.load(Ordering::Acquire) || self.since.elapsed() > SILENT
    }
}
