//! In which form a device of cpal gives or takes sound.

use std::time::Duration;

use anyhow::{Context, Result};
use cpal::traits::DeviceTrait;
use cpal::{BufferSize, Device, SampleFormat, StreamConfig, SupportedStreamConfigRange};

use super::Direction;

/// 48 kHz `f32` in as many channels as are of use if the device has that, else what is nearest to it.
pub(super) fn configure(
    device: &Device,
    direction: Direction,
    period: Duration,
    useful: u16,
) -> Result<(StreamConfig, SampleFormat)> {
    let (default, ranges): (_, Vec<_>) = match direction {
        Direction::Input => (device.default_input_config()?, device.supported_input_configs()?.collect()),
        Direction::Output => (device.default_output_config()?, device.supported_output_configs()?.collect()),
    };
    fit([default.channels(), useful], default.sample_rate(), &ranges, period)
        .context("it has no format that is known here")
}

/// The best of what a device can do by nature, where it has the first number of channels and the second one is of use.
fn fit(
    [channels, useful]: [u16; 2],
    rate: u32,
    ranges: &[SupportedStreamConfigRange],
    period: Duration,
) -> Option<(StreamConfig, SampleFormat)> {
    let format = |format| match format {
        SampleFormat::F32 => Some(0),
        SampleFormat::I16 => Some(1),
        SampleFormat::I32 => Some(2),
        _ => None,
    };
    // Only a sound server mixes down well; hardware is asked for the channels that it has by nature.
    let best = ranges
        .iter()
        .filter(|range| [channels, useful, 1].contains(&range.channels()))
        .filter_map(|range| Some((format(range.sample_format())?, !range.contains_rate(codec::RATE), range)))
        .min_by_key(|(format, other_rate, range)| {
            let is_less = range.channels() < useful;
            (*other_rate, is_less, range.channels(), *format)
        });
    let (_, other_rate, range) = best?;
    let rate = if other_rate { rate.clamp(range.min_sample_rate(), range.max_sample_rate()) } else { codec::RATE };
    let frames = (u128::from(rate) * period.as_micros() / 1_000_000) as u32;
    let frames = match range.buffer_size() {
        cpal::SupportedBufferSize::Range { min, max } => frames.max(*min).min(*max),
        cpal::SupportedBufferSize::Unknown => frames,
    };
    let config = StreamConfig { channels: range.channels(), sample_rate: rate, buffer_size: BufferSize::Fixed(frames) };
    Some((config, range.sample_format()))
}

#[cfg(test)]
mod tests {
    use cpal::SupportedBufferSize;

    use super::*;

    #[test]
    fn hardware_is_taken_as_it_is_and_48_khz_wins_where_there_is_a_choice() {
        let any = SupportedBufferSize::Range { min: 64, max: 4096 };
        let range = |channels, rates: [u32; 2], format| {
            SupportedStreamConfigRange::new(channels, rates[0], rates[1], any, format)
        };
        let ms5 = Duration::from_millis(5);
        let shown = |channels, rate, ranges: &[_]| {
            fit([channels, 1], rate, ranges, ms5)
                .map(|(config, format)| (config.channels, config.sample_rate, config.buffer_size, format))
        };

        let usb = [range(2, [44_100, 44_100], SampleFormat::I16), range(2, [48_000, 96_000], SampleFormat::I16)];
        assert_eq!(shown(2, 44_100, &usb), Some((2, 48_000, BufferSize::Fixed(240), SampleFormat::I16)));
        let headset = [range(1, [16_000, 16_000], SampleFormat::I16)];
        assert_eq!(shown(1, 16_000, &headset), Some((1, 16_000, BufferSize::Fixed(80), SampleFormat::I16)));
        let studio = [range(6, [96_000, 96_000], SampleFormat::F32)];
        assert_eq!(shown(6, 96_000, &studio), Some((6, 96_000, BufferSize::Fixed(480), SampleFormat::F32)));
        let slow = [range(1, [8000, 8000], SampleFormat::F32)];
        assert_eq!(shown(1, 8000, &slow), Some((1, 8000, BufferSize::Fixed(64), SampleFormat::F32)), "its least");
        assert_eq!(shown(2, 44_100, &[range(2, [44_100, 44_100], SampleFormat::U8)]), None);
        assert_eq!(shown(2, 44_100, &[]), None);
    }

    #[test]
    fn where_two_channels_are_of_use_a_device_gives_two_or_what_is_next_to_that() {
        let any = SupportedBufferSize::Range { min: 64, max: 4096 };
        let range = |channels| SupportedStreamConfigRange::new(channels, 48_000, 48_000, any, SampleFormat::F32);
        let fitting = |useful, by_nature: u16, has: &[u16]| {
            let ranges: Vec<_> = has.iter().copied().map(range).collect();
            let fit = fit([by_nature, useful], 48_000, &ranges, Duration::from_millis(5));
            fit.map(|(config, _)| config.channels)
        };

        assert_eq!([fitting(2, 2, &[1, 2]), fitting(2, 6, &[1, 6]), fitting(2, 6, &[1, 2, 6])], [2, 6, 2].map(Some));
        assert_eq!([fitting(2, 1, &[1]), fitting(1, 2, &[1, 2]), fitting(1, 6, &[2, 6])], [1, 1, 6].map(Some));
    }
}
