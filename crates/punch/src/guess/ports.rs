//! Sets of ports in the order in which they are tried; none comes twice.

use std::collections::BTreeSet;

use wire::nat::{Mapping, NatFacts, Ports};

/// Routers give no lower ports to those behind them.
const FIRST: u16 = 1024;
/// So many ports ahead of the last one seen are tried: others behind the same router take some, too.
pub(crate) const AHEAD: i32 = 20;
/// So many behind it: what was seen may have come out of order.
const BEHIND: i32 = 4;

/// Chance that can be repeated (Vigna's SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `count`.
    fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }
}

/// The ports at which a router may have opened, the likeliest first, at most `count`.
pub(crate) fn likely(ports: Ports, last: u16, count: usize, rng: &mut Rng) -> Vec<u16> {
    match ports {
        Ports::Sequential { step } => window(last, step),
        Ports::Block { first, size } => blocks(first, size, count, rng),
        Ports::Preserving | Ports::Random => anywhere(count, rng),
    }
}

/// The next ports of a sequence, nearest first, and a few before, in case it was seen out of order.
pub(crate) fn window(last: u16, step: i16) -> Vec<u16> {
    let ahead = (1..=AHEAD).map(|k| (k, k));
    let behind = (1..=BEHIND).map(|k| (k * 4, -k));
    let mut steps: Vec<_> = ahead.chain(behind).collect();
    steps.sort_by_key(|(rank, _)| *rank);
    steps.into_iter().filter_map(|(_, k)| nth(last, step, k)).collect()
}

/// Where a router that chooses in sequence has put, or will put, what it sends to somebody else than it was seen by: between the
/// ports that were seen, and next to them. Nothing for any other router.
pub fn foreseen(facts: &NatFacts) -> Vec<u16> {
    let Some(Ports::Sequential { step }) = facts.ports.filter(|_| facts.mapping != Some(Mapping::Eim)) else {
        return Vec::new();
    };
    let seen: Vec<_> = facts.seen.iter().map(|seen| seen.at.port()).collect();
    let (Some(least), Some(most)) = (seen.iter().min(), seen.iter().max()) else { return Vec::new() };
    let (first, last) = if step > 0 { (*least, *most) } else { (*most, *least) };
    let gaps = (1..AHEAD).filter_map(|k| nth(first, step, k)).take_while(|port| *port != last);
    let mut ports: Vec<_> = gaps.chain(window(last, step)).filter(|port| !seen.contains(port)).collect();
    let mut known = BTreeSet::new();
    ports.retain(|port| known.insert(*port));
    ports
}

/// The port so many steps after another one.
pub(crate) fn nth(last: u16, step: i16, count: i32) -> Option<u16> {
    let port = i32::from(last) + i32::from(step) * count;
    u16::try_from(port).ok().filter(|port| *port != 0)
}

/// A block in any order; then, because a few observations may all lie in one half of it, the block twice as large, and so on.
fn blocks(first: u16, size: u16, count: usize, rng: &mut Rng) -> Vec<u16> {
    let mut tried = Vec::new();
    let mut size = u32::from(size.max(1)).next_power_of_two();
    let mut known = BTreeSet::new();
    while tried.len() < count && size <= 1 << 16 {
        let start = u32::from(first) & !(size - 1);
        let ports = (start..start + size).filter_map(|port| u16::try_from(port).ok());
        let mut ring: Vec<_> = ports.filter(|port| *port != 0 && known.insert(*port)).collect();
        shuffle(&mut ring, rng);
        tried.extend(ring);
        size *= 2;
    }
    tried.truncate(count);
    tried
}

fn anywhere(count: usize, rng: &mut Rng) -> Vec<u16> {
    let (mut known, mut ports) = (BTreeSet::new(), Vec::new());
    let span = usize::from(u16::MAX - FIRST) + 1;
    while ports.len() < count.min(span / 2) {
        let port = FIRST + rng.below(span) as u16;
        if known.insert(port) {
            ports.push(port);
        }
    }
    ports
}

/// So many ports of a block, in any order.
pub(crate) fn some_of(first: u16, size: u16, count: usize, rng: &mut Rng) -> Vec<u16> {
    let mut ports: Vec<_> = (0..size).filter_map(|offset| first.checked_add(offset)).collect();
    shuffle(&mut ports, rng);
    ports.truncate(count);
    ports
}

/// Fisher and Yates.
fn shuffle(ports: &mut [u16], rng: &mut Rng) {
    for end in (1..ports.len()).rev() {
        ports.swap(end, rng.below(end + 1));
    }
}

#[cfg(test)]
mod tests {
    use wire::nat::Seen;

    use super::*;

    fn is_without_repeats(ports: &[u16]) -> bool {
        ports.iter().collect::<BTreeSet<_>>().len() == ports.len()
    }

    #[test]
    fn no_port_comes_twice_and_none_is_0() {
        for ports in [
            Ports::Random,
            Ports::Block { first: 0, size: 256 },
            Ports::Block { first: 65_024, size: 512 },
            Ports::Sequential { step: 1 },
            Ports::Sequential { step: -3 },
        ] {
            for last in [1, 40_000, u16::MAX] {
                let tried = likely(ports, last, 1024, &mut Rng::new(5));
                assert!(is_without_repeats(&tried) && !tried.contains(&0) && tried.len() <= 1024, "{ports:?} {last}");
            }
        }
    }

    #[test]
    fn a_sequence_is_followed_from_its_last_port_on() {
        assert_eq!(window(40_000, 1)[..5], [40_001, 40_002, 40_003, 40_004, 39_999]);
        assert_eq!(window(40_000, -2)[..2], [39_998, 39_996]);
        assert_eq!(window(65_534, 1)[0], 65_535);
        assert_eq!(window(40_000, 1).len(), (AHEAD + BEHIND) as usize);
    }

    #[test]
    fn what_a_sequence_has_left_out_is_foreseen_first() {
        let seen = |ports: &[u16]| {
            let at = |port: &u16| Seen { by: ([198, 51, 100, 1], 3478).into(), at: ([203, 0, 113, 7], *port).into() };
            ports.iter().map(at).collect()
        };
        let facts = |step, ports: &[u16]| NatFacts {
            mapping: Some(Mapping::Apdm),
            ports: Some(Ports::Sequential { step }),
            seen: seen(ports),
            ..NatFacts::default()
        };
        assert_eq!(foreseen(&facts(1, &[5000, 5001, 5003, 5004]))[..3], [5002, 5005, 5006]);
        assert_eq!(foreseen(&facts(-2, &[5000, 4998, 4994]))[..3], [4996, 4992, 4990]);
        assert!(foreseen(&facts(1, &[5000, 5001])).len() < 40);
        assert!(foreseen(&NatFacts { ports: Some(Ports::Random), ..facts(1, &[5000, 5001]) }).is_empty());
    }

    #[test]
    fn a_block_is_tried_before_what_is_around_it() {
        let tried = likely(Ports::Block { first: 20_480, size: 256 }, 0, 1024, &mut Rng::new(1));
        assert!(tried[..256].iter().all(|port| (20_480..20_736).contains(port)));
        assert!(tried[..512].iter().all(|port| (20_480..20_992).contains(port)));
        assert_eq!(tried.len(), 1024);
        assert!(!tried[..256].is_sorted());
    }

    #[test]
    fn chance_is_spread_evenly_and_follows_from_the_seed() {
        let ports = likely(Ports::Random, 0, 1024, &mut Rng::new(9));
        assert_eq!(ports, likely(Ports::Random, 0, 1024, &mut Rng::new(9)));
        assert_ne!(ports, likely(Ports::Random, 0, 1024, &mut Rng::new(10)));
        let low = ports.iter().filter(|port| **port < FIRST + (u16::MAX - FIRST) / 2).count();
        assert!((450..574).contains(&low), "{low}");
        assert!(ports.iter().all(|port| *port >= FIRST));
    }

    #[test]
    fn some_of_a_block_are_all_of_it() {
        let ports = some_of(1024, 512, 4, &mut Rng::new(2));
        assert!(ports.len() == 4 && is_without_repeats(&ports));
        assert!(ports.iter().all(|port| (1024..1536).contains(port)));
        assert_eq!(some_of(u16::MAX, 512, 4, &mut Rng::new(2)), [u16::MAX]);
    }
}
