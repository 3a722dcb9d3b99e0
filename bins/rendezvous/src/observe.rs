//! STUN: tells whoever asks where it is seen, on several ports, so that members learn what their NATs do (RFC 5780).
//!
//! The signalling port and its neighbours answer alike. Asked to, one answers in the place of another: the highest
//! neighbour for the signalling port, the signalling port for the others; and with a second address, that for the first.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use edge::{Exit, WithExit};
use registry::{Prefix, Rate, RateTable};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::task::JoinSet;
use wire::stun::{Change, Places, Question};

use crate::{routes::Routes, stop::Stop};

/// After a pause as many answers at once as in so many seconds otherwise: for ten members behind one NAT who join at the same moment.
const BURST_SECONDS: u32 = 4;
/// How often it is told that questions are not answered.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Ports above the signalling port that answer, too.
const NEIGHBOURS: u16 = 3;
/// Longer datagrams are no questions.
const BUFFER: usize = 1024;

/// The place of the signalling port.
pub(crate) const MAIN: PlaceId = PlaceId(0);

/// One address that answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PlaceId(usize);

/// Everything that answers STUN.
pub(crate) struct Observers {
    places: Vec<Place>,
    /// Answers to strangers, per network.
    limit: Mutex<RateTable>,
    /// When it was told last that somebody asks too much.
    told: Mutex<Option<Instant>>,
    routes: Mutex<Routes>,
}

struct Place {
    socket: UdpSocket,
    /// As bound; the IP address may be unspecified.
    at: SocketAddr,
    /// Whether this is the second address.
    is_second: bool,
}

/// What is to be sent.
#[derive(Debug)]
pub(crate) struct Reply {
    /// From where.
    pub(crate) through: PlaceId,
    pub(crate) payload: Vec<u8>,
}

impl Observers {
    /// Binds the neighbours of the signalling socket, as far as they are free, and the second address if there is one. A network gets
    /// `rate` answers in a second.
    ///
    /// # Errors
    /// If the second address can't be bound.
    pub(crate) fn bind(
        main: &UdpSocket,
        wanted: SocketAddr,
        second: Option<IpAddr>,
        rate: u32,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let at = main.local_addr().context("read the UDP socket's address")?;
        let main = main.try_clone().context("share the UDP socket")?;
        let mut places = vec![Place { socket: main, at, is_second: false }];
        let neighbours =
            (1..=NEIGHBOURS).filter_map(|step| Some(SocketAddr::new(at.ip(), at.port().checked_add(step)?)));
        let mut taken = Vec::new();
        for at in neighbours {
            match bind(at, false) {
                Ok(socket) => places.push(Place { socket, at, is_second: false }),
                Err(error) => taken.push(format!("{} ({error})", at.port())),
            }
        }
        // Who takes any port takes any neighbours.
        if !taken.is_empty() && wanted.port() != 0 {
            let ports = taken.join(", ");
            tracing::warn!(%ports, "Some UDP ports next to the signalling port can't be had; members will know less about their NATs");
        }
        let rate = Rate::per_second(rate, rate.saturating_mul(BURST_SECONDS));
        let limit = Mutex::new(RateTable::new(rate, seed, Instant::now()));
        let mut observers = Self { places, limit, told: Mutex::default(), routes: Mutex::default() };
        if let Some(ip) = second {
            observers.bind_second(ip).with_context(|| format!("bind UDP at the second address {ip}"))?;
        }
        Ok(observers)
    }

    fn bind_second(&mut self, ip: IpAddr) -> anyhow::Result<()> {
        for port in [Some(self.main_port()), self.other_port()].into_iter().flatten() {
            let at = SocketAddr::new(ip, port);
            let holder = self.places.iter().find(|place| place.at.port() == port).map(|place| &place.socket);
            let socket = beside(holder, at).with_context(|| at.to_string()).exit(Exit::Unavailable)?;
            self.places.push(Place { socket, at, is_second: true });
        }
        Ok(())
    }

    /// Answers at all places but the signalling port, until `stop`.
    ///
    /// # Errors
    /// If the runtime does not take the sockets.
    pub(crate) async fn run(self: Arc<Self>, stop: Stop) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        for index in 1..self.places.len() {
            let socket = self.places[index].socket.try_clone().context("share a STUN socket")?;
            let socket = tokio::net::UdpSocket::from_std(socket).context("watch a STUN socket")?;
            let (observers, mut stop) = (Arc::clone(&self), stop.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = observers.serve(PlaceId(index), &socket) => {}
                    () = stop.requested() => {}
                }
            });
        }
        tasks.join_all().await;
        Ok(())
    }

    async fn serve(&self, at: PlaceId, socket: &tokio::net::UdpSocket) {
        let mut buffer = [0; BUFFER];
        loop {
            match socket.recv_from(&mut buffer).await {
                Ok((length, from)) => self.handle(at, &buffer[..length], from),
                // An ICMP error of an earlier answer; it has been taken out of the socket by this.
                Err(error) => tracing::debug!(%error, "Could not receive a STUN request"),
            }
        }
    }

    /// Answers a datagram, if it is to have an answer.
    pub(crate) fn handle(&self, at: PlaceId, datagram: &[u8], from: SocketAddr) {
        if let Some(reply) = self.reply(at, datagram, from, Instant::now()) {
            self.send(&reply, from);
        }
    }

    /// Sends an answer. One that finds no room is lost, as on the way; the client asks again.
    pub(crate) fn send(&self, reply: &Reply, to: SocketAddr) {
        if let Err(error) = self.places[reply.through.0].send(&reply.payload, to) {
            tracing::debug!(%error, "Could not answer a STUN request");
        }
    }

    /// What to answer to a datagram that came to `at`; `None` is silence.
    pub(crate) fn reply(&self, at: PlaceId, datagram: &[u8], from: SocketAddr, now: Instant) -> Option<Reply> {
        let question = Question::read(datagram)?;
        if !lock(&self.limit).take(Prefix::network(from.ip()), now) {
            self.tell_of_silence(from, now);
            return None;
        }
        let through = question.change().and_then(|change| self.place(at, change, from));
        Some(match through {
            Some(through) => {
                let payload = question.answer(from, self.places(through, from, now));
                Reply { through, payload }
            }
            None => Reply { through: at, payload: question.refuse() },
        })
    }

    fn tell_of_silence(&self, from: SocketAddr, now: Instant) {
        let mut told = lock(&self.told);
        if told.is_none_or(|told| now.duration_since(told) >= TELL_EVERY) {
            *told = Some(now);
            tracing::warn!(
                "The network around {} asks more by STUN than is answered: its members may not learn what routers they have (--stun-rate)",
                from.ip()
            );
        }
    }

    /// The place that answers for another.
    fn place(&self, at: PlaceId, change: Change, from: SocketAddr) -> Option<PlaceId> {
        let here = &self.places[at.0];
        let port = if change.port { self.across(here.at.port())? } else { here.at.port() };
        let is_second = here.is_second != change.ip;
        let fits = |place: &Place| place.is_second == is_second && place.at.port() == port && place.hears(from);
        if change == Change::default() { Some(at) } else { self.places.iter().position(fits).map(PlaceId) }
    }

    /// What an answer through this place says of it; `None` if the machine itself does not know its address.
    fn places(&self, through: PlaceId, from: SocketAddr, now: Instant) -> Option<Places> {
        let here = &self.places[through.0];
        let origin = SocketAddr::new(self.ip_of(here, from, now)?, here.at.port());
        let port = self.across(here.at.port())?;
        let there = self.places.iter().find(|place| place.is_second != here.is_second && place.hears(from));
        let ip = there.map_or(Some(origin.ip()), |place| self.ip_of(place, from, now))?;
        Some(Places { origin, other: SocketAddr::new(ip, port) })
    }

    fn ip_of(&self, place: &Place, from: SocketAddr, now: Instant) -> Option<IpAddr> {
        let ip = place.at.ip().to_canonical();
        if ip.is_unspecified() { lock(&self.routes).source_for(from.ip().to_canonical(), now) } else { Some(ip) }
    }

    /// The port that answers for a port.
    fn across(&self, port: u16) -> Option<u16> {
        let other = self.other_port()?;
        Some(if port == other { self.main_port() } else { other })
    }

    fn main_port(&self) -> u16 {
        self.places[MAIN.0].at.port()
    }

    fn other_port(&self) -> Option<u16> {
        self.places[1..].iter().filter(|place| !place.is_second).map(|place| place.at.port()).max()
    }
}

impl Place {
    /// Sends in the socket's own family, in which IPv4 addresses are spelled differently.
    fn send(&self, payload: &[u8], to: SocketAddr) -> io::Result<()> {
        let ip = match to.ip().to_canonical() {
            IpAddr::V4(ip) if self.at.is_ipv6() => ip.to_ipv6_mapped().into(),
            ip => ip,
        };
        self.socket.send_to(payload, SocketAddr::new(ip, to.port())).map(drop)
    }

    /// Whether this place can talk with an address of that family.
    fn hears(&self, from: SocketAddr) -> bool {
        let ip = self.at.ip().to_canonical();
        ip.is_ipv4() == from.ip().to_canonical().is_ipv4() || ip.is_ipv6() && ip.is_unspecified()
    }
}

/// Binds an address whose port another socket of ours may hold for all addresses.
fn beside(holder: Option<&UdpSocket>, at: SocketAddr) -> io::Result<UdpSocket> {
    let Some(holder) = holder else { return bind(at, false) };
    let holder = SockRef::from(holder);
    // Only for this moment: otherwise another rendezvous could take the port away unseen.
    holder.set_reuse_address(true)?;
    let bound = bind(at, true);
    holder.set_reuse_address(false)?;
    bound
}

fn bind(at: SocketAddr, beside_another: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
    if at.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(beside_another)?;
    socket.bind(&at.into())?;
    socket.set_reuse_address(false)?;
    Ok(socket.into())
}

/// Neither table can be left half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
