//! The page about a call, for `talk --report`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use edge::agent::{Client, Target};
use edge::{Exit, Remote, WithExit, secret_file};
use report::{Call, Stages};
use wire::agent::{FromPuncher, Opened, PeerStatus};
use wire::peer::Lane;

use crate::stop::Stop;

/// How often `puncher` is asked for round trips; by itself it tells of another path only.
const PATHS_EVERY: Duration = Duration::from_secs(5);

/// The report that is kept, if one is wanted; clones are of the same.
#[derive(Clone)]
pub(crate) struct CallReport(Option<Arc<Mutex<Kept>>>);

struct Kept {
    call: Call,
    file: PathBuf,
}

impl CallReport {
    /// A report on a call that begins, to be written to this file.
    pub(crate) fn begin(file: Option<&Path>, opened: &Opened, stages: Stages) -> Self {
        let kept = file.map(|file| {
            // A clock before 1970 gives a date that is wrong anyway.
            let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            let [channel, name] = [&opened.channel, &opened.name].map(|text| Remote(text).show());
            let call = Call::new(&channel, &name, stages, began, Instant::now());
            Arc::new(Mutex::new(Kept { call, file: file.to_owned() }))
        });
        Self(kept)
    }

    /// Whether one is wanted.
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Notes something, if one is wanted.
    pub(crate) fn note(&self, what: impl FnOnce(&mut Call, Instant)) {
        if let Some(kept) = &self.0 {
            what(&mut kept.lock().unwrap_or_else(PoisonError::into_inner).call, Instant::now());
        }
    }

    /// Hears what `puncher` says.
    pub(crate) fn hear(&self, record: &FromPuncher) {
        match record {
            FromPuncher::Peer(peer) => self.note(|call, now| call.handle_peer(&shown(peer.clone()), now)),
            FromPuncher::Left { tag, why, .. } => {
                self.note(|call, now| call.handle_left(*tag, &Remote(why).show(), now));
            }
            _ => {}
        }
    }

    /// Asks for everybody's path and round trip until the end.
    pub(crate) fn watch_paths(&self, target: &Target, stop: &Stop) {
        while !stop.wait(PATHS_EVERY) {
            let roster =
                Client::connect(target, Lane::Control, "audio-pipe").and_then(|(mut client, _)| client.roster());
            match roster {
                Ok(peers) => peers.into_iter().for_each(|peer| self.hear(&FromPuncher::Peer(peer))),
                // The talk notices by itself when puncher is gone.
                Err(error) => tracing::debug!(%error, "No round trips for the report"),
            }
        }
    }

    /// Writes the page: all of it or nothing.
    pub(crate) fn write(&self) -> Result<()> {
        let Some(kept) = &self.0 else { return Ok(()) };
        let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        write(&kept.file, &kept.call.page())
    }
}

/// Finds out before a call that its report can be written.
pub(crate) fn check(file: &Path) -> Result<()> {
    let named = || format!("write the report to {}", file.display());
    ensure_file(file).with_context(named).exit(Exit::CannotCreate)
}

fn ensure_file(file: &Path) -> Result<()> {
    ensure!(!file.is_dir(), "it is a folder: name a file in it");
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure!(folder.is_dir(), "there is no folder {}: make it first", folder.display());
    // The page will be written beside the file, if that is one.
    if !file.exists() || file.is_file() {
        let probe = folder.join(format!(".report-{}.part", std::process::id()));
        File::create_new(&probe).and_then(|_| fs::remove_file(&probe)).context("nothing can be written there")?;
    }
    Ok(())
}

/// Beside the file and then in its place: who is killed meanwhile leaves what was there. The page has addresses, so it is for its
/// owner alone.
fn write(file: &Path, page: &str) -> Result<()> {
    let named = || format!("write the report to {}", file.display());
    // A link stays one; what is no file, such as /dev/stdout, is not replaced by one.
    let file = &file.canonicalize().unwrap_or_else(|_| file.to_owned());
    if file.exists() && !file.is_file() {
        return std::fs::write(file, page).with_context(named).exit(Exit::Io);
    }
    secret_file::write_private(file, page.as_bytes()).with_context(named)
}

/// A peer whose texts are fit for a page.
fn shown(peer: PeerStatus) -> PeerStatus {
    PeerStatus { name: Remote(&peer.name).show(), via: peer.via.map(|via| Remote(via).show()), ..peer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_can_not_be_is_found_out_before_the_call() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(check(&dir.path().join("report.html")).is_ok() && check(Path::new("report.html")).is_ok());
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0, "nothing is left of it");
        for wrong in [dir.path().to_owned(), dir.path().join("no/report.html"), "/proc/report.html".into()] {
            assert_eq!(edge::code_of(&check(&wrong).expect_err("wrong")), Exit::CannotCreate);
        }
    }

    #[test]
    fn what_is_there_is_replaced_as_a_whole_through_links_and_devices_stay_devices() {
        let dir = tempfile::tempdir().expect("a folder");
        let [file, link] = ["report.html", "link.html"].map(|name| dir.path().join(name));
        write(&file, "longer than the next").expect("a file");
        std::os::unix::fs::symlink(&file, &link).expect("a link");

        write(&link, "page").expect("a file");
        write(Path::new("/dev/null"), "page").expect("a device");

        assert_eq!(std::fs::read_to_string(&file).expect("a file"), "page");
        assert!(link.is_symlink() && !Path::new("/dev/null").is_file());
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 2, "nothing is left beside it");
    }
}
