//! What two routers mean for a call between those behind them.

use wire::nat::{Filtering, Mapping, NatFacts, Ports};

/// How two members will reach each other, the best first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Outlook {
    /// Both just send to where the other was seen.
    Direct,
    /// One has to guess the other's port; it mostly succeeds.
    Guessed,
    /// There is no way but by somebody else.
    Relayed,
}

/// What to expect of a call between members behind these routers.
pub fn outlook(ours: &NatFacts, theirs: &NatFacts) -> Outlook {
    if ours.ipv6 && theirs.ipv6 || ours.mapped.is_some() || theirs.mapped.is_some() {
        return Outlook::Direct;
    }
    match (is_hard(ours), is_hard(theirs)) {
        (false, false) => Outlook::Direct,
        (true, false) if lets_any_port_in(theirs) => Outlook::Direct,
        (false, true) if lets_any_port_in(ours) => Outlook::Direct,
        (true, true) if !(is_foreseeable(ours) && is_foreseeable(theirs)) => Outlook::Relayed,
        _ => Outlook::Guessed,
    }
}

/// One sentence on why there is no direct path between members behind these routers, as the first of them would say it.
pub fn why_not_direct(ours: &NatFacts, theirs: &NatFacts) -> &'static str {
    let share_an_address =
        ours.seen.iter().any(|a| a.at.is_ipv4() && theirs.seen.iter().any(|b| a.at.ip() == b.at.ip()));
    match (is_hard(ours), is_hard(theirs)) {
        _ if ours.seen.is_empty() => "nobody has told this member what router it is behind",
        _ if theirs.seen.is_empty() => "nobody has told the other member what router it is behind",
        _ if share_an_address && ours.hairpin == Some(false) => {
            "both are behind one router, which does not let its outside address be reached from inside"
        }
        (true, true) if is_random(ours) && is_random(theirs) => {
            "both routers choose a random port for every destination"
        }
        (true, true) => "both routers choose another port for every destination, and guessing has not met",
        (true, false) if lets_any_port_in(theirs) => {
            "this router chooses another port for every destination, and nothing came back"
        }
        (false, true) if lets_any_port_in(ours) => {
            "the other router chooses another port for every destination, and nothing came in"
        }
        (true, false) => {
            "this router chooses another port for every destination, and the other one lets in only ports that it knows"
        }
        (false, true) => {
            "the other router chooses another port for every destination, and this one lets in only ports that it knows"
        }
        (false, false) => "both routers would let a path through; a firewall on the way drops the packets",
    }
}

/// Whether peers are sent to from another port than the rendezvous sees.
fn is_hard(facts: &NatFacts) -> bool {
    matches!(facts.mapping, Some(Mapping::Adm | Mapping::Apdm))
}

fn is_foreseeable(facts: &NatFacts) -> bool {
    matches!(facts.ports, Some(Ports::Sequential { .. } | Ports::Block { .. } | Ports::Preserving))
}

fn is_random(facts: &NatFacts) -> bool {
    !is_foreseeable(facts)
}

fn lets_any_port_in(facts: &NatFacts) -> bool {
    matches!(facts.filtering, Some(Filtering::Eif | Filtering::Adf))
}

#[cfg(test)]
mod tests {
    use wire::nat::Seen;

    use super::*;

    fn facts(mapping: Mapping, ports: Ports, filtering: Filtering, ip: u8) -> NatFacts {
        let seen = vec![Seen { by: "198.51.100.1:3478".parse().unwrap(), at: ([203, 0, 113, ip], 9).into() }];
        let (mapping, ports, filtering) = (Some(mapping), Some(ports), Some(filtering));
        NatFacts { translated: true, mapping, ports, filtering, seen, ..NatFacts::default() }
    }

    fn cone(filtering: Filtering, ip: u8) -> NatFacts {
        facts(Mapping::Eim, Ports::Preserving, filtering, ip)
    }

    fn symmetric(ports: Ports, ip: u8) -> NatFacts {
        facts(Mapping::Apdm, ports, Filtering::Apdf, ip)
    }

    #[test]
    fn outlook_table() {
        let (full, addr, port) = (cone(Filtering::Eif, 1), cone(Filtering::Adf, 1), cone(Filtering::Apdf, 1));
        let random = symmetric(Ports::Random, 2);
        let sequential = symmetric(Ports::Sequential { step: 1 }, 3);
        let block = symmetric(Ports::Block { first: 1024, size: 512 }, 4);
        let v6 = |facts: &NatFacts| NatFacts { ipv6: true, ..facts.clone() };
        let mapped = NatFacts { mapped: Some("203.0.113.2:7".parse().unwrap()), ..random.clone() };
        for (a, b, expected) in [
            (&port, &port, Outlook::Direct),
            (&random, &full, Outlook::Direct),
            (&random, &addr, Outlook::Direct),
            (&random, &port, Outlook::Guessed),
            (&sequential, &port, Outlook::Guessed),
            (&sequential, &block, Outlook::Guessed),
            (&block, &random, Outlook::Relayed),
            (&random, &random, Outlook::Relayed),
            (&mapped, &random, Outlook::Direct),
            (&v6(&random), &v6(&random), Outlook::Direct),
            (&v6(&random), &random, Outlook::Relayed),
        ] {
            assert_eq!((outlook(a, b), outlook(b, a)), (expected, expected), "{a:?} and {b:?}");
        }
    }

    #[test]
    fn every_reason_is_told_from_this_members_side() {
        let (port, random) = (cone(Filtering::Apdf, 1), symmetric(Ports::Random, 2));
        assert_eq!(why_not_direct(&random, &random), "both routers choose a random port for every destination");
        assert!(why_not_direct(&random, &port).starts_with("this router chooses another port"));
        assert!(why_not_direct(&port, &random).starts_with("the other router chooses another port"));
        assert!(why_not_direct(&port, &NatFacts::default()).contains("other member"));
        let (ours, theirs) = (NatFacts { hairpin: Some(false), ..port.clone() }, cone(Filtering::Apdf, 1));
        assert!(why_not_direct(&ours, &theirs).contains("behind one router"));
    }
}
