//! The key that each rendezvous showed when it was met first: lines `HOST:UDP_PORT KEY` in the state directory.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use wire::IdentityKey;

use crate::{Exit, ServerAddr, WithExit, dirs, secret_file};

/// What is known of the servers.
#[derive(Clone, Debug)]
pub struct KnownServers {
    path: PathBuf,
}

impl KnownServers {
    /// Those that the user has met.
    ///
    /// # Errors
    /// If there is no state directory.
    pub fn of_user() -> anyhow::Result<Self> {
        Ok(Self::at(&dirs::state_dir()?.join("known_servers")))
    }

    /// Those of a file, which need not be there.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key that a server showed before.
    ///
    /// # Errors
    /// Code 78 if the file is wrong, and where.
    pub fn key(&self, server: &ServerAddr) -> anyhow::Result<Option<IdentityKey>> {
        self.key_in(&self.text()?, server)
    }

    fn key_in(&self, text: &str, server: &ServerAddr) -> anyhow::Result<Option<IdentityKey>> {
        let label = server.to_string();
        for (index, line) in text.lines().enumerate() {
            let place = || format!("line {} of {}", index + 1, self.path.display());
            let (name, key) =
                line.split_once(' ').ok_or_else(|| anyhow!("{} is not `server key`", place())).exit(Exit::Config)?;
            if name == label {
                return key.trim().parse().map(Some).with_context(place).exit(Exit::Config);
            }
        }
        Ok(None)
    }

    /// The server that showed this key before.
    ///
    /// # Errors
    /// Code 78 if the file can't be read.
    pub fn name_of(&self, key: &IdentityKey) -> anyhow::Result<Option<String>> {
        let (text, key) = (self.text()?, key.to_string());
        let named =
            |line: &str| line.split_once(' ').filter(|(_, known)| known.trim() == key).map(|(name, _)| name.to_owned());
        Ok(text.lines().find_map(named))
    }

    /// Makes sure that a server shows the key that it showed before.
    ///
    /// # Errors
    /// Code 76 if it shows another.
    pub fn check(&self, server: &ServerAddr, key: &IdentityKey) -> anyhow::Result<()> {
        match self.key(server)? {
            Some(known) if known != *key => Err(self.changed(server)).exit(Exit::Protocol),
            _ => Ok(()),
        }
    }

    /// What to say of a server that shows another key than the one kept.
    pub fn changed(&self, server: &ServerAddr) -> anyhow::Error {
        anyhow!(
            "{server} shows another key than before: it was set up anew, or somebody is in between; \
             if you know why: puncher trust --server {server}"
        )
    }

    /// Forgets the key of a server, so that a new one is accepted; returns whether one was known.
    ///
    /// # Errors
    /// Code 78 if the file is wrong, and where; if it can't be written.
    pub fn forget(&self, server: &ServerAddr) -> anyhow::Result<bool> {
        let mut was_known = false;
        secret_file::change(&self.path, |text| {
            was_known = self.key_in(&text, server)?.is_some();
            let beginning = format!("{server} ");
            let others = text.lines().filter(|line| !line.starts_with(&beginning));
            Ok(was_known.then(|| others.map(|line| format!("{line}\n")).collect()))
        })?;
        Ok(was_known)
    }

    /// Keeps the key that a server showed for the first time.
    ///
    /// # Errors
    /// Code 76 if another program has kept another key of it meanwhile; if the file can't be written.
    pub fn remember(&self, server: &ServerAddr, key: &IdentityKey) -> anyhow::Result<()> {
        secret_file::change(&self.path, |text| match self.key_in(&text, server)? {
            Some(known) if known != *key => Err(self.changed(server)).exit(Exit::Protocol),
            Some(_) => Ok(None),
            None => Ok(Some(format!("{text}{server} {key}\n"))),
        })
    }

    fn text(&self) -> anyhow::Result<String> {
        match std::fs::read_to_string(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            read => read.with_context(|| format!("read {}", self.path.display())).exit(Exit::Config),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{code_of, parse_server};

    #[test]
    fn a_server_that_shows_another_key_is_not_trusted() {
        let temp = tempfile::tempdir().unwrap();
        let known = KnownServers::at(&temp.path().join("known_servers"));
        let (one, two) = (parse_server("one.example").unwrap(), parse_server("[::1]:4000").unwrap());
        let (key, other) = (IdentityKey([1; 32]), IdentityKey([2; 32]));
        known.check(&one, &key).unwrap();

        known.remember(&one, &key).unwrap();
        known.remember(&two, &other).unwrap();
        known.remember(&two, &other).unwrap();

        assert_eq!(known.key(&two).unwrap(), Some(other));
        known.check(&one, &key).unwrap();
        assert_eq!(code_of(&known.check(&one, &other).unwrap_err()), Exit::Protocol);
        assert_eq!(code_of(&known.remember(&one, &other).unwrap_err()), Exit::Protocol);
        assert_eq!(known.text().unwrap().lines().count(), 2);
    }

    #[test]
    fn a_server_whose_key_is_forgotten_may_show_another_and_the_others_may_not() {
        let temp = tempfile::tempdir().unwrap();
        let known = KnownServers::at(&temp.path().join("known_servers"));
        let (one, two) = (parse_server("one.example").unwrap(), parse_server("one.example:34780").unwrap());
        let (key, other) = (IdentityKey([1; 32]), IdentityKey([2; 32]));
        known.remember(&one, &key).unwrap();
        known.remember(&two, &key).unwrap();

        assert!(known.forget(&one).unwrap());
        assert!(!known.forget(&one).unwrap());

        known.remember(&one, &other).unwrap();
        assert_eq!(code_of(&known.check(&two, &other).unwrap_err()), Exit::Protocol);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("known_servers");
        std::fs::write(&path, "host:3478 xyz\n").unwrap();
        let error = KnownServers::at(&path).key(&parse_server("host").unwrap()).unwrap_err();
        assert_eq!(code_of(&error), Exit::Config);
        assert!(error.to_string().starts_with("line 1 of "), "{error}");
    }
}
