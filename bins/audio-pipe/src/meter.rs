//! Levels: told to the other programs when they change, and shown on stderr if wanted.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr};

use edge::Remote;
use wire::PeerTag;
use wire::agent::Local;

/// Below this a voice is not shown.
const FLOOR: u8 = 60;

/// What was told last.
pub(crate) struct Meter {
    muted: Option<bool>,
    levels: BTreeMap<Option<PeerTag>, u8>,
    shown: Shown,
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
        Self { muted: None, levels: BTreeMap::new(), shown }
    }

    /// Takes the state of things and gives what is to be told of it.
    pub(crate) fn update<'a>(
        &mut self,
        muted: bool,
        own: u8,
        peers: impl Iterator<Item = (PeerTag, Option<&'a str>, u8)>,
    ) -> Vec<Local> {
        let mut changes = Vec::new();
        if self.muted.replace(muted) != Some(muted) {
            changes.push(Local::Muted(muted));
        }
        let mut levels = BTreeMap::from([(None, own)]);
        let mut line = if muted { "muted".to_owned() } else { bar("you", own) };
        for (peer, name, level) in peers {
            levels.insert(Some(peer), level);
            if level < FLOOR {
                line += &bar(&name.map_or_else(|| peer.to_string(), |name| Remote(name).show()), level);
            }
        }
        let is_new = |(peer, level): &(&Option<PeerTag>, &u8)| self.levels.get(peer) != Some(level);
        changes.extend(levels.iter().filter(is_new).map(|(peer, level)| Local::Level { peer: *peer, level: *level }));
        self.levels = levels;
        self.show(&line, muted);
        changes
    }

    /// Leaves the terminal as it was.
    pub(crate) fn end(&self) {
        if matches!(self.shown, Shown::Terminal) {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }

    fn show(&self, line: &str, muted: bool) {
        // Nobody is left to tell if stderr is gone.
        let _ = match self.shown {
            Shown::Nowhere => Ok(()),
            Shown::Terminal => write!(stderr(), "\r\x1b[K{line}"),
            Shown::Json => writeln!(stderr(), "{}", self.json(muted)),
        };
    }

    fn json(&self, muted: bool) -> serde_json::Value {
        let level = |(peer, level): (&Option<PeerTag>, &u8)| serde_json::json!({ "peer": peer.map(|peer| peer.0), "dbov": -i32::from(*level) });
        let levels: Vec<_> = self.levels.iter().map(level).collect();
        serde_json::json!({ "v": 1, "type": "levels", "muted": muted, "levels": levels })
    }
}

fn bar(name: &str, level: u8) -> String {
    let marks = usize::from(FLOOR.saturating_sub(level)) / 6;
    format!("{name} {:-<10}  ", "#".repeat(marks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_is_told() {
        let ann = PeerTag(1);
        let mut meter = Meter::new(false, false);
        let mut update = |muted, own, level| meter.update(muted, own, [(ann, Some("ann"), level)].into_iter());

        let own = |level| Local::Level { peer: None, level };
        let hers = Local::Level { peer: Some(ann), level: 30 };
        assert_eq!(update(false, 20, 30), [Local::Muted(false), own(20), hers]);
        assert_eq!(update(false, 20, 30), []);
        assert_eq!(update(true, 127, 30), [Local::Muted(true), own(127)]);
    }

    #[test]
    fn a_bar_is_as_long_as_the_voice_is_loud() {
        assert_eq!(bar("ann", 0), "ann ##########  ");
        assert_eq!(bar("ann", 30), "ann #####-----  ");
        assert_eq!(bar("ann", 127), "ann ----------  ");
    }
}
