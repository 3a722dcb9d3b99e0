//! One encoding, sent to each peer with as much redundancy as its path needs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jitter::{Redundancy, Remedy};
use wire::PeerTag;
use wire::agent::Peers;
use wire::voice::Report;

/// The bitrate when a path is full: what the copies would need is not there.
const CONGESTED_BITRATE: u32 = 24_000;
/// For so long after a loss the encoder prepares for another. Where nothing is lost, the bits for that are better spent
/// on the sound: they cost 0.3 of PESQ at 40 kb/s.
const WARY: Duration = Duration::from_secs(10);

/// What every peer says of our voice, and what follows from it.
#[derive(Debug, Default)]
pub struct Receivers {
    peers: BTreeMap<PeerTag, Receiver>,
}

#[derive(Debug, Default)]
struct Receiver {
    redundancy: Redundancy,
    lost_at: Option<Instant>,
}

impl Receiver {
    fn remedy(&self) -> Remedy {
        if self.redundancy.is_congested() { Remedy::None } else { self.redundancy.remedy() }
    }

    fn expected_loss(&self, now: Instant) -> u8 {
        let is_wary = self.lost_at.is_some_and(|at| now.saturating_duration_since(at) < WARY);
        let remedy = self.redundancy.remedy();
        if is_wary || remedy > Remedy::None { remedy.expected_loss() } else { 0 }
    }
}

/// How to send the next frame.
#[derive(Debug, Eq, PartialEq)]
pub struct Plan {
    /// Who gets the frame with which copies.
    pub groups: Vec<(Peers, &'static [u8])>,
    /// What the encoder should expect to be lost, in percent.
    pub expected_loss: u8,
    /// Bits per second, at most.
    pub bitrate: u32,
}

impl Receivers {
    /// A peer is there.
    pub fn join(&mut self, peer: PeerTag) {
        self.peers.entry(peer).or_default();
    }

    /// A peer has left.
    pub fn leave(&mut self, peer: PeerTag) {
        self.peers.remove(&peer);
    }

    /// A peer tells what it sees of our voice.
    pub fn handle_report(&mut self, peer: PeerTag, report: &Report, now: Instant) {
        let receiver = self.peers.entry(peer).or_default();
        receiver.redundancy.handle_report(report, now);
        if report.loss_permille > 0 {
            receiver.lost_at = Some(now);
        }
    }

    /// What to do, if at most `bitrate` is wanted.
    pub fn plan(&self, bitrate: u32, now: Instant) -> Plan {
        let mut groups: BTreeMap<Remedy, Vec<PeerTag>> = BTreeMap::new();
        for (peer, receiver) in &self.peers {
            groups.entry(receiver.remedy()).or_default().push(*peer);
        }
        let is_congested = self.peers.values().any(|receiver| receiver.redundancy.is_congested());
        let alike = groups.len() < 2;
        let groups: Vec<_> = groups
            .into_iter()
            .map(|(remedy, peers)| (if alike { Peers::All } else { Peers::Some(peers) }, remedy.copies()))
            .collect();
        Plan {
            // Whoever is there without our knowing it is meant as well.
            groups: if groups.is_empty() { vec![(Peers::All, Remedy::None.copies())] } else { groups },
            expected_loss: self.peers.values().map(|receiver| receiver.expected_loss(now)).max().unwrap_or(0),
            bitrate: if is_congested { bitrate.min(CONGESTED_BITRATE) } else { bitrate },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any start of the virtual time will do")]
    fn start() -> Instant {
        Instant::now()
    }

    const BITRATE: u32 = 40_000;

    #[test]
    fn one_packet_is_for_all_unless_they_differ() {
        let (mut receivers, now) = (Receivers::default(), start());
        assert_eq!(receivers.plan(BITRATE, now).groups, [(Peers::All, Remedy::None.copies())]);
        receivers.join(PeerTag(1));
        receivers.join(PeerTag(2));
        let plan = Plan { groups: vec![(Peers::All, &[])], expected_loss: 0, bitrate: BITRATE };
        assert_eq!(receivers.plan(BITRATE, now), plan);
    }

    #[test]
    fn who_loses_packets_gets_copies_and_nobody_else() {
        let (mut receivers, mut now) = (Receivers::default(), start());
        receivers.join(PeerTag(1));
        let lossy = Report { loss_permille: 120, burst_tenths: 15, ..Report::default() };
        for n in 0..50 {
            receivers.handle_report(PeerTag(2), &Report { highest: n * 20, ..lossy }, now);
            now += Duration::from_millis(200);
        }

        let plan = receivers.plan(BITRATE, now);

        assert_eq!(plan.groups.len(), 2, "{plan:?}");
        assert_eq!(plan.groups[0], (Peers::Some(vec![PeerTag(1)]), Remedy::None.copies()));
        assert!(!plan.groups[1].1.is_empty() && plan.expected_loss == 0, "{plan:?}");
        receivers.leave(PeerTag(2));
        assert_eq!(receivers.plan(BITRATE, now).groups, [(Peers::All, Remedy::None.copies())]);
    }

    #[test]
    fn the_encoder_prepares_for_loss_only_where_there_was_some() {
        let (mut receivers, now) = (Receivers::default(), start());
        receivers.handle_report(PeerTag(1), &Report { loss_permille: 5, ..Report::default() }, now);
        assert_eq!(receivers.plan(BITRATE, now).expected_loss, 5);
        assert_eq!(receivers.plan(BITRATE, now + WARY).expected_loss, 0);
    }
}
