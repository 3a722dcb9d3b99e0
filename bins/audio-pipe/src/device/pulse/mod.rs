//! PulseAudio's own protocol, also spoken by PipeWire's stand-in for it.
//!
//! cpal speaks it, too, but asks the server for the time after every callback, clears a megabyte for every read, and lets
//! the server drop what comes while it is busy for one period: 40 % of a core and a sound with holes in it where a
//! sink's monitor is listened to. Here one thread reads, hears or speaks, and writes.

mod backlog;
mod connection;
mod demand;
mod player;
mod stream;

use std::ffi::CString;
use std::time::Duration;

use anyhow::Result;
use pulseaudio::protocol::{ChannelMap, Command, Props, SampleFormat, SampleSpec, ServerInfo, SinkInfo, SourceInfo};

pub(super) use connection::{Connection, is_there};
pub(super) use player::Player;
pub(super) use stream::Stream;

use super::Direction;
use super::select::{Facts, Name};

/// How often the server is asked how far away a device is.
const LATENCY_EVERY: Duration = Duration::from_millis(500);
/// The longest period, in samples of each channel.
const MOST: u128 = 4096;
const SAMPLE: usize = size_of::<f32>();

/// A sink or a source, as the server tells of it.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) name: Name,
    pub(super) facts: Facts,
    direction: Direction,
}

impl Device {
    pub(super) fn is(&self, direction: Direction) -> bool {
        self.direction == direction
    }

    fn of_sink(sink: &SinkInfo) -> Self {
        let facts = facts(&sink.sample_spec, sink.actual_latency, sink.muted, &sink.props);
        Self { name: name(&sink.name, sink.description.as_ref()), facts, direction: Direction::Output }
    }

    fn of_source(source: &SourceInfo) -> Self {
        let facts = facts(&source.sample_spec, source.actual_latency, source.muted, &source.props);
        Self {
            name: name(&source.name, source.description.as_ref()),
            facts: Facts { is_monitor: source.monitor_of_sink_index.is_some(), ..facts },
            direction: Direction::Input,
        }
    }
}

fn facts(spec: &SampleSpec, latency_us: u64, is_muted: bool, props: &Props) -> Facts {
    let bus = props.get_bytes(BUS);
    Facts {
        rate: spec.sample_rate,
        channels: spec.channels.into(),
        latency_us: Some(latency_us).filter(|us| *us > 0),
        is_muted,
        is_bluetooth: bus.is_some_and(|bus| bus.starts_with(b"bluetooth")),
        is_monitor: false,
    }
}

/// The property that says how a device is attached (PulseAudio's `PA_PROP_DEVICE_BUS`).
const BUS: &std::ffi::CStr = c"device.bus";

fn name(id: &CString, description: Option<&CString>) -> Name {
    let text = |name: &CString| name.to_string_lossy().into_owned();
    Name { id: text(id), title: text(description.unwrap_or(id)) }
}

impl Connection {
    /// All sinks and sources.
    pub(super) fn devices(&mut self) -> Result<Vec<Device>> {
        let sinks: Vec<SinkInfo> = self.ask(&Command::GetSinkInfoList)?;
        let sources: Vec<SourceInfo> = self.ask(&Command::GetSourceInfoList)?;
        Ok(sinks.iter().map(Device::of_sink).chain(sources.iter().map(Device::of_source)).collect())
    }

    /// The device that the server uses if none is named.
    pub(super) fn default_device(&mut self, direction: Direction) -> Result<Option<Device>> {
        let info: ServerInfo = self.ask(&Command::GetServerInfo)?;
        let default = match direction {
            Direction::Input => info.default_source_name,
            Direction::Output => info.default_sink_name,
        };
        let Some(default) = default else { return Ok(None) };
        let default = default.to_string_lossy();
        Ok(self.devices()?.into_iter().find(|device| device.is(direction) && device.name.id == default))
    }
}

/// How long it takes to play what lies between two places of a stream.
fn waiting(write: i64, read: i64, channels: usize) -> Duration {
    let bytes = write.saturating_sub(read).max(0).unsigned_abs();
    let per_second = u64::from(codec::RATE) * (SAMPLE * channels) as u64;
    Duration::from_micros(bytes.saturating_mul(1_000_000) / per_second)
}

fn spec(channels: usize) -> SampleSpec {
    SampleSpec { format: SampleFormat::Float32Le, channels: channels as u8, sample_rate: codec::RATE }
}

fn map(channels: usize) -> ChannelMap {
    if channels == 2 { ChannelMap::stereo() } else { ChannelMap::mono() }
}

fn bytes(period: Duration, channels: usize) -> u32 {
    let samples = (period.as_micros() * u128::from(codec::RATE) / 1_000_000).clamp(1, MOST);
    samples as u32 * (SAMPLE * channels) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_whole_samples_and_never_none() {
        let both = |period| [1, 2].map(|channels| bytes(period, channels));
        assert_eq!(both(Duration::from_micros(2500)), [480, 960]);
        assert_eq!(both(Duration::ZERO), [4, 8]);
        assert_eq!(both(Duration::from_secs(9)), [1, 2].map(|channels| MOST as u32 * SAMPLE as u32 * channels));
    }

    #[test]
    fn what_waits_is_told_in_time() {
        assert_eq!([1, 2].map(|channels| waiting(480, 0, channels).as_micros()), [2500, 1250]);
        assert_eq!(waiting(0, 480, 1), Duration::ZERO, "it ran dry");
    }
}
