//! A call that is recorded, from the start or while it goes on.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use wire::PeerTag;
use wire::agent::FromPuncher;
use wire::voice::Flags;

use crate::hub::Hub;
use crate::support::{RATE, audio_pipe, has, lag, outcome, power, read_wav, text, voice, write_wav};

/// Two who talk; the first one has these options.
struct Call {
    dir: tempfile::TempDir,
    hub: Hub,
    talks: [Child; 2],
}

impl Call {
    fn start(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let hub = Hub::start(dir.path(), 2);
        let wav = dir.path().join("in.wav");
        write_wav(&wav, &voice(20.0), 48_000, 1);
        let said = ["--input", text(&wav)];
        let talks = [hub.member(0, &[&said, args].concat()), hub.member(1, &said)];
        hub.wait_for(|seen| seen.ended.len() == 2);
        Self { dir, hub, talks }
    }

    /// Lets them talk for so many frames more.
    fn go_on(&self, frames: usize) {
        let before = self.hub.seen().frames;
        self.hub.wait_for(|seen| seen.frames >= before + frames);
    }

    fn says(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = self.hub.command(0, args).output().expect("the program starts");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).trim_end().to_owned())
    }

    fn end(mut self) -> tempfile::TempDir {
        for (tag, talk) in (0..).zip(&mut self.talks) {
            self.hub.tell(tag, &FromPuncher::Closing);
            assert!(talk.wait().expect("an end").success());
        }
        let empty = tempfile::tempdir().expect("a folder");
        std::mem::replace(&mut self.dir, empty)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        for talk in &mut self.talks {
            let _ = talk.kill();
            let _ = talk.wait();
        }
    }
}

/// What is in an Ogg Opus file, and what is said of it.
fn decode(path: &Path) -> (Vec<f32>, String) {
    let wav = path.with_extension("decoded.wav");
    let (code, said) = outcome(&mut audio_pipe(["decode", text(path), text(&wav)]));
    assert_eq!(code, Some(0), "{path:?}: {said}");
    (read_wav(&wav), said)
}

/// What is in a whole one.
fn decoded(path: &Path) -> Vec<f32> {
    let (sound, said) = decode(path);
    assert_eq!(said, "", "{path:?}");
    sound
}

/// What is in one whose writer came to a sudden end.
fn rescued(path: &Path) -> Vec<f32> {
    let (sound, said) = decode(path);
    assert!(said.contains("ends without its last page"), "{path:?}: {said}");
    sound
}

#[test]
fn each_speaker_and_the_mix_are_recorded_and_the_others_know() {
    let call = Call::start(&[]);
    let folder = call.dir.path().join("today");
    assert_eq!(call.says(&["record", "status"]), (Some(0), "nothing is recorded".to_owned()));
    assert_eq!(call.says(&["record", "stop"]).0, Some(64));

    let (code, said) = call.says(&["record", "start", text(&folder), "--each", "--mix"]);
    assert!(code == Some(0) && said.starts_with(&format!("recording to {}", text(&folder))), "{said}");
    call.hub.wait_for(|seen| seen.flags[&0].has(Flags::RECORDING) && !seen.flags[&1].has(Flags::RECORDING));
    call.hub.wait_for(|seen| seen.voices.get(&Some(PeerTag(0))).is_some_and(|state| state.recording));
    assert_eq!(call.says(&["record", "start", text(&folder)]).0, Some(64), "it is recorded already");
    call.go_on(300);
    let (code, said) = call.says(&["record", "stop"]);
    assert!(code == Some(0) && said.contains(&format!("written: {}, 3 files, ", text(&folder))), "{said}");
    assert_eq!(call.says(&["record", "status"]), (Some(0), "nothing is recorded".to_owned()));
    call.hub.wait_for(|seen| !seen.flags[&0].has(Flags::RECORDING));

    assert_eq!(call.says(&["record", "start", text(&folder)]).0, Some(0));
    call.go_on(50);
    let dir = call.end();

    let folder = dir.path().join("today");
    let [m0, m1, mix] = ["m0.opus", "m1.opus", "mix.opus"].map(|file| decoded(&folder.join(file)));
    assert!(m0.len() > RATE && m0.len().abs_diff(m1.len()) < RATE / 50, "{} {}", m0.len(), m1.len());
    assert!(mix.len().abs_diff(m1.len()) < RATE / 25, "{} {}", mix.len(), m1.len());
    assert!([&m0, &m1, &mix].iter().all(|sound| power(&sound[RATE / 2..]) > 1e-3), "all of them talk");
    for file in ["m0-2.opus", "m1-2.opus"] {
        assert!(decoded(&folder.join(file)).len() > RATE / 10, "{file}");
    }
    if has("opusinfo", "other programs read recordings") {
        for file in ["m0.opus", "m1.opus", "mix.opus"] {
            let output = Command::new("opusinfo").arg(folder.join(file)).output().expect("opusinfo");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && !said.to_lowercase().contains("warning"), "{file}: {said}");
        }
    }
}

#[test]
fn one_recorded_as_it_was_sent_is_heard_as_it_was_said() {
    let dir = tempfile::tempdir().expect("a folder");
    let hub = Hub::start(dir.path(), 1);
    let [wav, folder] = ["in.wav", "rec"].map(|name| dir.path().join(name));
    let said = voice(1.5);
    write_wav(&wav, &said, 48_000, 1);
    let talk = hub.member(0, &["--input", text(&wav), "--exit-at-end", "--record", text(&folder), "--record-mix"]);
    assert!(talk.wait_with_output().expect("an end").status.success());

    let heard = decoded(&folder.join("m0.opus"));
    let (lag, likeness) = lag(&said, &heard);
    assert!(lag < RATE / 5 && likeness > 0.9, "{lag} late, alike {likeness}");
}

#[test]
fn a_talk_that_is_killed_leaves_what_can_be_played() {
    for file in ["rec", "mix.wav", "mix.opus"] {
        let mut call = Call::start(&[]);
        let path = call.dir.path().join(file);
        assert_eq!(call.says(&["record", "start", text(&path)]).0, Some(0));
        call.go_on(400);
        call.talks[0].kill().expect("a process");
        call.talks[0].wait().expect("an end");

        let found = if file == "rec" { path.join("m1.opus") } else { path };
        let sound = if file == "mix.wav" {
            let again = call.dir.path().join("again.opus");
            assert_eq!(outcome(&mut audio_pipe(["encode", text(&found), text(&again)])), (Some(0), String::new()));
            decoded(&again)
        } else {
            rescued(&found)
        };
        assert!(sound.len() > RATE * 3 / 4 && power(&sound) > 1e-3, "{file}: {} samples", sound.len());
    }
}

#[test]
fn what_can_not_be_recorded_is_told_and_the_call_goes_on() {
    let call = Call::start(&[]);
    let note = call.dir.path().join("note");
    let taken = call.dir.path().join("taken.wav");
    for file in [&note, &taken] {
        std::fs::write(file, "precious").expect("a file");
    }
    for (path, says) in [(&note, "create"), (&taken, "File exists")] {
        let (code, said) = call.says(&["record", "start", text(path)]);
        assert!(code == Some(73) && said.contains(says), "{code:?} {said}");
        assert_eq!(std::fs::read_to_string(path).expect("a file"), "precious");
    }
    assert!(!call.hub.seen().flags[&0].has(Flags::RECORDING));

    assert_eq!(call.says(&["unmute"]), (Some(0), "microphone on, sound on".to_owned()));
    call.end();
}

#[test]
fn a_disk_that_takes_no_more_ends_the_recording_and_not_the_call() {
    let dir = tempfile::tempdir().expect("a folder");
    let hub = Hub::start(dir.path(), 1);
    let [wav, folder, sock] = ["in.wav", "rec", "0.sock"].map(|name| dir.path().join(name));
    write_wav(&wav, &voice(20.0), 48_000, 1);
    // No file may be longer than 8 KiB or so: a second or two of a voice.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_audio-pipe")]);
    limited.args(["talk", "--sock", text(&sock), "--input", text(&wav), "--output", "/dev/null"]);
    let mut talk = limited.args(["--record", text(&folder)]).stderr(Stdio::piped()).spawn().expect("talk");

    hub.wait_for(|seen| seen.voices.get(&None).is_some_and(|own| own.recording));
    let seen = hub.wait_for(|seen| seen.voices.get(&None).is_some_and(|own| !own.recording));
    let status = hub.command(0, &["record", "status"]).output().expect("the program starts");
    hub.wait_for(|later| later.frames > seen.frames + 50);
    hub.tell(0, &FromPuncher::Closing);
    let end = talk.wait().expect("an end");

    let mut said = String::new();
    talk.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert!(end.success() && said.contains("The recording has ended, the call goes on: write to"), "{said}");
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.starts_with("recording ended: write to"), "{status}");
    let kept = rescued(&folder.join("m0.opus"));
    assert!(kept.len() > RATE / 2 && power(&kept) > 1e-3, "{} samples are left", kept.len());
}
