//! From one person's mouth to another's ear, through the devices of a real sound server.
//!
//! Two members without a network between them; what one's microphone hears is a sink's monitor, and so is what comes out
//! of the other's loudspeaker. `audio-pipe latency` plays into the one and listens to the other. Where the system allows
//! real-time priority (`ulimit -r 20`, as root, before), programs and server have it: otherwise other load on the machine
//! is a part of what is measured.

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{
    program::{PATIENCE, Program, path},
    row::{Bound, Rows},
    stage::Stage,
    stalls::Stalls,
};
use crate::call::Home;

/// So often a sound is played.
const SOUNDS: &str = "60";
/// A call is so old when it is measured: what it takes until buffers are as short as they get.
const SETTLED: Duration = Duration::from_secs(12);
/// Below the sound server's own threads, above everything else.
const PRIORITY: &str = "4";
const NAMES: [(&str, &str); 2] = [("A1", "alice"), ("B1", "bob")];

/// What was measured of a loop.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Measured {
    median_ms: Option<f64>,
    p95_ms: Option<f64>,
}

const NOTHING: Measured = Measured { median_ms: None, p95_ms: None };

/// Runs the bench.
pub(super) fn run(rows: &mut Rows<'_>) -> Result<()> {
    let server = SoundServer::start()?;
    if server.is_none() {
        super::progress("PulseAudio is missing, so devices are skipped: scripts/setup test installs it");
    }
    let (is_urgent, server) = (is_urgent(), server.as_ref());
    rows.tell("devices: real-time priority is allowed", f64::from(u8::from(is_urgent)), "");
    let stalls = Stalls::watch();
    let floor = server.map_or(Ok(NOTHING), |server| server.measure("mouth_alice", "mouth_alice.monitor"))?;
    rows.tell("devices: what the measurement itself takes", floor.median_ms, "ms");

    let talk = |channel: &str, options: &[&str], switches: &[[&str; 2]], wire: &str| match server {
        None => Ok(NOTHING),
        Some(server) => {
            super::progress(&format!("two people talk through devices: {channel}"));
            Talk::begin(server, channel, options, wire)?.measure(switches)
        }
    };
    let plain = talk("plain", &[], &[], "")?;
    rows.add("devices: mouth to ear", plain.median_ms, "ms", Bound::AtMost(32.0));
    rows.add("devices: mouth to ear, 95 %", plain.p95_ms, "ms", Bound::AtMost(40.0));
    let processed = talk("processed", &[], &[["echo", "on"], ["noise", "apm"]], "")?;
    rows.add("devices: with echo and noise processing", processed.median_ms, "ms", Bound::AtMost(50.0));
    let low = talk("low", &["--low-delay"], &[], "")?;
    rows.add("devices: low delay", low.median_ms, "ms", Bound::AtMost(20.0));
    rows.tell("devices: low delay, 95 %", low.p95_ms, "ms");
    // Evenly between nothing and that much.
    for (jitter, half, bound) in [(20, "10ms", 55.0), (50, "25ms", 85.0)] {
        let wire = format!("delay={half},jitter={half}");
        let measured = talk(&format!("jitter-{jitter}"), &[], &[], &wire)?;
        rows.add(format!("devices: with {jitter} ms of jitter"), measured.median_ms, "ms", Bound::AtMost(bound));
    }
    rows.tell("devices: this machine stands still for 2 ms or more", Some(stalls.per_minute()), "/min");
    Ok(())
}

/// Whether programs may have real-time priority here.
fn is_urgent() -> bool {
    let mut command = Command::new("chrt");
    command.args(["-f", PRIORITY, "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A program, with real-time priority if that is allowed.
fn urgent(program: &str) -> Command {
    if !is_urgent() {
        return Command::new(program);
    }
    let mut command = Command::new("chrt");
    command.args(["-f", PRIORITY, program]);
    command
}

/// A private PulseAudio: each member has a sink that is its mouth, and one that is its ear.
struct SoundServer {
    process: std::process::Child,
    home: Home,
}

impl SoundServer {
    /// Starts it, if there is one here.
    fn start() -> Result<Option<Self>> {
        let is_there = Command::new("pulseaudio").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if is_there.is_err() {
            return Ok(None);
        }
        let home = Home::new();
        let mut script = format!("load-module module-native-protocol-unix socket={}\n", socket(home.path()));
        for (_, name) in NAMES {
            for part in ["mouth", "ear"] {
                script += &format!(
                    "load-module module-null-sink sink_name={part}_{name} rate=48000 channels=1 norewinds=1\n"
                );
            }
        }
        let config = home.path().join("pulse.pa");
        std::fs::write(&config, script.replace("native\n", "native auth-anonymous=1\n"))
            .context("configure PulseAudio")?;
        let mut command = urgent("pulseaudio");
        command.args(["-n", "--daemonize=no", "--exit-idle-time=-1", "--disallow-exit", "--use-pid-file=no"]);
        // Otherwise it gives its main thread what it thinks is right.
        command.args(["--high-priority=no", "-F"]).arg(&config).env("HOME", home.path());
        command.env("XDG_RUNTIME_DIR", home.path()).stdout(Stdio::null());
        command.stderr(File::create(home.path().join("pulse.log")).context("make a log")?);
        let process = command.spawn().context("start PulseAudio")?;
        let server = Self { process, home };
        let deadline = Instant::now() + PATIENCE;
        while !server.has_all()? {
            ensure!(Instant::now() < deadline, "PulseAudio does not start");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(Some(server))
    }

    fn has_all(&self) -> Result<bool> {
        let listed = self.audio_pipe().arg("devices").output().context("run audio-pipe")?;
        Ok(String::from_utf8_lossy(&listed.stdout).contains("ear_bob.monitor"))
    }

    fn audio_pipe(&self) -> Command {
        let mut command = self.home.own("audio-pipe");
        command.env("PULSE_SERVER", format!("unix:{}", socket(self.home.path())));
        command
    }

    /// How long it takes from a sink to a source.
    fn measure(&self, speaker: &str, microphone: &str) -> Result<Measured> {
        let mut command = self.audio_pipe();
        command.args(["latency", "--json", "--clicks", SOUNDS, "--speaker", speaker, "--microphone", microphone]);
        let output = command.output().context("run audio-pipe")?;
        let said = || format!("audio-pipe latency said {}", String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), said());
        serde_json::from_slice(&output.stdout).with_context(said)
    }
}

impl Drop for SoundServer {
    fn drop(&mut self) {
        // One that has ended needs no end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn socket(home: &Path) -> String {
    home.join("native").to_string_lossy().into_owned()
}

/// Two members who are connected.
struct Talk<'a> {
    // First, so that they end before their network.
    members: Vec<(Program, Home)>,
    stage: Stage,
    server: &'a SoundServer,
}

impl<'a> Talk<'a> {
    fn begin(server: &'a SoundServer, channel: &str, options: &[&str], wire: &str) -> Result<Self> {
        // A wire is a thread that has to be woken for each packet.
        let sites = if wire.is_empty() { "A=open B=open" } else { "A=open:wire=delay~0ms B=open" };
        let stage = Stage::build("devices-", &format!("srv=server {sites}"))?;
        let mut talk = Self { members: Vec::new(), stage, server };
        for (node, name) in NAMES {
            talk.enter(channel, node, name, options)?;
        }
        talk.wait_for_links()?;
        if !wire.is_empty() {
            talk.stage.lab.wire("A", &wire.parse()?)?;
        }
        thread::sleep(SETTLED);
        Ok(talk)
    }

    fn enter(&mut self, channel: &str, node: &str, name: &str, options: &[&str]) -> Result<()> {
        let home = Home::new();
        let mut command = urgent(&path("puncher")?);
        let own = home.own("puncher");
        command.envs(own.get_envs().filter_map(|(key, value)| Some((key, value?)))).current_dir(home.path());
        command.env("PULSE_SERVER", format!("unix:{}", socket(self.server.home.path())));
        command.args(["join", channel, "--server", &self.stage.server(), "--name", name, "--json", "--no-input", "--"]);
        command.args([&*path("audio-pipe")?, "talk", "--microphone", &format!("mouth_{name}.monitor")]);
        command.args(["--speaker", &format!("ear_{name}")]).args(options);
        let events = File::create(home.path().join("events")).context("make a file for events")?;
        let log = home.path().join("log");
        let program = Program::start_into(self.stage.lab.node(node)?, &mut command, events, log)?;
        self.members.push((program, home));
        Ok(())
    }

    fn wait_for_links(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for (program, home) in &mut self.members {
            loop {
                let events = std::fs::read_to_string(home.path().join("events")).unwrap_or_default();
                if events.lines().any(|line| line.contains(r#""type":"link""#) && line.contains(r#""secure":true"#)) {
                    break;
                }
                ensure!(program.is_running(), "a member has ended{}", program.last_words());
                ensure!(Instant::now() < deadline, "no session in time{}", program.last_words());
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// Throws the switches at both, and measures from the first to the second. What can't be switched is not measured.
    fn measure(&self, switches: &[[&str; 2]]) -> Result<Measured> {
        for (_, home) in &self.members {
            for [key, value] in switches {
                let set = home.own("audio-pipe").args(["set", key, value]).output().context("run audio-pipe")?;
                if !set.status.success() {
                    super::progress(&format!("{key} can't be set: {}", String::from_utf8_lossy(&set.stderr).trim()));
                    return Ok(NOTHING);
                }
            }
        }
        self.server.measure("mouth_alice", "ear_bob.monitor")
    }
}
