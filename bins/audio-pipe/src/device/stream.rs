//! Streams of all sound systems, with the two kinds of callback that they call.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use cpal::traits::{DeviceTrait, StreamTrait};
use cpal::{FromSample, InputCallbackInfo, OutputCallbackInfo, SampleFormat, SizedSample};

use super::priority;
#[cfg(target_os = "linux")]
use super::pulse;
use super::select::{Chosen, Way};
use super::shared::Shared;

/// How long a sound system may take to make a stream.
const BUILD: Duration = Duration::from_secs(5);

/// Takes what a microphone hears. Called where nothing may wait or allocate.
pub(super) trait Hears: Send + 'static {
    /// Takes interleaved samples, as many as there are.
    fn hear<T>(&mut self, data: &[T])
    where
        T: SizedSample,
        f32: FromSample<T>;

    fn shared(&self) -> &Arc<Shared>;
}

/// Gives what a loudspeaker plays. Called where nothing may wait or allocate.
pub(super) trait Speaks: Send + 'static {
    /// Fills all of `out` with interleaved samples.
    fn speak<T>(&mut self, out: &mut [T])
    where
        T: SizedSample + FromSample<f32>;

    fn shared(&self) -> &Arc<Shared>;
}

/// A stream that runs until this is dropped.
pub(super) enum Stream {
    Cpal {
        _stream: cpal::Stream,
    },
    #[cfg(target_os = "linux")]
    Pulse {
        _stream: pulse::Stream,
    },
}

impl Stream {
    /// Lets a microphone be heard from here on.
    pub(super) fn listen(chosen: &Chosen, ear: impl Hears) -> Result<Self> {
        match &chosen.way {
            Way::Cpal { device, config, format } => {
                let (device, config) = (device.as_ref(), *config);
                let stream = match format {
                    SampleFormat::F32 => input::<f32>(device, config, ear),
                    SampleFormat::I32 => input::<i32>(device, config, ear),
                    _ => input::<i16>(device, config, ear),
                }?;
                stream.play().context("start the microphone")?;
                Ok(Self::Cpal { _stream: stream })
            }
            #[cfg(target_os = "linux")]
            Way::Pulse => {
                let stream = pulse::Stream::record(&chosen.name.id, chosen.period, chosen.channels.into(), ear)?;
                Ok(Self::Pulse { _stream: stream })
            }
        }
    }

    /// Lets a loudspeaker speak from here on.
    pub(super) fn speak(chosen: &Chosen, mouth: impl Speaks) -> Result<Self> {
        match &chosen.way {
            Way::Cpal { device, config, format } => {
                let (device, config) = (device.as_ref(), *config);
                let stream = match format {
                    SampleFormat::F32 => output::<f32>(device, config, mouth),
                    SampleFormat::I32 => output::<i32>(device, config, mouth),
                    _ => output::<i16>(device, config, mouth),
                }?;
                stream.play().context("start the loudspeaker")?;
                Ok(Self::Cpal { _stream: stream })
            }
            #[cfg(target_os = "linux")]
            Way::Pulse => {
                let stream = pulse::Stream::play(&chosen.name.id, chosen.period, chosen.channels.into(), mouth)?;
                Ok(Self::Pulse { _stream: stream })
            }
        }
    }
}

fn input<T>(device: &cpal::Device, config: cpal::StreamConfig, mut ear: impl Hears) -> Result<cpal::Stream>
where
    T: SizedSample,
    f32: FromSample<T>,
{
    let shared = Arc::clone(ear.shared());
    let mut urgent = priority::Once::default();
    let heard = move |data: &[T], info: &InputCallbackInfo| {
        urgent.raise();
        ear.hear(data);
        let times = info.timestamp();
        ear.shared().note_latency(times.callback.checked_duration_since(times.capture));
    };
    Ok(device.build_input_stream(config, heard, move |error| shared.handle_error(&error), Some(BUILD))?)
}

fn output<T>(device: &cpal::Device, config: cpal::StreamConfig, mut mouth: impl Speaks) -> Result<cpal::Stream>
where
    T: SizedSample + FromSample<f32>,
{
    let shared = Arc::clone(mouth.shared());
    let mut urgent = priority::Once::default();
    let wanted = move |out: &mut [T], info: &OutputCallbackInfo| {
        urgent.raise();
        mouth.speak(out);
        let times = info.timestamp();
        mouth.shared().note_latency(times.playback.checked_duration_since(times.callback));
    };
    Ok(device.build_output_stream(config, wanted, move |error| shared.handle_error(&error), Some(BUILD))?)
}
