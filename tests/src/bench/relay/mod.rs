//! What the relay of a rendezvous can do, against coturn and a forwarder that does nothing else.
//!
//! All of them forward the same frames between the same number of sockets on this machine, one after another, and what
//! counts is deliveries per second of their own processor time.

mod load;
mod turn;

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use registry::{ChannelName, ConnId};
use relay::{Limits, Relay};
use wire::{MemberSlot, relay as frames, stun};

use self::{
    load::{Flow, Load, PAYLOAD},
    turn::Coturn,
};
use super::{
    caller::{Caller, until_joined},
    program::{self, Program, Says},
    row::{Bound, Rows},
    server::Ready,
    usage::Pid,
};
use crate::call::Home;

const SESSIONS: usize = 100;
/// Members of a channel in which everybody sends to everybody else.
const CALL: usize = 8;
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
    super::progress("pairs through the rendezvous");
    let pairs = ours.load("pair", 2)?;
    let (pair, delay) = (pairs.deliveries()?, pairs.delay_us()?);
    drop(pairs);
    super::progress("fan-out through the rendezvous");
    let fan_out = ours.load("call", CALL)?.deliveries()?;
    super::progress("pairs through a bare forwarder");
    let bare = bare()?;
    super::progress("coturn");
    let theirs = coturn.as_ref().map(measure_coturn).transpose()?;
    super::progress("STUN");
    let stun = stun_answers(ours.pid(), ours.at)?;
    let their_stun = coturn.as_ref().map(|coturn| stun_answers(coturn.pid(), coturn.at)).transpose()?;

    let (their_pair, their_delay) = theirs.unzip();
    let against = |value: f64, other: Option<f64>| other.map(|other| value / other);
    rows.tell("pair deliveries per second of CPU", pair, "frames/s");
    rows.tell("... of coturn", their_pair, "frames/s");
    rows.tell("... of a bare forwarder", bare, "frames/s");
    rows.tell("deliveries of frames for 7 per second of CPU", fan_out, "frames/s");
    rows.add("pairs against coturn's ChannelData", against(pair, their_pair), "times", Bound::AtLeast(1.2));
    rows.add("pairs against a bare forwarder", pair / bare, "times", Bound::AtLeast(0.9));
    rows.add("frames for 7 against coturn's deliveries", against(fan_out, their_pair), "times", Bound::AtLeast(2.0));
    let bound = their_delay.map_or(Bound::None, Bound::AtMost);
    rows.add("delay at 10,000 frames/s, p99; at most coturn's", their_delay.map(|_| delay), "µs", bound);
    rows.add("STUN answers against coturn's", against(stun, their_stun), "times", Bound::AtLeast(1.5));
    rows.add("memory per relay session", memory()?, "KiB", Bound::Below(2.0));
    Ok(())
}

/// A rendezvous whose quotas are out of the way.
struct Ours {
    program: Program,
    at: SocketAddr,
}

impl Ours {
    fn start(home: &Home) -> Result<Self> {
        let mut args = vec!["--udp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data", "data", "--json"];
        for quota in ["--relay-member", "--relay-packets", "--relay-burst", "--relay-channel", "--relay-all"] {
            args.extend([quota, "4000000000"]);
        }
        let mut program = Program::start(None, home, "rendezvous", &args, Says::Stdout)?;
        let ready: Ready = serde_json::from_str(&program.line("ready line")?.text).context("read the ready line")?;
        Ok(Self { program, at: ready.udp })
    }

    fn pid(&self) -> Pid {
        self.program.pid()
    }

    /// Members in channels of so many, each of whom sends to all the others of its channel.
    fn load(&self, what: &str, channel: usize) -> Result<Load> {
        let mut members = Vec::new();
        for number in 0..SESSIONS.next_multiple_of(channel) {
            members.push(Caller::start(self.at, format!("{what}-{}", number / channel), format!("member-{number}"))?);
            if members.len() % channel == 0 {
                until_joined(&mut members[number + 1 - channel..])?;
            }
        }
        self.settle(&mut members)?;
        let (mut flows, mut receivers) = (Vec::new(), Vec::new());
        for (number, member) in members.iter().enumerate() {
            let first = number / channel * channel;
            let others = members[first..first + channel].iter().enumerate().filter(|(at, _)| first + at != number);
            let seats = others.map(|(_, other)| Some(other.joined.as_ref()?.slot)).collect::<Option<Vec<MemberSlot>>>();
            let session = member.joined.as_ref().and_then(|joined| joined.relay).context("no relay")?.session;
            let frame = match seats.context("not joined")?[..] {
                [one] => frames::up(session, one, &[7; PAYLOAD]),
                ref several => frames::fan_out(session, several, &[7; PAYLOAD]),
            };
            flows.push(Flow { socket: member.socket.try_clone()?, frame });
            receivers.push(member.socket.try_clone()?);
        }
        Ok(Load { pid: self.pid(), flows, receivers, copies: channel - 1, heard_by: 1 })
    }

    /// Lets sessions say what they have to say, so that they keep quiet after.
    fn settle(&self, members: &mut [Caller]) -> Result<()> {
        let end = Instant::now() + Duration::from_millis(500);
        while Instant::now() < end {
            for member in members.iter_mut() {
                member.turn(self.at)?;
            }
        }
        Ok(())
    }
}

/// Pair deliveries per second of its processor time, and the 99th percentile of its delay. The peers have no allocations
/// of their own, which is the shortest way through coturn.
fn measure_coturn(coturn: &Coturn) -> Result<(f64, f64)> {
    let (mut flows, mut receivers) = (Vec::new(), Vec::new());
    for _ in 0..SESSIONS {
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("bind a peer")?;
        flows.push(coturn.flow_to(SocketAddrV4::new(Ipv4Addr::LOCALHOST, peer.local_addr()?.port()))?);
        receivers.push(peer);
    }
    let load = Load { pid: coturn.pid(), flows, receivers, copies: 1, heard_by: 0 };
    Ok((load.deliveries()?, load.delay_us()?))
}

/// The same of a program that only forwards.
fn bare() -> Result<f64> {
    let sockets: Vec<UdpSocket> =
        (0..SESSIONS).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    let mut command = Command::new(program::path("bareforward")?);
    let mut forwarder =
        Bare(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start bareforward")?);
    let mut out = BufReader::new(forwarder.0.stdout.take().context("its stdout")?).lines();
    let mut line = || out.next().context("bareforward has ended")?.context("read from bareforward");
    let at: SocketAddr = line()?.parse().context("its address")?;
    let mut ports = forwarder.0.stdin.take().context("its stdin")?;
    for pair in sockets.chunks_exact(2) {
        let [one, other] = [pair[0].local_addr()?.port(), pair[1].local_addr()?.port()];
        writeln!(ports, "{one} {other}\n{other} {one}").context("tell bareforward")?;
    }
    drop(ports);
    line()?;
    let flow = |socket: &UdpSocket| {
        socket.connect(at)?;
        Ok(Flow { socket: socket.try_clone()?, frame: vec![7; PAYLOAD + 3] })
    };
    let flows = sockets.iter().map(flow).collect::<Result<_>>()?;
    Load { pid: Pid(forwarder.0.id()), flows, receivers: sockets, copies: 1, heard_by: 1 }.deliveries()
}

struct Bare(Child);

impl Drop for Bare {
    fn drop(&mut self) {
        // One that has ended needs no end.
        let _ = self.0.kill();
        let _ = self.0.wait();
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
