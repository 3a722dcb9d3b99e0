//! One encoding, sent to each peer with as much redundancy as its path needs.

use std::collections::BTreeMap;
use std::time::Instant;

use jitter::{Redundancy, Remedy};
use wire::PeerTag;
use wire::agent::Peers;
use wire::voice::Report;

/// The bitrate when a path is full: what the copies would need is not there.
const CONGESTED_BITRATE: u32 = 24_000;

/// What every peer says of our voice, and what follows from it.
#[derive(Default)]
pub(crate) struct Receivers {
    peers: BTreeMap<PeerTag, Redundancy>,
}

/// How to send the next frame.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Plan {
    /// Who gets the frame with which copies.
    pub(crate) groups: Vec<(Peers, &'static [u8])>,
    /// What the encoder should expect to be lost, in percent.
    pub(crate) expected_loss: u8,
    /// Bits per second, at most.
    pub(crate) bitrate: u32,
}

impl Receivers {
    /// A peer is there.
    pub(crate) fn join(&mut self, peer: PeerTag) {
        self.peers.entry(peer).or_default();
    }

    /// A peer has left.
    pub(crate) fn leave(&mut self, peer: PeerTag) {
        self.peers.remove(&peer);
    }

    /// A peer tells what it sees of our voice.
    pub(crate) fn handle_report(&mut self, peer: PeerTag, report: &Report, now: Instant) {
        self.peers.entry(peer).or_default().handle_report(report, now);
    }

    /// What to do, if at most `bitrate` is wanted.
    pub(crate) fn plan(&self, bitrate: u32) -> Plan {
        let remedy = |receiver: &Redundancy| if receiver.is_congested() { Remedy::None } else { receiver.remedy() };
        let mut groups: BTreeMap<Remedy, Vec<PeerTag>> = BTreeMap::new();
        for (peer, receiver) in &self.peers {
            groups.entry(remedy(receiver)).or_default().push(*peer);
        }
        let expected_loss = self.peers.values().map(|receiver| receiver.remedy().expected_loss()).max();
        let is_congested = self.peers.values().any(Redundancy::is_congested);
        let alike = groups.len() < 2;
        let groups = groups
            .into_iter()
            .map(|(remedy, peers)| (if alike { Peers::All } else { Peers::Some(peers) }, remedy.copies()))
            .collect::<Vec<_>>();
        Plan {
            // Whoever is there without our knowing it is meant as well.
            groups: if groups.is_empty() { vec![(Peers::All, Remedy::None.copies())] } else { groups },
            expected_loss: expected_loss.unwrap_or(Remedy::None.expected_loss()),
            bitrate: if is_congested { bitrate.min(CONGESTED_BITRATE) } else { bitrate },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_packet_is_for_all_unless_they_differ() {
        let mut receivers = Receivers::default();
        assert_eq!(receivers.plan(40_000).groups, [(Peers::All, Remedy::None.copies())]);
        receivers.join(PeerTag(1));
        receivers.join(PeerTag(2));
        assert_eq!(receivers.plan(40_000), Plan { groups: vec![(Peers::All, &[])], expected_loss: 5, bitrate: 40_000 });
    }

    #[test]
    fn who_loses_packets_gets_copies_and_nobody_else() {
        let mut receivers = Receivers::default();
        receivers.join(PeerTag(1));
        let mut now = Instant::now();
        let lossy = Report { loss_permille: 120, burst_tenths: 15, ..Report::default() };
        for n in 0..50 {
            let report = Report { highest: n * 20, ..lossy };
            receivers.handle_report(PeerTag(2), &report, now);
            now += std::time::Duration::from_millis(200);
        }

        let plan = receivers.plan(40_000);

        assert_eq!(plan.groups.len(), 2, "{plan:?}");
        assert_eq!(plan.groups[0], (Peers::Some(vec![PeerTag(1)]), Remedy::None.copies()));
        assert!(!plan.groups[1].1.is_empty() && plan.expected_loss > 5, "{plan:?}");
        receivers.leave(PeerTag(2));
        assert_eq!(receivers.plan(40_000).groups, [(Peers::All, Remedy::None.copies())]);
    }
}
