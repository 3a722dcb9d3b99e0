//! One who joins a rendezvous, without a puncher around it.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use identity::Identity;
use link::{Accept, Config, Endpoint, Event, Kind, LinkId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wire::{
    peer::Lane,
    signal::{Join, Joined, ToMember, ToServer},
};

use super::program::PATIENCE;

/// As long as a sealed card with four addresses in it.
const CARD: usize = 150;

/// One who joins.
pub(super) struct Caller {
    pub(super) socket: UdpSocket,
    endpoint: Endpoint,
    link: LinkId,
    channel: String,
    name: String,
    /// What it was told when it had joined.
    pub(super) joined: Option<Joined>,
}

impl Caller {
    /// Opens a session, and will ask to join.
    pub(super) fn start(server: SocketAddr, channel: String, name: String) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("bind a client")?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        let (identity, now) = (Identity::generate(), Instant::now());
        let config = Config { identity: &identity, seed: edge::random()?, accept: Accept::None };
        let mut endpoint = Endpoint::new(config, now);
        let link = endpoint.connect(Kind::Signal, server, None, now).context("open a session")?;
        let mut caller = Self { socket, endpoint, link, channel, name, joined: None };
        caller.transmit()?;
        Ok(caller)
    }

    /// Takes what has come, and answers.
    pub(super) fn turn(&mut self, server: SocketAddr) -> Result<()> {
        let mut buffer = [0; 2048];
        while let Ok(len) = self.socket.recv(&mut buffer) {
            self.endpoint.handle_datagram(server, &buffer[..len], Instant::now());
        }
        if self.endpoint.poll_timeout().is_some_and(|due| due <= Instant::now()) {
            self.endpoint.handle_timeout(Instant::now());
        }
        while let Some((_, event)) = self.endpoint.poll_event() {
            self.handle(event)?;
        }
        self.transmit()
    }

    fn handle(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Connected { .. } => {
                let join = Join {
                    version: wire::VERSION,
                    channel: self.channel.clone(),
                    name: self.name.clone(),
                    proof: None,
                    card: vec![0; CARD],
                    hidden: false,
                };
                let message = wire::encode(&ToServer::Join(join));
                self.endpoint.send_message(self.link, Lane::Control as u8, &message).context("ask to join")
            }
            Event::Message { body, .. } => match wire::decode("message of a rendezvous", &body)? {
                ToMember::Joined(joined) => {
                    self.joined = Some(joined);
                    Ok(())
                }
                ToMember::Refused(refusal) => Err(refusal.into()),
                _ => Ok(()),
            },
            Event::Closed(why) => bail!("a session ended: {why}"),
            _ => Ok(()),
        }
    }

    fn transmit(&mut self) -> Result<()> {
        while let Some(out) = self.endpoint.poll_transmit(Instant::now()) {
            self.socket.send(&out.payload).context("send to the rendezvous")?;
        }
        Ok(())
    }
}

/// Waits until all have joined.
pub(super) fn until_joined(callers: &mut [Caller]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while callers.iter().any(|caller| caller.joined.is_none()) {
        ensure!(Instant::now() < deadline, "not everybody could join in time");
        let mut watched: Vec<_> = callers.iter().map(|caller| PollFd::new(&caller.socket, PollFlags::IN)).collect();
        // Timers of sessions are no more exact than that.
        poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 5_000_000 })).context("wait for the rendezvous")?;
        for caller in callers.iter_mut() {
            let server = caller.socket.peer_addr()?;
            caller.turn(server)?;
        }
    }
    Ok(())
}
