//! Music: two channels, as they are heard.

use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use wire::agent::FromPuncher;
use wire::voice::Flags;

use crate::hub::Hub;
use crate::server::Server;
use crate::support::{RATE, audio_pipe, outcome, read_sides, read_wav, text, write_wav};

/// What is played on either side, in hertz.
const PITCHES: [f32; 2] = [500.0, 800.0];
const LOUDNESS: f32 = 0.25;
/// Every codec lets a little through from one side to the other: 30 dB.
const APART: f32 = 1000.0;

/// A tone on the left and another one on the right, interleaved.
fn two_tones(seconds: f32) -> Vec<f32> {
    let tone = |n: usize, hz: f32| (n as f32 * hz / RATE as f32).fract() * std::f32::consts::TAU;
    (0..(seconds * RATE as f32) as usize).flat_map(|n| PITCHES.map(|hz| LOUDNESS * tone(n, hz).sin())).collect()
}

/// How loud a pitch is in the middle of what is heard of some sound, as a share of that of the tones.
fn share(sound: &[f32], hz: f32) -> f32 {
    const PART: usize = RATE / 10;
    let of = |part: &[f32]| {
        let (mut cos, mut sin) = (0.0, 0.0);
        for (n, sample) in part.iter().enumerate() {
            let angle = std::f32::consts::TAU * hz * n as f32 / RATE as f32;
            (cos, sin) = (cos + sample * angle.cos(), sin + sample * angle.sin());
        }
        (cos * cos + sin * sin) / (LOUDNESS * PART as f32 / 2.0).powi(2)
    };
    let is_loud = |sample: &f32| sample.abs() > LOUDNESS / 4.0;
    let from = sound.iter().position(is_loud).expect("a tone");
    let heard = &sound[from..sound.iter().rposition(is_loud).expect("a tone")];
    let parts: Vec<f32> = heard[heard.len() / 4..heard.len() * 3 / 4].chunks_exact(PART).map(of).collect();
    parts.iter().sum::<f32>() / parts.len() as f32
}

fn are_apart(sides: &[Vec<f32>; 2]) {
    for (n, side) in sides.iter().enumerate() {
        let (own, other) = (share(side, PITCHES[n]), share(side, PITCHES[1 - n]));
        assert!(own > 0.8 && own > APART * other, "side {n}: {own} of its own tone, {other} of the other one");
    }
}

/// What `play` writes of what `capture --music` hears.
fn played(wav: &Path, out: &Path, args: &[&str]) {
    let mut capture = audio_pipe(["capture", "--music", "--input", text(wav)]);
    let mut capture = capture.stdout(Stdio::piped()).spawn().expect("capture");
    let records = capture.stdout.take().expect("a pipe");
    let play = ["play", "--output", text(out)].into_iter().chain(args.iter().copied());
    assert_eq!(outcome(audio_pipe(play).stdin(records)), (Some(0), String::new()));
    assert!(capture.wait().expect("an end").success());
}

#[test]
fn left_and_right_are_heard_apart_and_as_their_mean_where_one_channel_is_played() {
    let dir = tempfile::tempdir().expect("a folder");
    let [wav, out, each] = ["in.wav", "out.wav", "each"].map(|name| dir.path().join(name));
    write_wav(&wav, &two_tones(1.2), 48_000, 2);

    played(&wav, &out, &["--stereo", "--record-each", text(&each)]);
    are_apart(&read_sides(&out));
    are_apart(&read_sides(&each.join("speaker-0.wav")));

    played(&wav, &out, &[]);
    for hz in PITCHES {
        let share = share(&read_wav(&out), hz);
        assert!((0.2..0.27).contains(&share), "{share} of {hz} Hz: half as loud");
    }
}

#[test]
fn a_file_of_one_channel_and_another_rate_is_heard_on_both_sides() {
    let dir = tempfile::tempdir().expect("a folder");
    let [wav, out] = ["in.wav", "out.wav"].map(|name| dir.path().join(name));
    let tone: Vec<f32> =
        (0..44_100).map(|n| LOUDNESS * (n as f32 * 500.0 / 44_100.0 * std::f32::consts::TAU).sin()).collect();
    write_wav(&wav, &tone, 44_100, 1);

    played(&wav, &out, &["--stereo"]);

    let [left, right] = read_sides(&out);
    assert!(share(&left, 500.0) > 0.8, "{}", share(&left, 500.0));
    let differ = left.iter().zip(&right).map(|(left, right)| (left - right).abs()).fold(0.0, f32::max);
    assert!(differ < 0.01, "they differ by {differ}");
}

#[test]
fn who_sends_music_can_not_ask_for_anything_to_be_done_to_it() {
    for option in [["--noise", "rnn"], ["--echo", "on"], ["--gate", "voice"], ["--mode", "headset"]] {
        let (code, said) =
            outcome(&mut audio_pipe(["capture", "--music", "--input", "in.wav"].into_iter().chain(option)));
        assert!(code == Some(64) && said.contains("--music") && said.contains(option[0]), "{said}");
    }
}

#[test]
fn music_in_a_talk_is_heard_apart_recorded_as_it_was_sent_and_known_to_be_music() {
    let dir = tempfile::tempdir().expect("a folder");
    let hub = Hub::start(dir.path(), 2);
    let [wav, silence, out, folder] = ["in.wav", "silence.wav", "out.wav", "rec"].map(|name| dir.path().join(name));
    write_wav(&wav, &two_tones(30.0), 48_000, 2);
    write_wav(&silence, &[0.0; RATE], 48_000, 1);
    let listener = ["--input", text(&silence), "--mute", "--stereo", "--output", text(&out)];
    let mut listener = hub.member(1, &listener);
    hub.wait_for(|seen| seen.ended.contains_key(&1));
    let band = ["--input", text(&wav), "--music", "--record", text(&folder), "--record-mix"];
    let mut band = hub.member(0, &band);
    hub.wait_for(|seen| seen.frames > 200);

    let status = |tag| -> serde_json::Value {
        let output = hub.command(tag, &["status", "--json"]).output().expect("the program starts");
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let (sends, hears) = (status(0), status(1));
    assert_eq!((&sends["mode"], &sends["channels"]), (&"music".into(), &2.into()));
    assert_eq!((&hears["mode"], &hears["channels"]), (&"voice".into(), &1.into()));
    assert_eq!(hears["speakers"][0]["channels"], 2, "{hears}");
    let (code, said) = outcome(&mut hub.command(0, &["set", "noise", "rnn"]));
    assert!(code == Some(64) && said.contains("without --music"), "{said}");
    assert_eq!(outcome(&mut hub.command(0, &["mute"])).0, Some(0));
    hub.wait_for(|seen| seen.flags[&0].has(Flags::MUTED));
    for (tag, member) in [(0, &mut band), (1, &mut listener)] {
        hub.tell(tag, &FromPuncher::Closing);
        assert!(member.wait().expect("an end").success());
    }

    are_apart(&read_sides(&out));
    for file in ["m0.opus", "mix.opus"] {
        let path = folder.join(file);
        let bytes = std::fs::read(&path).expect("a file");
        let head = bytes.windows(8).position(|some| some == b"OpusHead").expect("a header");
        assert_eq!(bytes[head + 9], 2, "{file}: the channels in its header (RFC 7845, section 5.1)");
        let decoded = path.with_extension("wav");
        assert_eq!(outcome(&mut audio_pipe(["decode", text(&path), text(&decoded)])), (Some(0), String::new()));
        are_apart(&read_sides(&decoded));
    }
}

#[test]
fn devices_of_two_channels_hear_and_play_both() {
    let Some(server) = Server::start() else { return };
    if !server.load("module-null-sink sink_name=pair rate=48000 channels=2 norewinds=1") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let [wav, out] = ["in.wav", "out.wav"].map(|name| dir.path().join(name));
    write_wav(&wav, &two_tones(2.0), 48_000, 2);
    // file -> capture -> play -> loudspeaker, which the microphone hears -> capture -> play -> file
    let capture = |args: &[&str]| {
        let words = ["capture", "--music"].into_iter().chain(args.iter().copied());
        server.run(words).stdout(Stdio::piped()).spawn().expect("capture")
    };
    let mut ear = capture(&["--microphone", "pair.monitor"]);
    let heard = ear.stdout.take().expect("a pipe");
    let mut recorder = server.run(["play", "--stereo", "--output", text(&out)]).stdin(heard).spawn().expect("play");
    let mut mouth = capture(&["--input", text(&wav)]);
    let records = mouth.stdout.take().expect("a pipe");
    assert_eq!(outcome(server.run(["play", "--speaker", "pair"]).stdin(records)), (Some(0), String::new()));
    assert!(mouth.wait().expect("an end").success());
    kill_process(Pid::from_child(&ear), Signal::TERM).expect("a process");
    ear.wait().expect("an end");
    assert!(recorder.wait().expect("an end").success());

    are_apart(&read_sides(&out));
}
