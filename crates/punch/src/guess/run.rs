use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use wire::PeerTag;

use super::plan::{GAP, Pair, Plan, Volley};
use crate::{Agent, Event, Refused, SocketId, Way, hygiene, pace::Limiter, path::State};

/// A socket on which the peer was heard, but that we do not choose, may be the one that the peer chooses: it stays so long.
const LINGER: Duration = Duration::from_secs(3);
/// How often it is looked whether a socket is still needed.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Sockets with higher numbers are the driver's.
const LAST_ID: u16 = 0x8000;
/// Single guesses that may wait.
const MAX_SINGLE: usize = 128;

/// What the driver is to do with its sockets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SocketRequest {
    /// Open an IPv4 UDP socket at any free port, and call it so.
    Open(SocketId),
    /// Close it.
    Close(SocketId),
}

/// The guess of the moment, the sockets beside the main one, and single guesses.
#[derive(Debug, Default)]
pub(crate) struct Guesser {
    run: Option<Run>,
    /// Open for a guess that has not begun.
    scout: Option<SocketId>,
    /// Whose each socket is that a guess has left open, and until when it stays though it is not chosen.
    kept: BTreeMap<SocketId, (PeerTag, Instant)>,
    single: VecDeque<(PeerTag, SocketAddr)>,
    requests: VecDeque<SocketRequest>,
    last_id: u16,
    pace: Option<Limiter>,
}

/// One guess on its way.
#[derive(Debug)]
struct Run {
    peer: PeerTag,
    to: IpAddr,
    sockets: Vec<SocketId>,
    volleys: VecDeque<Volley>,
    /// How many packets of the first volley are out.
    sent: usize,
    started: Instant,
    until: Instant,
    pace: Limiter,
}

impl Run {
    /// When the next packet is due; `None` if all are out.
    fn due(&self) -> Option<Instant> {
        let due = self.started + self.volleys.front()?.after;
        Some(self.pace.ready_at().map_or(due, |ready| ready.max(due)))
    }

    /// The next packet.
    fn take(&mut self, now: Instant) -> Option<(Way, Option<u8>)> {
        /// A driver that wakes up late may catch up on this much.
        const CATCH_UP: Duration = Duration::from_millis(10);
        let turn = self.due()?.max(now.checked_sub(CATCH_UP)?);
        let volley = self.volleys.front()?;
        let count = volley_sockets(volley, &self.sockets);
        let (port, socket) = (self.sent / count.max(1), self.sent % count.max(1));
        let to = SocketAddr::new(self.to, *volley.ports.get(port)?);
        let way = Way::Direct { socket: *self.sockets.get(socket)?, addr: to };
        let (ttl, gap) = (volley.ttl, volley.gap);
        self.sent += 1;
        self.pace.take_for(turn, gap);
        self.pass_on();
        Some((way, ttl))
    }

    /// Goes on to the next volley once this one is out.
    fn pass_on(&mut self) {
        if self
            .volleys
            .front()
            .is_some_and(|volley| self.sent >= volley.ports.len() * volley_sockets(volley, &self.sockets))
        {
            self.volleys.pop_front();
            self.sent = 0;
        }
    }
}

/// How many sockets a volley is sent from.
fn volley_sockets(volley: &Volley, sockets: &[SocketId]) -> usize {
    sockets.len().min(volley.from.into())
}

impl Guesser {
    fn open(&mut self) -> SocketId {
        let is_taken = |id: &SocketId, guesser: &Self| {
            *id == SocketId::MAIN
                || guesser.kept.contains_key(id)
                || guesser.scout == Some(*id)
                || guesser.run.as_ref().is_some_and(|run| run.sockets.contains(id))
        };
        loop {
            self.last_id = (self.last_id + 1) % LAST_ID;
            let id = SocketId(self.last_id);
            if !is_taken(&id, self) {
                self.requests.push_back(SocketRequest::Open(id));
                return id;
            }
        }
    }

    /// A peer is gone, and its sockets with it.
    pub(crate) fn forget(&mut self, peer: PeerTag) {
        let of_peer: Vec<_> = self.kept.iter().filter(|(_, (owner, _))| *owner == peer).map(|(id, _)| *id).collect();
        for id in of_peer {
            self.kept.remove(&id);
            self.requests.push_back(SocketRequest::Close(id));
        }
        self.single.retain(|(to, _)| *to != peer);
        if let Some(run) = self.run.take_if(|run| run.peer == peer) {
            let extra = run.sockets.into_iter().filter(|id| *id != SocketId::MAIN);
            self.requests.extend(extra.map(SocketRequest::Close));
        }
    }
}

impl Agent {
    /// Opens a socket for a guess to come, so that the rendezvous may look at it first.
    pub fn open_scout(&mut self) -> SocketId {
        if let Some(scout) = self.guesser.scout {
            return scout;
        }
        let scout = self.guesser.open();
        self.guesser.scout = Some(scout);
        scout
    }

    /// Guesses by this plan. `at` is where the rendezvous sees the peer: nobody else is sent to. A guess of before ends.
    ///
    /// # Errors
    /// [`Refused`] if no member can be there.
    pub fn begin_guess(&mut self, peer: PeerTag, at: SocketAddr, plan: Plan, now: Instant) -> Result<(), Refused> {
        let at = hygiene::normal(at);
        hygiene::check(at, self.shared.allow_loopback)?;
        let scout = self.guesser.scout.take();
        self.end_guess(now);
        let mut sockets: Vec<_> = scout.into_iter().collect();
        if plan.sockets == 0 {
            self.guesser.requests.extend(sockets.drain(..).map(SocketRequest::Close));
            sockets.push(SocketId::MAIN);
        }
        while sockets.len() < usize::from(plan.sockets) {
            let id = self.guesser.open();
            sockets.push(id);
        }
        tracing::info!(%peer, sockets = plan.sockets, ports = ?plan.volleys.first().map(|v| v.ports.len()), "Guessing ports");
        self.guesser.run = Some(Run {
            peer,
            to: at.ip(),
            sockets,
            volleys: plan.volleys.into_iter().filter(|volley| !volley.ports.is_empty()).collect(),
            sent: 0,
            started: now,
            until: now + plan.patience,
            pace: Limiter::new(GAP, 0),
        });
        self.drive(now);
        Ok(())
    }

    /// Gives the guess of the moment up, and closes what it has opened.
    pub fn end_guess(&mut self, now: Instant) {
        if let Some(scout) = self.guesser.scout.take() {
            self.guesser.requests.push_back(SocketRequest::Close(scout));
        }
        if let Some(run) = self.guesser.run.take() {
            self.finish(run, false, false, now);
        }
    }

    /// When a guess may begin: there are 1024 probes in 30 s, whomever they go to.
    pub fn guess_room_at(&self, pair: &Pair, now: Instant) -> Instant {
        // A few less are as good: what fresh sockets or foreseen ports took is no reason to wait.
        self.shared.probes.room_at(pair.cost() * 15 / 16, now)
    }

    /// Tries a few more ports of a peer, once each, from the main socket. `at` is where the rendezvous sees it.
    pub fn try_ports(&mut self, peer: PeerTag, at: SocketAddr, ports: &[u16], now: Instant) {
        let at = hygiene::normal(at);
        for port in ports {
            let to = SocketAddr::new(at.ip(), *port);
            if self.guesser.single.len() < MAX_SINGLE && hygiene::check(to, self.shared.allow_loopback).is_ok() {
                self.guesser.single.push_back((peer, to));
            }
        }
        self.drive(now);
    }

    /// What is to be done with sockets; to be taken before [`Agent::poll_transmit`]. What is then to be sent from a socket that is
    /// not open is to be dropped.
    pub fn poll_socket_request(&mut self) -> Option<SocketRequest> {
        self.guesser.requests.pop_front()
    }

    /// A socket could not be opened, or is broken: the guess goes on with the others.
    pub fn handle_socket_gone(&mut self, id: SocketId, now: Instant) {
        if self.guesser.scout == Some(id) {
            self.guesser.scout = None;
        }
        self.drop_socket(id, now);
        let Some(run) = &mut self.guesser.run else { return };
        run.sockets.retain(|socket| *socket != id);
        run.pass_on();
        if run.sockets.is_empty() {
            self.end_guess(now);
        }
    }

    pub(crate) fn guess_timeout(&self) -> Option<Instant> {
        let guesser = &self.guesser;
        let run = guesser.run.as_ref().map(|run| run.due().map_or(run.until, |due| due.min(run.until)));
        let single = guesser.single.front().and(guesser.pace.as_ref()).and_then(Limiter::ready_at);
        let kept = guesser.kept.values().map(|(_, until)| *until).min();
        run.into_iter().chain(single).chain(kept).min()
    }

    pub(crate) fn drive_guess(&mut self, now: Instant) {
        self.send_singles(now);
        while let Some(mut run) = self.guesser.run.take() {
            let Some(peer) = self.peers.get(&run.peer) else { return self.finish(run, false, false, now) };
            let met = peer.search.is_none()
                && peer.selected_path().is_some_and(|path| path.is_direct() && path.state == State::Confirmed);
            if met || now >= run.until {
                return self.finish(run, met, true, now);
            }
            if run.due().is_none_or(|due| due > now) {
                self.guesser.run = Some(run);
                break;
            }
            self.renew_sockets(&mut run, now);
            if !self.shared.probes.allow(now) {
                tracing::debug!(peer = %run.peer, "There were enough guesses for a while");
                run.volleys.clear();
            } else if let (Some(peer), Some((way, ttl))) = (self.peers.get(&run.peer), run.take(now)) {
                self.shared.send_probe(run.peer, &peer.keys, way, ttl, now);
            } else {
                run.volleys.clear();
            }
            self.guesser.run = Some(run);
        }
        self.close_spare_sockets(now);
    }

    /// Before the first packet of a volley that wants fresh sockets: those on which nothing was heard make room.
    fn renew_sockets(&mut self, run: &mut Run, now: Instant) {
        let wants = |volley: &Volley| run.sent == 0 && volley.is_fresh;
        if !run.volleys.front().is_some_and(wants) {
            return;
        }
        let was_heard = |id: &SocketId| self.peers.get(&run.peer).is_some_and(|peer| peer.uses(*id));
        let (kept, vain): (Vec<_>, Vec<_>) = run.sockets.drain(..).partition(was_heard);
        self.guesser.requests.extend(vain.iter().map(|id| SocketRequest::Close(*id)));
        let fresh: Vec<_> = vain.iter().map(|_| self.guesser.open()).collect();
        vain.into_iter().for_each(|id| self.drop_socket(id, now));
        // What is kept comes last: a packet from there has gone out before.
        run.sockets.extend(fresh.into_iter().chain(kept));
        if let Some(volley) = run.volleys.front_mut() {
            volley.is_fresh = false;
        }
    }

    fn send_singles(&mut self, now: Instant) {
        let pace = self.guesser.pace.get_or_insert_with(|| Limiter::new(GAP, 0));
        while pace.is_ready(now) {
            let Some((tag, to)) = self.guesser.single.pop_front() else { break };
            if let Some(peer) =
                self.peers.get(&tag).filter(|peer| peer.search.is_some() && self.shared.probes.allow(now))
            {
                pace.take(now);
                self.shared.send_probe(tag, &peer.keys, Way::to(to), None, now);
            }
        }
    }

    /// Closes everything, but for what the peer was heard on if that may still lead to a path.
    fn finish(&mut self, run: Run, met: bool, is_hopeful: bool, now: Instant) {
        tracing::info!(peer = %run.peer, met, took = ?now.duration_since(run.started), "Guessed");
        for id in run.sockets.into_iter().filter(|id| *id != SocketId::MAIN) {
            let was_heard = self.peers.get(&run.peer).is_some_and(|peer| peer.uses(id));
            if is_hopeful && was_heard {
                self.guesser.kept.insert(id, (run.peer, now + LINGER));
            } else {
                self.guesser.requests.push_back(SocketRequest::Close(id));
                self.drop_socket(id, now);
            }
        }
        self.shared.events.push_back(Event::Guessed { peer: run.peer, met });
    }

    /// Once both sides have had time to choose, only the chosen socket stays.
    fn close_spare_sockets(&mut self, now: Instant) {
        let due: Vec<_> = self.guesser.kept.iter().filter(|(_, (_, until))| *until <= now).map(|(id, _)| *id).collect();
        for id in due {
            let Some((tag, _)) = self.guesser.kept.get(&id).copied() else { continue };
            let is_needed = self.peers.get(&tag).is_some_and(|peer| match peer.selected {
                Some(Way::Direct { socket, .. }) => socket == id,
                _ => peer.uses(id),
            });
            if is_needed {
                self.guesser.kept.insert(id, (tag, now + LOOK_AGAIN));
            } else {
                self.guesser.requests.push_back(SocketRequest::Close(id));
                self.drop_socket(id, now);
            }
        }
    }

    fn drop_socket(&mut self, id: SocketId, now: Instant) {
        self.guesser.kept.remove(&id);
        for peer in self.peers.values_mut() {
            peer.drop_socket(id, now, &mut self.shared);
        }
    }
}
