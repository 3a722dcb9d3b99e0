//! What people set once: `config.toml` in the configuration directory.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};

use crate::{Exit, WithExit, dirs, secret_file};

const KEYS: [&str; 2] = ["name", "server"];

/// The settings.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Settings {
    /// What the others shall call the user.
    pub name: Option<String>,
    /// The rendezvous, as [`crate::parse_server`] reads it.
    pub server: Option<String>,
}

impl Settings {
    /// Where the settings are: `$PUNCHLINE_CONFIG`, or `config.toml` in the configuration directory.
    ///
    /// # Errors
    /// If there is no such directory and it can't be made.
    pub fn path() -> anyhow::Result<PathBuf> {
        match std::env::var_os("PUNCHLINE_CONFIG") {
            Some(path) => Ok(path.into()),
            None => Ok(dirs::config_dir()?.join("config.toml")),
        }
    }

    /// Loads the user's settings; all are unset if there is no file.
    ///
    /// # Errors
    /// Code 78 if the file is wrong, and where.
    pub fn load() -> anyhow::Result<Self> {
        Self::load_from(&Self::path()?)
    }

    /// Loads settings from a file; all are unset if there is none.
    ///
    /// # Errors
    /// As for [`Settings::load`].
    pub fn load_from(path: &Path) -> anyhow::Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => parse(&text).with_context(|| path.display().to_string()).exit(Exit::Config),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(anyhow!(error).context(format!("read {}", path.display()))).exit(Exit::Config),
        }
    }

    /// Keeps the settings for the next time.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn save(&self) -> anyhow::Result<()> {
        self.save_to(&Self::path()?)
    }

    /// Keeps the settings in a file.
    ///
    /// # Errors
    /// As for [`Settings::save`].
    pub fn save_to(&self, path: &Path) -> anyhow::Result<()> {
        let text = toml::to_string(self).context("write the settings as TOML")?;
        secret_file::write_private(path, text.as_bytes())
    }
}

fn parse(text: &str) -> anyhow::Result<Settings> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| one_line(text, &error))?;
    if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let line = text.lines().position(|line| line.trim_start().trim_start_matches(['[', '"']).starts_with(key));
        let line = line.map_or(String::new(), |line| format!("line {}: ", line + 1));
        let nearest = KEYS.into_iter().min_by_key(|known| distance(key, known)).unwrap_or_default();
        return Err(anyhow!("{line}there is no setting \"{key}\" (did you mean \"{nearest}\"?)"));
    }
    toml::from_str(text).map_err(|error| one_line(text, &error))
}

fn one_line(text: &str, error: &toml::de::Error) -> anyhow::Error {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    anyhow!("line {}: {}", before.matches('\n').count() + 1, error.message())
}

/// How many letters differ between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_being_kept() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("config.toml");
        assert_eq!(Settings::load_from(&path).unwrap(), Settings::default());

        let settings = Settings { name: Some("Zoë \"z\"".into()), server: None };
        settings.save_to(&path).unwrap();

        assert_eq!(Settings::load_from(&path).unwrap(), settings);
    }

    #[test]
    fn a_wrong_setting_is_named_with_its_line() {
        let rows = [
            ("name = \"a\"\nsevrer = \"x\"\n", "line 2: there is no setting \"sevrer\" (did you mean \"server\"?)"),
            ("[nam]\n", "line 1: there is no setting \"nam\" (did you mean \"name\"?)"),
            ("\nname = 5\n", "line 2: invalid type: integer `5`, expected a string"),
        ];
        for (text, reason) in rows {
            assert_eq!(parse(text).unwrap_err().to_string(), reason);
        }
        assert!(parse("name = \"a\"\n= 1").unwrap_err().to_string().starts_with("line 2: "));
    }

    #[test]
    fn a_wrong_file_is_a_configuration_error() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("config.toml");
        std::fs::write(&path, "naem = 1").unwrap();
        assert_eq!(crate::code_of(&Settings::load_from(&path).unwrap_err()), Exit::Config);
    }
}
