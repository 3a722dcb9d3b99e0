//! Writes what is kept, on a thread of its own: a disk may take longer than a round trip, and no call waits for it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context;

/// How long what is to be written waits for more: many members met at once are one file. No longer is lost with a kill.
const PATIENCE: Duration = Duration::from_millis(500);

type Deed = Box<dyn FnOnce() -> anyhow::Result<()> + Send>;

/// The thread, and what it has to tell. Dropped, it writes what waits.
pub(crate) struct Writer {
    deeds: Option<Sender<(PathBuf, Deed)>>,
    failures: Receiver<anyhow::Error>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let ((deeds, waiting), (failed, failures)) = (channel(), channel());
        let thread = std::thread::Builder::new().name("writer".into()).spawn(move || {
            write_all(&waiting, |error| {
                // Nobody is left to be told once the program has ended.
                let _ = failed.send(error);
            });
        });
        Ok(Self { deeds: Some(deeds), failures, thread: Some(thread.context("start a thread that writes files")?) })
    }

    /// Writes a file soon, in the place of anything that waits to be written there.
    pub(crate) fn write(&self, path: &Path, deed: impl FnOnce() -> anyhow::Result<()> + Send + 'static) {
        if let Some(deeds) = &self.deeds {
            // The thread ends after this sender does.
            let _ = deeds.send((path.to_owned(), Box::new(deed)));
        }
    }

    /// What could not be written, one at a time.
    pub(crate) fn failure(&self) -> Option<anyhow::Error> {
        self.failures.try_recv().ok()
    }

    /// Writes what waits; nothing is taken any more.
    pub(crate) fn finish(&mut self) {
        self.deeds = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::warn!("what was to be kept may not have been written");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Writes until nobody can ask for it any more.
fn write_all(deeds: &Receiver<(PathBuf, Deed)>, mut failed: impl FnMut(anyhow::Error)) {
    let (mut waiting, mut until) = (BTreeMap::new(), None);
    loop {
        let next = match until {
            None => deeds.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(until) => deeds.recv_timeout(Instant::saturating_duration_since(&until, Instant::now())),
        };
        match next {
            Ok((path, deed)) => {
                waiting.insert(path, deed);
                until.get_or_insert_with(|| Instant::now() + PATIENCE);
                continue;
            }
            Err(RecvTimeoutError::Timeout) => until = None,
            Err(RecvTimeoutError::Disconnected) if waiting.is_empty() => return,
            Err(RecvTimeoutError::Disconnected) => {}
        }
        for deed in std::mem::take(&mut waiting).into_values() {
            deed().unwrap_or_else(&mut failed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use anyhow::anyhow;

    use super::*;

    #[test]
    fn the_last_of_what_is_to_be_in_a_file_is_written_and_before_the_end() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let mut writer = Writer::start().expect("a thread");
        for (path, number) in [("a", 1), ("b", 2), ("a", 3)] {
            let written = Arc::clone(&written);
            writer.write(Path::new(path), move || {
                written.lock().expect("no panic").push((path, number));
                Ok(())
            });
        }

        writer.finish();

        // A machine that was busy for that long writes the first one, too.
        let written = written.lock().expect("no panic");
        assert!(written.ends_with(&[("a", 3), ("b", 2)]) || written.ends_with(&[("a", 3)]), "{written:?}");
        assert!(written.contains(&("b", 2)), "{written:?}");
    }

    #[test]
    fn what_could_not_be_written_is_told() {
        let mut writer = Writer::start().expect("a thread");
        writer.write(Path::new("a"), || Err(anyhow!("the disk is full")));

        writer.finish();

        assert_eq!(writer.failure().map(|error| error.to_string()).as_deref(), Some("the disk is full"));
        assert!(writer.failure().is_none());
    }
}
