//! Measures what a router really does, with UDP packets and nothing else.
//!
//! That a packet does not come is never found out by waiting: one that must come is sent after it.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context, bail};

use super::{
    Lab, Mapping, Nat, SERVER, SERVER_V4, SERVER_V6, V6,
    sockets::{PATIENCE, receive, socket},
};
pub use super::{
    conduct::{Conduct, HEAD, expected_v6},
    sockets::one_way_times,
};

const SERVER_PORTS: [u16; 2] = [7001, 7002];
/// Ports that are tried when what was seen may be chance, so far from each other that other probes fit between.
const TRIES: usize = 4;
const APART: usize = 10;
/// What a silent wire costs each time: only a router that lets nothing pass is told by waiting.
const BLOCKED: Duration = Duration::from_millis(300);

/// Builds a lab with one router of a kind, which may have options, and measures it.
///
/// # Errors
/// If the lab can't be built or a packet that must come does not.
pub fn measure(prefix: &str, kind: &str) -> anyhow::Result<Conduct> {
    let separator = if kind.contains(':') { ',' } else { ':' };
    let lab = Lab::start(prefix, &format!("P={kind}{separator}hosts=2"))?;
    let nat = lab.plan.of("P")?.site.nat;
    let prober = Prober::new(&lab)?;
    let mapping = prober.mapping("P1", 5000)?;
    if mapping.kind == "blocked" {
        return Ok(Conduct { mapping: mapping.kind, blocked: prober.blocked("P1", 5006)?, ..Conduct::default() });
    }
    let maps = nat.mapping != Mapping::None;
    let inside_is_outside = if maps { lab.external("P")? } else { lab.address("P1")? };
    let independent = maps && mapping.kind == "EIM";
    Ok(Conduct {
        mapping: mapping.kind,
        filtering: prober.filtering("P1", 5001)?,
        second: if independent { prober.second(["P1", "P2"], 5002)? } else { "" },
        hairpin: if maps { prober.meets(["P1", "P2"], 5003)? } else { "" },
        unsolicited: prober.unsolicited("P1", inside_is_outside, 5004)?,
        early: if maps && mapping.ports == "kept" { prober.early("P1", inside_is_outside, 5005)? } else { "" },
        ports: mapping.ports,
        blocked: "",
    })
}

/// Builds a lab with one router that has IPv6, and measures who gets in by that.
///
/// # Errors
/// As for [`measure`].
pub fn measure_v6(prefix: &str, kind: &str) -> anyhow::Result<&'static str> {
    let lab = Lab::start(prefix, kind)?;
    let router = lab.plan.routers.values().next().context("a router")?.site.clone();
    match router.v6 {
        V6::None => Ok("none"),
        _ => Prober::new(&lab)?.filtering_v6(&format!("{}1", router.name)),
    }
}

/// The kind that a spec of one router names, with its options.
///
/// # Errors
/// If it is no kind.
pub fn nat_of(kind: &str) -> anyhow::Result<Nat> {
    let site: super::Site = format!("P={kind}").parse()?;
    Ok(site.nat)
}

/// Four sockets at the server, and the questions that they answer.
#[derive(Debug)]
pub struct Prober<'a> {
    lab: &'a Lab,
    /// By address, then by port.
    servers: Servers,
    servers_v6: Servers,
}

type Servers = [[UdpSocket; 2]; 2];

/// How a host is mapped.
#[derive(Clone, Debug)]
pub struct Mapped {
    /// EIM, ADM, APDM or blocked.
    pub kind: &'static str,
    /// kept, random, step and how far, or block.
    pub ports: String,
    /// As what the first server socket sees the host.
    pub seen: Option<SocketAddr>,
}

impl<'a> Prober<'a> {
    /// Opens the server's sockets.
    ///
    /// # Errors
    /// If they can't be opened.
    pub fn new(lab: &'a Lab) -> anyhow::Result<Self> {
        let bind = |address: IpAddr, port| socket(lab, SERVER, (address, port).into());
        let pair = |address| Ok::<_, anyhow::Error>([bind(address, SERVER_PORTS[0])?, bind(address, SERVER_PORTS[1])?]);
        let all = |[first, second]: [IpAddr; 2]| Ok::<_, anyhow::Error>([pair(first)?, pair(second)?]);
        Ok(Self { lab, servers: all(SERVER_V4.map(Into::into))?, servers_v6: all(SERVER_V6.map(Into::into))? })
    }

    /// Finds how a host's port is mapped, or another one if that one's mappings have no name: of few ports a router may choose
    /// the same one twice.
    ///
    /// # Errors
    /// If sockets fail, or some packets come and others do not.
    pub fn mapping(&self, host: &str, port: u16) -> anyhow::Result<Mapped> {
        let mut seen = String::new();
        for port in (port..=u16::MAX).step_by(APART).take(TRIES) {
            let host = self.host(host, port)?;
            let [[a, b], [c, d]] = &self.servers;
            let Some(first) = self.seen_by_within(&host, a, BLOCKED)? else {
                return Ok(Mapped { kind: "blocked", ports: String::new(), seen: None });
            };
            let [b, c, d] = [self.seen_by(&host, b)?, self.seen_by(&host, c)?, self.seen_by(&host, d)?];
            let kind = match (first == b, c == d, first == c) {
                (true, true, true) => "EIM",
                (true, true, false) => "ADM",
                (false, false, false) => "APDM",
                _ => {
                    seen = format!("{first} {b} {c} {d}");
                    continue;
                }
            };
            let ports = port_words(port, [first, b, c, d].map(|seen| seen.port()), kind);
            return Ok(Mapped { kind, ports, seen: Some(first) });
        }
        bail!("no way to map that has a name, {TRIES} times; at last {seen}")
    }

    /// Finds who gets in to a host's port.
    ///
    /// # Errors
    /// If sockets fail or nothing gets in.
    pub fn filtering(&self, host: &str, port: u16) -> anyhow::Result<&'static str> {
        self.who_gets_in(&self.host(host, port)?, &self.servers)
    }

    /// Finds who gets in to a host by IPv6.
    fn filtering_v6(&self, host: &str) -> anyhow::Result<&'static str> {
        let bind = |port| socket(self.lab, host, (Ipv6Addr::UNSPECIFIED, port).into());
        let (silent, talking) = (bind(5000)?, bind(5001)?);
        let unasked = SocketAddr::from((self.lab.address_v6(host)?, 5000));
        self.servers_v6[0][0].send_to(b"unasked", unasked).context("send to the host")?;
        // What has not come when all this has does not come.
        let filtering = self.who_gets_in(&talking, &self.servers_v6)?;
        silent.set_nonblocking(true).context("look for a packet")?;
        Ok(if silent.recv(&mut [0; 16]).is_ok() { "open" } else { filtering })
    }

    /// Finds what a host hears that sends to a server behind a router that lets no UDP pass; TCP passes.
    fn blocked(&self, host: &str, port: u16) -> anyhow::Result<&'static str> {
        let server = SocketAddr::from((SERVER_V4[0], 443));
        let (listener, at_443) = self.lab.node(SERVER)?.within(|| {
            let listener = TcpListener::bind(server).context("listen at the server")?;
            Ok((listener, UdpSocket::bind(server).context("bind at the server")?))
        })?;
        let socket = self.host(host, port)?;
        socket.connect(self.servers[0][0].local_addr().context("ask for an address")?).context("connect")?;
        socket.send(b"hello?").context("send to the server")?;
        // What comes back has come when this has.
        let connect = || TcpStream::connect_timeout(&server, PATIENCE).context("connect to the server by TCP");
        let _connected = self.lab.node(host)?.within(connect)?;
        drop(listener);
        socket.set_nonblocking(true).context("look for an answer")?;
        if socket.recv(&mut [0; 16]).is_err_and(|error| error.kind() != ErrorKind::WouldBlock) {
            return Ok("refused");
        }
        let opened = self.seen_by_within(&self.host(host, port + 100)?, &at_443, BLOCKED)?;
        Ok(if opened.is_some() { "not 443" } else { "silence" })
    }

    fn who_gets_in(&self, host: &UdpSocket, servers: &Servers) -> anyhow::Result<&'static str> {
        let [[asked, other_port], [other_address, _]] = servers;
        let seen = self.seen_by(host, asked)?;
        for (stranger, what) in [(other_address, "address"), (other_port, "port"), (asked, "asked")] {
            stranger.send_to(what.as_bytes(), seen).context("send to the host")?;
        }
        let mut got_in = Vec::new();
        while got_in.last().is_none_or(|what| what != "asked") {
            got_in.push(receive(host, PATIENCE)?.context("the answer did not come")?.0);
        }
        Ok(match got_in.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["address", "port", "asked"] => "EIF",
            ["port", "asked"] => "ADF",
            ["asked"] => "APDF",
            _ => "unheard of",
        })
    }

    /// Finds what two hosts that use the same port are mapped to.
    fn second(&self, hosts: [&str; 2], port: u16) -> anyhow::Result<&'static str> {
        let [first, second] = [self.host(hosts[0], port)?, self.host(hosts[1], port)?];
        let [[here, _], [there, _]] = &self.servers;
        let taken = self.seen_by(&first, here)?;
        // The far server first: plain Linux gives it the port that is in use towards the near one.
        let [far, near] = [self.seen_by(&second, there)?, self.seen_by(&second, here)?];
        Ok(if far == near && far != taken { "own" } else { "shared" })
    }

    /// Finds as whom a host is seen that sends to the external address of another one behind the same router or carrier.
    ///
    /// # Errors
    /// If sockets fail, or the called host is not reached by those that it has asked.
    pub fn meets(&self, [caller, called]: [&str; 2], port: u16) -> anyhow::Result<&'static str> {
        let (server, socket) = (&self.servers[0][0], self.host(called, port + 100)?);
        let outside = self.seen_by(&socket, server)?;
        let caller = self.host(caller, port)?;
        let caller_outside = self.seen_by(&caller, server)?;
        caller.send_to(b"hairpin", outside).context("send to the outside of a neighbour")?;
        // What has not come when this comes does not come: it has a longer way.
        server.send_to(b"sentinel", outside).context("send to the host")?;
        let (what, from) = receive(&socket, PATIENCE)?.context("the server's packet did not come")?;
        Ok(match what.as_str() {
            "hairpin" if from.ip() == caller_outside.ip() => "external",
            "hairpin" => "inside",
            _ => "no",
        })
    }

    fn unsolicited(&self, host: &str, outside: Ipv4Addr, port: u16) -> anyhow::Result<&'static str> {
        let stranger = socket(self.lab, SERVER, (SERVER_V4[0], 0).into())?;
        stranger.connect((outside, port)).context("connect")?;
        stranger.send(b"hello?").context("send to nobody")?;
        // What comes back from there has come when this has.
        self.seen_by(&self.host(host, port + 100)?, &self.servers[0][0])?;
        stranger.set_nonblocking(true).context("look for an answer")?;
        Ok(match stranger.recv(&mut [0; 16]) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => "refused",
            Err(error) if error.kind() == ErrorKind::WouldBlock => "silence",
            _ => "unheard of",
        })
    }

    fn early(&self, host: &str, outside: Ipv4Addr, port: u16) -> anyhow::Result<&'static str> {
        let server = &self.servers[0][0];
        server.send_to(b"early", (outside, port)).context("send early")?;
        let seen = self.seen_by(&self.host(host, port)?, server)?;
        Ok(if seen.port() == port { "harmless" } else { "remaps" })
    }

    fn host(&self, name: &str, port: u16) -> anyhow::Result<UdpSocket> {
        socket(self.lab, name, (Ipv4Addr::UNSPECIFIED, port).into())
    }

    fn seen_by(&self, host: &UdpSocket, server: &UdpSocket) -> anyhow::Result<SocketAddr> {
        self.seen_by_within(host, server, PATIENCE)?.context("a packet to the server did not come")
    }

    fn seen_by_within(
        &self,
        host: &UdpSocket,
        server: &UdpSocket,
        patience: Duration,
    ) -> anyhow::Result<Option<SocketAddr>> {
        let to = server.local_addr().context("ask for an address")?;
        host.send_to(b"who am I?", to).context("send to the server")?;
        Ok(receive(server, patience)?.map(|(_, from)| from))
    }
}

/// How the external ports of one inside port are given, as they were seen one after the other.
fn port_words(inside: u16, seen: [u16; 4], kind: &str) -> String {
    let steps: Vec<_> = seen.windows(2).map(|two| i32::from(two[1]) - i32::from(two[0])).collect();
    let is_apart = kind == "APDM";
    if seen[0] == inside {
        "kept".into()
    } else if is_apart && steps.iter().all(|step| *step == steps[0] && (1..=64).contains(step)) {
        format!("step {}", steps[0])
    } else if is_apart && seen.iter().all(|port| port / 512 == seen[0] / 512) {
        "block".into()
    } else {
        "random".into()
    }
}

#[cfg(test)]
mod tests {
    use super::port_words;

    #[test]
    fn ports_are_named_by_what_is_seen_of_them() {
        assert_eq!(port_words(5000, [5000; 4], "EIM"), "kept");
        assert_eq!(port_words(5000, [6000; 4], "EIM"), "random");
        assert_eq!(port_words(5000, [6000, 6003, 6006, 6009], "APDM"), "step 3");
        assert_eq!(port_words(5000, [20_600, 20_481, 20_991, 20_700], "APDM"), "block");
        assert_eq!(port_words(5000, [20_600, 20_481, 20_992, 20_700], "APDM"), "random");
    }
}
