//! The keys of the people met, pinned at first sight as in SSH.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, anyhow};
use edge::{Exit, WithExit, secret_file};
use identity::{Known, KnownPeers};
use wire::IdentityKey;

use super::writer::Writer;

/// A file of names and their keys. Other punchers and `puncher trust` change it as well, so it is read at each question.
pub(crate) struct Pins {
    path: PathBuf,
    /// Met, and not in the file yet.
    unwritten: Arc<Mutex<KnownPeers>>,
}

impl Pins {
    /// Those that the user has met.
    pub(crate) fn of_user() -> anyhow::Result<Self> {
        let pins = Self::at(edge::dirs::state_dir()?.join("known_peers"));
        pins.read().map(|_| pins)
    }

    fn at(path: PathBuf) -> Self {
        Self { path, unwritten: Arc::default() }
    }

    /// Whether this name was met with another key before.
    pub(crate) fn has_changed(&self, name: &str, key: &IdentityKey) -> anyhow::Result<bool> {
        let is_other = |known: Known| matches!(known, Known::Changed(_));
        Ok(is_other(lock(&self.unwritten).check(name, key)) || is_other(self.read()?.check(name, key)))
    }

    /// Keeps the key of a name that was never met.
    pub(crate) fn meet(&self, name: &str, key: IdentityKey, writer: &Writer) {
        lock(&self.unwritten).meet(name, key, edge::unix_millis() / 1000);
        let pins = Self { path: self.path.clone(), unwritten: Arc::clone(&self.unwritten) };
        writer.write(&self.path, move || pins.write());
    }

    /// Forgets every name that begins so; returns how many there were.
    pub(crate) fn forget(&self, beginning: &str) -> anyhow::Result<usize> {
        let mut forgotten = 0;
        secret_file::change(&self.path, |text| {
            let mut known = self.parse(&text)?;
            let names = known.iter().map(|(name, _)| name.to_owned());
            let names: Vec<_> = names.filter(|name| name.starts_with(beginning)).collect();
            forgotten = names.iter().filter(|name| known.forget(name)).count();
            Ok((forgotten > 0).then(|| known.to_text()))
        })?;
        Ok(forgotten)
    }

    fn write(&self) -> anyhow::Result<()> {
        let met = lock(&self.unwritten).clone();
        let doing = || format!("keep a key in {}", self.path.display());
        secret_file::change(&self.path, |text| {
            let before = self.parse(&text)?;
            let mut known = before.clone();
            met.iter().for_each(|(name, peer)| known.meet(name, peer.key, peer.first_seen));
            Ok((known != before).then(|| known.to_text()))
        })
        .with_context(doing)?;
        let mut unwritten = lock(&self.unwritten);
        for (name, _) in met.iter() {
            unwritten.forget(name);
        }
        Ok(())
    }

    fn read(&self) -> anyhow::Result<KnownPeers> {
        match std::fs::read_to_string(&self.path) {
            Ok(text) => self.parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(KnownPeers::default()),
            Err(error) => Err(error).with_context(|| format!("read {}", self.path.display())).exit(Exit::Io),
        }
    }

    fn parse(&self, text: &str) -> anyhow::Result<KnownPeers> {
        let parsed = text.parse().map_err(|error| anyhow!("{error}"));
        parsed.with_context(|| format!("read {}", self.path.display())).exit(Exit::Config)
    }
}

/// What is in there is whole whatever happened to who held it.
fn lock(known: &Mutex<KnownPeers>) -> std::sync::MutexGuard<'_, KnownPeers> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: IdentityKey = IdentityKey([1; 32]);
    const MALLORY: IdentityKey = IdentityKey([2; 32]);

    fn two_programs() -> (tempfile::TempDir, Pins, Pins) {
        let dir = tempfile::tempdir().unwrap();
        let pins = || Pins::at(dir.path().join("known_peers"));
        let (one, other) = (pins(), pins());
        (dir, one, other)
    }

    fn meet(pins: &Pins, name: &str, key: IdentityKey) {
        pins.meet(name, key, &Writer::start().unwrap());
    }

    #[test]
    fn whom_one_program_met_another_knows() {
        let (_dir, one, other) = two_programs();
        meet(&one, "alice@host", ALICE);
        meet(&other, "bob@host", ALICE);

        assert!(other.has_changed("alice@host", &MALLORY).unwrap());
        assert!(one.has_changed("bob@host", &MALLORY).unwrap());
        assert!(!one.has_changed("bob@host", &ALICE).unwrap());
    }

    #[test]
    fn a_key_counts_before_it_is_written() {
        let (_dir, one, _) = two_programs();
        let writer = Writer::start().unwrap();
        one.meet("alice@host", ALICE, &writer);
        assert!(one.has_changed("alice@host", &MALLORY).unwrap());
    }

    #[test]
    fn whom_a_program_forgets_the_others_have_forgotten() {
        let (_dir, one, other) = two_programs();
        meet(&one, "alice@host", ALICE);

        assert_eq!(other.forget("alice@").unwrap(), 1);

        assert!(!one.has_changed("alice@host", &MALLORY).unwrap());
        meet(&one, "bob@host", ALICE);
        assert!(!one.has_changed("alice@host", &MALLORY).unwrap());
    }

    #[test]
    fn who_was_not_met_can_not_be_forgotten() {
        let (dir, one, _) = two_programs();
        assert_eq!(one.forget("alice@").unwrap(), 0);
        assert!(!dir.path().join("known_peers").exists());
    }

    #[test]
    fn a_file_that_is_wrong_is_told_and_stays_as_it_is() {
        let (dir, one, _) = two_programs();
        let path = dir.path().join("known_peers");
        std::fs::write(&path, "nonsense\n").unwrap();
        let mut writer = Writer::start().unwrap();

        one.meet("alice@host", ALICE, &writer);
        writer.finish();

        assert!(one.has_changed("alice@host", &ALICE).is_err());
        assert!(format!("{:#}", writer.failure().unwrap()).contains("line 1"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "nonsense\n");
    }
}
