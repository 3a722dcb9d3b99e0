//! What a rendezvous can do, and what it needs for that.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use wire::stun;

use super::{
    caller::{Caller, until_joined},
    program::{Program, Says},
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

/// What a rendezvous says when it serves.
#[derive(Deserialize)]
pub(super) struct Ready {
    pub(super) udp: SocketAddr,
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
            members.push(Caller::start(server, format!("room-{}", number / 2), format!("member-{number}"))?);
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
