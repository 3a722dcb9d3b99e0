//! A private PulseAudio, whose devices are sinks that play to nowhere.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{audio_pipe, has, outcome, read_wav, skipped};

const NO_SERVER: &str = "devices of a private PulseAudio";

/// A server with one loudspeaker and a microphone that hears it.
pub(crate) struct Server {
    process: Child,
    dir: tempfile::TempDir,
}

impl Server {
    /// Starts one, if there is PulseAudio here.
    pub(crate) fn start() -> Option<Self> {
        if !has("pulseaudio", NO_SERVER) {
            return None;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let process = Self::spawn(dir.path());
        let mut server = Self { process, dir };
        if server.is_ready() {
            return Some(server);
        }
        skipped(NO_SERVER, "pulseaudio does not run");
        None
    }

    fn spawn(dir: &Path) -> Child {
        // Without rewinds the sink plays nothing ahead: otherwise what comes in its first 2 s can't be heard.
        let script = format!(
            "load-module module-native-protocol-unix socket={} auth-anonymous=1\n\
             load-module module-null-sink sink_name=spk rate=48000 channels=1 norewinds=1\n\
             load-module module-remap-source source_name=heard master=spk.monitor\n\
             set-default-sink spk\n\
             set-default-source heard\n",
            dir.join("native").display()
        );
        let config = dir.join("pulse.pa");
        std::fs::write(&config, script).expect("a file");
        let mut command = Command::new("pulseaudio");
        command.args(["-n", "--daemonize=no", "--exit-idle-time=-1", "--disallow-exit", "--use-pid-file=no", "-F"]);
        command.arg(&config).env("XDG_RUNTIME_DIR", dir).env("HOME", dir).env_remove("PULSE_SERVER");
        let log = std::fs::File::create(dir.join("log")).expect("a file");
        command.stdout(Stdio::null()).stderr(log).spawn().expect("pulseaudio")
    }

    /// Waits until its devices are there; `false` if it has ended.
    fn is_ready(&mut self) -> bool {
        loop {
            let listed = self.run(["devices"]).output().expect("devices");
            if String::from_utf8_lossy(&listed.stdout).contains("* microphone  heard") {
                return true;
            }
            if self.process.try_wait().expect("a process").is_some() {
                return false;
            }
        }
    }

    /// Ends it without a word.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("a process");
        self.process.wait().expect("an end");
        // What a crash leaves is in the way of the next one.
        let _ = std::fs::remove_file(self.socket());
    }

    /// Lets it answer nobody any more.
    pub(crate) fn hang(&self) {
        kill_process(Pid::from_child(&self.process), Signal::STOP).expect("a process");
    }

    /// Starts it anew, where it was.
    pub(crate) fn restart(&mut self) -> bool {
        self.process = Self::spawn(self.dir.path());
        self.is_ready()
    }

    /// Adds a device; `false` if there is no pactl here.
    pub(crate) fn load(&self, module: &str) -> bool {
        if !has("pactl", "devices of other shapes") {
            return false;
        }
        let status = self.pactl().arg("load-module").args(module.split(' ')).stdout(Stdio::null()).status();
        assert!(status.expect("pactl").success(), "{module}");
        true
    }

    /// Lets another device be heard if none is named; `false` if there is no pactl here.
    pub(crate) fn set_default_source(&self, name: &str) -> bool {
        if !has("pactl", "another default device") {
            return false;
        }
        assert!(self.pactl().args(["set-default-source", name]).status().expect("pactl").success());
        true
    }

    /// Takes a sink away.
    pub(crate) fn unload(&self, module: &str, sink: &str) {
        let listed = self.pactl().args(["list", "short", "modules"]).output().expect("pactl");
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let name = format!("sink_name={sink} ");
        let line = listed.lines().find(|line| line.contains(module) && line.contains(&name)).expect("the module");
        let index = line.split('\t').next().expect("an index");
        assert!(self.pactl().args(["unload-module", index]).status().expect("pactl").success());
    }

    fn pactl(&self) -> Command {
        let mut command = Command::new("pactl");
        command.env("PULSE_SERVER", self.address()).env("HOME", self.dir.path());
        command
    }

    /// Lets one device play a file and another one hear it.
    pub(crate) fn hear(&self, devices: [&str; 4], wav: &Path, out: &Path) -> Vec<f32> {
        let path = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        // file -> capture -> play -> loudspeaker, which the microphone hears -> capture -> play -> file
        let [speaker, speaker_name, microphone, microphone_name] = devices;
        let mut ear =
            self.run(["capture", microphone, microphone_name]).stdout(Stdio::piped()).spawn().expect("capture");
        let heard = ear.stdout.take().expect("a pipe");
        let mut recorder = self.run(["play", "--output", &path(out)]).stdin(heard).spawn().expect("play");
        let mut mouth = self.run(["capture", "--input", &path(wav)]).stdout(Stdio::piped()).spawn().expect("capture");
        let records = mouth.stdout.take().expect("a pipe");
        let played = outcome(self.run(["play", speaker, speaker_name]).stdin(records));
        assert_eq!(played, (Some(0), String::new()));
        assert!(mouth.wait().expect("an end").success());
        kill_process(Pid::from_child(&ear), Signal::TERM).expect("a process");
        ear.wait().expect("an end");
        assert!(recorder.wait().expect("an end").success());
        read_wav(out)
    }

    /// The program with these arguments, which finds this server; its user has no cookie.
    pub(crate) fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = audio_pipe(args);
        command.env("PULSE_SERVER", self.address()).env("HOME", self.dir.path().join("nobody"));
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
