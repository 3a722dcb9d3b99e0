//! What is known of this member's place in the network before any check has come back.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    path::Path,
    schedule::{FAR, VOLLEY, VOLLEY_ASIDE, VOLLEY_ELSEWHERE, VOLLEY_FAR, has_crossed},
};

/// Round trips after which there is an answer, or something was lost.
const PATIENCE: f64 = 1.15;
/// Bits of an IPv6 address that say which network it is in.
const V6_NETWORK: u32 = 64;

/// How far away peers are expected to be, and where their neighbours are seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Surroundings {
    /// How long an answer takes, if it takes as long as one of the rendezvous.
    pub(crate) round_trip: Option<Duration>,
    /// Where this member itself is seen from outside, by IPv4 and by IPv6.
    seen: [Option<IpAddr>; 2],
}

impl Surroundings {
    /// The plan for an address that may be it.
    pub(crate) fn volley(&self) -> &'static [Duration] {
        if self.round_trip.is_some_and(|rtt| rtt >= FAR) { VOLLEY_FAR } else { VOLLEY }
    }

    /// Takes over where this member is seen: the first address of each family.
    pub(crate) fn note_seen(&mut self, seen: &[IpAddr]) {
        let first = |is_v4| seen.iter().map(IpAddr::to_canonical).find(|ip| ip.is_ipv4() == is_v4);
        self.seen = [first(true), first(false)];
    }

    /// The plan for a private address of a peer that is seen at other addresses, too.
    pub(crate) fn volley_aside(&self, seen: impl Iterator<Item = IpAddr>) -> &'static [Duration] {
        let own = |peer: &IpAddr| self.seen[usize::from(peer.is_ipv6())];
        let mut compared = seen.filter_map(|peer| Some((own(&peer.to_canonical())?, peer.to_canonical()))).peekable();
        let is_elsewhere = compared.peek().is_some() && !compared.any(|(own, peer)| are_one(own, peer));
        if is_elsewhere { VOLLEY_ELSEWHERE } else { VOLLEY_ASIDE }
    }

    /// When a ping to an address will have been answered, because one that has just come from there was on its way at the same
    /// time. A peer that is much nearer than expected has the shorter time between the two, and gets another ping.
    pub(crate) fn answered_by(&self, path: &Path, now: Instant) -> Option<Instant> {
        let round_trip = self.round_trip?;
        let crossed = path.asked().find(|at| has_crossed(now.saturating_duration_since(*at), round_trip));
        crossed.map(|at| at + round_trip.mul_f64(PATIENCE))
    }
}

/// Whether these are seen at one place: one address, or one network of IPv6.
fn are_one(left: IpAddr, right: IpAddr) -> bool {
    match (left, right) {
        (IpAddr::V6(left), IpAddr::V6(right)) => (left.to_bits() ^ right.to_bits()).leading_zeros() >= V6_NETWORK,
        (left, right) => left == right,
    }
}

#[cfg(test)]
mod tests {
    use wire::signal::CandidateKind;

    use super::*;
    use crate::Way;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn private_addresses_of_a_peer_that_is_seen_elsewhere_are_tried_later() {
        let plan = |own: &[&str], peer: &[&str]| {
            let mut here = Surroundings::default();
            here.note_seen(&own.iter().copied().map(ip).collect::<Vec<_>>());
            here.volley_aside(peer.iter().copied().map(ip))
        };
        let (v4, v6) = ("203.0.113.1", "2001:db8:0:1::1");
        for (own, peer) in [
            (&[v4][..], &["203.0.113.2"][..]),
            (&[v6], &["2001:db8:0:2::1"]),
            (&[v6, v4], &["203.0.113.2"]),
            (&[v4], &["203.0.113.2", v6]),
        ] {
            assert_eq!(plan(own, peer), VOLLEY_ELSEWHERE, "{own:?} {peer:?}");
        }
        for (own, peer) in [
            (&[][..], &[v4][..]),
            (&[v4], &[v4]),
            (&[v4], &["::ffff:203.0.113.1"]),
            (&[v6], &["2001:db8:0:1::2"]),
            (&[v4], &["203.0.113.2", v4]),
            (&[v6], &[v4]),
        ] {
            assert_eq!(plan(own, peer), VOLLEY_ASIDE, "{own:?} {peer:?}");
        }
    }

    #[test]
    fn an_answer_is_on_its_way_if_the_pings_have_crossed_about_half_a_round_trip_after_they_left() {
        let (start, ms) = (netsim::epoch(), Duration::from_millis);
        let mut path = Path::new(Way::to("203.0.113.7:9".parse().expect("an address")), CandidateKind::ServerReflexive);
        let far = Surroundings { round_trip: Some(ms(100)), ..Surroundings::default() };
        let answered_by = |path: &Path, after| far.answered_by(path, start + ms(after)).map(|at| at - start);
        assert_eq!(answered_by(&path, 50), None, "nothing was asked");
        path.note_ping(1, start);
        for (after, expected) in [(10, false), (34, false), (50, true), (79, true), (80, false), (150, false)] {
            assert_eq!(answered_by(&path, after), expected.then_some(ms(115)), "{after} ms");
        }
        path.note_ping(2, start + ms(40));
        assert_eq!(answered_by(&path, 50), Some(ms(115)), "the first one");
        assert_eq!(answered_by(&path, 90), Some(ms(155)), "the second one");
        assert_eq!(Surroundings::default().answered_by(&path, start + ms(50)), None, "nothing is expected");
    }
}
