//! Everything that is kept of one who takes part.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use wire::agent::{Path, PeerStatus};

use crate::point::{Counts, Point, halve};

/// So many events of one are kept, at most; the oldest go first.
const MOST_EVENTS: usize = 200;

/// What happened, and when.
#[derive(Debug, Default)]
pub(crate) struct Events {
    pub(crate) kept: VecDeque<(Duration, String)>,
    pub(crate) dropped: u64,
}

impl Events {
    pub(crate) fn note(&mut self, at: Duration, what: String) {
        if self.kept.len() == MOST_EVENTS {
            self.kept.pop_front();
            self.dropped += 1;
        }
        self.kept.push_back((at, what));
    }
}

/// How packets go: path, address, and who carries them.
pub(crate) type Route = (Path, Option<SocketAddr>, Option<String>);

#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) is_there: bool,
    pub(crate) route: Route,
    /// The last that there was, for a summary: at the end every path goes.
    pub(crate) last_route: Option<Route>,
    pub(crate) rtt_ms: Option<f64>,
    pub(crate) points: Vec<Point>,
    pub(crate) events: Events,
    /// What was counted up to the last look.
    counted: Counts,
    is_muted: bool,
    is_deafened: bool,
    is_recording: bool,
}

impl Person {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            is_there: false,
            route: (Path::None, None, None),
            last_route: None,
            rtt_ms: None,
            points: Vec::new(),
            events: Events::default(),
            counted: Counts::default(),
            is_muted: false,
            is_deafened: false,
            is_recording: false,
        }
    }

    /// Learns how its packets go.
    pub(crate) fn update(&mut self, status: &PeerStatus, at: Duration) {
        if !self.is_there {
            self.is_there = true;
            self.counted = Counts::default();
            self.events.note(at, "is there".to_owned());
        }
        if self.name != status.name {
            self.events.note(at, format!("is called {}, no longer {}", status.name, self.name));
            self.name.clone_from(&status.name);
        }
        self.rtt_ms = status.rtt_us.map(|us| f64::from(us) / 1000.0).or(self.rtt_ms);
        let route = (status.path, status.addr, status.via.clone());
        if route != self.route {
            if status.path != self.route.0 {
                // What was measured on another path says nothing of this one.
                self.rtt_ms = status.rtt_us.map(|us| f64::from(us) / 1000.0);
            }
            self.events.note(at, words(&route));
            if status.path != Path::None {
                self.last_route = Some(route.clone());
            }
            self.route = route;
        }
    }

    pub(crate) fn leave(&mut self, why: &str, at: Duration) {
        self.is_there = false;
        self.route = (Path::None, None, None);
        self.events.note(at, if why.is_empty() { "left".to_owned() } else { format!("left: {why}") });
    }

    /// Learns what the talk shows of it.
    pub(crate) fn hear(&mut self, speaker: &wire::local::Speaker, slot: u32, at: Duration) {
        let figures = &speaker.figures;
        let counted = Counts {
            frames: figures.received.saturating_add(figures.lost),
            lost: figures.lost,
            late: figures.late,
            from_next: figures.from_next,
            from_copy: figures.from_copy,
            deep_ms: figures.deep_ms,
            concealed_ms: figures.concealed_ms,
            played_ms: figures.played_ms,
        };
        let more = counted.since(self.counted);
        self.counted = counted;
        self.change(speaker.state, at);
        let rtt_ms = self.rtt_ms.filter(|_| self.route.0 != Path::None);
        let is_muted = self.is_muted;
        let point = self.point(slot);
        point.counts = point.counts.plus(more);
        point.is_muted = is_muted;
        point.level = point.level.min(speaker.level);
        if let Some(rtt_ms) = rtt_ms {
            point.rtt.note(rtt_ms);
        }
        if more.played_ms > 0 {
            point.waits.note(f64::from(figures.delay_ms));
            point.target.note(f64::from(figures.buffer_ms));
            point.jitter.note(f64::from(figures.jitter_ms));
        }
    }

    /// Learns whether it is muted, deafened, or records.
    pub(crate) fn change(&mut self, state: wire::local::VoiceState, at: Duration) {
        let changes = [
            (&mut self.is_muted, state.muted, "muted", "no longer muted"),
            (&mut self.is_deafened, state.deafened, "hears nobody", "hears again"),
            (&mut self.is_recording, state.recording, "records", "records no longer"),
        ];
        for (was, is, on, off) in changes {
            if *was != is {
                *was = is;
                self.events.note(at, if is { on } else { off }.to_owned());
            }
        }
    }

    pub(crate) fn point(&mut self, slot: u32) -> &mut Point {
        if self.points.last().is_none_or(|point| point.slot != slot) {
            self.points.push(Point::new(slot, self.route.0));
        }
        let last = self.points.len() - 1;
        self.points[last].path = self.route.0;
        &mut self.points[last]
    }

    pub(crate) fn halve(&mut self) {
        halve(&mut self.points);
    }
}

/// A way in words.
pub(crate) fn words((path, addr, via): &Route) -> String {
    let way = match (path, via) {
        (Path::None, _) => "no path".to_owned(),
        (Path::Direct, _) => "direct".to_owned(),
        (Path::Relay, _) => "through the server".to_owned(),
        (Path::Member, Some(via)) => format!("through {via}"),
        (Path::Member, None) => "through another member".to_owned(),
    };
    match addr {
        Some(addr) if *path != Path::None => format!("{way}, {addr}"),
        _ => way,
    }
}
