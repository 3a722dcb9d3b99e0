//! What is known of a router, as a table for people.

use std::{fmt::Write, net::IpAddr};

use nat::{Filtering, Mapping, NatFacts, Outlook, Ports, outlook};

use super::Found;
use crate::events::millis;

pub(super) fn text(found: &Found) -> String {
    let mut text = format!("{}\n\n", headline(found));
    for (name, value) in rows(&found.facts) {
        // Writing to a String can't fail.
        let _ = writeln!(text, "  {name:<13} {value}");
    }
    text.push('\n');
    for sample in &found.samples {
        let _ = writeln!(text, "  seen by {:<24} at {}", sample.seen.by.to_string(), sample.seen.at);
    }
    for silent in &found.silent {
        let _ = writeln!(text, "  no answer from {silent}");
    }
    if is_seen_inside_only(&found.facts) {
        text.push_str("\nWhat that means for calls can be said once somebody outside has looked.\n");
        return text;
    }
    text.push_str("\nA call with somebody\n");
    for (_, partner, outlook) in partners(&found.facts) {
        let _ = writeln!(text, "  {partner:<58} {}", expectation(outlook));
    }
    text
}

fn headline(found: &Found) -> String {
    let facts = &found.facts;
    let what = match (facts.translated, facts.mapping) {
        (false, _) if is_seen_inside_only(facts) => {
            "Nothing is known of a NAT: who was asked is in the same network, or on this host; ask one outside, also by --stun HOST"
        }
        (false, _) => "No NAT: this host has a public address",
        (true, Some(Mapping::Eim)) => "A NAT that calls get through: others find this host at one port",
        (true, Some(_)) => "A hard NAT: each destination sees another port",
        (true, None) => "A NAT, of which too few places answered to say more",
    };
    let rtt = found.rtt.map_or("?".to_owned(), |rtt| millis(rtt).to_string());
    format!("{what} ({} asked, {rtt} ms away)", found.server)
}

/// Whether nobody outside has looked: all have seen an address that means nothing there.
pub(crate) fn is_seen_inside_only(facts: &NatFacts) -> bool {
    let is_local = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local(),
    };
    facts.seen.iter().all(|seen| is_local(seen.at.ip()) || seen.at.ip() == seen.by.ip())
}

fn rows(facts: &NatFacts) -> [(&'static str, String); 7] {
    let unknown = || "unknown".to_owned();
    let yes_or_no = |fact: Option<bool>, yes: &str, no: &str| match fact {
        Some(true) => yes.to_owned(),
        Some(false) => no.to_owned(),
        None => unknown(),
    };
    [
        ("mapping", facts.mapping.map_or_else(unknown, |mapping| mapping.to_string())),
        ("ports", facts.ports.map_or_else(unknown, |ports| ports.to_string())),
        ("filtering", facts.filtering.map_or_else(unknown, |filtering| filtering.to_string())),
        (
            "hairpin",
            if facts.translated {
                yes_or_no(
                    facts.hairpin,
                    "yes: its outside address works from inside",
                    "no: its outside address does not work from inside",
                )
            } else {
                "not needed".to_owned()
            },
        ),
        ("early packets", yes_or_no(facts.poisoned, "spoil the port towards their sender", "do no harm")),
        ("IPv6", if facts.ipv6 { "yes" } else { "no" }.to_owned()),
        ("port mapping", facts.mapped.map_or("not tried".to_owned(), |mapped| format!("yes, at {mapped}"))),
    ]
}

/// The kinds of routers that people have, and how a call with them begins.
pub(super) fn partners(ours: &NatFacts) -> Vec<(&'static str, &'static str, Outlook)> {
    let router = |mapping, ports, filtering| NatFacts {
        translated: true,
        mapping: Some(mapping),
        ports: Some(ports),
        filtering: Some(filtering),
        ..NatFacts::default()
    };
    let open = router(Mapping::Eim, Ports::Preserving, Filtering::Eif);
    let home = router(Mapping::Eim, Ports::Preserving, Filtering::Apdf);
    let sequential = router(Mapping::Apdm, Ports::Sequential { step: 1 }, Filtering::Apdf);
    let random = router(Mapping::Apdm, Ports::Random, Filtering::Apdf);
    let v6 = NatFacts { ipv6: true, ..random.clone() };
    let mut partners = vec![
        ("open", "who has no NAT, a forwarded port or a lenient router", outlook(ours, &open)),
        ("home", "behind the usual home router", outlook(ours, &home)),
        ("sequential", "whose router takes ports in a row or in a block", outlook(ours, &sequential)),
        ("random", "whose router takes a random port for each destination", outlook(ours, &random)),
    ];
    if ours.ipv6 {
        partners.push(("ipv6", "who has IPv6, too, whatever the router", outlook(ours, &v6)));
    }
    partners
}

fn expectation(outlook: Outlook) -> &'static str {
    match outlook {
        Outlook::Direct => "is direct",
        Outlook::Guessed => "needs a port guessed: direct after moments, mostly",
        Outlook::Relayed => "can't be direct: it goes through the relay or a member",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(by: &str, at: &str) -> wire::nat::Seen {
        wire::nat::Seen { by: by.parse().expect("an address"), at: at.parse().expect("an address") }
    }

    #[test]
    fn whoever_is_in_the_same_network_has_not_looked_from_outside() {
        let is_inside = |by, at| is_seen_inside_only(&NatFacts { seen: vec![seen(by, at)], ..NatFacts::default() });
        assert!(is_inside("192.168.1.2:3478", "192.168.1.7:4000") && is_inside("127.0.0.1:3478", "127.0.0.1:4000"));
        assert!(is_inside("203.0.113.7:3478", "203.0.113.7:4000"), "the rendezvous is on this host");
        assert!(!is_inside("203.0.113.9:3478", "203.0.113.7:4000"));
    }

    fn found(facts: NatFacts) -> Found {
        Found {
            server: "192.0.2.1:3478".parse().expect("an address"),
            port: 4000,
            facts,
            samples: vec![],
            silent: vec!["192.0.2.1:3479".parse().expect("an address")],
            unsent: vec![],
            rtt: Some(std::time::Duration::from_millis(41)),
            took: std::time::Duration::from_millis(600),
        }
    }

    #[test]
    fn nothing_is_foretold_where_nobody_outside_has_looked() {
        let text = text(&found(NatFacts::default()));
        assert!(text.contains("once somebody outside has looked") && !text.contains("A call with"), "{text}");
    }

    #[test]
    fn a_table_says_what_it_means() {
        let facts = NatFacts {
            translated: true,
            mapping: Some(Mapping::Apdm),
            ports: Some(Ports::Random),
            filtering: Some(Filtering::Apdf),
            hairpin: Some(false),
            seen: vec![seen("192.0.2.1:3478", "203.0.113.7:4000")],
            ..NatFacts::default()
        };
        let text = text(&found(facts));
        for expected in [
            "A hard NAT: each destination sees another port (192.0.2.1:3478 asked, 41 ms away)",
            "  mapping       another port for every destination\n",
            "  port mapping  not tried\n",
            "  no answer from 192.0.2.1:3479\n",
            "can't be direct: it goes through the relay or a member",
        ] {
            assert!(text.contains(expected), "{expected:?} in\n{text}");
        }
    }
}
