//! The commands to a running talk.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use edge::agent::Target;
use edge::{Exit, WithExit};
use wire::local::{Ask, Record, Volume};

/// Commands to the talk that runs at a puncher. Should several run there, all obey, and each is told of.
#[derive(Debug, Subcommand)]
pub(crate) enum Control {
    /// Turn the microphone of the running talk off
    Mute(Target),
    /// Turn it on, and everybody's sound with it
    Unmute(Target),
    /// Turn it off if it is on, and on if it is off
    Toggle(Target),
    /// Turn everybody's sound off, and the microphone with it
    Deafen(Target),
    /// Turn everybody's sound on; the microphone is as it was before
    Undeafen(Target),
    /// Play a peer louder, more softly, or not at all
    Volume(VolumeArgs),
    /// Tell that the key to talk is down, or up again; for `set gate ptt`
    Ptt(PttArgs),
    /// Change a setting of the running talk; `status` lists them
    Set(SetArgs),
    /// Record the running talk, or no longer; the others are told
    Record(RecordArgs),
    /// Show the running talk: switches, settings, and how everybody is heard
    Status(Target),
}

#[derive(Args, Debug)]
pub(crate) struct VolumeArgs {
    /// The peer's name, the beginning of it, or its tag as `status` shows it
    #[arg(value_name = "PEER")]
    pub(crate) peer: String,
    /// Decibels from -60 to 12; `off`; or `on`, as it was before it was off
    #[arg(value_name = "DB", allow_hyphen_values = true, value_parser = volume)]
    pub(crate) volume: Volume,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct PttArgs {
    /// Where the key is
    #[arg(value_enum, value_name = "down|up")]
    pub(crate) key: Key,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// Where a key is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Key {
    /// Held down
    Down,
    /// Let go
    Up,
}

#[derive(Args, Debug)]
pub(crate) struct SetArgs {
    /// Which setting
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
    /// What it is to be
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    pub(crate) value: String,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct RecordArgs {
    #[command(subcommand)]
    pub(crate) what: RecordCommand,
}

/// What is to be done about a recording.
#[derive(Debug, Subcommand)]
pub(crate) enum RecordCommand {
    /// Begin: to a folder, or to a file that ends in .wav or .opus
    Start(StartArgs),
    /// Complete the files
    Stop(Target),
    /// Show to where, for how long, and what is missing
    Status(Target),
}

#[derive(Args, Debug)]
pub(crate) struct StartArgs {
    /// A folder, for an Opus file of each speaker, as it was sent; or a file that ends in .wav or .opus, for a mix of all
    #[arg(value_name = "DIR|FILE")]
    pub(crate) path: PathBuf,
    /// A mix of all in the folder, mix.opus
    #[arg(long)]
    pub(crate) mix: bool,
    /// Each speaker in the folder, which is so without --mix
    #[arg(long)]
    pub(crate) each: bool,
    #[command(flatten)]
    pub(crate) target: Target,
}

impl StartArgs {
    /// What the talk is asked for; it may run in another folder than the command.
    fn ask(&self) -> Result<Record> {
        record(&self.path, self.mix, self.each)
    }
}

/// A recording that is wanted.
pub(crate) fn record(path: &Path, mix: bool, each: bool) -> Result<Record> {
    let named = || format!("record to {}", path.display());
    let path = std::path::absolute(path).with_context(named).exit(Exit::Usage)?;
    let path = path.to_str().context("its name is not UTF-8").with_context(named).exit(Exit::Usage)?;
    Ok(Record { path: path.to_owned(), mix, each })
}

impl Control {
    /// The puncher that is meant.
    pub(crate) fn target(&self) -> &Target {
        match self {
            Self::Mute(target)
            | Self::Unmute(target)
            | Self::Toggle(target)
            | Self::Deafen(target)
            | Self::Undeafen(target)
            | Self::Status(target) => target,
            Self::Volume(args) => &args.target,
            Self::Ptt(args) => &args.target,
            Self::Set(args) => &args.target,
            Self::Record(RecordArgs { what }) => match what {
                RecordCommand::Start(args) => &args.target,
                RecordCommand::Stop(target) | RecordCommand::Status(target) => target,
            },
        }
    }

    /// What to ask; `None` of a command that needs to know who is there.
    ///
    /// # Errors
    /// If a path can't be told to another program.
    pub(crate) fn ask(&self) -> Result<Option<Ask>> {
        Ok(Some(match self {
            Self::Mute(_) => Ask::Mute(Some(true)),
            Self::Unmute(_) => Ask::Mute(Some(false)),
            Self::Toggle(_) => Ask::Mute(None),
            Self::Deafen(_) => Ask::Deafen(Some(true)),
            Self::Undeafen(_) => Ask::Deafen(Some(false)),
            Self::Volume(_) => return Ok(None),
            Self::Ptt(args) => Ask::PushToTalk(args.key == Key::Down),
            Self::Set(args) => Ask::Set { key: args.key.clone(), value: args.value.clone() },
            Self::Record(RecordArgs { what }) => match what {
                RecordCommand::Start(args) => Ask::Record(Some(args.ask()?)),
                RecordCommand::Stop(_) => Ask::Record(None),
                RecordCommand::Status(_) => Ask::Status,
            },
            Self::Status(_) => Ask::Status,
        }))
    }
}

fn volume(text: &str) -> std::result::Result<Volume, String> {
    text.parse::<Volume>().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn a_volume_may_be_below_zero() {
        let cli = Cli::parse_from(["audio-pipe", "volume", "bob", "-6", "--channel", "den"]);
        let Command::Control(Control::Volume(args)) = cli.command else { panic!("volume") };
        assert_eq!((args.peer.as_str(), args.volume), ("bob", Volume::Db(-6)));
        assert_eq!(args.target.channel.as_deref(), Some("den"));
        assert!(Cli::try_parse_from(["audio-pipe", "volume", "bob", "loud"]).is_err());
    }
}
