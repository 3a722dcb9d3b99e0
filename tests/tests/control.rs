//! A talk that is changed from outside, and what is heard of that at the other end.

use std::{f32::consts::TAU, path::Path, time::Instant};

use serde_json::Value;
use tests::{
    call::{Home, Member, Options, Rendezvous, find},
    lab::Lab,
    speech::{RATE, write_wav},
};

use crate::{Tests, listed, start_lab};

pub(crate) fn tests() -> Tests {
    listed![
        switches_of_one_are_heard_and_seen_by_the_other,
        a_key_opens_the_gate_while_it_is_down,
        a_volume_is_heard_where_it_is_set_and_nowhere_else,
        a_report_tells_of_the_path_and_of_who_was_heard,
    ]
}

/// Nothing here takes a second.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Alice, who hums all the time, and bob, who listens and says nothing.
struct Call {
    lab: Lab,
    _rendezvous: Rendezvous,
    alice: Member,
    bob: Member,
    sounds: [Home; 2],
}

impl Call {
    fn start() -> Self {
        let lab = start_lab("A=port B=port");
        let rendezvous = Rendezvous::start(&lab);
        let sounds = [Home::new(), Home::new()];
        let hum: Vec<f32> = (0..RATE * 60).map(|n| 0.3 * (TAU * 440.0 * n as f32 / RATE as f32).sin()).collect();
        let [said, silence] = [sounds[0].path().join("hum.wav"), sounds[1].path().join("silence.wav")];
        write_wav(&said, &hum).unwrap();
        write_wav(&silence, &vec![0.0; hum.len()]).unwrap();
        let join = |node, name, said: &Path, home: &Home, more: &[&str]| {
            let (pipe, heard) = (find("audio-pipe").unwrap(), home.path().join("heard.wav"));
            let words = [&pipe, Path::new("talk"), Path::new("--input"), said, Path::new("--output"), &heard];
            let words = words.map(|word| word.to_str().unwrap());
            let page = home.path().join("report.html");
            let more = [&["--"], &words[..], &["--report", page.to_str().unwrap()], more].concat();
            Member::with(&lab, &Options { node, channel: "den", name, more: &more })
        };
        let alice = join("A1", "alice", &said, &sounds[0], &[]);
        let bob = join("B1", "bob", &silence, &sounds[1], &["--mute"]);
        let call = Self { alice, bob, _rendezvous: rendezvous, sounds, lab };
        call.until("bob hears alice", |call| call.at_bob("alice").is_some_and(|alice| alice["talking"] == true));
        call
    }

    fn control(&self, member: &Member, args: &[&str]) {
        let output = member.run(&self.lab, "audio-pipe", args);
        assert!(output.status.success(), "audio-pipe {args:?}: {output:?}");
    }

    /// How bob hears somebody.
    fn at_bob(&self, name: &str) -> Option<Value> {
        let output = self.bob.run(&self.lab, "audio-pipe", &["status", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).ok()?;
        status["speakers"].as_array()?.iter().find(|speaker| speaker["peer"] == name).cloned()
    }

    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < PATIENCE, "not in time: {what}: {:?}", self.at_bob("alice"));
        }
    }

    /// Waits until bob sees that alice talks or not, is muted or not, deafened or not.
    fn until_alice_is(&self, talking: bool, muted: bool, deafened: bool) {
        let what = format!("talking {talking}, muted {muted}, deafened {deafened}");
        self.until(&what, |call| {
            let Some(alice) = call.at_bob("alice") else { return false };
            let is_loud = alice["dbov"].as_i64().is_some_and(|level| level > -40);
            let state = ["talking", "muted", "deafened"].map(|key| alice[key] == true);
            state == [talking, muted, deafened] && is_loud == talking
        });
    }

    /// Waits until bob has so many packets of alice's voice; how many there are.
    fn until_bob_has_heard(&self, packets: u64) -> u64 {
        let received = |call: &Self| call.at_bob("alice").and_then(|alice| alice["received"].as_u64()).unwrap_or(0);
        self.until("alice is heard", |call| received(call) > packets);
        received(self)
    }

    /// Ends it; how loud the last fifth of a second of what each heard is, and the loudest.
    fn end(self) -> [(f32, f32); 2] {
        let Self { alice, bob, sounds, .. } = self;
        // Bob first, so that he hears alice to the end.
        bob.leave();
        alice.leave();
        sounds.map(|home| {
            let mut file = hound::WavReader::open(home.path().join("heard.wav")).unwrap();
            let heard: Vec<f32> = file.samples::<i16>().map(|sample| f32::from(sample.unwrap()) / 32768.0).collect();
            let loudest = |part: &[f32]| part.iter().fold(0.0_f32, |most, sample| most.max(sample.abs()));
            (loudest(&heard[heard.len().saturating_sub(9600)..]), loudest(&heard))
        })
    }
}

fn a_report_tells_of_the_path_and_of_who_was_heard() {
    let mut call = Call::start();
    let address = call.bob.until_direct("alice");
    call.until_bob_has_heard(50);
    let Call { alice, bob, sounds, .. } = call;
    bob.leave();
    alice.leave();

    let page = std::fs::read_to_string(sounds[1].path().join("report.html")).unwrap();
    assert!(page.ends_with("</main></body></html>\n"), "{page}");
    let row =
        page.split("<bdi>alice</bdi></th>").nth(1).and_then(|rest| rest.split("</tr>").next()).unwrap_or_default();
    assert!(row.starts_with(&format!("<td>direct, {address}")), "{row}");
    assert!(!row.contains("never heard") && !row.contains("nothing came"), "{row}");
}

fn switches_of_one_are_heard_and_seen_by_the_other() {
    let call = Call::start();
    let alice = |args| call.control(&call.alice, args);
    alice(&["mute"]);
    call.until_alice_is(false, true, false);
    let peers = call.bob.run(&call.lab, "chatctl", &["peers"]);
    assert!(String::from_utf8_lossy(&peers.stdout).lines().any(|line| line.ends_with("  muted")), "{peers:?}");
    alice(&["unmute"]);
    call.until_alice_is(true, false, false);
    alice(&["toggle"]);
    call.until_alice_is(false, true, false);
    alice(&["deafen"]);
    call.until_alice_is(false, true, true);
    alice(&["undeafen"]);
    call.until_alice_is(false, true, false);
    alice(&["toggle"]);
    call.until_alice_is(true, false, false);

    call.control(&call.bob, &["deafen"]);
    // What is on its way to the file is heard; what alice says after it is not.
    let received = |call: &Call| call.at_bob("alice").and_then(|alice| alice["received"].as_u64()).unwrap_or(0);
    let since = received(&call);
    call.until("half a second more", |call| received(call) > since + 50);

    let [_, (last, loudest)] = call.end();
    assert!(loudest > 0.1 && last == 0.0, "the loudest sample is {loudest}, at the end {last}");
}

fn a_key_opens_the_gate_while_it_is_down() {
    let call = Call::start();
    let alice = |args| call.control(&call.alice, args);
    alice(&["set", "gate", "ptt"]);
    call.until_alice_is(false, false, false);
    alice(&["ptt", "down"]);
    call.until_alice_is(true, false, false);
    alice(&["mute"]);
    call.until_alice_is(false, true, false);
    alice(&["unmute"]);
    call.until_alice_is(true, false, false);
    alice(&["ptt", "up"]);
    call.until_alice_is(false, false, false);
    alice(&["set", "gate", "open"]);
    call.until_alice_is(true, false, false);

    let [_, (last, _)] = call.end();
    assert!(last > 0.1, "at the end the loudest sample is {last}");
}

fn a_volume_is_heard_where_it_is_set_and_nowhere_else() {
    let call = Call::start();
    let since = call.until_bob_has_heard(50);
    call.control(&call.bob, &["volume", "ALI", "-20"]);
    call.until_bob_has_heard(since + 100);
    let alice = call.at_bob("alice").unwrap();
    assert_eq!((alice["volume_db"].as_i64(), alice["off"].as_bool()), (Some(-20), Some(false)));
    assert!(alice["dbov"].as_i64() > Some(-40), "her own level is as it was: {alice}");

    let [_, (last, loudest)] = call.end();
    let share = last / loudest;
    assert!((0.06..0.16).contains(&share), "the loudest sample is {loudest}, at the end {last}");
}
