use std::ffi::CString;
use std::io::{self, Cursor, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use pulseaudio::protocol::{
    AuthParams, AuthReply, Command, CommandReply, DESCRIPTOR_SIZE, MAX_VERSION, Prop, Props, PulseError,
    SetClientNameReply, TagStructReader, encode_command_message, read_descriptor,
};

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A longer message is none that this program asks for: as much sound as PulseAudio holds for one stream.
const MOST: usize = 4 << 20;
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
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
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
        let mut connection = Self { socket, version: MAX_VERSION, seq: 0, incoming: Vec::new(), outgoing: Vec::new() };
        let reply: AuthReply = connection.ask(&Command::Auth(auth)).context("be let in by PulseAudio")?;
        connection.version = MAX_VERSION.min(reply.version);
        let mut props = Props::new();
        props.set(Prop::ApplicationName, CString::from(c"audio-pipe").as_c_str());
        let _: SetClientNameReply = connection.ask(&Command::SetClientName(props))?;
        Ok(connection)
    }

    /// Asks, and waits for the answer. What else comes is dropped.
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
                _ => {}
            }
        }
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

    /// The next message; `None` if none begins in time.
    pub(super) fn receive(&mut self) -> Result<Option<Message<'_>>> {
        let mut head = [0; DESCRIPTOR_SIZE];
        if !self.fill(&mut head)? {
            return Ok(None);
        }
        let descriptor = read_descriptor(&mut &head[..])?;
        let len = descriptor.length as usize;
        if len > MOST {
            bail!("PulseAudio announces a message of {len} bytes");
        }
        let mut body = std::mem::take(&mut self.incoming);
        body.resize(len, 0);
        let filled = self.fill(&mut body);
        self.incoming = body;
        if len > 0 && !filled? {
            bail!("PulseAudio stopped in the middle of a message");
        }
        if descriptor.channel != CONTROL {
            return Ok(Some(Message::Sound(descriptor.channel, &self.incoming)));
        }
        let mut rest = Cursor::new(&self.incoming[..]);
        let (seq, command) = Command::read_tag_prefixed(&mut rest, self.version)?;
        Ok(Some(Message::Command(seq, command, rest)))
    }

    /// Reads exactly so much; `false` if nothing comes in time. Once something has come the rest follows.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<bool> {
        let mut filled = 0;
        let mut waits = 0;
        while filled < bytes.len() {
            match self.socket.read(&mut bytes[filled..]) {
                Ok(0) => bail!("PulseAudio has hung up"),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    waits += 1;
                    if filled == 0 || waits > 20 {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error).context("read from PulseAudio"),
            }
        }
        Ok(true)
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

fn refusal(error: PulseError) -> anyhow::Error {
    match error {
        PulseError::AccessDenied | PulseError::AuthKey => {
            anyhow!(io::Error::from(io::ErrorKind::PermissionDenied)).context(format!("PulseAudio refuses ({error})"))
        }
        error => anyhow!("PulseAudio refuses: {error}"),
    }
}
