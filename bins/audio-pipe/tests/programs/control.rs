//! A talk that is changed from outside while it runs.

use std::process::Child;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use wire::PeerTag;
use wire::agent::FromPuncher;
use wire::voice::Flags;

use crate::hub::{Hub, Seen};
use crate::support::{outcome, text, voice, write_wav};

/// A talk of member 0, and whoever else talks.
struct Call {
    dir: tempfile::TempDir,
    hub: Hub,
    talks: Vec<Child>,
}

impl Call {
    /// Everybody talks for ten seconds, or until the test ends.
    fn start(members: u32, args: &[&str]) -> Self {
        Self::of(10.0, members, args)
    }

    fn of(seconds: f32, members: u32, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let hub = Hub::start(dir.path(), members);
        let wav = dir.path().join("in.wav");
        write_wav(&wav, &voice(seconds), 48_000, 1);
        let said = ["--input", text(&wav)];
        let first = hub.member(0, &[&said, args].concat());
        let rest = (1..members).map(|tag| hub.member(tag, &said));
        let talks = std::iter::once(first).chain(rest).collect();
        let call = Self { dir, hub, talks };
        call.hub.wait_for(|seen| seen.ended.len() == members as usize);
        call
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a command at member 0; exit code, stdout and stderr.
    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let output = self.hub.command(0, args).output().expect("the program starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    fn says(&self, args: &[&str]) -> String {
        let (code, said, error) = self.run(args);
        assert_eq!((code, error.as_str()), (0, ""), "{args:?}: {said}");
        said
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.says(&["status", "--json"])).expect("JSON")
    }

    fn end(mut self) {
        for (tag, talk) in (0..).zip(&mut self.talks) {
            self.hub.tell(tag, &FromPuncher::Closing);
            assert!(talk.wait().expect("an end").success());
        }
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

#[test]
fn mute_is_obeyed_told_to_the_others_and_to_the_programs_here() {
    let call = Call::start(1, &["--mute"]);
    let seen = call.hub.wait_for(|seen| seen.muted == [true] && seen.frames > 1);
    assert!(seen.loudest == 127, "-{} dBov came through a muted microphone", seen.loudest);

    assert_eq!(call.says(&["toggle"]), "microphone on, sound on");
    call.hub.wait_for(|seen| seen.muted == [true, false] && seen.loudest < 40);
    assert_eq!(call.says(&["mute"]), "microphone off, sound on");
    assert_eq!(call.says(&["mute"]), "microphone off, sound on");
    call.hub.wait_for(|seen| seen.muted == [true, false, true] && seen.flags[&0].has(Flags::MUTED));
    kill_process(Pid::from_child(&call.talks[0]), Signal::USR1).expect("a process");
    call.hub.wait_for(|seen| seen.muted == [true, false, true, false] && seen.levels > 0);
    assert_eq!(call.says(&["unmute"]), "microphone on, sound on");
    call.end();
}

#[test]
fn who_has_nothing_more_to_say_is_still_seen_to_record_and_to_be_muted() {
    let call = Call::of(0.2, 2, &[]);
    call.hub.wait_for(|seen| seen.flags[&0].has(Flags::STREAM_END));
    let state = |seen: &Seen| seen.voices.get(&Some(PeerTag(0))).copied();

    assert!(call.says(&["record", "start", text(&call.path("recorded"))]).starts_with("recording to "));
    call.hub.wait_for(|seen| state(seen).is_some_and(|state| state.recording));
    call.says(&["record", "stop"]);
    call.hub.wait_for(|seen| state(seen).is_some_and(|state| !state.recording));
    call.says(&["mute"]);
    call.hub.wait_for(|seen| state(seen).is_some_and(|state| state.muted));
    call.end();
}

#[test]
fn the_deafened_hear_nobody_are_not_heard_and_everybody_knows() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("out.wav");
    let call = Call::start(2, &["--deafen", "--output", text(&out)]);
    let deafened = Flags::MUTED.with(Flags::DEAFENED);
    call.hub.wait_for(|seen| seen.flags[&0].has(deafened));
    call.hub.wait_for(|seen| seen.voices.get(&Some(PeerTag(0))).is_some_and(|state| state.deafened && state.muted));
    assert_eq!(call.says(&["undeafen"]), "microphone on, sound on");
    call.hub.wait_for(|seen| !seen.flags[&0].has(Flags::MUTED));
    call.says(&["mute"]);
    kill_process(Pid::from_child(&call.talks[0]), Signal::USR2).expect("a process");
    call.hub.wait_for(|seen| seen.flags[&0].has(deafened));
    assert_eq!(call.says(&["undeafen"]), "microphone off, sound on", "it was off before");
    call.hub.wait_for(|seen| seen.flags[&0].has(Flags::MUTED) && !seen.flags[&0].has(Flags::DEAFENED));
    call.end();
}

#[test]
fn a_volume_is_heard_and_lasts_when_its_name_leaves_and_comes_back() {
    let mut call = Call::start(2, &[]);
    assert_eq!(call.says(&["volume", "m1", "-20"]), "m1 -20 dB");
    assert_eq!(call.says(&["volume", "1", "off"]), "m1 off");
    let is_off = |call: &Call| call.status()["speakers"][0]["off"].clone();
    assert_eq!(is_off(&call), true);

    call.hub.hang_up(1);
    call.talks[1].wait().expect("an end");
    let wav = call.path("in.wav");
    call.talks[1] = call.hub.member(1, &["--input", text(&wav)]);
    call.hub.wait_for(|seen| seen.ended.contains_key(&1));
    while call.status()["speakers"].as_array().is_none_or(Vec::is_empty) {}

    assert_eq!(is_off(&call), true);
    assert_eq!(call.says(&["volume", "M", "on"]), "m1 -20 dB");
    call.end();
}

#[test]
fn the_status_tells_of_everybody_and_of_every_setting() {
    let call = Call::start(3, &["--loudness"]);
    call.hub.wait_for(|seen| seen.voices.get(&Some(PeerTag(1))).is_some_and(|state| state.talking) && seen.reports > 3);
    let status = call.status();
    assert_eq!((status["v"].as_u64(), status["type"].as_str()), (Some(1), Some("talk")));
    assert_eq!((status["muted"].as_bool(), status["deafened"].as_bool()), (Some(false), Some(false)));
    assert_eq!(
        (status["settings"]["loudness"].as_str(), status["settings"]["bitrate"].as_str()),
        (Some("on"), Some("56000"))
    );
    let speakers = status["speakers"].as_array().expect("speakers");
    assert_eq!(speakers.iter().map(|speaker| speaker["peer"].as_str()).collect::<Vec<_>>(), [Some("m1"), Some("m2")]);
    assert!(speakers[0]["received"].as_u64() > Some(10) && speakers[0]["talking"] == true, "{status}");

    let table = call.says(&["status"]);
    assert!(table.lines().any(|line| line.starts_with("m1 ")) && table.contains("VOLUME"), "{table}");
    call.end();
}

#[test]
fn settings_are_changed_and_wrong_ones_are_named() {
    let call = Call::start(1, &[]);
    assert_eq!(call.says(&["set", "bitrate", "24k"]), "bitrate 24000");
    assert_eq!(call.says(&["set", "loudness", "on"]), "loudness on");
    assert_eq!(call.says(&["set", "gate", "ptt"]), "gate ptt");
    assert_eq!(call.says(&["ptt", "down"]), "key down");
    let rows = [
        (&["set", "bitrate", "loud"][..], "bitrate can't be loud: it is not between 6k and 510k"),
        (&["set", "loudness", "maybe"], "loudness can't be maybe: it is on or off"),
        (
            &["set", "x\u{1b}", "1"],
            "there is no setting x␛; there are bitrate, loudness, echo, noise, gain, gate, hangover",
        ),
    ];
    for (args, says) in rows {
        assert_eq!(call.run(args), (64, String::new(), format!("audio-pipe: {says}")));
    }
    assert_eq!(call.says(&["set", "gate", "open"]), "gate open");
    let (code, _, error) = call.run(&["ptt", "up"]);
    assert!(code == 64 && error.contains("set gate ptt"), "{error}");
    call.end();
}

#[test]
fn a_peer_that_is_not_there_or_may_be_two_is_named() {
    let call = Call::start(3, &[]);
    let rows = [
        (["volume", "bob", "3"], 68, "nobody named bob is there; there are m1, m2"),
        (["volume", "m", "3"], 64, "m may be m1 or m2: write all of it"),
    ];
    for (args, code, says) in rows {
        assert_eq!(call.run(&args), (code, String::new(), format!("audio-pipe: {says}")));
    }
    for db in ["loud", "13", "-61", "1.5", ""] {
        let (code, _, error) = call.run(&["volume", "m1", db]);
        assert!(code == 64 && error.contains("not a whole number of decibels from -60 to 12"), "{db}: {error}");
    }
    call.end();
}

#[test]
fn without_a_talk_or_a_puncher_it_says_what_to_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let hub = Hub::start(dir.path(), 1);
    for args in [&["mute"][..], &["status", "--json"], &["ptt", "down"], &["set", "bitrate", "24k"]] {
        let (code, said) = outcome(&mut hub.command(0, args));
        assert_eq!((code, said.as_str()), (Some(69), "audio-pipe: nobody talks here: start with: audio-pipe talk"));
        let (code, said) = outcome(&mut hub.command(7, args));
        assert!(code == Some(69) && said.contains("no puncher is running at"), "{said}");
    }
}

#[test]
fn a_talk_that_hangs_is_not_waited_for_forever() {
    let call = Call::start(1, &[]);
    let talk = Pid::from_child(&call.talks[0]);
    kill_process(talk, Signal::STOP).expect("a process");
    // The signal is only on its way when it has been sent: each thread may still answer until it stops.
    let stopped = waitpid(Some(talk), WaitOptions::UNTRACED).expect("a child").expect("a status").1;
    assert!(stopped.stopped(), "{stopped:?}");
    let (code, _, error) = call.run(&["mute"]);
    assert!(code == 75 && error.contains("does not answer"), "{code} {error}");
    kill_process(talk, Signal::CONT).expect("a process");
}

#[test]
fn levels_are_lines_of_json_with_names() {
    let dir = tempfile::tempdir().expect("a folder");
    let hub = Hub::start(dir.path(), 2);
    let wav = dir.path().join("in.wav");
    write_wav(&wav, &voice(2.0), 48_000, 1);
    let other = hub.member(1, &["--input", text(&wav), "--exit-at-end"]);
    let talk = hub.member(0, &["--input", text(&wav), "--exit-at-end", "--meter", "--json"]);
    let end = talk.wait_with_output().expect("an end");
    drop(other.wait_with_output());

    let lines = String::from_utf8(end.stderr).expect("text");
    let talks = |line: &serde_json::Value| {
        line["type"] == "levels"
            && line["levels"].as_array().is_some_and(|levels| {
                levels.iter().any(|level| level["name"] == "m1" && level["talking"] == true && level["muted"] == false)
            })
    };
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.iter().any(talks), "{lines:?}");
}
