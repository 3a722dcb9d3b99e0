//! Voice and text from program to program.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::process::Signal;
use tests::call::{Home, Member, Options, Program, Rendezvous, find};

use crate::{
    Tests, listed, start_lab,
    tones::{seconds_of, sounds_in, wav_in},
};

pub(crate) fn tests() -> Tests {
    listed![
        voice_goes_through_pipes,
        a_talk_goes_both_ways,
        music_is_heard_on_the_side_where_it_was_played,
        a_text_is_acknowledged_and_read,
    ]
}

const SECONDS: u32 = 4;
const TONE_HZ: f32 = 440.0;
/// What is played on the right, where two channels are sent.
const OTHER_HZ: f32 = 700.0;

fn voice_goes_through_pipes() {
    let lab = start_lab("A=port B=port");
    let _rendezvous = Rendezvous::start(&lab);
    let listener = Options { node: "B1", channel: "den", name: "bob", more: &["--pipe", "voice"] };
    let (mut bob, voice) = Member::in_pipeline(&lab, &listener, Stdio::null());
    let mut play = bob.home().command(&lab, "B1", "audio-pipe");
    let (mut play, _) =
        Program::in_pipeline(bob.home(), "play", play.args(["play", "--output", "heard.wav"]), voice.into());
    let talker = Options { node: "A1", channel: "den", name: "alice", more: &["--pipe", "voice", "--exit-at-eof"] };
    let said = tone_in(bob.home());

    let mut capture = bob.home().command(&lab, "A1", "audio-pipe");
    let (_capture, voice) =
        Program::in_pipeline(bob.home(), "capture", capture.args(["capture", "--input"]).arg(&said), Stdio::null());
    let (mut alice, _) = Member::in_pipeline(&lab, &talker, voice.into());
    alice.until_direct("bob");
    bob.until_direct("alice");

    bob.until_gone("alice");
    bob.program().signal(Signal::TERM);
    bob.program().end();
    play.end();

    let seconds = seconds_of(TONE_HZ, &sounds_in(&bob.home().path().join("heard.wav"))[0]);
    assert!(seconds > 2.0, "{seconds} s of {SECONDS} were heard");
}

fn a_talk_goes_both_ways() {
    for sound in talk(tone_in, &[]) {
        let seconds = seconds_of(TONE_HZ, &sounds_in(&sound.path().join("heard.wav"))[0]);
        assert!(seconds > 2.0, "{seconds} s of {SECONDS} were heard");
    }
}

fn music_is_heard_on_the_side_where_it_was_played() {
    for sound in talk(|home| wav_in(home, SECONDS, &[TONE_HZ, OTHER_HZ]), &["--music", "--stereo"]) {
        let sides = sounds_in(&sound.path().join("heard.wav"));
        let seconds: Vec<_> = sides.iter().zip([TONE_HZ, OTHER_HZ]).map(|(side, hz)| seconds_of(hz, side)).collect();
        assert!(seconds.len() == 2 && seconds.iter().all(|seconds| *seconds > 2.0), "{seconds:?} s of {SECONDS}");
    }
}

/// Two who talk at the same time, from a file to a file, with these options: what either has heard is in its folder.
fn talk(said: impl Fn(&Home) -> PathBuf, options: &[&str]) -> [Home; 2] {
    let lab = start_lab("A=port B=port");
    let _rendezvous = Rendezvous::start(&lab);
    let sounds = [Home::new(), Home::new()];
    let mut members: Vec<_> = [("A1", "alice"), ("B1", "bob")]
        .into_iter()
        .zip(&sounds)
        .map(|((node, name), sound)| {
            let (pipe, said) = (find("audio-pipe").unwrap(), said(sound));
            let heard = sound.path().join("heard.wav");
            let words = [&pipe, Path::new("talk"), Path::new("--input"), &said, Path::new("--output"), &heard];
            let words = words.map(|word| word.to_str().unwrap());
            let more = [&["--"], &words[..], &["--exit-at-end"], options].concat();
            Member::with(&lab, &Options { node, channel: "den", name, more: &more })
        })
        .collect();

    for member in &mut members {
        member.program().end();
    }
    sounds
}

fn a_text_is_acknowledged_and_read() {
    let lab = start_lab("A=port B=port");
    let _rendezvous = Rendezvous::start(&lab);
    let mut alice = Member::join(&lab, "A1", "den", "alice");
    let mut bob = Member::join(&lab, "B1", "den", "bob");
    alice.until_direct("bob");
    bob.until_direct("alice");

    alice.say(&lab, "grüß dich \u{1f442}");

    let mut tail = bob.home().command(&lab, "B1", "chatctl");
    let mut tail = Program::start(bob.home(), "tail", tail.args(["tail", "--count", "1"]));
    let line = tail.line("text");
    assert!(line.contains("alice") && line.contains("grüß dich \u{1f442}"), "{line}");
    assert!(tail.end().success());
}

/// A tone in a WAV file.
fn tone_in(home: &Home) -> PathBuf {
    wav_in(home, SECONDS, &[TONE_HZ])
}
