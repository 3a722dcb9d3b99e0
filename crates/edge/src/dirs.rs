//! Where the programs keep what they keep: XDG directories of our own, made on first use and closed to others.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, ensure};
use etcetera::{BaseStrategy, base_strategy::Xdg};

use crate::{Exit, WithExit};

const OURS: &str = "punchline";
/// A Unix socket's path holds 107 bytes on Linux and 103 on macOS; this leaves the directory most of them.
const MAX_STEM: usize = 40;

/// For what people may edit: `$XDG_CONFIG_HOME/punchline`.
///
/// # Errors
/// If it can't be made, or is not closed to others and can't be.
pub fn config_dir() -> anyhow::Result<PathBuf> {
    private(base()?.config_dir().join(OURS))
}

/// For what programs remember: `$XDG_STATE_HOME/punchline`.
///
/// # Errors
/// As for [`config_dir`].
pub fn state_dir() -> anyhow::Result<PathBuf> {
    let base = base()?;
    private(base.state_dir().unwrap_or_else(|| base.home_dir().join(".local/state")).join(OURS))
}

/// For sockets: `$XDG_RUNTIME_DIR/punchline`, or `punchline-UID` in the directory for temporary files where there is no such variable.
///
/// # Errors
/// As for [`config_dir`].
pub fn runtime_dir() -> anyhow::Result<PathBuf> {
    private(match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute()) {
        Some(dir) => dir.join(OURS),
        None => std::env::temp_dir().join(format!("{OURS}-{}", rustix::process::getuid().as_raw())),
    })
}

/// The socket at which the `puncher` of a channel serves, however the channel's name was typed.
///
/// # Errors
/// As for [`config_dir`].
pub fn agent_socket(channel: &str) -> anyhow::Result<PathBuf> {
    Ok(runtime_dir()?.join(format!("{}.sock", file_stem(&crate::channel_name(channel)))))
}

/// The sockets in [`runtime_dir`], of living punchers and dead ones.
///
/// # Errors
/// If the directory can't be read.
pub fn agent_sockets() -> anyhow::Result<Vec<PathBuf>> {
    let dir = runtime_dir()?;
    let entries = fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))?;
    let mut sockets: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    sockets.retain(|path| path.extension().is_some_and(|extension| extension == "sock"));
    sockets.sort();
    Ok(sockets)
}

/// A directory of this name in [`state_dir`].
///
/// # Errors
/// As for [`config_dir`].
pub fn state_subdir(name: &str) -> anyhow::Result<PathBuf> {
    private(state_dir()?.join(name))
}

fn base() -> anyhow::Result<Xdg> {
    Xdg::new().context("find the home directory (is HOME set?)").exit(Exit::Config)
}

/// Makes a directory for the user alone, or makes sure that the one that is there is.
fn private(dir: PathBuf) -> anyhow::Result<PathBuf> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display())).exit(Exit::CannotCreate)?;
    }
    match DirBuilder::new().mode(0o700).create(&dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => close_to_others(&dir).exit(Exit::NoPermission)?,
        Err(error) => {
            return Err(anyhow!(error).context(format!("make {}", dir.display()))).exit(Exit::CannotCreate);
        }
    }
    Ok(dir)
}

fn close_to_others(dir: &Path) -> anyhow::Result<()> {
    let found = fs::symlink_metadata(dir).with_context(|| format!("look at {}", dir.display()))?;
    ensure!(found.is_dir(), "{} is not a directory", dir.display());
    let uid = rustix::process::getuid().as_raw();
    ensure!(found.uid() == uid, "{} belongs to user {}, not to user {uid}", dir.display(), found.uid());
    if found.mode() & 0o077 != 0 {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(dir, private).with_context(|| format!("close {} to others", dir.display()))?;
    }
    Ok(())
}

/// A file name without its extension for something that has a name, different for different names: the name itself if it is plain.
pub fn file_stem(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.len() <= MAX_STEM && name.chars().all(is_plain) {
        return name.to_owned();
    }
    let plain: String = name.chars().filter(|c| is_plain(*c)).take(16).collect();
    format!("{plain}~{:016x}", fnv1a(name.as_bytes()))
}

/// FNV-1a: short, stable, and good enough to tell one user's few channels apart.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_plain_channel_names_its_socket_and_others_get_a_mark() {
        assert_eq!(file_stem("lobby"), "lobby");
        for odd in ["", "../etc", "a b", "日本", "a.b", &"x".repeat(200)] {
            let stem = file_stem(odd);
            assert!(stem.contains('~') && !stem.contains(['/', '.']) && stem.len() <= MAX_STEM, "{stem}");
        }
        assert_ne!(file_stem("日本"), file_stem("中国"));
    }

    #[test]
    fn a_channel_has_one_socket_however_its_name_is_typed() {
        assert_eq!(agent_socket("Cafe\u{301}").unwrap(), agent_socket(" Caf\u{e9} ").unwrap());
        assert_ne!(agent_socket("Cafe").unwrap(), agent_socket("cafe").unwrap());
    }

    #[test]
    fn a_directory_is_made_for_the_user_alone() {
        let temp = tempfile::tempdir().unwrap();
        let dir = private(temp.path().join("deep/er/punchline")).unwrap();
        assert_eq!(fs::metadata(dir).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_directory_open_to_others_is_closed() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("punchline");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).unwrap();

        private(dir.clone()).unwrap();

        assert_eq!(fs::metadata(dir).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_link_in_the_place_of_a_directory_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("punchline");
        std::os::unix::fs::symlink(temp.path(), &dir).unwrap();

        let error = private(dir).unwrap_err();

        assert!(error.to_string().ends_with("is not a directory"), "{error}");
        assert_eq!(crate::code_of(&error), Exit::NoPermission);
    }
}
