//! Thousands of calls made by chance: whatever happened to them, in the end there is a path exactly where theory allows one.

mod support;

use std::{collections::BTreeMap, time::Duration};

use netsim::{Kind, Link, Nat, Rng, Segment};
use punch::Event;
use support::{World, ms, tag};

const SEEDS: u64 = 2000;

struct Call {
    world: World,
    rng: Rng,
    /// For each member: which router it is behind, and what it and all in front of it do together.
    places: Vec<(usize, Nat)>,
}

impl Call {
    fn new(seed: u64) -> Self {
        let mut call = Self { world: World::new(seed), rng: Rng::new(seed), places: Vec::new() };
        for _ in 0..2 + call.rng.below(3) {
            call.add_member();
        }
        call
    }

    fn add_member(&mut self) {
        if !self.places.is_empty() && self.rng.chance(0.15) {
            let (router, nat) = *self.rng.pick(&self.places);
            self.places.push((router, nat));
            self.world.member(self.world.routers[router].inside());
            return;
        }
        let kind = *self.rng.pick(&Kind::STEADY);
        let behind_carrier = kind.nat().translate && self.rng.chance(0.2);
        let (at, nat) = if behind_carrier {
            let carrier = *self.rng.pick(&[Kind::Carrier, Kind::Symmetric]);
            let outer = self.world.router(Segment::INTERNET, carrier.nat());
            (outer.inside(), kind.nat().behind(carrier.nat()))
        } else {
            (Segment::INTERNET, kind.nat())
        };
        let router = self.world.router(at, kind.nat());
        self.places.push((self.world.routers.len() - 1, nat));
        self.world.member(router.inside());
    }

    fn pairs(&self) -> Vec<(usize, usize)> {
        let count = self.places.len();
        (0..count).flat_map(|a| (0..count).map(move |b| (a, b))).filter(|(a, b)| a != b).collect()
    }

    fn can_meet(&self, a: usize, b: usize) -> bool {
        let ((router_a, nat_a), (router_b, nat_b)) = (self.places[a], self.places[b]);
        router_a == router_b || nat_a.can_punch(nat_b)
    }

    fn play(&mut self) {
        self.world.observe();
        self.world.set_links(Link {
            delay: ms(1 + self.rng.below(80)),
            jitter: ms(self.rng.below(20)),
            loss: self.rng.below(10) as f64 / 100.0,
            duplicate: 0.02,
            reorder: 0.02,
            ..Link::default()
        });
        let mut pairs = self.pairs();
        while !pairs.is_empty() {
            let (a, b) = pairs.swap_remove(self.rng.below(pairs.len() as u64) as usize);
            self.world.tell(a, b);
            self.wait_up_to(100);
        }
        for _ in 0..self.rng.below(8) {
            self.disturb();
            self.wait_up_to(2000);
        }
    }

    fn wait_up_to(&mut self, millis: u64) {
        let time = ms(self.rng.below(millis));
        self.world.run_for(time);
    }

    fn disturb(&mut self) {
        let member = self.rng.below(self.places.len() as u64) as usize;
        let peer = (member + 1) % self.places.len();
        let host = self.world.hosts[member];
        let router = self.world.routers[self.rng.below(self.world.routers.len() as u64) as usize];
        match self.rng.below(8) {
            0 => self.world.lab.net.reboot(router),
            1 => self.world.lab.net.cut(host, true),
            2 => self.world.lab.net.cut(host, false),
            3 => self.world.talk(member, peer),
            4 => self.world.hush(member),
            5 => self.world.with(member, |agent, now| agent.network_changed(now)),
            6 => self.world.with(member, |agent, now| agent.check_again(tag(peer), now)),
            _ => self.world.replace(member, peer),
        }
    }

    /// All is well again, everybody notices, and the server tells everybody where everybody is.
    fn heal(&mut self) {
        for host in self.world.hosts.clone() {
            self.world.lab.net.cut(host, false);
        }
        self.world.set_links(Link::default());
        (0..self.places.len()).for_each(|member| self.world.hush(member));
        self.world.run_for(Duration::from_secs(61));
        self.world.observe();
        for member in 0..self.places.len() {
            self.world.with(member, |agent, now| agent.network_changed(now));
        }
        for (a, b) in self.pairs() {
            let candidates = self.world.candidates(b);
            self.world.with(a, |agent, now| agent.add_candidates(tag(b), &candidates, now));
        }
        self.world.run_for(ms(8000));
    }
}

/// What a caller may conclude from the events of one peer alone agrees with what the agent says.
fn check_events(call: &Call, member: usize, seed: u64) {
    let mut routes = BTreeMap::new();
    for (_, event) in &call.world.at(member).events {
        let peer = event.peer();
        let had = routes.contains_key(&peer);
        match event {
            Event::Usable { way, .. } => {
                assert!(!had, "seed {seed}: member {member}: {event:?} though there was a path");
                routes.insert(peer, *way);
            }
            Event::Confirmed { way, .. } | Event::Switched { way, .. } => drop(routes.insert(peer, *way)),
            Event::Suspected { .. } | Event::Doubtful { .. } => {
                assert!(had, "seed {seed}: member {member}: doubt about no path");
            }
            Event::Lost { .. } => {
                assert!(routes.remove(&peer).is_some(), "seed {seed}: member {member}: loss of no path");
            }
            Event::Unreachable { .. } => assert!(!had, "seed {seed}: member {member}: unreachable over a path"),
            Event::Guessed { .. } => panic!("seed {seed}: member {member}: nobody guesses here"),
        }
    }
    let agent = &call.world.at(member).agent;
    for peer in (0..call.places.len()).filter(|peer| *peer != member) {
        let route = agent.route(tag(peer));
        assert_eq!(route, routes.get(&tag(peer)).copied(), "seed {seed}: member {member} to {peer}");
        assert!(route.is_none_or(|way| agent.peer_at(way) == Some(tag(peer))), "seed {seed}: member {member}");
    }
}

#[test]
fn every_call_ends_with_a_path_exactly_where_one_is_possible() {
    for seed in 0..SEEDS {
        let mut call = Call::new(seed);
        call.play();
        call.heal();
        for (a, b) in call.pairs() {
            let events = call.world.kinds_of_events(a);
            let path = call.world.at(a).agent.path(tag(b));
            let case = format!("seed {seed}: member {a} to {b}: {path:?} after {events:?}");
            assert_eq!(path.is_some_and(|path| !path.doubtful), call.can_meet(a, b), "{case}");
        }
        for member in 0..call.places.len() {
            check_events(&call, member, seed);
        }
    }
}
