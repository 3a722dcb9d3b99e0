//! What a member is made of: its key and name, the rendezvous it trusts, the channel's secret.

mod known_server;
pub(crate) mod name;
pub(crate) mod pins;
pub(crate) mod remembered;
pub(crate) mod tickets;
pub(crate) mod writer;

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use edge::{Exit, InviteLink, Remote, ServerAddr, WithExit, settings::Settings};
use identity::{ChannelSecret, Identity, InviteSecret};
use mesh::Secret;

pub(crate) use self::known_server::{KnownServer, canonical};
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
pub(crate) fn started_at(writer: &Writer) -> anyhow::Result<u64> {
    let path = edge::dirs::state_dir()?.join(STARTED_FILE);
    let before = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
    let started_at = edge::unix_millis().max(before.map_or(0, |before: u64| before.saturating_add(1)));
    let keeping = format!("keep when this run began in {}", path.display());
    let kept = path.clone();
    writer.write(&path, move || {
        edge::secret_file::write_private(&kept, started_at.to_string().as_bytes()).context(keeping)
    });
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
