//! The agent socket: listens for local programs and keeps their connections.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixStream as StdUnixStream,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use edge::{Exit, WithExit};
use mio::{
    Interest, Registry, Token,
    net::{UnixListener, UnixStream},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wire::{
    agent::{FromPuncher, ToPuncher},
    peer::Lane,
};

use crate::{
    local::client::{Client, Gone},
    net::socket::interest,
};

/// Programs that may be connected at once.
const MAX_CLIENTS: usize = 32;
/// What is read at once.
const CHUNK: usize = 16 * 1024;

/// The listening socket and its clients.
pub(crate) struct Agents {
    listener: UnixListener,
    path: PathBuf,
    /// The socket's device and inode.
    id: (u64, u64),
    clients: BTreeMap<Token, Client>,
    next_token: usize,
    /// Those for whom voice is queued.
    queued: Vec<Token>,
    /// Where all of them are read.
    buffer: Vec<u8>,
}

impl Agents {
    pub(crate) const LISTENER: Token = Token(1);
    const FIRST_CLIENT: usize = 16;

    /// Serves at `path`; a socket that a dead puncher left there is replaced, a live one is not.
    pub(crate) fn serve(path: PathBuf, registry: &Registry) -> anyhow::Result<Self> {
        let serving = || format!("serve local programs at {}", path.display());
        if path.symlink_metadata().is_ok_and(|found| !found.file_type().is_socket()) {
            return Err(anyhow!("something else than a socket is there"))
                .with_context(serving)
                .exit(Exit::CannotCreate);
        }
        let _held = hold(&path).with_context(serving).exit(Exit::CannotCreate)?;
        if path.symlink_metadata().is_ok() {
            if StdUnixStream::connect(&path).is_ok() {
                let error = anyhow!("another puncher serves this channel; leave it first, or choose another --sock");
                return Err(error).with_context(serving).exit(Exit::Unavailable);
            }
            std::fs::remove_file(&path).with_context(serving).exit(Exit::CannotCreate)?;
        }
        let mut listener = UnixListener::bind(&path).with_context(serving).exit(Exit::CannotCreate)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).with_context(serving)?;
        registry.register(&mut listener, Self::LISTENER, Interest::READABLE).with_context(serving)?;
        let id = id(&path).with_context(serving)?;
        let (clients, next_token) = (BTreeMap::new(), Self::FIRST_CLIENT);
        Ok(Self { listener, path, id, clients, next_token, queued: Vec::new(), buffer: vec![0; CHUNK] })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the connections that wait.
    pub(crate) fn accept(&mut self, registry: &Registry) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if let Err(error) = self.admit(stream, registry) {
                        tracing::warn!(%error, "a local program was turned away");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, "a local program's connection could not be taken");
                    return;
                }
            }
        }
    }

    fn admit(&mut self, stream: UnixStream, registry: &Registry) -> anyhow::Result<()> {
        // Elsewhere the modes of the socket and of its directory keep others out.
        #[cfg(target_os = "linux")]
        {
            let peer = rustix::net::sockopt::socket_peercred(&stream).context("ask who connects")?;
            if peer.uid != rustix::process::getuid() && !peer.uid.is_root() {
                bail!("user {} is not the user of this puncher", peer.uid.as_raw());
            }
        }
        if self.clients.len() >= MAX_CLIENTS {
            bail!("{MAX_CLIENTS} programs are connected already");
        }
        self.adopt(stream, None, registry).map(drop)
    }

    /// Takes a connection that was made within this process; its lane is open from the start.
    pub(crate) fn adopt(
        &mut self,
        stream: UnixStream,
        lane: Option<Lane>,
        registry: &Registry,
    ) -> anyhow::Result<Token> {
        let token = Token(self.next_token);
        self.next_token += 1;
        let mut client = Client::new(stream);
        if let Some(lane) = lane {
            client.open(lane);
        }
        registry.register(client.stream(), token, interest(false)).context("watch a connection")?;
        self.clients.insert(token, client);
        Ok(token)
    }

    pub(crate) fn open(&mut self, token: Token, lane: Lane) {
        if let Some(client) = self.clients.get_mut(&token) {
            client.open(lane);
        }
    }

    pub(crate) fn lane(&self, token: Token) -> Option<Lane> {
        self.clients.get(&token)?.lane()
    }

    /// Whether a client is connected.
    pub(crate) fn has(&self, token: Token) -> bool {
        self.clients.contains_key(&token)
    }

    /// Writes what can be.
    pub(crate) fn write(&mut self, token: Token, registry: &Registry) -> Result<(), Gone> {
        let Some(client) = self.clients.get_mut(&token) else { return Ok(()) };
        client.flush()?;
        client.watch(token, registry)
    }

    /// Reads some of what is there; whether there may be more. At an error the client is to be dismissed, once its last records are
    /// taken.
    pub(crate) fn read(&mut self, token: Token) -> Result<bool, Gone> {
        self.clients.get_mut(&token).map_or(Ok(false), |client| client.read(&mut self.buffer))
    }

    /// Gives a record back, to be the next one.
    pub(crate) fn withhold(&mut self, token: Token, record: ToPuncher) {
        if let Some(client) = self.clients.get_mut(&token) {
            client.withhold(record);
        }
    }

    /// Writes what waits for the programs, as long as they take it, for so long at most.
    pub(crate) fn finish(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            self.clients.retain(|_, client| client.flush().is_ok() && client.is_awaited());
            let left = deadline.saturating_duration_since(Instant::now());
            if self.clients.is_empty() || left.is_zero() {
                return;
            }
            let mut streams: Vec<_> =
                self.clients.values().map(|client| PollFd::new(client.stream_ref(), PollFlags::OUT)).collect();
            // Whatever the outcome, it is tried again.
            let _ = poll(&mut streams, Timespec::try_from(left).ok().as_ref());
        }
    }

    /// The next record of a client.
    pub(crate) fn next_record(&mut self, token: Token, registry: &Registry) -> Option<ToPuncher> {
        let client = self.clients.get_mut(&token)?;
        match client.next_record() {
            Ok(record) => record,
            Err(reason) => {
                let _ = client.send(&FromPuncher::Refused(reason.to_string()));
                self.dismiss(token, &reason, registry);
                None
            }
        }
    }

    pub(crate) fn dismiss(&mut self, token: Token, reason: &Gone, registry: &Registry) {
        if let Some(mut client) = self.clients.remove(&token) {
            let _ = registry.deregister(client.stream());
            tracing::debug!(?token, %reason, dropped_voice = client.dropped, "a local program is gone");
        }
    }

    pub(crate) fn send(&mut self, token: Token, record: &FromPuncher, registry: &Registry) -> bool {
        let Some(client) = self.clients.get_mut(&token) else { return false };
        match client.send(record).and_then(|()| client.watch(token, registry)) {
            Ok(()) => client.is_listening(),
            Err(reason) => {
                self.dismiss(token, &reason, registry);
                false
            }
        }
    }

    /// Sends to every program for which `wanted` holds; returns how many got it.
    pub(crate) fn broadcast(
        &mut self,
        record: &FromPuncher,
        registry: &Registry,
        wanted: impl Fn(Token, Lane) -> bool,
    ) -> usize {
        let tokens: Vec<_> = self
            .clients
            .iter()
            .filter(|(token, client)| client.lane().is_some_and(|lane| wanted(**token, lane)))
            .map(|(token, _)| *token)
            .collect();
        tokens.into_iter().filter(|token| self.send(*token, record, registry)).count()
    }

    /// Queues a record for every program on the voice lane, to be sent with the next [`Self::flush`]: what came in one turn
    /// of the loop is one write, and wakes each program once.
    pub(crate) fn queue_voice(&mut self, record: &FromPuncher, registry: &Registry) {
        let mut gone = Vec::new();
        for (token, client) in self.clients.iter_mut().filter(|(_, client)| client.lane() == Some(Lane::Voice)) {
            match client.queue(record) {
                Ok(()) if self.queued.contains(token) => {}
                Ok(()) => self.queued.push(*token),
                Err(reason) => gone.push((*token, reason)),
            }
        }
        for (token, reason) in gone {
            self.dismiss(token, &reason, registry);
        }
    }

    /// Sends what is queued.
    pub(crate) fn flush(&mut self, registry: &Registry) {
        for token in std::mem::take(&mut self.queued) {
            let Some(client) = self.clients.get_mut(&token) else { continue };
            if let Err(reason) = client.flush().and_then(|()| client.watch(token, registry)) {
                self.dismiss(token, &reason, registry);
            }
        }
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        // Where somebody cleaned up, another puncher may serve by now.
        let is_ours = id(&self.path).is_ok_and(|id| id == self.id);
        if !is_ours || std::fs::remove_file(&self.path).is_err() {
            tracing::debug!(path = %self.path.display(), "the agent socket was gone already");
        }
    }
}

/// Keeps others who do the same out of the folder of a socket until what is returned is dropped: of two punchers that find what a
/// dead one left, one looks, replaces it and serves before the other looks.
fn hold(path: &Path) -> io::Result<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = File::open(folder)?;
    folder.lock()?;
    Ok(folder)
}

fn id(path: &Path) -> io::Result<(u64, u64)> {
    path.symlink_metadata().map(|data| (data.dev(), data.ino()))
}
