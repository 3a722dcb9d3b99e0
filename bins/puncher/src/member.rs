//! What a member is made of: its key and name, the rendezvous it trusts, the channel's secret.

use std::{fmt, io::IsTerminal, net::SocketAddr, path::Path};

use anyhow::{Context, anyhow};
use edge::{Common, Exit, KnownServers, ServerAddr, WithExit, settings::Settings};
use identity::{ChannelSecret, Identity, InviteSecret};
use mesh::Secret;
use wire::IdentityKey;

use crate::args::Member;

const KEY_FILE: &str = "identity.key";

/// Reads the person's key, making it at the first start.
pub(crate) fn identity() -> anyhow::Result<Identity> {
    let path = edge::dirs::state_dir()?.join(KEY_FILE);
    let doing = || format!("read the identity key {}", path.display());
    if path.exists() {
        let text = edge::secret_file::read(&path).with_context(doing)?;
        return Identity::from_text(&text).map_err(|error| anyhow!(error)).with_context(doing).exit(Exit::Config);
    }
    let identity = Identity::generate();
    edge::secret_file::write_private(&path, identity.to_text().as_bytes())
        .with_context(|| format!("keep the new identity key in {}", path.display()))?;
    Ok(identity)
}

/// The name to join with: as given, as kept in the settings, asked for, or made from the key.
pub(crate) fn name(
    given: Option<&str>,
    settings: &Settings,
    common: &Common,
    key: &IdentityKey,
) -> anyhow::Result<String> {
    let can_ask = std::io::stdin().is_terminal() && !common.no_input;
    if given.is_some() || settings.name.is_some() || can_ask {
        return edge::settings::name(given, common);
    }
    // A pipeline works as it is written, without a question in its way.
    let name = format!("guest-{}", &key.short()[..4]);
    tracing::warn!("no --name was given and none is kept, so the others see {name}");
    Ok(name)
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

fn first_line(path: &Path, what: &str) -> anyhow::Result<String> {
    let text = edge::secret_file::read(path).with_context(|| format!("read the {what} in {}", path.display()))?;
    let line = text.lines().next().unwrap_or_default().trim_end_matches('\r');
    if line.is_empty() {
        let error = anyhow!("the first line of {} is empty; it should be the {what}", path.display());
        return Err(error).exit(Exit::Data);
    }
    Ok(line.to_owned())
}

/// The rendezvous as this person knows it.
pub(crate) struct KnownServer {
    server: ServerAddr,
    addrs: Vec<SocketAddr>,
    next: usize,
    known: KnownServers,
    channel: String,
    secret: SecretSource,
}

impl KnownServer {
    pub(crate) fn resolve(server: ServerAddr, channel: &str, secret: SecretSource) -> anyhow::Result<Self> {
        let addrs = server.resolve()?;
        let addrs = addrs.into_iter().map(|addr| SocketAddr::new(addr.ip().to_canonical(), addr.port())).collect();
        Ok(Self { server, addrs, next: 0, known: KnownServers::of_user()?, channel: channel.to_owned(), secret })
    }

    /// How the HTTP server there calls itself, and its port.
    pub(crate) fn http(&self) -> (&str, u16) {
        (&self.server.host, self.server.http_port)
    }

    /// Address by address, round and round.
    pub(crate) fn next_addr(&mut self) -> Option<SocketAddr> {
        let addr = self.addrs.get(self.next % self.addrs.len().max(1)).copied();
        self.next += 1;
        addr
    }

    /// All of them.
    pub(crate) fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The key that this server showed before.
    pub(crate) fn key(&self) -> anyhow::Result<Option<IdentityKey>> {
        self.known.key(&self.server)
    }

    /// Keeps the key that the server showed for the first time.
    pub(crate) fn remember(&self, key: &IdentityKey) -> anyhow::Result<()> {
        self.known.remember(&self.server, key)
    }

    /// What to say of a server that showed another key than the one known.
    pub(crate) fn changed_key(&self) -> anyhow::Error {
        self.known.changed(&self.server)
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

impl fmt::Display for KnownServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}
