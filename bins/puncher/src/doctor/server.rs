//! What the rendezvous is like.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use edge::{Exit, KnownServers, ServerAddr, doctor::Check};
use identity::Identity;
use link::{Accept, Endpoint, Event, Kind};
use wire::IdentityKey;

use crate::{
    classify::Found,
    drive::{Core, drive},
    events::millis,
    net::socket::Udp,
};

/// A session that is not there by then does not come.
const SESSION_LIMIT: Duration = Duration::from_secs(2);
const HTTP_LIMIT: Duration = Duration::from_secs(1);
/// Messages are ordered by clocks; this much is not seen.
const CLOCK_LIMIT: u64 = 60;

pub(super) fn name(server: &ServerAddr, resolved: &anyhow::Result<Vec<SocketAddr>>) -> Check {
    const NAME: &str = "server name";
    match resolved {
        Ok(addrs) => {
            let addrs: Vec<_> = addrs.iter().map(|addr| addr.ip().to_canonical().to_string()).collect();
            Check::ok(NAME, format!("{} is {}", server.host, addrs.join(", ")))
        }
        Err(error) => Check::fail(
            NAME,
            Exit::NoHost,
            format!("{error:#}; is it spelled right, and does this machine's DNS work?"),
        ),
    }
}

/// How many of these places have answered.
fn answers(found: &Found, is_wanted: impl Fn(&SocketAddr) -> bool) -> usize {
    found.samples.iter().filter(|sample| is_wanted(&sample.seen.by)).count()
}

/// Whether the server's own port answers.
pub(super) fn udp(found: &Found) -> Check {
    const NAME: &str = "UDP";
    match (answers(found, |by| *by == found.server) > 0, found.rtt) {
        (true, Some(rtt)) => Check::ok(NAME, format!("{} answers after {} ms", found.server, millis(rtt))),
        (true, None) => Check::warn(NAME, format!("{} answers, but packets were lost", found.server)),
        (false, _) => {
            let text = format!(
                "{} does not answer; either no rendezvous runs there, or a firewall on the way lets no UDP through",
                found.server
            );
            Check::fail(NAME, Exit::Unavailable, text)
        }
    }
}

/// Whether the ports beside it answer, too.
pub(super) fn neighbours(found: &Found) -> Check {
    const NAME: &str = "STUN ports";
    let port = found.server.port();
    let answered = answers(found, |by| by.ip() == found.server.ip() && by.port() > port);
    let needed = usize::from(nat::NEIGHBOURS);
    if answered == 0 && answers(found, |by| *by == found.server) == 0 {
        return Check::warn(NAME, "not known, for the server does not answer at all");
    }
    if answered >= needed {
        return Check::ok(NAME, format!("{answered} of {needed} next to port {port} answer"));
    }
    let (first, last) = (port.saturating_add(1), port.saturating_add(nat::NEIGHBOURS));
    Check::warn(
        NAME,
        format!("{answered} of {needed} answer; open UDP {first}-{last} at the server, so that routers are told apart"),
    )
}

/// Whether the server is the one that it was.
pub(super) fn key(server: &ServerAddr, at: SocketAddr, bind: Option<SocketAddr>) -> anyhow::Result<Check> {
    const NAME: &str = "server key";
    let known = KnownServers::of_user()?;
    Ok(match (session_key(at, bind)?, known.key(server)?) {
        (None, _) => {
            let text =
                format!("{at} opens no session within {} s; does a rendezvous run there?", SESSION_LIMIT.as_secs());
            Check::fail(NAME, Exit::Unavailable, text)
        }
        (Some(key), None) => Check::ok(NAME, format!("{} (not met before)", key.short())),
        (Some(key), Some(before)) if key == before => Check::ok(NAME, format!("{}, as before", key.short())),
        (Some(_), Some(_)) => Check::fail(NAME, Exit::Protocol, known.changed(server).to_string()),
    })
}

fn session_key(at: SocketAddr, bind: Option<SocketAddr>) -> anyhow::Result<Option<IdentityKey>> {
    // Nobody needs to know who looks.
    let identity = Identity::generate();
    let now = Instant::now();
    let config = link::Config { identity: &identity, seed: edge::random()?, accept: Accept::None };
    let mut asker = Asker { endpoint: Endpoint::new(config, now), key: None, is_over: false };
    let mut udp = Udp::bind(bind)?;
    if let Err(error) = asker.endpoint.connect(Kind::Signal, at, None, now) {
        tracing::debug!(%error, "no session");
        return Ok(None);
    }
    drive(&mut udp, &mut asker, SESSION_LIMIT)?;
    Ok(asker.key)
}

/// Opens a session, and looks no further than at the key.
struct Asker {
    endpoint: Endpoint,
    key: Option<IdentityKey>,
    is_over: bool,
}

impl Core for Asker {
    fn poll_transmit(&mut self, now: Instant) -> Option<(SocketAddr, Vec<u8>)> {
        self.endpoint.poll_transmit(now).map(|out| (out.to, out.payload.to_vec()))
    }

    fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        self.endpoint.handle_datagram(from, datagram, now);
        while let Some((_, event)) = self.endpoint.poll_event() {
            match event {
                Event::Connected { key, .. } => {
                    self.key = Some(key);
                    self.endpoint.close_all(0, "only looked", now);
                }
                Event::Closed(_) => self.is_over = true,
                _ => {}
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.endpoint.poll_timeout()
    }

    fn is_done(&mut self) -> bool {
        self.is_over || self.key.is_some()
    }
}

/// Compares this machine's clock with the server's, which its HTTP interface tells.
pub(super) fn clock(server: &ServerAddr) -> Check {
    const NAME: &str = "clock";
    let Some(theirs) = server_time(server) else {
        return Check::ok(NAME, format!("not compared: {} does not answer there", server.http_url()));
    };
    let ours = edge::unix_millis() / 1000;
    match ours.abs_diff(theirs) {
        off if off <= CLOCK_LIMIT => Check::ok(NAME, "as the server's"),
        off => Check::warn(
            NAME,
            format!("{off} s off the server's; set it (timedatectl set-ntp true), for texts are ordered by it"),
        ),
    }
}

/// Seconds since 1970 at the server.
fn server_time(server: &ServerAddr) -> Option<u64> {
    let addr = server.resolve_http().ok()?.into_iter().next()?;
    let mut stream = TcpStream::connect_timeout(&addr, HTTP_LIMIT).ok()?;
    stream.set_read_timeout(Some(HTTP_LIMIT)).ok()?;
    let request = format!("GET /api/time HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.http_authority());
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).ok()?;
    time_in(std::str::from_utf8(&answer).ok()?)
}

/// The time in an answer of `/api/time`.
fn time_in(answer: &str) -> Option<u64> {
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let json: serde_json::Value = serde_json::from_str(body.get(body.find('{')?..=body.rfind('}')?)?).ok()?;
    Some(json.get("time")?.as_f64()? as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_read_whatever_else_is_answered() {
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n16\r\n{\"time\":1700000000.75}\r\n0\r\n\r\n";
        assert_eq!(time_in(answer), Some(1_700_000_000));
        for bad in ["", "HTTP/1.1 404 Not Found\r\n\r\n", "\r\n\r\n}{", "\r\n\r\n{\"time\":\"late\"}"] {
            assert_eq!(time_in(bad), None, "{bad:?}");
        }
    }
}
