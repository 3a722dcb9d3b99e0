//! What the talks at this puncher tell of voices, and what they say to what was asked of them.

use std::collections::{BTreeMap, VecDeque};

use wire::{
    PeerTag,
    local::{Ask, Local, Status, VoiceState, Volume},
};

use crate::room::Entry;

/// So many questions may be without an answer; of more the oldest are forgotten.
const MOST_ASKED: usize = 16;

/// Voices, as far as they are known.
#[derive(Debug, Default)]
pub(crate) struct Voices {
    own: VoiceState,
    others: BTreeMap<PeerTag, VoiceState>,
    /// Whether there is a talk that knows of voices.
    is_told: bool,
    asked: VecDeque<(u64, Asked)>,
}

/// What was asked for, as far as its answer is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asked {
    Status,
    Switch,
    Volume(PeerTag),
}

impl Voices {
    /// Follows a question that is about to be sent.
    pub(crate) fn ask(&mut self, id: u64, what: &Ask) {
        let asked = match what {
            Ask::Status => Asked::Status,
            Ask::Volume { peer, .. } => Asked::Volume(*peer),
            _ => Asked::Switch,
        };
        self.asked.push_back((id, asked));
        if self.asked.len() > MOST_ASKED {
            self.asked.pop_front();
        }
    }

    /// Takes what another program here says; gives what is to be shown.
    pub(crate) fn handle(&mut self, local: Local, name: impl Fn(PeerTag) -> Option<String>) -> Vec<Entry> {
        match local {
            Local::Voice { peer, state } => self.note(peer, state, name).into_iter().collect(),
            Local::Asked { id, talks: 0 } => match self.take(id) {
                Some(Asked::Switch | Asked::Volume(_)) => {
                    vec![Entry::NotDone { why: "nobody talks here: start with: audio-pipe talk".into() }]
                }
                _ => Vec::new(),
            },
            Local::Answer { id, answer } => match (self.take(id), answer) {
                (Some(asked), Ok(status)) => self.compare(asked, &status, name),
                (Some(_), Err(refusal)) => vec![Entry::NotDone { why: refusal.why }],
                (None, _) => Vec::new(),
            },
            Local::Ended => {
                *self = Self { asked: std::mem::take(&mut self.asked), ..Self::default() };
                Vec::new()
            }
            Local::Ask { .. } | Local::Asked { .. } | Local::Level { .. } => Vec::new(),
        }
    }

    /// Forgets who has left.
    pub(crate) fn leave(&mut self, tag: PeerTag) {
        self.others.remove(&tag);
    }

    /// What is known of somebody's voice; nothing without a talk.
    pub(crate) fn of(&self, tag: PeerTag) -> Option<VoiceState> {
        self.is_told.then(|| self.others.get(&tag).copied().unwrap_or_default())
    }

    fn take(&mut self, id: u64) -> Option<Asked> {
        let index = self.asked.iter().position(|(asked, _)| *asked == id)?;
        self.asked.remove(index).map(|(_, asked)| asked)
    }

    fn note(
        &mut self,
        peer: Option<PeerTag>,
        state: VoiceState,
        name: impl Fn(PeerTag) -> Option<String>,
    ) -> Option<Entry> {
        self.is_told = true;
        let (known, name) = match peer {
            None => (&mut self.own, None),
            // A talk may know of somebody a moment longer than puncher does.
            Some(tag) => {
                let name = name(tag)?;
                (self.others.entry(tag).or_default(), Some(name))
            }
        };
        let before = std::mem::replace(known, state);
        (before != state).then_some(Entry::Voice { name, before, state })
    }

    fn compare(&mut self, asked: Asked, status: &Status, name: impl Fn(PeerTag) -> Option<String>) -> Vec<Entry> {
        let mut entries: Vec<_> = self.note(None, status.own, &name).into_iter().collect();
        for speaker in &status.speakers {
            entries.extend(self.note(Some(speaker.tag), speaker.state, &name));
            if asked == Asked::Volume(speaker.tag) {
                let volume = if speaker.is_off { Volume::Off } else { Volume::Db(speaker.volume_db) };
                entries.push(Entry::Volume { name: speaker.name.clone(), volume });
            }
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use wire::local::Refusal;

    use super::*;

    const BOB: PeerTag = PeerTag(1);
    const MUTED: VoiceState = VoiceState { muted: true, deafened: false, recording: false, talking: false };

    fn handle(voices: &mut Voices, local: Local) -> Vec<Entry> {
        voices.handle(local, |tag| (tag == BOB).then(|| "bob".to_owned()))
    }

    #[test]
    fn a_change_is_shown_once_and_strangers_are_not() {
        let mut voices = Voices::default();
        assert_eq!(voices.of(BOB), None);
        let muted = Local::Voice { peer: Some(BOB), state: MUTED };
        let shown = Entry::Voice { name: Some("bob".into()), before: VoiceState::default(), state: MUTED };
        assert_eq!(handle(&mut voices, muted.clone()), [shown]);
        assert_eq!(handle(&mut voices, muted), []);
        assert_eq!(handle(&mut voices, Local::Voice { peer: Some(PeerTag(9)), state: MUTED }), []);
        assert_eq!((voices.of(BOB), voices.of(PeerTag(9))), (Some(MUTED), Some(VoiceState::default())));
        handle(&mut voices, Local::Ended);
        assert_eq!(voices.of(BOB), None);
    }

    #[test]
    fn what_is_not_done_is_said_and_what_others_asked_is_not() {
        let mut voices = Voices::default();
        let refused = |id| Local::Answer { id, answer: Err(Refusal { why: "no".into(), exit: 64 }) };
        voices.ask(1, &Ask::Mute(None));
        voices.ask(2, &Ask::Deafen(None));
        voices.ask(3, &Ask::Status);
        assert_eq!(handle(&mut voices, refused(7)), []);
        assert_eq!(handle(&mut voices, refused(1)), [Entry::NotDone { why: "no".into() }]);
        assert!(matches!(handle(&mut voices, Local::Asked { id: 2, talks: 0 })[..], [Entry::NotDone { .. }]));
        assert_eq!(handle(&mut voices, Local::Asked { id: 3, talks: 0 }), []);
        (0..100).for_each(|id| voices.ask(id, &Ask::Status));
        assert_eq!(voices.asked.len(), MOST_ASKED);
    }
}
