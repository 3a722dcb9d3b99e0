//! What a running talk does when it is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

use edge::Exit;
use jitter::Activity;
use wire::local::{Ask, Refusal, Sent, Status, VoiceState};

use super::{Switch, Switches};
use crate::args::{self, SourceArgs};
use crate::playback::{self, enter};
use crate::recording::Recorder;
use crate::voice_settings::VoiceSettings;

/// What is silent, in -dBov.
const SILENCE: u8 = 127;

/// Everything about a talk that can be changed while it runs; clones are of the same talk.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) switches: Arc<Switches>,
    pub(crate) voice: VoiceSettings,
    pub(crate) own: Arc<Own>,
    room: playback::Shared,
    recorder: Recorder,
    bitrate: Arc<AtomicU32>,
    sent: Sent,
}

/// One's own voice, for meters.
#[derive(Debug)]
pub(crate) struct Own {
    /// The loudest since it was last looked at, in -dBov.
    heard: AtomicU8,
    /// What was seen then.
    shown: AtomicU8,
    is_talking: AtomicBool,
}

/// Whoever asked has to ask for something else.
fn mistake(why: String) -> Refusal {
    Refusal { why, exit: Exit::Usage as u8 }
}

fn failure(error: anyhow::Error) -> Refusal {
    Refusal { why: format!("{error:#}"), exit: edge::code_of(&error) as u8 }
}

impl Desk {
    pub(crate) fn new(
        switches: Arc<Switches>,
        voice: VoiceSettings,
        room: playback::Shared,
        recorder: Recorder,
        source: &SourceArgs,
    ) -> Self {
        let bitrate = Arc::new(AtomicU32::new(source.bitrate));
        Self { switches, voice, own: Arc::default(), room, recorder, bitrate, sent: source.sent() }
    }

    /// Does what is asked for and tells how things are then, or why not.
    pub(crate) fn answer(&self, what: Ask) -> Result<Status, Refusal> {
        match what {
            Ask::Status => {}
            Ask::Mute(off) => self.switches.turn(Switch::Mute, off),
            Ask::Deafen(off) => self.switches.turn(Switch::Deafen, off),
            Ask::PushToTalk(is_down) => self.press(is_down).map_err(mistake)?,
            Ask::Volume { peer, volume } => enter(&self.room).set_volume(peer, volume).map_err(mistake)?,
            Ask::Set { key, value } => self.set(&key, &value).map_err(mistake)?,
            Ask::Record(Some(what)) => self.recorder.start(&what).map_err(failure)?,
            Ask::Record(None) => {
                let written = self.recorder.stop().map_err(failure)?;
                return Ok(Status { recording: Some(written), ..self.status() });
            }
        }
        Ok(self.status())
    }

    /// Bits per second that are wanted of the encoder.
    pub(crate) fn bitrate(&self) -> u32 {
        self.bitrate.load(Ordering::Relaxed)
    }

    /// What the others see of us.
    pub(crate) fn state(&self) -> VoiceState {
        let (muted, deafened) = (self.switches.is_muted(), self.switches.is_deafened());
        let recording = self.switches.is_recording();
        VoiceState { muted, deafened, recording, talking: !muted && self.own.is_talking.load(Ordering::Relaxed) }
    }

    fn press(&self, is_down: bool) -> Result<(), String> {
        self.voice.press(is_down);
        match self.voice.words().into_iter().find(|(key, _)| *key == "gate") {
            Some((_, gate)) if gate != "ptt" => {
                Err(format!("the gate is {gate}: audio-pipe set gate ptt makes it open by a key"))
            }
            _ => Ok(()),
        }
    }

    fn set(&self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "bitrate" => {
                let bitrate = args::bitrate(value).map_err(|why| format!("bitrate can't be {value}: it is {why}"))?;
                self.bitrate.store(bitrate, Ordering::Relaxed);
            }
            "loudness" => {
                let is_evened = match value {
                    "on" => true,
                    "off" => false,
                    _ => return Err(format!("loudness can't be {value}: it is on or off")),
                };
                enter(&self.room).even_out(is_evened);
            }
            _ if self.voice.words().iter().any(|(known, _)| *known == key) => {
                self.voice.set(key, value).map_err(|error| format!("{error:#}"))?;
            }
            _ => {
                let keys: Vec<_> = self.settings().into_iter().map(|(key, _)| key).collect();
                return Err(format!("there is no setting {key}; there are {}", keys.join(", ")));
            }
        }
        Ok(())
    }

    fn settings(&self) -> Vec<(String, String)> {
        let is_evened = enter(&self.room).is_evened();
        let ours =
            [("bitrate", self.bitrate().to_string()), ("loudness", if is_evened { "on" } else { "off" }.to_owned())];
        ours.into_iter().chain(self.voice.words()).map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// How things are.
    pub(crate) fn status(&self) -> Status {
        Status {
            pid: std::process::id(),
            own: self.state(),
            sent: self.sent,
            level: self.own.shown.load(Ordering::Relaxed),
            is_key_down: self.voice.is_pressed(),
            settings: self.settings(),
            speakers: enter(&self.room).speakers(),
            recording: self.recorder.status(),
        }
    }
}

impl Default for Own {
    fn default() -> Self {
        Self { heard: AtomicU8::new(SILENCE), shown: AtomicU8::new(SILENCE), is_talking: AtomicBool::new(false) }
    }
}

impl Own {
    /// A frame of this level was sent.
    pub(crate) fn note(&self, level: u8) {
        self.heard.fetch_min(level, Ordering::Relaxed);
    }

    /// Looks at what was heard in the last `samples` samples: the level in -dBov.
    pub(crate) fn look(&self, activity: &mut Activity, samples: usize) -> u8 {
        let level = self.heard.swap(SILENCE, Ordering::Relaxed);
        activity.note(10_f32.powf(-f32::from(level) / 10.0), samples);
        self.shown.store(level, Ordering::Relaxed);
        self.is_talking.store(activity.is_talking(), Ordering::Relaxed);
        level
    }
}
