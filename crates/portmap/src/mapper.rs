use std::{
    collections::{BTreeMap, VecDeque},
    net::{SocketAddr, SocketAddrV4},
    time::{Duration, Instant},
};

use crate::{
    Event, Network, Protocol, Transmit,
    asker::{Asker, Dialect, Heard, NO_ANSWER, Outcome},
    http::Request,
    lease::Lease,
    natpmp, pcp, ssdp,
    upnp::Upnp,
};

/// Where PCP and NAT-PMP are asked (RFC 6887, section 19.1; RFC 6886, section 3.1).
const SERVER_PORT: u16 = 5351;
/// Where routers announce that they have started (RFC 6887, section 14.1; RFC 6886, section 3.2.1).
pub const ANNOUNCE_PORT: u16 = 5350;
/// When it is said that there is no mapping although somebody may still answer.
const VERDICT: Duration = Duration::from_secs(4);
/// After a round without success: the router may have been restarted, or its settings changed.
const RETRY: Duration = Duration::from_secs(15 * 60);
/// Between two renewals that announcements ask for: anybody in the network can forge those.
const RESET_GAP: Duration = Duration::from_secs(5);

/// Gets a mapping and keeps it; see the crate's description.
#[derive(Debug)]
pub struct Mapper {
    seed: [u8; 16],
    round: Option<Round>,
    events: VecDeque<Event>,
}

/// The conversations about one network.
#[derive(Debug)]
struct Round {
    network: Network,
    pcp: Asker,
    natpmp: Asker,
    upnp: Upnp,
    holder: Option<(Protocol, SocketAddrV4)>,
    failures: BTreeMap<Protocol, String>,
    verdict: Option<Instant>,
    retry: Option<Instant>,
    last_reset: Option<Instant>,
}

impl Mapper {
    /// A mapper that knows no network and asks nobody. The seed is random, of this run alone.
    pub fn new(seed: [u8; 16]) -> Self {
        Self { seed, round: None, events: VecDeque::new() }
    }

    /// Tells which network there is, `None` if there is none with a gateway. A mapping in another one is lost.
    pub fn set_network(&mut self, network: Option<Network>, now: Instant) {
        if self.round.as_ref().map(|round| round.network) == network {
            return;
        }
        let had_mapping = self.round.as_ref().is_some_and(|round| round.holder.is_some());
        if had_mapping {
            self.events.push_back(Event::Lost { why: "the network has changed".to_owned() });
        }
        self.round = network.map(|network| Round::new(network, &self.seed, now));
    }

    /// Asks for the mapping as if the router had lost it: this host was asleep, so nobody knows how long ago it was renewed.
    pub fn renew(&mut self, now: Instant) {
        if let Some(round) = &mut self.round {
            round.last_reset = None;
            round.ask_again(now);
        }
    }

    /// The mapped address, while there is one.
    pub fn mapped(&self) -> Option<SocketAddrV4> {
        Some(self.round.as_ref()?.holder?.1)
    }

    /// Takes a datagram that came to the socket that asks, or to one at [`ANNOUNCE_PORT`].
    pub fn handle_datagram(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        let Some(round) = &mut self.round else { return };
        if from.ip() != round.network.gateway {
            tracing::trace!(%from, "ignored a datagram that is not the gateway's");
            return;
        }
        if from.port() != SERVER_PORT {
            round.upnp.handle_answer(bytes, now);
            return;
        }
        let protocol = match bytes.first() {
            Some(&pcp::VERSION) => Protocol::Pcp,
            Some(&natpmp::VERSION) => Protocol::NatPmp,
            _ => return tracing::trace!(%from, "ignored a datagram in an unknown version"),
        };
        match round.asker(protocol).handle_datagram(bytes, now) {
            Ok(heard) => self.heard(protocol, heard, now),
            Err(why) => tracing::debug!(%from, %protocol, why, "Ignored a datagram"),
        }
    }

    /// Takes a piece of the answer to the last [`Self::poll_request`].
    pub fn handle_stream(&mut self, piece: &[u8], now: Instant) {
        let outcome = self.round.as_mut().and_then(|round| round.upnp.handle_stream(piece, now));
        self.settle(Protocol::Upnp, outcome, now);
    }

    /// The router has closed the connection of the last [`Self::poll_request`].
    pub fn handle_stream_end(&mut self, now: Instant) {
        let outcome = self.round.as_mut().and_then(|round| round.upnp.handle_stream_end(now));
        self.settle(Protocol::Upnp, outcome, now);
    }

    /// The connection of the last [`Self::poll_request`] could not be made, or broke.
    pub fn handle_stream_error(&mut self, why: &str, now: Instant) {
        let outcome = self.round.as_mut().and_then(|round| round.upnp.handle_stream_error(why, now));
        self.settle(Protocol::Upnp, outcome, now);
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        for protocol in Protocol::ALL {
            let outcome = self.round.as_mut().and_then(|round| match protocol {
                Protocol::Pcp | Protocol::NatPmp => round.asker(protocol).handle_timeout(now),
                Protocol::Upnp => round.upnp.handle_timeout(now),
            });
            self.settle(protocol, outcome, now);
        }
        let Some(round) = &mut self.round else { return };
        if round.verdict.is_some_and(|at| at <= now) {
            self.events.push_back(round.unavailable());
        }
        if round.retry.is_some_and(|at| at <= now) {
            let told = round.failures.clone();
            *round = Round::new(round.network, &self.seed, now);
            // The next word comes when something is different.
            (round.verdict, round.failures) = (None, told);
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let round = self.round.as_ref()?;
        let conversations = [round.pcp.poll_timeout(), round.natpmp.poll_timeout(), round.upnp.poll_timeout()];
        conversations.into_iter().chain([round.verdict, round.retry]).flatten().min()
    }

    /// Takes the next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let round = self.round.as_mut()?;
        let server = SocketAddrV4::new(round.network.gateway, SERVER_PORT);
        let asked = [
            (&mut round.pcp.outbox, server),
            (&mut round.natpmp.outbox, server),
            (&mut round.upnp.outbox, ssdp::GROUP),
        ];
        asked.into_iter().find_map(|(outbox, to)| Some(Transmit { to, payload: outbox.pop_front()? }))
    }

    /// Takes the next request to make over TCP; it takes the place of the one before.
    pub fn poll_request(&mut self) -> Option<Request> {
        self.round.as_mut()?.upnp.poll_request()
    }

    /// Whether more of the answer to the last request is wanted; if not, the connection can go.
    pub fn wants_stream(&self) -> bool {
        self.round.as_ref().is_some_and(|round| round.upnp.wants_stream())
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Deletes the mapping. Drain [`Self::poll_transmit`] and [`Self::poll_request`] once more, and go on feeding while
    /// [`Self::wants_stream`]; [`Self::poll_timeout`] bounds that.
    pub fn close(&mut self, now: Instant) {
        let Some(round) = &mut self.round else { return };
        round.pcp.close();
        round.natpmp.close();
        round.upnp.close(now);
        (round.holder, round.verdict, round.retry) = (None, None, None);
    }

    fn heard(&mut self, protocol: Protocol, heard: Heard, now: Instant) {
        self.settle(protocol, heard.outcome, now);
        let Some(round) = &mut self.round else { return };
        if heard.other_refused {
            let other = if protocol == Protocol::Pcp { Protocol::NatPmp } else { Protocol::Pcp };
            if round.asker(other).is_asking() {
                let outcome = round.asker(other).fail(&format!("the router speaks {protocol} instead"));
                self.settle(other, Some(outcome), now);
            }
        } else if heard.reset {
            round.ask_again(now);
        }
    }

    fn settle(&mut self, protocol: Protocol, outcome: Option<Outcome>, now: Instant) {
        let (Some(round), Some(outcome)) = (&mut self.round, outcome) else { return };
        match (outcome, round.holder) {
            (Outcome::Granted(lease), holder) if holder.is_none_or(|(holder, _)| holder == protocol) => {
                round.hold(protocol, lease.external);
                if holder.map(|(_, addr)| addr) != Some(lease.external) {
                    let Lease { external: addr, lifetime: lease, .. } = lease;
                    self.events.push_back(Event::Mapped { addr, protocol, lease });
                }
            }
            // It came too late, and is deleted at the end.
            (Outcome::Granted(_), _) => round.stop(protocol),
            (Outcome::Failed(why), Some((holder, _))) if holder == protocol => {
                self.events.push_back(Event::Lost { why });
                *round = Round::new(round.network, &self.seed, now);
            }
            (Outcome::Failed(why), _) => {
                let told_before = round.failures.insert(protocol, why.clone());
                let is_news = told_before.is_some_and(|before| before != why);
                let is_over = round.holder.is_none() && !round.is_asking();
                if is_over {
                    round.retry = Some(now + RETRY);
                }
                if is_over && (round.verdict.is_some() || is_news) {
                    self.events.push_back(round.unavailable());
                }
            }
        }
    }
}

impl Round {
    fn new(network: Network, seed: &[u8; 16], now: Instant) -> Self {
        let [nonce @ .., a, b, c, d] = *seed;
        let Network { gateway, internal } = network;
        Self {
            network,
            pcp: Asker::new(Dialect::Pcp(nonce), internal, now),
            natpmp: Asker::new(Dialect::NatPmp, internal, now),
            upnp: Upnp::new(gateway, internal, u64::from(u32::from_be_bytes([a, b, c, d])), now),
            holder: None,
            failures: BTreeMap::new(),
            verdict: Some(now + VERDICT),
            retry: None,
            last_reset: None,
        }
    }

    fn asker(&mut self, protocol: Protocol) -> &mut Asker {
        if protocol == Protocol::Pcp { &mut self.pcp } else { &mut self.natpmp }
    }

    fn stop(&mut self, protocol: Protocol) {
        match protocol {
            Protocol::Pcp | Protocol::NatPmp => self.asker(protocol).stop(),
            Protocol::Upnp => self.upnp.stop(),
        }
    }

    fn hold(&mut self, protocol: Protocol, addr: SocketAddrV4) {
        (self.holder, self.verdict, self.retry) = (Some((protocol, addr)), None, None);
        for other in Protocol::ALL.into_iter().filter(|other| *other != protocol) {
            self.stop(other);
        }
    }

    fn is_asking(&self) -> bool {
        self.pcp.is_asking() || self.natpmp.is_asking() || self.upnp.is_asking()
    }

    /// The router may have lost the mapping: it is asked for as if it were not there, and kept until the answer.
    fn ask_again(&mut self, now: Instant) {
        let is_early = self.last_reset.is_some_and(|last| now < last + RESET_GAP);
        let Some((protocol, _)) = self.holder.filter(|_| !is_early) else { return };
        tracing::debug!(%protocol, "The router may have lost the mapping");
        self.last_reset = Some(now);
        match protocol {
            Protocol::Pcp | Protocol::NatPmp => self.asker(protocol).ask(now),
            Protocol::Upnp => self.upnp.ask(now),
        }
    }

    fn unavailable(&mut self) -> Event {
        self.verdict = None;
        let why = |protocol| self.failures.get(&protocol).cloned().unwrap_or_else(|| NO_ANSWER.to_owned());
        Event::Unavailable { why: Protocol::ALL.map(|protocol| (protocol, why(protocol))).into() }
    }
}
