//! What can be typed to turn one file into another, and what files without a header look like.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values::{bitrate, frame};
use crate::file::{Encoding, Layout};

#[derive(Args, Debug)]
pub(crate) struct EncodeArgs {
    /// What to read
    #[arg(value_name = "INPUT", default_value = "-")]
    pub(crate) input: PathBuf,
    /// What to write
    #[arg(value_name = "OUTPUT", default_value = "-")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) raw: RawInput,
    /// Bits per second, such as 40000 or 40k; 40k unless said, 64k of two channels, 128k of music
    #[arg(long, value_name = "BITS", value_parser = bitrate)]
    pub(crate) bitrate: Option<u32>,
    /// For music rather than speech
    #[arg(long)]
    pub(crate) music: bool,
    /// Mix two channels into one; more than two are in any case
    #[arg(long)]
    pub(crate) mono: bool,
    /// How much sound one packet carries: 2.5, 5, 10, 20, 40 or 60
    #[arg(long, value_name = "MS", default_value = "20", value_parser = frame)]
    pub(crate) frame_ms: Duration,
}

#[derive(Args, Debug)]
pub(crate) struct DecodeArgs {
    /// What to read
    #[arg(value_name = "INPUT", default_value = "-")]
    pub(crate) input: PathBuf,
    /// What to write
    #[arg(value_name = "OUTPUT", default_value = "-")]
    pub(crate) output: PathBuf,
    /// Write bare samples, 48 kHz, instead of WAV
    #[arg(long, value_name = "FORMAT", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "s16le")]
    pub(crate) raw: Option<Raw>,
    /// Write 32-bit floats instead of 16-bit integers
    #[arg(long, conflicts_with = "raw")]
    pub(crate) float: bool,
}

/// Input without a header.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct RawInput {
    /// Read bare samples instead of WAV
    #[arg(long, value_name = "FORMAT", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "s16le")]
    raw: Option<Raw>,
    /// Samples per second of bare samples
    #[arg(long, value_name = "HZ", default_value = "48000", requires = "raw", value_parser = clap::value_parser!(u32).range(1000..=768_000))]
    rate: u32,
    /// Channels of bare samples
    #[arg(long, value_name = "N", default_value = "1", requires = "raw", value_parser = clap::value_parser!(u16).range(1..=64))]
    channels: u16,
}

impl RawInput {
    /// What bare samples look like, if they are bare.
    pub(crate) fn layout(self) -> Option<Layout> {
        self.raw.map(|raw| Layout { encoding: raw.encoding(), rate: self.rate, channels: self.channels })
    }
}

/// How bare samples are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Raw {
    /// 16-bit integers, little-endian
    S16le,
    /// 32-bit floats, little-endian
    #[value(alias = "f32")]
    F32le,
}

impl Raw {
    pub(crate) fn encoding(self) -> Encoding {
        match self {
            Self::S16le => Encoding::S16,
            Self::F32le => Encoding::F32,
        }
    }
}
