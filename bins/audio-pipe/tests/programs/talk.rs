//! `talk` at an agent socket.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use wire::agent::FromPuncher;

use crate::hub::Hub;
use crate::support::{RATE, audio_pipe, lag, outcome, power, read_wav, text, voice, write_wav};

#[test]
fn three_people_hear_each_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let hub = Hub::start(dir.path(), 3);
    let said = voice(1.5);
    let wav = dir.path().join("in.wav");
    write_wav(&wav, &said, 48_000, 1);
    let start = in_ms(1500);

    let members: Vec<_> = (0..3)
        .map(|n| {
            let record = dir.path().join(format!("heard{n}"));
            let args = ["--input", text(&wav), "--exit-at-end", "--start-at", &start, "--record-each", text(&record)];
            hub.member(n, &args)
        })
        .collect();
    for member in members {
        let end = member.wait_with_output().expect("an end");
        assert!(end.status.success(), "{end:?}");
    }

    for (n, others) in [["m1", "m2"], ["m0", "m2"], ["m0", "m1"]].iter().enumerate() {
        let folder = dir.path().join(format!("heard{n}"));
        let stats = json(&folder.join("stats.json"));
        for other in others {
            let (lag, likeness) = lag(&said, &read_wav(&folder.join(format!("{other}.wav"))));
            assert!(
                (480..RATE / 5).contains(&lag) && likeness > 0.9,
                "m{n} hears {other} {lag} late, alike {likeness}"
            );
            let speakers = stats["speakers"].as_array().expect("speakers");
            assert!(speakers.iter().any(|s| s["name"] == *other && s["lost"] == 0), "{stats}");
        }
    }
    let seen = hub.seen();
    assert!(seen.reports > 10, "{} reports", seen.reports);
    assert!(seen.ended.values().all(|ended| *ended) && seen.ended.len() == 3, "{:?}", seen.ended);
}

#[test]
fn a_signal_ends_the_talk_says_so_to_the_others_and_leaves_a_whole_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let hub = Hub::start(dir.path(), 1);
    let [wav, out] = ["in.wav", "out.wav"].map(|name| dir.path().join(name));
    write_wav(&wav, &voice(10.0), 48_000, 1);
    let mut member = hub.member(0, &["--input", text(&wav), "--output", text(&out)]);
    hub.wait_for(|seen| seen.frames > 3);

    kill_process(Pid::from_child(&member), Signal::INT).expect("a process");

    let status = member.wait().expect("an end");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(2));
    assert!(!read_wav(&out).is_empty());
    hub.wait_for(|seen| seen.ended.values().any(|ended| *ended));
}

#[test]
fn the_end_of_the_input_is_not_the_end_of_the_listening() {
    let dir = tempfile::tempdir().expect("a folder");
    let hub = Hub::start(dir.path(), 2);
    let [short, long, out] = ["short.wav", "long.wav", "out.wav"].map(|name| dir.path().join(name));
    let said = voice(1.4);
    write_wav(&short, &said[..4800], 48_000, 1);
    write_wav(&long, &said, 48_000, 1);
    let mut listener = hub.member(0, &["--input", text(&short), "--output", text(&out)]);
    hub.wait_for(|seen| seen.ended.contains_key(&0) && seen.ended[&0]);

    let talker = hub.member(1, &["--input", text(&long), "--exit-at-end"]);
    assert!(talker.wait_with_output().expect("an end").status.success());
    hub.tell(0, &FromPuncher::Closing);

    assert!(listener.wait().expect("an end").success());
    let heard = read_wav(&out);
    let from = heard.iter().position(|sample| sample.abs() > 0.02).expect("a voice") - 2400;
    let (_, likeness) = lag(&said, &heard[from..]);
    assert!(likeness > 0.9 && power(&heard) > 0.001, "alike {likeness}");
}

#[test]
fn without_a_puncher_there_is_no_talk() {
    let dir = tempfile::tempdir().expect("a folder");
    let wav = dir.path().join("in.wav");
    write_wav(&wav, &voice(0.1), 48_000, 1);
    let sock = dir.path().join("none.sock");
    let args = ["talk", "--sock", text(&sock), "--input", text(&wav), "--output", "/dev/null"];
    let (code, said) = outcome(&mut audio_pipe(args));
    assert_eq!(code, Some(69));
    assert!(said.contains("no puncher is running at") && said.lines().count() == 1, "{said}");
}

#[test]
fn a_puncher_that_dies_is_told_from_one_that_closes() {
    let dir = tempfile::tempdir().expect("a folder");
    let hub = Hub::start(dir.path(), 1);
    let wav = dir.path().join("in.wav");
    write_wav(&wav, &voice(10.0), 48_000, 1);
    let member = hub.member(0, &["--input", text(&wav)]);
    hub.wait_for(|seen| seen.frames > 3);
    hub.hang_up(0);
    let end = member.wait_with_output().expect("an end");
    assert_eq!(end.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&end.stderr).contains("puncher has ended"), "{end:?}");
}

pub(crate) fn in_ms(ms: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time");
    let then = now.as_millis() as u64 + ms;
    format!("{}.{:03}", then / 1000, then % 1000)
}

pub(crate) fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}
