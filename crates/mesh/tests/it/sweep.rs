//! Hundreds of channels made by chance: people come, leave and are killed, the rendezvous goes and comes, and in the end
//! everybody who can reach each other is in a call, and nobody is seen who is gone.

use std::{collections::BTreeMap, time::Duration};

use identity::Identity;
use netsim::{Kind, Link, Rng};
use wire::{agent::Peers, signal::Ticket};

use crate::world::{self, RTT, World};

/// Of whole lives, which last for minutes, and of first encounters.
const SEEDS: (u64, u64) = (100, 200);
const PEOPLE: [&str; 5] = ["ann", "ben", "cat", "dan", "eve"];
/// So long all may take that have what they need.
const SECURE_WITHIN: Duration = Duration::from_secs(20);
/// A rendezvous that went without a word is noticed by then, and so is a member.
const NOTICED_AFTER: Duration = Duration::from_secs(95);

struct Channel {
    seed: u64,
    world: World,
    rng: Rng,
    kinds: BTreeMap<&'static str, Kind>,
    present: Vec<&'static str>,
    tickets: BTreeMap<&'static str, Ticket>,
}

impl Channel {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let link = Link {
            delay: RTT / 8 + RTT.mul_f64(rng.below(100) as f64 / 100.0),
            jitter: Duration::from_millis(rng.below(20)),
            loss: rng.below(8) as f64 / 100.0,
            duplicate: 0.02,
            reorder: 0.02,
            ..Link::default()
        };
        let mut world = World::over(seed, link);
        let kinds = PEOPLE.map(|who| {
            let kind = *rng.pick(&Kind::STEADY);
            world.home(who, kind);
            (who, kind)
        });
        Self { seed, world, rng, kinds: kinds.into(), present: Vec::new(), tickets: BTreeMap::new() }
    }

    fn play(&mut self) {
        (0..2).for_each(|_| self.come());
        for _ in 0..3 + self.rng.below(8) {
            match self.rng.below(8) {
                0..3 => self.come(),
                3 => self.leave(),
                4 => drop(self.kill()),
                5 => self.start_anew(),
                6 => self.restart_server(),
                _ => self.talk(),
            }
            self.wait_up_to(3000);
        }
        (self.present.len()..2).for_each(|_| self.come());
    }

    fn wait_up_to(&mut self, millis: u64) {
        let time = Duration::from_millis(self.rng.below(millis));
        self.world.lab.run_for(time);
    }

    fn come(&mut self) {
        let absent: Vec<_> = PEOPLE.into_iter().filter(|who| !self.present.contains(who)).collect();
        if !absent.is_empty() {
            let who = *self.rng.pick(&absent);
            self.start(who);
        }
    }

    fn start(&mut self, who: &'static str) {
        let mut key = [self.seed.to_le_bytes(); 4].concat();
        key.splice(..who.len(), who.bytes());
        let identity = Identity::from_seed(&key.try_into().expect("32 bytes"));
        let ticket = self.tickets.get(who).cloned();
        self.world.join_with(who, |config| {
            config.identity = identity;
            (config.server_key, config.ticket) = (ticket.is_some().then(world::server_key), ticket);
        });
        self.present.push(who);
    }

    fn leave(&mut self) {
        if let Some(who) = self.present.pop() {
            self.keep_ticket(who);
            self.world.with(who, |mesh, now| mesh.leave(now));
            self.world.lab.uninstall(self.world.hosts[who]);
        }
    }

    fn kill(&mut self) -> Option<&'static str> {
        let who = self.present.pop()?;
        self.keep_ticket(who);
        self.world.lab.uninstall(self.world.hosts[who]);
        Some(who)
    }

    /// Some come back with it, used or not.
    fn keep_ticket(&mut self, who: &'static str) {
        if let Some(ticket) = self.world.ticket(who) {
            self.tickets.insert(who, ticket);
        }
    }

    fn start_anew(&mut self) {
        if let Some(who) = self.kill() {
            self.wait_up_to(1000);
            self.start(who);
        }
    }

    fn restart_server(&mut self) {
        if self.rng.chance(0.5) {
            self.world.close_server();
        }
        self.world.lab.uninstall(self.world.server);
        self.wait_up_to(2000);
        self.world.restart_server();
    }

    fn talk(&mut self) {
        for _ in 0..50 {
            for who in &self.present {
                self.world.with(who, |mesh, now| mesh.send_voice(&Peers::All, b"frame", now));
            }
            self.world.lab.run_for(Duration::from_millis(20));
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.present.iter().enumerate().flat_map(|(i, a)| self.present[i + 1..].iter().map(|b| (*a, *b)))
    }

    /// Those who could talk and don't.
    fn missing(&self) -> Vec<(&'static str, Kind, &'static str, Kind)> {
        let kind = |who| self.kinds[who];
        let is_missing = |(a, b)| {
            kind(a).nat().can_punch(kind(b).nat()) && !World::are_secure(&self.world.lab, &self.world.hosts, a, b)
        };
        self.pairs().filter(|pair| is_missing(*pair)).map(|(a, b)| (a, kind(a), b, kind(b))).collect()
    }

    fn everybody_who_can_gets_a_session(&mut self) {
        let end = self.world.lab.now() + SECURE_WITHIN;
        while !self.missing().is_empty() && self.world.lab.now() < end {
            self.world.lab.run_for(Duration::from_millis(200));
        }
        assert_eq!(self.missing(), [], "seed {}: no session after {SECURE_WITHIN:?}", self.seed);
    }

    fn nobody_sees_who_is_gone(&self) {
        for who in &self.present {
            let mut seen: Vec<_> = self.world.member(who).mesh.peers().map(|peer| peer.name).collect();
            let mut expected: Vec<_> = self.present.iter().filter(|other| *other != who).copied().collect();
            seen.sort_unstable();
            expected.sort_unstable();
            assert_eq!(seen, expected, "seed {}: what {who} sees", self.seed);
        }
    }
}

#[test]
fn in_the_end_everybody_who_can_be_reached_is_and_nobody_else_is_seen() {
    for seed in 0..SEEDS.0 {
        let mut channel = Channel::new(seed);
        channel.play();
        channel.world.lab.run_for(NOTICED_AFTER);
        channel.everybody_who_can_gets_a_session();
        channel.nobody_sees_who_is_gone();
    }
}

#[test]
fn members_of_a_channel_whose_rendezvous_stays_are_secure_in_time() {
    for seed in 0..SEEDS.1 {
        let mut channel = Channel::new(seed);
        (0..2 + channel.rng.below(4)).for_each(|_| {
            channel.come();
            channel.wait_up_to(1000);
        });
        if channel.rng.chance(0.5) {
            channel.start_anew();
        }
        channel.everybody_who_can_gets_a_session();
    }
}
