use std::ffi::CString;
use std::io::{self, Cursor, Read, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use pulseaudio::protocol::{
    AuthParams, AuthReply, Command, CommandReply, DESCRIPTOR_SIZE, MAX_VERSION, Prop, Props, PulseError,
    SetClientNameReply, SubscriptionMask, TagStructReader, encode_command_message, read_descriptor,
};

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A longer message is none that this program asks for: as much sound as PulseAudio holds for one stream.
const MOST: usize = 4 << 20;
/// Room for what is read at a time.
const ROOM: usize = 16 << 10;
/// A cookie's length; one of zeros is taken where none is wanted.
const COOKIE: usize = 256;
/// The channel of messages that are not sound.
const CONTROL: u32 = u32::MAX;

/// Whether there is the socket of a server.
pub(in crate::device) fn is_there() -> bool {
    pulseaudio::socket_path_from_env().is_some()
}

/// A connection to a server, in which one thing is asked at a time.
pub(in crate::device) struct Connection {
    socket: UnixStream,
    version: u16,
    seq: u32,
    incoming: Incoming,
    outgoing: Vec<u8>,
    /// The server has told of a change since it was last asked for news.
    has_news: bool,
}

/// What was read: as much as there was, so that a message costs one call of the system and not two.
struct Incoming {
    bytes: Vec<u8>,
    begin: usize,
    end: usize,
}

/// What came from the server.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and to box it would allocate where sound goes")]
pub(super) enum Message<'a> {
    /// An event, or an answer whose content follows in the reader.
    Command(u32, Command, Cursor<&'a [u8]>),
    /// Sound of that stream.
    Sound(u32, &'a [u8]),
}

impl Connection {
    /// Connects to the user's server.
    pub(in crate::device) fn open() -> Result<Self> {
        let path = pulseaudio::socket_path_from_env().context("PulseAudio does not run")?;
        let socket = UnixStream::connect(&path).with_context(|| format!("connect to {}", path.display()))?;
        socket.set_read_timeout(Some(PATIENCE)).and_then(|()| socket.set_write_timeout(Some(PATIENCE)))?;
        let cookie = pulseaudio::cookie_path_from_env().and_then(|path| std::fs::read(path).ok());
        let auth = AuthParams {
            version: MAX_VERSION,
            supports_shm: false,
            supports_memfd: false,
            cookie: cookie.unwrap_or_else(|| vec![0; COOKIE]),
        };
        let mut connection = Self {
            socket,
            version: MAX_VERSION,
            seq: 0,
            incoming: Incoming::new(),
            outgoing: Vec::new(),
            has_news: false,
        };
        let reply: AuthReply = connection.ask(&Command::Auth(auth)).context("be let in by PulseAudio")?;
        connection.version = MAX_VERSION.min(reply.version);
        let mut props = Props::new();
        props.set(Prop::ApplicationName, CString::from(c"audio-pipe").as_c_str());
        let _: SetClientNameReply = connection.ask(&Command::SetClientName(props))?;
        Ok(connection)
    }

    /// Asks, and waits for the answer. Of what else comes only news count.
    pub(in crate::device) fn ask<R: CommandReply>(&mut self, command: &Command) -> Result<R> {
        let asked = self.send(command)?;
        let version = self.version;
        loop {
            let Message::Command(seq, command, mut rest) = self.receive()?.context("PulseAudio does not answer")?
            else {
                continue;
            };
            match command {
                Command::Reply if seq == asked => return Ok(TagStructReader::new(&mut rest, version).read()?),
                Command::Error(error) if seq == asked => return Err(refusal(error)),
                Command::SubscribeEvent(_) => self.has_news = true,
                _ => {}
            }
        }
    }

    /// The same for what is only acknowledged.
    pub(super) fn order(&mut self, command: &Command) -> Result<()> {
        let asked = self.send(command)?;
        loop {
            let message = self.receive()?.context("PulseAudio does not answer")?;
            match message {
                Message::Command(seq, Command::Reply, _) if seq == asked => return Ok(()),
                Message::Command(seq, Command::Error(error), _) if seq == asked => return Err(refusal(error)),
                Message::Command(_, Command::SubscribeEvent(_), _) => self.has_news = true,
                _ => {}
            }
        }
    }

    /// Lets the server tell from here on when devices or defaults change.
    pub(in crate::device) fn subscribe(&mut self) -> Result<()> {
        let what = SubscriptionMask::SINK | SubscriptionMask::SOURCE | SubscriptionMask::SERVER;
        self.order(&Command::Subscribe(what))
    }

    /// Waits for news, for so long at most; whether there were any.
    pub(in crate::device) fn wait_for_news(&mut self, patience: Duration) -> Result<bool> {
        self.set_patience(patience)?;
        while !self.has_news {
            match self.receive()? {
                None => break,
                Some(Message::Command(_, Command::SubscribeEvent(_), _)) => self.has_news = true,
                Some(_) => {}
            }
        }
        self.set_patience(PATIENCE)?;
        Ok(std::mem::take(&mut self.has_news))
    }

    /// Sends a command and gives its number.
    pub(super) fn send(&mut self, command: &Command) -> Result<u32> {
        self.seq = self.seq.wrapping_add(1);
        self.outgoing.clear();
        encode_command_message(&mut self.outgoing, self.seq, command, self.version)?;
        self.socket.write_all(&self.outgoing).context("write to PulseAudio")?;
        Ok(self.seq)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket.write_all(bytes).context("write to PulseAudio")
    }

    /// The next message; `None` if there is no whole one in time.
    pub(super) fn receive(&mut self) -> Result<Option<Message<'_>>> {
        let (channel, body) = loop {
            if let Some(message) = self.incoming.next()? {
                break message;
            }
            if !self.incoming.read(&mut self.socket)? {
                return Ok(None);
            }
        };
        let body = &self.incoming.bytes[body];
        if channel != CONTROL {
            return Ok(Some(Message::Sound(channel, body)));
        }
        let mut rest = Cursor::new(body);
        let (seq, command) = Command::read_tag_prefixed(&mut rest, self.version)?;
        Ok(Some(Message::Command(seq, command, rest)))
    }

    pub(super) fn version(&self) -> u16 {
        self.version
    }

    /// Another handle of the socket, to end the connection with.
    pub(super) fn handle(&self) -> io::Result<UnixStream> {
        self.socket.try_clone()
    }

    pub(super) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(patience))
    }
}

impl Incoming {
    fn new() -> Self {
        Self { bytes: vec![0; ROOM], begin: 0, end: 0 }
    }

    /// Takes the next message if all of it is there: its channel, and where its body is.
    fn next(&mut self) -> Result<Option<(u32, Range<usize>)>> {
        let there = &self.bytes[self.begin..self.end];
        let Some(mut head) = there.get(..DESCRIPTOR_SIZE) else { return Ok(None) };
        let descriptor = read_descriptor(&mut head)?;
        let len = descriptor.length as usize;
        if len > MOST {
            bail!("PulseAudio announces a message of {len} bytes");
        }
        let whole = DESCRIPTOR_SIZE + len;
        if there.len() < whole {
            self.make_room(whole);
            return Ok(None);
        }
        let body = self.begin + DESCRIPTOR_SIZE..self.begin + whole;
        self.begin = body.end;
        Ok(Some((descriptor.channel, body)))
    }

    /// Reads what there is; `false` if nothing comes in time.
    fn read(&mut self, socket: &mut impl Read) -> Result<bool> {
        self.make_room(DESCRIPTOR_SIZE);
        loop {
            match socket.read(&mut self.bytes[self.end..]) {
                Ok(0) => bail!("PulseAudio has hung up"),
                Ok(read) => {
                    self.end += read;
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Ok(false);
                }
                Err(error) => return Err(error).context("read from PulseAudio"),
            }
        }
    }

    /// Moves what is there to the front if a message of that length does not fit behind it.
    fn make_room(&mut self, whole: usize) {
        if self.begin == self.end || self.begin + whole > self.bytes.len() {
            self.bytes.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
        }
        if self.bytes.len() < whole {
            self.bytes.resize(whole, 0);
        }
    }
}

fn refusal(error: PulseError) -> anyhow::Error {
    match error {
        PulseError::AccessDenied | PulseError::AuthKey => {
            anyhow!(io::Error::from(io::ErrorKind::PermissionDenied)).context(format!("PulseAudio refuses ({error})"))
        }
        error => anyhow!("PulseAudio refuses: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use pulseaudio::protocol::{Descriptor, DescriptorFlags, encode_descriptor};

    use super::*;

    fn message(channel: u32, body: &[u8]) -> Vec<u8> {
        let mut head = [0; DESCRIPTOR_SIZE];
        let length = body.len() as u32;
        encode_descriptor(&mut head, &Descriptor { length, channel, offset: 0, flags: DescriptorFlags::empty() });
        [&head[..], body].concat()
    }

    /// Gives no more than so many bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let len = self.1.min(out.len());
            self.0.read(&mut out[..len])
        }
    }

    #[test]
    fn messages_come_whole_and_in_turn_however_they_are_cut() {
        let bodies: Vec<Vec<u8>> = (0..40_u8).map(|n| vec![n; usize::from(n) * 997]).collect();
        let stream: Vec<u8> = (0..).zip(&bodies).flat_map(|(channel, body)| message(channel, body)).collect();
        for cut in [1, 19, 20, 21, 1000, usize::MAX] {
            let (mut incoming, mut socket) = (Incoming::new(), Slow(&stream, cut));
            let mut heard = Vec::new();
            while heard.len() < bodies.len() {
                match incoming.next().expect("a message") {
                    Some((channel, body)) => {
                        assert_eq!(channel as usize, heard.len());
                        heard.push(incoming.bytes[body].to_vec());
                    }
                    None => assert!(incoming.read(&mut socket).expect("more")),
                }
            }
            assert_eq!(heard, bodies, "cut to {cut}");
        }
    }

    #[test]
    fn a_message_beyond_all_measure_is_refused_before_there_is_room_for_it() {
        let mut head = message(0, &[]);
        head[..4].copy_from_slice(&u32::MAX.to_be_bytes());
        let mut incoming = Incoming::new();
        incoming.read(&mut &head[..]).expect("read");

        assert!(incoming.next().is_err());
        assert_eq!(incoming.bytes.len(), ROOM);
    }
}
