//! The UDP task: one socket, one loop, one timer. It alone has the sessions, the registry and the relay.

mod datagrams;
mod inbox;
mod outbox;
mod signalling;
mod timer;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use link::Endpoint;
use registry::{ConnId, Registry};
use relay::Relay;
use tokio::{net::UdpSocket, runtime, sync::mpsc};

use self::{inbox::Inbox, outbox::Outbox, timer::Timer};
use crate::{
    directory::{Ask, Listed, Listing},
    feed::Feed,
    observe::Observers,
    stop::Stop,
    tunnel::{self, Tunnels},
};

/// How long the last messages may take to get out.
const FAREWELL: Duration = Duration::from_secs(1);

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
pub(crate) async fn drive(
    socket: std::net::UdpSocket,
    driver: impl FnOnce(UdpSocket) -> Driver + Send + 'static,
    stop: Stop,
) -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("start the UDP task")?;
    let run = move || runtime.block_on(async { driver(UdpSocket::from_std(socket)?).run(stop).await });
    tokio::task::spawn_blocking(run).await.context("the UDP task")?
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
    pub(crate) async fn run(mut self, mut stop: Stop) -> anyhow::Result<()> {
        let mut inbox = Inbox::new(self.socket.local_addr()?.is_ipv6());
        let mut timer = Timer::new();
        loop {
            self.drain().await?;
            timer.set(self.next_timeout());
            tokio::select! {
                ready = self.socket.readable() => {
                    ready.context("wait for datagrams")?;
                    self.receive(&mut inbox);
                }
                (at, datagram) = self.tunnels.receive() => self.receive_tunnelled(at, &datagram),
                Some(ask) = self.asks.recv() => self.answer(ask),
                () = timer.due() => self.handle_timeout(),
                () = stop.requested() => break,
            }
        }
        self.say_farewell(&mut inbox).await
    }

    async fn say_farewell(&mut self, inbox: &mut Inbox) -> anyhow::Result<()> {
        self.registry.close();
        let end = Instant::now() + FAREWELL;
        let mut timer = Timer::new();
        loop {
            self.drain().await?;
            if self.endpoint.is_idle() || Instant::now() >= end {
                return Ok(());
            }
            timer.set(Some(self.next_timeout().map_or(end, |at| at.min(end))));
            tokio::select! {
                ready = self.socket.readable() => {
                    ready.context("wait for datagrams")?;
                    self.receive(inbox);
                }
                (at, datagram) = self.tunnels.receive() => self.receive_tunnelled(at, &datagram),
                () = timer.due() => self.handle_timeout(),
            }
        }
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
    async fn drain(&mut self) -> anyhow::Result<()> {
        loop {
            let mut quiet = true;
            while let Some((link, event)) = self.endpoint.poll_event() {
                self.handle_event(link, event);
                quiet = false;
            }
            while let Some(output) = self.registry.poll_output() {
                self.carry_out(output).await?;
                quiet = false;
            }
            while let Some(relay::Event::Alive(conn)) = self.relay.as_mut().and_then(Relay::poll_event) {
                self.registry.handle_alive(conn, Instant::now());
            }
            while let Some(event) = self.registry.poll_event() {
                tracing::debug!(?event, "Something happened");
                self.feed.push(&event);
            }
            self.transmit().await?;
            if quiet {
                return Ok(());
            }
        }
    }

    async fn transmit(&mut self) -> anyhow::Result<()> {
        while let Some(out) = self.endpoint.poll_transmit(Instant::now()) {
            if tunnel::is_made_up(out.to) {
                self.tunnels.send(out.to, &out.payload, Instant::now());
            } else if let Err(error) = self.socket.send_to(&out.payload, out.to).await {
                tracing::debug!(%error, "Could not send a datagram");
            }
        }
        Ok(())
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
