//! Between the programs at one `puncher`: one asks the talks there for something, and each talk answers, and tells what changes.
//!
//! A program sends [`Local::Ask`]. `puncher` hands it to every program that has opened a voice lane, says at once by [`Local::Asked`]
//! how many these are, and then the program waits for as many [`Local::Answer`]s. With no talk there is none to wait for.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::PeerTag;

/// One record between local programs. What does not concern a program, it ignores.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Local {
    /// Asks every talk here for something.
    Ask {
        /// A random number, which the answers repeat.
        id: u64,
        /// What is wanted.
        what: Ask,
    },
    /// From `puncher` to the program that asked.
    Asked {
        /// Which question.
        id: u64,
        /// How many talks were asked; each answers once.
        talks: u16,
    },
    /// What a talk says to a question: how things are after it, or why it did not do what was asked.
    Answer {
        /// Which question.
        id: u64,
        /// The answer.
        answer: Result<Status, Refusal>,
    },
    /// Something about somebody's voice has changed.
    Voice {
        /// Who; `None` is ourselves.
        peer: Option<PeerTag>,
        /// How it is.
        state: VoiceState,
    },
    /// Somebody's level, for meters.
    Level {
        /// Who; `None` is our own microphone.
        peer: Option<PeerTag>,
        /// In -dBov, 0 to 127.
        level: u8,
    },
    /// A talk has ended: of voices nothing is known any more.
    Ended,
}

/// What a talk can be asked for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Ask {
    /// How things are.
    Status,
    /// To turn the microphone off or on; `None`: the other one of both.
    Mute(Option<bool>),
    /// To turn everybody's sound and the microphone off or on; `None`: the other one of both.
    Deafen(Option<bool>),
    /// That the key to talk is held down, or not.
    PushToTalk(bool),
    /// To play a peer louder or more softly.
    Volume {
        /// Whom.
        peer: PeerTag,
        /// How loud.
        volume: Volume,
    },
    /// To change a setting.
    Set {
        /// Which.
        key: String,
        /// To what.
        value: String,
    },
    /// To record, or no longer to.
    Record(Option<Record>),
}

/// Why a talk did not do what it was asked for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Refusal {
    /// In words.
    pub why: String,
    /// The exit code of a program that asked for nothing else, as in `sysexits.h`.
    pub exit: u8,
}

/// What to record to where.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Record {
    /// An absolute path: of a folder, or of a file for a mix.
    pub path: String,
    /// A mix of everybody, in the folder.
    pub mix: bool,
    /// Every speaker as it was sent, in the folder; so without [`Self::mix`], too.
    pub each: bool,
}

/// How loud somebody is to be played here.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Volume {
    /// Not at all.
    Off,
    /// As before it was off.
    On,
    /// So many decibels louder, from [`Volume::LEAST_DB`] to [`Volume::MOST_DB`].
    Db(i8),
}

impl Volume {
    /// The softest; below it is off.
    pub const LEAST_DB: i8 = -60;
    /// The loudest.
    pub const MOST_DB: i8 = 12;
}

/// Why a word is no volume.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a whole number of decibels from {} to {}, off or on", Volume::LEAST_DB, Volume::MOST_DB)]
pub struct ParseVolumeError;

impl FromStr for Volume {
    type Err = ParseVolumeError;

    fn from_str(text: &str) -> Result<Self, ParseVolumeError> {
        match text {
            "off" => return Ok(Self::Off),
            "on" => return Ok(Self::On),
            _ => {}
        }
        let number = text.strip_suffix("dB").unwrap_or(text).trim_end();
        let db = number.parse().ok().filter(|db| (Self::LEAST_DB..=Self::MOST_DB).contains(db));
        db.map(Self::Db).ok_or(ParseVolumeError)
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::On => f.write_str("on"),
            Self::Db(db) => write!(f, "{db:+} dB"),
        }
    }
}

/// What is known of a voice beside its sound.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct VoiceState {
    /// The microphone is off.
    pub muted: bool,
    /// The speaker hears nobody.
    pub deafened: bool,
    /// The speaker records what it hears.
    pub recording: bool,
    /// It is heard, at this moment or a moment ago.
    pub talking: bool,
}

/// How a talk is.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Status {
    /// The talk's process.
    pub pid: u32,
    /// Our own voice.
    pub own: VoiceState,
    /// What the others are sent.
    pub sent: Sent,
    /// Our own level in -dBov, 0 to 127.
    pub level: u8,
    /// Whether the key to talk is down; counts while the gate is opened by it.
    pub is_key_down: bool,
    /// What can be set, and what it is.
    pub settings: Vec<(String, String)>,
    /// Everybody else who is there.
    pub speakers: Vec<Speaker>,
    /// To where the call is recorded, in words, or why it is no longer, or, to who has ended it, what there is.
    pub recording: Option<String>,
}

/// What a talk sends.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Sent {
    /// As what.
    pub mode: Mode,
    /// In how many channels.
    pub channels: u8,
}

impl Default for Sent {
    /// A voice, in one channel.
    fn default() -> Self {
        Self { mode: Mode::Voice, channels: 1 }
    }
}

/// What matters most about what is sent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Mode {
    /// That it is understood.
    Voice,
    /// That it comes soon.
    LowDelay,
    /// That it is as it was heard.
    Music,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Voice => "voice",
            Self::LowDelay => "low delay",
            Self::Music => "music",
        })
    }
}

/// How a peer is heard.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Speaker {
    /// Who.
    pub tag: PeerTag,
    /// What it calls itself: remote text.
    pub name: String,
    /// How much louder it is played, in decibels, unless it is off.
    pub volume_db: i8,
    /// Whether it is not played at all.
    pub is_off: bool,
    /// How much louder it is made to be as loud as the others, in decibels.
    pub evened_db: i8,
    /// How many channels it is heard in; 0 before anything was.
    pub channels: u8,
    /// What is known of its voice.
    pub state: VoiceState,
    /// Its level in -dBov, 0 to 127.
    pub level: u8,
    /// How its packets come.
    pub figures: Figures,
}

/// How a speaker's packets come, and what is made of them, since it came.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Figures {
    /// Frames that came.
    pub received: u64,
    /// Frames that the network lost.
    pub lost: u64,
    /// Frames that came after their time.
    pub late: u64,
    /// Sound that was made up, in milliseconds.
    pub concealed_ms: u64,
    /// Lost or late frames that the packet after them brought back (LBRR).
    pub from_next: u64,
    /// Lost or late frames that a copy brought back.
    pub from_copy: u64,
    /// Lost sound of which a later packet told (DRED), in milliseconds.
    pub deep_ms: u64,
    /// Sound that was played, in milliseconds, silence between talkspurts not.
    pub played_ms: u64,
    /// The 98th percentile of the delay above the minimum, in milliseconds.
    pub jitter_ms: u16,
    /// What the buffer aims at, in milliseconds.
    pub buffer_ms: u16,
    /// How long the sound waits for its time, in milliseconds.
    pub delay_ms: u16,
    /// The speaker's clock against ours, in parts per million.
    pub drift_ppm: i16,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decode, encode};

    #[test]
    fn local_bytes() {
        let rows: [(Local, &[u8]); 11] = [
            (Local::Ask { id: 7, what: Ask::Status }, &[0, 7, 0]),
            (Local::Ask { id: 300, what: Ask::Mute(Some(true)) }, &[0, 0xAC, 2, 1, 1, 1]),
            (Local::Ask { id: 7, what: Ask::PushToTalk(true) }, &[0, 7, 3, 1]),
            (
                Local::Ask { id: 7, what: Ask::Volume { peer: PeerTag(9), volume: Volume::Db(-6) } },
                &[0, 7, 4, 9, 2, 0xFA],
            ),
            (Local::Ask { id: 7, what: Ask::Set { key: "k".into(), value: "v".into() } }, &[0, 7, 5, 1, b'k', 1, b'v']),
            (Local::Ask { id: 7, what: Ask::Record(None) }, &[0, 7, 6, 0]),
            (Local::Asked { id: 7, talks: 2 }, &[1, 7, 2]),
            (
                Local::Answer { id: 7, answer: Err(Refusal { why: "no".into(), exit: 64 }) },
                &[2, 7, 1, 2, b'n', b'o', 64],
            ),
            (
                Local::Voice { peer: Some(PeerTag(9)), state: VoiceState { deafened: true, ..VoiceState::default() } },
                &[3, 1, 9, 0, 1, 0, 0],
            ),
            (Local::Level { peer: None, level: 30 }, &[4, 0, 30]),
            (Local::Ended, &[5]),
        ];
        for (local, bytes) in rows {
            assert_eq!(encode(&local), bytes, "{local:?}");
            assert_eq!(decode::<Local>("record", bytes), Ok(local));
        }
    }

    #[test]
    fn a_volume_is_read_as_people_write_it() {
        let rows = [
            ("off", Volume::Off),
            ("on", Volume::On),
            ("-6", Volume::Db(-6)),
            ("+12 dB", Volume::Db(12)),
            ("0dB", Volume::Db(0)),
        ];
        for (text, volume) in rows {
            assert_eq!(text.parse(), Ok(volume));
        }
        assert!(
            ["", "loud", "13", "-61", "1.5", "1e1", "dB", "--6"].iter().all(|text| text.parse::<Volume>().is_err())
        );
        assert_eq!(Volume::Db(6).to_string(), "+6 dB");
    }

    #[test]
    fn status_bytes() {
        let speaker = Speaker {
            tag: PeerTag(9),
            name: "a".into(),
            volume_db: -1,
            is_off: true,
            evened_db: 2,
            channels: 2,
            state: VoiceState { talking: true, ..VoiceState::default() },
            level: 20,
            figures: Figures {
                received: 1,
                lost: 2,
                late: 3,
                concealed_ms: 4,
                from_next: 5,
                from_copy: 6,
                deep_ms: 7,
                played_ms: 8,
                jitter_ms: 9,
                buffer_ms: 10,
                delay_ms: 11,
                drift_ppm: -1,
            },
        };
        let settings = vec![("k".to_owned(), "v".to_owned())];
        let own = VoiceState { muted: true, ..VoiceState::default() };
        let speakers = vec![speaker];
        let sent = Sent { mode: Mode::Music, channels: 2 };
        let status = Status { pid: 5, own, sent, level: 127, is_key_down: true, settings, speakers, recording: None };
        let bytes = [
            &[5, 1, 0, 0, 0, 2, 2, 127, 1, 1, 1, b'k', 1, b'v', 1][..],
            &[9, 1, b'a', 0xFF, 1, 2, 2, 0, 0, 0, 1, 20],
            &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 0],
        ];
        assert_eq!(encode(&status), bytes.concat());
    }
}
