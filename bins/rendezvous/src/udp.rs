//! The UDP task: one socket, one loop, one timer. It alone has the sessions, the registry and the relay.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use link::{CloseReason, Endpoint, Event, Kind, LinkId};
use registry::{ConnId, Output, Registry};
use relay::Relay;
use tokio::{net::UdpSocket, sync::mpsc};
use wire::{
    datagram::{Protocol, RELAY_UP},
    peer::Lane,
    signal::{JOIN_EXPORTER, ToMember, ToServer},
};

use crate::{
    directory::{Ask, Listed, Listing},
    feed::Feed,
    observe::{MAIN, Observers},
    stop::Stop,
};

/// Longer datagrams are nobody's; one byte more than that shows that a datagram was.
const BUFFER: usize = 2048;
/// Datagrams taken in a row before what they caused is sent.
const BURST: usize = 64;
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
    endpoint: Endpoint,
    registry: Registry,
    relay: Option<Relay>,
    /// Where signs of life come from.
    sessions: HashMap<SocketAddr, ConnId>,
    observers: Arc<Observers>,
    feed: Arc<Feed>,
    asks: mpsc::Receiver<Ask>,
}

impl Driver {
    pub(crate) fn new(
        socket: UdpSocket,
        cores: Cores,
        feed: Arc<Feed>,
        asks: mpsc::Receiver<Ask>,
        observers: Arc<Observers>,
    ) -> Self {
        let Cores { endpoint, registry, relay } = cores;
        Self { socket, endpoint, registry, relay, sessions: HashMap::new(), observers, feed, asks }
    }

    /// Serves until `stop`, then says farewell.
    pub(crate) async fn run(mut self, mut stop: Stop) -> anyhow::Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            self.drain().await?;
            let timeout = self.next_timeout();
            tokio::select! {
                ready = self.socket.readable() => {
                    ready.context("wait for datagrams")?;
                    self.receive(&mut buffer);
                }
                Some(ask) = self.asks.recv() => self.answer(ask),
                () = sleep_until(timeout) => self.handle_timeout(),
                () = stop.requested() => break,
            }
        }
        self.say_farewell(&mut buffer).await
    }

    async fn say_farewell(&mut self, buffer: &mut [u8]) -> anyhow::Result<()> {
        self.registry.close();
        let end = Instant::now() + FAREWELL;
        loop {
            self.drain().await?;
            if self.endpoint.is_idle() || Instant::now() >= end {
                return Ok(());
            }
            let timeout = self.next_timeout().map_or(end, |at| at.min(end));
            tokio::select! {
                ready = self.socket.readable() => {
                    ready.context("wait for datagrams")?;
                    self.receive(buffer);
                }
                () = sleep_until(Some(timeout)) => self.handle_timeout(),
            }
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) {
        for _ in 0..BURST {
            match self.socket.try_recv_from(buffer) {
                Ok((length, from)) => self.handle_datagram(&mut buffer[..length], from),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An ICMP error of an earlier datagram; it has been taken out of the socket by this.
                Err(error) => tracing::debug!(%error, "Could not receive a datagram"),
            }
        }
    }

    fn handle_datagram(&mut self, datagram: &mut [u8], from: SocketAddr) {
        let now = Instant::now();
        match wire::datagram::protocol(datagram) {
            Some(Protocol::Quic) => {
                if let Some(conn) = self.sessions.get(&from) {
                    self.registry.handle_alive(*conn, now);
                }
                self.endpoint.handle_datagram(from, datagram, now);
            }
            Some(Protocol::Stun) => self.observers.handle(MAIN, datagram, from),
            Some(Protocol::Punchline) if datagram[0] == RELAY_UP => self.forward(datagram, from, now),
            // Checks are between members.
            Some(Protocol::Punchline) | None => {
                tracing::trace!(%from, length = datagram.len(), "Ignored a datagram");
            }
        }
    }

    fn forward(&mut self, datagram: &mut [u8], from: SocketAddr, now: Instant) {
        let Some(relay) = &mut self.relay else { return };
        match relay.forward(from, datagram, now) {
            Ok(forwarded) => {
                for to in forwarded.to {
                    // A frame that finds no room is lost, as on the way.
                    if let Err(error) = self.socket.try_send_to(forwarded.frame, *to) {
                        tracing::debug!(%error, "Could not forward a frame");
                    }
                }
            }
            Err(why) => tracing::trace!(%from, %why, "Dropped a frame"),
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
            if let Err(error) = self.socket.send_to(&out.payload, out.to).await {
                tracing::debug!(%error, "Could not send a datagram");
            }
        }
        Ok(())
    }

    fn handle_event(&mut self, link: LinkId, event: Event) {
        let (conn, now) = (ConnId(link.0), Instant::now());
        match event {
            Event::Connected { key, kind: Kind::Signal, from, .. } => {
                let Some(exporter) = self.endpoint.export(link, JOIN_EXPORTER, &key.0) else { return };
                self.sessions.insert(from, conn);
                self.registry.handle_connected(conn, key, from, exporter, now);
            }
            Event::Message { body, .. } => match wire::decode::<ToServer>("signalling message", &body) {
                Ok(message) => self.registry.handle_message(conn, message, now),
                Err(error) => {
                    tracing::debug!(%error, "A session made no sense");
                    self.registry.handle_garbage(conn, now);
                }
            },
            Event::Moved(to) => {
                self.forget(conn);
                self.sessions.insert(to, conn);
                if let Some(relay) = &mut self.relay {
                    relay.moved(conn, to, to.ip());
                }
                self.registry.handle_moved(conn, to, now);
            }
            Event::Closed(why) => {
                tracing::debug!(%why, "A session ended");
                self.forget(conn);
                match why {
                    CloseReason::Remote { .. } => self.registry.handle_closed(conn, now),
                    _ => self.registry.handle_lost(conn, now),
                }
            }
            Event::Connected { .. } | Event::Datagram(_) | Event::Writable => {}
        }
    }

    async fn carry_out(&mut self, output: Output) -> anyhow::Result<()> {
        match output {
            Output::Seated { conn, channel, slot } => {
                if let (Some(relay), Some(at)) = (&mut self.relay, self.endpoint.remote(LinkId(conn.0))) {
                    relay.open(conn, &channel, slot, at, at.ip(), Instant::now());
                }
            }
            Output::Unseated { conn } => {
                if let Some(relay) = &mut self.relay {
                    relay.close(conn);
                }
            }
            Output::Send { conn, mut message } => {
                if let ToMember::Joined(joined) = &mut message {
                    joined.relay = self.relay.as_ref().and_then(|relay| relay.grant(conn));
                }
                let sent = self.endpoint.send_message(LinkId(conn.0), Lane::Control as u8, &wire::encode(&message));
                if let Err(error) = sent {
                    // Without this message its picture of the channel would be wrong for ever: it has to join again.
                    tracing::debug!(%error, "A member does not take what it is sent");
                    self.endpoint.close(LinkId(conn.0), registry::CloseWhy::Silent.code(), "", Instant::now());
                    self.forget(conn);
                    self.registry.handle_lost(conn, Instant::now());
                }
                // In this order, and not in one that the sessions choose: who is in the channel hears of a newcomer first.
                self.transmit().await?;
            }
            Output::Close { conn, why } => {
                self.transmit().await?; // what was said before must be on its way
                self.endpoint.close(LinkId(conn.0), why.code(), &why.to_string(), Instant::now());
                self.forget(conn);
            }
        }
        Ok(())
    }

    fn forget(&mut self, conn: ConnId) {
        let from = self.endpoint.remote(LinkId(conn.0));
        if from.is_some_and(|from| self.sessions.get(&from) == Some(&conn)) {
            from.map(|from| self.sessions.remove(&from));
        } else {
            self.sessions.retain(|_, other| *other != conn);
        }
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

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
