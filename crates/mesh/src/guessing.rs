//! When ports are guessed, and how two members agree to do so: at the same time, and while the relay carries the call.
//!
//! The side with the higher key leads: it offers, the other one answers, and both begin. A guess may begin as soon as two routers
//! are known to need one; where plain means should do, they get a second. There is one guess at a time, and for each peer one in
//! 10 minutes.

mod history;
mod scout;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    time::{Duration, Instant},
};

use nat::{Filtering, Mapping, NatFacts, Ports};
use punch::{Pair, Part, SocketId, SocketRequest};
use wire::{
    PeerTag,
    guess::{Guess, Refusal, Router},
    peer::Control,
};

use self::{history::History, scout::Scout};
use crate::{Mesh, Relaying, observe::is_another, peer::Peer, signalling::State};

/// How long plain means are given where they should do.
const PLAIN: Duration = Duration::from_secs(1);
/// The same where a router is spoilt by what comes too early: if it was, nothing but a fresh socket helps.
const PLAIN_IF_SPOILT: Duration = Duration::from_millis(300);
/// The same where a router may have another port for each address though it seems to have one for all: then they are vain.
const PLAIN_IF_DECEIVED: Duration = Duration::from_millis(600);
/// After fresh sockets or a few foreseen ports have not helped, others, or a real guess, may follow at once.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How long the other side may take to answer an offer: it may have to let the rendezvous look at a socket.
const ANSWER: Duration = Duration::from_secs(4);
/// Packets that the system may refuse to send before a guess is given up.
const MAX_UNSENT: u32 = 16;
/// A round trip of more than three times what it was, and this, says that the guess is too much for somebody's line.
const DEGRADED: Duration = Duration::from_millis(200);

/// The guess of the moment, and those of before.
#[derive(Debug, Default)]
pub(crate) struct Guessing {
    current: Option<Current>,
    history: History,
    number: u32,
}

#[derive(Debug)]
struct Current {
    tag: PeerTag,
    number: u32,
    leads: bool,
    /// Where the rendezvous sees the peer.
    at: SocketAddr,
    /// The round trip before the guess.
    rtt: Duration,
    /// What our router and the peer's were taken for before the guess.
    taken_for: [Option<NatFacts>; 2],
    /// Both routers, as soon as the other side has said what its own is.
    pair: Option<Pair>,
    /// What we have told of our own router.
    own: Option<Router>,
    stage: Stage,
    unsent: u32,
}

#[derive(Debug)]
enum Stage {
    /// The rendezvous looks at a fresh socket of ours.
    Scouting(Scout),
    /// The offer is out.
    Waiting { until: Instant },
    /// Packets are on their way.
    Running,
}

impl Mesh {
    /// Takes what is to be done with sockets beside the main one: before [`Mesh::poll_transmit`], of which what comes from a
    /// socket that is not open is to be dropped.
    pub fn poll_socket_request(&mut self) -> Option<SocketRequest> {
        self.paths.poll_socket_request()
    }

    /// A socket could not be opened, or is broken.
    pub fn handle_socket_gone(&mut self, socket: SocketId, now: Instant) {
        self.paths.handle_socket_gone(socket, now);
        self.settle(now);
    }

    /// The system has refused to send a datagram there, or has told of an error of one sent before (to an unspecified address, if
    /// it does not say of which).
    pub fn note_unsent(&mut self, to: SocketAddr, now: Instant) {
        let Some(current) = &mut self.guessing.current else { return };
        if to.ip() != current.at.ip() && !to.ip().is_unspecified() {
            return;
        }
        current.unsent += 1;
        if current.unsent > MAX_UNSENT {
            tracing::debug!("packets of a guess could not be sent");
            self.give_up_guess(now);
        }
    }

    /// Begins, goes on with, or ends a guess, if it is time to.
    pub(crate) fn consider_guess(&mut self, now: Instant) {
        if self.guessing.current.is_some() {
            return self.go_on_guessing(now);
        }
        if !self.may_guess() {
            return;
        }
        self.try_what_is_foreseen(now);
        let due = self.peers.keys().find(|tag| self.guess_due(**tag).is_some_and(|due| due <= now)).copied();
        if let Some(tag) = due {
            self.prepare_guess(tag, now);
        }
    }

    pub(crate) fn guess_timeout(&self) -> Option<Instant> {
        match self.guessing.current.as_ref().map(|current| &current.stage) {
            Some(Stage::Scouting(scout)) => Some(scout.poll_timeout()),
            Some(Stage::Waiting { until }) => Some(*until),
            // The paths' own timeouts lead here.
            Some(Stage::Running) => None,
            None if !self.may_guess() => None,
            None => self.peers.keys().filter_map(|tag| self.guess_due(*tag)).min(),
        }
    }

    fn may_guess(&self) -> bool {
        self.config.guess && self.config.relaying != Relaying::Only
    }

    /// When we should offer a guess to a peer; `None` if that is not our part, or not possible.
    fn guess_due(&self, tag: PeerTag) -> Option<Instant> {
        let peer = self.peers.get(&tag)?;
        let relayed_since = peer.relayed_since.filter(|_| self.key() > peer.key)?;
        // What has to go by TCP will not go by guessing.
        if !matches!(self.signalling, State::Joined { .. }) || self.is_tunnelled() {
            return None;
        }
        let (ours, theirs) = (self.nat()?, peer.nat.as_ref()?);
        let is_doubted = self.is_doubted(peer);
        let (at, mut pair) = (seen_by_v4(&peer.observed)?, pair(ours, theirs, is_doubted));
        pair.their_port = at.port();
        pair.part()?;
        let is_spoilt = [ours, theirs].iter().any(|facts| facts.poisoned == Some(true));
        let wait = match are_plain_means_vain(ours, theirs, &pair) {
            true => Duration::ZERO,
            false if is_spoilt => PLAIN_IF_SPOILT,
            false if may_deceive(ours) || may_deceive(theirs) => PLAIN_IF_DECEIVED,
            false => PLAIN,
        };
        let due = relayed_since + wait;
        Some(self.guessing.history.allowed_at(&peer.key).map_or(due, |allowed| due.max(allowed)))
    }

    /// Tries, once for each peer, where its router will have put it if that follows from what was seen.
    fn try_what_is_foreseen(&mut self, now: Instant) {
        let is_easy = self.nat().is_some_and(|ours| ours.mapping == Some(Mapping::Eim));
        for peer in self.peers.values_mut().filter(|peer| peer.relayed_since.is_some() && !peer.is_foreseen) {
            let (Some(theirs), Some(at)) = (&peer.nat, seen_by_v4(&peer.observed)) else { continue };
            peer.is_foreseen = true;
            if is_easy {
                self.paths.try_ports(peer.tag, at, &punch::foreseen(theirs), now);
            }
        }
    }

    /// Whether what was seen of the routers is taken for a deception, if it may be one: plain means have failed, and no router
    /// was spoilt that a fresh socket may help.
    fn is_doubted(&self, peer: &Peer) -> bool {
        let is_spoilt = |facts: Option<&NatFacts>| facts.is_some_and(|facts| facts.poisoned == Some(true));
        self.guessing.history.has_failed(&peer.key) || !is_spoilt(self.nat()) && !is_spoilt(peer.nat.as_ref())
    }

    /// We are in another place: a guess from here is in vain.
    pub(crate) fn guess_from_elsewhere(&mut self, now: Instant) {
        self.give_up_guess(now);
        self.guess_anew(now);
    }

    /// Our router is not what it was taken for: what has failed may not do so again.
    pub(crate) fn guess_anew(&mut self, now: Instant) {
        self.guessing.history.we_moved(now);
        self.peers.values_mut().for_each(|peer| peer.is_foreseen = false);
    }

    /// The rendezvous sees a peer in another place.
    pub(crate) fn guess_elsewhere(&mut self, tag: PeerTag, now: Instant) {
        if self.guessing.current.as_ref().is_some_and(|current| current.tag == tag) {
            self.give_up_guess(now);
        }
        let Some(peer) = self.peers.get_mut(&tag) else { return };
        peer.is_foreseen = false;
        self.guessing.history.peer_moved(&peer.key, now);
    }

    fn prepare_guess(&mut self, tag: PeerTag, now: Instant) {
        let (Some(peer), Some(ours)) = (self.peers.get(&tag), self.nat()) else { return };
        let (Some(theirs), Some(at)) = (&peer.nat, seen_by_v4(&peer.observed)) else { return };
        let is_doubted = self.is_doubted(peer);
        let room_at = self.paths.guess_room_at(&pair(ours, theirs, is_doubted), now);
        if room_at > now {
            return self.guessing.history.postpone(peer.key, room_at);
        }
        let (ours, theirs) = (router(ours, is_doubted), router(theirs, is_doubted));
        self.guessing.number = self.guessing.number.wrapping_add(1);
        let number = self.guessing.number;
        self.start(self.guess_of(tag, number, true, at), &ours, &theirs, now);
    }

    fn guess_of(&self, tag: PeerTag, number: u32, leads: bool, at: SocketAddr) -> Current {
        let taken_for = [self.nat().cloned(), self.peers.get(&tag).and_then(|peer| peer.nat.clone())];
        // The stage is set by whoever starts it.
        let stage = Stage::Running;
        Current { tag, number, leads, at, rtt: self.rtt_to(tag), taken_for, pair: None, own: None, stage, unsent: 0 }
    }

    /// The first thing to do on either side.
    fn start(&mut self, mut current: Current, ours: &Router, theirs: &Router, now: Instant) {
        let attempt = self.attempt_at(current.tag);
        tracing::debug!(tag = %current.tag, leads = current.leads, attempt, "a guess begins");
        if Pair::needs_scout(ours, theirs, attempt) {
            let id = self.seeded(current.number, "scout");
            current.stage = Stage::Scouting(Scout::new(self.paths.open_scout(), id, now));
            self.guessing.current = Some(current);
            self.go_on_guessing(now);
        } else {
            self.guessing.current = Some(current);
            self.scouted(now);
        }
    }

    /// Our own part is ready: the other side is to know.
    fn scouted(&mut self, now: Instant) {
        let peer = self.guessing.current.as_ref().and_then(|current| self.peers.get(&current.tag));
        let is_doubted = peer.is_some_and(|peer| self.is_doubted(peer));
        let ours = self.nat().map(|facts| router(facts, is_doubted));
        let Some(ours) = ours else { return self.give_up_guess(now) };
        let Some(current) = &mut self.guessing.current else { return };
        let router = match &current.stage {
            Stage::Scouting(scout) => scout.revise(ours),
            Stage::Waiting { .. } | Stage::Running => ours,
        };
        let (tag, number) = (current.tag, current.number);
        let message = match &mut current.pair {
            None => {
                current.stage = Stage::Waiting { until: now + ANSWER };
                Guess::Offer { number, router }
            }
            Some(pair) => {
                pair.ours = router;
                Guess::Ready { number, router }
            }
        };
        let follows = current.pair.is_some();
        if !self.say_to_peer(tag, &Control::Guess(message)) {
            return self.give_up_guess(now);
        }
        if follows {
            self.run_guess(now);
        } else if let Some(current) = &mut self.guessing.current {
            current.own = Some(router);
        }
    }

    fn run_guess(&mut self, now: Instant) {
        let Some(current) = &mut self.guessing.current else { return };
        current.stage = Stage::Running;
        let (tag, at, number, pair) = (current.tag, current.at, current.number, current.pair);
        let seed = u64::from_le_bytes(self.seeded(number, "ports")[..8].try_into().unwrap_or_default());
        let plan = pair.and_then(|pair| pair.plan(self.attempt_at(tag), seed));
        let begun = plan.map(|plan| self.paths.begin_guess(tag, at, plan, now));
        if !matches!(begun, Some(Ok(()))) {
            tracing::debug!(%tag, ?begun, "no guess is possible");
            self.give_up_guess(now);
        }
    }

    /// How many guesses with a peer have failed right before.
    fn attempt_at(&self, tag: PeerTag) -> u8 {
        self.peers.get(&tag).map_or(0, |peer| self.guessing.history.in_a_row(&peer.key))
    }

    /// What the other side says about guessing.
    pub(crate) fn handle_guess(&mut self, tag: PeerTag, guess: Guess, now: Instant) {
        match guess {
            Guess::Offer { number, router } => {
                if let Err(why) = self.accept_guess(tag, number, router, now) {
                    self.say_to_peer(tag, &Control::Guess(Guess::Refuse { number, why }));
                }
            }
            Guess::Ready { number, router } => {
                let Some(current) = self.awaited(tag, number) else { return };
                let Some(ours) = current.own else { return };
                let (their_port, rtt) = (current.at.port(), current.rtt);
                current.pair = Some(Pair { ours, theirs: router, their_port, rtt, leads: true });
                self.run_guess(now);
            }
            Guess::Refuse { number, why } => {
                if self.awaited(tag, number).is_none() {
                    return;
                }
                tracing::debug!(%tag, %why, "the other side does not guess");
                self.guessing.current = None;
                self.paths.end_guess(now);
                if let Some(peer) = self.peers.get(&tag) {
                    self.guessing.history.refused(peer.key, why, now);
                }
            }
        }
    }

    fn awaited(&mut self, tag: PeerTag, number: u32) -> Option<&mut Current> {
        let current = self.guessing.current.as_mut()?;
        let is_it = current.tag == tag && current.number == number && matches!(current.stage, Stage::Waiting { .. });
        is_it.then_some(current)
    }

    fn accept_guess(&mut self, tag: PeerTag, number: u32, theirs: Router, now: Instant) -> Result<(), Refusal> {
        let (me, rtt) = (self.key(), self.rtt_to(tag));
        let peer = self.peers.get(&tag).filter(|peer| peer.key > me).ok_or(Refusal::Hopeless)?;
        if !self.may_guess() {
            return Err(Refusal::Off);
        }
        let is_relayed = peer.relayed_since.is_some();
        let current = self.guessing.current.as_ref();
        if current.is_some_and(|current| current.tag == tag && matches!(current.stage, Stage::Running)) {
            // Who offers another one has ended its part of this one.
            self.give_up_guess(now);
        }
        if self.guessing.current.is_some() || !is_relayed {
            return Err(Refusal::Busy);
        }
        let peer = self.peers.get(&tag).ok_or(Refusal::Hopeless)?;
        if self.guessing.history.allowed_at(&peer.key).is_some_and(|allowed| allowed > now + history::SLACK) {
            return Err(Refusal::TooSoon);
        }
        let at = seen_by_v4(&peer.observed).ok_or(Refusal::Hopeless)?;
        // Nothing is known yet of our own router: soon it will be.
        let is_doubted = self.is_doubted(peer);
        let ours = self.nat().map(|facts| router(facts, is_doubted)).ok_or(Refusal::Busy)?;
        let pair = Pair { ours, theirs, their_port: at.port(), rtt, leads: false };
        pair.part().ok_or(Refusal::Hopeless)?;
        if self.paths.guess_room_at(&pair, now) > now {
            return Err(Refusal::Busy);
        }
        let mut current = self.guess_of(tag, number, false, at);
        current.pair = Some(pair);
        self.start(current, &ours, &theirs, now);
        Ok(())
    }

    fn go_on_guessing(&mut self, now: Instant) {
        if self.is_guess_in_the_way() {
            return self.give_up_guess(now);
        }
        let server = self.config.server;
        let Some(current) = &mut self.guessing.current else { return };
        match &mut current.stage {
            Stage::Scouting(scout) if scout.is_over(now) => self.scouted(now),
            Stage::Scouting(scout) => self.transmits.extend(std::iter::from_fn(|| scout.poll_transmit(server, now))),
            Stage::Waiting { until } if *until <= now => self.give_up_guess(now),
            Stage::Waiting { .. } | Stage::Running => {}
        }
    }

    /// Whether the call or the line to the rendezvous suffers, or there is no call any more.
    fn is_guess_in_the_way(&self) -> bool {
        let Some(current) = &self.guessing.current else { return false };
        let is_secure = self.peers.get(&current.tag).is_some_and(|peer| peer.secure);
        let is_joined = matches!(self.signalling, State::Joined { .. });
        !is_secure || !is_joined || self.rtt_to(current.tag) > current.rtt * 3 + DEGRADED
    }

    fn give_up_guess(&mut self, now: Instant) {
        let Some(current) = &self.guessing.current else { return };
        let tag = current.tag;
        self.paths.end_guess(now);
        self.guess_ended(tag, false, now);
    }

    pub(crate) fn guess_ended(&mut self, tag: PeerTag, met: bool, now: Instant) {
        let Some(current) = self.guessing.current.take_if(|current| current.tag == tag) else { return };
        let Some(peer) = self.peers.get(&tag) else { return };
        let deceives = |facts: Option<&NatFacts>| facts.is_some_and(may_deceive);
        let is_first = !self.guessing.history.has_failed(&peer.key);
        let may_be_otherwise = is_first && (deceives(self.nat()) || deceives(peer.nat.as_ref()));
        let was_mistaken = are_others(&current.taken_for, [self.nat(), peer.nat.as_ref()]);
        let again = match current.pair {
            Some(pair) if met => pair.is_cheap().then_some(history::PAUSE),
            // The other side has not answered, or not in time.
            None => Some(history::PAUSE),
            Some(pair) if pair.part() == Some(Part::Restart) || is_first && pair.is_quick_to_repeat() => Some(AT_ONCE),
            Some(pair) if was_mistaken || may_be_otherwise || pair.is_worth_another() => Some(history::PAUSE),
            _ => None,
        };
        let key = peer.key;
        self.guessing.history.note(key, met, again, now);
    }

    /// The rendezvous has seen a socket.
    pub(crate) fn handle_scouted(&mut self, socket: SocketId, from: SocketAddr, datagram: &[u8], now: Instant) {
        let server = self.config.server;
        let Some(Stage::Scouting(scout)) = self.guessing.current.as_mut().map(|current| &mut current.stage) else {
            return;
        };
        if from.ip() != server.ip() {
            return tracing::trace!(%from, "ignored a STUN message");
        }
        scout.handle_input(socket, datagram);
        self.go_on_guessing(now);
    }

    /// The round trip to a peer. The session's own measure begins anew with each path, and too low.
    fn rtt_to(&self, tag: PeerTag) -> Duration {
        let link = self.peers.get(&tag).and_then(|peer| peer.link);
        let of_session = link.and_then(|link| self.sessions.stats(link)).map(|stats| stats.rtt);
        let of_path = self.paths.path(tag).and_then(|path| path.rtt);
        of_session.max(of_path).unwrap_or(Duration::from_millis(300))
    }

    /// Chance for one purpose, which nobody else can foresee.
    fn seeded(&self, number: u32, purpose: &str) -> [u8; 12] {
        let mut bytes = [0; 12];
        for (part, chunk) in bytes.chunks_mut(6).enumerate() {
            let mut hasher = DefaultHasher::new();
            (self.config.seed, number, purpose, part).hash(&mut hasher);
            chunk.copy_from_slice(&hasher.finish().to_le_bytes()[..6]);
        }
        bytes
    }
}

/// Where the rendezvous sees a member by IPv4: that is where ports are guessed.
fn seen_by_v4(observed: &[SocketAddr]) -> Option<SocketAddr> {
    let canonical = |addr: &SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
    observed.iter().map(canonical).find(SocketAddr::is_ipv4)
}

/// A router as a guess takes it; after one that has failed, as the worst that it may be.
fn router(facts: &NatFacts, is_doubted: bool) -> Router {
    let NatFacts { mut mapping, ports, filtering, poisoned, .. } = *facts;
    if is_doubted && may_deceive(facts) {
        mapping = Some(Mapping::Adm);
    }
    Router { mapping, ports, filtering, poisoned, port: None }
}

/// Whether a router that chooses a port for each address may pass for one that has one port for all: only one address has looked.
fn may_deceive(facts: &NatFacts) -> bool {
    let is_alike = facts.mapping == Some(Mapping::Eim)
        && facts.ports == Some(Ports::Random)
        && facts.filtering == Some(Filtering::Adf);
    is_alike && facts.seen.iter().all(|seen| seen.by.ip() == facts.seen[0].by.ip())
}

/// Whether one of two routers is not what it was taken for.
fn are_others(before: &[Option<NatFacts>; 2], now: [Option<&NatFacts>; 2]) -> bool {
    let mut both = before.iter().zip(now).filter_map(|(before, now)| before.as_ref().zip(now));
    both.any(|(before, now)| is_another(before, now))
}

fn pair(ours: &NatFacts, theirs: &NatFacts, is_doubted: bool) -> Pair {
    let (ours, theirs) = (router(ours, is_doubted), router(theirs, is_doubted));
    Pair { ours, theirs, their_port: 0, rtt: Duration::ZERO, leads: true }
}

/// Whether nothing but a guess can lead to a direct path.
fn are_plain_means_vain(ours: &NatFacts, theirs: &NatFacts, pair: &Pair) -> bool {
    let is_lenient = |facts: &NatFacts| {
        facts.mapping == Some(Mapping::Eim) && matches!(facts.filtering, None | Some(Filtering::Eif | Filtering::Adf))
    };
    // What follows from what was seen is tried at once, without a guess.
    let is_foreseen = |facts: &NatFacts, other: &NatFacts| {
        matches!(facts.ports, Some(Ports::Sequential { .. })) && other.mapping == Some(Mapping::Eim)
    };
    let is_hopeful = ours.ipv6 && theirs.ipv6
        || ours.mapped.is_some()
        || theirs.mapped.is_some()
        || is_lenient(ours)
        || is_lenient(theirs)
        || is_foreseen(ours, theirs)
        || is_foreseen(theirs, ours);
    !is_hopeful && pair.part() != Some(Part::Restart)
}
