//! Two members on a wire that can be cut, tapped and forged on.

use std::net::SocketAddr;

use identity::{Ephemeral, Identity};
use punch::SocketId;
use wire::{
    MessageId,
    agent::Peers,
    datagram::{CHECK, EARLY_VOICE},
    early_voice::{HEADER, Header, MAX},
    signal::{Candidate, CandidateKind, Card},
    voice::MAX_PACKET,
};

use super::*;
use crate::{
    misbehaviour::{alone, secret},
    told::{Teller, Told},
};

const ALICE: usize = 0;
const BOB: usize = 1;
const FRAME: Duration = Duration::from_millis(10);

fn at(who: usize) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 1 + who as u8], 4000))
}

fn identity(who: usize) -> Identity {
    Identity::from_seed(&[50 + who as u8; 32])
}

fn ephemeral(who: usize, run: u64) -> Ephemeral {
    Ephemeral::from_bytes(&[100 + 10 * who as u8 + run as u8; 32])
}

fn is_session(datagram: &[u8]) -> bool {
    datagram[0] >= 64
}

fn is_early(datagram: &[u8]) -> bool {
    datagram[0] == EARLY_VOICE
}

/// Alice and Bob, an instant apart.
struct Wire {
    people: [Mesh; 2],
    now: Instant,
    told: [Vec<Event>; 2],
    /// What does not arrive: from whom, and what.
    lost: fn(usize, &[u8]) -> bool,
    /// Datagrams that each sent to the other.
    sent: [usize; 2],
    /// Who does not look at what there is to tell.
    is_busy: Option<usize>,
    /// Early voice that was sent, by whom.
    tapped: Vec<(usize, Bytes)>,
}

impl Wire {
    /// Both know each other; session packets don't arrive.
    fn without_session() -> Self {
        let mut wire = Self::of_strangers(1);
        wire.introduce();
        wire.carry();
        wire
    }

    fn of_strangers(run: u64) -> Self {
        let now = netsim::epoch();
        let people = [ALICE, BOB].map(|who| {
            let mut config = alone(identity(who), ["alice", "bob"][who]);
            (config.run, config.ephemeral) = (RunId(run), ephemeral(who, run));
            config.seed = [who as u8 + 1; 32];
            let mut mesh = Mesh::new(config, now);
            mesh.set_secret(secret(), now);
            mesh
        });
        let lost = |_, datagram: &[u8]| is_session(datagram);
        Self { people, now, told: Default::default(), lost, sent: [0; 2], is_busy: None, tapped: Vec::new() }
    }

    /// Each is told of the other.
    fn introduce(&mut self) {
        for (who, other) in [(ALICE, BOB), (BOB, ALICE)] {
            let card = self.people[other].card();
            self.tell(who, other, card);
        }
    }

    fn tell(&mut self, who: usize, of: usize, mut card: Card) {
        card.candidates = vec![Candidate { addr: at(of), kind: CandidateKind::Host }];
        let sealed = secret().seal_card(&identity(of), &card);
        let (key, name, seen, by) = (identity(of).key(), card.name.clone(), Vec::new(), Teller::Introducer);
        self.people[who].told(Told { key, name, seen, card, sealed, by }, self.now);
    }

    /// Brings what is sent to the other side until nothing is sent, and takes the events.
    fn carry(&mut self) {
        for round in 0.. {
            assert!(round < 1000, "they don't come to an end");
            let mut is_quiet = true;
            for who in [ALICE, BOB] {
                while let Some(out) = self.people[who].poll_transmit(self.now) {
                    is_quiet = false;
                    if is_early(&out.payload) {
                        self.tapped.push((who, out.payload.clone()));
                    }
                    self.sent[who] += usize::from(out.to == at(1 - who));
                    if out.to == at(1 - who) && !(self.lost)(who, &out.payload) {
                        self.people[1 - who].handle_datagram(SocketId::MAIN, at(who), &out.payload, self.now);
                    }
                }
                if self.is_busy != Some(who) {
                    self.told[who].extend(std::iter::from_fn(|| self.people[who].poll_event()));
                }
            }
            if is_quiet {
                return;
            }
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let due = self.people.iter_mut().filter_map(Mesh::poll_timeout).min().unwrap_or(end);
            self.now = due.clamp(self.now, end);
            for mesh in &mut self.people {
                mesh.handle_timeout(self.now);
            }
            self.carry();
        }
    }

    fn run_until_secure(&mut self) {
        while !(self.is_secure(ALICE) && self.is_secure(BOB)) {
            self.run_for(FRAME / 10);
            assert!(self.now < netsim::epoch() + LIMIT, "no session");
        }
    }

    fn say(&mut self, who: usize, packet: &[u8]) {
        self.people[who].send_voice(&Peers::All, packet, self.now);
        self.carry();
    }

    /// Says something that does not arrive, and gives its datagram.
    fn hold(&mut self, who: usize, packet: &[u8]) -> Bytes {
        let lost = std::mem::replace(&mut self.lost, |_, datagram| is_session(datagram) || is_early(datagram));
        self.say(who, packet);
        self.lost = lost;
        self.tapped.last().filter(|(by, _)| *by == who).expect("something was sent").1.clone()
    }

    fn heard(&self, who: usize) -> Vec<&[u8]> {
        let voices = self.told[who].iter().filter_map(|event| match event {
            Event::Voice { packet, .. } => Some(&packet[..]),
            _ => None,
        });
        voices.collect()
    }

    /// Gives somebody a datagram that says it is from there; true if nothing came of it.
    fn is_silent(&mut self, who: usize, from: SocketAddr, datagram: &[u8]) -> bool {
        let before = self.told[who].len();
        self.people[who].handle_datagram(SocketId::MAIN, from, datagram, self.now);
        let sent = self.people[who].poll_transmit(self.now);
        self.told[who].extend(std::iter::from_fn(|| self.people[who].poll_event()));
        sent.is_none() && self.told[who].len() == before
    }

    fn tag(&self, who: usize) -> PeerTag {
        self.people[who].peers().next().expect("a peer").tag
    }

    fn is_secure(&self, who: usize) -> bool {
        self.people[who].peers().any(|peer| peer.secure)
    }

    fn early_sent(&self, by: usize) -> usize {
        self.tapped.iter().filter(|(who, _)| *who == by).count()
    }
}

#[test]
fn both_hear_each_other_while_the_session_is_being_made_and_neither_is_said_to_be_secure() {
    let mut wire = Wire::without_session();
    wire.say(ALICE, b"hello");
    wire.say(BOB, b"hi");
    assert_eq!((wire.heard(BOB), wire.heard(ALICE)), (vec![&b"hello"[..]], vec![&b"hi"[..]]));
    for who in [ALICE, BOB] {
        assert!(!wire.is_secure(who));
        assert!(!wire.told[who].iter().any(|event| matches!(event, Event::Secure { .. })));
    }
}

#[test]
fn nothing_but_voice_goes_early() {
    let mut wire = Wire::without_session();
    wire.people[ALICE].send_text(MessageId(1), &Peers::All, b"text".to_vec(), wire.now);
    wire.carry();
    wire.say(ALICE, &[]);
    wire.say(ALICE, &[0; MAX_PACKET + 1]);
    wire.run_for(Duration::from_secs(1));
    assert_eq!(wire.tapped, []);
    wire.say(ALICE, &[7; MAX_PACKET]);
    assert_eq!(wire.heard(BOB), [&[7; MAX_PACKET][..]]);
}

#[test]
fn without_a_session_it_ends_after_ten_seconds_and_people_are_told() {
    let mut wire = Wire::without_session();
    wire.say(ALICE, b"hello");
    wire.run_for(LIMIT - FRAME);
    wire.say(ALICE, b"still");
    let [late, later] = [&b"late"[..], b"later"].map(|packet| wire.hold(ALICE, packet));
    let sent = wire.early_sent(ALICE);

    // Whoever looks at the clock first.
    wire.now += FRAME * 2;
    wire.say(ALICE, b"too late");
    assert!(wire.is_silent(BOB, at(ALICE), &late));
    wire.run_for(FRAME);
    wire.say(ALICE, b"too late");
    assert!(wire.is_silent(BOB, at(ALICE), &later));

    assert_eq!(wire.early_sent(ALICE), sent);
    assert_eq!(wire.heard(BOB), [&b"hello"[..], b"still"]);
    for who in [ALICE, BOB] {
        let is_told = |event: &Event| matches!(event, Event::Insecure { why, .. } if why.contains("no secure session"));
        assert_eq!(wire.told[who].iter().filter(|event| is_told(event)).count(), 1, "{who}");
        assert!(wire.people[who].peers.values().all(|peer| peer.early_voice.is_none()), "the keys are gone");
    }
}

#[test]
fn the_session_takes_over_and_what_was_on_its_way_is_heard_for_a_second() {
    let mut wire = Wire::without_session();
    let [soon, late] = [&b"soon"[..], b"late"].map(|packet| wire.hold(ALICE, packet));
    wire.lost = |_, _| false;
    wire.run_until_secure();
    let sent = wire.early_sent(ALICE);
    wire.say(ALICE, b"by session");
    assert_eq!((wire.early_sent(ALICE), wire.heard(BOB)), (sent, vec![&b"by session"[..]]));

    wire.run_for(GRACE - FRAME);
    assert!(!wire.is_silent(BOB, at(ALICE), &soon));
    wire.run_for(FRAME * 2);
    assert!(wire.is_silent(BOB, at(ALICE), &late));
    assert_eq!(wire.heard(BOB), [&b"by session"[..], b"soon"]);
}

#[test]
fn a_session_that_breaks_brings_it_not_back() {
    let mut wire = Wire::without_session();
    wire.lost = |_, _| false;
    wire.run_until_secure();
    let link = wire.people[BOB].peers.values().find_map(|peer| peer.link).expect("a session");
    wire.people[BOB].sessions.close(link, 99, "broken", wire.now);
    wire.carry();
    wire.lost = |_, datagram| is_session(datagram);
    assert!(!wire.is_secure(ALICE));

    wire.say(ALICE, b"hello?");

    assert_eq!(wire.tapped, []);
}

#[test]
fn what_came_once_does_not_come_again_in_this_run_or_the_next() {
    let mut wire = Wire::without_session();
    for packet in [b"one", b"two"] {
        wire.say(ALICE, packet);
        wire.say(BOB, packet);
    }
    let tapped = wire.tapped.clone();
    for (who, datagram) in &tapped {
        assert!(wire.is_silent(1 - who, at(*who), datagram), "again");
        assert!(wire.is_silent(*who, at(1 - who), datagram), "back to who sent it");
    }
    let mut next = Wire::of_strangers(2);
    next.introduce();
    next.carry();
    for (who, datagram) in &tapped {
        assert!(next.is_silent(1 - who, at(*who), datagram), "in another run");
    }
}

#[test]
fn the_same_two_runs_have_it_once() {
    let mut wire = Wire::without_session();
    wire.say(ALICE, b"one");
    let missed = wire.hold(ALICE, b"two");
    let tag = wire.tag(BOB);
    wire.people[BOB].remove_peer(tag, "forgotten", wire.now);
    wire.carry();
    let card = wire.people[ALICE].card();
    wire.tell(BOB, ALICE, card);
    wire.run_for(Duration::from_secs(1));
    let sent = wire.early_sent(BOB);

    wire.say(BOB, b"numbers would begin anew");

    assert_eq!(wire.early_sent(BOB), sent);
    assert!(wire.is_silent(BOB, at(ALICE), &missed));
}

#[test]
fn nothing_is_sent_before_the_program_knows_of_the_peer_and_nothing_comes_of_one_that_it_blocks() {
    let mut wire = Wire::of_strangers(1);
    wire.is_busy = Some(ALICE);
    wire.introduce();
    wire.carry();
    assert!(wire.people[ALICE].peers().any(|peer| peer.addr == Some(at(BOB))), "there is a way");
    wire.say(ALICE, b"too early");
    assert_eq!(wire.tapped, []);

    // It comes in one batch with the news that there is somebody.
    wire.say(BOB, b"hello");
    let tag = wire.tag(ALICE);
    wire.people[ALICE].block(tag, wire.now);
    wire.is_busy = None;
    wire.carry();
    assert_eq!(wire.heard(ALICE), Vec::<&[u8]>::new());

    wire.say(ALICE, b"for nobody");
    let card = wire.people[BOB].card();
    wire.tell(ALICE, BOB, card);
    wire.say(BOB, b"hello?");
    wire.say(ALICE, b"for nobody");
    assert_eq!((wire.early_sent(ALICE), wire.heard(ALICE)), (0, Vec::new()));
}

#[test]
fn who_is_in_the_channel_and_is_not_the_peer_can_neither_make_nor_read_it() {
    let mut wire = Wire::without_session();
    wire.say(BOB, b"for Alice");
    let said = wire.tapped[0].1.clone();
    let (alice, bob) = ((identity(ALICE).key(), RunId(1)), (identity(BOB).key(), RunId(1)));
    let (carol, hers) = ((identity(7).key(), RunId(1)), ephemeral(7, 1));
    let [to_alice, to_bob] = [(alice, ALICE), (bob, BOB)].map(|((key, run), who)| (key, run, ephemeral(who, 1).key()));
    for me in [bob, carol, alice] {
        for peer in [to_alice, to_bob] {
            let keys = secret().early_voice_keys(&hers, me, peer).expect("keys");
            assert_eq!(keys.open(&said), None);
            let forged = keys.seal(100, b"forged").expect("a datagram");
            assert!(wire.is_silent(ALICE, at(BOB), &forged));
        }
    }
}

#[test]
fn from_an_address_that_passed_no_check_it_gets_silence() {
    let mut wire = Wire::without_session();
    let missed = wire.hold(BOB, b"moved");
    assert!(wire.is_silent(ALICE, at(7), &missed));
    assert!(!wire.is_silent(ALICE, at(BOB), &missed), "from Bob it is good");
}

#[test]
fn random_bytes_get_silence() {
    let mut wire = Wire::without_session();
    wire.say(BOB, b"hello");
    let mut rng = netsim::Rng::new(5);
    for number in 0..3000 {
        let len = rng.next_u64() as usize % (MAX + 20);
        let mut datagram: Vec<_> = (0..len).map(|_| rng.next_u64() as u8).collect();
        datagram.insert(0, EARLY_VOICE);
        if number % 2 == 0 && len >= HEADER {
            datagram[..HEADER].copy_from_slice(&Header { number }.to_bytes());
        }
        for from in [at(BOB), at(7)] {
            assert!(wire.is_silent(ALICE, from, &datagram), "{datagram:?}");
        }
        // So slowly that all that come from Bob are opened.
        wire.now += Duration::from_millis(3);
    }
    wire.say(BOB, b"again");
    assert_eq!(wire.heard(ALICE), [&b"hello"[..], b"again"]);
}

#[test]
fn who_floods_has_so_many_opened_in_a_second_and_no_more() {
    let mut wire = Wire::without_session();
    let mut forged = wire.hold(BOB, b"hello").to_vec();
    *forged.last_mut().expect("a tag") ^= 1;
    (0..400).for_each(|_| assert!(wire.is_silent(ALICE, at(BOB), &forged)));
    wire.say(BOB, b"not opened");
    assert_eq!(wire.heard(ALICE), Vec::<&[u8]>::new());
    wire.run_for(Duration::from_secs(1));
    wire.say(BOB, b"opened");
    assert_eq!(wire.heard(ALICE), [b"opened"]);
}

#[test]
fn an_address_that_never_answers_gets_five_voices_and_forty_packets_at_most() {
    let mut wire = Wire::of_strangers(1);
    wire.lost = |who, datagram| who == ALICE || datagram[0] != CHECK;
    wire.introduce();
    wire.run_for(Duration::from_millis(100));
    assert!(wire.people[ALICE].peers().any(|peer| peer.addr == Some(at(BOB))), "usable");
    for _ in 0..50 {
        (0..4).for_each(|_| wire.say(ALICE, b"frame"));
        wire.run_for(FRAME);
    }
    wire.run_for(Duration::from_secs(300));

    assert_eq!(wire.early_sent(ALICE), 5);
    assert!(wire.sent[ALICE] <= 40, "{}", wire.sent[ALICE]);
}

/// Such a key is refused (RFC 7748, 6.1); its owner is a member all the same.
#[test]
fn a_card_with_a_key_that_is_none_brings_no_early_voice() {
    let mut wire = Wire::of_strangers(1);
    let (mut zero, honest) = (wire.people[BOB].card(), wire.people[ALICE].card());
    zero.ephemeral = EphemeralKey([0; 32]);
    wire.tell(ALICE, BOB, zero);
    wire.tell(BOB, ALICE, honest);
    wire.carry();
    wire.say(ALICE, b"hello");
    wire.say(BOB, b"hello");
    assert_eq!((wire.early_sent(ALICE), wire.heard(ALICE).len()), (0, 0));
    wire.lost = |_, _| false;
    wire.run_until_secure();
}
