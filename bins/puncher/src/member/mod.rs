//! What a member is made of: its key and name, the rendezvous it trusts, the channel's secret.

pub(crate) mod name;
pub(crate) mod pins;
pub(crate) mod remembered;
pub(crate) mod tickets;
pub(crate) mod writer;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, TryRecvError, channel},
};

use anyhow::{Context, anyhow};
use edge::{Exit, InviteLink, KnownServers, Remote, ServerAddr, WithExit, settings::Settings};
use identity::{ChannelSecret, Identity, InviteSecret};
use mesh::Secret;
use wire::IdentityKey;

use self::writer::Writer;
use crate::args::Member;

const KEY_FILE: &str = "identity.key";
const STARTED_FILE: &str = "last-start";

/// Reads the person's key, making it at the first start.
pub(crate) fn identity(writer: &Writer) -> anyhow::Result<Identity> {
    let path = edge::dirs::state_dir()?.join(KEY_FILE);
    if let Some(identity) = kept_identity(&path)? {
        return Ok(identity);
    }
    // Two programs that start for the first time at once are one person.
    let _held = edge::secret_file::lock(&path)?;
    if let Some(identity) = kept_identity(&path)? {
        return Ok(identity);
    }
    let identity = Identity::generate();
    let keeping = format!("keep the new identity key in {}", path.display());
    let file = edge::secret_file::place_private(&path, identity.to_text().as_bytes()).context(keeping.clone())?;
    writer.write(&path, move || file.sync_all().context(keeping));
    Ok(identity)
}

fn kept_identity(path: &Path) -> anyhow::Result<Option<Identity>> {
    let doing = || format!("read the identity key {}", path.display());
    if !path.exists() {
        return Ok(None);
    }
    let text = edge::secret_file::read(path).with_context(doing)?;
    // It is empty if the machine stopped within a second of its making.
    if text.is_empty() {
        return Ok(None);
    }
    Identity::from_text(&text).map(Some).map_err(|error| anyhow!(error)).with_context(doing).exit(Exit::Config)
}

/// When this run began, in milliseconds since 1970, but later than the run before even if the clock went back: members who meet
/// without a rendezvous know by that which of two runs is the newer one.
pub(crate) fn started_at(writer: &Writer) -> u64 {
    later_than_before(writer).unwrap_or_else(|error| {
        tracing::warn!("{error:#}; if the clock goes back, members may take the next run for an old one");
        edge::unix_millis()
    })
}

fn later_than_before(writer: &Writer) -> anyhow::Result<u64> {
    let path = edge::dirs::state_dir()?.join(STARTED_FILE);
    let _held = edge::secret_file::lock(&path)?;
    let before = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
    let started_at = edge::unix_millis().max(before.map_or(0, |before: u64| before.saturating_add(1)));
    let keeping = format!("keep when this run began in {}", path.display());
    let file = edge::secret_file::place_private(&path, started_at.to_string().as_bytes()).context(keeping.clone())?;
    writer.write(&path, move || file.sync_all().context(keeping));
    Ok(started_at)
}

/// The server to ask: as given or as kept in the settings.
pub(crate) fn server(given: Option<&str>, settings: &Settings) -> anyhow::Result<ServerAddr> {
    let text = given.or(settings.server.as_deref()).ok_or_else(|| {
        anyhow!("no rendezvous is known: give --server HOST, or set PUNCHLINE_SERVER, or keep `server = \"HOST\"` in the settings")
    });
    edge::parse_server(text.exit(Exit::Usage)?).exit(Exit::Usage)
}

/// How the channel's secret is come by.
pub(crate) enum SecretSource {
    Open,
    Password(String),
    Invite(InviteSecret),
}

impl SecretSource {
    pub(crate) fn read(member: &Member) -> anyhow::Result<Self> {
        if let Some(path) = &member.password_file {
            return first_line(path, "password").map(Self::Password);
        }
        let Some(path) = &member.invite_file else { return Ok(Self::Open) };
        let line = first_line(path, "invite")?;
        let secret = line.rsplit('#').next().unwrap_or_default();
        let secret = secret.parse().map_err(|error| anyhow!("{error}"));
        secret.map(Self::Invite).with_context(|| format!("read the invite in {}", path.display())).exit(Exit::Data)
    }

    /// What the mesh starts with.
    pub(crate) fn for_mesh(&self) -> Secret {
        match self {
            Self::Open => Secret::Open,
            Self::Password(_) => Secret::Deferred,
            Self::Invite(secret) => Secret::Known(ChannelSecret::from_invite(secret)),
        }
    }
}

/// The server that an invite link leads to, if the link is of this channel; `None` if there is no link, or only its secret part.
pub(crate) fn invited_to(member: &Member, channel: &str) -> anyhow::Result<Option<Invitation>> {
    let Some(path) = &member.invite_file else { return Ok(None) };
    // What is no invitation at all is said before anything else is missed.
    SecretSource::read(member)?;
    let Ok(link) = first_line(path, "invite")?.parse::<InviteLink>() else { return Ok(None) };
    if link.channel != channel {
        let (named, given) = (Remote(&link.channel).show(), Remote(channel).show());
        return Err(anyhow!("the invite in {} is for {named}, not for {given}", path.display())).exit(Exit::Usage);
    }
    Ok(Some(Invitation { path: path.clone(), server: link.server }))
}

/// Where an invite link leads to.
pub(crate) struct Invitation {
    path: PathBuf,
    server: ServerAddr,
}

impl Invitation {
    /// The server, if its UDP port follows from the link: who serves HTTP at another port than usual may serve UDP anywhere.
    pub(crate) fn into_server(self) -> anyhow::Result<ServerAddr> {
        if self.server.http_port == edge::HTTP_PORT {
            return Ok(self.server);
        }
        let (path, host) = (self.path.display(), &self.server.host);
        let error =
            anyhow!("the invite in {path} does not say at which UDP port {host} serves: give --server {host}:PORT");
        Err(error).exit(Exit::Usage)
    }
}

fn first_line(path: &Path, what: &str) -> anyhow::Result<String> {
    let text = edge::secret_file::read(path).with_context(|| format!("read the {what} in {}", path.display()))?;
    let line = text.lines().next().unwrap_or_default().trim_end_matches('\r');
    if line.is_empty() {
        let error = anyhow!("the first line of {} is empty; it should be the {what}", path.display());
        return Err(error).exit(Exit::Data);
    }
    Ok(line.to_owned())
}

/// The rendezvous as this person knows it, or that there is none.
pub(crate) struct KnownServer {
    server: Option<ServerAddr>,
    /// What it is to a person, before its address.
    what: &'static str,
    /// What people are pinned under: the server, or, where nobody named one, the one that the channel belongs to.
    realm: String,
    addrs: Vec<SocketAddr>,
    next: usize,
    /// What its name stands for by now, once the system has said it.
    lookup: Option<Receiver<Vec<SocketAddr>>>,
    known: KnownServers,
    channel: String,
    secret: SecretSource,
}

impl KnownServer {
    /// Finds the server's addresses. If that fails, it is a server without addresses to who has other ways in.
    pub(crate) fn resolve(
        server: Option<ServerAddr>,
        what: &'static str,
        channel: &str,
        secret: SecretSource,
        has_other_ways: bool,
    ) -> anyhow::Result<Self> {
        let found = server.as_ref().map_or(Ok(Vec::new()), ServerAddr::resolve);
        let addrs = match found {
            Err(error) if has_other_ways => {
                tracing::warn!(error = format!("{error:#}"), "members are asked instead");
                Vec::new()
            }
            found => found?,
        };
        let addrs = canonical(addrs);
        let (known, channel) = (KnownServers::of_user()?, channel.to_owned());
        let realm = server.as_ref().map(ToString::to_string).unwrap_or_default();
        if server.is_none() && matches!(secret, SecretSource::Password(_)) {
            let error = anyhow!("the password of a channel goes together with its server: give --server HOST, too");
            return Err(error).exit(Exit::Usage);
        }
        Ok(Self { server, what, realm, addrs, next: 0, lookup: None, known, channel, secret })
    }

    /// What people are pinned under.
    pub(crate) fn realm(&self) -> &str {
        &self.realm
    }

    /// How the HTTP server there calls itself, and its port.
    pub(crate) fn http(&self) -> Option<(&str, u16)> {
        self.server.as_ref().map(|server| (server.host.as_str(), server.http_port))
    }

    /// Address by address, round and round; after each round the name is looked up anew, for the server may have moved.
    pub(crate) fn next_addr(&mut self) -> Option<SocketAddr> {
        if let Some(found) =
            self.lookup.as_ref().map(Receiver::try_recv).filter(|found| *found != Err(TryRecvError::Empty))
        {
            self.lookup = None;
            self.addrs =
                found.ok().filter(|addrs| !addrs.is_empty()).unwrap_or_else(|| std::mem::take(&mut self.addrs));
        }
        if self.next > 0 && self.next.is_multiple_of(self.addrs.len().max(1)) {
            self.look_up();
        }
        let addr = self.addrs.get(self.next % self.addrs.len().max(1)).copied();
        self.next += 1;
        addr
    }

    /// Asks the system, which may take long, without waiting for it.
    fn look_up(&mut self) {
        let Some(server) = self.server.clone().filter(|_| self.lookup.is_none()) else { return };
        let (tell, found) = channel();
        let ask = move || match server.resolve() {
            // Nobody wants to know it any more if the program has ended.
            Ok(addrs) => drop(tell.send(canonical(addrs))),
            Err(error) => tracing::debug!("{error:#}"),
        };
        match std::thread::Builder::new().name("lookup".into()).spawn(ask) {
            Ok(_) => self.lookup = Some(found),
            Err(error) => tracing::debug!(%error, "The rendezvous' name is not looked up anew"),
        }
    }

    /// All of them.
    pub(crate) fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The key that this server showed before.
    pub(crate) fn key(&self) -> anyhow::Result<Option<IdentityKey>> {
        self.server.as_ref().map_or(Ok(None), |server| self.known.key(server))
    }

    /// Keeps the key that the server showed for the first time. Where a member says which server the channel belongs to, that
    /// is taken as the name of the channel's people and no further: it is not a key that the server has shown.
    pub(crate) fn remember(&mut self, key: &IdentityKey, writer: &Writer) -> anyhow::Result<()> {
        let Some(server) = &self.server else {
            self.realm = self.known.name_of(key)?.unwrap_or_else(|| key.to_string());
            return Ok(());
        };
        let (known, server, key) = (self.known.clone(), server.clone(), *key);
        writer.write(self.known.path(), move || known.remember(&server, &key));
        Ok(())
    }

    /// What to say of a server that showed another key than the one known.
    pub(crate) fn changed_key(&self) -> anyhow::Error {
        match &self.server {
            Some(server) => self.known.changed(server),
            None => anyhow!("the channel belongs to another server than before"),
        }
    }

    /// Makes the secret that the server's key goes into.
    pub(crate) fn channel_secret(&self, server: IdentityKey) -> anyhow::Result<ChannelSecret> {
        match &self.secret {
            SecretSource::Open => Ok(ChannelSecret::open(&server, &self.channel)),
            SecretSource::Invite(secret) => Ok(ChannelSecret::from_invite(secret)),
            SecretSource::Password(password) => ChannelSecret::from_password(&server, &self.channel, password)
                .map_err(|error| anyhow!("{error}"))
                .context("make the channel's secret from the password"),
        }
    }

    pub(crate) fn secret_for_mesh(&self) -> Secret {
        self.secret.for_mesh()
    }
}

/// Addresses as the socket tells them.
pub(crate) fn canonical(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    addrs.into_iter().map(|addr| SocketAddr::new(addr.ip().to_canonical(), addr.port())).collect()
}

impl fmt::Display for KnownServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            Some(server) => write!(f, "{} {server}", self.what),
            None => write!(f, "the channel {}", edge::Remote(&self.channel).show()),
        }
    }
}
