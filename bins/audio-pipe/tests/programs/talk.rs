//! `talk` at an agent socket, with a stand-in for `puncher` that connects such sockets.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use wire::agent::{FromPuncher, Local, MAX_RECORD, Opened, Path as Route, PeerStatus, Peers, ToPuncher, VoiceRecord};
use wire::voice::{Flags, Voice};
use wire::{IdentityKey, PeerTag};

use crate::support::{RATE, audio_pipe, lag, outcome, power, read_wav, voice, write_wav};

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
fn mute_is_obeyed_and_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let hub = Hub::start(dir.path(), 1);
    let wav = dir.path().join("in.wav");
    write_wav(&wav, &voice(10.0), 48_000, 1);
    let mut member = hub.member(0, &["--input", text(&wav), "--mute"]);

    let seen = hub.wait_for(|seen| seen.muted == [true] && seen.frames > 1);
    assert!(seen.loudest == 127, "-{} dBov came through a muted microphone", seen.loudest);
    hub.tell(0, &FromPuncher::Local(Local::SetMute(None)));
    hub.wait_for(|seen| seen.muted == [true, false] && seen.loudest < 40);
    hub.tell(0, &FromPuncher::Local(Local::SetMute(Some(true))));
    hub.wait_for(|seen| seen.muted == [true, false, true]);
    kill_process(Pid::from_child(&member), Signal::USR1).expect("a process");
    hub.wait_for(|seen| seen.muted == [true, false, true, false] && seen.levels > 0);

    hub.tell(0, &FromPuncher::Closing);
    assert!(member.wait().expect("an end").success());
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

/// Forwards voice between the agent sockets that it serves, and counts.
struct Hub {
    dir: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    members: Mutex<BTreeMap<u32, UnixStream>>,
    seen: Mutex<Seen>,
    changed: Condvar,
}

/// What went by.
#[derive(Clone, Debug, Default)]
struct Seen {
    frames: usize,
    reports: usize,
    levels: usize,
    loudest: u8,
    muted: Vec<bool>,
    ended: BTreeMap<u32, bool>,
}

impl Hub {
    fn start(dir: &Path, members: u32) -> Self {
        let shared = Arc::new(Shared::default());
        shared.seen.lock().expect("no panic elsewhere").loudest = 127;
        for tag in 0..members {
            let listener = UnixListener::bind(dir.join(format!("{tag}.sock"))).expect("a socket");
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for stream in listener.incoming() {
                    serve(&shared, tag, stream.expect("a connection"));
                }
            });
        }
        Self { dir: dir.to_owned(), shared }
    }

    fn member(&self, tag: u32, args: &[&str]) -> Child {
        let sock = self.dir.join(format!("{tag}.sock"));
        let mut command: Command = audio_pipe(["talk", "--sock", text(&sock)].into_iter().chain(args.iter().copied()));
        if !args.contains(&"--output") {
            command.args(["--output", "/dev/null"]);
        }
        command.stderr(Stdio::piped()).spawn().expect("talk")
    }

    fn seen(&self) -> Seen {
        self.shared.seen.lock().expect("no panic elsewhere").clone()
    }

    /// Waits until what went by is as it should be; a test that waits in vain is killed by its runner.
    fn wait_for(&self, holds: impl Fn(&Seen) -> bool) -> Seen {
        let seen = self.shared.seen.lock().expect("no panic elsewhere");
        self.shared.changed.wait_while(seen, |seen| !holds(seen)).expect("no panic elsewhere").clone()
    }

    fn tell(&self, tag: u32, record: &FromPuncher) {
        self.shared.tell(tag, record);
    }

    fn hang_up(&self, tag: u32) {
        let members = self.shared.members.lock().expect("no panic elsewhere");
        members[&tag].shutdown(std::net::Shutdown::Both).expect("a connection");
    }
}

impl Shared {
    fn tell(&self, tag: u32, record: &FromPuncher) {
        if let Some(stream) = self.members.lock().expect("no panic elsewhere").get_mut(&tag) {
            // Who has gone misses it.
            let _ = stream.write_all(&wire::frame::frame(record));
        }
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().expect("no panic elsewhere"));
        self.changed.notify_all();
    }

    fn others(&self, tag: u32) -> Vec<u32> {
        self.members.lock().expect("no panic elsewhere").keys().copied().filter(|other| *other != tag).collect()
    }
}

fn serve(shared: &Shared, tag: u32, mut stream: UnixStream) {
    let mut reader = wire::frame::Reader::<ToPuncher>::new("record", MAX_RECORD);
    let mut chunk = [0; 4096];
    loop {
        while let Some(record) = reader.next().expect("a record") {
            handle(shared, tag, &stream, record);
        }
        match stream.read(&mut chunk) {
            Ok(len) if len > 0 => reader.push(&chunk[..len]),
            _ => break,
        }
    }
    shared.members.lock().expect("no panic elsewhere").remove(&tag);
    for other in shared.others(tag) {
        shared.tell(other, &FromPuncher::Left { tag: PeerTag(tag), name: format!("m{tag}"), why: "left".into() });
    }
}

fn handle(shared: &Shared, tag: u32, stream: &UnixStream, record: ToPuncher) {
    match record {
        ToPuncher::Open { version, .. } => {
            let (key, name) = (IdentityKey([tag as u8; 32]), format!("m{tag}"));
            let mut stream = stream.try_clone().expect("a stream");
            let opened = FromPuncher::Opened(Opened { version, channel: "lobby".into(), name, key });
            // Before the others can reach it: nothing may come first. Who has gone misses it.
            let _ = stream.write_all(&wire::frame::frame(&opened));
            shared.members.lock().expect("no panic elsewhere").insert(tag, stream);
            for other in shared.others(tag) {
                shared.tell(tag, &FromPuncher::Peer(status(other)));
                shared.tell(other, &FromPuncher::Peer(status(tag)));
            }
        }
        ToPuncher::Voice(VoiceRecord { peers, packet }) => {
            match Voice::from_bytes(&packet).expect("a voice packet") {
                Voice::Frame(frame) => shared.note(|seen| {
                    seen.frames += 1;
                    seen.loudest = seen.loudest.min(frame.level);
                    seen.ended.insert(tag, frame.flags.has(Flags::STREAM_END));
                }),
                Voice::Report(_) => shared.note(|seen| seen.reports += 1),
            }
            let to = match peers {
                Peers::All => shared.others(tag),
                Peers::One(PeerTag(peer)) => vec![peer],
                Peers::Some(peers) => peers.into_iter().map(|peer| peer.0).collect(),
            };
            let record = FromPuncher::Voice(VoiceRecord { peers: Peers::One(PeerTag(tag)), packet });
            to.into_iter().for_each(|peer| shared.tell(peer, &record));
        }
        ToPuncher::Local(Local::Muted(muted)) => shared.note(|seen| seen.muted.push(muted)),
        ToPuncher::Local(Local::Level { .. }) => shared.note(|seen| seen.levels += 1),
        other => panic!("a voice program does not send {other:?}"),
    }
}

fn status(tag: u32) -> PeerStatus {
    PeerStatus {
        tag: PeerTag(tag),
        name: format!("m{tag}"),
        key: IdentityKey([tag as u8; 32]),
        path: Route::Direct,
        addr: None,
        via: None,
        rtt_us: None,
        secure: true,
    }
}

fn in_ms(ms: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time");
    let then = now.as_millis() as u64 + ms;
    format!("{}.{:03}", then / 1000, then % 1000)
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
