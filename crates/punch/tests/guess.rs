//! Routers that choose another port for every destination, or that a packet has spoilt, are met by guessing.

mod support;

use std::time::Duration;

use netsim::{Kind, Link, Mapping, Nat, Ports};
use punch::{Pair, Part};
use support::{World, ms, tag};
use wire::{guess::Router, nat};

/// So many runs of each row, of each with its own seed.
const SEEDS: u64 = 40;

/// What a classifier finds of a router of this kind; blocks as the smallest aligned one of which it saw four ports.
fn router(kind: Nat, seen: &[u16]) -> Router {
    let mapping = match kind.mapping {
        Mapping::EndpointIndependent => nat::Mapping::Eim,
        Mapping::AddressDependent => nat::Mapping::Adm,
        Mapping::AddressAndPortDependent => nat::Mapping::Apdm,
    };
    let filtering = match kind.filtering {
        netsim::Filtering::EndpointIndependent => nat::Filtering::Eif,
        netsim::Filtering::AddressDependent => nat::Filtering::Adf,
        netsim::Filtering::AddressAndPortDependent => nat::Filtering::Apdf,
    };
    let ports = match kind.ports {
        Ports::Preserving => nat::Ports::Preserving,
        Ports::Sequential { step } => nat::Ports::Sequential { step: step as i16 },
        Ports::Random => nat::Ports::Random,
        Ports::Block { .. } => {
            let (least, most) = (seen.iter().min().expect("seen"), seen.iter().max().expect("seen"));
            let size = 1u16 << (16 - (least ^ most).leading_zeros());
            nat::Ports::Block { first: least & !(size - 1), size }
        }
    };
    let (mapping, ports, filtering) = (Some(mapping), Some(ports), Some(filtering));
    Router { mapping, ports, filtering, poisoned: Some(kind.poison), port: None }
}

/// What became of a guess.
struct Outcome {
    met: bool,
    /// From the start to both sides' confirmation.
    took: Duration,
    packets: [usize; 2],
}

struct Guess {
    world: World,
    kinds: [Nat; 2],
    /// On each wire, once the routers are known.
    loss: f64,
}

impl Guess {
    /// Two members that have failed to meet by plain means for so long.
    fn after(seed: u64, kinds: [Nat; 2], time: Duration) -> Self {
        let mut world = World::new(seed);
        for kind in kinds {
            let router = world.router(netsim::Segment::INTERNET, kind);
            world.member(router.inside());
        }
        world.observe();
        // The second one's packets come so early that they spoil what can be spoilt.
        world.tell(1, 0);
        world.run_for(ms(100));
        world.tell(0, 1);
        world.run_for(time);
        Self { world, kinds, loss: 0.0 }
    }

    /// Each of the two lets the rendezvous look, tells the other one half a round trip later, and begins.
    fn run(&mut self, seed: u64) -> Option<Outcome> {
        let mut routers = [0, 1].map(|member| {
            let kind = self.kinds[member];
            let is_block = matches!(kind.ports, Ports::Block { .. });
            let seen: Vec<u16> = (0..if is_block { 4 } else { 0 })
                .map(|n| self.world.observe_socket(member, punch::SocketId(40_000 + n)).port())
                .collect();
            router(kind, &seen)
        });
        for member in [0, 1] {
            if Pair::needs_scout(&routers[member], &routers[1 - member], 0) {
                let scout = self.world.with(member, |agent, _| agent.open_scout());
                routers[member].port = Some(self.world.observe_socket(member, scout).port());
            }
        }
        self.world.set_links(Link::default().losing(self.loss));
        let started = self.world.lab.now();
        let sent = |world: &World| [0, 1].map(|member| world.at(member).checks_sent.len());
        let before = sent(&self.world);
        for member in [1, 0] {
            let at = self.world.seen(1 - member);
            let pair = Pair {
                ours: routers[member],
                theirs: routers[1 - member],
                their_port: at.port(),
                rtt: ms(40),
                leads: member == 0,
            };
            // Another chance than the network's.
            let plan = pair.plan(0, !seed.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ member as u64)?;
            self.world
                .with(member, |agent, now| agent.begin_guess(tag(1 - member), at, plan, now))
                .expect("an address");
            self.world.run_for(ms(20));
        }
        let is_met = |world: &World| {
            [0, 1].iter().all(|member| {
                let path = world.at(*member).agent.path(tag(1 - member));
                path.is_some_and(|path| !path.doubtful)
            })
        };
        while !is_met(&self.world) && self.world.lab.now() < started + Duration::from_secs(8) {
            self.world.run_for(ms(5));
        }
        let after = sent(&self.world);
        let packets = [after[0] - before[0], after[1] - before[1]];
        Some(Outcome { met: is_met(&self.world), took: self.world.lab.now() - started, packets })
    }
}

/// Runs a row so often as there are seeds; tells how many met and prints how long it took.
#[allow(clippy::print_stdout, reason = "the figures are for who asks for them by --nocapture")]
fn meet(a: impl Into<Nat> + Copy, b: impl Into<Nat> + Copy, wait: Duration) -> (u64, Vec<Duration>) {
    let (mut times, mut most) = (Vec::new(), [0, 0]);
    for seed in 0..SEEDS {
        let mut guess = Guess::after(seed, [a.into(), b.into()], wait);
        let outcome = guess.run(seed).expect("a plan");
        if outcome.met {
            times.push(outcome.took);
        }
        most = [0, 1].map(|side: usize| most[side].max(outcome.packets[side]));
        for member in [0, 1] {
            assert!(guess.world.at(member).most_sockets <= 256);
            assert!(outcome.packets[member] < 1024 + 300, "probes, pongs and volleys: {:?}", outcome.packets);
        }
        guess.world.run_for(Duration::from_secs(40));
        for member in [0, 1] {
            let left = guess.world.at(member).sockets.len();
            assert!(left <= usize::from(outcome.met), "seed {seed}: only the chosen socket stays: {left}");
        }
    }
    times.sort();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1)));
    println!("met {} of {SEEDS}, median {:?}, p95 {:?}, packets {most:?}", times.len(), at(50), at(95));
    (times.len() as u64, times)
}

const PLAIN_FAILS: Duration = Duration::from_millis(1000);

#[test]
fn a_sequence_is_foreseen() {
    for easy in [Kind::Port, Kind::Firewall, Kind::LinuxOpen] {
        let (met, times) = meet(Kind::SymmetricSequential, easy, PLAIN_FAILS);
        assert_eq!(met, SEEDS, "{easy}");
        assert!(times.iter().all(|time| *time < ms(1000)), "{easy}: {times:?}");
    }
}

#[test]
fn a_block_is_searched() {
    for easy in [Kind::Port, Kind::LinuxOpen] {
        assert_eq!(meet(Kind::SymmetricBlock, easy, PLAIN_FAILS).0, SEEDS, "{easy}");
    }
}

#[test]
fn random_ports_are_met_by_many_sockets_within_5_s() {
    for easy in [Kind::Port, Kind::LinuxOpen] {
        let (_, times) = meet(Kind::Symmetric, easy, PLAIN_FAILS);
        let in_time = times.iter().filter(|time| **time < ms(4000)).count() as u64;
        assert!(in_time * 100 >= SEEDS * 95, "{easy}: {in_time}");
    }
}

#[test]
fn two_sequences_meet() {
    assert_eq!(meet(Kind::SymmetricSequential, Kind::SymmetricSequential, PLAIN_FAILS).0, SEEDS);
}

#[test]
fn a_sequence_meets_a_block() {
    let (met, _) = meet(Kind::SymmetricSequential, Kind::SymmetricBlock, PLAIN_FAILS);
    assert!(met * 100 >= SEEDS * 97, "{met}");
}

#[test]
fn two_blocks_meet() {
    let (met, _) = meet(Kind::SymmetricBlock, Kind::SymmetricBlock, PLAIN_FAILS);
    assert!(met * 100 >= SEEDS * 97, "{met}");
}

#[test]
fn a_mapping_and_a_filter_for_an_address_are_met_by_one_guess() {
    // A router that has 512 ports in all can't probe more than so many.
    let rows =
        [(Kind::Symmetric, 95), (Kind::SymmetricAddr, 95), (Kind::SymmetricSequential, 95), (Kind::SymmetricBlock, 75)];
    for (other, percent) in rows {
        let (met, _) = meet(Kind::SymmetricAddr, other, PLAIN_FAILS);
        assert!(met * 100 >= SEEDS * percent, "{other}: {met}");
    }
}

#[test]
fn a_spoilt_router_is_met_by_fresh_sockets() {
    for other in [Kind::Port, Kind::Linux, Kind::PortRandom, Kind::LinuxOpen] {
        assert_eq!(meet(Kind::LinuxOpen, other, PLAIN_FAILS).0, SEEDS, "{other}");
        assert_eq!(meet(other, Kind::LinuxOpen, PLAIN_FAILS).0, SEEDS, "{other} first");
    }
}

#[test]
fn loss_does_not_spoil_a_guess() {
    for seed in 0..SEEDS {
        let mut guess = Guess::after(seed, [Kind::SymmetricSequential.nat(), Kind::Port.nat()], PLAIN_FAILS);
        guess.loss = 0.05;
        assert!(guess.run(seed).expect("a plan").met, "seed {seed}");
    }
}

#[test]
fn two_random_routers_have_no_plan() {
    let mut guess = Guess::after(1, [Kind::Symmetric.nat(), Kind::Symmetric.nat()], PLAIN_FAILS);
    assert!(guess.run(1).is_none());
    let random = router(Kind::Symmetric.nat(), &[]);
    let pair = Pair { ours: random, theirs: random, their_port: 1, rtt: ms(40), leads: true };
    assert_eq!(pair.part(), None::<Part>);
}
