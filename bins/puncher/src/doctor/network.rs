//! What is between this machine and the others.

use std::io::ErrorKind;

use edge::{Exit, doctor::Check};
use nat::{Mapping, Ports};

use crate::classify::{self, Found};

/// A firewall on this very machine says so at once.
pub(super) fn sending(found: &Found) -> Check {
    const NAME: &str = "sending";
    let forbidden = found.unsent.iter().find(|unsent| unsent.error.kind() == ErrorKind::PermissionDenied);
    let of_main = found.unsent.iter().find(|unsent| unsent.to == found.server);
    match (forbidden, of_main) {
        (Some(unsent), _) => {
            let text = format!(
                "this machine's firewall forbids UDP to {} ({}); allow puncher, or outgoing UDP",
                unsent.to, unsent.error
            );
            Check::fail(NAME, Exit::NoPermission, text)
        }
        (None, Some(unsent)) => {
            let text = format!("UDP to {} is not sent ({}); look at this machine's routes", unsent.to, unsent.error);
            Check::fail(NAME, Exit::Unavailable, text)
        }
        (None, None) => Check::ok(NAME, "the system takes UDP packets for everybody asked"),
    }
}

/// Whether others can find this host.
pub(super) fn mapping(found: &Found) -> Check {
    const NAME: &str = "NAT";
    let facts = &found.facts;
    match (facts.translated, facts.mapping, facts.ports) {
        _ if facts.seen.is_empty() => Check::warn(NAME, "unknown: nobody has answered"),
        (false, ..) if classify::is_seen_inside_only(facts) => {
            Check::ok(NAME, "unknown: who was asked is in the same network; ask one outside, also by --stun HOST")
        }
        (false, ..) => Check::ok(NAME, "none: this host has a public address"),
        (true, Some(Mapping::Eim), _) => {
            Check::ok(NAME, "one port for all destinations: direct calls work with nearly everybody")
        }
        (true, Some(_), Some(Ports::Random) | None) => Check::warn(
            NAME,
            "a random port for each destination: few calls are direct; forward a UDP port (--bind, --advertise), or use IPv6",
        ),
        (true, Some(_), Some(ports)) => Check::warn(
            NAME,
            format!(
                "another port for each destination, {ports}: direct calls need a port guessed; a forwarded UDP port or IPv6 helps"
            ),
        ),
        (true, None, _) => Check::warn(NAME, "too few places have answered to tell; give others with --stun HOST"),
    }
}

/// Whether the router opens a port if it is asked to.
pub(super) fn port_mapping(found: &Found) -> Check {
    const NAME: &str = "port mapping";
    let facts = &found.facts;
    match (facts.mapped, facts.mapping) {
        (Some(mapped), _) => Check::ok(NAME, format!("the router has opened {mapped}")),
        (None, Some(Mapping::Adm | Mapping::Apdm)) => Check::warn(
            NAME,
            "not tried; if the router has UPnP, NAT-PMP or PCP, switch it on, for it would make calls direct",
        ),
        (None, Some(Mapping::Eim)) => Check::ok(NAME, "not tried, and not needed"),
        (None, None) => Check::ok(NAME, "not tried"),
    }
}

/// IPv6 needs no guessing.
pub(super) fn ipv6(found: &Found) -> Check {
    const NAME: &str = "IPv6";
    let asked = found.silent.iter().chain(found.samples.iter().map(|sample| &sample.seen.by)).any(|to| to.is_ipv6());
    match (found.facts.ipv6, asked) {
        (true, _) => Check::ok(NAME, "this host is seen by IPv6: calls with others who have it are direct"),
        (false, true) => Check::warn(
            NAME,
            "the server has IPv6 and this host does not get there; switch it on at the router, for it makes calls direct",
        ),
        (false, false) => Check::ok(NAME, "not looked at: the server has no IPv6 address"),
    }
}
