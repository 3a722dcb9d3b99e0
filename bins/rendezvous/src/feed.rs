//! What happened lately, for any number of subscribers: each keeps its own place, and nothing is queued per subscriber.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use registry::{ChannelName, Event, What};
use serde::Serialize;
use tokio::sync::watch;
use wire::signal::{ChannelKind, LeaveReason};

/// How many events a subscriber may miss and still get.
const KEPT: usize = 1024;

/// The last events, numbered.
pub(crate) struct Feed {
    /// Tells this run's numbers from those of a run before.
    run: String,
    kept: Mutex<VecDeque<Arc<Entry>>>,
    latest: watch::Sender<u64>,
}

/// One event as it goes to subscribers.
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) channel: ChannelName,
    pub(crate) kind: &'static str,
    pub(crate) data: String,
}

/// Events between the subscriber's place and the oldest kept one are gone.
pub(crate) struct Missed;

impl Feed {
    pub(crate) fn new(run: u64) -> Self {
        Self { run: format!("{run:016x}"), kept: Mutex::default(), latest: watch::Sender::new(0) }
    }

    pub(crate) fn push(&self, event: &Event) {
        let number = *self.latest.borrow() + 1;
        let said = Said::from(event);
        let data = serde_json::to_string(&said).unwrap_or_default();
        let entry = Entry { number, channel: event.channel.clone(), kind: said.kind, data };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(Arc::new(entry));
        if kept.len() > KEPT {
            kept.pop_front();
        }
        drop(kept);
        self.latest.send_replace(number);
    }

    /// Tells when there is more.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }

    pub(crate) fn latest(&self) -> u64 {
        *self.latest.borrow()
    }

    /// The events after that number.
    pub(crate) fn after(&self, number: u64) -> Result<Vec<Arc<Entry>>, Missed> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.front() {
            Some(oldest) if oldest.number > number + 1 => Err(Missed),
            _ => Ok(kept.iter().filter(|entry| entry.number > number).cloned().collect()),
        }
    }

    /// How subscribers name an event.
    pub(crate) fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }

    /// The number in an id of this run.
    pub(crate) fn number(&self, id: &str) -> Option<u64> {
        let (run, number) = id.rsplit_once('-')?;
        let number = number.parse().ok()?;
        (run == self.run && number <= self.latest()).then_some(number)
    }
}

#[derive(Serialize)]
struct Said<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    channel: &'a str,
    #[serde(rename = "kind")]
    channel_kind: ChannelKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<LeaveReason>,
}

impl<'a> From<&'a Event> for Said<'a> {
    fn from(event: &'a Event) -> Self {
        let (kind, name, members, why) = match &event.what {
            What::Created => ("created", None, None, None),
            What::Deleted => ("deleted", None, None, None),
            What::Joined { name, members } => ("joined", Some(&**name), Some(*members), None),
            What::Left { name, members, why } => ("left", Some(&**name), Some(*members), Some(*why)),
        };
        // Who is in a channel with a secret is not everybody's business.
        let name = name.filter(|_| event.kind == ChannelKind::Open);
        Said { kind, channel: event.channel.as_str(), channel_kind: event.kind, name, members, why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(name: &str, kind: ChannelKind) -> Event {
        let channel = ChannelName::parse("den").unwrap();
        Event { channel, kind, what: What::Joined { name: name.into(), members: 2 } }
    }

    #[test]
    fn a_subscriber_gets_what_it_missed_or_is_told_that_it_is_gone() {
        let feed = Feed::new(7);
        for _ in 0..KEPT {
            feed.push(&joined("alice", ChannelKind::Open));
        }
        assert!(feed.after(0).is_ok_and(|entries| entries.len() == KEPT));
        feed.push(&joined("bob", ChannelKind::Open));
        assert!(feed.after(0).is_err());
        let entries = feed.after(KEPT as u64).unwrap_or_default();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].data, r#"{"type":"joined","channel":"den","kind":"open","name":"bob","members":2}"#);
    }

    #[test]
    fn an_id_of_another_run_or_of_the_future_is_not_ours() {
        let feed = Feed::new(7);
        feed.push(&joined("alice", ChannelKind::Open));
        assert_eq!(feed.number(&feed.id(1)), Some(1));
        assert_eq!(feed.number(&feed.id(2)), None);
        assert_eq!(feed.number(&Feed::new(8).id(1)), None);
        assert_eq!(feed.number("nonsense"), None);
    }

    #[test]
    fn names_in_channels_with_a_secret_are_not_told() {
        let feed = Feed::new(7);
        feed.push(&joined("alice", ChannelKind::Invite));
        let entries = feed.after(0).unwrap_or_default();
        assert_eq!(entries[0].data, r#"{"type":"joined","channel":"den","kind":"invite","members":2}"#);
    }
}
