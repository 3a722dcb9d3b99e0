//! What is done to one's own voice, as whoever may change it and the thread that does it share it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, anyhow};
use edge::{Exit, WithExit};
use speech::{BLOCK, Settings};

/// The settings of the moment; clones are the same settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct VoiceSettings(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    settings: Mutex<Settings>,
    /// Grows with every change, so that the thread at the microphone takes the lock only then.
    version: AtomicU64,
    is_key_down: AtomicBool,
    /// Frames are shorter than what the processing takes at a time.
    is_short: bool,
    /// It is no voice, and nothing is done to it.
    is_music: bool,
}

impl VoiceSettings {
    /// Settings for a voice that is sent in frames of so many samples. Frames of 2.5 and 5 ms are for those who want no
    /// delay, so nothing that takes 10 ms at a time goes with them.
    pub(crate) fn for_frames(settings: Settings, frame: usize) -> Result<Self> {
        let is_short = !frame.is_multiple_of(BLOCK);
        check(&settings, is_short)?;
        let shared =
            Shared { settings: Mutex::new(settings), version: AtomicU64::new(1), is_short, ..Shared::default() };
        Ok(Self(Arc::new(shared)))
    }

    /// Settings that stay as they are: of music, which is sent as it is heard.
    pub(crate) fn for_music() -> Self {
        Self(Arc::new(Shared { version: AtomicU64::new(1), is_music: true, ..Shared::default() }))
    }

    /// Whether nothing is done, and nothing ever will be.
    pub(crate) fn are_of_music(&self) -> bool {
        self.0.is_music
    }

    /// Changes what `key` names, from the next block of sound on. Which keys there are: [`Settings::KEYS`].
    pub(crate) fn set(&self, key: &str, value: &str) -> Result<()> {
        let mut settings = self.lock();
        let mut changed = *settings;
        changed.set(key, value).exit(Exit::Usage)?;
        if self.0.is_music && changed != *settings {
            let why = "this talk sends music, to which nothing is done: start it without --music";
            return Err(anyhow!(why)).exit(Exit::Usage);
        }
        check(&changed, self.0.is_short)?;
        *settings = changed;
        drop(settings);
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

    /// The settings, if they have changed since the version that was seen last; 0 is before the first.
    pub(crate) fn changed_since(&self, seen: &mut u64) -> Option<Settings> {
        let version = self.0.version.load(Ordering::Acquire);
        (std::mem::replace(seen, version) != version).then(|| *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Settings> {
        self.0.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(settings: &Settings, is_short: bool) -> Result<()> {
    if is_short && settings.needs_blocks() {
        let why =
            "frames are too short for echo, noise and gain, which take 10 ms at a time: --frame-ms 10 or more has room";
        return Err(anyhow!(why)).exit(Exit::Usage);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_once_by_whoever_looks() {
        let settings = VoiceSettings::for_frames(Settings::default(), 480).expect("settings");
        let mut seen = 0;
        assert_eq!(settings.changed_since(&mut seen), Some(Settings::default()));
        assert_eq!(settings.changed_since(&mut seen), None);

        settings.clone().set("gain", "on").expect("a setting");
        assert!(settings.set("gain", "loud").is_err_and(|error| edge::code_of(&error) == Exit::Usage));

        assert_eq!(settings.changed_since(&mut seen), Some(Settings { gain: true, ..Settings::default() }));
        assert_eq!(settings.changed_since(&mut seen), None);
        assert!(settings.words().contains(&("gain", "on".to_owned())));
    }

    #[test]
    fn of_music_nothing_can_be_changed() {
        let settings = VoiceSettings::for_music();
        for (key, value) in [("echo", "on"), ("noise", "rnn"), ("gain", "on"), ("gate", "ptt")] {
            assert!(
                settings.set(key, value).is_err_and(|error| error.to_string().contains("without --music")),
                "{key}"
            );
        }
        settings.set("gate", "open").expect("as it is");
        assert!(settings.words().contains(&("gate", "open".to_owned())));
    }

    #[test]
    fn short_frames_have_a_gate_and_nothing_else() {
        let settings = VoiceSettings::for_frames(Settings::default(), 240).expect("settings");
        settings.set("gate", "ptt").expect("a setting");
        assert!(settings.set("noise", "rnn").is_err_and(|error| error.to_string().contains("--frame-ms 10")));
        assert!(settings.words().contains(&("noise", "off".to_owned())), "nothing is changed by half");
        let all = Settings { gain: true, ..Settings::default() };
        assert!(VoiceSettings::for_frames(all, 120).is_err() && VoiceSettings::for_frames(all, 960).is_ok());
    }
}
