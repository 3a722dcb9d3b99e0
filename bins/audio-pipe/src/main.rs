//! Microphone to Opus frames, Opus frames to loudspeaker.

mod args;
mod call_report;
mod capture;
mod channels;
mod chirp;
mod control;
mod convert;
mod device;
mod doctor;
mod far_end;
mod file;
mod headset;
mod latency;
mod meter;
mod own_voice;
mod playback;
mod record;
mod recording;
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
        Command::Doctor(args) => doctor::doctor(args, cli.common.json),
        Command::Latency(args) => latency::latency(args, cli.common.json),
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
        let line = if json { edge::json_line(&device_json(kind, &device))? } else { device_line(kind, &device) };
        writeln!(out, "{line}").context("write to the standard output").exit(Exit::Io)?;
    }
    Ok(())
}

fn device_json(kind: &str, device: &device::Listed) -> serde_json::Value {
    let device::Listed { host, name, facts, default, .. } = device;
    serde_json::json!({
        "v": 1, "type": kind, "host": host, "id": name.id, "name": name.title, "default": default,
        "rate": facts.rate, "channels": facts.channels, "latency_ms": facts.latency_us.map(|us| us as f64 / 1000.0),
        "muted": facts.is_muted, "bluetooth": facts.is_bluetooth, "monitor": facts.is_monitor,
    })
}

fn device_line(kind: &str, device: &device::Listed) -> String {
    let device::Listed { name, facts, default, .. } = device;
    let mut notes = vec![format!("{} Hz", facts.rate), format!("{} ch", facts.channels)];
    notes.extend(facts.latency_us.filter(|us| *us > 0).map(|us| format!("{} ms", us.div_ceil(1000))));
    let flags = [(facts.is_muted, "muted"), (facts.is_bluetooth, "bluetooth"), (facts.is_monitor, "monitor")];
    notes.extend(flags.into_iter().filter(|(is, _)| *is).map(|(_, word)| word.to_owned()));
    let [id, title] = [&name.id, &name.title].map(|text| edge::Remote(text).show());
    format!("{} {kind:<11} {id}  {title} ({})", if *default { '*' } else { ' ' }, notes.join(", "))
}
