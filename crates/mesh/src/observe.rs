//! What router this member is behind: asked with the join, over the same socket, and told to the others in the card.

use std::{
    mem::discriminant,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use nat::{Classifier, Event as Found, Mapping, NatFacts};
use wire::{
    PeerTag,
    signal::{Candidate, CandidateKind, MAX_CANDIDATES, ToServer},
};

use crate::{Event, Mesh, Transmit, signalling::State};

/// When it is asked again after nobody, or only one place, has answered in the end, such as a rendezvous that answers a network
/// only so often.
const AGAIN: [Duration; 4] =
    [Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(60)];

/// What a member needs to learn what router it is behind.
#[derive(Clone, Debug)]
pub struct Observe {
    /// The socket's local port.
    pub port: u16,
    /// STUN servers to ask besides the rendezvous.
    pub observers: Vec<SocketAddr>,
}

/// How far this member is with it.
#[derive(Debug, Default)]
pub(crate) struct Observation {
    classifier: Option<Classifier>,
    /// The rendezvous that was asked last.
    asked: Option<SocketAddr>,
    rounds: u8,
    /// How often nothing was learned in a row, and when to ask again.
    in_vain: usize,
    again_at: Option<Instant>,
    /// What was found last, which the others need not know yet.
    found: Option<NatFacts>,
    /// What the others are told.
    told: Option<NatFacts>,
}

impl Observation {
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        [self.classifier.as_ref().and_then(Classifier::poll_timeout), self.again_at].into_iter().flatten().min()
    }

    /// The shortest round trip to the rendezvous, or whoever else was asked.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.classifier.as_ref()?.rtt()
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        let out = self.classifier.as_mut()?.poll_transmit()?;
        Some(Transmit::from_main(out.to, out.payload.into()))
    }
}

impl Mesh {
    /// What is known of this member's router.
    pub fn nat(&self) -> Option<&NatFacts> {
        self.observation.told.as_ref()
    }

    /// One sentence on why there is no direct path to a peer, as far as their routers explain it.
    pub fn why_not_direct(&self, tag: PeerTag) -> Option<&'static str> {
        let theirs = self.peers.get(&tag)?.nat.as_ref()?;
        Some(nat::why_not_direct(self.nat()?, theirs))
    }

    /// Tells everybody what has changed about this member, without a doubt about the paths that there are.
    pub fn update_card(&mut self, now: Instant) {
        self.serial += 1;
        self.card_is_stale = true;
        self.refresh_card(now);
        self.spread_own_card(now);
        self.settle(now);
    }

    /// Replaces a stale card, once there is a rendezvous that has one.
    pub(crate) fn refresh_card(&mut self, now: Instant) {
        let Some(secret) = self.secret.as_ref().filter(|_| self.card_is_stale) else { return };
        let card = ToServer::Card(secret.seal_card(&self.config.identity, &self.card()));
        match self.signalling {
            State::Joined { link } => self.say(link, &card),
            State::Introducing if self.slot.is_some() => self.say_to_introducer(card, now),
            _ => return,
        }
        self.card_is_stale = false;
    }

    /// Asks the rendezvous, unless it was asked already.
    pub(crate) fn observe(&mut self, now: Instant) {
        if self.observation.asked != Some(self.config.server) {
            self.observe_anew(now);
        }
    }

    /// Asks again if nobody has answered in the end: the rendezvous was away then, and is there.
    pub(crate) fn observe_if_unanswered(&mut self, now: Instant) {
        let is_over = self.observation.classifier.as_ref().is_none_or(|asked| asked.poll_timeout().is_none());
        if is_over && self.observation.rtt().is_none() && !self.is_tunnelled() {
            self.observe_anew(now);
        }
    }

    /// Asks again: what was known may not hold any more.
    pub(crate) fn observe_anew(&mut self, now: Instant) {
        self.observation.in_vain = 0;
        self.ask_what_is_seen(now);
    }

    fn ask_what_is_seen(&mut self, now: Instant) {
        // Who is its own rendezvous has nobody to ask.
        let observe = self.config.observe.clone().filter(|_| !self.config.introduce && !self.config.via.only);
        let Some(Observe { port, observers }) = observe else { return };
        let local = self.config.candidates.iter().filter(|candidate| candidate.kind == CandidateKind::Host);
        self.observation.rounds = self.observation.rounds.wrapping_add(1);
        let mut seed = self.config.seed.map(|byte| byte ^ 2);
        seed[0] = seed[0].wrapping_add(self.observation.rounds);
        let config = nat::Config {
            server: self.config.server,
            port,
            local: local.map(|candidate| candidate.addr.ip()).collect(),
            observers,
            spare: false,
            seed,
        };
        self.observation.asked = Some(self.config.server);
        (self.observation.found, self.observation.again_at) = (None, None);
        self.paths.expect_neighbours_at(&[]);
        self.observation.classifier = Some(Classifier::new(config, now));
        self.note_mapped(now);
    }

    /// Counts a port mapping of the router among what is known of it.
    pub(crate) fn note_mapped(&mut self, now: Instant) {
        let mapped = self.config.candidates.iter().find(|candidate| candidate.kind == CandidateKind::Mapped);
        let mapped = mapped.map(|candidate| candidate.addr);
        if let Some(classifier) = &mut self.observation.classifier {
            classifier.set_mapped(mapped, now);
        }
        self.take_findings(now);
    }

    pub(crate) fn handle_stun(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        let Some(classifier) = &mut self.observation.classifier else { return };
        if let Err(reason) = classifier.handle_input(from, datagram, now) {
            tracing::trace!(%from, %reason, "ignored a STUN message");
        }
        self.take_findings(now);
    }

    pub(crate) fn observation_timed_out(&mut self, now: Instant) {
        if self.observation.again_at.take_if(|at| *at <= now).is_some() && !self.is_tunnelled() {
            self.ask_what_is_seen(now);
        }
        let Some(classifier) = &mut self.observation.classifier else { return };
        if classifier.poll_timeout().is_some_and(|at| at <= now) {
            classifier.handle_timeout(now);
        }
        self.take_findings(now);
    }

    /// The others hear twice: what one round trip has shown, and what there is in the end.
    fn take_findings(&mut self, now: Instant) {
        while let Some(found) = self.observation.classifier.as_mut().and_then(Classifier::poll_event) {
            match found {
                Found::Facts(facts) => {
                    let is_first = self.observation.found.replace(facts).is_none();
                    if is_first {
                        self.tell_findings(now);
                    }
                }
                Found::Done => {
                    self.tell_findings(now);
                    self.ask_again_if_in_vain(now);
                }
            }
        }
    }

    fn ask_again_if_in_vain(&mut self, now: Instant) {
        let observation = &mut self.observation;
        if observation.found.as_ref().is_none_or(|facts| facts.mapping.is_none()) {
            observation.again_at = AGAIN.get(observation.in_vain).map(|gap| now + *gap);
            observation.in_vain += 1;
        }
    }

    fn tell_findings(&mut self, now: Instant) {
        if let Some(facts) = self.observation.found.clone().filter(|facts| Some(facts) != self.nat()) {
            if self.nat().is_some_and(|before| is_another(before, &facts)) {
                // What has failed was meant for the one of before.
                self.guess_anew(now);
            }
            self.observation.told = Some(facts.clone());
            self.paths.expect_neighbours_at(&seen_at(&facts));
            self.events.push_back(Event::Nat(facts));
            self.update_card(now);
        }
    }

    /// The own candidates, and a guess if there is room for it.
    pub(crate) fn offered(&self) -> Vec<Candidate> {
        let mut offered = self.config.candidates.clone();
        let port = self.config.observe.as_ref().map(|observe| observe.port);
        let guess = port.zip(self.nat()).and_then(|(port, facts)| forwarded(facts, port));
        if let Some(guess) = guess.filter(|guess| offered.iter().all(|candidate| candidate.addr != guess.addr))
            && offered.len() < MAX_CANDIDATES
        {
            offered.push(guess);
        }
        offered
    }
}

/// Whether a router treats ports so differently that it must be another one.
pub(crate) fn is_another(before: &NatFacts, after: &NatFacts) -> bool {
    let ports = |facts: &NatFacts| facts.ports.as_ref().map(discriminant);
    before.mapping != after.mapping || ports(before) != ports(after)
}

/// Where this member is seen, if that can tell who is in its network. Not where the external port varies: what is sent to another
/// address later takes a port there, and others foresee which.
fn seen_at(facts: &NatFacts) -> Vec<IpAddr> {
    let seen = facts.seen.iter().filter(|_| facts.mapping == Some(Mapping::Eim));
    seen.map(|seen| seen.at.ip()).collect()
}

/// Where the external port varies, somebody may have told the router to forward the local one.
fn forwarded(facts: &NatFacts, port: u16) -> Option<Candidate> {
    let varies = matches!(facts.mapping, Some(Mapping::Adm | Mapping::Apdm));
    let outside = facts.seen.first().filter(|_| varies)?.at.ip();
    Some(Candidate { addr: SocketAddr::new(outside, port), kind: CandidateKind::Mapped })
}

#[cfg(test)]
mod tests {
    use wire::nat::Seen;

    use super::*;

    #[test]
    fn the_local_port_is_guessed_outside_only_where_the_port_varies() {
        let seen = vec![Seen { by: "198.51.100.1:3478".parse().unwrap(), at: "203.0.113.7:62001".parse().unwrap() }];
        let guessed = |mapping| {
            let facts = NatFacts { mapping, seen: seen.clone(), ..NatFacts::default() };
            forwarded(&facts, 4000).map(|candidate| candidate.addr.to_string())
        };
        assert_eq!(guessed(Some(Mapping::Apdm)).as_deref(), Some("203.0.113.7:4000"));
        assert_eq!(guessed(Some(Mapping::Eim)), None);
        assert_eq!(guessed(None), None);
    }
}
