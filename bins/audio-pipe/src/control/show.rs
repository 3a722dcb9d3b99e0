//! How a talk is, for people and as JSON.

use edge::{Remote, talks};
use serde_json::{Value, json};
use wire::local::{Ask, Mode, Sent, Speaker, Status, Volume};

/// What there is to say to what was asked for.
pub(super) fn text(what: &Ask, status: &Status) -> String {
    match what {
        Ask::Mute(_) | Ask::Deafen(_) => switches(status),
        Ask::PushToTalk(is_down) => format!("key {}", if *is_down { "down" } else { "up" }),
        Ask::Volume { peer, .. } => status
            .speakers
            .iter()
            .filter(|speaker| speaker.tag == *peer)
            .map(|speaker| format!("{} {}", Remote(&speaker.name).show(), volume(speaker)))
            .collect(),
        Ask::Set { key, .. } => {
            let is_it = |(known, _): &&(String, String)| known == key;
            status.settings.iter().find(is_it).map(setting).unwrap_or_default()
        }
        Ask::Record(_) => recording(status),
        Ask::Status => all(status),
    }
}

/// Whether and to where the call is recorded.
pub(super) fn recording(status: &Status) -> String {
    let text = status.recording.as_ref().map(|recording| Remote(recording).show());
    match text {
        Some(text) if status.own.recording => format!("recording to {text}"),
        Some(text) => format!("recording {text}"),
        None => "nothing is recorded".to_owned(),
    }
}

/// The same for scripts: all of it, whatever was asked for.
pub(super) fn json(status: &Status) -> Value {
    let settings: serde_json::Map<_, _> =
        status.settings.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    let own = status.own;
    json!({
        "v": 1, "type": "talk", "pid": status.pid, "muted": own.muted, "deafened": own.deafened,
        "recording": own.recording, "recording_to": status.recording, "talking": own.talking,
        "mode": status.sent.mode.to_string(), "channels": status.sent.channels,
        "dbov": dbov(status.level), "key_down": status.is_key_down, "settings": settings,
        "speakers": status.speakers.iter().map(speaker).collect::<Vec<_>>(),
    })
}

fn speaker(speaker: &Speaker) -> Value {
    let (state, figures) = (speaker.state, speaker.figures);
    json!({
        "peer": speaker.name, "tag": speaker.tag.0, "volume_db": speaker.volume_db, "off": speaker.is_off,
        "evened_db": speaker.evened_db, "channels": speaker.channels, "muted": state.muted, "deafened": state.deafened,
        "recording": state.recording, "talking": state.talking, "dbov": dbov(speaker.level),
        "received": figures.received, "lost": figures.lost, "late": figures.late,
        "concealed_ms": figures.concealed_ms, "from_next": figures.from_next, "from_copy": figures.from_copy,
        "deep_ms": figures.deep_ms, "played_ms": figures.played_ms, "jitter_ms": figures.jitter_ms, "buffer_ms": figures.buffer_ms,
        "delay_ms": figures.delay_ms, "drift_ppm": figures.drift_ppm,
    })
}

fn all(status: &Status) -> String {
    let settings: Vec<_> = status.settings.iter().map(setting).collect();
    let what = match status.sent {
        Sent { mode: Mode::Voice, .. } => String::new(),
        Sent { mode, channels } => format!("{mode} in {channels} channel{}, ", if channels == 1 { "" } else { "s" }),
    };
    let level = dbov(status.level);
    let head = format!("{}, {}, {what}level {level} dBov", switches(status), talks::words(status.own));
    let mut head = format!("{head}\n{}", settings.join(", "));
    if status.recording.is_some() {
        head = format!("{head}\n{}", recording(status));
    }
    if status.speakers.is_empty() {
        return format!("{head}\nnobody else is there");
    }
    let columns =
        ["NAME", "TAG", "VOLUME", "EVENED", "VOICE", "LEVEL", "LOST", "LATE", "MADE UP", "JITTER", "BUFFER", "DELAY"];
    format!("{head}\n{}", edge::table(columns, status.speakers.iter().map(row)))
}

fn row(speaker: &Speaker) -> [String; 12] {
    let figures = speaker.figures;
    let share = |part: u64| {
        let whole = (figures.received + figures.lost).max(1);
        format!("{:.1}%", part as f64 * 100.0 / whole as f64)
    };
    [
        Remote(&speaker.name).show(),
        speaker.tag.to_string(),
        volume(speaker),
        Volume::Db(speaker.evened_db).to_string(),
        talks::words(speaker.state),
        dbov(speaker.level).to_string(),
        share(figures.lost),
        share(figures.late),
        format!("{}ms", figures.concealed_ms),
        format!("{}ms", figures.jitter_ms),
        format!("{}ms", figures.buffer_ms),
        format!("{}ms", figures.delay_ms),
    ]
}

fn switches(status: &Status) -> String {
    let word = |is_off| if is_off { "off" } else { "on" };
    format!("microphone {}, sound {}", word(status.own.muted), word(status.own.deafened))
}

fn volume(speaker: &Speaker) -> String {
    if speaker.is_off { Volume::Off } else { Volume::Db(speaker.volume_db) }.to_string()
}

fn setting((key, value): &(String, String)) -> String {
    format!("{key} {value}")
}

fn dbov(level: u8) -> i32 {
    -i32::from(level)
}

#[cfg(test)]
mod tests {
    use wire::PeerTag;
    use wire::local::{Figures, VoiceState};

    use super::*;

    fn status() -> Status {
        let bob = Speaker {
            tag: PeerTag(3),
            name: "b\u{1b}ob".into(),
            volume_db: 6,
            is_off: false,
            evened_db: -2,
            channels: 2,
            state: VoiceState { talking: true, ..VoiceState::default() },
            level: 23,
            figures: Figures { received: 990, lost: 10, late: 1, jitter_ms: 4, ..Figures::default() },
        };
        let own = VoiceState { muted: true, ..VoiceState::default() };
        let settings = vec![("bitrate".to_owned(), "40000".to_owned()), ("gate".to_owned(), "open".to_owned())];
        let (sent, speakers) = (Sent::default(), vec![bob]);
        Status { pid: 7, own, sent, level: 127, is_key_down: false, settings, speakers, recording: None }
    }

    #[test]
    fn each_command_says_what_it_led_to() {
        let volume = Ask::Volume { peer: PeerTag(3), volume: Volume::Db(6) };
        let set = Ask::Set { key: "bitrate".into(), value: "40k".into() };
        let rows = [
            (Ask::Mute(None), "microphone off, sound on"),
            (volume, "b␛ob +6 dB"),
            (set, "bitrate 40000"),
            (Ask::PushToTalk(true), "key down"),
        ];
        for (what, says) in rows {
            assert_eq!(text(&what, &status()), says);
        }
    }

    #[test]
    fn the_status_is_a_table_or_one_object_and_draws_nothing() {
        let expected = "\
microphone off, sound on, muted, level -127 dBov
bitrate 40000, gate open
NAME  TAG  VOLUME  EVENED  VOICE    LEVEL  LOST  LATE  MADE UP  JITTER  BUFFER  DELAY
b␛ob  3    +6 dB   -2 dB   talking  -23    1.0%  0.1%  0ms      4ms     0ms     0ms";
        assert_eq!(text(&Ask::Status, &status()), expected);
        let value = json(&status());
        assert_eq!((value["muted"].as_bool(), value["settings"]["gate"].as_str()), (Some(true), Some("open")));
        let bob = &value["speakers"][0];
        assert_eq!(
            (bob["volume_db"].as_i64(), bob["dbov"].as_i64(), bob["lost"].as_u64()),
            (Some(6), Some(-23), Some(10))
        );
    }

    #[test]
    fn what_is_sent_is_told_unless_it_is_a_voice() {
        assert!(!text(&Ask::Status, &status()).contains("channel"));
        let music = Status { sent: Sent { mode: Mode::Music, channels: 2 }, ..status() };
        assert!(text(&Ask::Status, &music).starts_with("microphone off, sound on, muted, music in 2 channels, level"));
        for (status, mode, channels) in [(status(), "voice", 1), (music, "music", 2)] {
            let value = json(&status);
            assert_eq!((value["mode"].as_str(), value["channels"].as_u64()), (Some(mode), Some(channels)));
            assert_eq!(value["speakers"][0]["channels"], 2);
        }
    }
}
