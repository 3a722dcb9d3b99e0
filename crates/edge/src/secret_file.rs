//! Files that hold secrets: for the user's eyes only, and never half written.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::RawFd,
        unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    },
    path::Path,
};

use anyhow::{Context, anyhow, ensure};
use zeroize::Zeroizing;

use crate::{Exit, WithExit};

/// Longer files are no secrets of ours.
const MAX_LEN: u64 = 64 * 1024;

/// Reads a secret. A file that others may read is refused; a pipe, as from `<(...)` or `/dev/fd/N`, is taken as it is.
///
/// # Errors
/// Code 66 if there is no such file, 77 if it is open to others, 65 if it is too long or no text.
pub fn read(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let found = file.metadata().with_context(|| format!("look at {}", path.display()))?;
    let kind = found.file_type();
    if !(kind.is_file() || kind.is_fifo() || kind.is_char_device()) {
        return Err(anyhow!("{} is not a file", path.display())).exit(Exit::Data);
    }
    let is_open = kind.is_file() && found.mode() & 0o077 != 0;
    if is_open {
        let (path, mode) = (path.display(), found.mode() & 0o777);
        return Err(anyhow!("others may read the secret in {path} (mode {mode:o}): chmod 600 it"))
            .exit(Exit::NoPermission);
    }
    read_from(&mut file).with_context(|| format!("read {}", path.display()))
}

/// Reads a secret from an open descriptor.
///
/// # Errors
/// As for [`read`].
pub fn read_fd(fd: RawFd) -> anyhow::Result<Zeroizing<String>> {
    let path = format!("/dev/fd/{fd}");
    let mut file = File::open(&path).with_context(|| format!("open {path}")).exit(Exit::NoInput)?;
    read_from(&mut file).with_context(|| format!("read {path}"))
}

/// The first line of a secret, without its end.
pub fn first_line(secret: &str) -> &str {
    secret.lines().next().unwrap_or_default()
}

/// Writes a file with mode 0600: whole or not at all, also when the machine stops in between.
///
/// # Errors
/// Code 73 if it can't be made, 74 if it can't be written.
pub fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write(path, bytes, File::sync_all).map(drop)
}

/// The same without waiting for the disk: the file is there at once, and if the machine stops before the one that is
/// returned has been synced, it may be empty.
///
/// # Errors
/// As for [`write_private`].
pub fn place_private(path: &Path, bytes: &[u8]) -> anyhow::Result<File> {
    write(path, bytes, |_| Ok(()))
}

/// Keeps others who do the same from a file until what is returned is dropped, or this program dies; a lock file beside it stays.
///
/// # Errors
/// Code 73 if the lock can't be made.
pub fn lock(path: &Path) -> anyhow::Result<File> {
    let lock = path.with_extension("lock");
    let held = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock);
    held.and_then(|file| file.lock().map(|()| file))
        .with_context(|| format!("lock {}", lock.display()))
        .exit(Exit::CannotCreate)
}

/// Changes a file that several programs may change at once: `change` gets what it holds, and what comes back is written
/// as by [`write_private`]. Whoever else changes it waits meanwhile, as for [`lock`].
///
/// # Errors
/// What `change` says, code 73 if the lock can't be made, and as for [`write_private`].
pub fn change(path: &Path, change: impl FnOnce(String) -> anyhow::Result<Option<String>>) -> anyhow::Result<()> {
    let _held = lock(path)?;
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.with_context(|| format!("read {}", path.display())).exit(Exit::Io)?,
    };
    change(text)?.map_or(Ok(()), |text| write_private(path, text.as_bytes()))
}

fn write(path: &Path, bytes: &[u8], settle: impl Fn(&File) -> io::Result<()>) -> anyhow::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".new{}", std::process::id()));
    let new = Path::new(&name);
    let created = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(new);
    let mut file = created.with_context(|| format!("make {}", new.display())).exit(Exit::CannotCreate)?;
    let written = file.write_all(bytes).and_then(|()| settle(&file)).and_then(|()| fs::rename(new, path));
    if written.is_err() {
        // The error that matters is the first one.
        let _ = fs::remove_file(new);
    }
    written.map(|()| file).with_context(|| format!("write {}", path.display())).exit(Exit::Io)
}

fn read_from(file: &mut impl Read) -> anyhow::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_LEN + 1).read_to_end(&mut bytes)?;
    let checked = || {
        ensure!(bytes.len() as u64 <= MAX_LEN, "a secret is not longer than {MAX_LEN} bytes");
        Ok(Zeroizing::new(std::str::from_utf8(&bytes).context("a secret is text")?.to_owned()))
    };
    checked().exit(Exit::Data)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::code_of;

    #[test]
    fn what_was_written_is_read_and_closed_to_others() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("secret");

        write_private(&path, b"old, and longer").unwrap();
        write_private(&path, b"swordfish\n").unwrap();

        assert_eq!(first_line(&read(&path).unwrap()), "swordfish");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1, "nothing is left beside it");

        place_private(&path, b"hunter2\n").unwrap().sync_all().unwrap();

        assert_eq!(first_line(&read(&path).unwrap()), "hunter2");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("secret");
        fs::write(&path, "swordfish").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();

        let error = read(&path).unwrap_err();

        assert_eq!(code_of(&error), Exit::NoPermission);
        assert!(error.to_string().contains("(mode 640)"), "{error}");
    }

    #[test]
    fn what_several_change_at_once_keeps_every_change() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("names");
        let add = |name: String| change(&path, |text| Ok(Some(format!("{text}{name}\n")))).unwrap();

        std::thread::scope(|scope| {
            for person in ["alice", "bob"] {
                scope.spawn(move || (0..20).for_each(|number| add(format!("{person} {number}"))));
            }
        });

        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 40);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_change_that_is_none_writes_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("names");
        change(&path, |_| Ok(None)).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_secret_is_told_from_what_is_not_there() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("secret");
        assert_eq!(code_of(&read(&path).unwrap_err()), Exit::NoInput);
        for bytes in [&b"\xff\xfe"[..], &vec![b'x'; 70_000]] {
            write_private(&path, bytes).unwrap();
            assert_eq!(code_of(&read(&path).unwrap_err()), Exit::Data);
        }
        assert_eq!(code_of(&read(temp.path()).unwrap_err()), Exit::Data);
    }

    #[test]
    fn a_secret_may_come_through_a_descriptor() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"swordfish\nrest").unwrap();
        drop(writer);

        let fd = std::os::fd::AsRawFd::as_raw_fd(&reader);

        assert_eq!(first_line(&read_fd(fd).unwrap()), "swordfish");
        assert_eq!(code_of(&read_fd(9_999).unwrap_err()), Exit::NoInput);
    }
}
