//! What a rendezvous can do, and what it needs for that.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use identity::Identity;
use link::{Accept, Config, Endpoint, Event, Kind, LinkId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;
use wire::{
    peer::Lane,
    signal::{Join, ToMember, ToServer},
    stun,
};

use super::{
    program::{PATIENCE, Program, Says},
    row::Rows,
    usage::Pid,
};
use crate::call::Home;

/// A rendezvous answers every network only so often, so many networks ask.
const NETWORKS: u16 = 4096;
/// Below what it allows at once.
const REQUESTS: u8 = 16;
/// Two in each channel.
const MEMBERS: usize = 1000;
/// So many join at the same time.
const TOGETHER: usize = 50;
/// As long as a sealed card with four addresses in it.
const CARD: usize = 150;

/// Runs the bench.
pub(super) fn run(rows: &mut Rows<'_>) -> Result<()> {
    let home = Home::new();
    let args = ["--udp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data", "data", "--json"];
    let mut rendezvous = Program::start(None, &home, "rendezvous", &args, Says::Stdout)?;
    let ready: Ready = serde_json::from_str(&rendezvous.line("ready line")?.text).context("read the ready line")?;
    stun_answers(rendezvous.pid(), ready.udp, rows).context("STUN")?;
    joins(rendezvous.pid(), ready.udp, rows).context("joins")?;
    rendezvous.end()
}

#[derive(Deserialize)]
struct Ready {
    udp: SocketAddr,
}

fn stun_answers(pid: Pid, server: SocketAddr, rows: &mut Rows<'_>) -> Result<()> {
    super::progress("STUN");
    let before = pid.cpu_time()?;
    let mut answers = 0_u32;
    for network in 0..NETWORKS {
        let [high, low] = network.to_be_bytes();
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 100 + high, low, 1), 0)).context("bind a client")?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        for number in 0..REQUESTS {
            socket.send(&stun::request(stun::TransactionId([number; 12])))?;
        }
        let mut buffer = [0; 512];
        for _ in 0..REQUESTS {
            // A request that got lost, or met a network that shares its counter, has no answer.
            let Ok(len) = socket.recv(&mut buffer) else { break };
            answers += u32::from(stun::Message::decode(&buffer[..len]).is_ok());
        }
    }
    let cpu = (pid.cpu_time()? - before).as_secs_f64();
    let asked = u32::from(NETWORKS) * u32::from(REQUESTS);
    ensure!(answers > asked / 2, "{answers} answers to {asked} requests");
    rows.tell("STUN answers per second of its CPU", f64::from(answers) / cpu, "answers/s");
    Ok(())
}

fn joins(pid: Pid, server: SocketAddr, rows: &mut Rows<'_>) -> Result<()> {
    super::progress(&format!("{MEMBERS} members join"));
    let (memory, cpu) = (pid.memory()?, pid.cpu_time()?);
    let start = Instant::now();
    let mut members: Vec<Caller> = Vec::new();
    while members.len() < MEMBERS {
        let first = members.len();
        for number in first..first + TOGETHER {
            members.push(Caller::start(server, number)?);
        }
        until_joined(&mut members[first..])?;
    }
    let (wall, cpu) = (start.elapsed().as_secs_f64(), (pid.cpu_time()? - cpu).as_secs_f64());
    let members = members.len() as f64;
    rows.tell("joins per second of its CPU", members / cpu, "joins/s");
    rows.tell("joins per second, clients on the same machine", members / wall, "joins/s");
    rows.tell("memory per member", pid.memory()?.saturating_sub(memory) as f64 / members / 1024.0, "KiB");
    Ok(())
}

/// One who joins.
struct Caller {
    socket: UdpSocket,
    endpoint: Endpoint,
    link: LinkId,
    number: usize,
    joined: bool,
}

impl Caller {
    fn start(server: SocketAddr, number: usize) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("bind a client")?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        let (identity, now) = (Identity::generate(), Instant::now());
        let config = Config { identity: &identity, seed: edge::random()?, accept: Accept::None };
        let mut endpoint = Endpoint::new(config, now);
        let link = endpoint.connect(Kind::Signal, server, None, now).context("open a session")?;
        let mut caller = Self { socket, endpoint, link, number, joined: false };
        caller.transmit()?;
        Ok(caller)
    }

    /// Takes what has come, and answers.
    fn turn(&mut self, server: SocketAddr) -> Result<()> {
        let mut buffer = [0; 2048];
        while let Ok(len) = self.socket.recv(&mut buffer) {
            self.endpoint.handle_datagram(server, &buffer[..len], Instant::now());
        }
        if self.endpoint.poll_timeout().is_some_and(|due| due <= Instant::now()) {
            self.endpoint.handle_timeout(Instant::now());
        }
        while let Some((_, event)) = self.endpoint.poll_event() {
            self.handle(event)?;
        }
        self.transmit()
    }

    fn handle(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Connected { .. } => {
                let join = Join {
                    version: wire::VERSION,
                    channel: format!("room-{}", self.number / 2),
                    name: format!("member-{}", self.number),
                    proof: None,
                    card: vec![0; CARD],
                    hidden: false,
                };
                let message = wire::encode(&ToServer::Join(join));
                self.endpoint.send_message(self.link, Lane::Control as u8, &message).context("ask to join")
            }
            Event::Message { body, .. } => match wire::decode("message of a rendezvous", &body)? {
                ToMember::Joined(_) => {
                    self.joined = true;
                    Ok(())
                }
                ToMember::Refused(refusal) => Err(refusal.into()),
                _ => Ok(()),
            },
            Event::Closed(why) => bail!("a session ended: {why}"),
            _ => Ok(()),
        }
    }

    fn transmit(&mut self) -> Result<()> {
        while let Some(out) = self.endpoint.poll_transmit(Instant::now()) {
            self.socket.send(&out.payload).context("send to the rendezvous")?;
        }
        Ok(())
    }
}

fn until_joined(callers: &mut [Caller]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while callers.iter().any(|caller| !caller.joined) {
        ensure!(Instant::now() < deadline, "not everybody could join in time");
        let mut watched: Vec<_> = callers.iter().map(|caller| PollFd::new(&caller.socket, PollFlags::IN)).collect();
        // Timers of sessions are no more exact than that.
        poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 5_000_000 })).context("wait for the rendezvous")?;
        for caller in callers.iter_mut() {
            let server = caller.socket.peer_addr()?;
            caller.turn(server)?;
        }
    }
    Ok(())
}
