//! The relay: frames in, the same frames for others out.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use registry::{ChannelName, ConnId};
use wire::{
    MemberSlot,
    relay::{DOWN_HEADER, Up, down_header},
    signal::RelayGrant,
};

use crate::{
    book::{Book, Seats, Session, Source},
    counts::Counts,
    numbers::Numbers,
    quota::{Level, Limits, Moment, Rates},
};

/// How often a session's frames are told as a sign of life.
const ALIVE: Duration = Duration::from_secs(1);

/// The core of the relay; the crate's documentation tells its life.
#[derive(Debug)]
pub struct Relay {
    book: Book,
    numbers: Numbers,
    rates: Rates,
    limit_loopback: bool,
    everybody: Level,
    began: Instant,
    to: Vec<SocketAddr>,
    counts: Counts,
    alive: VecDeque<ConnId>,
}

/// What is to be sent.
#[derive(Debug, Eq, PartialEq)]
pub struct Forwarded<'a> {
    /// What.
    pub frame: &'a [u8],
    /// Where to; at least one address.
    pub to: &'a [SocketAddr],
}

/// Why a frame was dropped.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Dropped {
    /// It is no frame.
    #[error("malformed")]
    Malformed,
    /// There is no session of that number.
    #[error("no such session")]
    NoSession,
    /// Nobody sits in the seats that it is for.
    #[error("empty seat")]
    EmptySeat,
    /// The member sends more than it may.
    #[error("quota of the session")]
    Session,
    /// The members behind one address send more than they may.
    #[error("quota of the source")]
    Source,
    /// The members of the channel send more than they may.
    #[error("quota of the channel")]
    Channel,
    /// Everybody together sends more than they may.
    #[error("quota of the server")]
    Server,
}

impl Dropped {
    pub(crate) const ALL: [Self; 7] =
        [Self::Malformed, Self::NoSession, Self::EmptySeat, Self::Session, Self::Source, Self::Channel, Self::Server];
}

/// Something that the caller wants to know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// Frames come from a session's validated address; told at most once a second for each session.
    Alive(ConnId),
}

impl Relay {
    /// A relay for nobody yet. Session numbers follow from the seed, which must be random and secret.
    pub fn new(limits: Limits, seed: [u8; 32], now: Instant) -> Self {
        Self {
            book: Book::default(),
            numbers: Numbers::new(seed),
            rates: Rates::new(&limits),
            limit_loopback: limits.limit_loopback,
            everybody: Level::default(),
            began: now,
            to: Vec::new(),
            counts: Counts::default(),
            alive: VecDeque::new(),
        }
    }

    /// Lets a member that has taken a seat send to the others of its channel, and receive at `addr`, which its signalling
    /// session has validated. What it sends is counted as that of `source`. A session of the same name is closed before.
    pub fn open(
        &mut self,
        conn: ConnId,
        channel: &ChannelName,
        seat: MemberSlot,
        addr: SocketAddr,
        source: IpAddr,
        now: Instant,
    ) -> RelayGrant {
        self.close(conn);
        let number = loop {
            let number = self.numbers.draw();
            if self.book.find(number).is_none() {
                break number;
            }
        };
        let source =
            self.book.sources.borrow(registry::Prefix::subscriber(source), new_source(source, self.limit_loopback));
        let channel = self.book.channels.borrow(channel.clone(), Seats::default);
        let (bytes, packets, alive_until) = (Level::default(), Level::default(), self.moment(now).after(ALIVE));
        self.book.add(Session { number, conn, seat, addr, channel, source, bytes, packets, alive_until });
        RelayGrant { session: number }
    }

    /// What the member was given when its session was opened; `None` if it has none.
    pub fn grant(&self, conn: ConnId) -> Option<RelayGrant> {
        self.book.number(conn).map(|session| RelayGrant { session })
    }

    /// What belonged to `early` is another session's from here on, under the same number; `false` if there was nothing.
    pub fn hand_over(&mut self, early: ConnId, conn: ConnId) -> bool {
        self.book.rename(early, conn)
    }

    /// A member's signalling session goes on from another, validated, address.
    pub fn moved(&mut self, conn: ConnId, addr: SocketAddr, source: IpAddr) {
        let Some(session) = self.book.by_conn(conn) else { return };
        session.addr = addr;
        self.book.charge(conn, source, new_source(source, self.limit_loopback));
    }

    /// A member's seat is empty; its session's number is good for nothing from here on.
    pub fn close(&mut self, conn: ConnId) {
        self.book.remove(conn);
    }

    /// Takes a datagram that starts with [`RELAY_UP`](wire::datagram::RELAY_UP) and makes a frame for others of it, in
    /// place.
    ///
    /// # Errors
    /// [`Dropped`] says why it goes nowhere; it is counted, and the sender is told nothing.
    pub fn forward<'a>(
        &'a mut self,
        from: SocketAddr,
        datagram: &'a mut [u8],
        now: Instant,
    ) -> Result<Forwarded<'a>, Dropped> {
        match self.admit(from, datagram, now) {
            Ok((seat, sealed)) => {
                // Up headers are longer than down headers.
                let start = datagram.len() - sealed - DOWN_HEADER;
                let frame = &mut datagram[start..];
                frame[..DOWN_HEADER].copy_from_slice(&down_header(seat));
                Ok(Forwarded { frame, to: &self.to })
            }
            Err(why) => {
                self.counts.add_dropped(why);
                Err(why)
            }
        }
    }

    /// The next thing to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.alive.pop_front().map(Event::Alive)
    }

    /// What has been forwarded, and what has not.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many may send.
    pub fn sessions(&self) -> usize {
        self.book.sessions.len()
    }

    /// The sender's seat and the length of the sealed part; `self.to` is where it goes.
    fn admit(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) -> Result<(MemberSlot, usize), Dropped> {
        let up = Up::split(datagram).ok_or(Dropped::Malformed)?;
        let at = self.book.find(up.session).ok_or(Dropped::NoSession)?;
        self.find_receivers(at, &up)?;
        let now = self.moment(now);
        let copies = self.to.len() as u64;
        let bytes = copies * (DOWN_HEADER + up.sealed.len()) as u64;
        self.charge(at, copies, bytes, now)?;

        let session = &mut self.book.sessions[at];
        if session.addr != from {
            self.counts.elsewhere += 1;
        } else if now >= session.alive_until {
            session.alive_until = now.after(ALIVE);
            self.alive.push_back(session.conn);
        }
        self.counts.frames += 1;
        self.counts.copies += copies;
        self.counts.bytes += bytes;
        Ok((session.seat, up.sealed.len()))
    }

    /// Nobody sends to itself: a member could otherwise have its own address flooded by who learns its session.
    fn find_receivers(&mut self, sender: usize, up: &Up<'_>) -> Result<(), Dropped> {
        self.to.clear();
        let seats = self.book.channels.value(self.book.sessions[sender].channel);
        for seat in up.to.seats() {
            match seats.session(seat).filter(|at| *at != sender) {
                Some(at) => self.to.push(self.book.sessions[at].addr),
                None => self.counts.empty_seats += 1,
            }
        }
        if self.to.is_empty() { Err(Dropped::EmptySeat) } else { Ok(()) }
    }

    /// Takes from all buckets, or from none.
    fn charge(&mut self, at: usize, copies: u64, bytes: u64, now: Moment) -> Result<(), Dropped> {
        let rates = &self.rates;
        let session = &mut self.book.sessions[at];
        let source = self.book.sources.value_mut(session.source);
        let channel = self.book.channels.value_mut(session.channel);
        let of_session = session.bytes.after(rates.session, bytes, now).ok_or(Dropped::Session)?;
        let packets = session.packets.after(rates.packets, copies, now).ok_or(Dropped::Session)?;
        let of_source = match source.is_limited {
            true => source.bytes.after(rates.source, bytes, now).ok_or(Dropped::Source)?,
            false => source.bytes,
        };
        let of_channel = channel.bytes.after(rates.channel, bytes, now).ok_or(Dropped::Channel)?;
        let of_all = self.everybody.after(rates.all, bytes, now).ok_or(Dropped::Server)?;
        (session.bytes, session.packets) = (of_session, packets);
        (source.bytes, channel.bytes, self.everybody) = (of_source, of_channel, of_all);
        Ok(())
    }

    fn moment(&self, now: Instant) -> Moment {
        Moment(now.saturating_duration_since(self.began).as_nanos() as u64)
    }
}

fn new_source(ip: IpAddr, limit_loopback: bool) -> impl FnOnce() -> Source {
    let is_limited = limit_loopback || !ip.to_canonical().is_loopback();
    move || Source { bytes: Level::default(), is_limited }
}
