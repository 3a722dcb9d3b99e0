use std::{
    collections::{HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use wire::{
    nat::{Mapping, NatFacts},
    stun::{Class, Message, StunError, TransactionId},
};

use crate::{
    exchange::{Exchange, Outcome, Purpose},
    verdict,
};

/// A rendezvous also answers STUN on so many ports above its own.
pub const NEIGHBOURS: u16 = 3;
/// Places besides the rendezvous that are asked.
const MAX_OBSERVERS: usize = 4;
/// Nothing is told before so long, unless everybody who was asked at the start has answered. By then whoever has not is asked
/// again, so there is a timeout at that moment.
const PATIENCE: Duration = Duration::from_millis(200);

/// What is to be classified, and who is to be asked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The rendezvous: its own port and [`NEIGHBOURS`] above it are asked.
    pub server: SocketAddr,
    /// The socket's local port.
    pub port: u16,
    /// The host's own addresses: whoever is seen at one of them has no NAT in front.
    pub local: Vec<IpAddr>,
    /// Other STUN servers; the first 4 are asked.
    pub observers: Vec<SocketAddr>,
    /// Whether the socket carries nothing else, so that what may spoil its port can be tried.
    pub spare: bool,
    /// Random and secret: transaction ids that nobody can guess are made of it.
    pub seed: [u8; 32],
}

/// A datagram to send from the socket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transmit {
    /// Where.
    pub to: SocketAddr,
    /// What.
    pub payload: Vec<u8>,
}

/// What the classifier has found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// Something more, or something else, is known.
    Facts(NatFacts),
    /// Nothing more will be asked.
    Done,
}

/// Why a datagram changed nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Ignored {
    /// It is no STUN message.
    #[error(transparent)]
    NotStun(#[from] StunError),
    /// It answers nothing that was asked, or nothing that is still open.
    #[error("it answers nothing that was asked")]
    Unasked,
    /// It comes from somebody else than the one that was asked.
    #[error("it comes from somebody who was not asked")]
    WrongSource,
    /// It is an answer without an address.
    #[error("it names no address")]
    NoAddress,
}

/// Classifies the NAT in front of one socket; see the crate's description.
#[derive(Debug)]
pub struct Classifier {
    pub(crate) config: Config,
    pub(crate) exchanges: Vec<Exchange>,
    /// How many of them were there from the start.
    first: usize,
    started: Instant,
    /// Where something was sent from this socket: what comes from there proves nothing of the filter.
    opened: HashSet<SocketAddr>,
    /// The server's other address, as it names it.
    other: Option<SocketAddr>,
    /// The longest round trip that was measured, and the shortest.
    longest: Option<Duration>,
    rtt: Option<Duration>,
    pub(crate) mapped: Option<SocketAddr>,
    told: Option<NatFacts>,
    is_done: bool,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Classifier {
    /// Asks at once: the first requests are ready to be taken.
    pub fn new(mut config: Config, now: Instant) -> Self {
        config.server.set_ip(config.server.ip().to_canonical());
        let mut classifier = Self {
            exchanges: Vec::new(),
            first: 0,
            started: now,
            opened: HashSet::new(),
            other: None,
            longest: None,
            rtt: None,
            mapped: None,
            told: None,
            is_done: false,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            config,
        };
        let server = classifier.config.server;
        for step in 0..NEIGHBOURS {
            if let Some(to) = neighbour(server, step) {
                classifier.ask(to, Purpose::Sample, now);
            }
        }
        classifier.ask(server, Purpose::OtherPort, now);
        for to in classifier.config.observers.clone().into_iter().take(MAX_OBSERVERS) {
            classifier.ask(to, Purpose::Sample, now);
        }
        classifier.first = classifier.exchanges.len();
        classifier.handle_timeout(now);
        classifier
    }

    /// Takes a STUN datagram that came to the socket.
    ///
    /// # Errors
    /// [`Ignored`] says why it changed nothing.
    pub fn handle_input(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) -> Result<(), Ignored> {
        let message = Message::decode(datagram)?;
        let index = self.exchanges.iter().position(|exchange| exchange.id == message.transaction);
        let index = index.ok_or(Ignored::Unasked)?;
        let exchange = &self.exchanges[index];
        if exchange.outcome.is_some() {
            return Err(Ignored::Unasked);
        }
        if !self.may_answer(exchange, from, message.class) {
            return Err(Ignored::WrongSource);
        }
        let outcome = match (exchange.purpose, message.class) {
            (Purpose::Hairpin, _) => Outcome::Answered(from),
            (_, Class::Error) => Outcome::Refused,
            _ => Outcome::Answered(message.mapped_address().ok_or(Ignored::NoAddress)?),
        };
        let is_far = self.exchanges[index].purpose != Purpose::Hairpin;
        if let Some(took) = self.exchanges[index].settle(outcome, now) {
            self.longest = self.longest.max(Some(took));
            if is_far {
                self.rtt = Some(self.rtt.map_or(took, |rtt| rtt.min(took)));
            }
        }
        if from == self.config.server && self.other.is_none() {
            self.other = message.other_address();
        }
        self.go_on(now);
        Ok(())
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        for exchange in &mut self.exchanges {
            if exchange.handle_timeout(self.longest, now) {
                self.opened.insert(exchange.to);
                self.transmits.push_back(Transmit { to: exchange.to, payload: exchange.request() });
            }
        }
        self.go_on(now);
    }

    /// Takes the next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] is due; `None` once everything is known that will be.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.exchanges.iter().filter_map(Exchange::poll_timeout).min()
    }

    /// Notes where a port mapping of the router leads to the socket.
    pub fn set_mapped(&mut self, mapped: Option<SocketAddr>, now: Instant) {
        self.mapped = mapped;
        self.go_on(now);
    }

    /// The shortest round trip to a server that was measured.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }
}

impl Classifier {
    fn ask(&mut self, to: SocketAddr, purpose: Purpose, now: Instant) {
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        let is_asked = self.exchanges.iter().any(|exchange| exchange.to == to && exchange.purpose == purpose);
        if !is_asked {
            let id = transaction(&self.config.seed, self.exchanges.len());
            self.exchanges.push(Exchange::new(id, to, purpose, now));
        }
    }

    /// Whether this may come from there: an answer from whom was asked, or from the place that was to answer instead. The own
    /// request comes back from wherever the router says.
    fn may_answer(&self, exchange: &Exchange, from: SocketAddr, class: Class) -> bool {
        let to = exchange.to;
        match (exchange.purpose, class) {
            (Purpose::Hairpin, Class::Request) => true,
            (Purpose::Sample, Class::Success | Class::Error) => from == to,
            // Who can't answer from elsewhere says so from where it was asked.
            (Purpose::OtherPort | Purpose::OtherAddress, Class::Error) => from == to,
            (Purpose::OtherPort, Class::Success) => from.ip() == to.ip() && !self.opened.contains(&from),
            (Purpose::OtherAddress, Class::Success) => {
                self.other.is_some_and(|other| other.ip() == from.ip()) && !self.opened.contains(&from)
            }
            _ => false,
        }
    }

    /// Asks what the answers so far make worth asking, and tells what is known.
    fn go_on(&mut self, now: Instant) {
        let before = self.exchanges.len();
        self.look_at_other_address(now);
        self.ask_probed_port(now);
        if let Some(own) = self.hairpin_target() {
            self.ask(own, Purpose::Hairpin, now);
        }
        if self.exchanges.len() > before {
            return self.handle_timeout(now);
        }
        self.tell(now);
    }

    /// Asks the port that was kept unasked. If its probe was not let in, the router may have taken it for a flow of its own, and then
    /// gives this socket another port, towards it and everybody after it: so it is asked last, and where one port serves all only from
    /// a socket that nobody needs.
    fn ask_probed_port(&mut self, now: Instant) {
        let is_open = |exchange: &Exchange| exchange.purpose == Purpose::OtherAddress && exchange.outcome.is_none();
        let other = self.other.map(|other| other.ip());
        let waits = self
            .exchanges
            .iter()
            .any(|exchange| is_open(exchange) || exchange.outcome.is_none() && other == Some(exchange.to.ip()));
        let is_harmless = match self.outcome(Purpose::OtherPort) {
            Some(Outcome::Answered(_) | Outcome::Refused) => true,
            Some(Outcome::Silence) => {
                self.config.spare || self.facts().mapping.is_some_and(|mapping| mapping != Mapping::Eim)
            }
            None => false,
        };
        if let Some(to) = neighbour(self.config.server, NEIGHBOURS).filter(|_| is_harmless && !waits) {
            self.ask(to, Purpose::Sample, now);
        }
    }

    /// The server's other address must not be asked for a sample before it is known whether it gets in unasked.
    fn look_at_other_address(&mut self, now: Instant) {
        let server = self.config.server;
        let Some(other) = self.other.filter(|other| {
            let is_foreign = self.exchanges.iter().all(|exchange| exchange.to.ip() != other.ip());
            let is_ours = self.outcome(Purpose::OtherAddress).is_some();
            verdict::is_addressable(*other) && other.is_ipv4() == server.is_ipv4() && (is_foreign || is_ours)
        }) else {
            return;
        };
        self.ask(server, Purpose::OtherAddress, now);
        if self.outcome(Purpose::OtherAddress).is_some() {
            // Not at the port that has just sent unasked: its tuple may be spoilt.
            self.ask(SocketAddr::new(other.ip(), server.port()), Purpose::Sample, now);
        }
    }

    /// The own outside address, if there is one that holds for every destination.
    fn hairpin_target(&self) -> Option<SocketAddr> {
        let all: Vec<_> = self.samples().map(|sample| sample.seen).collect();
        let seen = self.of_main_family(&all);
        let own = seen.first()?.at;
        let is_translated = !self.is_own(own.ip());
        (verdict::mapping(&seen) == Some(Mapping::Eim) && is_translated && verdict::is_addressable(own)).then_some(own)
    }

    pub(crate) fn outcome(&self, purpose: Purpose) -> Option<Outcome> {
        self.exchanges.iter().find(|exchange| exchange.purpose == purpose)?.outcome
    }

    /// Whether some of the first requests may still be answered at the first sending.
    fn is_waiting(&self, now: Instant) -> bool {
        let is_open = |exchange: &Exchange| exchange.purpose == Purpose::Sample && exchange.outcome.is_none();
        now < self.started + PATIENCE && self.exchanges[..self.first].iter().any(is_open)
    }

    fn tell(&mut self, now: Instant) {
        let is_done = self.exchanges.iter().all(|exchange| exchange.outcome.is_some());
        let facts = self.facts();
        let is_worth_it = !facts.seen.is_empty() && (is_done || facts.mapping.is_some() && !self.is_waiting(now));
        if is_worth_it && self.told.as_ref() != Some(&facts) {
            self.told = Some(facts.clone());
            self.events.push_back(Event::Facts(facts));
        }
        if is_done && !self.is_done {
            self.is_done = true;
            self.events.push_back(Event::Done);
        }
    }
}

pub(crate) fn neighbour(server: SocketAddr, step: u16) -> Option<SocketAddr> {
    Some(SocketAddr::new(server.ip(), server.port().checked_add(step)?))
}

/// Nobody who has seen some transaction ids can tell the next one.
fn transaction(seed: &[u8; 32], number: usize) -> TransactionId {
    let mut id = [0; 12];
    for (part, bytes) in id.chunks_mut(6).enumerate() {
        let mut hasher = DefaultHasher::new();
        (seed, number, part).hash(&mut hasher);
        bytes.copy_from_slice(&hasher.finish().to_be_bytes()[..6]);
    }
    TransactionId(id)
}
