//! What can be typed, and what it means.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use speech::Settings;
use wire::local::{Mode, Sent};

use crate::device::PERIOD;
use crate::voice_settings::VoiceSettings;

mod files;
mod values;
mod voice;

pub(crate) use files::{DecodeArgs, EncodeArgs, RawInput};
pub(crate) use values::bitrate;
use values::{frame, period, unix_seconds, within};
pub(crate) use voice::VoiceArgs;

/// Microphone to Opus frames, Opus frames to loudspeaker; each stage also alone, on files and pipes.
#[derive(Debug, Parser)]
#[command(name = "audio-pipe", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: edge::Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Commands to a running talk find it by its puncher; should several talks run there, all obey and each answers.

Examples:
  audio-pipe talk --channel den --mute
  audio-pipe toggle                  the microphone of the running talk, from a hotkey
  audio-pipe volume bob -6
  audio-pipe set gate ptt && audio-pipe ptt down
  audio-pipe record start calls/today && audio-pipe record stop
  audio-pipe status --json | jq '.speakers[] | select(.talking).peer'
  audio-pipe encode < speech.wav > speech.opus";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List microphones and loudspeakers
    Devices,
    /// Look at what a talk needs of this machine, and say what to do
    Doctor(DoctorArgs),
    /// Measure how long this machine takes from its loudspeaker to its microphone
    Latency(LatencyArgs),
    /// Write what the microphone hears as voice records to stdout
    Capture(CaptureArgs),
    /// Play voice records from stdin
    Play(PlayArgs),
    /// Talk and listen on the voice lane of a running puncher
    Talk(Box<TalkArgs>),
    #[command(flatten)]
    Control(crate::control::Control),
    /// Turn WAV or bare samples into Ogg Opus
    Encode(EncodeArgs),
    /// Turn Ogg Opus into WAV or bare samples
    Decode(DecodeArgs),
}

#[derive(Args, Debug)]
pub(crate) struct CaptureArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Write figures about the run to this file at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) stats: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct PlayArgs {
    #[command(flatten)]
    pub(crate) sink: SinkArgs,
    /// Let the files begin at this time; what came before it is not in them
    #[arg(long, value_name = "UNIX_SECONDS", value_parser = unix_seconds)]
    pub(crate) start_at: Option<f64>,
}

#[derive(Args, Debug)]
pub(crate) struct TalkArgs {
    #[command(flatten)]
    pub(crate) target: edge::agent::Target,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) sink: SinkArgs,
    /// Begin with the microphone off; SIGUSR1 turns it on and off, as `audio-pipe toggle` does
    #[arg(long)]
    pub(crate) mute: bool,
    /// Begin with all sound off, and the microphone; SIGUSR2 turns it on and off
    #[arg(long)]
    pub(crate) deafen: bool,
    /// Record to a folder, each speaker as it was sent; or a mix of all to a file that ends in .wav or .opus. The others are told
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Record a mix of all to the folder, too
    #[arg(long, requires = "record")]
    pub(crate) record_mix: bool,
    /// Show levels on stderr
    #[arg(long)]
    pub(crate) meter: bool,
    /// At the end write a page about the call to this file: by which path everybody was heard, how late, and what got lost
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,
    /// Write a newline to this descriptor once sound goes both ways
    #[arg(long, value_name = "FD")]
    pub(crate) ready_fd: Option<RawFd>,
    /// End a second after the input has
    #[arg(long, requires = "input")]
    pub(crate) exit_at_end: bool,
}

/// Where sound comes from, and how it is encoded.
#[derive(Args, Debug)]
pub(crate) struct SourceArgs {
    /// Talk from a WAV file, or from stdin with -, in real time instead of from the microphone
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) raw: RawInput,
    /// The microphone's name, a part of it, or a pattern such as *usb*
    #[arg(long, value_name = "NAME", conflicts_with = "input")]
    pub(crate) microphone: Option<String>,
    /// How much sound the device gives at a time [default: 2.5, or 1.25 with --low-delay]
    #[arg(long, value_name = "MS", value_parser = period)]
    microphone_period: Option<Duration>,
    /// For LANs, which lose nothing: 5 ms in a packet, less delay in codec and devices, 64 kb/s; nothing against loss
    #[arg(long)]
    pub(crate) low_delay: bool,
    /// Send music: two channels as they are heard, all the time, 128 kb/s; nothing is done to them
    #[arg(long, conflicts_with_all = ["mode", "echo", "noise", "gain", "gate", "hangover"])]
    pub(crate) music: bool,
    /// Bits per second, such as 40000 or 40k [default: 56k, or 64k with --low-delay, 128k with --music]
    #[arg(
        long, value_name = "BITS", default_value = "56k", hide_default_value = true,
        default_value_ifs([("music", "true", "128k"), ("low_delay", "true", "64k")]), value_parser = bitrate
    )]
    pub(crate) bitrate: u32,
    /// How much sound one packet carries: 2.5, 5, 10, 20, 40 or 60
    #[arg(long, value_name = "MS", default_value = "10", default_value_if("low_delay", "true", "5"), value_parser = frame)]
    pub(crate) frame_ms: Duration,
    /// Spend bits on making up for so many lost packets, in percent; a talk does by itself when some get lost
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) expected_loss: u8,
    #[command(flatten)]
    pub(crate) voice: VoiceArgs,
    /// Let the first sample, and the files of what is heard, be at this time
    #[arg(long, value_name = "UNIX_SECONDS", value_parser = unix_seconds)]
    pub(crate) start_at: Option<f64>,
}

impl SourceArgs {
    /// How much sound the microphone gives at a time.
    pub(crate) fn period(&self) -> Duration {
        self.microphone_period.unwrap_or(if self.low_delay { SHORT_PERIOD } else { PERIOD })
    }

    /// How many channels are heard and sent.
    pub(crate) fn channels(&self) -> usize {
        if self.music { 2 } else { 1 }
    }

    /// What is done to what is sent in frames of so many samples, and may be changed of it; of music, nothing.
    pub(crate) fn voice_settings(&self, settings: Settings, frame: usize) -> Result<VoiceSettings> {
        if self.music { Ok(VoiceSettings::for_music()) } else { VoiceSettings::for_frames(settings, frame) }
    }

    /// What the others are sent, in words for them who ask here.
    pub(crate) fn sent(&self) -> Sent {
        let mode = match (self.music, self.low_delay) {
            (true, _) => Mode::Music,
            (_, true) => Mode::LowDelay,
            _ => Mode::Voice,
        };
        Sent { mode, channels: self.channels() as u8 }
    }
}

/// The same for a talk with low delay.
const SHORT_PERIOD: Duration = Duration::from_micros(1250);

/// Where sound goes.
#[derive(Args, Debug)]
pub(crate) struct SinkArgs {
    /// Play to a WAV file, or to stdout with -, in real time instead of to the loudspeaker
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Two channels in all files of what is heard, for those who send music; a loudspeaker has what it has
    #[arg(long)]
    pub(crate) stereo: bool,
    /// The loudspeaker's name, a part of it, or a pattern such as *usb*
    #[arg(long, value_name = "NAME", conflicts_with = "output")]
    pub(crate) speaker: Option<String>,
    /// How much sound the device takes at a time; more if it falls behind [default: 2.5, or 1.25 with --low-delay]
    #[arg(long, value_name = "MS", value_parser = period)]
    speaker_period: Option<Duration>,
    /// Play everybody about as loud as the others
    #[arg(long)]
    pub(crate) loudness: bool,
    /// For measuring: write every speaker as it is played to a WAV file of its own in this new or empty folder, with stats.json about
    /// them; what the disk can't take ends the call
    #[arg(long, value_name = "DIR")]
    pub(crate) record_each: Option<PathBuf>,
    /// Write figures about the run to this file at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) stats: Option<PathBuf>,
}

impl SinkArgs {
    /// How much sound the loudspeaker takes at a time.
    pub(crate) fn period(&self, low_delay: bool) -> Duration {
        self.speaker_period.unwrap_or(if low_delay { SHORT_PERIOD } else { PERIOD })
    }

    /// How many channels the files have.
    pub(crate) fn channels(&self) -> usize {
        if self.stereo { 2 } else { 1 }
    }
}

#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// The microphone's name, a part of it, or a pattern such as *usb*
    #[arg(long, value_name = "NAME")]
    pub(crate) microphone: Option<String>,
    /// The loudspeaker's name, a part of it, or a pattern such as *usb*
    #[arg(long, value_name = "NAME")]
    pub(crate) speaker: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct LatencyArgs {
    /// The microphone's name, a part of it, or a pattern such as *usb*
    #[arg(long, value_name = "NAME")]
    pub(crate) microphone: Option<String>,
    /// How much sound it gives at a time
    #[arg(long, value_name = "MS", default_value = "2.5", value_parser = period)]
    pub(crate) microphone_period: Duration,
    /// The loudspeaker's name, a part of it, or a pattern such as *usb*
    #[arg(long, value_name = "NAME")]
    pub(crate) speaker: Option<String>,
    /// How much sound it takes at a time
    #[arg(long, value_name = "MS", default_value = "2.5", value_parser = period)]
    pub(crate) speaker_period: Duration,
    /// How many sounds to play
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) clicks: u32,
    /// How long to wait for each to come back
    #[arg(long, value_name = "MS", default_value = "400", value_parser = within)]
    pub(crate) within: Duration,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_tree_of_options_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn music_is_two_channels_and_more_bits_and_nothing_is_done_to_it() {
        let source = |line: &str| {
            let words = ["audio-pipe", "capture"].into_iter().chain(line.split_whitespace());
            let Command::Capture(args) = Cli::try_parse_from(words).ok()?.command else { return None };
            Some((
                args.source.channels(),
                args.source.bitrate,
                args.source.frame_ms.as_millis(),
                args.source.sent().mode,
            ))
        };
        assert_eq!(source(""), Some((1, 56_000, 10, Mode::Voice)));
        assert_eq!(source("--music"), Some((2, 128_000, 10, Mode::Music)));
        assert_eq!(source("--music --bitrate 96k"), Some((2, 96_000, 10, Mode::Music)));
        assert_eq!(source("--music --low-delay"), Some((2, 128_000, 5, Mode::Music)));
        assert_eq!(source("--low-delay"), Some((1, 64_000, 5, Mode::LowDelay)));
        for processing in ["--mode headset", "--echo on", "--noise rnn", "--gain on", "--gate voice", "--hangover 300"]
        {
            assert_eq!(source(&format!("--music {processing}")), None, "{processing}");
        }
    }
}
