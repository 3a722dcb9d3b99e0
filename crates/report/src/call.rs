use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use wire::{PeerTag, agent::PeerStatus, local::Status, voice::Report};

use crate::{page, person::Person};

/// Into so many stretches of time a call is divided, at most; then each becomes twice as long.
pub(crate) const MOST_SLOTS: u32 = 600;
/// So many people are kept, at most.
const MOST_PEOPLE: usize = 200;

/// What of a delay does not change while one talks, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stages {
    /// Microphone, frame and encoder.
    pub capture_ms: f64,
    /// Loudspeaker.
    pub playout_ms: f64,
}

/// What a call was like up to this moment.
#[derive(Debug)]
pub struct Call {
    pub(crate) channel: String,
    pub(crate) own: Person,
    pub(crate) stages: Stages,
    pub(crate) began_unix_s: u64,
    start: Instant,
    /// From the start to what was heard of last.
    pub(crate) length: Duration,
    /// How long a stretch is.
    pub(crate) span: Duration,
    /// By the bytes of their keys.
    pub(crate) people: BTreeMap<[u8; 32], Person>,
    tags: BTreeMap<PeerTag, [u8; 32]>,
    /// How many more came than are kept.
    pub(crate) left_out: u64,
}

impl Call {
    /// A call in a channel under a name, that begins at this moment. Names and all other text must be fit to be shown; that it is no
    /// markup is seen to here.
    pub fn new(channel: &str, name: &str, stages: Stages, began_unix_s: u64, now: Instant) -> Self {
        Self {
            channel: channel.to_owned(),
            own: Person::new(name.to_owned()),
            stages,
            began_unix_s,
            start: now,
            length: Duration::ZERO,
            span: Duration::from_secs(1),
            people: BTreeMap::new(),
            tags: BTreeMap::new(),
            left_out: 0,
        }
    }

    /// A peer is there, or something about it changed.
    pub fn handle_peer(&mut self, status: &PeerStatus, now: Instant) {
        let (at, key) = (self.advance(now), status.key.0);
        if !self.people.contains_key(&key) {
            if self.people.len() == MOST_PEOPLE {
                self.left_out += 1;
                return;
            }
            self.people.insert(key, Person::new(status.name.clone()));
        }
        self.tags.retain(|tag, known| *tag == status.tag || *known != key);
        self.tags.insert(status.tag, key);
        if let Some(person) = self.people.get_mut(&key) {
            person.update(status, at);
        }
    }

    /// A peer has left.
    pub fn handle_left(&mut self, tag: PeerTag, why: &str, now: Instant) {
        let at = self.advance(now);
        if let Some(person) = self.tags.remove(&tag).and_then(|key| self.people.get_mut(&key)) {
            person.leave(why, at);
        }
    }

    /// A peer tells what it sees of our voice.
    pub fn handle_report(&mut self, tag: PeerTag, report: &Report, now: Instant) {
        let slot = self.slot(now);
        if let Some(person) = self.tags.get(&tag).and_then(|key| self.people.get_mut(key)) {
            let point = person.point(slot);
            point.their_loss.note(f64::from(report.loss_permille.min(1000)) / 10.0);
            point.their_late.note(f64::from(report.late_permille.min(1000)) / 10.0);
            point.their_concealed_ms += u64::from(report.concealed_ms);
        }
    }

    /// How everybody is heard; to be told several times a second.
    pub fn handle_status(&mut self, status: &Status, now: Instant) {
        let slot = self.slot(now);
        let at = self.length;
        self.own.change(status.own, at);
        let point = self.own.point(slot);
        point.level = point.level.min(status.level);
        point.is_muted = status.own.muted;
        for speaker in &status.speakers {
            if let Some(person) = self.tags.get(&speaker.tag).and_then(|key| self.people.get_mut(key)) {
                person.hear(speaker, slot, at);
            }
        }
    }

    /// The page about it, as HTML.
    pub fn page(&self) -> String {
        page::page(self)
    }

    /// Where a stretch begins, in seconds.
    pub(crate) fn second(&self, slot: u32) -> f64 {
        f64::from(slot) * self.span.as_secs_f64()
    }

    /// Time since the start, which never runs back.
    fn advance(&mut self, now: Instant) -> Duration {
        self.length = self.length.max(now.saturating_duration_since(self.start));
        self.length
    }

    fn slot(&mut self, now: Instant) -> u32 {
        let at = self.advance(now);
        loop {
            let slot = (at.as_secs_f64() / self.span.as_secs_f64()) as u32;
            if slot < MOST_SLOTS {
                return slot;
            }
            self.span *= 2;
            self.people.values_mut().chain([&mut self.own]).for_each(Person::halve);
        }
    }
}
