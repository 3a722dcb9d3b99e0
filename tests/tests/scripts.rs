//! What people start: `scripts/voice-chat` and `scripts/demo`.

use std::{path::Path, time::Instant};

use rustix::process::Signal;
use serde_json::Value;
use tests::{
    call::{Home, Program, VoiceChat},
    lab::Lab,
};

use crate::{
    Tests, listed, start_lab,
    tones::{seconds_of, sounds_in, wav_in},
};

pub(crate) fn tests() -> Tests {
    listed![
        a_friend_comes_by_what_the_host_was_told_and_both_talk_and_type,
        a_host_that_is_killed_leaves_nothing_and_is_missed,
        sound_that_is_killed_is_missed_and_text_goes_on,
        who_has_no_name_and_can_not_be_asked_is_told_what_to_say,
        a_file_that_is_no_sound_ends_the_launcher,
    ]
}

pub(crate) fn demos() -> Tests {
    listed![a_demo_is_heard_by_all_and_leaves_recordings_and_a_report]
}

const LAB: &str = "A=port:hosts=2";
/// Longer than any of these calls.
const SECONDS: u32 = 60;
/// A second of voice.
const PACKETS: u64 = 100;
/// Nothing here takes as long.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Somebody's words for the launcher: a tone as what is said, and files for what is left.
fn words<'a>(home: &Home, channel: &'a str, name: &'a str, hz: f32) -> Vec<&'a str> {
    wav_in(home, SECONDS, &[hz]);
    vec![channel, "--name", name, "--input", "said.wav", "--output", "heard.wav", "--report", "report.html"]
}

/// Alice, who hosts, and bob, who does as she was told to tell him; they are connected.
fn host_and_friend(lab: &Lab) -> [VoiceChat; 2] {
    let [home, friends] = [Home::new(), Home::new()];
    let words_of_alice = words(&home, "den", "alice", 440.0);
    let mut alice = VoiceChat::start(lab, "A1", home, words_of_alice.into_iter().chain(["--host"]));
    let told = alice.until("scripts/voice-chat den");
    let told = told.split_whitespace().skip(2);
    let words_of_bob = words(&friends, "den", "bob", 700.0);
    let mut bob = VoiceChat::start(lab, "A2", friends, words_of_bob.into_iter().skip(1).chain(["den"]).chain(told));
    bob.until("alice is connected: direct");
    alice.until("bob is connected: direct");
    [alice, bob]
}

/// Waits until somebody has had a second of somebody's voice.
fn until_heard(lab: &Lab, listener: &VoiceChat, name: &str) {
    let start = Instant::now();
    loop {
        let said = listener.run(lab, "audio-pipe", &["status", "--json"]);
        let status: Value = serde_json::from_slice(&said).unwrap_or_default();
        let mut speakers = status["speakers"].as_array().into_iter().flatten();
        let received =
            speakers.find(|speaker| speaker["peer"] == name).and_then(|speaker| speaker["received"].as_u64());
        if received.is_some_and(|packets| packets > PACKETS) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{name} is not heard: {status}");
    }
}

fn a_friend_comes_by_what_the_host_was_told_and_both_talk_and_type() {
    let lab = start_lab(LAB);
    let [mut alice, mut bob] = host_and_friend(&lab);

    alice.type_line("hello");
    bob.until("alice: hello");
    bob.type_line("hello yourself");
    alice.until("bob: hello yourself");
    until_heard(&lab, &alice, "bob");
    until_heard(&lab, &bob, "alice");
    bob.signal(Signal::TERM);
    bob.until("report.html");
    let (ended, home_of_bob) = bob.end();
    alice.until("bob has left (said goodbye)");
    alice.type_line("/exit");
    let (left, home_of_alice) = alice.end();

    assert_eq!((ended.code(), left.code()), (Some(143), Some(0)));
    for (home, hz) in [(home_of_alice, 700.0), (home_of_bob, 440.0)] {
        let seconds = seconds_of(hz, &sounds_in(&home.path().join("heard.wav"))[0]);
        assert!(seconds > 0.5, "{seconds} s of {hz} Hz were heard");
        assert!(std::fs::read_to_string(home.path().join("report.html")).unwrap().ends_with("</html>\n"));
        assert!(home.leftovers().is_empty(), "{:?}", home.leftovers());
    }
}

fn a_host_that_is_killed_leaves_nothing_and_is_missed() {
    let lab = start_lab(LAB);
    let [alice, mut bob] = host_and_friend(&lab);

    alice.signal(Signal::KILL);
    let (_, home) = alice.end();

    bob.until("alice has left (said goodbye)");
    assert!(home.leftovers().is_empty(), "{:?}", home.leftovers());
}

fn sound_that_is_killed_is_missed_and_text_goes_on() {
    let lab = start_lab(LAB);
    let [mut alice, mut bob] = host_and_friend(&lab);

    bob.kill("audio-pipe");
    bob.until("the sound has ended");
    bob.type_line("can you hear me?");
    alice.until("bob: can you hear me?");
    bob.type_line("/exit");
    let (ended, home) = bob.end();

    assert_eq!(ended.code(), Some(0));
    assert!(home.leftovers().is_empty(), "{:?}", home.leftovers());
}

fn who_has_no_name_and_can_not_be_asked_is_told_what_to_say() {
    let lab = start_lab(LAB);
    let mut nobody = VoiceChat::start(&lab, "A1", Home::new(), ["den", "--host"]);

    nobody.until("--name NAME");
    let (ended, _) = nobody.end();

    assert_eq!(ended.code(), Some(64));
}

fn a_file_that_is_no_sound_ends_the_launcher() {
    let lab = start_lab(LAB);
    let home = Home::new();
    std::fs::write(home.path().join("said.wav"), "this is no sound").unwrap();
    let words = ["den", "--name", "alice", "--host", "--input", "said.wav", "--output", "heard.wav"];
    let mut alice = VoiceChat::start(&lab, "A1", home, words);

    alice.until("said.wav");
    let (ended, home) = alice.end();

    assert_eq!(ended.code(), Some(65));
    assert!(home.leftovers().is_empty(), "{:?}", home.leftovers());
}

fn a_demo_is_heard_by_all_and_leaves_recordings_and_a_report() {
    let home = Home::new();
    let mut command = home.own_script("demo");
    let mut demo = Program::start(&home, "demo", command.args(["--json", "call"]));
    let report: Value = serde_json::from_str(&demo.line("table")).unwrap();
    let ended = demo.end();

    assert!(ended.success(), "{}", demo.story());
    let pairs = report["pairs"].as_array().unwrap();
    let is_good = |pair: &&Value| pair["heard"] == true && pair["path"] == "direct" && pair["missing_ms"].is_u64();
    assert_eq!((pairs.len(), pairs.iter().filter(is_good).count()), (6, 6), "{report}");
    let folder = home.path().join("call");
    for (name, others) in [("alice", ["bob", "carol"]), ("bob", ["alice", "carol"]), ("carol", ["alice", "bob"])] {
        let texts = std::fs::read_to_string(folder.join(name).join("texts")).unwrap();
        for other in others {
            assert!(texts.contains(&format!("{other}: Hello from {other}!")), "{name} reads {texts}");
            let sound = sounds_in(&folder.join(name).join(format!("heard/{other}.wav")));
            assert!(sound[0].iter().any(|sample| sample.abs() > 0.1), "{name} has silence of {other}");
        }
    }
    let page = std::fs::read_to_string(report["report"].as_str().map(Path::new).unwrap()).unwrap();
    assert!(page.contains("6 of 6 voices heard"), "{page}");
    assert!(home.leftovers().is_empty(), "{:?}", home.leftovers());
}
