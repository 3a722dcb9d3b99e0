//! What the loop does with a port mapping: tell of it, and offer it to everybody as an address of this member.

use std::{net::SocketAddr, time::Instant};

use ::portmap::{Event, Protocol};
use mio::Token;
use wire::signal::{Candidate, CandidateKind, MAX_CANDIDATES};

use crate::{
    driver::{Driver, INTERFACE_POLL},
    events::Line,
};

impl Driver {
    /// When there is something to do about the router.
    pub(crate) fn router_due(&self) -> Option<Instant> {
        let router = self.parts.router.as_ref()?;
        Some(router.poll_timeout().map_or(self.router_at, |due| due.min(self.router_at)))
    }

    pub(crate) fn handle_router(&mut self, token: Token) {
        let now = Instant::now();
        if let Some(router) = &mut self.parts.router {
            router.handle(token, now);
        }
        self.drain_router(now);
    }

    pub(crate) fn handle_router_time(&mut self, now: Instant) {
        if self.router_due().is_none_or(|due| due > now) {
            return;
        }
        if self.router_at <= now {
            self.router_at = now + INTERFACE_POLL;
            self.look_for_router(now);
        }
        if let Some(router) = &mut self.parts.router {
            router.handle_time(now);
        }
        self.drain_router(now);
    }

    fn look_for_router(&mut self, now: Instant) {
        let Some(router) = &mut self.parts.router else { return };
        let none = router.look(self.parts.poll.registry(), now).err();
        if none != self.no_router {
            self.no_router.clone_from(&none);
            if let Some(why) = none {
                self.emit(&Line::Portmap { addr: None, protocol: None, lease_s: None, why: &why });
            }
        }
    }

    fn drain_router(&mut self, now: Instant) {
        loop {
            let Some(router) = &mut self.parts.router else { return };
            router.drain(self.parts.poll.registry(), now);
            let Some(event) = router.poll_event() else { return };
            self.handle_portmap(&event, now);
        }
    }

    fn handle_portmap(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Mapped { addr, protocol, lease } => {
                let (addr, protocol) = (Some(SocketAddr::V4(*addr)), Some(protocol.to_string()));
                self.emit(&Line::Portmap { addr, protocol, lease_s: Some(lease.as_secs()), why: "" });
            }
            Event::Lost { why } => {
                self.emit(&Line::Portmap { addr: None, protocol: None, lease_s: None, why });
            }
            Event::Unavailable { why } => {
                self.emit(&Line::Portmap { addr: None, protocol: None, lease_s: None, why: &reasons(why) });
                return;
            }
        }
        self.parts.mesh.offer(self.own_candidates(), now);
    }

    /// Where this member may be reached, besides what the rendezvous observes: the mapped address is the surest.
    pub(crate) fn own_candidates(&self) -> Vec<Candidate> {
        let mapped = self.parts.router.as_ref().and_then(crate::net::router::Router::mapped);
        let mapped = mapped.map(|addr| Candidate { addr: addr.into(), kind: CandidateKind::Mapped });
        mapped.into_iter().chain(self.interfaces.iter().copied()).take(MAX_CANDIDATES).collect()
    }
}

/// What each protocol met with, shorter if it is the same for all.
fn reasons(why: &[(Protocol, String)]) -> String {
    match why {
        [(_, first), rest @ ..] if rest.iter().all(|(_, other)| other == first) => {
            let protocols: Vec<_> = why.iter().map(|(protocol, _)| protocol.to_string()).collect();
            format!("{}: {first}", protocols.join(", "))
        }
        _ => {
            let each: Vec<_> = why.iter().map(|(protocol, why)| format!("{protocol}: {why}")).collect();
            each.join("; ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told_once_if_they_are_the_same() {
        let same = [Protocol::Pcp, Protocol::NatPmp, Protocol::Upnp].map(|protocol| (protocol, "no answer".to_owned()));
        assert_eq!(reasons(&same), "pcp, nat-pmp, upnp: no answer");
        let mut other = same;
        other[1].1 = "the router does not allow it".to_owned();
        assert_eq!(reasons(&other), "pcp: no answer; nat-pmp: the router does not allow it; upnp: no answer");
    }
}
