//! The keys of the people met, pinned at first sight as in SSH.

use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use edge::{Exit, WithExit};
use identity::{Known, KnownPeers};
use wire::IdentityKey;

use super::writer::Writer;

/// A file of names and their keys, read at the start and written after each change.
pub(crate) struct Pins {
    path: PathBuf,
    known: KnownPeers,
}

impl Pins {
    pub(crate) fn load() -> anyhow::Result<Self> {
        let path = edge::dirs::state_dir()?.join("known_peers");
        let doing = || format!("read {}", path.display());
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(doing).exit(Exit::Io),
        };
        let known = text.parse().map_err(|error| anyhow!("{error}")).with_context(doing).exit(Exit::Config)?;
        Ok(Self { path, known })
    }

    /// Whether this name was met with another key before.
    pub(crate) fn has_changed(&self, name: &str, key: &IdentityKey) -> bool {
        matches!(self.known.check(name, key), Known::Changed(_))
    }

    /// Keeps the key of a name that was never met.
    pub(crate) fn meet(&mut self, name: &str, key: IdentityKey, writer: &Writer) {
        if matches!(self.known.check(name, &key), Known::New) {
            self.known.meet(name, key, edge::unix_millis() / 1000);
            let (path, text) = (self.path.clone(), self.known.to_text());
            writer.write(&self.path, move || save(&path, &text));
        }
    }

    /// Forgets every name that begins so; returns how many there were.
    pub(crate) fn forget(&mut self, beginning: &str) -> anyhow::Result<usize> {
        let names = self.known.iter().map(|(name, _)| name.to_owned());
        let names: Vec<_> = names.filter(|name| name.starts_with(beginning)).collect();
        for name in &names {
            self.known.forget(name);
        }
        save(&self.path, &self.known.to_text())?;
        Ok(names.len())
    }
}

fn save(path: &Path, text: &str) -> anyhow::Result<()> {
    edge::secret_file::write_private(path, text.as_bytes()).with_context(|| format!("keep a key in {}", path.display()))
}
