//! The way to the rendezvous where UDP does not get through: a tunnel, which carries the same datagrams over TCP.
//!
//! The tunnel is the program's: it is asked for it when the rendezvous has not answered for half a second, and lets it go
//! when UDP works again. To signalling the tunnel is an address like any other, but one that nothing can come from.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use bytes::Bytes;
use link::{Kind, LinkId};
use punch::SocketId;

use crate::{
    Event, Mesh, ServerEvent, Transmit,
    signalling::{CLOSE_LEFT, CLOSE_REPLACED, CONNECT_TIMEOUT, State},
};

/// Stands for the tunnel where a datagram has a socket.
pub const TUNNEL: SocketId = SocketId(u16::MAX);
/// Stands for the tunnel's other end: in the discard-only prefix (RFC 6666).
const FAR_END: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1)), 1);

/// A rendezvous that has not answered by then is asked through the tunnel as well.
const PATIENCE: Duration = Duration::from_millis(500);
/// Gaps between attempts to get back to UDP; then the last one again and again.
const RETURN_GAPS: [u64; 4] = [5, 10, 20, 60];

/// How it stands with the tunnel.
#[derive(Debug, Default)]
pub(crate) struct Detour {
    /// When to ask for it.
    ask_at: Option<Instant>,
    is_asked: bool,
    is_open: bool,
    /// A session with the rendezvous that is being made beside the one in use, by the other way, and when to give it up.
    attempt: Option<(LinkId, Instant)>,
    /// When to try UDP again.
    return_at: Option<Instant>,
    returns: usize,
    /// Whether the session in use goes through it, as told last.
    is_used: bool,
    /// Whether the last session did, and was lost: UDP need not be waited for again.
    was_used: bool,
    /// The session that ends as soon as the one in its place has joined.
    retiring: Option<LinkId>,
}

impl Detour {
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        [self.ask_at, self.return_at, self.attempt.map(|(_, until)| until)].into_iter().flatten().min()
    }
}

impl Mesh {
    /// The tunnel that [`ServerEvent::Tunnel`] asked for is open.
    pub fn tunnel_opened(&mut self, now: Instant) {
        self.detour.is_open = true;
        if matches!(self.signalling, State::Connecting { .. } | State::Waiting { .. }) {
            self.attempt(FAR_END, now);
        }
        self.settle(now);
    }

    /// The tunnel is closed, or can't be opened; it is asked for again if UDP does not work.
    pub fn tunnel_closed(&mut self, why: &str, now: Instant) {
        (self.detour.is_open, self.detour.is_asked) = (false, false);
        if let Some((link, _)) = self.detour.attempt.filter(|(link, _)| self.signals.remote(*link) == Some(FAR_END)) {
            self.detour.attempt = None;
            self.signals.close(link, CLOSE_LEFT, "", now);
        }
        if let Some(link) = self.signalling.link().filter(|_| self.is_tunnelled()) {
            self.signals.close(link, CLOSE_LEFT, "", now);
            self.server_lost(why.to_owned(), now);
        }
        self.settle(now);
    }

    /// An attempt over UDP begins.
    pub(crate) fn detour_begins(&mut self, now: Instant) {
        if !self.config.tunnel || self.config.introduce {
            return;
        }
        self.detour.return_at = None;
        if self.detour.is_open {
            self.attempt(FAR_END, now);
        } else {
            self.detour.ask_at = Some(if self.detour.was_used { now } else { now + PATIENCE });
        }
    }

    pub(crate) fn detour_timed_out(&mut self, now: Instant) {
        let is_due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        if is_due(&mut self.detour.ask_at) && matches!(self.signalling, State::Connecting { .. }) {
            self.ask_for_tunnel(true);
        }
        if is_due(&mut self.detour.return_at) && self.is_tunnelled() {
            self.attempt(self.config.server, now);
        }
        if let Some((link, _)) = self.detour.attempt.take_if(|(_, until)| *until <= now) {
            self.signals.close(link, CLOSE_LEFT, "no answer", now);
            self.schedule_return(now);
        }
    }

    fn ask_for_tunnel(&mut self, wanted: bool) {
        if self.detour.is_asked != wanted {
            self.detour.is_asked = wanted;
            self.events.push_back(Event::Server(ServerEvent::Tunnel(wanted)));
        }
    }

    fn schedule_return(&mut self, now: Instant) {
        if self.is_tunnelled() {
            let gap = RETURN_GAPS[self.detour.returns.min(RETURN_GAPS.len() - 1)];
            self.detour.returns += 1;
            self.detour.return_at = Some(now + Duration::from_secs(gap));
        }
    }

    fn attempt(&mut self, to: SocketAddr, now: Instant) {
        if self.detour.attempt.is_some() {
            return;
        }
        match self.signals.connect(Kind::Signal, to, self.config.server_key, now) {
            Ok(link) => self.detour.attempt = Some((link, now + CONNECT_TIMEOUT)),
            Err(error) => tracing::debug!(%error, "no second session with the rendezvous"),
        }
    }

    /// Something happened to the session that is being made beside the one in use; `false` if there is none of that name.
    pub(crate) fn handle_attempt(&mut self, link: LinkId, event: &link::Event, now: Instant) -> bool {
        if self.detour.attempt.is_none_or(|(attempt, _)| attempt != link) {
            return false;
        }
        match event {
            link::Event::Connected { key, .. } => {
                self.detour.attempt = None;
                match self.signalling {
                    State::Joined { link } => self.detour.retiring = Some(link),
                    _ => self.close_signalling(now),
                }
                self.server_connected(link, *key, now);
            }
            link::Event::Closed(reason) => {
                tracing::debug!(%reason, "no second session with the rendezvous");
                self.detour.attempt = None;
                self.schedule_return(now);
            }
            _ => {}
        }
        true
    }

    fn close_signalling(&mut self, now: Instant) {
        if let Some(link) = self.signalling.link() {
            self.signals.close(link, CLOSE_REPLACED, "another way was faster", now);
        }
    }

    /// The session in use has joined: what was beside it is over.
    pub(crate) fn detour_settles(&mut self, now: Instant) {
        self.detour.ask_at = None;
        let beside = [self.detour.retiring.take(), self.detour.attempt.take().map(|(link, _)| link)];
        for link in beside.into_iter().flatten() {
            self.signals.close(link, CLOSE_REPLACED, "another way is better", now);
        }
        (self.detour.is_used, self.detour.was_used) = (self.is_tunnelled(), false);
        if self.detour.is_used {
            self.detour.returns = 0;
            self.schedule_return(now);
        } else {
            self.ask_for_tunnel(false);
            self.detour.is_open = false;
        }
    }

    /// The session with the rendezvous is lost. If it went through the tunnel, that is not to be trusted any more.
    pub(crate) fn detour_lost(&mut self) {
        if std::mem::take(&mut self.detour.is_used) {
            self.ask_for_tunnel(false);
            (self.detour.is_open, self.detour.was_used) = (false, true);
        }
    }

    /// The network has changed: UDP may work.
    pub(crate) fn detour_reconsiders(&mut self, now: Instant) {
        if self.is_tunnelled() {
            self.detour.returns = 0;
            self.detour.return_at = Some(now);
        }
    }

    /// Whether the session with the rendezvous goes through the tunnel.
    pub fn is_tunnelled(&self) -> bool {
        self.rendezvous_at() == Some(FAR_END)
    }

    /// Where the rendezvous is to the session with it.
    pub(crate) fn rendezvous_at(&self) -> Option<SocketAddr> {
        self.signals.remote(self.signalling.link()?)
    }

    /// Where a datagram of the rendezvous comes from, as signalling names it.
    pub(crate) fn signalling_source(&self, at: SocketId, from: SocketAddr) -> Option<SocketAddr> {
        match at {
            TUNNEL => self.detour.is_open.then_some(FAR_END),
            SocketId::MAIN => (from == self.config.server || self.config.introduce).then_some(from),
            _ => None,
        }
    }

    /// A datagram for the rendezvous, or for somebody who asks this member as one.
    pub(crate) fn for_rendezvous(&self, to: SocketAddr, payload: Bytes) -> Transmit {
        let transmit = Transmit::from_main(to, payload);
        if to == FAR_END { Transmit { socket: TUNNEL, to: self.config.server, ..transmit } } else { transmit }
    }
}
