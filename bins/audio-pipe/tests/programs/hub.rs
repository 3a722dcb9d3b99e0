//! A stand-in for `puncher`: serves an agent socket for each of several members, and connects them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use wire::agent::{FromPuncher, MAX_RECORD, Opened, Path as Route, PeerStatus, Peers, ToPuncher, VoiceRecord};
use wire::local::{Local, VoiceState};
use wire::peer::Lane;
use wire::voice::{Flags, Voice};
use wire::{IdentityKey, PeerTag};

use crate::support::{audio_pipe, text};

/// Forwards voice between the agent sockets that it serves, and counts.
pub(crate) struct Hub {
    dir: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The talk of each member.
    members: Mutex<BTreeMap<u32, UnixStream>>,
    /// Who asked each talk something.
    askers: Mutex<BTreeMap<u64, UnixStream>>,
    seen: Mutex<Seen>,
    changed: Condvar,
}

/// What went by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) frames: usize,
    /// When each began, in units of 2.5 ms.
    pub(crate) times: Vec<u32>,
    pub(crate) reports: usize,
    pub(crate) levels: usize,
    /// The lowest level of a frame, in -dBov.
    pub(crate) loudest: u8,
    /// The flags of each member's last frame.
    pub(crate) flags: BTreeMap<u32, Flags>,
    /// What the talks told of their own mute, whenever it was another than before.
    pub(crate) muted: Vec<bool>,
    /// What the talks told last of each voice.
    pub(crate) voices: BTreeMap<Option<PeerTag>, VoiceState>,
    pub(crate) ended: BTreeMap<u32, bool>,
}

impl Hub {
    pub(crate) fn start(dir: &Path, members: u32) -> Self {
        let shared = Arc::new(Shared::default());
        shared.seen.lock().expect("no panic elsewhere").loudest = 127;
        for tag in 0..members {
            let listener = UnixListener::bind(dir.join(format!("{tag}.sock"))).expect("a socket");
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let (shared, stream) = (Arc::clone(&shared), stream.expect("a connection"));
                    thread::spawn(move || serve(&shared, tag, stream));
                }
            });
        }
        Self { dir: dir.to_owned(), shared }
    }

    pub(crate) fn member(&self, tag: u32, args: &[&str]) -> Child {
        let sock = self.dir.join(format!("{tag}.sock"));
        let mut command: Command = audio_pipe(["talk", "--sock", text(&sock)].into_iter().chain(args.iter().copied()));
        if !args.contains(&"--output") {
            command.args(["--output", "/dev/null"]);
        }
        command.stderr(Stdio::piped()).spawn().expect("talk")
    }

    pub(crate) fn seen(&self) -> Seen {
        self.shared.seen.lock().expect("no panic elsewhere").clone()
    }

    /// Waits until what went by is as it should be; a test that waits in vain is killed by its runner.
    pub(crate) fn wait_for(&self, holds: impl Fn(&Seen) -> bool) -> Seen {
        let seen = self.shared.seen.lock().expect("no panic elsewhere");
        self.shared.changed.wait_while(seen, |seen| !holds(seen)).expect("no panic elsewhere").clone()
    }

    /// Runs a one-shot command at a member's socket.
    pub(crate) fn command(&self, tag: u32, args: &[&str]) -> Command {
        let sock = self.dir.join(format!("{tag}.sock"));
        audio_pipe(args.iter().copied().chain(["--sock", text(&sock)]))
    }

    pub(crate) fn tell(&self, tag: u32, record: &FromPuncher) {
        self.shared.tell(tag, record);
    }

    pub(crate) fn hang_up(&self, tag: u32) {
        let members = self.shared.members.lock().expect("no panic elsewhere");
        members[&tag].shutdown(std::net::Shutdown::Both).expect("a connection");
    }
}

impl Shared {
    fn tell(&self, tag: u32, record: &FromPuncher) {
        if let Some(stream) = self.members.lock().expect("no panic elsewhere").get_mut(&tag) {
            say(stream, record);
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

fn serve(shared: &Arc<Shared>, tag: u32, mut stream: UnixStream) {
    let mut reader = wire::frame::Reader::<ToPuncher>::new("record", MAX_RECORD);
    let mut chunk = [0; 4096];
    let mut is_talk = false;
    loop {
        while let Some(record) = reader.next().expect("a record") {
            match record {
                ToPuncher::Open { version, lane, .. } => {
                    is_talk = lane == Lane::Voice;
                    open(shared, tag, &stream, version, lane);
                }
                ToPuncher::Local(Local::Ask { id, what }) => ask(shared, tag, &stream, Local::Ask { id, what }, id),
                record => handle(shared, tag, record),
            }
        }
        match stream.read(&mut chunk) {
            Ok(len) if len > 0 => reader.push(&chunk[..len]),
            _ => break,
        }
    }
    if is_talk {
        shared.members.lock().expect("no panic elsewhere").remove(&tag);
        for other in shared.others(tag) {
            shared.tell(other, &FromPuncher::Left { tag: PeerTag(tag), name: format!("m{tag}"), why: "left".into() });
        }
    }
}

fn open(shared: &Shared, tag: u32, stream: &UnixStream, version: u16, lane: Lane) {
    let (key, name) = (IdentityKey([tag as u8; 32]), format!("m{tag}"));
    let mut stream = stream.try_clone().expect("a stream");
    let opened = FromPuncher::Opened(Opened { version, channel: "lobby".into(), name, key });
    // Before the others can reach it: nothing may come first.
    say(&mut stream, &opened);
    if lane == Lane::Voice {
        shared.members.lock().expect("no panic elsewhere").insert(tag, stream.try_clone().expect("a stream"));
    }
    for other in shared.others(tag) {
        say(&mut stream, &FromPuncher::Peer(status(other)));
        if lane == Lane::Voice {
            shared.tell(other, &FromPuncher::Peer(status(tag)));
        }
    }
    say(&mut stream, &FromPuncher::Server { connected: true, text: "joined".into() });
}

fn ask(shared: &Shared, tag: u32, stream: &UnixStream, ask: Local, id: u64) {
    let mut stream = stream.try_clone().expect("a stream");
    let is_there = shared.members.lock().expect("no panic elsewhere").contains_key(&tag);
    say(&mut stream, &FromPuncher::Local(Local::Asked { id, talks: is_there.into() }));
    shared.askers.lock().expect("no panic elsewhere").insert(id, stream);
    shared.tell(tag, &FromPuncher::Local(ask));
}

fn handle(shared: &Shared, tag: u32, record: ToPuncher) {
    match record {
        ToPuncher::Voice(VoiceRecord { peers, packet }) => {
            match Voice::from_bytes(&packet).expect("a voice packet") {
                Voice::Frame(frame) => shared.note(|seen| {
                    seen.frames += 1;
                    seen.times.push(frame.time.0);
                    seen.loudest = seen.loudest.min(frame.level);
                    seen.flags.insert(tag, frame.flags);
                    seen.ended.insert(tag, frame.flags.has(Flags::STREAM_END));
                }),
                Voice::Report(_) => shared.note(|seen| seen.reports += 1),
            }
            let to = match peers {
                Peers::All => shared.others(tag),
                Peers::One(PeerTag(peer)) => vec![peer],
                Peers::Some(peers) => peers.into_iter().map(|peer| peer.0).collect(),
            };
            let record = FromPuncher::Voice { from: PeerTag(tag), came_us: edge::shared_us(), packet };
            to.into_iter().for_each(|peer| shared.tell(peer, &record));
        }
        ToPuncher::Local(Local::Voice { peer, state }) => shared.note(|seen| {
            if peer.is_none() && seen.muted.last() != Some(&state.muted) {
                seen.muted.push(state.muted);
            }
            seen.voices.insert(peer, state);
        }),
        ToPuncher::Local(Local::Level { .. }) => shared.note(|seen| seen.levels += 1),
        ToPuncher::Local(Local::Ended) => {}
        ToPuncher::Local(Local::Answer { id, answer }) => {
            if let Some(mut asker) = shared.askers.lock().expect("no panic elsewhere").remove(&id) {
                say(&mut asker, &FromPuncher::Local(Local::Answer { id, answer }));
            }
        }
        other => panic!("an audio program does not send {other:?}"),
    }
}

/// Who has gone misses it.
fn say(stream: &mut UnixStream, record: &FromPuncher) {
    let _ = stream.write_all(&wire::frame::frame(record));
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
