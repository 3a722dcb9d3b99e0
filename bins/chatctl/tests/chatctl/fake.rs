//! A `puncher` that says what a test wants, and a way to run the program.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use wire::{
    IdentityKey, MessageId, PeerTag,
    agent::{Delivery, FromPuncher, MAX_RECORD, Opened, Path, PeerStatus, Peers, ToPuncher},
    frame::{self, Reader},
    local::{Ask, Figures, Local, Speaker, Status, VoiceState},
    peer::{Keeper, Lane},
};

/// Nothing that works takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A home of its own for one test.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `chatctl` with these arguments, in this home and nothing else.
    pub(crate) fn chatctl(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
        command.args(args).env_clear().env("HOME", self.0.path()).env("XDG_RUNTIME_DIR", self.path("run"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A `puncher` for the channel `lobby`.
    pub(crate) fn puncher(&self) -> Puncher {
        let dir = self.path("run/punchline");
        std::fs::create_dir_all(&dir).unwrap();
        let listener = UnixListener::bind(dir.join("lobby.sock")).unwrap();
        listener.set_nonblocking(true).unwrap();
        Puncher { listener }
    }
}

/// What a program that has ended leaves behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap_or(-1);
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

pub(crate) fn end(child: Child) -> Ended {
    child.wait_with_output().unwrap().into()
}

pub(crate) struct Puncher {
    listener: UnixListener,
}

impl Puncher {
    /// Takes the next program and agrees to its lane, as a member of `lobby` with these peers.
    pub(crate) fn open(&self, peers: &[PeerStatus]) -> Connection {
        let mut connection = self.accept();
        let ToPuncher::Open { version, lane, .. } = connection.hear() else { panic!("a lane is opened first") };
        assert_eq!(version, wire::agent::VERSION);
        connection.lane = lane;
        let key = IdentityKey([9; 32]);
        connection.say(FromPuncher::Opened(Opened { version, channel: "lobby".into(), name: "me".into(), key }));
        peers.iter().for_each(|peer| connection.say(FromPuncher::Peer(peer.clone())));
        connection.say(FromPuncher::Server { connected: true, text: "joined".into() });
        connection
    }

    pub(crate) fn accept(&self) -> Connection {
        let started = std::time::Instant::now();
        let stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
            assert!(started.elapsed() < PATIENCE, "nobody connects");
        };
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Connection { stream, reader: Reader::new("record", MAX_RECORD), lane: Lane::Control }
    }
}

pub(crate) struct Connection {
    stream: UnixStream,
    reader: Reader<ToPuncher>,
    pub(crate) lane: Lane,
}

impl Connection {
    pub(crate) fn say(&mut self, record: FromPuncher) {
        self.stream.write_all(&frame::frame(&record)).unwrap();
    }

    pub(crate) fn close(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Both).unwrap();
    }

    pub(crate) fn hear(&mut self) -> ToPuncher {
        self.hear_or_end().expect("a record")
    }

    /// The next record; `None` at the end of the connection. Whoever asks how the talk is, is told that there is none.
    pub(crate) fn hear_or_end(&mut self) -> Option<ToPuncher> {
        loop {
            match self.next_record() {
                Some(ToPuncher::Local(Local::Ask { id, what: Ask::Status })) => {
                    self.say(FromPuncher::Local(Local::Asked { id, talks: 0 }));
                }
                record => return record,
            }
        }
    }

    fn next_record(&mut self) -> Option<ToPuncher> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(record) = self.reader.next().unwrap() {
                return Some(record);
            }
            let len = match self.stream.read(&mut chunk) {
                Ok(len) => len,
                // It ended without reading all that was said.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
                Err(error) => panic!("{error}"),
            };
            if len == 0 {
                return None;
            }
            self.reader.push(&chunk[..len]);
        }
    }

    /// Answers who asks how the talk is: there are so many, and whoever has this tag talks, deafened.
    pub(crate) fn answer_status(&mut self, talks: u16, tag: u32) {
        let ToPuncher::Local(Local::Ask { id, what: Ask::Status }) = self.next_record().unwrap() else {
            panic!("a question")
        };
        self.say(FromPuncher::Local(Local::Asked { id, talks }));
        let state = VoiceState { deafened: true, talking: true, ..VoiceState::default() };
        let (tag, name, figures) = (PeerTag(tag), "alice".to_owned(), Figures::default());
        let speaker =
            Speaker { tag, name, volume_db: 0, is_off: false, evened_db: 0, channels: 1, state, level: 20, figures };
        let answer = Ok(Status { speakers: vec![speaker], ..Status::default() });
        (0..talks).for_each(|_| self.say(FromPuncher::Local(Local::Answer { id, answer: answer.clone() })));
    }

    /// The next record, which is a text.
    pub(crate) fn hear_text(&mut self) -> (MessageId, Peers, String) {
        match self.hear() {
            ToPuncher::Text { id, to, body } => (id, to, String::from_utf8(body).unwrap()),
            other => panic!("not a text: {other:?}"),
        }
    }

    /// Settles a text with these outcomes.
    pub(crate) fn settle(&mut self, id: MessageId, outcomes: &[(&str, Delivery)]) {
        for (index, (name, outcome)) in outcomes.iter().enumerate() {
            let to = PeerTag(index as u32 + 1);
            self.say(FromPuncher::Delivery { id, to, name: (*name).into(), outcome: *outcome });
        }
        self.say(FromPuncher::Settled { id });
    }

    /// A text from the peer with this tag.
    pub(crate) fn say_text(&mut self, number: u128, from: u32, name: &str, body: &str) {
        let body = body.as_bytes().to_vec();
        let (id, from) = (MessageId(number), PeerTag(from));
        self.say(FromPuncher::Text { id, from, name: name.into(), direct: false, body });
    }
}

pub(crate) const KEPT: Delivery = Delivery::Delivered(Keeper::Chat);

pub(crate) fn peer(tag: u32, name: &str) -> PeerStatus {
    PeerStatus {
        tag: PeerTag(tag),
        name: name.into(),
        key: IdentityKey([tag as u8; 32]),
        path: Path::Direct,
        addr: Some("203.0.113.7:40112".parse().unwrap()),
        via: None,
        rtt_us: Some(38_000),
        secure: true,
    }
}
