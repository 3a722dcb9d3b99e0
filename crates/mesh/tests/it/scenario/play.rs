//! A scenario as it is played, and what must be true of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mesh::{Event, Observe};
use netsim::{Mapping, Means, Nat, Ports, RouterId, Segment, Udp, direct_path_possible};
use wire::{
    MessageId,
    agent::{Delivery, Path, Peers},
    peer::Keeper,
};

use super::{
    Capable,
    script::{Deed, Home, Script, Who},
};
use crate::world::{PORT, TUNNEL_PORT, World, host_candidates};

/// After the last thing that happened, so long all may take that have what they need. A rendezvous or a path that went
/// without a word is noticed after half a minute, and looked for again at growing intervals.
const SETTLED_WITHIN: Duration = Duration::from_secs(150);
/// Acknowledgements are given so often.
const TURN: Duration = Duration::from_millis(100);
/// A text is on its way for so long, with all that is lost.
const TEXTS_TAKE: Duration = Duration::from_secs(9);
/// To an address that never answered; `punch` promises it.
const MOST_TO_THE_SILENT: u32 = 40;

pub(super) struct Play<'a> {
    script: &'a Script,
    capable: Capable,
    world: World,
    /// Which router each is behind, and what it and all in front of it do together.
    places: BTreeMap<Who, (RouterId, Nat)>,
    /// Routers that more than one have been behind.
    shared: BTreeSet<RouterId>,
    present: Vec<Who>,
    cut: Vec<Who>,
    has_server: bool,
    texts: u128,
    /// How many of a member's events have been looked at.
    looked_at: BTreeMap<Who, usize>,
    /// How often a text came to a run of a person, and what its sender was told.
    came: BTreeMap<(Who, usize, MessageId), u32>,
    told: BTreeMap<(MessageId, String), Delivery>,
    runs: BTreeMap<Who, usize>,
    wrong: Vec<String>,
}

impl<'a> Play<'a> {
    pub(super) fn new(script: &'a Script, capable: Capable) -> Self {
        let mut play = Self {
            script,
            capable,
            world: World::over(script.seed, script.link),
            places: BTreeMap::new(),
            shared: BTreeSet::new(),
            present: Vec::new(),
            cut: Vec::new(),
            has_server: true,
            texts: 0,
            looked_at: BTreeMap::new(),
            came: BTreeMap::new(),
            told: BTreeMap::new(),
            runs: BTreeMap::new(),
            wrong: Vec::new(),
        };
        script.homes.iter().for_each(|(who, home)| play.settle_down(who, *home));
        play
    }

    /// Plays it all; gives how long it took, or what was wrong.
    pub(super) fn run(mut self) -> Result<Duration, String> {
        let start = self.world.lab.now();
        for (wait, deed) in &self.script.deeds {
            self.let_pass(*wait);
            self.happens(*deed);
        }
        let demanded = self.demanded();
        if !self.script.ends_without_server() {
            self.heal();
        }
        self.settle(&demanded);
        self.nobody_is_flooded();
        self.no_text_comes_twice();
        match self.wrong.is_empty() {
            true => Ok(self.world.lab.now() - start),
            false => Err(self.wrong.join("\n")),
        }
    }

    fn settle_down(&mut self, who: Who, home: Home) {
        let place = match home {
            Home::Own(kind) => (self.world.home_at(who, Segment::INTERNET, kind.nat()), kind.nat()),
            Home::Behind(kind, carrier) => {
                let outer = self.world.router(Segment::INTERNET, carrier.nat());
                (self.world.home_at(who, outer.inside(), kind.nat()), kind.nat().behind(carrier.nat()))
            }
            Home::With(other) => {
                let (router, nat) = self.places[other];
                self.world.in_home(who, router.inside());
                self.shared.insert(router);
                (router, nat)
            }
        };
        self.places.insert(who, place);
    }

    /// Lets time pass, while everybody keeps what comes.
    fn let_pass(&mut self, time: Duration) {
        let end = self.world.lab.now() + time;
        while self.world.lab.now() < end {
            self.world.lab.run_for(TURN.min(end - self.world.lab.now()));
            self.look_at_events();
        }
    }

    fn look_at_events(&mut self) {
        for who in self.present.clone() {
            let from = self.looked_at.get(who).copied().unwrap_or(0);
            let events: Vec<_> = self.world.member(who).told[from..].iter().map(|(_, event)| event.clone()).collect();
            self.looked_at.insert(who, from + events.len());
            for event in events {
                match event {
                    Event::Text { tag, id, .. } => {
                        *self.came.entry((who, self.runs[who], id)).or_default() += 1;
                        self.world.with(who, |mesh, now| mesh.acknowledge(tag, id, Keeper::Chat, now));
                    }
                    Event::Delivery { id, name, outcome, .. } => drop(self.told.insert((id, name), outcome)),
                    _ => {}
                }
            }
        }
    }

    fn happens(&mut self, deed: Deed) {
        match deed {
            Deed::Join(who) => self.join(who),
            Deed::Leave(who) => self.leave(who),
            Deed::Kill(who) => self.kill(who),
            Deed::Reboot(who) => self.world.lab.net.reboot(self.places[who].0),
            Deed::Renumber(who) => self.world.renumber(self.places[who].0),
            Deed::Roam(who, kind) => {
                let router = self.world.router(Segment::INTERNET, kind.nat());
                self.places.insert(who, (router, kind.nat()));
                self.world.move_home(who, router.inside());
                self.notice(who);
            }
            Deed::Cut(who) => {
                self.world.lab.net.cut(self.world.hosts[who], true);
                self.cut.push(who);
            }
            Deed::Mend(who) => self.mend(who),
            Deed::Talk(time) => self.talk(time),
            Deed::Text(who) => drop(self.write(who)),
            Deed::ServerGone => {
                self.world.lab.uninstall(self.world.server);
                self.has_server = false;
            }
            Deed::ServerBack => {
                if !self.has_server {
                    self.world.restart_server();
                }
                self.has_server = true;
            }
        }
    }

    fn join(&mut self, who: Who) {
        if !self.present.contains(&who) {
            let observe = self.script.guesses.then(|| Observe { port: PORT, observers: Vec::new() });
            self.world.join_with(who, |config| config.observe = observe);
            self.present.push(who);
            self.looked_at.insert(who, 0);
            *self.runs.entry(who).or_default() += 1;
        }
    }

    fn leave(&mut self, who: Who) {
        if self.present.contains(&who) {
            self.world.with(who, |mesh, now| mesh.leave(now));
            self.kill(who);
        }
    }

    fn kill(&mut self, who: Who) {
        if self.present.contains(&who) {
            self.look_at_events();
            self.world.lab.uninstall(self.world.hosts[who]);
            self.present.retain(|other| *other != who);
        }
    }

    fn mend(&mut self, who: Who) {
        if self.cut.contains(&who) {
            self.cut.retain(|other| *other != who);
            self.world.lab.net.cut(self.world.hosts[who], false);
            self.notice(who);
        }
    }

    /// The program sees that its computer's network has changed.
    fn notice(&mut self, who: Who) {
        if self.present.contains(&who) {
            let candidates = host_candidates(self.world.lab.net.addresses(self.world.hosts[who]));
            self.world.with(who, |mesh, now| mesh.network_changed(candidates, now));
            self.world.forget_silence(who);
        }
    }

    fn talk(&mut self, time: Duration) {
        let end = self.world.lab.now() + time;
        while self.world.lab.now() < end {
            for who in &self.present {
                self.world.with(who, |mesh, now| mesh.send_voice(&Peers::All, b"frame", now));
            }
            self.world.lab.run_for(Duration::from_millis(20));
        }
        self.look_at_events();
    }

    fn write(&mut self, who: Who) -> Option<MessageId> {
        self.present.contains(&who).then(|| {
            self.texts += 1;
            let id = MessageId(self.texts);
            self.world.with(who, |mesh, now| mesh.send_text(id, &Peers::All, who.as_bytes().to_vec(), now));
            id
        })
    }

    /// Cables are in, and the rendezvous is there.
    fn heal(&mut self) {
        self.cut.clone().into_iter().for_each(|who| self.mend(who));
        self.happens(Deed::ServerBack);
    }

    /// The pairs that must be connected in the end. Without a rendezvous, those that are.
    fn demanded(&self) -> Vec<(Who, Who)> {
        let pairs = self.present.iter().enumerate();
        let pairs = pairs.flat_map(|(n, a)| self.present[n + 1..].iter().map(move |b| (*a, *b)));
        match self.script.ends_without_server() {
            true => pairs.filter(|(a, b)| self.needs_no_server(a, b)).collect(),
            false => pairs.filter(|(a, b)| self.can_connect(a, b)).collect(),
        }
    }

    /// Whether a pair's path goes through nobody, and will stay.
    fn needs_no_server(&self, a: Who, b: Who) -> bool {
        self.can_be_direct(a, b) && self.are_connected(a, b) && self.cut.is_empty()
    }

    fn can_connect(&self, a: Who, b: Who) -> bool {
        let reaches_server = |who: Who| match self.places[who].1.udp {
            Udp::Passes => true,
            Udp::Only(port) => self.capable.tunnel && port == TUNNEL_PORT,
            Udp::Blocked => false,
        };
        reaches_server(a) && reaches_server(b) && (self.capable.relay || self.can_be_direct(a, b))
    }

    fn can_be_direct(&self, a: Who, b: Who) -> bool {
        if self.places[a].0 == self.places[b].0 {
            return true;
        }
        let (nat_a, nat_b) = (self.seen_nat(a), self.seen_nat(b));
        let spoiled = (nat_a.poison || nat_b.poison) && !self.capable.fresh_socket;
        let means = if self.script.guesses { self.capable.means } else { Means::Plain };
        direct_path_possible(nat_a, nat_b) <= means.min(Means::Birthday) && !spoiled
    }

    /// What others see of somebody's router: where one gives two of its hosts one port, each host's depends on where it
    /// sends, and that outlasts the other host.
    fn seen_nat(&self, who: Who) -> Nat {
        let (router, nat) = self.places[who];
        match nat.overloads && self.shared.contains(&router) {
            true => Nat { mapping: Mapping::AddressAndPortDependent, ports: Ports::Random, ..nat },
            false => nat,
        }
    }

    fn are_connected(&self, a: Who, b: Who) -> bool {
        World::are_secure(&self.world.lab, &self.world.hosts, a, b)
            && [(a, b), (b, a)].into_iter().all(|(one, other)| match self.can_be_direct(a, b) {
                true => self.world.member(one).mesh.peers().any(|peer| peer.name == other && peer.path == Path::Direct),
                false => true,
            })
    }

    /// In time all demanded pairs are connected, and a text from each to each comes once, of which its writer is told.
    /// A path may be dead without anybody having noticed: then texts tell, and another round is written later.
    fn settle(&mut self, demanded: &[(Who, Who)]) {
        let end = self.world.lab.now() + SETTLED_WITHIN;
        loop {
            let mut wrong = self.missing(demanded);
            if wrong.is_empty() {
                wrong = self.everybody_writes(demanded);
            } else {
                self.let_pass(TURN * 5);
            }
            if wrong.is_empty() {
                return;
            }
            if self.world.lab.now() >= end {
                return self.wrong.extend(wrong);
            }
        }
    }

    fn missing(&self, demanded: &[(Who, Who)]) -> Vec<String> {
        let left = demanded.iter().filter(|(a, b)| !self.are_connected(a, b));
        let tell = |(a, b): &(Who, Who)| {
            format!("{a} and {b} are not connected after {SETTLED_WITHIN:?}: {}; {}", self.view(a, b), self.view(b, a))
        };
        left.map(tell).collect()
    }

    /// How somebody sees another one.
    fn view(&self, who: Who, other: &str) -> String {
        let peer = self.world.member(who).mesh.peers().find(|peer| peer.name == other);
        match peer {
            Some(peer) => format!("{who} sees {other} by {:?} at {:?}, secure: {}", peer.path, peer.addr, peer.secure),
            None => format!("{who} does not see {other}"),
        }
    }

    /// Everybody writes to everybody; gives what did not come as it should.
    fn everybody_writes(&mut self, demanded: &[(Who, Who)]) -> Vec<String> {
        let writers = self.present.clone().into_iter();
        let texts: Vec<_> = writers.filter_map(|who| Some((who, self.write(who)?))).collect();
        self.let_pass(TEXTS_TAKE);
        let readers = |writer: Who| {
            let other = move |(a, b): &(Who, Who)| [(*a, *b), (*b, *a)].into_iter().find(|(one, _)| *one == writer);
            demanded.iter().filter_map(other).map(|(_, reader)| reader)
        };
        let all = texts.iter().flat_map(|(writer, id)| readers(writer).map(move |reader| (*writer, *id, reader)));
        let wrong = all.filter_map(|(writer, id, reader)| {
            let came = self.came.get(&(reader, self.runs[reader], id)).copied().unwrap_or(0);
            let told = self.told.get(&(id, reader.to_owned()));
            let is_right = came == 1 && told == Some(&Delivery::Delivered(Keeper::Chat));
            (!is_right).then(|| format!("{writer}'s text came to {reader} {came} times; {writer} was told {told:?}"))
        });
        wrong.collect()
    }

    fn no_text_comes_twice(&mut self) {
        for ((who, _, id), count) in &self.came {
            if *count > 1 {
                self.wrong.push(format!("text {id:?} came to {who} {count} times"));
            }
        }
    }

    fn nobody_is_flooded(&mut self) {
        for who in &self.present {
            if let Some((addr, count)) =
                self.world.member(who).most_to_the_silent().filter(|(_, n)| *n > MOST_TO_THE_SILENT)
            {
                self.wrong.push(format!("{who} has sent {count} packets to {addr}, which never answered"));
            }
        }
    }
}
