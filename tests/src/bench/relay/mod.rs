//! What the relay of a rendezvous can do, against coturn and a forwarder that does nothing else.
//!
//! All of them forward the same frames between the same number of sockets on this machine, in turns, and what counts is
//! deliveries per second of their own processor time.

mod bare;
mod load;
mod ours;
mod turn;

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use registry::{ChannelName, ConnId};
use relay::{Limits, Relay};
use wire::{MemberSlot, stun};

use self::{
    bare::Bare,
    load::{Load, Shape},
    ours::Ours,
    turn::Coturn,
};
use super::{
    figures,
    row::{Bound, Rows},
    usage::Pid,
};
use crate::call::Home;

const SESSIONS: usize = 100;
/// Members of a channel in which everybody sends to everybody else.
const CALL: usize = 8;
/// How often each has its turn: a machine is not equally fast all the time.
const TURNS: u32 = 7;
/// Networks that ask for a binding, each as often as a rendezvous allows at once.
const NETWORKS: usize = 8192;
const REQUESTS: u8 = 16;
/// So many ask at the same time.
const TOGETHER: usize = 32;
/// Sessions whose memory is measured.
const REMEMBERED: u64 = 20_000;

/// Runs the bench.
pub(super) fn run(rows: &mut Rows<'_>) -> Result<()> {
    let home = Home::new();
    let ours = Ours::start(&home)?;
    let coturn = Coturn::start(&home)?;
    let bare = Bare::start(SESSIONS)?;
    super::progress("members, allocations");
    let mut loads = Loads {
        pairs: ours.load("pair", 2, Shape::VOICE)?,
        calls: ours.load("call", CALL, Shape::VOICE)?,
        long: ours.load("long", 2, Shape::LONG)?,
        bulk: ours.one_way("bulk", Shape::BULK)?,
        bare: bare.load()?,
        coturn: coturn.as_ref().map(|coturn| coturn.load(SESSIONS)).transpose()?,
    };
    let turns: Vec<Turn> = (1..=TURNS)
        .map(|turn| {
            super::progress(&format!("turn {turn} of {TURNS}"));
            loads.measure()
        })
        .collect::<Result<_>>()?;
    super::progress("STUN");
    let stun = stun_answers(ours.pid(), ours.at)?;
    let their_stun = coturn.as_ref().map(|coturn| stun_answers(coturn.pid(), coturn.at)).transpose()?;

    let middle = |value: fn(&Turn) -> Option<f64>| figures::median(&turns.iter().filter_map(value).collect::<Vec<_>>());
    rows.tell("pair deliveries per second of CPU", middle(|turn| Some(turn.pairs)), "frames/s");
    rows.tell("... of coturn", middle(|turn| turn.coturn), "frames/s");
    rows.tell("... of a bare forwarder", middle(|turn| Some(turn.bare)), "frames/s");
    rows.tell("deliveries of frames for 7 per second of CPU", middle(|turn| Some(turn.calls)), "frames/s");
    let against = middle(|turn| Some(turn.pairs / turn.coturn?));
    rows.add("pairs against coturn's ChannelData", against, "times", Bound::AtLeast(1.2));
    let against = middle(|turn| Some(turn.pairs / turn.bare));
    rows.add("pairs against a bare forwarder", against, "times", Bound::AtLeast(0.9));
    let against = middle(|turn| Some(turn.calls / turn.coturn?));
    rows.add("frames for 7 against coturn's deliveries", against, "times", Bound::AtLeast(2.0));
    rows.tell("long frames per second of CPU, one from each in turn", middle(|turn| Some(turn.long)), "frames/s");
    let what = format!("... in runs of {} from one to another (GRO, GSO)", Shape::BULK.run);
    rows.tell(what, middle(|turn| Some(turn.bulk)), "frames/s");
    rows.tell("... runs against one in turn", middle(|turn| Some(turn.bulk / turn.long)), "times");
    let their_delay = middle(|turn| turn.coturn_delay);
    let bound = their_delay.map_or(Bound::None, Bound::AtMost);
    let delay = middle(|turn| turn.coturn_delay.map(|_| turn.delay));
    rows.add("delay at 10,000 frames/s, p99; at most coturn's", delay, "µs", bound);
    rows.add("STUN answers against coturn's", their_stun.map(|their| stun / their), "times", Bound::AtLeast(1.5));
    rows.add("memory per relay session", memory()?, "KiB", Bound::Below(2.0));
    Ok(())
}

/// Everything that frames go through.
struct Loads {
    pairs: Load,
    calls: Load,
    /// Long frames, each of which has another way than the one before.
    long: Load,
    /// Long frames in runs from one to another.
    bulk: Load,
    bare: Load,
    coturn: Option<Load>,
}

/// What was seen in one turn, in which each had its time: deliveries per second of its own processor time, and 99th
/// percentiles of delays in microseconds.
struct Turn {
    pairs: f64,
    calls: f64,
    long: f64,
    bulk: f64,
    bare: f64,
    coturn: Option<f64>,
    delay: f64,
    coturn_delay: Option<f64>,
}

impl Loads {
    fn measure(&mut self) -> Result<Turn> {
        self.pairs.settle()?;
        self.calls.settle()?;
        self.long.settle()?;
        self.bulk.settle()?;
        Ok(Turn {
            pairs: self.pairs.deliveries()?,
            coturn: self.coturn.as_ref().map(Load::deliveries).transpose()?,
            bare: self.bare.deliveries()?,
            calls: self.calls.deliveries()?,
            long: self.long.deliveries()?,
            bulk: self.bulk.deliveries()?,
            delay: self.pairs.delay_us()?,
            coturn_delay: self.coturn.as_ref().map(Load::delay_us).transpose()?,
        })
    }
}

/// Answers per second of processor time.
fn stun_answers(pid: Pid, server: SocketAddr) -> Result<f64> {
    let (before, mut answers) = (pid.run_time()?, 0_u32);
    let networks: Vec<usize> = (0..NETWORKS).collect();
    for together in networks.chunks(TOGETHER) {
        let mut sockets = Vec::new();
        for network in together {
            let ip = Ipv4Addr::new(127, 100 + (network >> 8) as u8, (network & 0xff) as u8, 1);
            let socket = UdpSocket::bind((ip, 0)).context("bind a client")?;
            socket.connect(server)?;
            socket.set_read_timeout(Some(Duration::from_millis(100)))?;
            sockets.push(socket);
        }
        for number in 0..REQUESTS {
            for socket in &sockets {
                socket.send(&stun::request(stun::TransactionId([number; 12])))?;
            }
        }
        let mut buffer = [0; 512];
        for socket in &sockets {
            // A request that got lost, or met a network that shares its counter, has no answer.
            answers += (0..REQUESTS).map_while(|_| socket.recv(&mut buffer).ok()).count() as u32;
        }
    }
    Ok(f64::from(answers) / (pid.run_time()? - before).as_secs_f64())
}

/// What the core needs for each session, in KiB; nothing else of a rendezvous grows with them.
fn memory() -> Result<f64> {
    let (itself, now) = (Pid(std::process::id()), Instant::now());
    let before = itself.memory()?;
    let mut relay = Relay::new(Limits::default(), [1; 32], now);
    for number in 0..REMEMBERED {
        let channel = ChannelName::parse(&format!("room-{}", number / 4))?;
        let addr = SocketAddr::from(((number as u32).to_be_bytes(), 4000));
        relay.open(ConnId(number), &channel, MemberSlot((number % 4) as u16), addr, addr.ip(), now);
    }
    let used = itself.memory()?.saturating_sub(before);
    Ok(used as f64 / relay.sessions() as f64 / 1024.0)
}
