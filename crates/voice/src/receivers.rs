//! One encoding, sent to each peer with as much redundancy as its path needs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wire::PeerTag;
use wire::agent::Peers;
use wire::voice::Report;

use crate::{Redundancy, Remedy, Thrift};

/// For so long after a loss the encoder prepares for another. Where nothing is lost, the bits for that are better spent
/// on the sound: they cost 0.3 of PESQ at 40 kb/s.
const WARY: Duration = Duration::from_secs(10);
/// Bits per second of voice that one receiver gets at most, headers of UDP and IP included: with what is sent beside it, less
/// than 15 kB/s.
const MOST_EACH: u32 = 118_000;
/// The same of music, whose usual bitrate has room in it, and once more as a copy: 41 kB/s.
const MOST_EACH_MUSIC: u32 = 330_000;
/// And all of them together: what a relay takes of one member, with something to spare.
const MOST_ALL: u32 = 840_000;
/// What a packet costs beside its sound: 28 bytes of UDP and IP, 29 of the session, 7 of the frame.
const HEADERS: u32 = 64 * 8;
/// And what each copy in it costs.
const COPY: u32 = 4 * 8;
/// The encoder takes more than it is told while somebody speaks: what it is told, in percent of what it may take.
const TOLD: u32 = 93;
/// A bitrate below this sounds better in frames of 20 ms, which halve the headers and are enhanced by the receiver.
const LEAST_SHORT: u32 = 24_000;
/// The same of music: two channels need more bits.
const LEAST_SHORT_MUSIC: u32 = 64_000;
/// From this bitrate on a coarser search finds what sounds nearly as good (PESQ 4.52 of 4.54 at 56 kb/s), in half the time ...
const AMPLE: u32 = 48_000;
const COARSE: u8 = 4;
/// ... where bits are few, a fine one is worth it.
const FINE: u8 = 9;
/// The bitrate is never lower than this.
const LEAST: u32 = 16_000;
/// How far back DRED should tell of.
const DEEP_REACH: Duration = Duration::from_millis(500);

/// What every peer says of our voice, and what follows from it.
#[derive(Debug, Default)]
pub struct Receivers {
    peers: BTreeMap<PeerTag, Receiver>,
    is_music: bool,
}

#[derive(Debug, Default)]
struct Receiver {
    redundancy: Redundancy,
    lost_at: Option<Instant>,
}

impl Receiver {
    /// What is done for it, when everybody gets less by `shared`; no copies if its path is too full for that.
    fn remedy(&self, shared: Thrift) -> Remedy {
        let thrift = self.redundancy.thrift();
        let is_bare = thrift == Thrift::Bare || thrift > shared;
        if is_bare { Remedy::None } else { self.redundancy.remedy() }
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
    /// How to encode it for all of them.
    pub encoding: Encoding,
}

/// What the encoder should do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Encoding {
    /// Bits per second.
    pub bitrate: u32,
    /// Whether two frames of 10 ms go together as one of 20 ms.
    pub is_long: bool,
    /// The effort, 0 to 10.
    pub complexity: u8,
    /// What to expect to be lost, in percent.
    pub expected_loss: u8,
    /// How far back each packet should tell of (DRED).
    pub deep: Duration,
}

impl Receivers {
    /// Those of music: each gets more, and nothing that only helps voices.
    pub fn of_music() -> Self {
        Self { is_music: true, ..Self::default() }
    }

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
        let thrift = self.thrift();
        let mut groups: BTreeMap<Remedy, Vec<PeerTag>> = BTreeMap::new();
        for (peer, receiver) in &self.peers {
            groups.entry(receiver.remedy(thrift)).or_default().push(*peer);
        }
        let strongest = groups.keys().next_back().copied().unwrap_or_default();
        let alike = groups.len() < 2;
        let groups: Vec<_> = groups
            .into_iter()
            .map(|(remedy, peers)| (if alike { Peers::All } else { Peers::Some(peers) }, remedy.copies()))
            .collect();
        Plan {
            // Whoever is there without our knowing it is meant as well.
            groups: if groups.is_empty() { vec![(Peers::All, Remedy::None.copies())] } else { groups },
            encoding: self.encoding(bitrate, strongest, thrift, now),
        }
    }

    /// What more than half of them want less by: then it is our own uplink that is full. One whose own path is full, or who
    /// says so, does not make it worse for all.
    fn thrift(&self) -> Thrift {
        let mut all: Vec<_> = self.peers.values().map(|receiver| receiver.redundancy.thrift()).collect();
        all.sort_unstable();
        all.get(all.len().saturating_sub(1) / 2).copied().unwrap_or_default()
    }

    fn encoding(&self, bitrate: u32, strongest: Remedy, thrift: Thrift, now: Instant) -> Encoding {
        let (most_each, least_short) =
            if self.is_music { (MOST_EACH_MUSIC, LEAST_SHORT_MUSIC) } else { (MOST_EACH, LEAST_SHORT) };
        let each = most_each.min(MOST_ALL / u32::try_from(self.peers.len()).unwrap_or(u32::MAX).max(1));
        let copies = strongest.copies().len() as u32;
        let room = |packets_per_s: u32| {
            each.saturating_sub((HEADERS + copies * COPY) * packets_per_s) / (1 + copies) * TOLD / 100
        };
        let is_long = strongest.is_long() || thrift > Thrift::None || room(100) < least_short;
        let room = room(if is_long { 50 } else { 100 }).max(LEAST).min(self.most_with(thrift));
        // DRED is no part of the copies, so there is room for what it needs.
        let is_deep = !self.is_music
            && strongest == Remedy::Deep
            && thrift == Thrift::None
            && each == MOST_EACH
            && bitrate >= LEAST_SHORT;
        let (deep_bitrate, deep_loss) = codec::Settings::DEEP;
        let expected_loss = self.peers.values().map(|receiver| receiver.expected_loss(now)).max().unwrap_or(0);
        let bitrate = if is_deep { deep_bitrate.max(room) } else { room.min(bitrate) };
        Encoding {
            bitrate,
            is_long,
            complexity: if bitrate >= AMPLE && !self.is_music { COARSE } else { FINE },
            expected_loss: if is_deep { expected_loss.max(deep_loss) } else { expected_loss },
            deep: if is_deep { DEEP_REACH } else { Duration::ZERO },
        }
    }

    /// Bits per second that the encoder gets at most where paths are so full.
    fn most_with(&self, thrift: Thrift) -> u32 {
        match thrift {
            Thrift::Less if self.is_music => 64_000,
            Thrift::Least | Thrift::Bare if self.is_music => 32_000,
            _ => thrift.bitrate(),
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
        let encoding =
            Encoding { bitrate: BITRATE, is_long: false, complexity: FINE, expected_loss: 0, deep: Duration::ZERO };
        assert_eq!(receivers.plan(BITRATE, now), Plan { groups: vec![(Peers::All, &[])], encoding });
    }

    #[test]
    fn who_loses_packets_gets_copies_and_nobody_else() {
        let (mut receivers, mut now) = (Receivers::default(), start());
        receivers.join(PeerTag(1));
        report(&mut receivers, &mut now, 30, 10, 10);

        let plan = receivers.plan(BITRATE, now);

        assert_eq!(plan.groups.len(), 2, "{plan:?}");
        assert_eq!(plan.groups[0], (Peers::Some(vec![PeerTag(1)]), Remedy::None.copies()));
        assert!(!plan.groups[1].1.is_empty() && plan.encoding.expected_loss == 0, "{plan:?}");
        receivers.leave(PeerTag(2));
        assert_eq!(receivers.plan(BITRATE, now).groups, [(Peers::All, Remedy::None.copies())]);
    }

    #[test]
    fn where_bits_are_few_more_effort_is_worth_it() {
        let (receivers, now) = (Receivers::default(), start());
        let complexity = |bitrate| receivers.plan(bitrate, now).encoding.complexity;
        assert_eq!((complexity(AMPLE), complexity(BITRATE)), (COARSE, FINE));
    }

    #[test]
    fn the_encoder_prepares_for_loss_only_where_there_was_some() {
        let (mut receivers, now) = (Receivers::default(), start());
        receivers.handle_report(PeerTag(1), &Report { loss_permille: 5, ..Report::default() }, now);
        assert_eq!(receivers.plan(BITRATE, now).encoding.expected_loss, 5);
        assert_eq!(receivers.plan(BITRATE, now + WARY).encoding.expected_loss, 0);
    }

    #[test]
    fn whatever_is_lost_a_receiver_gets_no_more_than_15_kb_a_second() {
        let table = [(0, 0), (30, 10), (30, 20), (100, 11), (100, 30), (200, 12), (300, 14)];
        for (loss, burst) in table {
            let (mut receivers, mut now) = (Receivers::default(), start());
            report(&mut receivers, &mut now, loss, burst, 10);
            let Plan { groups, encoding } = receivers.plan(510_000, now);
            let packets = if encoding.is_long { 50 } else { 100 };
            let bits = encoding.bitrate * 100 / TOLD * (1 + groups[0].1.len() as u32) + packets * HEADERS;
            assert!(bits <= 120_000, "{loss} permille in gaps of {burst} tenths: {bits} b/s by {encoding:?}");
        }
    }

    #[test]
    fn many_losses_take_long_frames_and_outages_take_deep_redundancy_with_what_that_needs() {
        let (mut receivers, mut now) = (Receivers::default(), start());
        report(&mut receivers, &mut now, 200, 12, 10);
        let encoding = receivers.plan(BITRATE, now).encoding;
        assert!(encoding.is_long && encoding.expected_loss == 10 && encoding.deep.is_zero(), "{encoding:?}");

        report(&mut receivers, &mut now, 100, 100, 10);
        let encoding = receivers.plan(BITRATE, now).encoding;
        let (bitrate, loss) = codec::Settings::DEEP;
        assert!(encoding.bitrate >= bitrate && encoding.expected_loss >= loss, "{encoding:?}");
        assert!(encoding.is_long && encoding.deep == DEEP_REACH, "{encoding:?}");
    }

    #[test]
    fn a_full_path_gets_longer_frames_then_fewer_bits_and_loses_its_copies_last() {
        let (mut receivers, mut now) = (Receivers::default(), start());
        report(&mut receivers, &mut now, 30, 10, 10);
        let mut seen = Vec::new();
        for _ in 0..100 {
            receivers.handle_report(PeerTag(2), &lossy(60, 10, 200), now);
            now += Duration::from_millis(200);
            let Plan { groups, encoding } = receivers.plan(BITRATE, now);
            seen.push((encoding.is_long, encoding.bitrate, !groups[0].1.is_empty()));
        }
        seen.dedup();
        assert_eq!(seen, [(false, 29_574, true), (true, 24_000, true), (true, 16_000, true), (true, 16_000, false)]);
    }

    #[test]
    fn music_has_room_for_a_copy_at_its_usual_bitrate_and_gets_nothing_that_only_helps_voices() {
        const MUSIC: u32 = 128_000;
        let plan = |loss, burst| {
            let (mut receivers, mut now) = (Receivers::of_music(), start());
            report(&mut receivers, &mut now, loss, burst, 10);
            receivers.plan(MUSIC, now)
        };
        let Plan { groups, encoding } = plan(30, 10);
        assert_eq!((groups[0].1, encoding.bitrate, encoding.is_long), (&[2][..], MUSIC, false));
        let Plan { groups, encoding } = plan(200, 12);
        assert!(groups[0].1.len() == 2 && encoding.is_long && encoding.bitrate > 90_000, "{encoding:?}");
        assert!(plan(100, 100).encoding.deep.is_zero());
    }

    #[test]
    fn music_on_a_full_path_gets_fewer_bits_in_longer_frames_and_more_of_them_than_a_voice() {
        let (mut receivers, mut now, mut seen) = (Receivers::of_music(), start(), Vec::new());
        for _ in 0..100 {
            receivers.handle_report(PeerTag(2), &lossy(60, 10, 10 + seen.len() as u16 * 100), now);
            now += Duration::from_millis(200);
            let encoding = receivers.plan(128_000, now).encoding;
            if seen.last() != Some(&(encoding.is_long, encoding.bitrate)) {
                seen.push((encoding.is_long, encoding.bitrate));
            }
        }
        assert_eq!(seen[..3], [(false, 128_000), (true, 64_000), (true, 32_000)], "{seen:?}");
    }

    #[test]
    fn one_full_path_of_three_takes_nothing_from_the_others() {
        let (mut receivers, mut now) = (Receivers::default(), start());
        receivers.join(PeerTag(1));
        receivers.join(PeerTag(3));
        report(&mut receivers, &mut now, 30, 10, 10);
        assert_eq!(receivers.plan(BITRATE, now).groups.len(), 2);

        report(&mut receivers, &mut now, 60, 10, 200);

        let Plan { groups, encoding } = receivers.plan(BITRATE, now);
        assert_eq!((groups, encoding.bitrate, encoding.is_long), (vec![(Peers::All, &[][..])], BITRATE, false));
    }

    #[test]
    fn many_receivers_get_longer_frames_and_fewer_bits() {
        let now = start();
        for (count, is_long, bitrate) in [(1, false, 40_000), (7, false, 40_000), (20, true, LEAST), (60, true, LEAST)]
        {
            let mut receivers = Receivers::default();
            (0..count).for_each(|n| receivers.join(PeerTag(n)));
            let encoding = receivers.plan(BITRATE, now).encoding;
            assert_eq!((encoding.is_long, encoding.bitrate), (is_long, bitrate), "{count} receivers");
        }
    }

    fn lossy(loss_permille: u16, burst_tenths: u16, jitter_ms: u16) -> Report {
        Report { loss_permille, burst_tenths, jitter_ms, ..Report::default() }
    }

    /// For 20 s, the second peer reports the same.
    fn report(receivers: &mut Receivers, now: &mut Instant, loss: u16, burst: u16, jitter_ms: u16) {
        for _ in 0..100 {
            receivers.handle_report(PeerTag(2), &lossy(loss, burst, jitter_ms), *now);
            *now += Duration::from_millis(200);
        }
    }
}
