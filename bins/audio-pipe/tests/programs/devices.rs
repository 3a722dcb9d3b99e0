//! Real streams on a private PulseAudio, whose devices are sinks that play to nowhere.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use wire::agent::FromPuncher;
use wire::voice::Flags;

use crate::hub::Hub;
use crate::server::Server;
use crate::support::{RATE, audio_pipe, lag, outcome, voice, write_wav};

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(30);

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

    let heard = server.hear(["--speaker", "spk", "--microphone", "heard"], &wav, &out);
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

#[test]
fn a_pattern_and_what_is_known_of_a_device_are_enough_to_choose_it() {
    let Some(server) = Server::start() else { return };
    if !server.load("module-null-sink sink_name=studio rate=96000 channels=6 norewinds=1") {
        return;
    }
    let listed = server.run(["devices", "--json"]).output().expect("devices");
    let listed: Vec<serde_json::Value> =
        String::from_utf8_lossy(&listed.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let studio = listed.iter().find(|device| device["id"] == "studio").expect("the device");
    assert_eq!((&studio["rate"], &studio["channels"]), (&96_000.into(), &6.into()));
    let monitor = listed.iter().find(|device| device["id"] == "studio.monitor").expect("its monitor");
    assert_eq!(monitor["monitor"], true);

    let args = ["latency", "--speaker", "stu*", "--microphone", "studio*tor", "--clicks", "3", "--json"];
    let measured = server.run(args).output().expect("latency");
    let measured: serde_json::Value = serde_json::from_slice(&measured.stdout).expect("JSON");
    assert_eq!((&measured["loudspeaker"]["id"], &measured["heard"]), (&"studio".into(), &3.into()), "{measured}");
}

#[test]
fn sound_passes_devices_of_any_rate_and_number_of_channels() {
    let Some(server) = Server::start() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let said = voice(2.0);
    write_wav(&dir.path().join("in.wav"), &said, 48_000, 1);
    for (name, shape) in
        [("cd", "rate=44100 channels=2"), ("headset", "rate=16000 channels=1"), ("studio", "rate=96000 channels=6")]
    {
        if !server.load(&format!("module-null-sink sink_name={name} {shape} norewinds=1")) {
            return;
        }
        let out = dir.path().join(format!("{name}.wav"));
        let monitor = format!("{name}.monitor");
        let heard = server.hear(["--speaker", name, "--microphone", &monitor], &dir.path().join("in.wav"), &out);
        let from = heard.iter().position(|sample| sample.abs() > 0.02).expect("a voice").saturating_sub(4800);
        let (lag, likeness) = lag(&said, &heard[from..]);
        assert!(lag < RATE / 2 && likeness > 0.7, "{name}: lags by {lag}, alike {likeness}");
    }
}

#[test]
fn a_talk_outlives_its_sound_server_and_says_so_once() {
    let Some(mut server) = Server::start() else { return };
    let mut ear = Listener::start(server.run(["capture", "--microphone", "heard"]));
    ear.until("sound", |listener| listener.bytes > 10_000);

    server.kill();
    ear.until("word of the loss", |listener| listener.has_said("The microphone"));
    assert!(server.restart());
    ear.until("word of its return", |listener| listener.has_said("is back"));
    let before = ear.bytes;
    ear.until("sound again", |listener| listener.bytes > before + 10_000);

    assert_eq!(ear.warnings(), 2, "{:?}", ear.said);
    ear.end();
}

#[test]
fn a_talk_whose_sound_server_hangs_still_answers_and_still_ends() {
    let Some(server) = Server::start() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let (hub, sock, wav) = (Hub::start(dir.path(), 1), dir.path().join("0.sock"), dir.path().join("in.wav"));
    write_wav(&wav, &voice(60.0), 48_000, 1);
    let args = ["talk", "--sock", text(&sock), "--input", text(&wav), "--speaker", "spk"];
    let mut talk = Listener::start(server.run(args));
    hub.wait_for(|seen| seen.frames > 0);

    server.hang();
    talk.until("word of the loss", |talk| talk.has_said("The loudspeaker"));

    let (code, said) = outcome(&mut hub.command(0, &["mute"]));
    assert_eq!(code, Some(0), "{said}");
    hub.tell(0, &FromPuncher::Closing);
    assert!(talk.process.wait().expect("an end").success());
}

/// A talk whose sound server is lost in that way, and comes back.
fn loses_its_microphone(lose: impl FnOnce(&mut Server)) {
    let Some(mut server) = Server::start() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let (hub, sock, out) = (Hub::start(dir.path(), 1), dir.path().join("0.sock"), dir.path().join("out.wav"));
    let args = ["talk", "--sock", text(&sock), "--microphone", "heard", "--output", text(&out)];
    let mut talk = Listener::start(server.run(args));
    hub.wait_for(|seen| seen.frames > 0 && !seen.flags[&0].has(Flags::MUTED));

    lose(&mut server);
    talk.until("word of the loss", |talk| talk.has_said("The microphone"));
    hub.wait_for(|seen| seen.flags[&0].has(Flags::MUTED));
    let recorded = dir.path().join("recorded");
    let (code, said) = outcome(&mut hub.command(0, &["record", "start", text(&recorded)]));
    assert_eq!(code, Some(0), "{said}");
    hub.wait_for(|seen| seen.flags[&0].has(Flags::MUTED.with(Flags::RECORDING)));

    server.kill();
    assert!(server.restart());
    hub.wait_for(|seen| !seen.flags[&0].has(Flags::MUTED));
    talk.end();
}

#[test]
fn who_lost_the_microphone_is_seen_to_be_silent_and_to_record() {
    loses_its_microphone(Server::kill);
}

#[test]
fn whose_sound_server_hangs_is_seen_to_be_silent_and_to_record() {
    loses_its_microphone(|server| server.hang());
}

#[test]
fn what_hears_a_loudspeaker_is_a_microphone_only_if_it_is_named() {
    let Some(server) = Server::start() else { return };
    if !server.set_default_source("spk.monitor") {
        return;
    }
    let (code, said) = outcome(&mut server.run(["capture"]));
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("no microphone: the system has none"), "{said}");

    let mut ear = Listener::start(server.run(["capture", "--microphone", "spk.monitor"]));
    ear.until("sound", |listener| listener.bytes > 0);
    ear.end();
}

#[test]
fn who_is_unplugged_gives_way_to_the_default_and_takes_over_again_when_it_is_back() {
    let Some(server) = Server::start() else { return };
    let headset = "module-null-sink sink_name=headset rate=48000 channels=1 norewinds=1";
    if !server.load(headset) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let wav = dir.path().join("in.wav");
    write_wav(&wav, &voice(60.0), 48_000, 1);
    let mut mouth = server.run(["capture", "--input", text(&wav)]).stdout(Stdio::piped()).spawn().expect("capture");
    let records = mouth.stdout.take().expect("a pipe");
    let mut speaker = server.run(["play", "--speaker", "headset"]);
    speaker.stdin(records);
    let mut speaker = Listener::start(speaker);
    // What is heard at the default device is what the headset does not play any more.
    let mut ear = Listener::start(server.run(["capture", "--microphone", "heard"]));
    ear.until("sound", |listener| listener.bytes > 10_000);

    server.unload("module-null-sink", "headset");
    speaker.until("word of the other device", |listener| listener.has_said("from here on, in place of"));
    assert!(server.load(headset));
    speaker.until("word of its return", |listener| listener.has_said("again"));

    assert_eq!(speaker.warnings(), 2, "{:?}", speaker.said);
    assert!(speaker.is_running() && ear.is_running());
    speaker.end();
    ear.end();
    let _ = mouth.kill();
    let _ = mouth.wait();
}

#[test]
fn a_silent_loop_says_what_to_do() {
    let Some(server) = Server::start() else { return };
    if !server.load("module-null-sink sink_name=deaf rate=48000 channels=1 norewinds=1") {
        return;
    }
    let args = ["latency", "--microphone", "deaf.monitor", "--clicks", "2", "--within", "100"];
    let (code, said) = outcome(&mut server.run(args));
    assert_eq!(code, Some(69));
    assert!(said.contains("none of 2 sounds came back; turn the loudspeaker up"), "{said}");
}

#[test]
fn the_doctor_looks_twelve_times_and_says_what_to_do() {
    let Some(server) = Server::start() else { return };
    let doctor = |microphone: &str| {
        let output = server.run(["doctor", "--json", "--microphone", microphone]).output().expect("doctor");
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let checks: Vec<serde_json::Value> =
            lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let names: Vec<_> = checks.iter().map(|check| check["name"].as_str().expect("a name")).collect();
        let expected = "sound system, microphone, loudspeaker, mixer, buffers, level, clocks, bluetooth, echo, priority, codec, disk";
        assert_eq!(names.join(", "), expected);
        let level = checks.iter().find(|check| check["name"] == "level").expect("a check");
        assert_eq!(level["verdict"], "warn");
        (output.status.code(), level["text"].to_string(), String::from_utf8_lossy(&output.stderr).into_owned())
    };

    let (code, level, _) = doctor("heard");
    assert!(code == Some(0) && level.contains("silence"), "{code:?}, {level}");
    let (code, level, said) = doctor("no such thing");
    assert!(code == Some(69) && level.contains("not looked at"), "{code:?}, {level}");
    assert!(said.contains("microphone: none is called no such thing; plug one in"), "{said}");
}

/// A running program, what it says and how much it gives.
struct Listener {
    process: Child,
    news: Receiver<News>,
    said: Vec<String>,
    bytes: usize,
}

enum News {
    Said(String),
    Gave(usize),
}

impl Listener {
    fn start(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let (sender, news) = channel();
        let (stderr, mut stdout) = (process.stderr.take().expect("a pipe"), process.stdout.take().expect("a pipe"));
        let says = sender.clone();
        std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|line| says.send(News::Said(line)))
        });
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = std::io::Read::read(&mut stdout, &mut buffer) {
                if sender.send(News::Gave(read)).is_err() {
                    return;
                }
            }
        });
        Self { process, news, said: Vec::new(), bytes: 0 }
    }

    fn until(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) {
        while !wanted(self) {
            match self.news.recv_timeout(PATIENCE) {
                Ok(News::Said(line)) => self.said.push(line),
                Ok(News::Gave(bytes)) => self.bytes += bytes,
                Err(_) => panic!("no {what}; it said {:?} and gave {} bytes", self.said, self.bytes),
            }
        }
    }

    fn has_said(&self, words: &str) -> bool {
        self.said.iter().any(|line| line.contains(words))
    }

    fn warnings(&self) -> usize {
        self.said.iter().filter(|line| line.contains("WARN")).count()
    }

    fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    fn end(mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).expect("a process");
        self.process.wait().expect("an end");
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // One that has ended needs no end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
