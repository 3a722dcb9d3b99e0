//! The relay of a rendezvous, and those who talk through it.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use wire::{MemberSlot, relay as frames};

use super::{
    SESSIONS,
    load::{Flow, Load, Shape},
};
use crate::{
    bench::{
        caller::{Caller, until_joined},
        program::{Program, Says},
        server::Ready,
        usage::Pid,
    },
    call::Home,
};

/// A rendezvous whose quotas are out of the way.
pub(super) struct Ours {
    program: Program,
    pub(super) at: SocketAddr,
}

impl Ours {
    pub(super) fn start(home: &Home) -> Result<Self> {
        let mut args = vec!["--udp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data", "data", "--json"];
        for quota in ["--relay-member", "--relay-packets", "--relay-burst", "--relay-channel", "--relay-all"] {
            args.extend([quota, "4000000000"]);
        }
        let mut program = Program::start(None, home, "rendezvous", &args, Says::Stdout)?;
        let ready: Ready = serde_json::from_str(&program.line("ready line")?.text).context("read the ready line")?;
        Ok(Self { program, at: ready.udp })
    }

    pub(super) fn pid(&self) -> Pid {
        self.program.pid()
    }

    /// Members in channels of so many, each of whom sends to all the others of its channel.
    pub(super) fn load(&self, what: &str, channel: usize, shape: Shape) -> Result<Load> {
        self.load_of(SESSIONS.next_multiple_of(channel), what, channel, shape)
    }

    /// One who sends to one other.
    pub(super) fn one_way(&self, what: &str, shape: Shape) -> Result<Load> {
        let mut load = self.load_of(2, what, 2, shape)?;
        load.flows.truncate(1);
        Ok(load)
    }

    fn load_of(&self, count: usize, what: &str, channel: usize, shape: Shape) -> Result<Load> {
        let (mut members, sealed) = (Vec::new(), vec![7; shape.payload]);
        for number in 0..count {
            members.push(Caller::start(self.at, format!("{what}-{}", number / channel), format!("member-{number}"))?);
            if members.len() % channel == 0 {
                until_joined(&mut members[number + 1 - channel..])?;
            }
        }
        let (mut flows, mut receivers) = (Vec::new(), Vec::new());
        for (number, member) in members.iter().enumerate() {
            let first = number / channel * channel;
            let others = members[first..first + channel].iter().enumerate().filter(|(at, _)| first + at != number);
            let seats = others.map(|(_, other)| Some(other.joined.as_ref()?.slot)).collect::<Option<Vec<MemberSlot>>>();
            let session = member.joined.as_ref().and_then(|joined| joined.relay).context("no relay")?.session;
            let frame = match seats.context("not joined")?[..] {
                [one] => frames::up(session, one, &sealed),
                ref several => frames::fan_out(session, several, &sealed),
            };
            flows.push(Flow { socket: member.socket.try_clone()?, frame });
            receivers.push(member.socket.try_clone()?);
        }
        Ok(Load { pid: self.pid(), flows, receivers, copies: channel - 1, heard_by: 1, shape, callers: members })
    }
}
