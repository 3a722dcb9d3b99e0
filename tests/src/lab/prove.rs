//! Measures what a router really does, with UDP packets and nothing else.
//!
//! That a packet does not come is never found out by waiting: one that must come is sent after it.

use std::{
    fmt,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use socket2::{Domain, Socket, Type};

use super::{Filtering, Lab, Mapping, Nat, Ports, SERVER, SERVER_V4};

const SERVER_PORTS: [u16; 2] = [7001, 7002];
/// A packet that is due is there long before.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a silent wire costs each time: only a router that lets nothing pass is told by waiting.
const BLOCKED: Duration = Duration::from_millis(300);

/// What is seen of a router, or expected of it; one word for each question.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Conduct {
    /// On what the external port depends: EIM, ADM, APDM, or blocked.
    pub mapping: &'static str,
    /// Who gets in: EIF, ADF, APDF.
    pub filtering: &'static str,
    /// Whether ports stay: kept, random, sequence.
    pub ports: &'static str,
    /// What a second host with the same inside port gets: own, shared.
    pub second: &'static str,
    /// As whom hosts reach each other by external addresses: no, external, inside.
    pub hairpin: &'static str,
    /// What becomes of a packet that nobody asked for: silence, refused.
    pub unsolicited: &'static str,
    /// What a packet does that comes before the host has sent there: harmless, remaps.
    pub early: &'static str,
}

impl Conduct {
    /// What a router should do, by what it is.
    pub fn expected(nat: &Nat) -> Self {
        if !nat.udp {
            return Self { mapping: "blocked", ..Self::default() };
        }
        let keeps = nat.ports == Ports::Keep;
        let maps = nat.mapping != Mapping::None;
        Self {
            mapping: match nat.mapping {
                Mapping::None | Mapping::Linux | Mapping::Endpoint => "EIM",
                Mapping::Address => "ADM",
                Mapping::AddressAndPort => "APDM",
            },
            filtering: match nat.filtering {
                Filtering::Open | Filtering::Endpoint => "EIF",
                Filtering::Address => "ADF",
                Filtering::AddressAndPort => "APDF",
            },
            ports: match nat.ports {
                Ports::Keep => "kept",
                Ports::Random => "random",
                Ports::Sequence => "sequence",
            },
            second: match nat.mapping {
                Mapping::Endpoint => "own",
                Mapping::Linux => "shared",
                _ => "",
            },
            hairpin: match (maps, nat.hairpin) {
                (false, _) => "",
                (true, false) => "no",
                (true, true) => "external",
            },
            unsolicited: if nat.input_open { "refused" } else { "silence" },
            early: match (maps && keeps, nat.input_open) {
                (false, _) => "",
                (true, false) => "harmless",
                (true, true) => "remaps",
            },
        }
    }
}

impl fmt::Display for Conduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mapping, filtering, ports, second, hairpin, unsolicited, early } = self;
        write!(
            f,
            "{mapping:<8}{filtering:<6}{ports:<9}{second:<7}{hairpin:<9}{unsolicited:<8} {early}",
            second = dash(second),
            hairpin = dash(hairpin),
            filtering = dash(filtering),
            ports = dash(ports),
            unsolicited = dash(unsolicited),
            early = dash(early),
        )
    }
}

/// The head of a table of [`Conduct`]s.
pub const HEAD: &str = "mapping filt. ports    second hairpin  unsolic. early";

fn dash(word: &str) -> &str {
    if word.is_empty() { "-" } else { word }
}

/// Builds a lab with one router of a kind, and measures it.
///
/// # Errors
/// If the lab can't be built or a packet that must come does not.
pub fn measure(prefix: &str, kind: &str) -> anyhow::Result<Conduct> {
    let lab = Lab::start(prefix, &format!("P={kind}:hosts=2"))?;
    let nat = Nat::named(kind).with_context(|| format!("there is no kind {kind}"))?;
    let prober = Prober::new(&lab)?;
    let mapping = prober.mapping("P1", 5000)?;
    if mapping.kind == "blocked" {
        return Ok(Conduct { mapping: mapping.kind, ..Conduct::default() });
    }
    let maps = nat.mapping != Mapping::None;
    let inside_is_outside = if maps { lab.external("P")? } else { lab.address("P1")? };
    let independent = maps && mapping.kind == "EIM";
    Ok(Conduct {
        mapping: mapping.kind,
        filtering: prober.filtering("P1", 5001)?,
        ports: mapping.ports,
        second: if independent { prober.second(["P1", "P2"], 5002)? } else { "" },
        hairpin: if maps { prober.meets(["P1", "P2"], 5003)? } else { "" },
        unsolicited: prober.unsolicited("P1", inside_is_outside, 5004)?,
        early: if maps && mapping.ports == "kept" { prober.early("P1", inside_is_outside, 5005)? } else { "" },
    })
}

/// Four sockets at the server, and the questions that they answer.
#[derive(Debug)]
pub struct Prober<'a> {
    lab: &'a Lab,
    /// By address, then by port.
    servers: [[UdpSocket; 2]; 2],
}

/// How a host is mapped.
#[derive(Clone, Copy, Debug)]
pub struct Mapped {
    /// EIM, ADM, APDM or blocked.
    pub kind: &'static str,
    /// kept, random or sequence.
    pub ports: &'static str,
    /// As what the first server socket sees the host.
    pub seen: Option<SocketAddr>,
}

impl<'a> Prober<'a> {
    /// Opens the server's sockets.
    ///
    /// # Errors
    /// If they can't be opened.
    pub fn new(lab: &'a Lab) -> anyhow::Result<Self> {
        let bind = |address: Ipv4Addr, port| socket(lab, SERVER, (address, port).into());
        let pair = |address| Ok::<_, anyhow::Error>([bind(address, SERVER_PORTS[0])?, bind(address, SERVER_PORTS[1])?]);
        Ok(Self { lab, servers: [pair(SERVER_V4[0])?, pair(SERVER_V4[1])?] })
    }

    /// Finds how a host's port is mapped.
    ///
    /// # Errors
    /// If sockets fail, or some packets come and others do not.
    pub fn mapping(&self, host: &str, port: u16) -> anyhow::Result<Mapped> {
        let host = self.host(host, port)?;
        let [[a, b], [c, d]] = &self.servers;
        let Some(first) = self.seen_by_within(&host, a, BLOCKED)? else {
            return Ok(Mapped { kind: "blocked", ports: "", seen: None });
        };
        let [b, c, d] = [self.seen_by(&host, b)?, self.seen_by(&host, c)?, self.seen_by(&host, d)?];
        let kind = match (first == b, c == d, first == c) {
            (true, true, true) => "EIM",
            (true, true, false) => "ADM",
            (false, false, false) => "APDM",
            _ => bail!("no way to map that has a name: {first} {b} {c} {d}"),
        };
        let all = [first, b, c, d].map(|seen| i32::from(seen.port()));
        let ports = if first.port() == port {
            "kept"
        } else if kind == "APDM" && all.windows(2).all(|two| two[1] - two[0] == 1) {
            "sequence"
        } else {
            "random"
        };
        Ok(Mapped { kind, ports, seen: Some(first) })
    }

    /// Finds who gets in to a host's port.
    ///
    /// # Errors
    /// If sockets fail or nothing gets in.
    pub fn filtering(&self, host: &str, port: u16) -> anyhow::Result<&'static str> {
        let host = self.host(host, port)?;
        let [[asked, other_port], [other_address, _]] = &self.servers;
        let seen = self.seen_by(&host, asked)?;
        for (stranger, what) in [(other_address, "address"), (other_port, "port"), (asked, "asked")] {
            stranger.send_to(what.as_bytes(), seen).context("send to the host")?;
        }
        let mut got_in = Vec::new();
        while got_in.last().is_none_or(|what| what != "asked") {
            got_in.push(receive(&host, PATIENCE)?.context("the answer did not come")?.0);
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

/// How late a wire's packets are: sends one per millisecond from a host to the server, and gives the sorted times.
///
/// # Errors
/// If sockets fail.
pub fn one_way_times(lab: &Lab, host: &str, packets: u32) -> anyhow::Result<Vec<Duration>> {
    let from = socket(lab, host, (Ipv4Addr::UNSPECIFIED, 0).into())?;
    let to = socket(lab, SERVER, (SERVER_V4[0], 7100).into())?;
    let address = to.local_addr().context("ask for an address")?;
    let start = Instant::now();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            let mut times = Vec::new();
            let mut patience = PATIENCE;
            while let Some((text, _)) = receive(&to, patience)? {
                let sent = Duration::from_nanos(text.parse().context("a time")?);
                times.push(start.elapsed().saturating_sub(sent));
                patience = Duration::from_millis(500);
                if times.len() == packets as usize {
                    break;
                }
            }
            times.sort();
            Ok(times)
        });
        for n in 0..packets {
            let due = Duration::from_millis(n.into());
            std::thread::sleep(due.saturating_sub(start.elapsed()));
            let now = start.elapsed().as_nanos();
            from.send_to(now.to_string().as_bytes(), address).context("send to the server")?;
        }
        receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn socket(lab: &Lab, node: &str, address: SocketAddr) -> anyhow::Result<UdpSocket> {
    let bind = || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        // A port is free again only when no other thread is about to start a program, which holds it for a moment.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        Ok::<_, std::io::Error>(socket.into())
    };
    lab.node(node)?.within(|| bind().with_context(|| format!("bind {address} in {node}")))
}

fn receive(socket: &UdpSocket, patience: Duration) -> anyhow::Result<Option<(String, SocketAddr)>> {
    socket.set_read_timeout(Some(patience)).context("set a timeout")?;
    let mut buffer = [0; 64];
    match socket.recv_from(&mut buffer) {
        Ok((len, from)) => Ok(Some((String::from_utf8_lossy(&buffer[..len]).into_owned(), from))),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error).context("receive"),
    }
}
