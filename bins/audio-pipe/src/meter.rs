//! Levels: told to the other programs when they change, and shown on stderr if wanted.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr};

use edge::Remote;
use serde_json::json;
use wire::PeerTag;
use wire::local::{Local, VoiceState};

use crate::room::Seen;

/// Below this a voice is not shown.
const FLOOR: u8 = 60;

/// What was told last.
pub(crate) struct Meter {
    voices: BTreeMap<Option<PeerTag>, Voice>,
    shown: Shown,
}

#[derive(Clone, Debug)]
struct Voice {
    name: Option<String>,
    state: VoiceState,
    level: u8,
}

enum Shown {
    Nowhere,
    /// One line that is written over.
    Terminal,
    /// One object per line.
    Json,
}

impl Meter {
    pub(crate) fn new(on_stderr: bool, json: bool) -> Self {
        let shown = match (on_stderr, json || !stderr().is_terminal()) {
            (false, _) => Shown::Nowhere,
            (true, true) => Shown::Json,
            (true, false) => Shown::Terminal,
        };
        Self { voices: BTreeMap::new(), shown }
    }

    /// Takes how one's own voice is, and everybody else's, and gives what is to be told of it.
    pub(crate) fn update<'a>(
        &mut self,
        own: VoiceState,
        level: u8,
        others: impl Iterator<Item = Seen<'a>>,
    ) -> Vec<Local> {
        let mut voices = BTreeMap::from([(None, Voice { name: None, state: own, level })]);
        voices.extend(others.map(|Seen { peer, name, state, level }| {
            (Some(peer), Voice { name: name.map(str::to_owned), state, level })
        }));
        let mut changes = Vec::new();
        for (&peer, &Voice { state, level, .. }) in &voices {
            let before = self.voices.get(&peer);
            if let Some(peer) = peer
                && before.is_some_and(|before| before.state.recording) != state.recording
            {
                let name = voices.get(&Some(peer)).and_then(|voice| voice.name.as_ref());
                let name = name.map_or_else(|| peer.to_string(), |name| Remote(name).show());
                let what = if state.recording { "records this call" } else { "no longer records this call" };
                tracing::info!("{name} {what}");
            }
            // Who has just come is taken to be neither muted nor anything else.
            if before.map_or(peer.is_none() || state != VoiceState::default(), |before| before.state != state) {
                changes.push(Local::Voice { peer, state });
            }
            if before.is_none_or(|before| before.level != level) {
                changes.push(Local::Level { peer, level });
            }
        }
        self.voices = voices;
        changes
    }

    /// Leaves the terminal as it was.
    pub(crate) fn end(&self) {
        if matches!(self.shown, Shown::Terminal) {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }

    /// Shows it all. A terminal may be slow: nobody must wait for this.
    pub(crate) fn show(&self) {
        // Nobody is left to tell if stderr is gone.
        let _ = match self.shown {
            Shown::Nowhere => Ok(()),
            Shown::Terminal => write!(stderr(), "\r\x1b[K{}", self.line()),
            Shown::Json => edge::json_line(&self.json()).map_or(Ok(()), |line| writeln!(stderr(), "{line}")),
        };
    }

    fn line(&self) -> String {
        let bars = self.voices.iter().map(|(peer, voice)| match peer {
            None if voice.state.deafened => "deafened  ".to_owned(),
            None if voice.state.muted => "muted  ".to_owned(),
            None => bar("you", voice.level),
            Some(_) if voice.level >= FLOOR => String::new(),
            Some(peer) => {
                let mark = if voice.state.recording { "(records) " } else { "" };
                mark.to_owned()
                    + &bar(
                        &voice.name.as_ref().map_or_else(|| peer.to_string(), |name| Remote(name).show()),
                        voice.level,
                    )
            }
        });
        bars.collect()
    }

    fn json(&self) -> serde_json::Value {
        let levels = self.voices.iter().map(|(peer, Voice { name, state, level })| {
            json!({
                "peer": peer.map(|peer| peer.0), "name": name, "dbov": -i32::from(*level), "talking": state.talking,
                "muted": state.muted, "deafened": state.deafened, "recording": state.recording,
            })
        });
        let own = self.voices.get(&None).map(|voice| voice.state).unwrap_or_default();
        json!({
            "v": 1, "type": "levels", "muted": own.muted, "deafened": own.deafened,
            "levels": levels.collect::<Vec<_>>(),
        })
    }
}

fn bar(name: &str, level: u8) -> String {
    let marks = usize::from(FLOOR.saturating_sub(level)) / 6;
    format!("{name} {:-<10}  ", "#".repeat(marks))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: VoiceState = VoiceState { muted: false, deafened: false, recording: false, talking: true };
    const OFF: VoiceState = VoiceState { muted: true, deafened: false, recording: false, talking: false };
    const ANN: PeerTag = PeerTag(1);

    fn update(meter: &mut Meter, own: VoiceState, level: u8, hers: VoiceState) -> Vec<Local> {
        let ann = Seen { peer: ANN, name: Some("ann\u{1b}"), state: hers, level: 30 };
        meter.update(own, level, [ann].into_iter())
    }

    #[test]
    fn only_what_changes_is_told() {
        let mut meter = Meter::new(false, false);
        let own = |level| Local::Level { peer: None, level };
        let mine = |state| Local::Voice { peer: None, state };
        let hers = |state| Local::Voice { peer: Some(ANN), state };
        let told = update(&mut meter, ON, 20, ON);
        assert_eq!(told, [mine(ON), own(20), hers(ON), Local::Level { peer: Some(ANN), level: 30 }]);
        assert_eq!(update(&mut meter, ON, 20, ON), []);
        assert_eq!(update(&mut meter, OFF, 127, ON), [mine(OFF), own(127)]);
        assert_eq!(update(&mut meter, OFF, 127, OFF), [hers(OFF)]);
    }

    #[test]
    fn a_line_of_json_has_everybody_by_name() {
        let mut meter = Meter::new(false, false);
        update(&mut meter, OFF, 127, ON);
        let value = meter.json();
        assert_eq!((value["muted"].as_bool(), value["levels"][0]["peer"].as_u64()), (Some(true), None));
        let ann = &value["levels"][1];
        assert_eq!((ann["name"].as_str(), ann["talking"].as_bool()), (Some("ann\u{1b}"), Some(true)));
        assert_eq!(meter.line(), "muted  ann␛ #####-----  ");
    }

    #[test]
    fn a_bar_is_as_long_as_the_voice_is_loud() {
        assert_eq!(bar("ann", 0), "ann ##########  ");
        assert_eq!(bar("ann", 30), "ann #####-----  ");
        assert_eq!(bar("ann", 127), "ann ----------  ");
    }
}
