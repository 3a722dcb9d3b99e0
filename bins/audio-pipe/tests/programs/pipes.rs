//! `capture | play` in real time, file to file.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{RATE, audio_pipe, lag, outcome, power, read_wav, voice, write_wav};

/// More than any machine needs, and less than a listener would miss.
const MOST_LAG: usize = RATE / 5;

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn capture(args: &[&str]) -> Child {
    let all = ["capture"].iter().chain(args).copied();
    audio_pipe(all).stdout(Stdio::piped()).spawn().expect("capture")
}

#[test]
fn all_that_is_said_is_heard_from_the_first_sample_to_the_last() {
    let dir = tempfile::tempdir().expect("a folder");
    let [wav, out, cap, stats] = ["in.wav", "out.wav", "cap.json", "play.json"].map(|name| dir.path().join(name));
    let said = &voice(1.2)[..57_137];
    write_wav(&wav, said, 48_000, 1);

    let mut capture = capture(&["--input", text(&wav), "--stats", text(&cap)]);
    let records = capture.stdout.take().expect("a pipe");
    let played = outcome(audio_pipe(["play", "--output", text(&out), "--stats", text(&stats)]).stdin(records));

    assert_eq!(played, (Some(0), String::new()));
    assert!(capture.wait().expect("an end").success());
    let heard = read_wav(&out);
    let (lag, likeness) = lag(said, &heard);
    assert!(lag < MOST_LAG + RATE / 2 && likeness > 0.9, "lags by {lag}, alike {likeness}");
    for part in [0..960, said.len() - 960..said.len()] {
        let (before, after) = (power(&said[part.clone()]), power(&heard[part.start + lag..part.end + lag]));
        assert!(after > before / 4.0, "samples {part:?} have power {after}, not {before}");
    }
    let json =
        |path| -> serde_json::Value { serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON") };
    let (cap, stats) = (json(cap), json(stats));
    assert_eq!(stats["playback"]["samples"], heard.len());
    assert_eq!(
        (&stats["speakers"][0]["received"], &stats["speakers"][0]["lost"]),
        (&cap["capture"]["packets"], &0.into())
    );
    let time = |value: &serde_json::Value| value["first_sample_unix_ns"].as_u64().expect("a time");
    let mouth = time(&cap["capture"]);
    let ear = time(&stats["playback"]) + (lag * 1_000_000 / 48) as u64;
    assert!((10_000_000..200_000_000).contains(&(ear - mouth)), "mouth to ear takes {} ns", ear - mouth);
}

#[test]
fn a_start_in_the_future_is_where_the_files_begin() {
    let dir = tempfile::tempdir().expect("a folder");
    let [wav, out, stats] = ["in.wav", "out.wav", "play.json"].map(|name| dir.path().join(name));
    let said = voice(0.6);
    write_wav(&wav, &said, 48_000, 1);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time");
    let start = now.as_millis() as u64 + 1500;
    let at = format!("{}.{:03}", start / 1000, start % 1000);

    let mut capture = capture(&["--input", text(&wav), "--start-at", &at]);
    let records = capture.stdout.take().expect("a pipe");
    let args = ["play", "--start-at", &at, "--output", text(&out), "--stats", text(&stats)];
    assert_eq!(outcome(audio_pipe(args).stdin(records)), (Some(0), String::new()));
    assert!(capture.wait().expect("an end").success());

    let (lag, likeness) = lag(&said, &read_wav(&out));
    assert!((480..MOST_LAG).contains(&lag) && likeness > 0.9, "lags by {lag}, alike {likeness}");
    let stats: serde_json::Value = serde_json::from_slice(&std::fs::read(stats).expect("a file")).expect("JSON");
    assert_eq!(stats["playback"]["first_sample_unix_ns"].as_u64().map(|ns| (ns + 1000) / 1_000_000), Some(start));
}

#[test]
fn what_is_no_voice_lane_is_refused() {
    let mut play = audio_pipe(["play", "--output", "/dev/null"]);
    let mut play = play.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("play");
    play.stdin.take().expect("a pipe").write_all(b"this is no voice lane").expect("room");
    let said = play.wait_with_output().expect("an end");
    assert_eq!(said.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&said.stderr).contains("the standard input is no voice lane"), "{said:?}");
}

#[test]
fn hostile_records_are_dropped_and_the_rest_is_played() {
    let dir = tempfile::tempdir().expect("a folder");
    let [wav, out] = ["in.wav", "out.wav"].map(|name| dir.path().join(name));
    let said = voice(0.6);
    write_wav(&wav, &said, 48_000, 1);
    let mut play = audio_pipe(["play", "--output", text(&out)]).stdin(Stdio::piped()).spawn().expect("play");
    let mut lane = play.stdin.take().expect("a pipe");
    for packet in [vec![], vec![0; 1100], vec![0xFF; 40], vec![0; 4000]] {
        let record = wire::agent::VoiceRecord { peers: wire::agent::Peers::All, packet };
        lane.write_all(&wire::frame::frame(&record)).expect("room");
    }

    let capture = audio_pipe(["capture", "--input", text(&wav)]).stdout(lane).status();

    assert!(capture.expect("capture").success());
    assert!(play.wait().expect("an end").success());
    let (_, likeness) = lag(&said, &read_wav(&out));
    assert!(likeness > 0.8, "alike {likeness}");
}

#[test]
fn a_full_disk_ends_the_playing_with_a_sentence() {
    let (_reader, writer) = std::io::pipe().expect("a pipe");
    let (code, said) = outcome(audio_pipe(["play", "--output", "/dev/full"]).stdin(_reader));
    drop(writer);
    assert_eq!((code, said.lines().count()), (Some(74), 1), "{said}");
    assert!(said.contains("write to /dev/full: No space left on device"), "{said}");
}

#[test]
fn a_signal_ends_the_playing_and_leaves_a_whole_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("out.wav");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut play = audio_pipe(["play", "--output", text(&out)]).stdin(reader).spawn().expect("play");
    // The header appears with the first block; only then is there something to complete.
    while std::fs::metadata(&out).map_or(0, |data| data.len()) == 0 {
        std::thread::yield_now();
    }
    let pid = Pid::from_child(&play);
    kill_process(pid, Signal::TERM).expect("a process");

    let status = play.wait().expect("an end");
    drop(writer);

    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    assert!(!read_wav(&out).is_empty());
}

#[test]
fn a_player_that_goes_away_ends_the_capture_quietly() {
    let dir = tempfile::tempdir().expect("a folder");
    let wav = dir.path().join("in.wav");
    write_wav(&wav, &voice(5.0), 48_000, 1);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    assert_eq!(outcome(audio_pipe(["capture", "--input", text(&wav)]).stdout(writer)), (Some(0), String::new()));
}
