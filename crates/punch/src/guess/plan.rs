//! Who opens how many sockets, and who probes which ports, when, and how far: from what is known of two routers.
//!
//! | the two routers | one side | the other side |
//! |---|---|---|
//! | both keep one port for all | a fresh socket, first packet short-lived | the same |
//! | one chooses a port for each destination | opens sockets towards the known port | probes where those may have been put |
//! | both do, but one lets any port of an address in | that one opens sockets | probes |
//! | both do, in sequence | opens sockets, all towards a likely port | the same |
//! | both do, in small blocks | opens sockets, all towards a few ports | takes all of its ports, towards one of the first side's |
//! | both do, and one of them anywhere | nothing | nothing |

use std::time::Duration;

use wire::{
    guess::Router,
    nat::{Filtering, Mapping, Ports},
};

use super::ports::{self, Rng};

/// Packets of one guess, on either side; the odds of a router that chooses among 64512 ports are 98 in 100 with
/// 256 sockets. Routers' tables are not large.
pub(crate) const MAX_PROBES: usize = 1024;
/// Sockets of one guess.
pub(crate) const MAX_SOCKETS: u16 = 256;
/// Gap between probes: 300 a second.
pub(crate) const GAP: Duration = Duration::from_micros(3333);
/// Gap between packets that only open the own router: 500 a second.
const OPENER_GAP: Duration = Duration::from_millis(2);
/// Hops of a packet that is to leave the own routers, a carrier's too, but not to arrive at the other side's: a home, an
/// access network and a carrier make 2 to 4, and few ways from there to another home are as short as 2 more.
const OPENER_TTL: u8 = 5;
/// Sockets of a sequence towards one port, and which of them it is to be: half of them may be taken by others.
const SEQUENCE: u16 = 40;
/// Sockets towards a known port if the own router chooses in sequence: one, and some for the packets that are lost; and as many
/// again that wait until the other side has probed.
const FEW: u16 = 8;
/// A block that is no larger may be a sequence of which others took a part between two looks.
const SMALL_BLOCK: u16 = 256;
/// More pairs of ports than this are not met by [`MAX_PROBES`] packets of either side.
const MAX_PAIRS: u32 = 512 * 512;
/// When a fresh socket pings, after its first packet; dense, as every volley is.
const FRESH: [u64; 9] = [0, 20, 45, 80, 130, 200, 300, 450, 650];
/// How long after the last packet an answer may take, besides the round trip.
const GRACE: Duration = Duration::from_millis(300);

/// A word that got lost is said again within this time.
const SAID_AGAIN: Duration = Duration::from_millis(1500);

/// Two routers, seen from one side.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// Ours.
    pub ours: Router,
    /// Theirs.
    pub theirs: Router,
    /// At which port the rendezvous sees the peer's socket of all calls.
    pub their_port: u16,
    /// Round trip to the peer, by the way that its packets take now.
    pub rtt: Duration,
    /// Whether we made the offer; decides where both sides could do either part.
    pub leads: bool,
}

/// What one side does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plan {
    /// Sockets to open; without any, everything is sent from the main one.
    pub(crate) sockets: u16,
    /// What is sent, in this order.
    pub(crate) volleys: Vec<Volley>,
    /// How long it may all take.
    pub(crate) patience: Duration,
}

/// Packets to some ports, from every socket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Volley {
    /// Not before so long after the start.
    pub(crate) after: Duration,
    pub(crate) ports: Vec<u16>,
    pub(crate) ttl: Option<u8>,
    pub(crate) gap: Duration,
    /// From so many of the sockets, the first ones; from all if there are fewer.
    pub(crate) from: u16,
    /// Whether the sockets on which nothing was heard are closed before, and others opened: a router gives those other ports.
    pub(crate) is_fresh: bool,
}

impl Volley {
    fn new(after: Duration, ports: Vec<u16>) -> Self {
        Self { after, ports, ttl: None, gap: GAP, from: MAX_SOCKETS, is_fresh: false }
    }
}

/// What one side has to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// Start anew from a fresh socket: guessing should not be needed.
    Restart,
    /// Open sockets, for the other side to find one.
    Open,
    /// Find one.
    Probe,
    /// Both at once.
    Meet,
}

impl Pair {
    /// Our part; `None` if no guess would meet.
    pub fn part(&self) -> Option<Part> {
        let (ours, theirs) = (&self.ours, &self.theirs);
        match (is_hard(ours), is_hard(theirs)) {
            (false, false) => Some(Part::Restart),
            (true, false) => Some(Part::Open),
            (false, true) => Some(Part::Probe),
            (true, true) => match (hears_all_ports(ours), hears_all_ports(theirs)) {
                (true, true) => Some(if self.leads { Part::Open } else { Part::Probe }),
                (true, false) => Some(Part::Open),
                (false, true) => Some(Part::Probe),
                (false, false) => (span(ours)?.saturating_mul(span(theirs)?) <= MAX_PAIRS).then_some(Part::Meet),
            },
        }
    }

    /// Whether a fresh socket of ours has to be seen by the rendezvous before the start: because others follow it in a sequence, or
    /// because our router may have given the main one another port meanwhile, when a port of the peer was pinged that the peer's
    /// packet had come from before: one that was foreseen, or of a guess that has failed (`attempt` counts those). A router of
    /// Linux gives that other port to everything that the socket sends from then on, wherever it goes.
    pub fn needs_scout(ours: &Router, theirs: &Router, attempt: u8) -> bool {
        let may_be_sequential = matches!(ours.ports, Some(Ports::Block { size, .. }) if size <= SMALL_BLOCK);
        let may_be_spoilt = (is_sequential(theirs) || attempt > 0) && ours.poisoned != Some(false);
        is_sequential(ours)
            || is_hard(ours) && may_be_sequential
            || !is_hard(ours) && (!is_hard(theirs) || may_be_spoilt)
    }

    /// Whether a guess that has not met is worth another one soon: what was seen of a router may have deceived, and two that choose
    /// are met by chance.
    pub fn is_worth_another(&self) -> bool {
        let (ours, theirs) = (&self.ours, &self.theirs);
        let is_cheap = |router: &Router| is_hard(router) && span(router).is_some();
        is_hard(ours) && is_hard(theirs) || is_cheap(ours) || is_cheap(theirs)
    }

    /// Whether both parts together take no more packets than a few volleys do.
    pub fn is_cheap(&self) -> bool {
        let there = Self { ours: self.theirs, theirs: self.ours, leads: !self.leads, ..*self };
        self.cost() + there.cost() <= 256
    }

    /// Whether a guess that has not met may be followed by others at once: few packets on either side, from and to ports that are
    /// looked at anew each time.
    pub fn is_quick_to_repeat(&self) -> bool {
        let there = Self { ours: self.theirs, theirs: self.ours, leads: !self.leads, ..*self };
        self.part().is_some() && self.cost().max(there.cost()) <= MAX_PROBES / 3
    }

    /// The most packets that our part may take.
    pub(crate) fn cost(&self) -> usize {
        match self.part() {
            None | Some(Part::Restart) => FRESH.len() + 1,
            Some(Part::Open) => 4 * usize::from(self.open_sockets()),
            Some(Part::Probe) if is_sequential(&self.theirs) => 128,
            Some(Part::Meet) if is_sequential(&self.ours) => 4 * 2 * usize::from(SEQUENCE),
            Some(Part::Probe | Part::Meet) => MAX_PROBES,
        }
    }

    fn open_sockets(&self) -> u16 {
        match self.ours.ports {
            Some(Ports::Sequential { .. }) => FEW,
            Some(Ports::Block { size, .. }) => (size / 8).clamp(16, 64),
            _ => MAX_SOCKETS,
        }
    }

    /// What we do; `None` if no guess would meet. `attempt` counts the guesses that have failed just before. Everything left to
    /// chance follows from the seed.
    pub fn plan(&self, attempt: u8, seed: u64) -> Option<Plan> {
        let mut rng = Rng::new(seed);
        let plan = match self.part()? {
            Part::Restart => self.restart(attempt)?,
            Part::Open => self.open(attempt),
            Part::Probe => self.probe(&mut rng),
            Part::Meet => self.meet(&mut rng),
        };
        Some(plan)
    }

    /// A router that was spoilt by what came too early must not be spoilt again: its own side sends first, and the other side
    /// waits. If that may be true of both, the first packets are short-lived, and leave at the same time, so that those of two that
    /// are near each other meet between the routers. If that has failed, each side goes first once.
    fn restart(&self, attempt: u8) -> Option<Plan> {
        let port = vec![self.theirs.port?];
        let is_spoilt = |router: &Router| router.poisoned == Some(true);
        let goes_first = match (is_spoilt(&self.ours), is_spoilt(&self.theirs)) {
            (true, false) => Some(true),
            (false, true) => Some(false),
            _ if attempt > 0 => Some((attempt % 2 == 1) != self.leads),
            _ => None,
        };
        // The leader begins when it hears that the other side has.
        let begin = if self.leads { Duration::ZERO } else { self.rtt / 2 };
        let volley = |after, ttl| Volley { ttl, ..Volley::new(begin + after, port.clone()) };
        let opener = match goes_first {
            Some(true) => Some(volley(Duration::ZERO, None)),
            Some(false) => None,
            None => Some(volley(Duration::ZERO, Some(OPENER_TTL))),
        };
        let start = self.rtt + Duration::from_millis(20);
        let volleys = opener.into_iter().chain(FRESH.map(|at| volley(start + Duration::from_millis(at), None)));
        let patience = begin + start + Duration::from_millis(FRESH[8]) + self.rtt + GRACE;
        Some(Plan { sockets: 1, volleys: volleys.collect(), patience })
    }

    /// Short-lived packets open our router and leave theirs alone; packets that arrive follow once they can't spoil anything. If the
    /// two are so near each other that short-lived ones may arrive, too, some sockets send none; and none does after a guess that has
    /// failed, perhaps for that.
    fn open(&self, attempt: u8) -> Plan {
        let sockets = self.open_sockets();
        let early = match self.theirs.poisoned {
            Some(true) => 0,
            None if attempt > 0 => 0,
            Some(false) => sockets,
            None if span(&self.ours).is_some() => sockets / 2,
            None => sockets / 4 * 3,
        };
        let fresh = self.theirs.port.filter(|_| !is_hard(&self.theirs));
        let aim = fresh.unwrap_or(self.their_port);
        let volley = |after| Volley { gap: OPENER_GAP, ..Volley::new(after, vec![aim]) };
        let time_of = |probes: u32| self.rtt + GAP * probes + Duration::from_millis(100);
        let likely = span(&self.ours).map_or(MAX_PROBES as u32, |span| span.min(MAX_PROBES as u32));
        let all = if is_sequential(&self.ours) { likely } else { MAX_PROBES as u32 };
        let mut volleys = Vec::new();
        if early > 0 {
            volleys.push(Volley { ttl: Some(OPENER_TTL), from: early, ..volley(Duration::ZERO) });
        }
        if self.theirs.poisoned == Some(false) {
            volleys.push(volley(time_of(0)));
        }
        volleys.push(volley(time_of(likely)));
        if all > likely && self.theirs.poisoned != Some(true) {
            volleys.push(volley(time_of(all)));
        }
        let patience = time_of(all) + OPENER_GAP * u32::from(sockets) + self.rtt + GRACE;
        Plan { sockets, volleys, patience }
    }

    fn probe(&self, rng: &mut Rng) -> Plan {
        let last = self.theirs.port.unwrap_or(self.their_port);
        let ports = ports::likely(self.theirs.ports.unwrap_or(Ports::Random), last, MAX_PROBES, rng);
        let volley = |after| Volley::new(after, ports.clone());
        let took = GAP * ports.len() as u32;
        // So few that they may all be repeated, for those that got lost.
        let again =
            is_sequential(&self.theirs).then(|| [100, 400].map(|after| volley(took + Duration::from_millis(after))));
        let volleys = [volley(Duration::ZERO)].into_iter().chain(again.into_iter().flatten()).collect();
        // The other side's last packets come later, and later still if our word that we begin has to be said twice.
        let patience = took + OPENER_GAP * u32::from(MAX_SOCKETS) + self.rtt * 2 + GRACE + SAID_AGAIN;
        let is_fresh = !is_hard(&self.ours) && self.ours.port.is_some();
        Plan { sockets: u16::from(is_fresh), volleys, patience }
    }

    /// Two ports have to be right at once. Where blocks meet, one side stands: it opens sockets towards a few ports. The other one
    /// walks through all of its ports, towards one of the first side's after the other: so whichever of the few that one has been
    /// given, the packet from there comes.
    fn meet(&self, rng: &mut Rng) -> Plan {
        match (self.theirs.ports, is_sequential(&self.ours)) {
            (Some(Ports::Sequential { step }), true) => self.stand(self.nth_of_theirs(step, &[20])),
            (Some(Ports::Sequential { step }), false) => self.walk(self.nth_of_theirs(step, &[18, 58]), Duration::ZERO),
            (Some(Ports::Block { first, size }), true) => self.stand(ports::some_of(first, size, 2, rng)),
            (Some(Ports::Block { first, size }), false) if self.walks() => {
                // What comes before the other side's first sockets are open is lost.
                self.walk(ports::some_of(first, size, 2, rng), GAP * u32::from(MAX_SOCKETS))
            }
            (Some(Ports::Block { first, size }), false) => self.stand(ports::some_of(first, size, 4, rng)),
            _ => self.stand(Vec::new()),
        }
    }

    /// The side with the smaller block walks: it comes further.
    fn walks(&self) -> bool {
        let (ours, theirs) = (span(&self.ours), span(&self.theirs));
        ours < theirs || ours == theirs && !self.leads
    }

    fn nth_of_theirs(&self, step: i16, counts: &[i32]) -> Vec<u16> {
        // The other side's first 40 sockets send to one port, and then to the next one.
        let last = self.theirs.port.unwrap_or(self.their_port);
        counts.iter().filter_map(|count| ports::nth(last, step, *count)).collect()
    }

    fn stand(&self, aims: Vec<u16>) -> Plan {
        let sockets = if is_sequential(&self.ours) { SEQUENCE } else { MAX_SOCKETS };
        let took = GAP * u32::from(sockets) * aims.len() as u32;
        let mut volleys = vec![Volley::new(Duration::ZERO, aims)];
        if is_sequential(&self.ours) {
            let again = |after| Volley { after: took + Duration::from_millis(after), ..volleys[0].clone() };
            volleys.extend([300, 900, 1500].map(again));
        }
        Plan { sockets, volleys, patience: self.meeting_takes() }
    }

    fn walk(&self, aims: Vec<u16>, start: Duration) -> Plan {
        // The last sockets of a batch have to hear the answer before they make room for the next one.
        let batch = GAP * u32::from(MAX_SOCKETS) + self.answer_takes();
        let to = |(index, aim): (u32, u16)| {
            let volley = Volley::new(start + batch * 2 * index, vec![aim]);
            [volley.clone(), Volley { after: volley.after + batch, is_fresh: true, ..volley }]
        };
        let volleys = (0..).zip(aims).flat_map(to).collect();
        Plan { sockets: MAX_SOCKETS, volleys, patience: self.meeting_takes() }
    }

    fn answer_takes(&self) -> Duration {
        self.rtt + Duration::from_millis(60)
    }

    /// All packets of either side, and the answer to the last one.
    fn meeting_takes(&self) -> Duration {
        GAP * (MAX_PROBES as u32 + u32::from(MAX_SOCKETS)) + self.answer_takes() * 4 + self.rtt + GRACE
    }
}

/// Whether peers are sent to from another port than the rendezvous sees.
pub(crate) fn is_hard(router: &Router) -> bool {
    matches!(router.mapping, Some(Mapping::Adm | Mapping::Apdm))
}

fn is_sequential(router: &Router) -> bool {
    is_hard(router) && matches!(router.ports, Some(Ports::Sequential { .. }))
}

/// Whether a port that is open for one port of an address is open for all of them, in both directions.
fn hears_all_ports(router: &Router) -> bool {
    router.mapping == Some(Mapping::Adm) && matches!(router.filtering, Some(Filtering::Eif | Filtering::Adf))
}

/// Among how many ports a router chooses; `None` if anything may come.
fn span(router: &Router) -> Option<u32> {
    match router.ports {
        Some(Ports::Sequential { .. }) => Some(ports::AHEAD as u32),
        Some(Ports::Block { size, .. }) => Some(size.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
