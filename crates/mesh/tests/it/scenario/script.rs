//! What happens in a scenario, as text: one line for each thing, so that a failing one can be read and cut down.

use std::{fmt, str::FromStr, time::Duration};

use netsim::{Kind, Link, Rng};

pub(crate) const PEOPLE: [&str; 4] = ["ann", "ben", "cat", "dan"];
pub(crate) type Who = &'static str;

/// A whole scenario.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Script {
    /// Of all that is left to chance while it is played.
    pub(crate) seed: u64,
    /// Everybody's way to the middle of the internet.
    pub(crate) link: Link,
    /// Whether members learn what routers they are behind, and foresee and guess ports: that takes many packets.
    pub(crate) guesses: bool,
    pub(crate) homes: Vec<(Who, Home)>,
    /// What happens, each so long after the one before.
    pub(crate) deeds: Vec<(Duration, Deed)>,
}

/// Where somebody lives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Home {
    /// Behind a router of their own.
    Own(Kind),
    /// The same behind a carrier's.
    Behind(Kind, Kind),
    /// In the home of somebody named before.
    With(Who),
}

/// What happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Deed {
    Join(Who),
    Leave(Who),
    Kill(Who),
    /// The router forgets everything.
    Reboot(Who),
    /// The router gets another address.
    Renumber(Who),
    /// Goes to a new home with such a router, and notices.
    Roam(Who, Kind),
    /// The cable of the computer.
    Cut(Who),
    Mend(Who),
    /// Everybody talks for so long.
    Talk(Duration),
    Text(Who),
    /// The rendezvous is gone without a word.
    ServerGone,
    ServerBack,
}

impl Script {
    /// The scenario of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let people = &PEOPLE[..2 + rng.below(3) as usize];
        let link = link(1 + rng.below(60), rng.below(20), rng.below(9));
        let homes = people.iter().enumerate().map(|(n, who)| (*who, home(&mut rng, &people[..n]))).collect();
        let mut deeds: Vec<_> = people.iter().map(|who| (millis(rng.below(1500)), Deed::Join(who))).collect();
        for _ in 0..rng.below(7) {
            let wait = millis(rng.below(4000));
            deeds.push((wait, deed(&mut rng, people)));
        }
        if rng.chance(0.15) {
            deeds.push((CALM, Deed::ServerGone));
            let writer = *rng.pick(people);
            deeds.push((millis(rng.below(4000)), Deed::Text(writer)));
        }
        Self { seed, link, guesses: seed.is_multiple_of(GUESSING), homes, deeds }
    }

    /// Whether the rendezvous is gone for good in the end, and nothing else happened for so long before that or since.
    pub(crate) fn ends_without_server(&self) -> bool {
        let later = self.deeds.iter().rev();
        let mut before = later.skip_while(|(_, deed)| matches!(deed, Deed::Text(_) | Deed::Talk(_)));
        before.next().is_some_and(|(wait, deed)| *deed == Deed::ServerGone && *wait >= CALM)
    }
}

/// One scenario of so many is with guesses.
const GUESSING: u64 = 3;
/// After so long without anything happening, whoever is connected stays so.
const CALM: Duration = Duration::from_secs(60);

fn home(rng: &mut Rng, before: &[Who]) -> Home {
    let kind = *rng.pick(&Kind::ALL);
    match rng.below(20) {
        0 | 1 if !before.is_empty() => {
            let other = *rng.pick(before);
            Home::With(other)
        }
        2..5 if kind.nat().translate => Home::Behind(kind, *rng.pick(&[Kind::Carrier, Kind::CarrierSymmetric])),
        _ => Home::Own(kind),
    }
}

fn deed(rng: &mut Rng, people: &[Who]) -> Deed {
    let who = *rng.pick(people);
    match rng.below(16) {
        0..3 => Deed::Reboot(who),
        3 => Deed::Renumber(who),
        4 | 5 => Deed::Roam(who, *rng.pick(&Kind::ALL)),
        6 => Deed::Cut(who),
        7 => Deed::Mend(who),
        8 => Deed::Kill(who),
        9 => Deed::Leave(who),
        10 | 11 => Deed::Join(who),
        12 => Deed::ServerGone,
        13 => Deed::ServerBack,
        14 => Deed::Talk(millis(500 + rng.below(2000))),
        _ => Deed::Text(who),
    }
}

fn link(delay: u64, jitter: u64, percent: u64) -> Link {
    let loss = percent as f64 / 100.0;
    Link { delay: millis(delay), jitter: millis(jitter), loss, duplicate: 0.02, reorder: 0.02, ..Link::default() }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Link { delay, jitter, loss, .. } = self.link;
        writeln!(f, "seed {}", self.seed)?;
        writeln!(f, "link {} {} {:.0}", delay.as_millis(), jitter.as_millis(), loss * 100.0)?;
        if self.guesses {
            writeln!(f, "guess")?;
        }
        for (who, home) in &self.homes {
            match home {
                Home::Own(kind) => writeln!(f, "home {who} own {kind}")?,
                Home::Behind(kind, carrier) => writeln!(f, "home {who} own {kind} behind {carrier}")?,
                Home::With(other) => writeln!(f, "home {who} with {other}")?,
            }
        }
        self.deeds.iter().try_for_each(|(wait, deed)| writeln!(f, "after {} {deed}", wait.as_millis()))
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Join(who) => write!(f, "join {who}"),
            Self::Leave(who) => write!(f, "leave {who}"),
            Self::Kill(who) => write!(f, "kill {who}"),
            Self::Reboot(who) => write!(f, "reboot {who}"),
            Self::Renumber(who) => write!(f, "renumber {who}"),
            Self::Roam(who, kind) => write!(f, "roam {who} {kind}"),
            Self::Cut(who) => write!(f, "cut {who}"),
            Self::Mend(who) => write!(f, "mend {who}"),
            Self::Talk(time) => write!(f, "talk {}", time.as_millis()),
            Self::Text(who) => write!(f, "text {who}"),
            Self::ServerGone => f.write_str("server gone"),
            Self::ServerBack => f.write_str("server back"),
        }
    }
}

impl FromStr for Script {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut script = Self { seed: 0, link: Link::default(), guesses: false, homes: Vec::new(), deeds: Vec::new() };
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
            script.read(line).ok_or_else(|| format!("this line is not understood: {line}"))?;
        }
        Ok(script)
    }
}

impl Script {
    fn read(&mut self, line: &str) -> Option<()> {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["guess"] => self.guesses = true,
            ["seed", seed] => self.seed = seed.parse().ok()?,
            ["link", delay, jitter, percent] => {
                self.link = link(delay.parse().ok()?, jitter.parse().ok()?, percent.parse().ok()?);
            }
            ["home", who, "own", kind] => self.homes.push((person(who)?, Home::Own(Kind::named(kind)?))),
            ["home", who, "own", kind, "behind", carrier] => {
                self.homes.push((person(who)?, Home::Behind(Kind::named(kind)?, Kind::named(carrier)?)));
            }
            ["home", who, "with", other] => self.homes.push((person(who)?, Home::With(person(other)?))),
            ["after", wait, ref deed @ ..] => self.deeds.push((millis(wait.parse().ok()?), read_deed(deed)?)),
            _ => return None,
        }
        Some(())
    }
}

fn read_deed(words: &[&str]) -> Option<Deed> {
    Some(match *words {
        ["join", who] => Deed::Join(person(who)?),
        ["leave", who] => Deed::Leave(person(who)?),
        ["kill", who] => Deed::Kill(person(who)?),
        ["reboot", who] => Deed::Reboot(person(who)?),
        ["renumber", who] => Deed::Renumber(person(who)?),
        ["roam", who, kind] => Deed::Roam(person(who)?, Kind::named(kind)?),
        ["cut", who] => Deed::Cut(person(who)?),
        ["mend", who] => Deed::Mend(person(who)?),
        ["talk", time] => Deed::Talk(millis(time.parse().ok()?)),
        ["text", who] => Deed::Text(person(who)?),
        ["server", "gone"] => Deed::ServerGone,
        ["server", "back"] => Deed::ServerBack,
        _ => return None,
    })
}

fn person(name: &str) -> Option<Who> {
    PEOPLE.into_iter().find(|who| *who == name)
}

#[test]
fn a_scenario_is_the_same_when_it_is_read_again() {
    for seed in 0..200 {
        let script = Script::of(seed);
        assert_eq!(script.to_string().parse(), Ok(script));
    }
}

#[test]
fn a_line_that_is_not_understood_is_named() {
    let error = "seed 1\nafter 20 dance ann\n".parse::<Script>().unwrap_err();
    assert!(error.ends_with("after 20 dance ann"), "{error}");
}
