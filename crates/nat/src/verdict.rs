//! From observations to the words of RFC 4787.

use std::net::SocketAddr;

use wire::nat::{Mapping, Ports, Seen};

/// As many ports may lie between the first and the last of a sequence.
const SEQUENCE_SPAN: u16 = 64;
/// Two ports that are so near each other are taken for a sequence.
const PAIR_SPAN: u16 = 8;
/// So many steps may lie between the first and the last of three.
const FEW_STEPS: u16 = 8;
/// The largest block of ports that is worth to be called one.
const LARGEST_BLOCK: u32 = 4096;

/// One observation, with when the router was made to choose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sample {
    /// Who looked, and where it saw the socket.
    pub seen: Seen,
    /// The samples' order.
    pub order: usize,
}

/// On what the external port depends; `None` if fewer than two places have looked. Where the places differ in address
/// and port at once, the stricter is taken.
pub(crate) fn mapping(seen: &[Seen]) -> Option<Mapping> {
    let first = seen.first()?;
    if seen.len() < 2 {
        return None;
    }
    if seen.iter().all(|sample| sample.at == first.at) {
        return Some(Mapping::Eim);
    }
    let neighbours = || {
        let pairs = seen.iter().enumerate().flat_map(|(i, a)| seen[i + 1..].iter().map(move |b| (a, b)));
        pairs.filter(|(a, b)| a.by.ip() == b.by.ip())
    };
    let depends_on_address_alone = neighbours().count() > 0 && neighbours().all(|(a, b)| a.at == b.at);
    Some(if depends_on_address_alone { Mapping::Adm } else { Mapping::Apdm })
}

/// How the router chooses external ports; `None` if nobody has looked.
pub(crate) fn ports(seen: &[Seen], local_port: u16, mapping: Option<Mapping>) -> Option<Ports> {
    let mut chosen: Vec<u16> = seen.iter().map(|sample| sample.at.port()).collect();
    chosen.dedup();
    let (least, most) = (*chosen.iter().min()?, *chosen.iter().max()?);
    if chosen.iter().all(|port| *port == local_port) {
        return Some(Ports::Preserving);
    }
    if mapping == Some(Mapping::Eim) || chosen.len() < 2 {
        return Some(Ports::Random);
    }
    let step = step(&chosen);
    if most - least <= SEQUENCE_SPAN && is_sequence(&chosen, (most - least) / step.unsigned_abs()) {
        return Some(Ports::Sequential { step });
    }
    let size = 1u32 << (16 - (least ^ most).leading_zeros());
    Some(match u16::try_from(size) {
        Ok(size) if u32::from(size) <= LARGEST_BLOCK => Ports::Block { first: least & !(size - 1), size },
        _ => Ports::Random,
    })
}

/// Whether ports that are so many steps from each other are a sequence and not a few of a block, three of which are within 64 by
/// chance in one case of twenty. Others behind the same router take some ports, too, and datagrams overtake each other, but
/// seldom both.
fn is_sequence(chosen: &[u16], steps: u16) -> bool {
    let is_in_order = chosen.is_sorted() || chosen.is_sorted_by(|one, next| one >= next);
    match chosen.len() {
        2 => chosen[0].abs_diff(chosen[1]) <= PAIR_SPAN,
        3 if is_in_order => steps <= FEW_STEPS,
        _ => is_in_order || usize::from(steps) <= chosen.len(),
    }
}

/// The greatest step that leads to all of the ports, downwards if most of them go that way. The order of sending decides
/// only that, for datagrams overtake each other.
fn step(chosen: &[u16]) -> i16 {
    let mut sorted = chosen.to_vec();
    sorted.sort_unstable();
    let step = sorted.windows(2).map(|two| two[1] - two[0]).fold(0, gcd);
    let falls = chosen.windows(2).filter(|two| two[1] < two[0]).count();
    let step = i16::try_from(step).unwrap_or(1).max(1);
    if falls * 2 > chosen.len() - 1 { -step } else { step }
}

fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Whether an address is one that somebody else could answer from.
pub(crate) fn is_addressable(addr: SocketAddr) -> bool {
    let ip = addr.ip();
    let is_broadcast = matches!(ip, std::net::IpAddr::V4(ip) if ip.is_broadcast());
    addr.port() != 0 && !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || is_broadcast)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: u16 = 5000;

    /// Seen at these ports by four ports of one address, then by two of another.
    fn seen(ports: &[u16]) -> Vec<Seen> {
        let by = ["198.51.100.1:1", "198.51.100.1:2", "198.51.100.1:3", "198.51.100.1:4", "192.0.2.1:1", "192.0.2.1:2"];
        let at = |port| SocketAddr::from(([203, 0, 113, 7], port));
        ports.iter().zip(by).map(|(port, by)| Seen { by: by.parse().unwrap(), at: at(*port) }).collect()
    }

    #[test]
    fn mapping_table() {
        for (ports, expected) in [
            (&[][..], None),
            (&[7], None),
            (&[7, 7], Some(Mapping::Eim)),
            (&[7, 7, 7, 7, 7, 7], Some(Mapping::Eim)),
            (&[7, 8], Some(Mapping::Apdm)),
            (&[7, 7, 7, 8], Some(Mapping::Apdm)),
            (&[7, 7, 7, 7, 9, 9], Some(Mapping::Adm)),
            (&[7, 7, 7, 7, 9, 10], Some(Mapping::Apdm)),
        ] {
            assert_eq!(mapping(&seen(ports)), expected, "{ports:?}");
        }
    }

    #[test]
    fn two_places_that_differ_in_everything_are_taken_for_the_stricter() {
        let seen = seen(&[7, 7, 7, 7, 9]);
        assert_eq!(mapping(&[seen[0], seen[4]]), Some(Mapping::Apdm));
    }

    #[test]
    fn ports_table() {
        let block = |first, size| Some(Ports::Block { first, size });
        let sequence = |step| Some(Ports::Sequential { step });
        for (ports, expected) in [
            (&[][..], None),
            (&[LOCAL; 4], Some(Ports::Preserving)),
            (&[40_000; 4], Some(Ports::Random)),
            (&[40_000, 40_001, 40_002, 40_003], sequence(1)),
            (&[40_000, 40_003, 40_006, 40_009], sequence(3)),
            (&[40_000, 40_003, 40_012, 40_009], sequence(3)), // two overtaken, one lost
            (&[40_009, 40_006, 40_003, 40_000], sequence(-3)),
            (&[40_002, 40_001, 40_000, 40_003], sequence(-1)),
            (&[40_000, 40_008], sequence(8)),
            (&[40_960, 40_969], block(40_960, 16)), // two ports say little
            (&[26_077, 26_083, 26_047], block(25_984, 128)), // near each other by chance
            (&[40_000, 40_002, 40_007, 40_008], sequence(1)),
            (&[34_912, 34_913, 34_914, 34_923], sequence(1)), // the last one was asked later
            (&[40_960, 41_400, 41_100, 41_471], block(40_960, 512)),
            (&[40_960, 41_400, 41_100, 45_055], block(40_960, 4096)),
            (&[40_960, 41_400, 41_100, 45_056], Some(Ports::Random)),
            (&[1024, 65_535, 3, 30_000], Some(Ports::Random)),
        ] {
            let seen = seen(ports);
            assert_eq!(super::ports(&seen, LOCAL, mapping(&seen)), expected, "{ports:?}");
        }
    }

    #[test]
    fn a_block_spans_what_was_seen_and_nothing_foreign() {
        let ports = [40_000, 40_511, 40_300, 40_200];
        let seen = seen(&ports);
        let Some(Ports::Block { first, size }) = super::ports(&seen, LOCAL, mapping(&seen)) else { panic!("a block") };
        assert!(size.is_power_of_two() && first.is_multiple_of(size));
        assert!(ports.iter().all(|port| (first..first + size).contains(port)));
    }
}
