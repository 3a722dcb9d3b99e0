//! What is told of voices.

use edge::Remote;
use serde_json::{Value, json};
use wire::local::VoiceState;

use crate::room::Entry;

/// Whether an entry is of use to programs alone: people hear who talks.
pub(crate) fn is_for_programs(entry: &Entry) -> bool {
    matches!(entry, Entry::Voice { name, before, state } if changes(name.as_deref(), *before, *state).is_empty())
}

/// What has changed of a voice, but for whether it talks.
pub(super) fn changes(name: Option<&str>, before: VoiceState, state: VoiceState) -> String {
    let (is_deafened, is_muted) = (state.deafened, state.muted);
    let (deafens, mutes) = (before.deafened != is_deafened, before.muted != is_muted);
    let records = before.recording != state.recording;
    let word = |is_off| if is_off { "off" } else { "on" };
    let all = match name {
        None => [
            deafens.then(|| format!("your sound is {}, your microphone {}", word(is_deafened), word(is_muted))),
            (mutes && !deafens).then(|| format!("your microphone is {}", word(is_muted))),
            records.then(|| if state.recording { "you record" } else { "you no longer record" }.to_owned()),
        ],
        Some(name) => {
            let name = Remote(name).show();
            let hears = if is_deafened { "hears nobody" } else { "hears again" };
            let records_what = if state.recording { "records what is said" } else { "no longer records" };
            [
                deafens.then(|| format!("{name} {hears}")),
                (mutes && !deafens).then(|| format!("{name}'s microphone is {}", word(is_muted))),
                records.then(|| format!("{name} {records_what}")),
            ]
        }
    };
    all.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// How a voice is, as JSON.
pub(super) fn voice_json(state: VoiceState) -> Value {
    let VoiceState { muted, deafened, recording, talking } = state;
    json!({ "muted": muted, "deafened": deafened, "recording": recording, "talking": talking })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Style, entry, entry_json};

    #[test]
    fn what_changes_of_a_voice_is_a_sentence_but_who_talks_is_for_programs() {
        let none = VoiceState::default();
        let muted = VoiceState { muted: true, ..none };
        let deafened = VoiceState { muted: true, deafened: true, ..none };
        let recording = VoiceState { recording: true, ..none };
        let rows = [
            (None, none, muted, "* your microphone is off"),
            (None, muted, none, "* your microphone is on"),
            (None, none, deafened, "* your sound is off, your microphone off"),
            (None, deafened, muted, "* your sound is on, your microphone off"),
            (Some("b\u{1b}ob"), none, muted, "* b␛ob's microphone is off"),
            (Some("bob"), none, deafened, "* bob hears nobody"),
            (Some("bob"), deafened, none, "* bob hears again"),
            (Some("bob"), muted, recording, "* bob's microphone is on; bob records what is said"),
        ];
        for (name, before, state, says) in rows {
            let shown = Entry::Voice { name: name.map(str::to_owned), before, state };
            assert_eq!((entry(&shown, Style::Plain).as_str(), is_for_programs(&shown)), (says, false));
            assert_eq!(entry_json(&shown)["muted"], state.muted);
        }
        let talking = VoiceState { talking: true, ..none };
        let talks = Entry::Voice { name: Some("bob".into()), before: none, state: talking };
        assert!(is_for_programs(&talks) && entry_json(&talks)["talking"] == true);
    }
}
