//! Asks by UPnP: find the router's description, choose a service of it, learn the address, add the mapping.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use crate::{
    asker::{NO_ANSWER, Outcome},
    http::{Location, Request},
    lease::Lease,
    reader::Reader,
    soap::Service,
    ssdp,
};

/// Gaps after each search; the last is the patience with the slowest answer.
const SEARCH_GAPS: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_millis(1000), Duration::from_millis(2000)];
/// How long one exchange over HTTP may take.
pub(crate) const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the last one may take, when everybody waits for the end.
const DELETE_TIMEOUT: Duration = Duration::from_millis(300);

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    Quiet,
    Searching { sent: usize, due: Instant },
    Describing(Location),
    Addressing,
    Adding { external: SocketAddrV4, lease_s: u32, tries: u32 },
    Holding,
    Deleting,
}

/// The exchange over HTTP that is under way.
#[derive(Debug)]
struct Exchange {
    reader: Reader,
    until: Instant,
}

/// The UPnP conversation.
#[derive(Debug)]
pub(crate) struct Upnp {
    gateway: Ipv4Addr,
    pub(crate) internal: SocketAddrV4,
    /// Chooses other ports.
    pub(crate) seed: u64,
    pub(crate) phase: Phase,
    /// The first is in use, the others come after it if it fails.
    pub(crate) services: VecDeque<Service>,
    pub(crate) lease: Option<Lease>,
    /// The service that granted it, which is the one to delete it.
    pub(crate) granted_by: Option<Service>,
    /// Whether the renewal that is under way has searched anew already.
    pub(crate) has_searched_anew: bool,
    exchange: Option<Exchange>,
    /// Why an answer to the search was not taken.
    refused: Option<String>,
    request: Option<Request>,
    pub(crate) outbox: VecDeque<Vec<u8>>,
}

impl Upnp {
    pub(crate) fn new(gateway: Ipv4Addr, internal: SocketAddrV4, seed: u64, now: Instant) -> Self {
        let mut upnp = Self {
            gateway,
            internal,
            seed,
            phase: Phase::Quiet,
            services: VecDeque::new(),
            lease: None,
            granted_by: None,
            has_searched_anew: false,
            exchange: None,
            refused: None,
            request: None,
            outbox: VecDeque::new(),
        };
        upnp.ask(now);
        upnp
    }

    /// Searches from the start; a mapping that is there is kept until the end of it.
    pub(crate) fn ask(&mut self, now: Instant) {
        self.drop_exchange();
        self.services.clear();
        self.phase = Phase::Searching { sent: 0, due: now };
    }

    /// Asks no more, but for hearing the end of what may make a mapping.
    pub(crate) fn stop(&mut self) {
        if !matches!(self.phase, Phase::Adding { .. }) {
            self.drop_exchange();
            self.phase = Phase::Quiet;
        }
    }

    /// Deletes what was or may have been granted.
    pub(crate) fn close(&mut self, now: Instant) {
        let asked_for = match self.phase {
            Phase::Adding { external, .. } => Some(external),
            _ => None,
        };
        self.drop_exchange();
        self.phase = Phase::Quiet;
        let external = self.lease.take().map(|lease| lease.external).or(asked_for);
        let service = self.granted_by.as_ref().or(self.services.front());
        if let (Some(external), Some(service)) = (external, service) {
            let request = service.delete(external.port());
            self.phase = Phase::Deleting;
            self.begin(request, DELETE_TIMEOUT, now);
        }
    }

    pub(crate) fn poll_request(&mut self) -> Option<Request> {
        self.request.take()
    }

    /// Whether more of the answer to the last polled request is wanted; not while the next one waits.
    pub(crate) fn wants_stream(&self) -> bool {
        self.exchange.is_some() && self.request.is_none()
    }

    pub(crate) fn is_asking(&self) -> bool {
        !matches!(self.phase, Phase::Quiet | Phase::Holding | Phase::Deleting)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let own = match (&self.phase, &self.lease) {
            (Phase::Searching { due, .. }, _) => Some(*due),
            (Phase::Holding, Some(lease)) => Some(lease.due()),
            _ => None,
        };
        self.exchange.iter().map(|exchange| exchange.until).chain(own).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Option<Outcome> {
        if self.exchange.as_ref().is_some_and(|exchange| exchange.until <= now) {
            return self.step_failed("no answer over HTTP", now);
        }
        match self.phase {
            Phase::Searching { sent, due } if due <= now => match SEARCH_GAPS.get(sent) {
                Some(gap) => {
                    self.outbox.push_back(ssdp::search());
                    self.phase = Phase::Searching { sent: sent + 1, due: now + *gap };
                    None
                }
                None => {
                    let why = self.refused.take().unwrap_or_else(|| NO_ANSWER.to_owned());
                    Some(self.fail(&why))
                }
            },
            Phase::Holding if self.lease.is_some_and(|lease| lease.due() <= now) => {
                self.ask_for_address(now);
                None
            }
            _ => None,
        }
    }

    /// Takes an answer to a search, which came from the gateway.
    pub(crate) fn handle_answer(&mut self, bytes: &[u8], now: Instant) {
        let Phase::Searching { .. } = self.phase else { return };
        let location = match ssdp::decode(bytes) {
            Ok(Some(location)) if *location.server.ip() == self.gateway => location,
            Ok(Some(_)) => return self.refuse("the router's description is on another host"),
            Ok(None) => return,
            Err(error) => return self.refuse(&format!("the router's answer to the search is of no use: {error}")),
        };
        self.begin(location.get(), EXCHANGE_TIMEOUT, now);
        self.phase = Phase::Describing(location);
    }

    fn refuse(&mut self, why: &str) {
        tracing::debug!(why, "Refused an answer to a search");
        self.refused = Some(why.to_owned());
    }

    /// Takes a piece of the answer over HTTP.
    pub(crate) fn handle_stream(&mut self, piece: &[u8], now: Instant) -> Option<Outcome> {
        match self.exchange.as_mut()?.reader.feed(piece) {
            Ok(None) => None,
            Ok(Some(response)) => self.answered(&response, now),
            Err(error) => self.step_failed(&error.to_string(), now),
        }
    }

    /// The router has closed the connection.
    pub(crate) fn handle_stream_end(&mut self, now: Instant) -> Option<Outcome> {
        match self.exchange.as_mut()?.reader.end() {
            Ok(response) => self.answered(&response, now),
            Err(error) => self.step_failed(&error.to_string(), now),
        }
    }

    /// The connection could not be made, or broke.
    pub(crate) fn handle_stream_error(&mut self, why: &str, now: Instant) -> Option<Outcome> {
        self.exchange.as_ref()?;
        self.step_failed(why, now)
    }

    /// What was tried did not work: another service of the router may, or, for a renewal, a search from the start.
    pub(crate) fn step_failed(&mut self, why: &str, now: Instant) -> Option<Outcome> {
        tracing::debug!(why, phase = ?self.phase, "A step of UPnP did not work");
        self.drop_exchange();
        if self.phase == Phase::Deleting {
            self.phase = Phase::Quiet;
            return None;
        }
        if self.lease.is_some() && self.phase != Phase::Quiet {
            if std::mem::replace(&mut self.has_searched_anew, true) {
                return Some(self.fail(why));
            }
            self.ask(now);
            return self.handle_timeout(now);
        }
        self.services.pop_front();
        if self.services.is_empty() {
            return Some(self.fail(why));
        }
        self.ask_for_address(now);
        None
    }

    fn fail(&mut self, why: &str) -> Outcome {
        self.phase = Phase::Quiet;
        Outcome::Failed(why.to_owned())
    }

    pub(crate) fn begin(&mut self, request: Request, timeout: Duration, now: Instant) {
        self.exchange = Some(Exchange { reader: Reader::default(), until: now + timeout });
        self.request = Some(request);
    }

    pub(crate) fn drop_exchange(&mut self) {
        (self.exchange, self.request) = (None, None);
    }
}
