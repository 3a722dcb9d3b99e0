//! The data directory: the server's key and its channels.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use edge::{Exit, WithExit};
use identity::Identity;

use crate::store::{StoreError, sqlite::SqliteStore};

/// Makes sure that the directory is there.
pub(crate) fn directory(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => edge::dirs::state_dir()?.join("rendezvous"),
    };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
    let code = not_made(&made);
    made.with_context(|| format!("make the data directory {}", path.display())).exit(code)?;
    Ok(path)
}

/// Keeps every other rendezvous out of the directory until what is returned is dropped, or the program dies: two that share a key
/// and channels would each know half of the members.
pub(crate) fn lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join("lock");
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let code = not_made(&opened);
    let file = opened.with_context(|| format!("make {}", path.display())).exit(code)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let dir = dir.display();
            let error =
                anyhow!("another rendezvous keeps its data in {dir}: end it, or choose another place with --data DIR");
            Err(error).exit(Exit::Unavailable)
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("lock {}", path.display())).exit(Exit::Io)
        }
    }
}

/// The exit code for what could not be made.
fn not_made<T>(made: &io::Result<T>) -> Exit {
    match made {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Exit::NoPermission,
        _ => Exit::CannotCreate,
    }
}

/// The server's identity: made on the first start, the same ever after, so that clients can pin it.
pub(crate) fn identity(dir: &Path) -> anyhow::Result<Identity> {
    let path = dir.join("identity");
    if path.try_exists().with_context(|| format!("look for {}", path.display()))? {
        let text = edge::secret_file::read(&path)?;
        let parsed = Identity::from_text(&text);
        return parsed.with_context(|| format!("read the server's key from {}", path.display())).exit(Exit::Data);
    }
    let made = Identity::generate();
    edge::secret_file::write_private(&path, made.to_text().as_bytes())?;
    Ok(made)
}

/// The channels.
pub(crate) fn store(dir: &Path) -> anyhow::Result<SqliteStore> {
    let opened = SqliteStore::open(dir);
    let code = opened.as_ref().err().map_or(Exit::Io, exit_code);
    opened.with_context(|| format!("open the channels in {}", dir.display())).exit(code)
}

pub(crate) fn exit_code(error: &StoreError) -> Exit {
    use rusqlite::ErrorCode::{CannotOpen, DatabaseCorrupt, NotADatabase, PermissionDenied, ReadOnly};
    match error {
        StoreError::Later(_) => Exit::Config,
        StoreError::Damaged(_) => Exit::Data,
        StoreError::DiskFull => Exit::CannotCreate,
        StoreError::Sqlite(error) => match error.sqlite_error_code() {
            Some(CannotOpen) => Exit::CannotCreate,
            Some(ReadOnly | PermissionDenied) => Exit::NoPermission,
            Some(DatabaseCorrupt | NotADatabase) => Exit::Data,
            _ => Exit::Io,
        },
        _ => Exit::Io,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_is_the_owners_alone() {
        let temp = tempfile::tempdir().unwrap();
        let dir = directory(Some(&temp.path().join("a/b"))).unwrap();
        let first = identity(&dir).unwrap().key();
        assert_eq!(identity(&dir).unwrap().key(), first);
        assert_eq!(std::fs::metadata(dir.join("identity")).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_in_the_place_of_the_directory_is_told() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        std::fs::write(&path, "").unwrap();
        let error = directory(Some(&path.join("data"))).unwrap_err();
        assert_eq!(edge::code_of(&error), Exit::CannotCreate);
    }

    #[test]
    fn a_key_file_that_is_none_is_told() {
        let temp = tempfile::tempdir().unwrap();
        edge::secret_file::write_private(&temp.path().join("identity"), b"nonsense").unwrap();
        let error = identity(temp.path()).unwrap_err();
        assert_eq!(edge::code_of(&error), Exit::Data);
    }
}
