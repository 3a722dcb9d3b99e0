//! Asks by datagrams at the gateway's port 5351: one conversation, in the words of PCP or of NAT-PMP.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use crate::{
    address,
    epoch::Epoch,
    lease::{LIFETIME, Lease},
    natpmp,
    pcp::{self, Nonce},
};

/// What became of a conversation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Granted(Lease),
    Failed(String),
}

pub(crate) const NO_ANSWER: &str = "no answer";
pub(crate) const TOO_SHORT: &str = "the router grants the mapping for no useful time";

/// Which words are used.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dialect {
    Pcp(Nonce),
    NatPmp,
}

impl Dialect {
    /// The first wait for an answer, which doubles, and how often to ask: RFC 6886, section 3.1; RFC 6887, section
    /// 8.1.1, but not for ever: the mapper begins anew later.
    fn schedule(self) -> (Duration, u32) {
        match self {
            Self::Pcp(_) => (Duration::from_secs(3), 6),
            Self::NatPmp => (Duration::from_millis(250), 9),
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Asks nothing; another protocol has the mapping, or this one failed.
    Quiet,
    Asking {
        sent: u32,
        due: Instant,
    },
    /// Has the mapping that counts, and renews it.
    Holding,
}

/// What a datagram of the router meant.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) outcome: Option<Outcome>,
    /// The router has started anew and may have lost every mapping.
    pub(crate) reset: bool,
    /// The router speaks these words, and not the ones that the other asker used.
    pub(crate) other_refused: bool,
}

/// One conversation with the gateway.
#[derive(Debug)]
pub(crate) struct Asker {
    dialect: Dialect,
    internal: SocketAddrV4,
    phase: Phase,
    lease: Option<Lease>,
    /// NAT-PMP asks for the address first; known once it has answered in this round or renewal.
    address: Option<Ipv4Addr>,
    epoch: Epoch,
    pub(crate) outbox: VecDeque<Vec<u8>>,
}

impl Asker {
    pub(crate) fn new(dialect: Dialect, internal: SocketAddrV4, now: Instant) -> Self {
        let mut asker = Self {
            dialect,
            internal,
            phase: Phase::Quiet,
            lease: None,
            address: None,
            epoch: Epoch::default(),
            outbox: VecDeque::new(),
        };
        asker.ask(now);
        asker
    }

    /// Asks from the start; a mapping that is there is kept until the answer.
    pub(crate) fn ask(&mut self, now: Instant) {
        self.address = None;
        self.phase = Phase::Asking { sent: 0, due: now };
    }

    /// Asks no more. What may have been granted is remembered for [`Self::close`], not deleted: to many routers it is
    /// the very mapping that another protocol has got.
    pub(crate) fn stop(&mut self) {
        self.phase = Phase::Quiet;
    }

    /// Deletes what was or may have been granted.
    pub(crate) fn close(&mut self) {
        let asked = matches!(self.phase, Phase::Asking { sent: 1.., .. });
        let asked_for_mapping = asked && (self.address.is_some() || matches!(self.dialect, Dialect::Pcp(_)));
        if self.lease.is_some() || asked_for_mapping {
            self.outbox.push_back(self.map_request(Duration::ZERO));
        }
        (self.phase, self.lease) = (Phase::Quiet, None);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Quiet => None,
            Phase::Asking { due, .. } => Some(due),
            Phase::Holding => self.lease.map(|lease| lease.due()),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Option<Outcome> {
        if self.poll_timeout().is_none_or(|due| due > now) {
            return None;
        }
        if self.phase != Phase::Quiet && self.lease.is_some_and(|lease| lease.has_ended(now)) {
            return Some(self.fail("the router did not renew the mapping"));
        }
        match self.phase {
            Phase::Quiet => return None,
            Phase::Asking { sent, .. } => {
                let (first, tries) = self.dialect.schedule();
                if sent >= tries {
                    return Some(self.fail(NO_ANSWER));
                }
                self.phase = Phase::Asking { sent: sent + 1, due: now + first * (1 << sent) };
            }
            Phase::Holding => {
                self.lease.iter_mut().for_each(|lease| lease.note_renewal(now));
                self.address = None;
            }
        }
        self.send();
        None
    }

    fn send(&mut self) {
        let request = match (self.dialect, self.address) {
            (Dialect::NatPmp, None) => natpmp::ADDRESS_REQUEST.to_vec(),
            _ => self.map_request(LIFETIME),
        };
        self.outbox.push_back(request);
    }

    fn map_request(&self, lifetime: Duration) -> Vec<u8> {
        let lifetime_s = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, self.internal.port());
        // The mapping that was, so that it is renewed, or made again after a restart (RFC 6887, section 11.2.1).
        let suggested = self.lease.map_or(any, |lease| lease.external);
        match self.dialect {
            Dialect::Pcp(nonce) => pcp::MapRequest { internal: self.internal, suggested, nonce, lifetime_s }.encode(),
            Dialect::NatPmp => {
                let port = if lifetime.is_zero() { 0 } else { suggested.port() };
                natpmp::map_request(self.internal.port(), port, lifetime_s).to_vec()
            }
        }
    }

    /// Takes a datagram from the gateway's port; `Err` says why it is of no use.
    pub(crate) fn handle_datagram(&mut self, bytes: &[u8], now: Instant) -> Result<Heard, String> {
        match self.dialect {
            Dialect::Pcp(nonce) => self.handle_pcp(&nonce, bytes, now),
            Dialect::NatPmp => self.handle_natpmp(bytes, now),
        }
    }

    fn handle_pcp(&mut self, nonce: &Nonce, bytes: &[u8], now: Instant) -> Result<Heard, String> {
        let response = pcp::decode(bytes, nonce, self.internal.port()).map_err(|error| error.to_string())?;
        let reset = self.epoch.is_reset_by(response.epoch, now);
        Ok(match response.body {
            pcp::Body::Announce => Heard { reset, ..Heard::default() },
            pcp::Body::Mapped { external, lifetime_s } => {
                Heard { outcome: self.granted(external, lifetime_s, now), ..Heard::default() }
            }
            pcp::Body::Refused(pcp::Refused::Version) => Heard { other_refused: true, ..Heard::default() },
            pcp::Body::Refused(why) => Heard { outcome: self.refused(&why.to_string()), ..Heard::default() },
        })
    }

    fn handle_natpmp(&mut self, bytes: &[u8], now: Instant) -> Result<Heard, String> {
        let response = natpmp::decode(bytes).map_err(|error| error.to_string())?;
        Ok(match response {
            natpmp::Response::OtherVersion => Heard { other_refused: true, ..Heard::default() },
            natpmp::Response::Address { epoch, external } => {
                let reset = self.epoch.is_reset_by(epoch, now);
                Heard { outcome: self.addressed(external, now), reset, ..Heard::default() }
            }
            natpmp::Response::Mapped { epoch, internal_port, external_port, lifetime_s } => {
                let address = self.address.filter(|_| internal_port == self.internal.port() && external_port != 0);
                let address = address.ok_or("a mapping that was not asked for")?;
                self.epoch.is_reset_by(epoch, now);
                let external = SocketAddrV4::new(address, external_port);
                Heard { outcome: self.granted(external, lifetime_s, now), ..Heard::default() }
            }
            natpmp::Response::Refused { opcode, .. }
                if natpmp::Refused::is_of_mapping(opcode) != self.address.is_some() =>
            {
                return Err("a refusal of what was not asked for".to_owned());
            }
            natpmp::Response::Refused { why, .. } => {
                Heard { outcome: self.refused(&why.to_string()), ..Heard::default() }
            }
        })
    }

    /// The router's external address, asked for or announced.
    fn addressed(&mut self, external: Ipv4Addr, now: Instant) -> Option<Outcome> {
        if self.phase == Phase::Quiet {
            return None;
        }
        if self.address.is_some() {
            if self.phase == Phase::Holding && self.address != Some(external) {
                self.lease.iter_mut().for_each(|lease| lease.renew_now(now));
            }
            return None;
        }
        if let Err(why) = address::check(external) {
            return Some(self.fail(&why.to_string()));
        }
        self.address = Some(external);
        if let Phase::Asking { .. } = self.phase {
            self.phase = Phase::Asking { sent: 0, due: now };
            return self.handle_timeout(now);
        }
        self.send();
        None
    }

    fn granted(&mut self, external: SocketAddrV4, lifetime_s: u32, now: Instant) -> Option<Outcome> {
        let is_asked = self.phase != Phase::Quiet;
        let why =
            match (address::check(*external.ip()), Lease::new(external, Duration::from_secs(lifetime_s.into()), now)) {
                (Ok(()), Some(lease)) => {
                    self.lease = Some(lease);
                    if !is_asked {
                        return None;
                    }
                    self.phase = Phase::Holding;
                    return Some(Outcome::Granted(lease));
                }
                (Err(why), _) => why.to_string(),
                (Ok(()), None) => TOO_SHORT.to_owned(),
            };
        self.lease = None;
        if !is_asked {
            return None;
        }
        // A lifetime of 0 says that it is deleted; to delete it again would go on for ever.
        if lifetime_s != 0 {
            self.outbox.push_back(self.map_request(Duration::ZERO));
        }
        Some(self.fail(&why))
    }

    fn refused(&mut self, why: &str) -> Option<Outcome> {
        (self.phase != Phase::Quiet).then(|| self.fail(why))
    }

    /// Gives up.
    pub(crate) fn fail(&mut self, why: &str) -> Outcome {
        self.phase = Phase::Quiet;
        Outcome::Failed(why.to_owned())
    }

    /// Whether an answer is waited for.
    pub(crate) fn is_asking(&self) -> bool {
        matches!(self.phase, Phase::Asking { .. })
    }
}
