//! What the loop does with the tunnel: opens it when the mesh asks, carries datagrams, closes it.

use std::{net::SocketAddr, time::Instant};

use bytes::Bytes;

use crate::{
    driver::Driver,
    net::tunnel::{Progress, Tunnel},
};

impl Driver {
    /// The mesh wants a tunnel, or no more.
    pub(crate) fn want_tunnel(&mut self, wanted: bool) {
        if !wanted {
            self.tunnel = None;
            return;
        }
        let Some((host, port)) = self.parts.known_server.http() else { return };
        let to = SocketAddr::new(self.parts.mesh.server().ip(), port);
        match Tunnel::open(to, host, Instant::now(), self.parts.poll.registry()) {
            Ok(tunnel) => self.tunnel = Some(tunnel),
            Err(error) => self.close_tunnel(&error),
        }
    }

    /// Goes on with the tunnel: something has come, there is room, or time has passed.
    pub(crate) fn handle_tunnel(&mut self) {
        let now = Instant::now();
        let Some(tunnel) = &mut self.tunnel else { return };
        match tunnel.progress(now) {
            Ok(Progress::Opened) => self.parts.mesh.tunnel_opened(now),
            Ok(Progress::Waiting) => {}
            Err(error) => return self.close_tunnel(&error),
        }
        loop {
            match self.tunnel.as_mut().map(Tunnel::receive) {
                Some(Ok(Some(datagram))) => {
                    let from = self.parts.mesh.server();
                    self.parts.mesh.handle_datagram(mesh::TUNNEL, from, &datagram, Instant::now());
                    self.drain();
                }
                Some(Err(error)) => return self.close_tunnel(&error),
                Some(Ok(None)) | None => return,
            }
        }
    }

    pub(crate) fn send_by_tunnel(&mut self, datagram: Bytes, now: Instant) {
        if let Some(Err(error)) = self.tunnel.as_mut().map(|tunnel| tunnel.send(datagram, now)) {
            self.close_tunnel(&error);
        }
    }

    pub(crate) fn close_tunnel(&mut self, error: &anyhow::Error) {
        tracing::debug!("{error:#}");
        self.tunnel = None;
        self.parts.mesh.tunnel_closed(&format!("{error:#}"), Instant::now());
    }
}
