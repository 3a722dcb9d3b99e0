//! A local program's connection to its `puncher`: one reader, any number of writers, which block.
//!
//! [`Client::connect`] opens a lane and returns once `puncher` has agreed. Then one thread reads with [`Client::read`], or takes
//! what is there with [`Client::poll`], and clones of [`Client::writer`] send. The end of `puncher` is `None` or [`FromPuncher::Closing`], never a hang.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use rustix::net::RecvFlags;
use wire::{
    PeerTag,
    agent::{self, FromPuncher, MAX_RECORD, Opened, PeerStatus, ToPuncher},
    frame,
    peer::Lane,
};

use crate::{Exit, Remote, WithExit, dirs};

/// How long `puncher` may take to agree to a lane.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
const CHUNK: usize = 64 * 1024;

/// Which `puncher`, as options.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Target {
    /// The agent socket of the puncher
    #[arg(long, value_name = "PATH", env = "PUNCHER_SOCK", global = true)]
    pub sock: Option<PathBuf>,
    /// The channel [default: the only one that is joined]
    #[arg(long, value_name = "NAME", global = true)]
    pub channel: Option<String>,
}

impl Target {
    /// Connects to the socket that is named, else to the channel's, else to the only one that somebody serves.
    fn connect(&self) -> anyhow::Result<UnixStream> {
        // A channel on the command line is meant more than a socket in the environment.
        let path = match (&self.channel, &self.sock) {
            (Some(channel), _) => dirs::agent_socket(channel)?,
            (None, Some(sock)) => sock.clone(),
            (None, None) => return only(dirs::agent_sockets()?),
        };
        let connected = UnixStream::connect(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => self.nobody(&path),
            _ => anyhow!(error).context(format!("connect to {}", path.display())),
        });
        connected.exit(Exit::Unavailable)
    }

    fn nobody(&self, path: &Path) -> anyhow::Error {
        match &self.channel {
            Some(channel) => {
                let channel = Remote(channel).show();
                anyhow!("no puncher is running for channel {channel}: start one with: puncher join {channel}")
            }
            None => anyhow!("no puncher is running at {}: start one with: puncher join CHANNEL", path.display()),
        }
    }
}

/// Connects to the one socket that somebody serves.
fn only(sockets: Vec<PathBuf>) -> anyhow::Result<UnixStream> {
    let living = sockets.into_iter().filter_map(|path| Some((UnixStream::connect(&path).ok()?, path)));
    let (mut streams, paths): (Vec<_>, Vec<_>) = living.unzip();
    match streams.len() {
        1 => Ok(streams.remove(0)),
        0 => Err(anyhow!("no puncher is running: start one with: puncher join CHANNEL")).exit(Exit::Unavailable),
        _ => {
            let names: Vec<_> = paths.iter().filter_map(|path| path.file_stem()?.to_str()).collect();
            Err(anyhow!("several channels are joined: choose one with --channel ({})", names.join(", ")))
                .exit(Exit::Usage)
        }
    }
}

/// A lane of a `puncher`.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    reader: frame::Reader<FromPuncher>,
    chunk: Vec<u8>,
    /// How long a read waits at most, as the socket was told last.
    limit: Option<Duration>,
    writer: Writer,
}

impl Client {
    /// Opens a lane. `program` is the caller's name, for `puncher`'s log.
    ///
    /// # Errors
    /// Code 69 if no `puncher` is there or it refuses, 76 if it does not speak our protocol, 64 if it is unclear which is meant.
    pub fn connect(target: &Target, lane: Lane, program: &str) -> anyhow::Result<(Self, Opened)> {
        Self::open(target.connect()?, lane, program)
    }

    fn open(stream: UnixStream, lane: Lane, program: &str) -> anyhow::Result<(Self, Opened)> {
        let writer = Writer(Arc::new(Mutex::new(stream.try_clone().context("share the agent socket")?)));
        let reader = frame::Reader::new("record of puncher", MAX_RECORD);
        let mut client = Self { stream, reader, chunk: vec![0; CHUNK], limit: None, writer };
        client.writer.send(&ToPuncher::Open { version: agent::VERSION, lane, program: program.to_owned() })?;
        let opened = match client.read_until(Instant::now() + OPEN_TIMEOUT)? {
            Answer::Record(FromPuncher::Opened(opened)) => opened,
            Answer::Record(FromPuncher::Refused(why)) => {
                return Err(anyhow!("puncher refuses: {}", Remote(why).show())).exit(Exit::Unavailable);
            }
            Answer::Record(_) => return Err(anyhow!("puncher does not speak our protocol")).exit(Exit::Protocol),
            Answer::Ended => return Err(anyhow!("puncher closed the connection")).exit(Exit::Unavailable),
            Answer::TimedOut => return Err(anyhow!("puncher does not answer")).exit(Exit::Unavailable),
        };
        if opened.version != agent::VERSION {
            let (theirs, ours) = (opened.version, agent::VERSION);
            return Err(anyhow!("puncher speaks version {theirs} of the protocol, this program version {ours}"))
                .exit(Exit::Protocol);
        }
        Ok((client, opened))
    }

    /// Waits for the next record; `None` is the end.
    ///
    /// # Errors
    /// If reading breaks (74) or what comes is no record (76).
    pub fn read(&mut self) -> anyhow::Result<Option<FromPuncher>> {
        match self.read_with(None)? {
            Answer::Record(record) => Ok(Some(record)),
            Answer::Ended | Answer::TimedOut => Ok(None),
        }
    }

    /// Waits for the next record, but not longer than `deadline`.
    ///
    /// # Errors
    /// As for [`Client::read`].
    pub fn read_until(&mut self, deadline: Instant) -> anyhow::Result<Answer> {
        self.read_with(Some(deadline))
    }

    /// The next record if it is there, without waiting.
    ///
    /// # Errors
    /// As for [`Client::read`].
    pub fn poll(&mut self) -> anyhow::Result<Answer> {
        loop {
            if let Some(record) = self.next()? {
                return Ok(Answer::Record(record));
            }
            let read = rustix::net::recv(&self.stream, &mut self.chunk[..], RecvFlags::DONTWAIT);
            if let Some(answer) = self.take(read.map(|(len, _)| len).map_err(io::Error::from))? {
                return Ok(answer);
            }
        }
    }

    /// Everybody who is there: reads what `puncher` tells after a lane is opened, up to its end. To be called first.
    ///
    /// # Errors
    /// As for [`Client::read`], and code 69 if `puncher` ends in between.
    pub fn roster(&mut self) -> anyhow::Result<Vec<PeerStatus>> {
        let deadline = Instant::now() + OPEN_TIMEOUT;
        let mut peers: BTreeMap<PeerTag, PeerStatus> = BTreeMap::new();
        loop {
            match self.read_until(deadline)? {
                Answer::Record(FromPuncher::Peer(status)) => drop(peers.insert(status.tag, status)),
                Answer::Record(FromPuncher::Left { tag, .. }) => drop(peers.remove(&tag)),
                Answer::Record(FromPuncher::Server { .. }) => return Ok(peers.into_values().collect()),
                Answer::Record(FromPuncher::Closing) | Answer::Ended => {
                    return Err(anyhow!("puncher has ended")).exit(Exit::Unavailable);
                }
                // Texts and sound are for those who read on; this client only asks who is there.
                Answer::Record(_) => {}
                Answer::TimedOut => return Err(anyhow!("puncher does not answer")).exit(Exit::Unavailable),
            }
        }
    }

    /// A half that sends; clones of it can be used from several threads.
    pub fn writer(&self) -> Writer {
        self.writer.clone()
    }

    /// Sends a record.
    ///
    /// # Errors
    /// As for [`Writer::send`].
    pub fn send(&self, record: &ToPuncher) -> anyhow::Result<()> {
        self.writer.send(record)
    }

    fn read_with(&mut self, deadline: Option<Instant>) -> anyhow::Result<Answer> {
        loop {
            if let Some(record) = self.next()? {
                return Ok(Answer::Record(record));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Answer::TimedOut);
            }
            if left != self.limit {
                self.stream.set_read_timeout(left).context("limit the wait for puncher").exit(Exit::Io)?;
                self.limit = left;
            }
            let read = self.stream.read(&mut self.chunk);
            // Whether the time is over is for the clock to say.
            if let Some(Answer::Ended) = self.take(read)? {
                return Ok(Answer::Ended);
            }
        }
    }

    /// The next record of what was read.
    fn next(&mut self) -> anyhow::Result<Option<FromPuncher>> {
        self.reader.next().context("read from puncher").exit(Exit::Protocol)
    }

    /// Takes what a read brought; an answer if it brought nothing to go on with.
    fn take(&mut self, read: io::Result<usize>) -> anyhow::Result<Option<Answer>> {
        match read {
            Ok(0) => Ok(Some(Answer::Ended)),
            Ok(len) => {
                self.reader.push(&self.chunk[..len]);
                Ok(None)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => Ok(None),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(Some(Answer::TimedOut)),
                io::ErrorKind::ConnectionReset => Ok(Some(Answer::Ended)),
                _ => Err(error).context("read from puncher").exit(Exit::Io),
            },
        }
    }
}

/// What a wait with a deadline brought.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// A record.
    Record(FromPuncher),
    /// `puncher` has closed the connection.
    Ended,
    /// Nothing came in time.
    TimedOut,
}

/// The sending half of a [`Client`].
#[derive(Clone, Debug)]
pub struct Writer(Arc<Mutex<UnixStream>>);

impl Writer {
    /// Sends a record. Blocks while `puncher` is busy: that is how a text lane slows its sender.
    ///
    /// # Errors
    /// Code 69 if `puncher` has ended.
    pub fn send(&self, record: &ToPuncher) -> anyhow::Result<()> {
        // A thread that panicked between two records leaves the stream usable, and half a record ends it.
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stream.write_all(&frame::frame(record)).context("puncher has ended").exit(Exit::Unavailable)
    }

    /// Ends the connection, and with it every blocked [`Client::read`].
    pub fn close(&self) {
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // It may be closed from the other side already.
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, thread};

    use wire::{IdentityKey, agent::Path};

    use super::*;
    use crate::code_of;

    #[test]
    fn a_lane_opens_and_carries_records_both_ways() {
        let (client, mut puncher) = meet(|puncher| puncher.say(&opened(agent::VERSION)));
        let (mut client, told) = client.unwrap();
        assert_eq!(told.channel, "lobby");
        let open = ToPuncher::Open { version: agent::VERSION, lane: Lane::Text, program: "test".into() };
        assert_eq!(puncher.hear(), open);

        client.writer().send(&ToPuncher::Leave).unwrap();
        assert_eq!(puncher.hear(), ToPuncher::Leave);

        puncher.say(&FromPuncher::Closing);
        assert_eq!(client.read().unwrap(), Some(FromPuncher::Closing));
        drop(puncher);
        assert_eq!(client.read().unwrap(), None);
    }

    #[test]
    fn the_roster_is_who_is_there_when_it_is_told() {
        let peer = |tag, name: &str| {
            let (key, name) = (IdentityKey([tag; 32]), name.to_owned());
            PeerStatus {
                tag: PeerTag(tag.into()),
                name,
                key,
                path: Path::None,
                addr: None,
                via: None,
                rtt_us: None,
                secure: false,
            }
        };
        let (client, _puncher) = meet(|puncher| {
            puncher.say(&opened(agent::VERSION));
            for name in ["bob", "robert"] {
                puncher.say(&FromPuncher::Peer(peer(1, name)));
            }
            puncher.say(&FromPuncher::Peer(peer(2, "carol")));
            puncher.say(&FromPuncher::Left { tag: PeerTag(2), name: "carol".into(), why: "left".into() });
            puncher.say(&FromPuncher::Server { connected: true, text: String::new() });
        });

        let roster = client.unwrap().0.roster().unwrap();

        assert_eq!(roster, [peer(1, "robert")]);
    }

    #[test]
    fn a_wait_ends_when_it_is_due() {
        let (client, puncher) = meet(|puncher| puncher.say(&opened(agent::VERSION)));
        let (mut client, _) = client.unwrap();
        assert_eq!(client.read_until(Instant::now() + Duration::from_millis(5)).unwrap(), Answer::TimedOut);
        drop(puncher);
        assert_eq!(client.read_until(Instant::now() + OPEN_TIMEOUT).unwrap(), Answer::Ended);
    }

    #[test]
    fn what_is_there_is_polled_and_nothing_is_waited_for() {
        let (client, mut puncher) = meet(|puncher| puncher.say(&opened(agent::VERSION)));
        let (mut client, _) = client.unwrap();
        assert_eq!(client.poll().unwrap(), Answer::TimedOut);
        puncher.say(&FromPuncher::Closing);
        puncher.say(&FromPuncher::Refused("no".into()));
        assert_eq!(client.poll().unwrap(), Answer::Record(FromPuncher::Closing));
        assert_eq!(client.poll().unwrap(), Answer::Record(FromPuncher::Refused("no".into())));
        assert_eq!(client.poll().unwrap(), Answer::TimedOut);
        drop(puncher);
        assert_eq!(client.poll().unwrap(), Answer::Ended);
    }

    #[test]
    fn closing_the_writer_ends_a_blocked_read() {
        let (client, _puncher) = meet(|puncher| puncher.say(&opened(agent::VERSION)));
        let (mut client, _) = client.unwrap();
        let writer = client.writer();
        let reader = thread::spawn(move || client.read().unwrap());
        writer.close();
        assert_eq!(reader.join().unwrap(), None);
    }

    #[test]
    fn a_puncher_that_can_not_serve_is_an_error_with_its_code() {
        type Behaviour = fn(&mut Puncher);
        let rows: [(Behaviour, Exit, &str); 5] = [
            (
                |puncher| puncher.say(&FromPuncher::Refused("no \u{1b} lane".into())),
                Exit::Unavailable,
                "puncher refuses: no ␛ lane",
            ),
            (
                |puncher| puncher.say(&opened(99)),
                Exit::Protocol,
                "puncher speaks version 99 of the protocol, this program version OURS",
            ),
            (|puncher| puncher.say(&FromPuncher::Closing), Exit::Protocol, "puncher does not speak our protocol"),
            (
                |puncher| puncher.stream.shutdown(std::net::Shutdown::Write).unwrap(),
                Exit::Unavailable,
                "puncher closed the connection",
            ),
            (
                |puncher| puncher.stream.write_all(&[0xff; 64]).unwrap(),
                Exit::Protocol,
                "read from puncher: a record of puncher of 4294967295 bytes is longer than the 1050624 bytes allowed",
            ),
        ];
        for (behaviour, code, text) in rows {
            let error = meet(behaviour).0.map(drop).unwrap_err();
            let text = text.replace("OURS", &agent::VERSION.to_string());
            assert_eq!((code_of(&error), format!("{error:#}")), (code, text));
        }
    }

    #[test]
    fn without_a_puncher_the_error_says_how_to_start_one() {
        let temp = tempfile::tempdir().unwrap();
        let target = Target { sock: Some(temp.path().join("none.sock")), channel: None };

        let error = Client::connect(&target, Lane::Text, "test").map(drop).unwrap_err();

        assert_eq!(code_of(&error), Exit::Unavailable);
        assert!(error.to_string().ends_with("none.sock: start one with: puncher join CHANNEL"), "{error}");
        let lobby = Target { sock: None, channel: Some("lobby".into()) };
        let text = "no puncher is running for channel lobby: start one with: puncher join lobby";
        assert_eq!(lobby.nobody(std::path::Path::new("x")).to_string(), text);
    }

    #[test]
    fn of_several_sockets_only_the_living_one_counts() {
        let temp = tempfile::tempdir().unwrap();
        let paths: Vec<_> = ["dead.sock", "one.sock", "two.sock"].iter().map(|name| temp.path().join(name)).collect();
        drop(UnixListener::bind(&paths[0]).unwrap());
        assert_eq!(code_of(&only(paths.clone()).unwrap_err()), Exit::Unavailable);

        let _one = UnixListener::bind(&paths[1]).unwrap();
        let served = only(paths.clone()).unwrap().peer_addr().unwrap();
        assert_eq!(served.as_pathname(), Some(paths[1].as_path()));

        let _two = UnixListener::bind(&paths[2]).unwrap();
        let error = only(paths).unwrap_err();
        assert_eq!(code_of(&error), Exit::Usage);
        assert!(error.to_string().ends_with("(one, two)"), "{error}");
    }

    struct Puncher {
        stream: UnixStream,
        reader: frame::Reader<ToPuncher>,
    }

    impl Puncher {
        fn say(&mut self, record: &FromPuncher) {
            self.stream.write_all(&frame::frame(record)).unwrap();
        }

        fn hear(&mut self) -> ToPuncher {
            let mut byte = [0];
            loop {
                if let Some(record) = self.reader.next().unwrap() {
                    return record;
                }
                self.stream.read_exact(&mut byte).unwrap();
                self.reader.push(&byte);
            }
        }
    }

    /// A client that asks for a lane, and the far end of its connection after `first`.
    fn meet(first: impl FnOnce(&mut Puncher)) -> (anyhow::Result<(Client, Opened)>, Puncher) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut puncher = Puncher { stream: theirs, reader: frame::Reader::new("record", MAX_RECORD) };
        first(&mut puncher);
        (Client::open(ours, Lane::Text, "test"), puncher)
    }

    fn opened(version: u16) -> FromPuncher {
        let key = IdentityKey([PeerTag(1).0 as u8; 32]);
        FromPuncher::Opened(Opened { version, channel: "lobby".into(), name: "me".into(), key })
    }
}
