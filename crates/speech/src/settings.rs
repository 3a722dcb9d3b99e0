//! What is to be done to a voice, in types and in the words that people use for it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// The gate may stay open for so long after the last voice, at most.
const MOST_HANGOVER: Duration = Duration::from_secs(5);

/// What takes background noise away.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Noise {
    /// Nothing does; costs no delay.
    #[default]
    Off,
    /// A recurrent network (`nnnoiseless`, after RNNoise).
    Rnn,
    /// The spectral suppressor that goes with the echo canceller (`sonora-ns`, after WebRTC's).
    Apm,
}

/// When sound is let through.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Gate {
    /// Always.
    #[default]
    Open,
    /// While somebody speaks.
    Voice,
    /// While a key is held down.
    PushToTalk,
}

/// What to do to a voice. The default does nothing at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Whether what the loudspeaker plays is taken out of what the microphone hears.
    pub echo: bool,
    /// What takes background noise away.
    pub noise: Noise,
    /// Whether quiet voices are made louder.
    pub gain: bool,
    /// When sound is let through.
    pub gate: Gate,
    /// For how long [`Gate::Voice`] stays open after the last voice.
    pub hangover: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let hangover = Duration::from_millis(300);
        Self { echo: false, noise: Noise::Off, gain: false, gate: Gate::Open, hangover }
    }
}

impl Settings {
    /// The words that [`Self::set`] knows, and what may be said of each.
    pub const KEYS: [(&'static str, &'static str); 5] = [
        ("echo", "on or off"),
        ("noise", "off, rnn or apm"),
        ("gain", "on or off"),
        ("gate", "open, voice or ptt"),
        ("hangover", "milliseconds from 0 to 5000"),
    ];

    /// Changes what `key` names.
    ///
    /// # Errors
    /// [`Unsettable`] if there is no such key, or if `value` means nothing there; then nothing is changed.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Unsettable> {
        let [echo, noise, gain, gate, hangover] = Self::KEYS;
        match key {
            "echo" => self.echo = read(value, echo, switch)?,
            "noise" => self.noise = read(value, noise, Noise::read)?,
            "gain" => self.gain = read(value, gain, switch)?,
            "gate" => self.gate = read(value, gate, Gate::read)?,
            "hangover" => self.hangover = read(value, hangover, millis)?,
            _ => return Err(Unsettable::Key { key: key.to_owned() }),
        }
        Ok(())
    }

    /// Whether any of it changes the sound, which takes blocks of 10 ms: shorter frames have to do without.
    pub fn needs_blocks(&self) -> bool {
        self.echo || self.gain || self.noise != Noise::Off
    }

    /// What every key is set to, in the words that [`Self::set`] takes.
    pub fn words(&self) -> [(&'static str, String); 5] {
        [
            ("echo", on_off(self.echo).to_owned()),
            ("noise", self.noise.to_string()),
            ("gain", on_off(self.gain).to_owned()),
            ("gate", self.gate.to_string()),
            ("hangover", self.hangover.as_millis().to_string()),
        ]
    }
}

/// Why something can't be set.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Unsettable {
    /// There is no such key.
    #[error("there is no setting {key}; there are {}", keys())]
    Key {
        /// The word that was used.
        key: String,
    },
    /// The key has no such value.
    #[error("{key} can't be {value}: it is {choice}")]
    Value {
        /// The key.
        key: &'static str,
        /// The word that was used.
        value: String,
        /// What may be said of the key.
        choice: &'static str,
    },
}

fn keys() -> String {
    Settings::KEYS.map(|(key, _)| key).join(", ")
}

fn read<T>(
    value: &str,
    (key, choice): (&'static str, &'static str),
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, Unsettable> {
    read(value).ok_or_else(|| Unsettable::Value { key, value: value.to_owned(), choice })
}

fn switch(word: &str) -> Option<bool> {
    match word {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

fn on_off(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

fn millis(word: &str) -> Option<Duration> {
    word.parse().ok().map(Duration::from_millis).filter(|hangover| *hangover <= MOST_HANGOVER)
}

impl Noise {
    fn read(word: &str) -> Option<Self> {
        [Self::Off, Self::Rnn, Self::Apm].into_iter().find(|noise| noise.word() == word)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Rnn => "rnn",
            Self::Apm => "apm",
        }
    }
}

impl Gate {
    fn read(word: &str) -> Option<Self> {
        [Self::Open, Self::Voice, Self::PushToTalk].into_iter().find(|gate| gate.word() == word)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Voice => "voice",
            Self::PushToTalk => "ptt",
        }
    }
}

impl fmt::Display for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Noise {
    type Err = Unsettable;

    fn from_str(word: &str) -> Result<Self, Unsettable> {
        read(word, Settings::KEYS[1], Self::read)
    }
}

impl FromStr for Gate {
    type Err = Unsettable;

    fn from_str(word: &str) -> Result<Self, Unsettable> {
        read(word, Settings::KEYS[3], Self::read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_words_say_is_set_and_said_again() {
        let mut settings = Settings::default();
        for (key, value) in [("echo", "on"), ("noise", "rnn"), ("gain", "on"), ("gate", "ptt"), ("hangover", "0")] {
            settings.set(key, value).expect("a setting");
            assert!(settings.words().contains(&(key, value.to_owned())), "{key}");
        }
        let hangover = Duration::ZERO;
        assert_eq!(settings, Settings { echo: true, noise: Noise::Rnn, gain: true, gate: Gate::PushToTalk, hangover });

        let mut again = Settings::default();
        settings.words().iter().for_each(|(key, value)| again.set(key, value).expect("a setting"));
        assert_eq!(again, settings);
        assert!(settings.words().iter().zip(Settings::KEYS).all(|(word, key)| word.0 == key.0));
    }

    #[test]
    fn what_means_nothing_changes_nothing_and_says_what_would() {
        let mut settings = Settings::default();
        for (key, value) in [("echo", "yes"), ("noise", ""), ("gain", "11"), ("gate", "PTT"), ("hangover", "5001")] {
            let said = settings.set(key, value).expect_err("no such value").to_string();
            let (_, choice) = Settings::KEYS.into_iter().find(|(known, _)| *known == key).expect("a key");
            assert_eq!(said, format!("{key} can't be {value}: it is {choice}"));
        }
        let said = settings.set("volume", "11").expect_err("no such key").to_string();
        assert_eq!(said, "there is no setting volume; there are echo, noise, gain, gate, hangover");
        assert!(["-1", "1.5", "99999999999999999999"].iter().all(|value| settings.set("hangover", value).is_err()));
        assert_eq!(settings, Settings::default());
    }
}
