//! Microphone to Opus frames, Opus frames to loudspeaker.

mod args;
mod capture;
mod control;
mod convert;
mod device;
mod far_end;
mod file;
mod headset;
mod meter;
mod own_voice;
mod playback;
mod record;
mod resample;
mod room;
mod stats;
mod stop;
mod talk;
mod timeline;
mod voice_settings;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use args::{Cli, Command};
use edge::{Exit, WithExit};

/// In tests an allocation inside an audio callback aborts.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: assert_no_alloc::AllocDisabler = assert_no_alloc::AllocDisabler;

fn main() -> ExitCode {
    let cli: Cli = match edge::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    cli.common.start();
    edge::run("audio-pipe", || run(&cli))
}

fn run(cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Devices => devices(cli.common.json),
        Command::Capture(args) => capture::capture(args),
        Command::Play(args) => playback::play(args),
        Command::Talk(args) => talk::talk(args, cli.common.json),
        Command::Control(control) => control::run(control, cli.common.json),
        Command::Encode(args) => convert::encode(args),
        Command::Decode(args) => convert::decode(args),
    }
}

/// `audio-pipe devices`: one line each; `*` marks the defaults.
fn devices(json: bool) -> Result<()> {
    let listed = device::list().context("no sound device").exit(Exit::Unavailable)?;
    let mut out = std::io::stdout().lock();
    for device in listed {
        let kind = match device.direction {
            device::Direction::Input => "microphone",
            device::Direction::Output => "loudspeaker",
        };
        let (id, name, default) = (device.id, device.name, device.default);
        let line = if json {
            let host = device.host;
            serde_json::json!({ "v": 1, "type": kind, "host": host, "id": id, "name": name, "default": default })
                .to_string()
        } else {
            format!("{} {kind:<11} {id}  {name}", if default { '*' } else { ' ' })
        };
        writeln!(out, "{line}").context("write to the standard output").exit(Exit::Io)?;
    }
    Ok(())
}
