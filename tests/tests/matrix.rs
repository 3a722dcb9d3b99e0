//! Every pair of routers that theory allows a direct path, by means that are certain, gets one, whoever joins first.

use tests::{
    CAPABLE,
    call::{Member, Rendezvous},
    lab::{KINDS, Nat, Udp},
};

use crate::{Tests, start_lab};

/// So long that both members' first packets cross: without it a peer's packet may come before the own one is out,
/// which spoils the port of a router that lets it in.
const WIRE: &str = "wire=delay~15ms";

pub(crate) fn tests() -> Tests {
    let kinds = KINDS.iter().filter(|(_, nat)| nat.udp == Udp::Pass);
    kinds
        .map(|&(kind, nat)| {
            let test = move || meets_all(kind, &nat);
            (format!("matrix::first_{kind}_then_every_kind"), Box::new(test) as Box<dyn FnOnce() + Send>)
        })
        .collect()
}

/// One member behind a router of this kind, and one behind each kind, every pair in a channel of its own.
fn meets_all(kind: &str, nat: &Nat) {
    let others: Vec<_> =
        KINDS.iter().filter(|(_, other)| nat.means_with(other) <= CAPABLE).map(|(kind, _)| *kind).collect();
    let site = |index: usize| format!("{}", char::from(b'A' + index as u8));
    let sites = others.iter().enumerate().map(|(index, kind)| format!(" {}={kind}:{WIRE}", site(index)));
    let lab = start_lab(&format!("srv=server:{WIRE} Z={kind}:{WIRE}{}", sites.collect::<String>()));
    let _rendezvous = Rendezvous::start(&lab);

    for (index, other) in others.iter().enumerate() {
        let mut first = Member::join(&lab, "Z1", other, kind);
        first.until_joined();
        let mut second = Member::join(&lab, &format!("{}1", site(index)), other, "second");

        second.until_direct(kind);
        first.until_direct("second");
    }
}
