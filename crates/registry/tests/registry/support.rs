//! A rendezvous on a clock that only the test moves.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use identity::{ChannelSecret, Identity};
use registry::{ChannelName, ChannelRecord, CloseWhy, Config, ConnId, Limits, Output, Registry, What};
use wire::{
    IdentityKey, MemberSlot,
    signal::{ChannelKind, Join, Joined, LeaveReason, Refusal, Signature, ToMember, ToServer},
};

/// A rendezvous and the sessions of some people, on a clock that only this moves.
pub(crate) struct Server {
    pub(crate) registry: Registry,
    pub(crate) key: IdentityKey,
    pub(crate) now: Instant,
    /// Who has taken a seat, and whose is empty, in the order in which it was told.
    pub(crate) seatings: Vec<Output>,
}

pub(crate) fn identity(number: u8) -> Identity {
    Identity::from_seed(&[number; 32])
}

pub(crate) fn exporter(conn: u64) -> [u8; 32] {
    [conn as u8 ^ 0x55; 32]
}

pub(crate) fn address(conn: u64) -> SocketAddr {
    format!("203.0.113.{conn}:4000").parse().unwrap()
}

pub(crate) fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

pub(crate) fn record(name: &str, join_key: Option<IdentityKey>) -> ChannelRecord {
    ChannelRecord {
        name: channel(name),
        kind: if join_key.is_some() { ChannelKind::Password } else { ChannelKind::Open },
        description: String::new(),
        author: String::new(),
        join_key,
        owner: [0; 32],
        created_at: 0,
    }
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::with(true, Limits::default())
    }

    pub(crate) fn with(adhoc: bool, limits: Limits) -> Self {
        let key = identity(200).key();
        #[allow(clippy::disallowed_methods, reason = "a test's time starts somewhere")]
        let now = Instant::now();
        Self { registry: Registry::new(Config { server_key: key, adhoc, limits, seed: 1 }), key, now, seatings: vec![] }
    }

    /// Connects with the identity of the same number.
    pub(crate) fn connect(&mut self, conn: u64) {
        self.connect_as(conn, conn as u8);
    }

    pub(crate) fn connect_as(&mut self, conn: u64, who: u8) {
        self.registry.handle_connected(ConnId(conn), identity(who).key(), address(conn), exporter(conn), self.now);
    }

    pub(crate) fn say(&mut self, conn: u64, message: ToServer) -> Vec<Output> {
        self.registry.handle_message(ConnId(conn), message, self.now);
        self.outputs()
    }

    pub(crate) fn join(&mut self, conn: u64, channel: &str, name: &str) -> Vec<Output> {
        self.join_with(conn, channel, name, None)
    }

    pub(crate) fn join_with(&mut self, conn: u64, channel: &str, name: &str, proof: Option<Signature>) -> Vec<Output> {
        let (channel, name) = (channel.to_owned(), name.to_owned());
        self.say(
            conn,
            ToServer::Join(Join {
                version: wire::VERSION,
                channel,
                name,
                proof,
                card: vec![conn as u8],
                hidden: false,
            }),
        )
    }

    /// Connects and joins; must be let in.
    pub(crate) fn seat(&mut self, conn: u64, channel: &str, name: &str) -> Joined {
        self.connect(conn);
        joined(&self.join(conn, channel, name))
    }

    /// What is to be sent and closed; seatings are put aside.
    pub(crate) fn outputs(&mut self) -> Vec<Output> {
        let (seatings, outputs) = std::iter::from_fn(|| self.registry.poll_output())
            .partition(|output| matches!(output, Output::Seated { .. } | Output::Unseated { .. }));
        self.seatings.extend::<Vec<_>>(seatings);
        outputs
    }

    /// The seatings since the last call.
    pub(crate) fn seatings(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.seatings)
    }

    pub(crate) fn happened(&mut self) -> Vec<What> {
        std::iter::from_fn(|| self.registry.poll_event()).map(|event| event.what).collect()
    }

    pub(crate) fn wait(&mut self, time: Duration) -> Vec<Output> {
        let end = self.now + time;
        while let Some(at) = self.registry.poll_timeout()
            && at <= end
        {
            self.now = self.now.max(at);
            self.registry.handle_timeout(self.now);
        }
        self.now = end;
        self.outputs()
    }

    pub(crate) fn proof(&self, secret: &ChannelSecret, channel: &str, conn: u64, who: u8) -> Option<Signature> {
        let statement = identity::join_statement(&self.key, channel, &exporter(conn), &identity(who).key());
        Some(secret.join_key().sign(&statement))
    }
}

pub(crate) fn joined(outputs: &[Output]) -> Joined {
    match outputs.last() {
        Some(Output::Send { message: ToMember::Joined(joined), .. }) => joined.clone(),
        other => panic!("not joined: {other:?}"),
    }
}

pub(crate) fn refusal(outputs: &[Output]) -> Refusal {
    match outputs {
        [Output::Send { message: ToMember::Refused(refusal), .. }] => refusal.clone(),
        other => panic!("not refused: {other:?}"),
    }
}

pub(crate) fn sent(conn: u64, message: ToMember) -> Output {
    Output::Send { conn: ConnId(conn), message }
}

pub(crate) fn left(slot: u16, why: LeaveReason) -> ToMember {
    ToMember::MemberLeft { slot: MemberSlot(slot), why }
}

pub(crate) fn seated(conn: u64, name: &str, slot: u16) -> Output {
    Output::Seated { conn: ConnId(conn), channel: channel(name), slot: MemberSlot(slot) }
}

pub(crate) fn unseated(conn: u64) -> Output {
    Output::Unseated { conn: ConnId(conn) }
}

pub(crate) fn closed(conn: u64, why: CloseWhy) -> Output {
    Output::Close { conn: ConnId(conn), why }
}
