//! `chatctl channels`: the channels of a rendezvous, over its HTTP interface.

use std::{fs::OpenOptions, io::Write, net::IpAddr, os::unix::fs::OpenOptionsExt, path::Path};

use anyhow::{Context, anyhow};
use edge::{Common, Exit, InviteLink, KnownServers, Remote, ServerAddr, Settings, WithExit, secret_file};
use identity::{ChannelSecret, InviteSecret};
use serde::{Deserialize, Serialize};
use serde_json::json;
use wire::IdentityKey;

use crate::{
    args::{ChannelCommand, Channels, Create, Delete, Kind},
    http::Api,
    oneshot::print,
    owners, render,
};

/// A channel as the rendezvous tells of it.
#[derive(Debug, Deserialize, Serialize)]
struct Channel {
    name: String,
    kind: String,
    #[serde(default)]
    kept: bool,
    #[serde(default)]
    description: String,
    #[serde(default)]
    author: String,
    #[serde(default)]
    members: u64,
    /// Seconds since 1970.
    #[serde(default)]
    created_at: Option<u64>,
}

/// A page of channels.
#[derive(Deserialize)]
struct Page {
    channels: Vec<Channel>,
    #[serde(default)]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Created {
    channel: Channel,
    capability: String,
}

/// Which rendezvous it is.
#[derive(Deserialize)]
struct Server {
    key: String,
    udp_port: u16,
}

/// Runs `chatctl channels`.
pub(crate) fn run(args: &Channels, common: &Common) -> anyhow::Result<()> {
    let api = Api::new(server(args)?)?;
    match &args.command {
        ChannelCommand::List => list(&api, common),
        ChannelCommand::Create(args) => create(args, &api, common),
        ChannelCommand::Delete(args) => delete(args, &api, common),
    }
}

fn server(args: &Channels) -> anyhow::Result<ServerAddr> {
    if let Some(url) = &args.http {
        if url.starts_with("https://") {
            return Err(anyhow!("chatctl speaks plain http only: {url}")).exit(Exit::Usage);
        }
        let url = if url.starts_with("http://") { url.clone() } else { format!("http://{url}") };
        return edge::parse_server(&url).context("--http").exit(Exit::Usage);
    }
    let kept = || Ok::<_, anyhow::Error>(Settings::load()?.server);
    let server = args.server.clone().map_or_else(kept, |server| Ok(Some(server)))?;
    let server = server.context("say which rendezvous with --http URL or --server HOST").exit(Exit::Usage)?;
    edge::parse_server(&server).exit(Exit::Usage)
}

fn list(api: &Api, common: &Common) -> anyhow::Result<()> {
    let mut channels: Vec<Channel> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let path = after.as_ref().map_or_else(String::new, |after| format!("?after={}", edge::percent_encode(after)));
        let page: Page = api.fetch(&format!("/api/channels{path}"))?;
        let is_last = page.channels.is_empty();
        channels.extend(page.channels);
        match page.next {
            Some(next) if !is_last && after.as_ref().is_none_or(|after| next > *after) => after = Some(next),
            Some(_) if !is_last => {
                return Err(anyhow!("the rendezvous lists its channels in a circle")).exit(Exit::Protocol);
            }
            _ => break,
        }
    }
    if common.json {
        return channels.iter().try_for_each(|channel| print(&render::line(channel)?));
    }
    let row = |channel: Channel| {
        let [name, kind, author, description] =
            [channel.name, channel.kind, channel.author, channel.description].map(|text| Remote(text).show());
        [name, kind, channel.members.to_string(), author, description]
    };
    print(&edge::table(["NAME", "KIND", "MEMBERS", "AUTHOR", "DESCRIPTION"], channels.into_iter().map(row)))
}

fn create(args: &Create, api: &Api, common: &Common) -> anyhow::Result<()> {
    // The rendezvous keeps names in this form, and a password's key depends on the name.
    let name = edge::channel_name(&args.name);
    let author = match &args.author {
        Some(author) => author.clone(),
        None => Settings::load()?.name.unwrap_or_default(),
    };
    let access = Access::make(args, &name, api)?;
    owners::prepare()?;
    let place = args.invite_file.as_deref().map(Place::take).transpose()?;
    let mut wanted = json!({
        "name": name, "kind": args.kind.name(), "description": args.description, "author": author,
    });
    if let Some(key) = access.join_key {
        wanted["join_key"] = json!(key.to_string());
    }
    let created: Created = api.create("/api/channels", &wanted)?;
    let kept = owners::keep(api.server(), &created.channel.name, &created.capability);
    kept.map_err(|error| taken_back(error, api, &created))?;
    if created.channel.name != name {
        let theirs = Remote(&created.channel.name).show();
        return Err(anyhow!("the rendezvous calls the channel {theirs}; delete it, and create it under that name"))
            .exit(Exit::Protocol);
    }
    let link = access.invite.map(|secret| {
        let secret = secret.to_text().to_string();
        InviteLink { server: api.server().clone(), channel: name, secret }.to_text()
    });
    let Some(link) = link else { return tell(&created, None, common) };
    // Into a channel whose link nobody has seen, nobody can come.
    match place {
        Some(place) => {
            place.fill(&link).map_err(|error| taken_back(error, api, &created))?;
            tell(&created, None, common)?;
        }
        None => tell(&created, Some(&link), common).map_err(|error| taken_back(error, api, &created))?,
    }
    if common.json || common.quiet {
        return Ok(());
    }
    for note in notes_on_link(api.server()) {
        writeln!(std::io::stderr(), "chatctl: {note}").context("write to stderr").exit(Exit::Io)?;
    }
    Ok(())
}

/// Deletes a channel that is of no use to anybody; the error is still the one that made it so.
fn taken_back(error: anyhow::Error, api: &Api, created: &Created) -> anyhow::Error {
    if let Err(second) = give_up(api, &created.channel.name, &created.capability) {
        let name = Remote(&created.channel.name).show();
        tracing::warn!("The channel {name} can't be used, and could not be deleted: {second:#}");
    }
    error
}

/// A file for a link that is still to come: none is written over, and without a link none is left.
struct Place<'a> {
    path: &'a Path,
    is_used: bool,
}

impl<'a> Place<'a> {
    fn take(path: &'a Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        file.with_context(|| format!("create {}", path.display())).exit(Exit::CannotCreate)?;
        Ok(Self { path, is_used: false })
    }

    fn fill(mut self, link: &str) -> anyhow::Result<()> {
        secret_file::write_private(self.path, format!("{link}\n").as_bytes())?;
        self.is_used = true;
        Ok(())
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.is_used {
            // An empty file is no great harm.
            let _ = std::fs::remove_file(self.path);
        }
    }
}

/// What lets people into a channel.
struct Access {
    join_key: Option<IdentityKey>,
    invite: Option<InviteSecret>,
}

impl Access {
    fn make(args: &Create, name: &str, api: &Api) -> anyhow::Result<Self> {
        if args.kind != Kind::Password && (args.password_file.is_some() || args.password_fd.is_some()) {
            return Err(anyhow!("only a channel of --kind password has a password")).exit(Exit::Usage);
        }
        if args.kind != Kind::Invite && args.invite_file.is_some() {
            return Err(anyhow!("only a channel of --kind invite has an invitation")).exit(Exit::Usage);
        }
        match args.kind {
            Kind::Open => Ok(Self { join_key: None, invite: None }),
            Kind::Password => {
                let password = match (&args.password_file, args.password_fd) {
                    (Some(path), _) => secret_file::read(path)?,
                    (None, Some(fd)) => secret_file::read_fd(fd)?,
                    (None, None) => {
                        return Err(anyhow!("give the password with --password-file or --password-fd"))
                            .exit(Exit::Usage);
                    }
                };
                let password = secret_file::first_line(&password);
                if password.is_empty() {
                    return Err(anyhow!("the password is empty")).exit(Exit::Data);
                }
                let secret = ChannelSecret::from_password(&server_key(api)?, name, password)
                    .context("make the channel's secret from the password")
                    .exit(Exit::Data)?;
                Ok(Self { join_key: Some(secret.join_key().key()), invite: None })
            }
            Kind::Invite => {
                let invite = InviteSecret::generate();
                let join_key = ChannelSecret::from_invite(&invite).join_key().key();
                Ok(Self { join_key: Some(join_key), invite: Some(invite) })
            }
        }
    }
}

/// The key of the rendezvous: the one it showed to `puncher` before, if it did.
fn server_key(api: &Api) -> anyhow::Result<IdentityKey> {
    let told: Server = api.fetch("/api/server")?;
    let key = told.key.parse().context("the key that the rendezvous shows").exit(Exit::Protocol)?;
    let signalling = ServerAddr { port: told.udp_port, ..api.server().clone() };
    KnownServers::of_user()?.check(&signalling, &key)?;
    Ok(key)
}

/// Prints what was made: the invitation if it is to be shown, else the name.
fn tell(created: &Created, link: Option<&str>, common: &Common) -> anyhow::Result<()> {
    if common.json {
        let mut line = json!({ "v": 1, "type": "created", "channel": created.channel });
        if let Some(link) = link {
            line["invite"] = json!(link);
        }
        return print(&render::line(&line)?);
    }
    match link {
        Some(link) => print(link),
        None => print(&Remote(&created.channel.name).show()),
    }
}

/// What the owner of an invite link should know.
fn notes_on_link(server: &ServerAddr) -> impl Iterator<Item = &'static str> {
    let is_loopback = server.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    let is_here = is_loopback || server.host.eq_ignore_ascii_case("localhost");
    let elsewhere =
        "to whoever opens it, the link leads to the own machine: put the server's real name in its place for others";
    [("who has this link can join; send it to those you mean, and to nobody else", true), (elsewhere, is_here)]
        .into_iter()
        .filter_map(|(note, is_needed)| is_needed.then_some(note))
}

fn give_up(api: &Api, name: &str, capability: &str) -> anyhow::Result<()> {
    api.delete(&format!("/api/channels/{}", edge::percent_encode(name)), capability)?;
    owners::forget(api.server(), name)
}

fn delete(args: &Delete, api: &Api, common: &Common) -> anyhow::Result<()> {
    let name = edge::channel_name(&args.name);
    let capability = match &args.capability_file {
        Some(path) => secret_file::first_line(&secret_file::read(path)?).to_owned(),
        None => owners::find(api.server(), &name)?,
    };
    give_up(api, &name, &capability)?;
    if common.json { print(&render::line(&json!({ "v": 1, "type": "deleted", "name": name }))?) } else { Ok(()) }
}
