//! The UDP task: one socket, one loop, one timer. It alone has the sessions, the registry and the relay.

mod datagrams;
mod inbox;
mod outbox;
mod signalling;
mod wait;

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, UdpSocket},
    pin::pin,
    sync::Arc,
    task::{self, Poll},
    time::{Duration, Instant},
};

use anyhow::Context;
use link::Endpoint;
use registry::{ConnId, Registry};
use relay::Relay;
use tokio::sync::mpsc;

use self::{inbox::Inbox, outbox::Outbox, wait::Wait};
use crate::{
    directory::{Ask, Listed, Listing},
    feed::Feed,
    observe::Observers,
    stop::Stop,
    tunnel::{self, Tunnels},
};

/// How long the last messages may take to get out.
const FAREWELL: Duration = Duration::from_secs(1);
/// Questions of HTTP that are answered in a row.
const ASKS: usize = 16;

/// What the task drives.
pub(crate) struct Cores {
    pub(crate) endpoint: Endpoint,
    pub(crate) registry: Registry,
    /// `None` where nothing is relayed.
    pub(crate) relay: Option<Relay>,
}

/// The task's state.
pub(crate) struct Driver {
    socket: UdpSocket,
    tunnels: Tunnels,
    outbox: Outbox,
    endpoint: Endpoint,
    registry: Registry,
    relay: Option<Relay>,
    /// Where signs of life come from.
    sessions: HashMap<SocketAddr, ConnId>,
    observers: Arc<Observers>,
    feed: Arc<Feed>,
    asks: mpsc::Receiver<Ask>,
}

/// Drives it until `stop`, in a thread of its own: no other task of the program stands between a datagram and its answer.
pub(crate) async fn drive(driver: impl FnOnce() -> Driver + Send + 'static, stop: Stop) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || driver().run(stop)).await.context("the UDP task")?
}

impl Driver {
    pub(crate) fn new(
        socket: UdpSocket,
        tunnels: Tunnels,
        cores: Cores,
        feed: Arc<Feed>,
        asks: mpsc::Receiver<Ask>,
        observers: Arc<Observers>,
    ) -> Self {
        let Cores { endpoint, registry, relay } = cores;
        inbox::allow_runs(&socket);
        let outbox = Outbox::new();
        Self { socket, tunnels, outbox, endpoint, registry, relay, sessions: HashMap::new(), observers, feed, asks }
    }

    /// Serves until `stop`, then says farewell.
    fn run(mut self, mut stop: Stop) -> anyhow::Result<()> {
        let mut inbox = Inbox::new(self.socket.local_addr()?.is_ipv6());
        let mut wait = Wait::new(&self.socket).context("watch the UDP socket")?;
        let mut requested = pin!(stop.requested());
        loop {
            if wait.is_called {
                if requested.as_mut().poll(&mut wait.context()).is_ready() {
                    return self.say_farewell(&mut inbox, &mut wait);
                }
                let has_more_asks = self.take_asks(&mut wait.context());
                wait.is_called = self.receive_tunnelled(&mut wait.context()) || has_more_asks;
            }
            self.turn(&mut inbox, &mut wait, None)?;
        }
    }

    fn say_farewell(&mut self, inbox: &mut Inbox, wait: &mut Wait) -> anyhow::Result<()> {
        self.registry.close();
        let end = Instant::now() + FAREWELL;
        self.drain();
        while !self.endpoint.is_idle() && Instant::now() < end {
            self.turn(inbox, wait, Some(end))?;
            wait.is_called = self.receive_tunnelled(&mut wait.context());
            self.drain();
        }
        Ok(())
    }

    /// Says what there is to say, waits until `end` for something to happen, and takes what has come to the socket.
    fn turn(&mut self, inbox: &mut Inbox, wait: &mut Wait, end: Option<Instant>) -> anyhow::Result<()> {
        self.drain();
        let due = self.next_timeout();
        let before = wait.until(due.into_iter().chain(end).min()).context("wait for datagrams")?;
        if wait.is_readable {
            wait.is_readable = self.receive(inbox);
        }
        // What has become due since is so in the next turn, without a wait.
        if due.is_some_and(|due| due <= before) {
            self.handle_timeout();
        }
        Ok(())
    }

    fn handle_timeout(&mut self) {
        let now = Instant::now();
        self.endpoint.handle_timeout(now);
        self.registry.handle_timeout(now);
    }

    fn next_timeout(&mut self) -> Option<Instant> {
        self.endpoint.poll_timeout().into_iter().chain(self.registry.poll_timeout()).min()
    }

    /// Carries what has happened from the sessions to the registry, from it to the sessions, and out.
    fn drain(&mut self) {
        loop {
            let mut quiet = true;
            while let Some((link, event)) = self.endpoint.poll_event() {
                self.handle_event(link, event);
                quiet = false;
            }
            while let Some(output) = self.registry.poll_output() {
                self.carry_out(output);
                quiet = false;
            }
            while let Some(relay::Event::Alive(conn)) = self.relay.as_mut().and_then(Relay::poll_event) {
                self.registry.handle_alive(conn, Instant::now());
            }
            while let Some(event) = self.registry.poll_event() {
                tracing::debug!(?event, "Something happened");
                self.feed.push(&event);
            }
            self.transmit();
            if quiet {
                return;
            }
        }
    }

    fn transmit(&mut self) {
        while let Some(out) = self.endpoint.poll_transmit(Instant::now()) {
            if tunnel::is_made_up(out.to) {
                self.tunnels.send(out.to, &out.payload, Instant::now());
            } else {
                self.send(&out.payload, out.to);
            }
        }
    }

    /// Sends a datagram of a session, as soon as the system takes it. One that can't be sent is lost, as on the way: sessions
    /// send it again.
    fn send(&self, datagram: &[u8], to: SocketAddr) {
        let sent = match self.socket.send_to(datagram, to) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait::for_room(&self.socket).and_then(|()| self.socket.send_to(datagram, to))
            }
            sent => sent,
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "Could not send a datagram");
        }
    }

    /// Answers what HTTP asks. If there is nothing more, the context's waker is told of the next.
    fn take_asks(&mut self, context: &mut task::Context<'_>) -> bool {
        for _ in 0..ASKS {
            let Poll::Ready(Some(ask)) = self.asks.poll_recv(context) else { return false };
            self.answer(ask);
        }
        true
    }

    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::List { after, limit, answer } => drop(answer.send(self.list(after.as_ref(), limit))),
            Ask::Look { name, answer } => {
                let info = self.registry.channel(&name);
                drop(answer.send(info.map(|info| Listed { info, members: self.registry.members(&name) })));
            }
            Ask::Create { record, answer } => drop(answer.send(self.registry.create(*record))),
            Ask::Confirm { name } => self.registry.confirm(&name),
            Ask::Delete { name } => self.registry.delete(&name, Instant::now()),
        }
    }

    fn list(&self, after: Option<&registry::ChannelName>, limit: usize) -> Listing {
        let mut infos = self.registry.channels(after);
        let channels = infos.by_ref().take(limit).map(|info| {
            let members = self.registry.members(&info.name);
            Listed { info, members }
        });
        Listing { channels: channels.collect(), more: infos.next().is_some() }
    }
}
