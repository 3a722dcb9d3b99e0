//! Wires with delay, jitter, loss and a limited rate: one thread that carries frames between pairs of packet sockets.
//!
//! What packets need to find their neighbours (ARP, ND) always gets through at once.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    num::NonZeroU64,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};

pub use super::settings::{Change, Settings};
use super::{place::wire_ends, settings::Direction, sys};

/// Frames of one socket that are taken before others get their turn.
const TURN: usize = 64;
const MAX_FRAME: usize = sys::VNET_HEADER + 65_600;
const NANOSECOND: NonZeroU64 = NonZeroU64::MIN;

/// A wire to be made.
pub(super) struct Leg {
    pub(super) site: String,
    pub(super) settings: Settings,
}

/// The running wires of a lab; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Wires {
    legs: Arc<[Shared]>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is told of a wire.
#[derive(Debug)]
struct Shared {
    site: String,
    settings: Mutex<[Settings; 2]>,
}

impl Wires {
    /// Starts the wires whose ends are in this thread's namespace.
    pub(super) fn start(legs: Vec<Leg>) -> anyhow::Result<Self> {
        let sockets = legs
            .iter()
            .map(|leg| {
                let (inner, outer) = wire_ends(&leg.site);
                Ok([sys::packet_socket(&inner)?, sys::packet_socket(&outer)?])
            })
            .collect::<std::io::Result<Vec<_>>>()
            .context("open packet sockets")?;
        let shared = |leg: Leg| Shared { site: leg.site, settings: Mutex::new([leg.settings.clone(), leg.settings]) };
        let legs: Arc<[Shared]> = legs.into_iter().map(shared).collect();
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).context("make an eventfd")?);
        let mut forwarder = Forwarder::new(sockets, Arc::clone(&legs), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("wires".into()).spawn(move || forwarder.run());
        Ok(Self { legs, stop, thread: Some(thread.context("start a thread for wires")?) })
    }

    pub(super) fn change(&self, site: &str, change: &Change) -> anyhow::Result<()> {
        let Some(leg) = self.legs.iter().find(|leg| leg.site == site) else { bail!("{site} has no wire") };
        let mut settings = leg.settings.lock().unwrap_or_else(PoisonError::into_inner);
        for (direction, settings) in Direction::BOTH.into_iter().zip(settings.iter_mut()) {
            change.apply(direction, settings);
        }
        Ok(())
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        // The thread watches it; a thread that has ended needs no telling.
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One direction of a wire.
struct Way {
    leg: usize,
    direction: Direction,
    random: Random,
    /// Whether the last frame was lost.
    is_in_gap: bool,
    /// When the last frame is through the bottleneck.
    busy_until: Instant,
    /// When the last frame arrives.
    last_due: Instant,
}

/// A frame on its way, ordered by when it arrives.
#[derive(Eq, Ord, PartialEq, PartialOrd)]
struct Held {
    due: Instant,
    number: u64,
    way: usize,
    frame: Vec<u8>,
}

struct Forwarder {
    sockets: Vec<[OwnedFd; 2]>,
    legs: Arc<[Shared]>,
    stop: Arc<OwnedFd>,
    ways: Vec<Way>,
    held: BinaryHeap<Reverse<Held>>,
    number: u64,
}

impl Forwarder {
    fn new(sockets: Vec<[OwnedFd; 2]>, legs: Arc<[Shared]>, stop: Arc<OwnedFd>) -> Self {
        let now = Instant::now();
        let ways = (0..sockets.len()).flat_map(|leg| Direction::BOTH.map(|direction| (leg, direction)));
        let ways = ways.zip(seed()..).map(|((leg, direction), seed)| Way {
            leg,
            direction,
            random: Random::new(seed),
            is_in_gap: false,
            busy_until: now,
            last_due: now,
        });
        Self { ways: ways.collect(), sockets, legs, stop, held: BinaryHeap::new(), number: 0 }
    }

    fn run(&mut self) {
        // Without it timers may be 50 us late; a lab that may not set it works all the same.
        let _ = rustix::thread::set_current_timer_slack(Some(NANOSECOND));
        let mut buffer = vec![0; MAX_FRAME];
        while let Some(readable) = self.wait() {
            for way in readable {
                self.take_from(way, &mut buffer);
            }
            self.deliver(Instant::now());
        }
    }

    /// Waits for frames or for the time to deliver one. `None` is the end.
    fn wait(&self) -> Option<Vec<usize>> {
        let watch = |socket| PollFd::new(socket, PollFlags::IN);
        let mut watched: Vec<_> = self.ways.iter().map(|way| watch(self.ends(way).0)).collect();
        watched.push(PollFd::new(&*self.stop, PollFlags::IN));
        let next = self.held.peek().map(|Reverse(held)| held.due.saturating_duration_since(Instant::now()));
        let timeout = next.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return None,
        }
        let has_news = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let stop = watched.pop().is_some_and(|fd| has_news(&fd));
        (!stop).then(|| watched.iter().enumerate().filter(|(_, fd)| has_news(fd)).map(|(way, _)| way).collect())
    }

    /// Where frames of a way come from, and where they go.
    fn ends(&self, way: &Way) -> (&OwnedFd, &OwnedFd) {
        let [inner, outer] = &self.sockets[way.leg];
        match way.direction {
            Direction::Up => (inner, outer),
            Direction::Down => (outer, inner),
        }
    }

    fn take_from(&mut self, way: usize, buffer: &mut [u8]) {
        for _ in 0..TURN {
            // An error is "nothing more", or a network that is down, which reading it has cleared.
            let Ok((len, _)) = recv(self.ends(&self.ways[way]).0, &mut *buffer, RecvFlags::DONTWAIT) else { return };
            self.accept(way, &buffer[..len], Instant::now());
        }
    }

    fn accept(&mut self, index: usize, frame: &[u8], now: Instant) {
        let way = &mut self.ways[index];
        let settings = self.legs[way.leg].settings.lock().unwrap_or_else(PoisonError::into_inner);
        let due = match finds_neighbours(frame) {
            true => Some(now),
            false => way.arrival(&settings[way.direction as usize], frame.len() - sys::VNET_HEADER, now),
        };
        drop(settings);
        match due {
            None => {}
            Some(due) if due <= now => self.put(index, frame),
            Some(due) => {
                self.number += 1;
                self.held.push(Reverse(Held { due, number: self.number, way: index, frame: frame.to_vec() }));
            }
        }
    }

    fn deliver(&mut self, now: Instant) {
        while self.held.peek().is_some_and(|Reverse(held)| held.due <= now) {
            if let Some(Reverse(held)) = self.held.pop() {
                self.put(held.way, &held.frame);
            }
        }
    }

    fn put(&self, way: usize, frame: &[u8]) {
        // A network that does not take it has lost it.
        let _ = send(self.ends(&self.ways[way]).1, frame, SendFlags::DONTWAIT);
    }
}

impl Way {
    /// Whether the next frame is lost: by a chain of two states if losses come in bursts (Gilbert, 1960).
    fn loses(&mut self, settings: &Settings) -> bool {
        let Settings { loss, burst, .. } = *settings;
        let chance = match self.is_in_gap {
            _ if loss <= 0.0 || burst <= 1.0 || loss >= 1.0 => loss,
            true => 1.0 - 1.0 / burst,
            false => loss / (1.0 - loss) / burst,
        };
        self.is_in_gap = chance > 0.0 && self.random.share() < chance;
        self.is_in_gap
    }

    /// When a frame arrives; `None` if it does not.
    fn arrival(&mut self, settings: &Settings, len: usize, now: Instant) -> Option<Instant> {
        if settings.is_cut || self.loses(settings) {
            return None;
        }
        let mut leaves = now;
        if let Some(rate) = settings.rate {
            let start = self.busy_until.max(now);
            if start - now > settings.queue {
                return None;
            }
            leaves = start + Duration::from_secs_f64(len as f64 * 8.0 / rate as f64);
            self.busy_until = leaves;
        }
        let mut due = leaves + settings.delay;
        if !settings.jitter.is_zero() {
            due = due + settings.jitter.mul_f64(2.0 * self.random.share()) - settings.jitter;
        }
        if !settings.overtaking {
            due = due.max(self.last_due);
        }
        self.last_due = due;
        Some(due)
    }
}

/// Whether a frame with its header is ARP or IPv6 neighbour discovery.
fn finds_neighbours(frame: &[u8]) -> bool {
    const ETHERTYPE: usize = sys::VNET_HEADER + 12;
    const IPV6: usize = ETHERTYPE + 2;
    match frame.get(ETHERTYPE..IPV6) {
        Some([0x08, 0x06]) => true,
        Some([0x86, 0xdd]) => {
            frame.get(IPV6 + 6) == Some(&58) && frame.get(IPV6 + 40).is_some_and(|kind| (133..=137).contains(kind))
        }
        _ => false,
    }
}

/// `LAB_SEED` in the environment makes another run.
fn seed() -> u64 {
    std::env::var("LAB_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Vigna's splitmix64: the same seed loses the same packets.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(now: Instant) -> Way {
        Way {
            leg: 0,
            direction: Direction::Up,
            random: Random::new(7),
            is_in_gap: false,
            busy_until: now,
            last_due: now,
        }
    }

    #[test]
    fn loss_is_as_much_as_said_and_the_same_each_time() {
        let now = Instant::now();
        let settings: Settings = "loss=2%".parse().unwrap();
        let lost = || {
            let mut way = way(now);
            (0..10_000).map(|_| way.arrival(&settings, 100, now).is_none()).collect::<Vec<_>>()
        };

        let first = lost();

        let count = first.iter().filter(|lost| **lost).count();
        assert!((150..250).contains(&count), "{count}");
        assert_eq!(first, lost());
    }

    #[test]
    fn losses_come_in_bursts_if_told_to() {
        let now = Instant::now();
        let settings: Settings = "loss=10%,burst=3".parse().unwrap();
        let mut way = way(now);
        let lost: Vec<bool> = (0..100_000).map(|_| way.arrival(&settings, 100, now).is_none()).collect();
        let count = lost.iter().filter(|lost| **lost).count();
        let gaps = lost.windows(2).filter(|two| two[1] && !two[0]).count();
        assert!((9_000..11_000).contains(&count), "{count}");
        assert!((2.8..3.2).contains(&(count as f64 / gaps as f64)), "{count} in {gaps} gaps");
    }

    #[test]
    fn jitter_is_even_around_the_delay_and_keeps_order_if_told_to() {
        let now = Instant::now();
        for (text, may_overtake) in [("delay=50ms,jitter=10ms", true), ("delay=50ms,jitter=10ms,order=keep", false)] {
            let (settings, mut way) = (text.parse().unwrap(), way(now));
            let arrivals: Vec<_> = (0..1000).filter_map(|_| way.arrival(&settings, 100, now)).collect();

            let millis: Vec<_> = arrivals.iter().map(|due| (*due - now).as_millis()).collect();
            assert!(millis.iter().all(|ms| (40..=60).contains(ms)), "{millis:?}");
            assert_eq!(arrivals.is_sorted(), !may_overtake);
        }
    }

    #[test]
    fn a_slow_wire_takes_its_time_and_its_queue_overflows() {
        let now = Instant::now();
        let (settings, mut way) = ("rate=1mbit,queue=9ms".parse().unwrap(), way(now));

        let arrivals: Vec<_> = (0..20).map(|_| way.arrival(&settings, 250, now)).collect();

        assert_eq!(arrivals[0], Some(now + Duration::from_millis(2)));
        assert_eq!(arrivals.iter().flatten().count(), 5);
    }

    #[test]
    fn arp_passes_a_cut_wire() {
        let mut frame = [0; 60];
        assert!(!finds_neighbours(&frame));
        frame[sys::VNET_HEADER + 12..][..2].copy_from_slice(&[8, 6]);
        assert!(finds_neighbours(&frame));
        assert!(!finds_neighbours(&frame[..5]));
    }
}
