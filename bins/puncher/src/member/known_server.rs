//! The rendezvous as this person knows it: where it is, which key it showed, what the channel's secret is made of there.

use std::{
    fmt,
    net::SocketAddr,
    sync::mpsc::{Receiver, TryRecvError, channel},
};

use anyhow::{Context, anyhow};
use edge::{Exit, KnownServers, ServerAddr, WithExit};
use identity::ChannelSecret;
use mesh::Secret;
use wire::IdentityKey;

use super::{SecretSource, writer::Writer};

/// The rendezvous as this person knows it, or that there is none.
pub(crate) struct KnownServer {
    server: Option<ServerAddr>,
    /// What it is to a person, before its address.
    what: &'static str,
    /// What people are pinned under: the server, or, where nobody named one, the one that the channel belongs to.
    realm: String,
    addrs: Vec<SocketAddr>,
    next: usize,
    /// What its name stands for by now, once the system has said it.
    lookup: Option<Receiver<Vec<SocketAddr>>>,
    known: KnownServers,
    channel: String,
    secret: SecretSource,
}

impl KnownServer {
    /// Finds the server's addresses. If that fails, it is a server without addresses to who has other ways in.
    pub(crate) fn resolve(
        server: Option<ServerAddr>,
        what: &'static str,
        channel: &str,
        secret: SecretSource,
        has_other_ways: bool,
    ) -> anyhow::Result<Self> {
        let found = server.as_ref().map_or(Ok(Vec::new()), ServerAddr::resolve);
        let addrs = match found {
            Err(error) if has_other_ways => {
                tracing::warn!(error = format!("{error:#}"), "members are asked instead");
                Vec::new()
            }
            found => found?,
        };
        let addrs = canonical(addrs);
        let (known, channel) = (KnownServers::of_user()?, channel.to_owned());
        let realm = server.as_ref().map(ToString::to_string).unwrap_or_default();
        if server.is_none() && matches!(secret, SecretSource::Password(_)) {
            let error = anyhow!("the password of a channel goes together with its server: give --server HOST, too");
            return Err(error).exit(Exit::Usage);
        }
        Ok(Self { server, what, realm, addrs, next: 0, lookup: None, known, channel, secret })
    }

    /// What people are pinned under.
    pub(crate) fn realm(&self) -> &str {
        &self.realm
    }

    /// How the HTTP server there calls itself, and its port.
    pub(crate) fn http(&self) -> Option<(&str, u16)> {
        self.server.as_ref().map(|server| (server.host.as_str(), server.http_port))
    }

    /// Address by address, round and round; after each round the name is looked up anew, for the server may have moved.
    pub(crate) fn next_addr(&mut self) -> Option<SocketAddr> {
        self.take_found();
        if self.next > 0 && self.next.is_multiple_of(self.addrs.len().max(1)) {
            self.look_up();
        }
        let addr = self.addrs.get(self.next % self.addrs.len().max(1)).copied();
        self.next += 1;
        addr
    }

    /// Asks the system, which may take long, without waiting for it.
    fn look_up(&mut self) {
        let Some(server) = self.server.clone().filter(|_| self.lookup.is_none()) else { return };
        let (tell, found) = channel();
        let ask = move || match server.resolve() {
            // Nobody wants to know it any more if the program has ended.
            Ok(addrs) => drop(tell.send(canonical(addrs))),
            Err(error) => tracing::debug!("{error:#}"),
        };
        match std::thread::Builder::new().name("lookup".into()).spawn(ask) {
            Ok(_) => self.lookup = Some(found),
            Err(error) => tracing::debug!(%error, "The rendezvous' name is not looked up anew"),
        }
    }

    fn take_found(&mut self) {
        match self.lookup.as_ref().map(Receiver::try_recv) {
            None | Some(Err(TryRecvError::Empty)) => return,
            Some(Ok(addrs)) if !addrs.is_empty() => self.addrs = addrs,
            // Those of before may still hold.
            Some(Ok(_) | Err(TryRecvError::Disconnected)) => {}
        }
        self.lookup = None;
    }

    /// All of them.
    pub(crate) fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The key that this server showed before.
    pub(crate) fn key(&self) -> anyhow::Result<Option<IdentityKey>> {
        self.server.as_ref().map_or(Ok(None), |server| self.known.key(server))
    }

    /// Keeps the key that the server showed for the first time. Where a member says which server the channel belongs to, that
    /// is taken as the name of the channel's people and no further: it is not a key that the server has shown.
    pub(crate) fn remember(&mut self, key: &IdentityKey, writer: &Writer) -> anyhow::Result<()> {
        let Some(server) = &self.server else {
            self.realm = self.known.name_of(key)?.unwrap_or_else(|| key.to_string());
            return Ok(());
        };
        let (known, server, key) = (self.known.clone(), server.clone(), *key);
        writer.write(self.known.path(), move || known.remember(&server, &key));
        Ok(())
    }

    /// What to say of a server that showed another key than the one known.
    pub(crate) fn changed_key(&self) -> anyhow::Error {
        match &self.server {
            Some(server) => self.known.changed(server),
            None => anyhow!("the channel belongs to another server than before"),
        }
    }

    /// Makes the secret that the server's key goes into.
    pub(crate) fn channel_secret(&self, server: IdentityKey) -> anyhow::Result<ChannelSecret> {
        match &self.secret {
            SecretSource::Open => Ok(ChannelSecret::open(&server, &self.channel)),
            SecretSource::Invite(secret) => Ok(ChannelSecret::from_invite(secret)),
            SecretSource::Password(password) => ChannelSecret::from_password(&server, &self.channel, password)
                .map_err(|error| anyhow!("{error}"))
                .context("make the channel's secret from the password"),
        }
    }

    pub(crate) fn secret_for_mesh(&self) -> Secret {
        self.secret.for_mesh()
    }
}

/// Addresses as the socket tells them.
pub(crate) fn canonical(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    addrs.into_iter().map(|addr| SocketAddr::new(addr.ip().to_canonical(), addr.port())).collect()
}

impl fmt::Display for KnownServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            Some(server) => write!(f, "{} {server}", self.what),
            None => write!(f, "the channel {}", edge::Remote(&self.channel).show()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn known(name: &str, addrs: &[&str]) -> KnownServer {
        KnownServer {
            server: Some(edge::parse_server(name).expect("a server")),
            what: "the rendezvous",
            realm: name.to_owned(),
            addrs: addrs.iter().map(|addr| addr.parse().expect("an address")).collect(),
            next: 0,
            lookup: None,
            known: KnownServers::at("unused".as_ref()),
            channel: "lobby".to_owned(),
            secret: SecretSource::Open,
        }
    }

    #[test]
    fn a_server_that_does_not_answer_is_asked_where_its_name_is_by_then() {
        let mut server = known("localhost:7", &["192.0.2.1:7", "192.0.2.2:7"]);
        let old = [(); 2].map(|()| server.next_addr().expect("an address").to_string());
        assert_eq!(old, ["192.0.2.1:7", "192.0.2.2:7"]);

        let begun = Instant::now();
        while !server.next_addr().expect("an address").ip().is_loopback() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the system does not say where localhost is");
        }
    }

    #[test]
    fn a_name_that_stands_for_nothing_leaves_what_was_known() {
        for says_nothing in [true, false] {
            let mut server = known("localhost:7", &["192.0.2.1:7"]);
            let (tell, found) = channel();
            if !says_nothing {
                tell.send(vec![]).expect("it is waited for");
            }
            drop(tell);
            server.lookup = Some(found);
            assert_eq!(server.next_addr().map(|addr| addr.to_string()).as_deref(), Some("192.0.2.1:7"));
            assert!(server.lookup.is_none());
        }
    }
}
