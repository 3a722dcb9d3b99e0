//! A loudspeaker that the microphone hears, on a private PulseAudio.

use std::process::{Child, Stdio};

use wire::agent::FromPuncher;

use crate::hub::Hub;
use crate::server::Server;
use crate::support::{SPOKEN, has, power, read_wav, spoken, text, write_wav};
use crate::talk::in_ms;

#[test]
fn who_talks_to_a_loudspeaker_does_not_hear_itself_if_echo_is_cancelled_there() {
    if !has("espeak-ng", "the echo of a loudspeaker") {
        return;
    }
    let said = spoken(&["These days a chicken leg is a rare dish. Rice is often served in round bowls."; 3]);
    let Some([plain, cancelled]) = echoes(&said) else { return };
    let by = 10.0 * (plain / cancelled.max(1e-10)).log10();
    assert!(plain > 1e-4 && by > 15.0, "the echo is {by:.1} dB weaker, and {plain} without anything against it");
}

/// How loud what was said comes back after 6 s, without echo cancellation and with it.
fn echoes(said: &[f32]) -> Option<[f32; 2]> {
    let server = Server::start()?;
    let dir = tempfile::tempdir().expect("a folder");
    let wav = dir.path().join("in.wav");
    write_wav(&wav, said, SPOKEN as u32, 1);
    let echo = |switch: &str| {
        let hub = Hub::start(&dir.path().join(switch), 2);
        let mut listener = hub.command(0, &["talk", "--echo", switch]);
        listener.env("PULSE_SERVER", server.address()).stderr(Stdio::piped());
        let mut listener: Child = listener.spawn().expect("talk");
        hub.wait_for(|seen| seen.frames > 0);
        let record = dir.path().join(switch).join("heard");
        let start = in_ms(1000);
        let talker = ["--input", text(&wav), "--exit-at-end", "--start-at", &start, "--record-each", text(&record)];
        let end = hub.member(1, &talker).wait_with_output().expect("an end");
        assert!(end.status.success(), "{end:?}");
        hub.tell(0, &FromPuncher::Closing);
        assert!(listener.wait().expect("an end").success());
        let heard = read_wav(&record.join("m0.wav"));
        power(&heard[6 * 48_000..])
    };
    std::fs::create_dir_all(dir.path().join("off")).expect("a folder");
    std::fs::create_dir_all(dir.path().join("on")).expect("a folder");
    Some(["off", "on"].map(echo))
}
