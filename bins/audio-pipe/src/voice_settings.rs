//! What is done to one's own voice, as whoever may change it and the thread that does it share it.

#![allow(dead_code, reason = "the control lane and the thread at the microphone are to use it")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use edge::{Exit, WithExit};
use speech::Settings;

/// The settings of the moment; clones are the same settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct VoiceSettings(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    settings: Mutex<Settings>,
    /// Grows with every change, so that the thread at the microphone takes the lock only then.
    version: AtomicU64,
    is_key_down: AtomicBool,
    is_open: AtomicBool,
}

impl VoiceSettings {
    /// Settings to begin with.
    pub(crate) fn new(settings: Settings) -> Self {
        let shared = Shared { settings: Mutex::new(settings), version: AtomicU64::new(1), ..Shared::default() };
        Self(Arc::new(shared))
    }

    /// Changes what `key` names, from the next block of sound on. Which keys there are: [`Settings::KEYS`].
    pub(crate) fn set(&self, key: &str, value: &str) -> Result<()> {
        self.lock().set(key, value).exit(Exit::Usage)?;
        self.0.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// What every key is set to, in the words that [`Self::set`] takes.
    pub(crate) fn words(&self) -> Vec<(&'static str, String)> {
        self.lock().words().into()
    }

    /// The key of push to talk goes down or up; counts only while the gate is `ptt`.
    pub(crate) fn press(&self, is_down: bool) {
        self.0.is_key_down.store(is_down, Ordering::Relaxed);
    }

    /// Whether the key of push to talk is down.
    pub(crate) fn is_pressed(&self) -> bool {
        self.0.is_key_down.load(Ordering::Relaxed)
    }

    /// From the thread at the microphone: whether the gate lets sound through.
    pub(crate) fn note_open(&self, is_open: bool) {
        self.0.is_open.store(is_open, Ordering::Relaxed);
    }

    /// Whether the gate lets sound through at this moment, muted or not.
    pub(crate) fn is_open(&self) -> bool {
        self.0.is_open.load(Ordering::Relaxed)
    }

    /// The settings, if they have changed since the version that was seen last; 0 is before the first.
    pub(crate) fn changed_since(&self, seen: &mut u64) -> Option<Settings> {
        let version = self.0.version.load(Ordering::Acquire);
        (std::mem::replace(seen, version) != version).then(|| *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Settings> {
        self.0.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_once_by_whoever_looks() {
        let settings = VoiceSettings::new(Settings::default());
        let mut seen = 0;
        assert_eq!(settings.changed_since(&mut seen), Some(Settings::default()));
        assert_eq!(settings.changed_since(&mut seen), None);

        settings.clone().set("gain", "on").expect("a setting");
        assert!(settings.set("gain", "loud").is_err_and(|error| edge::code_of(&error) == Exit::Usage));

        assert_eq!(settings.changed_since(&mut seen), Some(Settings { gain: true, ..Settings::default() }));
        assert_eq!(settings.changed_since(&mut seen), None);
        assert!(settings.words().contains(&("gain", "on".to_owned())));
    }
}
