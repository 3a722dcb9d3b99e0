//! What is to be done to one's own voice, as it is typed.

use anyhow::Result;
use clap::{Args, ValueEnum};
use edge::{Exit, WithExit};
use speech::Settings;

/// What is to be done to one's own voice.
#[derive(Args, Debug)]
pub(crate) struct VoiceArgs {
    /// What suits a headset or a loudspeaker; the options below change it
    #[arg(long, value_enum, value_name = "MODE")]
    mode: Option<Mode>,
    /// Take what the loudspeaker plays out of what the microphone hears, for 3 ms of delay: on or off
    #[arg(long, value_name = "SWITCH", value_parser = word("echo"))]
    echo: Option<String>,
    /// Take noise away: rnn (for 10 ms of delay), apm (for 7 ms) or off
    #[arg(long, value_name = "KIND", value_parser = word("noise"))]
    noise: Option<String>,
    /// Make a quiet voice louder, and let none clip: on or off
    #[arg(long, value_name = "SWITCH", value_parser = word("gain"))]
    gain: Option<String>,
    /// When to send sound: open (always), voice (while somebody speaks) or ptt (push to talk)
    #[arg(long, value_name = "WHEN", value_parser = word("gate"))]
    gate: Option<String>,
    /// How long the gate stays open after the last voice
    #[arg(long, value_name = "MS", value_parser = word("hangover"))]
    hangover: Option<String>,
}

/// Settings that go together.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Mode {
    /// Gain, and nothing that delays
    Headset,
    /// Echo cancellation, noise suppression (apm) and gain
    Speaker,
}

impl VoiceArgs {
    /// What all of them say together.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let mut settings = Settings::default();
        let mode: &[(&str, &str)] = match self.mode {
            None => &[],
            Some(Mode::Headset) => &[("gain", "on")],
            Some(Mode::Speaker) => &[("echo", "on"), ("noise", "apm"), ("gain", "on")],
        };
        let own = [
            ("echo", &self.echo),
            ("noise", &self.noise),
            ("gain", &self.gain),
            ("gate", &self.gate),
            ("hangover", &self.hangover),
        ];
        let own = own.iter().filter_map(|(key, value)| Some((*key, value.as_deref()?)));
        for (key, value) in mode.iter().copied().chain(own) {
            settings.set(key, value).exit(Exit::Usage)?;
        }
        Ok(settings)
    }

    /// Whether they say anything of echo that the devices should not change.
    pub(crate) fn says_echo(&self) -> bool {
        self.echo.is_some() || self.mode == Some(Mode::Headset)
    }
}

/// Takes a word that [`Settings::set`] takes.
fn word(key: &'static str) -> impl Fn(&str) -> Result<String, String> + Clone {
    move |value| {
        let choice = Settings::KEYS.iter().find(|(known, _)| *known == key).map_or("", |(_, choice)| choice);
        Settings::default().set(key, value).map(|()| value.to_owned()).map_err(|_| format!("not {choice}"))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use speech::{Gate, Noise};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        voice: VoiceArgs,
    }

    fn settings(line: &str) -> Option<Settings> {
        let line = Line::try_parse_from(std::iter::once("x").chain(line.split_whitespace())).ok()?;
        line.voice.settings().ok()
    }

    #[test]
    fn nothing_is_done_unless_it_is_asked_for_and_options_change_a_mode() {
        assert_eq!(settings(""), Some(Settings::default()));
        let headset = Settings { gain: true, ..Settings::default() };
        assert_eq!(settings("--mode headset"), Some(headset));
        let speaker = Settings { echo: true, noise: Noise::Rnn, ..headset };
        assert_eq!(settings("--mode speaker --noise rnn"), Some(speaker));
        assert_eq!(settings("--gate ptt").map(|settings| settings.gate), Some(Gate::PushToTalk));
        assert_eq!(settings("--echo loud").or(settings("--hangover 6000")).or(settings("--mode music")), None);
    }
}
