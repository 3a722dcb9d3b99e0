//! A talk whose gate opens for a voice, or for a key.

use wire::agent::FromPuncher;
use wire::voice::Flags;

use crate::hub::Hub;
use crate::support::{SPOKEN, audio_pipe, has, outcome, power, spoken, text, voice, write_wav};
use crate::talk::{in_ms, json};

#[test]
fn a_gate_sends_what_is_said_from_the_first_sound_on_and_next_to_nothing_in_pauses() {
    if !has("espeak-ng", "a gate that opens for a voice") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let hub = Hub::start(dir.path(), 2);
    let wav = dir.path().join("in.wav");
    let said = spoken(&["She sells sea shells.", "Hello?", "Four hours of steady work faced us.", "Why not?"]);
    write_wav(&wav, &said, SPOKEN as u32, 1);
    let record = dir.path().join("heard");
    let start = in_ms(1500);
    let listener = ["--input", "/dev/null", "--raw", "--start-at", &start, "--record-each", text(&record)];
    let mut listener = hub.member(0, &listener);
    let talker = ["--input", text(&wav), "--gate", "voice", "--exit-at-end", "--start-at", &start];
    let talker = hub.member(1, &talker).wait_with_output().expect("an end");
    assert!(talker.status.success(), "{talker:?}");
    hub.tell(0, &FromPuncher::Closing);
    assert!(listener.wait().expect("an end").success());

    let times = hub.seen().times;
    let is_said: Vec<bool> = said.chunks(SPOKEN / 100).map(|frame| power(frame) > 1e-5).collect();
    let is_sent: Vec<bool> = (0..is_said.len()).map(|n| times.contains(&(4 * n as u32))).collect();
    let unsent: Vec<usize> = (0..is_said.len()).filter(|n| is_said[*n] && !is_sent[*n]).collect();
    assert!(unsent.is_empty(), "frames of a voice were not sent: {unsent:?}");
    // After half a second of silence the hangover is over.
    let idle: Vec<usize> = (50..is_sent.len()).filter(|n| is_said[n - 50..*n].iter().all(|is_said| !is_said)).collect();
    let kept_alive = idle.iter().filter(|n| is_sent[**n]).count();
    assert!(kept_alive * 10 < idle.len(), "{kept_alive} of {} frames of silence were sent", idle.len());
    let stats = json(&record.join("stats.json"));
    assert_eq!(stats["speakers"][0]["lost"], 0, "{stats}");
}

#[test]
fn what_is_said_while_the_key_is_up_is_not_sent() {
    let dir = tempfile::tempdir().expect("a folder");
    let hub = Hub::start(dir.path(), 1);
    let wav = dir.path().join("in.wav");
    write_wav(&wav, &voice(10.0), 48_000, 1);
    let mut talk = hub.member(0, &["--input", text(&wav), "--gate", "ptt"]);
    let (start, end) = (Flags::TALKSPURT_START, Flags::TALKSPURT_END);

    let seen = hub.wait_for(|seen| seen.frames > 2);
    assert_eq!(seen.loudest, 127, "-{} dBov came through a closed gate", seen.loudest);
    assert!(seen.flags[&0] == start.with(end), "{:?}: a pause is no mute", seen.flags);
    assert_eq!(outcome(&mut hub.command(0, &["ptt", "down"])), (Some(0), String::new()));
    hub.wait_for(|seen| seen.loudest < 40 && seen.flags[&0] == Flags::default());
    assert_eq!(outcome(&mut hub.command(0, &["ptt", "up"])), (Some(0), String::new()));
    hub.wait_for(|seen| seen.flags[&0].has(end));

    hub.tell(0, &FromPuncher::Closing);
    assert!(talk.wait().expect("an end").success());
}

#[test]
fn what_can_not_be_done_is_refused_before_anybody_is_called() {
    let rows = [
        (&["talk", "--frame-ms", "5", "--noise", "rnn"][..], "--frame-ms 10"),
        (&["capture", "--mode", "speaker"], "for talk"),
        (&["talk", "--gate", "ajar"], "not open, voice or ptt"),
    ];
    for (args, says) in rows {
        let (code, said) = outcome(&mut audio_pipe(args.iter().copied()));
        assert!(code == Some(64) && said.contains(says), "{args:?}: {said}");
    }
}
