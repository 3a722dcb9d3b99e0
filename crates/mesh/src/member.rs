use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use identity::ChannelSecret;
use link::{Kind, LinkId};
use punch::Way;
use registry::MemberName;
use wire::{
    IdentityKey, MemberSlot, PeerTag, RunId,
    agent::{Delivery, PeerStatus},
    signal::{Candidate, Card, RelayGrant},
};

use crate::{
    Config, Event, Relaying, Secret, ServerEvent, Transmit,
    deliveries::Deliveries,
    detour::Detour,
    door::Doors,
    early::Early,
    early_voice::Spent,
    entry::Entry,
    gossip::Gossiping,
    guessing::Guessing,
    introducer::Introducer,
    lend::Lending,
    observe::Observation,
    peer::{self, Peer},
    signalling::{CLOSE_LEFT, CONNECT_TIMEOUT, Retry, State},
};

/// So many runs are remembered as blocked, the latest; one that is forgotten is seen anew.
const MAX_BLOCKED: usize = 256;

/// One member of a channel; see the crate's description.
pub struct Mesh {
    pub(crate) config: Config,
    pub(crate) secret: Option<ChannelSecret>,
    /// Sessions with the rendezvous, or of those who ask this member as one.
    pub(crate) signals: link::Endpoint,
    /// Sessions with peers.
    pub(crate) sessions: link::Endpoint,
    pub(crate) paths: punch::Agent,
    pub(crate) signalling: State,
    pub(crate) retry: Retry,
    pub(crate) detour: Detour,
    pub(crate) early: Early,
    pub(crate) spent: Spent,
    /// Our own seat.
    pub(crate) slot: Option<MemberSlot>,
    /// The right to use the rendezvous' relay, as long as there is one.
    pub(crate) relay: Option<RelayGrant>,
    /// Whether the rendezvous has a card with other addresses than the member has.
    pub(crate) card_is_stale: bool,
    pub(crate) peers: BTreeMap<PeerTag, Peer>,
    pub(crate) links: HashMap<LinkId, PeerTag>,
    pub(crate) next_tag: u32,
    /// Runs of members that are to be treated as if they were not there, at most [`MAX_BLOCKED`].
    pub(crate) blocked: VecDeque<(IdentityKey, RunId)>,
    pub(crate) deliveries: Deliveries,
    pub(crate) introducer: Option<Introducer>,
    pub(crate) guessing: Guessing,
    pub(crate) observation: Observation,
    pub(crate) lending: Lending,
    pub(crate) gossip: Gossiping,
    pub(crate) doors: Doors,
    pub(crate) entry: Entry,
    /// The number of our latest card.
    pub(crate) serial: u64,
    /// How long an answer of a peer may take.
    pub(crate) round_trip: Duration,
    pub(crate) transmits: VecDeque<Transmit>,
    pub(crate) events: VecDeque<Event>,
}

impl Mesh {
    /// Starts to join at once: the first datagrams are ready to be taken.
    pub fn new(mut config: Config, now: Instant) -> Self {
        let endpoint = |accept, purpose: u8| {
            let seed = config.seed.map(|byte| byte ^ purpose);
            link::Endpoint::new(link::Config { identity: &config.identity, seed, accept }, now)
        };
        let (signals, sessions) = (endpoint(link::Accept::Signal, 0), endpoint(link::Accept::Peer, 1));
        let punch_seed = u64::from_le_bytes(std::array::from_fn(|i| config.seed[i] ^ config.seed[i + 8]));
        let mut paths = punch::Agent::new(punch_seed);
        if config.allow_loopback {
            paths.allow_loopback();
        }
        let lending = Lending::new(config.seed.map(|byte| byte ^ 3), now);
        let entry = Entry::new(&config.via, config.seed.map(|byte| byte ^ 4));
        let serial = config.started_at;
        let early = Early::new(config.ticket.take());
        let mut mesh = Self {
            config,
            secret: None,
            signals,
            sessions,
            paths,
            signalling: State::Waiting { until: now },
            retry: Retry::default(),
            detour: Detour::default(),
            early,
            spent: Spent::default(),
            slot: None,
            relay: None,
            card_is_stale: false,
            peers: BTreeMap::new(),
            links: HashMap::new(),
            next_tag: 1,
            blocked: VecDeque::new(),
            deliveries: Deliveries::default(),
            introducer: None,
            guessing: Guessing::default(),
            observation: Observation::default(),
            lending,
            gossip: Gossiping::default(),
            doors: Doors::default(),
            entry,
            serial,
            round_trip: Duration::ZERO,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        };
        if mesh.config.introduce {
            let me = mesh.key();
            mesh.signalling = State::Introducing;
            mesh.config.server_key = Some(me);
            if mesh.take_secret(me) {
                mesh.introduce(now);
            }
        } else if mesh.config.via.only {
            mesh.signalling = State::Serverless;
        } else {
            mesh.connect_to_server(now);
        }
        if !mesh.config.via.members.is_empty() {
            mesh.enter(now);
        }
        mesh
    }

    /// Our key.
    pub fn key(&self) -> IdentityKey {
        self.config.identity.key()
    }

    /// Everybody who is there.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus> + '_ {
        self.peers.values().map(|peer| self.status(peer))
    }

    /// How one peer stands; `None` if it has left.
    pub fn peer(&self, tag: PeerTag) -> Option<PeerStatus> {
        self.peers.get(&tag).map(|peer| self.status(peer))
    }

    fn status(&self, peer: &Peer) -> PeerStatus {
        let rtt = peer.link.filter(|_| peer.secure).and_then(|link| self.sessions.stats(link)).map(|stats| stats.rtt);
        PeerStatus {
            tag: peer.tag,
            name: peer.name.clone(),
            key: peer.key,
            path: peer.path,
            addr: self.paths.route(peer.tag).and_then(Way::addr),
            via: self.lender_of(peer.tag),
            rtt_us: rtt.and_then(|rtt| u32::try_from(rtt.as_micros()).ok()),
            secure: peer.secure,
        }
    }

    /// Ends what there is with a peer, and ignores it until it starts anew.
    pub fn block(&mut self, tag: PeerTag, now: Instant) {
        if let Some(peer) = self.peers.get(&tag) {
            self.blocked.truncate(MAX_BLOCKED - 1);
            self.blocked.push_front((peer.key, peer.run));
        }
        self.events.retain(|event| !matches!(event, Event::Voice { tag: from, .. } if *from == tag));
        self.remove_peer(tag, "its key is not the one known", now);
        self.settle(now);
    }

    /// Gives the channel secret that [`ServerEvent::SecretNeeded`] asked for.
    pub fn set_secret(&mut self, secret: ChannelSecret, now: Instant) {
        self.secret = Some(secret);
        match self.signalling {
            State::NeedsSecret { link } => self.join(link, now),
            State::Introducing if self.introducer.is_none() => self.introduce(now),
            _ => self.enter(now),
        }
        self.settle(now);
    }

    /// The address of the rendezvous.
    pub fn server(&self) -> SocketAddr {
        self.config.server
    }

    /// Sets another address for the rendezvous, for the next attempt.
    pub fn set_server(&mut self, server: SocketAddr) {
        self.config.server = server;
    }

    /// Tells everybody the member's own addresses anew, and looks for paths again: the network has changed.
    pub fn network_changed(&mut self, candidates: Vec<Candidate>, now: Instant) {
        self.config.candidates = candidates;
        self.observe_anew(now);
        self.guess_from_elsewhere(now);
        self.update_card(now);
        self.paths.network_changed(now);
        self.greet_server(now);
        self.detour_reconsiders(now);
        self.settle(now);
    }

    /// Tells everybody the member's own addresses anew; paths that work stay in use: an address has come or gone, such as
    /// a port mapping.
    pub fn offer(&mut self, candidates: Vec<Candidate>, now: Instant) {
        self.config.candidates = candidates;
        self.note_mapped(now);
        self.update_card(now);
    }

    pub(crate) fn card(&self) -> Card {
        let (run, serial, ephemeral) = (self.config.run, self.serial, self.config.ephemeral.key());
        // What can't be a name is refused by whoever is asked; it need not fit a card.
        let name = MemberName::parse(&self.config.name).map(|name| name.as_str().to_owned()).unwrap_or_default();
        if self.config.relaying == Relaying::Only {
            return Card { run, ephemeral, serial, name, candidates: Vec::new(), nat: None };
        }
        Card { run, ephemeral, serial, name, candidates: self.offered(), nat: self.nat().cloned() }
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.signals.handle_timeout(now);
        self.sessions.handle_timeout(now);
        self.paths.handle_timeout(now);
        if self.signalling.poll_timeout().is_some_and(|until| until <= now) {
            self.signalling_timed_out(now);
        }
        self.detour_timed_out(now);
        self.early_timed_out(now);
        self.early_voice_timed_out(now);
        self.introducer_timed_out(now);
        self.observation_timed_out(now);
        self.lending_timed_out(now);
        self.gossip_timed_out(now);
        self.entry_timed_out(now);
        // One at a time: the checks that come meanwhile go before.
        let reopen = self.peers.values().find(|peer| peer.reopen_at.is_some_and(|at| at <= now));
        if let Some(tag) = reopen.map(|peer| peer.tag) {
            self.open_session(tag, now);
        }
        for (id, tag) in self.deliveries.overdue(now) {
            self.settle_delivery(id, tag, Delivery::TimedOut);
        }
        self.settle(now);
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let reopen = self.peers.values().filter_map(|peer| peer.reopen_at).min();
        [
            self.signals.poll_timeout(),
            self.sessions.poll_timeout(),
            self.paths.poll_timeout(),
            self.signalling.poll_timeout(),
            self.detour.poll_timeout(),
            self.early.poll_timeout(),
            self.early_voice_timeout(),
            self.deliveries.poll_timeout(),
            self.introducer.as_ref().and_then(Introducer::poll_timeout),
            self.observation.poll_timeout(),
            self.guess_timeout(),
            self.lending.poll_timeout(),
            self.gossip_timeout(),
            self.entry.poll_timeout(),
            reopen,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if let Event::Seen { tag, .. } = event {
            self.early_voice_told(tag);
        }
        Some(event)
    }

    /// Leaves: tells the rendezvous and every peer; drain [`Self::poll_transmit`] once more, then end.
    pub fn leave(&mut self, now: Instant) {
        self.close_introducer(now);
        self.signalling = State::Ended;
        self.signals.close_all(CLOSE_LEFT, "left", now);
        self.sessions.close_all(CLOSE_LEFT, "left", now);
    }

    /// Takes over what the cores below have to say, until they are quiet.
    pub(crate) fn settle(&mut self, now: Instant) {
        loop {
            if let Some((link, event)) = self.signals.poll_event() {
                self.handle_signals_event(link, event, now);
            } else if let Some((link, event)) = self.sessions.poll_event() {
                self.handle_session_event(link, event, now);
            } else if let Some(event) = self.paths.poll_event() {
                self.handle_path_event(event, now);
            } else {
                break;
            }
        }
        for id in self.deliveries.take_settled() {
            self.events.push_back(Event::Settled { id });
        }
        self.consider_guess(now);
    }

    fn handle_signals_event(&mut self, link: LinkId, event: link::Event, now: Instant) {
        if self.handle_attempt(link, &event, now) {
            return;
        }
        if self.signalling.link() == Some(link) {
            self.handle_server_event(link, event, now);
        } else if self.entry.link() == Some(link) {
            self.handle_entry_event(link, event, now);
        } else {
            self.handle_asker(link, event, now);
        }
    }

    fn handle_session_event(&mut self, link: LinkId, event: link::Event, now: Instant) {
        if let link::Event::Connected { from, incoming, .. } = event {
            return match peer::tag_at(from) {
                Some(tag) => self.session_secured(tag, link, incoming, now),
                None => self.sessions.close(link, CLOSE_LEFT, "unknown peer", now),
            };
        }
        let Some(tag) = self.links.get(&link).copied() else { return };
        match event {
            link::Event::Datagram(bytes) => self.handle_voice(tag, &bytes),
            link::Event::Message { lane, body } => self.handle_message(tag, lane, &body, now),
            link::Event::Writable => self.flush_outbox(tag),
            link::Event::Closed(reason) => self.session_closed(tag, link, &reason, now),
            link::Event::Connected { .. } | link::Event::Moved(_) => {}
        }
    }
}

impl Mesh {
    fn connect_to_server(&mut self, now: Instant) {
        self.events.push_back(Event::Server(ServerEvent::Connecting));
        self.observe(now);
        self.detour_begins(now);
        match self.signals.connect(Kind::Signal, self.config.server, self.config.server_key, now) {
            Ok(link) => {
                self.signalling = State::Connecting { link, until: now + CONNECT_TIMEOUT };
                self.early_begins(now);
            }
            Err(error) => self.server_lost(error.to_string(), now),
        }
    }

    fn signalling_timed_out(&mut self, now: Instant) {
        if let State::Waiting { .. } = self.signalling {
            return self.connect_to_server(now);
        }
        if let Some(link) = self.signalling.link() {
            self.signals.close(link, CLOSE_LEFT, "no answer", now);
        }
        self.server_lost(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()), now);
    }

    pub(crate) fn server_lost(&mut self, why: String, now: Instant) {
        self.set_relay(None, now);
        self.detour_lost();
        let was_in = matches!(self.signalling, State::Joined { .. });
        let wait = self.config.retry.then(|| self.retry.failed());
        self.signalling = wait.map_or(State::Ended, |wait| State::Waiting { until: now + wait });
        self.events.push_back(Event::Server(ServerEvent::Lost { why, retry_in: wait }));
        if was_in {
            self.gossip_alone(now);
        }
        self.enter(now);
    }

    /// The session with the rendezvous is up: the channel secret comes next, then the join.
    pub(crate) fn server_connected(&mut self, link: LinkId, key: IdentityKey, now: Instant) {
        if self.entry.word.is_some_and(|word| word != key) {
            if !self.peers.values().any(|peer| peer.secure) {
                // Nobody was met by that word, so the rendezvous that was named counts.
                (self.entry.word, self.secret) = (None, None);
                return self.server_connected(link, key, now);
            }
            self.signals.close(link, CLOSE_LEFT, "another channel", now);
            return self.server_lost("by the word of the member who let us in, the channel is another's".into(), now);
        }
        if self.config.server_key.is_none() {
            self.config.server_key = Some(key);
            self.events.push_back(Event::Server(ServerEvent::Key(key)));
        }
        if self.take_secret(key) {
            self.join(link, now);
        } else {
            self.signalling = State::NeedsSecret { link };
        }
    }

    /// Makes the channel secret if that needs nobody's help; else asks the program for it.
    pub(crate) fn take_secret(&mut self, server: IdentityKey) -> bool {
        if self.secret.is_none() {
            self.secret = match std::mem::replace(&mut self.config.secret, Secret::Deferred) {
                Secret::Open => {
                    self.config.secret = Secret::Open;
                    Some(ChannelSecret::open(&server, &self.config.channel))
                }
                Secret::Known(secret) => Some(secret),
                Secret::Deferred => None,
            };
        }
        if self.secret.is_none() {
            self.events.push_back(Event::Server(ServerEvent::SecretNeeded(server)));
        }
        self.secret.is_some()
    }
}
