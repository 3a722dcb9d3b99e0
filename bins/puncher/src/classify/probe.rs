use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use edge::{Exit, WithExit};
use nat::{Classifier, Config, Event, NatFacts, Sample};

use crate::{
    drive::{Core, Unsent, drive},
    net::socket::{self, Udp},
};

/// The classifier gives up by itself long before.
const LIMIT: Duration = Duration::from_secs(10);

/// What was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// The address of the rendezvous that was asked.
    pub(crate) server: SocketAddr,
    /// The socket's local port.
    pub(crate) port: u16,
    pub(crate) facts: NatFacts,
    pub(crate) samples: Vec<Sample>,
    /// Who was asked and did not answer.
    pub(crate) silent: Vec<SocketAddr>,
    /// What the system did not let out.
    pub(crate) unsent: Vec<Unsent>,
    pub(crate) rtt: Option<Duration>,
    pub(crate) took: Duration,
}

/// Finds the addresses of the STUN servers that somebody named; who is not found is not asked.
pub(crate) fn observers(named: &[String]) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for name in named {
        // Where a name has several addresses, one of each family is enough.
        match edge::parse_server(name).map_err(anyhow::Error::from).and_then(|server| server.resolve()) {
            Ok(addrs) => found.extend(
                [SocketAddr::is_ipv4, SocketAddr::is_ipv6]
                    .iter()
                    .filter_map(|is_family| addrs.iter().copied().find(is_family)),
            ),
            Err(error) => tracing::warn!("the STUN server {name} is not asked: {error:#}"),
        }
    }
    found
}

/// The address of each family by which a server is asked, the first for everything.
pub(crate) fn choose(addrs: &[SocketAddr]) -> Option<(SocketAddr, Option<SocketAddr>)> {
    let canonical = |addr: &SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
    let find = |v4: bool| addrs.iter().map(canonical).find(|addr| addr.is_ipv4() == v4);
    match (find(true), find(false)) {
        (Some(v4), v6) => Some((v4, v6)),
        (None, v6) => Some((v6?, None)),
    }
}

/// Asks a rendezvous at its addresses, and others, from a socket of its own.
pub(crate) fn probe(addrs: &[SocketAddr], others: &[SocketAddr], bind: Option<SocketAddr>) -> anyhow::Result<Found> {
    let (server, by_v6) = choose(addrs).ok_or_else(|| anyhow!("the server has no address")).exit(Exit::NoHost)?;
    let mut udp = Udp::bind(bind)?;
    let local = udp.local();
    let hosts = socket::host_candidates(local, true);
    let config = Config {
        server,
        port: local.port(),
        local: hosts.iter().map(|host| host.addr.ip()).collect(),
        observers: by_v6.into_iter().chain(others.iter().copied()).collect(),
        spare: true,
        seed: edge::random()?,
    };
    let start = Instant::now();
    let mut probe = Probe { classifier: Classifier::new(config, start), is_done: false };
    let unsent = drive(&mut udp, &mut probe, LIMIT).context("ask what this host's router does")?;
    let classifier = probe.classifier;
    Ok(Found {
        server,
        port: local.port(),
        facts: classifier.facts(),
        samples: classifier.samples().collect(),
        silent: classifier.silent().collect(),
        unsent,
        rtt: classifier.rtt(),
        took: start.elapsed(),
    })
}

struct Probe {
    classifier: Classifier,
    is_done: bool,
}

impl Core for Probe {
    fn poll_transmit(&mut self, _now: Instant) -> Option<(SocketAddr, Vec<u8>)> {
        self.classifier.poll_transmit().map(|out| (out.to, out.payload))
    }

    fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        if let Err(reason) = self.classifier.handle_input(from, datagram, now) {
            tracing::debug!(%from, %reason, "ignored a datagram");
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.classifier.handle_timeout(now);
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.classifier.poll_timeout()
    }

    fn is_done(&mut self) -> bool {
        while let Some(event) = self.classifier.poll_event() {
            self.is_done |= event == Event::Done;
        }
        self.is_done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_by_ipv4_first_for_that_is_where_routers_translate() {
        let [v4, mapped, v6] = ["192.0.2.1:1", "[::ffff:192.0.2.1]:1", "[2001:db8::1]:1"]
            .map(|text| text.parse::<SocketAddr>().expect("an address"));
        assert_eq!(choose(&[v6, v4]), Some((v4, Some(v6))));
        assert_eq!(choose(&[mapped]), Some((v4, None)));
        assert_eq!(choose(&[v6]), Some((v6, None)));
        assert_eq!(choose(&[]), None);
    }
}
