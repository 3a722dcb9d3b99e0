//! The capabilities of channels that were created here: one file each in the state directory, for the user alone.

use std::{fs, path::PathBuf};

use anyhow::{Context, anyhow};
use edge::{Exit, Remote, ServerAddr, WithExit, dirs, secret_file};
use serde::{Deserialize, Serialize};

/// What is kept of one channel.
#[derive(Deserialize, Serialize)]
struct Owned {
    server: String,
    channel: String,
    capability: String,
}

/// Makes sure that a capability can be kept, before there is one to lose.
pub(crate) fn prepare() -> anyhow::Result<()> {
    dirs::state_subdir("owners").map(drop).context("make room for the channel's capability")
}

/// Keeps a channel's capability.
pub(crate) fn keep(server: &ServerAddr, channel: &str, capability: &str) -> anyhow::Result<()> {
    let owned = Owned { server: server.http_url(), channel: channel.into(), capability: capability.into() };
    let json = serde_json::to_vec(&owned).context("write a capability")?;
    secret_file::write_private(&path(server, channel)?, &json)
}

/// A channel's capability, if it was kept.
pub(crate) fn find(server: &ServerAddr, channel: &str) -> anyhow::Result<String> {
    let path = path(server, channel)?;
    if !path.exists() {
        let (channel, server) = (Remote(channel).show(), server.http_url());
        let error =
            anyhow!("the right to delete {channel} at {server} is not kept here: --capability-file FILE has it?");
        return Err(error).exit(Exit::NoPermission);
    }
    let text = secret_file::read(&path)?;
    let owned: Owned = serde_json::from_str(&text).with_context(|| path.display().to_string()).exit(Exit::Config)?;
    if owned.server != server.http_url() || owned.channel != channel {
        return Err(anyhow!("{} is about another channel", path.display())).exit(Exit::Config);
    }
    Ok(owned.capability)
}

/// Forgets a capability that is of no use any more.
pub(crate) fn forget(server: &ServerAddr, channel: &str) -> anyhow::Result<()> {
    let path = path(server, channel)?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn path(server: &ServerAddr, channel: &str) -> anyhow::Result<PathBuf> {
    let name = format!("{} {channel}", server.http_authority());
    Ok(dirs::state_subdir("owners")?.join(format!("{}.json", dirs::file_stem(&name))))
}
