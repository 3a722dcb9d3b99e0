//! A talk whose gate opens for a voice, or for a key.

use wire::agent::FromPuncher;

use crate::hub::Hub;
use crate::support::{SPOKEN, has, power, spoken, text, write_wav};
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
