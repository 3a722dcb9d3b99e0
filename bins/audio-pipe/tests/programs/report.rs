//! `talk --report`: the page is there however the call ends.

use rustix::process::{Pid, Signal, kill_process};
use wire::PeerTag;
use wire::agent::FromPuncher;

use crate::hub::Hub;
use crate::support::{outcome, text, voice, write_wav};

/// Waits until the page's figures have something to tell of.
fn heard(hub: &Hub, tag: u32) -> bool {
    let output = hub.command(tag, &["status", "--json"]).output().expect("the program starts");
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    status["speakers"].as_array().is_some_and(|speakers| speakers.iter().any(|s| s["played_ms"].as_u64() > Some(1500)))
}

#[test]
fn the_page_tells_of_everybody_when_a_signal_or_the_puncher_ends_the_call() {
    for signal in [Some(Signal::TERM), Some(Signal::INT), Some(Signal::HUP), None] {
        let dir = tempfile::tempdir().expect("a folder");
        let hub = Hub::start(dir.path(), 2);
        let [wav, page] = ["in.wav", "report.html"].map(|name| dir.path().join(name));
        write_wav(&wav, &voice(60.0), 48_000, 1);
        let mut talks = [
            hub.member(0, &["--input", text(&wav), "--report", text(&page)]),
            hub.member(1, &["--input", text(&wav), "--mute"]),
        ];
        hub.wait_for(|seen| seen.voices.get(&Some(PeerTag(1))).is_some_and(|state| state.muted));
        assert!(hub.command(1, &["unmute"]).status().expect("a status").success());
        while !heard(&hub, 0) {}
        assert!(!page.exists(), "it is written at the end");

        match signal {
            Some(signal) => kill_process(Pid::from_child(&talks[0]), signal).expect("a process"),
            None => hub.tell(0, &FromPuncher::Closing),
        }
        talks[0].wait().expect("an end");
        hub.tell(1, &FromPuncher::Closing);
        talks[1].wait().expect("an end");

        let page = std::fs::read_to_string(&page).expect("a page");
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</main></body></html>\n"), "{page}");
        for part in [
            "<h1>Call in <bdi>lobby</bdi>",
            "<bdi>m1</bdi></th><td>direct</td>",
            "class=\"capture\"",
            "no longer muted",
        ] {
            assert!(page.contains(part), "{part} is missing: {page}");
        }
    }
}

#[test]
fn a_page_that_can_not_be_written_is_told_of_before_the_call() {
    let dir = tempfile::tempdir().expect("a folder");
    let hub = Hub::start(dir.path(), 1);
    let page = dir.path().join("none/report.html");
    let (code, said) = outcome(&mut hub.command(0, &["talk", "--output", "/dev/null", "--report", text(&page)]));
    assert_eq!(code, Some(73));
    assert!(said.contains("none/report.html: there is no folder") && said.contains("make it first"), "{said}");
    assert_eq!(hub.seen().frames, 0);
}
