//! Real streams on a private PulseAudio, whose devices are sinks that play to nowhere.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{RATE, audio_pipe, has, lag, outcome, read_wav, skipped, voice, write_wav};

const NO_SERVER: &str = "devices of a private PulseAudio";

#[test]
fn without_a_sound_device_the_error_says_what_to_do_instead() {
    for (args, hint) in [(["capture"], "--input FILE"), (["play"], "--output FILE")] {
        let (code, said) = outcome(&mut audio_pipe(args));
        assert_eq!((code, said.lines().count()), (Some(69), 1), "{said}");
        assert!(said.contains(hint), "{said}");
    }
    assert_eq!(outcome(&mut audio_pipe(["devices"])).0, Some(69));
}

#[test]
fn a_loudspeaker_plays_and_a_microphone_hears() {
    let Some(server) = Server::start() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let [wav, out] = ["in.wav", "out.wav"].map(|name| dir.path().join(name));
    let said = voice(2.0);
    write_wav(&wav, &said, 48_000, 1);

    // file -> capture -> play -> loudspeaker, which the microphone hears -> capture -> play -> file
    let mut ear = server.run(["capture", "--microphone", "heard"]).stdout(Stdio::piped()).spawn().expect("capture");
    let heard = ear.stdout.take().expect("a pipe");
    let mut recorder = server.run(["play", "--output", text(&out)]).stdin(heard).spawn().expect("play");
    let mut mouth = server.run(["capture", "--input", text(&wav)]).stdout(Stdio::piped()).spawn().expect("capture");
    let records = mouth.stdout.take().expect("a pipe");
    assert_eq!(outcome(server.run(["play"]).stdin(records)), (Some(0), String::new()));
    assert!(mouth.wait().expect("an end").success());
    kill_process(Pid::from_child(&ear), Signal::TERM).expect("a process");
    ear.wait().expect("an end");
    assert!(recorder.wait().expect("an end").success());

    let heard = read_wav(&out);
    let from = heard.iter().position(|sample| sample.abs() > 0.02).expect("a voice").saturating_sub(4800);
    let (lag, likeness) = lag(&said, &heard[from..]);
    assert!(lag < RATE / 2 && likeness > 0.7, "lags by {lag}, alike {likeness}");
}

#[test]
fn devices_are_listed_and_chosen_by_a_part_of_their_name() {
    let Some(server) = Server::start() else { return };
    let listed = server.run(["devices"]).stderr(Stdio::inherit()).output().expect("devices");
    let listed = String::from_utf8_lossy(&listed.stdout);
    assert!(listed.lines().any(|line| line.starts_with("* loudspeaker spk ")), "{listed}");
    assert!(listed.lines().any(|line| line.starts_with("* microphone  heard ")), "{listed}");
    let json = server.run(["devices", "--json"]).output().expect("devices");
    for line in String::from_utf8_lossy(&json.stdout).lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["host"], "PulseAudio");
    }
    let (code, said) = outcome(&mut server.run(["capture", "--microphone", "no such thing"]));
    assert_eq!(code, Some(69));
    assert!(said.contains("none is called no such thing"), "{said}");
}

/// A private PulseAudio with one loudspeaker and a microphone that hears it.
pub(crate) struct Server {
    process: Child,
    dir: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start() -> Option<Self> {
        if !has("pulseaudio", NO_SERVER) {
            return None;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let (socket, ready) = (dir.path().join("native"), dir.path().join("ready"));
        // Without rewinds the sink plays nothing ahead: otherwise what comes in its first 2 s can't be heard.
        let script = format!(
            "load-module module-native-protocol-unix socket={} auth-anonymous=1\n\
             load-module module-null-sink sink_name=spk rate=48000 channels=1 norewinds=1\n\
             load-module module-remap-source source_name=heard master=spk.monitor\n\
             set-default-sink spk\n\
             set-default-source heard\n",
            socket.display()
        );
        let config = dir.path().join("pulse.pa");
        std::fs::write(&config, script).expect("a file");
        let mut command = Command::new("pulseaudio");
        command.args(["-n", "--daemonize=no", "--exit-idle-time=-1", "--disallow-exit", "--use-pid-file=no", "-F"]);
        command.arg(&config).env("XDG_RUNTIME_DIR", dir.path()).env("HOME", dir.path()).env_remove("PULSE_SERVER");
        let log = std::fs::File::create(ready).expect("a file");
        let mut process = command.stdout(Stdio::null()).stderr(log).spawn().expect("pulseaudio");
        loop {
            let server = Self::list(&socket);
            if server.contains("* microphone  heard") {
                return Some(Self { process, dir });
            }
            if process.try_wait().expect("a process").is_some() {
                skipped(NO_SERVER, "pulseaudio does not run");
                return None;
            }
        }
    }

    fn list(socket: &Path) -> String {
        let mut command = audio_pipe(["devices"]);
        let listed = command.env("PULSE_SERVER", format!("unix:{}", socket.display())).output().expect("devices");
        String::from_utf8_lossy(&listed.stdout).into_owned()
    }

    fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = audio_pipe(args);
        command.env("PULSE_SERVER", self.address());
        command
    }

    /// Where programs find it.
    pub(crate) fn address(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("native")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
