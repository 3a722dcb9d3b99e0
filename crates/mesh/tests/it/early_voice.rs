//! Voice before the session: how soon it is heard, and that nothing is lost or doubled when the session takes over.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use identity::Identity;
use mesh::{Config, Event, Relaying, ServerEvent};
use netsim::Kind;
use wire::agent::Peers;

use crate::world::{RTT, World, identity, server_key};

const PEOPLE: [&str; 2] = ["alice", "bob"];
/// Work that takes no virtual time, and the wait for the next frame.
const MARGIN: Duration = Duration::from_millis(20);
const FRAME: Duration = Duration::from_millis(10);

/// A call in which each frame has a number, the same for both who send it at one time.
struct Call {
    world: World,
    sent: u32,
}

impl Call {
    /// Alice is there, and Bob, whose key this makes, comes for the first time, or again.
    fn new(kind: Kind, bob: u8, is_warm: bool, change: impl Fn(&mut Config)) -> Self {
        let mut world = World::new(u64::from(bob));
        for who in PEOPLE {
            world.home(who, kind);
        }
        let who = || Identity::from_seed(&[bob; 32]);
        let mut ticket = None;
        if is_warm {
            world.join_with("bob", |config| (config.identity, config.channel) = (who(), "alone".into()));
            world.lab.run_for(Duration::from_millis(500));
            ticket = world.ticket("bob");
            world.with("bob", |mesh, now| mesh.leave(now));
            world.lab.run_for(Duration::from_millis(500));
        }
        world.join_with("alice", &change);
        world.lab.run_for(Duration::from_secs(1));
        world.join_with("bob", |config| {
            (config.identity, config.ticket) = (who(), ticket);
            config.server_key = is_warm.then(server_key);
            change(config);
        });
        Self { world, sent: 0 }
    }

    fn bob_opens(&self) -> bool {
        self.world.member("bob").mesh.key() > identity("alice").key()
    }

    fn talk(&mut self, time: Duration) {
        let end = self.world.lab.now() + time;
        while self.world.lab.now() < end {
            for who in PEOPLE {
                let frame = self.sent.to_be_bytes();
                self.world.with(who, |mesh, now| mesh.send_voice(&Peers::All, &frame, now));
            }
            self.sent += 1;
            self.world.lab.run_for(FRAME);
        }
    }

    /// How often each frame was heard.
    fn heard(&self, who: &str) -> BTreeMap<u32, usize> {
        let mut heard = BTreeMap::new();
        for (_, event) in &self.world.member(who).told {
            if let Event::Voice { packet, .. } = event {
                let number = packet[..].try_into().map(u32::from_be_bytes).expect("a number");
                *heard.entry(number).or_default() += 1;
            }
        }
        heard
    }

    fn first(&self, who: &str, is_so: impl Fn(&Event) -> bool) -> Instant {
        let told = &self.world.member(who).told;
        told.iter().find(|(_, event)| is_so(event)).map(|(at, _)| *at).expect("it has happened")
    }

    /// After how long from Bob's start Alice and Bob hear each other.
    fn first_voices(&self) -> [Duration; 2] {
        let start = self.world.member("bob").started;
        PEOPLE.map(|who| self.first(who, |event| matches!(event, Event::Voice { .. })) - start)
    }

    /// From the first frame that somebody heard, he heard each once; the last ones may still be on their way.
    fn is_whole(&self, case: &str) {
        for who in PEOPLE {
            let heard = self.heard(who);
            let (&first, _) = heard.first_key_value().expect("a voice");
            let expected: Vec<_> = (first..self.sent - 20).map(|number| (number, 1)).collect();
            let actual: Vec<_> = heard.into_iter().filter(|(number, _)| *number < self.sent - 20).collect();
            assert_eq!(actual, expected, "{case}: {who}");
        }
    }
}

/// Bobs on both sides of Alice, for the higher key opens the session.
fn for_both_orders(mut play: impl FnMut(u8) -> bool) {
    let mut opened = [0, 0];
    for bob in 1..=8 {
        opened[usize::from(play(bob))] += 1;
    }
    assert!(opened[0] > 0 && opened[1] > 0, "{opened:?}");
}

#[test]
fn who_comes_back_and_needs_the_relay_hears_and_is_heard_within_two_round_trips() {
    for relaying in [Relaying::Allowed, Relaying::Only] {
        for_both_orders(|bob| {
            let mut call = Call::new(Kind::Symmetric, bob, true, |config| config.relaying = relaying);
            call.talk(Duration::from_secs(3));
            let (heard, opens) = (call.first_voices(), call.bob_opens());
            println!("warm, by the relay, who comes back opens: {opens}: first voices after {heard:?}");
            assert!(heard.iter().all(|time| *time <= RTT * 2 + MARGIN), "{heard:?}, {opens}");
            call.is_whole(&format!("{relaying:?}, {opens}"));
            opens
        });
    }
}

#[test]
fn who_comes_back_behind_routers_that_can_be_passed_hears_within_two_round_trips() {
    for kind in [Kind::Full, Kind::Port] {
        for_both_orders(|bob| {
            let mut call = Call::new(kind, bob, true, |_| ());
            call.talk(Duration::from_secs(3));
            let (heard, opens) = (call.first_voices(), call.bob_opens());
            assert!(heard.iter().all(|time| *time <= RTT * 2 + MARGIN), "{kind:?}: {heard:?}, {opens}");
            call.is_whole(&format!("{kind:?}, {opens}"));
            opens
        });
    }
}

#[test]
fn who_comes_for_the_first_time_hears_within_three_round_trips() {
    for kind in [Kind::Port, Kind::Symmetric] {
        for_both_orders(|bob| {
            let mut call = Call::new(kind, bob, false, |_| ());
            call.talk(Duration::from_secs(3));
            let (heard, opens) = (call.first_voices(), call.bob_opens());
            println!("cold, {kind:?}, newcomer opens: {opens}: first voices after {heard:?}");
            assert!(heard.iter().all(|time| *time <= RTT * 3 + MARGIN), "{kind:?}: {heard:?}, {opens}");
            call.is_whole(&format!("{kind:?}, {opens}"));
            opens
        });
    }
}

#[test]
fn without_the_relay_it_takes_the_first_path_that_there_is() {
    for_both_orders(|bob| {
        let mut call = Call::new(Kind::Port, bob, true, |config| config.relaying = Relaying::Refused);
        call.talk(Duration::from_secs(3));
        let (heard, opens) = (call.first_voices(), call.bob_opens());
        assert!(heard.iter().all(|time| *time <= RTT * 5 / 2 + MARGIN), "{heard:?}, {opens}");
        assert_eq!(call.world.forwarded(), 0);
        call.is_whole(&format!("{opens}"));
        opens
    });
}

#[test]
fn the_session_is_as_late_as_it_was_and_only_then_the_peer_is_secure() {
    for_both_orders(|bob| {
        let mut call = Call::new(Kind::Symmetric, bob, true, |_| ());
        call.talk(Duration::from_secs(1));
        for who in PEOPLE {
            let secure = call.first(who, |event| matches!(event, Event::Secure { .. }));
            let voice = call.first(who, |event| matches!(event, Event::Voice { .. }));
            assert!(voice + RTT <= secure, "{who}: {voice:?}, {secure:?}");
        }
        let is_lost = |event: &Event| {
            matches!(event, Event::Insecure { .. } | Event::Left { .. } | Event::Server(ServerEvent::Lost { .. }))
        };
        call.talk(Duration::from_secs(15));
        for who in PEOPLE {
            assert!(call.world.member(who).when(is_lost).is_none(), "{who}");
        }
        call.is_whole("fifteen seconds later");
        call.bob_opens()
    });
}
