//! Which pairs of routers can have a direct path, and by which means: what every test of paths is held against.

use std::fmt;

use crate::{Filtering, Mapping, Nat, Ports, Udp};

/// What it takes to get a direct path, easiest first.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Means {
    /// Both send to where the rendezvous sees the other, and answer where packets come from.
    Plain,
    /// One side's next external port follows from the ports that were seen.
    Prediction,
    /// Many sockets on the one side, many ports tried by the other: two of them meet. With 256 sockets and 1024 ports
    /// 98 in 100 attempts succeed.
    Birthday,
    /// Not within any number of packets that a router bears.
    Never,
}

impl Means {
    /// Whether there is a way at all.
    pub fn is_direct(self) -> bool {
        self != Self::Never
    }
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Plain => "plain",
            Self::Prediction => "prediction",
            Self::Birthday => "birthday",
            Self::Never => "never",
        })
    }
}

/// Tells by which means two hosts behind these routers can have a direct path in both directions, each knowing where
/// the rendezvous sees the other.
///
/// It follows from RFC 4787's axes alone. It takes it that neither router is poisoned: where one is, a fresh socket
/// makes it true.
pub fn direct_path_possible(a: impl Into<Nat>, b: impl Into<Nat>) -> Means {
    let (a, b) = (a.into(), b.into());
    if a.udp != Udp::Passes || b.udp != Udp::Passes {
        return Means::Never;
    }
    if a.punches(b) || b.punches(a) {
        return Means::Plain;
    }
    a.by_guessing(b).min(b.by_guessing(a))
}

/// What is known of the external port that a host gets towards a destination it has not sent to before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Guess {
    /// It is the one that the rendezvous sees.
    Known,
    /// It is among the next few.
    Next,
    /// It is one of so many.
    OneOf(u32),
    /// Nothing.
    Any,
}

/// So many pairs of ports that 1024 packets on either side meet with 98 in 100.
const PAIRS: u32 = 512 * 512;

impl Nat {
    /// Whether [`Means::Plain`] is enough.
    pub fn can_punch(self, other: Self) -> bool {
        direct_path_possible(self, other) == Means::Plain
    }

    /// Whether a datagram that we send to where the rendezvous sees `to` arrives, `to` having sent likewise; and so
    /// does the answer.
    fn punches(self, to: Self) -> bool {
        let arrives = match (to.mapping, to.filtering) {
            (_, Filtering::EndpointIndependent) => true,
            (Mapping::EndpointIndependent, Filtering::AddressDependent) => true,
            (Mapping::EndpointIndependent, Filtering::AddressAndPortDependent) => {
                self.mapping == Mapping::EndpointIndependent
            }
            _ => false,
        };
        let is_answered =
            to.mapping == Mapping::EndpointIndependent || self.filtering != Filtering::AddressAndPortDependent;
        arrives && is_answered
    }

    /// What it takes if we send to ports at which `to` has opened a mapping for us.
    fn by_guessing(self, to: Self) -> Means {
        let (own, theirs) = (self.guess(), to.guess());
        let lets_any_port_in = to.filtering != Filtering::AddressAndPortDependent;
        let answers_from_there =
            to.mapping != Mapping::AddressAndPortDependent || self.filtering != Filtering::AddressAndPortDependent;
        if lets_any_port_in && answers_from_there {
            return both(Guess::Known, theirs);
        }
        both(own, theirs)
    }

    fn guess(self) -> Guess {
        match (self.mapping, self.ports) {
            (Mapping::EndpointIndependent, _) => Guess::Known,
            (_, Ports::Sequential { .. }) => Guess::Next,
            (_, Ports::Block { size }) => Guess::OneOf(size.into()),
            (_, Ports::Preserving | Ports::Random) => Guess::Any,
        }
    }
}

/// What it takes to guess both ports of a pair.
fn both(own: Guess, theirs: Guess) -> Means {
    match (own, theirs) {
        (Guess::Any, Guess::Known) | (Guess::Known, Guess::Any) => Means::Birthday,
        (Guess::Any, _) | (_, Guess::Any) => Means::Never,
        (Guess::OneOf(own), Guess::OneOf(theirs)) if own.saturating_mul(theirs) > PAIRS => Means::Never,
        (Guess::OneOf(_), _) | (_, Guess::OneOf(_)) => Means::Birthday,
        (Guess::Known | Guess::Next, Guess::Known | Guess::Next) => Means::Prediction,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn means(a: &str, b: &str) -> Means {
        let kind = |name| Kind::named(name).unwrap();
        let means = direct_path_possible(kind(a), kind(b));
        assert_eq!(means, direct_path_possible(kind(b), kind(a)), "{a} and {b}, whoever is asked first");
        means
    }

    const INDEPENDENT: [&str; 9] = ["open", "fw", "full", "addr", "port", "port-rand", "linux", "linux-open", "cgn"];
    const LENIENT: [&str; 4] = ["open", "full", "addr", "cgn"];
    const STRICT: [&str; 5] = ["fw", "port", "port-rand", "linux", "linux-open"];
    const DEPENDENT: [&str; 5] = ["sym-adm", "sym", "symseq", "block-512", "cgn-sym"];

    #[test]
    fn independent_mappings_meet_by_plain_means() {
        for a in INDEPENDENT {
            assert!(INDEPENDENT.into_iter().all(|b| means(a, b) == Means::Plain), "{a}");
        }
    }

    #[test]
    fn a_dependent_mapping_meets_whoever_lets_any_port_in() {
        for a in DEPENDENT {
            assert!(LENIENT.into_iter().all(|b| means(a, b) == Means::Plain), "{a}");
        }
    }

    #[test]
    fn a_strict_filter_is_met_by_guessing_the_other_port() {
        for strict in STRICT {
            assert_eq!(means("symseq", strict), Means::Prediction, "{strict}");
            for other in ["sym", "sym-adm", "cgn-sym", "block-512"] {
                assert_eq!(means(other, strict), Means::Birthday, "{other} and {strict}");
            }
        }
    }

    #[test]
    fn two_dependent_mappings_meet_if_few_pairs_of_ports_are_possible() {
        assert_eq!(means("symseq", "symseq"), Means::Prediction);
        assert_eq!(means("symseq", "block-512"), Means::Birthday);
        assert_eq!(means("block-512", "block-512"), Means::Birthday);
        for other in ["sym", "symseq", "block-512", "cgn-sym"] {
            assert_eq!(means("sym", other), Means::Never, "{other}");
        }
    }

    /// A mapping for an address hears all ports of it: only that one port has to be guessed.
    #[test]
    fn a_mapping_and_a_filter_for_an_address_need_one_guess() {
        for other in ["sym-adm", "sym", "symseq", "block-512", "cgn-sym"] {
            assert_eq!(means("sym-adm", other), Means::Birthday, "{other}");
        }
    }

    #[test]
    fn nothing_passes_where_udp_does_not() {
        for blocked in ["noudp", "noudp-icmp", "udp443"] {
            assert!(Kind::ALL.into_iter().all(|kind| means(blocked, kind.name()) == Means::Never), "{blocked}");
        }
    }

    #[test]
    fn wide_blocks_hold_too_many_pairs() {
        let block = |size| Nat { ports: Ports::Block { size }, ..Kind::Symmetric.nat() };
        assert_eq!(direct_path_possible(block(512), block(512)), Means::Birthday);
        assert_eq!(direct_path_possible(block(2048), block(512)), Means::Never);
        assert_eq!(direct_path_possible(block(2048), Kind::Port), Means::Birthday);
    }

    #[test]
    fn a_home_router_behind_a_carrier_is_as_strict_as_the_stricter() {
        let behind = |inner: Kind, outer: Kind| inner.nat().behind(outer.nat());
        assert!(behind(Kind::Port, Kind::Carrier).can_punch(Kind::Port.nat()));
        assert_eq!(direct_path_possible(behind(Kind::Port, Kind::CarrierSymmetric), Kind::Port), Means::Birthday);
        let sequence = behind(Kind::SymmetricSequential, Kind::Full);
        assert_eq!(direct_path_possible(sequence, Kind::Port), Means::Prediction, "the outer one keeps ports");
        let scattered = behind(Kind::SymmetricSequential, Kind::Carrier);
        assert_eq!(direct_path_possible(scattered, Kind::Port), Means::Birthday, "the outer one does not");
    }
}
