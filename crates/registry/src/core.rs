//! The registry: sessions in, messages and events out.

mod channels;
mod early;
mod membership;
mod sessions;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use wire::{
    IdentityKey, MemberSlot,
    signal::{ChannelKind, LeaveReason, ToMember},
};

use crate::{
    channel::Channel,
    limit::{Bucket, Guesses, Prefix, Rate},
    name::{ChannelName, Face},
};

/// A signalling session, named by the caller; never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnId(pub u64);

/// Where a session comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// Datagrams from this address, which the session layer has validated.
    Datagrams(SocketAddr),
    /// A tunnel that this address has opened; datagrams sent there would reach nobody, so no other member is told of it.
    Tunnel(SocketAddr),
}

impl Origin {
    /// Whom the session itself is told that it is, and whose limits it is under.
    pub fn address(self) -> SocketAddr {
        match self {
            Self::Datagrams(addr) | Self::Tunnel(addr) => addr,
        }
    }

    /// Members of an IPv4 network know nothing of the mapped address that a dual-stack socket shows.
    fn canonical(self) -> Self {
        let canonical = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
        match self {
            Self::Datagrams(addr) => Self::Datagrams(canonical(addr)),
            Self::Tunnel(addr) => Self::Tunnel(canonical(addr)),
        }
    }

    /// What the other members are told.
    pub(crate) fn observed(self) -> Vec<SocketAddr> {
        match self {
            Self::Datagrams(addr) => vec![addr],
            Self::Tunnel(_) => Vec::new(),
        }
    }
}

impl From<SocketAddr> for Origin {
    fn from(addr: SocketAddr) -> Self {
        Self::Datagrams(addr)
    }
}

/// What a registry is set up with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The rendezvous's own key; join proofs name it.
    pub server_key: IdentityKey,
    /// Whether joining a channel that does not exist makes it.
    pub adhoc: bool,
    /// How much of everything.
    pub limits: Limits,
    /// Random; decides which sources share a counter.
    pub seed: u64,
}

/// How much of everything there may be.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Members of one channel.
    pub members: u16,
    /// Channels, kept and made on the fly.
    pub channels: usize,
    /// Sessions.
    pub sessions: usize,
    /// Sessions from one network.
    pub sessions_per_network: usize,
    /// Whether that holds for loopback addresses too.
    pub limit_loopback: bool,
    /// A session that shows no sign of life for so long is gone.
    pub presence: Duration,
    /// A session that has not joined by then is closed.
    pub join_within: Duration,
    /// Messages of one session.
    pub messages: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            members: 32,
            channels: 10_000,
            sessions: 16_384,
            sessions_per_network: 256,
            limit_loopback: false,
            presence: Duration::from_secs(30),
            join_within: Duration::from_secs(10),
            messages: Rate::per_second(5, 20),
        }
    }
}

/// Something for the caller to do, in this order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Send a message on a session.
    Send {
        /// Which.
        conn: ConnId,
        /// What.
        message: ToMember,
    },
    /// A session has taken a seat; comes before its [`ToMember::Joined`], whose `relay` is the caller's to fill in.
    Seated {
        /// Which.
        conn: ConnId,
        /// In which channel.
        channel: ChannelName,
        /// Which seat.
        slot: MemberSlot,
    },
    /// A session's seat is empty.
    Unseated {
        /// Which.
        conn: ConnId,
    },
    /// A seat that was taken early is its member's session's from here on; comes before that hears of it.
    TakenOver {
        /// What stood for the session until then.
        early: ConnId,
        /// The session.
        conn: ConnId,
        /// In which channel.
        channel: ChannelName,
        /// Which seat.
        slot: MemberSlot,
    },
    /// Close a session; nothing more is said of it.
    Close {
        /// Which.
        conn: ConnId,
        /// Why.
        why: CloseWhy,
    },
}

/// Why a session is closed; the number goes into QUIC's CONNECTION_CLOSE.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[repr(u32)]
pub enum CloseWhy {
    /// The member left.
    #[error("left")]
    Left = 0,
    /// The join was refused, by a message before this.
    #[error("refused")]
    Refused = 1,
    /// The same key joined again.
    #[error("the same key joined again")]
    Replaced = 2,
    /// No sign of life.
    #[error("silent for too long")]
    Silent = 3,
    /// The channel was deleted.
    #[error("the channel was deleted")]
    ChannelDeleted = 4,
    /// The rendezvous closes.
    #[error("the rendezvous closes")]
    Closing = 5,
    /// Too many sessions.
    #[error("too many sessions")]
    Full = 6,
}

impl CloseWhy {
    /// The number on the wire.
    pub fn code(self) -> u32 {
        self as u32
    }
}

/// Something that happened in public.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// Where.
    pub channel: ChannelName,
    /// Who may join there.
    pub kind: ChannelKind,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum What {
    /// The channel is there.
    Created,
    /// The channel is gone.
    Deleted,
    /// Somebody joined.
    Joined {
        /// Who.
        name: String,
        /// How many are there with it.
        members: usize,
    },
    /// Somebody is gone.
    Left {
        /// Who.
        name: String,
        /// How many are left.
        members: usize,
        /// Why.
        why: LeaveReason,
    },
}

/// Why a channel can't be made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CreateError {
    /// There is one of that name.
    #[error("there is a channel of that name")]
    Exists,
    /// There is one whose name can't be told from it.
    #[error("the name looks like that of the channel \"{0}\"")]
    LooksLike(ChannelName),
    /// A channel with a secret needs a join key, an open one has none.
    #[error("a password or invite channel needs a join key, and an open one has none")]
    JoinKey,
    /// As many channels as there may be.
    #[error("the server is full ({0} channels)")]
    Full(usize),
}

/// The core of a rendezvous; the crate's documentation tells its life.
#[derive(Debug)]
pub struct Registry {
    config: Config,
    channels: BTreeMap<ChannelName, Channel>,
    faces: HashMap<Face, ChannelName>,
    sessions: HashMap<ConnId, Session>,
    networks: HashMap<Prefix, usize>,
    guesses: Guesses,
    /// Times to look at a session; one that was put off in the meantime is put back.
    deadlines: BinaryHeap<Reverse<(Instant, ConnId)>>,
    /// `None` where nobody gets a ticket.
    early: Option<early::Early>,
    outputs: VecDeque<Output>,
    events: VecDeque<Event>,
    closing: bool,
}

#[derive(Debug)]
struct Session {
    key: IdentityKey,
    origin: Origin,
    exporter: [u8; 32],
    network: Prefix,
    phase: Phase,
    deadline: Instant,
    messages: Bucket,
    /// The number of the ticket that it was given last, or has come with.
    ticket: Option<u64>,
}

#[derive(Clone, Debug)]
enum Phase {
    Waiting,
    Seated(ChannelName, MemberSlot),
    /// Its last message is on the way; the member closes when it has it, or we do after a while.
    Ending(CloseWhy),
}

impl Registry {
    /// An empty registry.
    pub fn new(config: Config) -> Self {
        Self {
            guesses: Guesses::new(config.seed),
            config,
            channels: BTreeMap::new(),
            faces: HashMap::new(),
            sessions: HashMap::new(),
            networks: HashMap::new(),
            deadlines: BinaryHeap::new(),
            early: None,
            outputs: VecDeque::new(),
            events: VecDeque::new(),
            closing: false,
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.peek().map(|Reverse((at, _))| *at)
    }

    /// Tells every member that the rendezvous closes, and ends every session; nobody can join from here on.
    pub fn close(&mut self) {
        self.closing = true;
        let conns: Vec<ConnId> = self.sessions.keys().copied().collect();
        for conn in &conns {
            self.send(*conn, ToMember::Closing);
        }
        for conn in conns {
            if matches!(self.sessions.get(&conn), Some(Session { phase: Phase::Seated(..), .. })) {
                self.outputs.push_back(Output::Unseated { conn });
            }
            if !conn.is_early() {
                self.outputs.push_back(Output::Close { conn, why: CloseWhy::Closing });
            }
        }
        self.sessions.clear();
        self.networks.clear();
    }

    fn send(&mut self, conn: ConnId, message: ToMember) {
        // The session that is to come begins with all that there is to know by then.
        if conn.is_early() && !matches!(message, ToMember::Joined(_)) {
            return;
        }
        self.outputs.push_back(Output::Send { conn, message });
    }

    fn report(&mut self, channel: &ChannelName, kind: ChannelKind, what: What) {
        self.events.push_back(Event { channel: channel.clone(), kind, what });
    }
}
