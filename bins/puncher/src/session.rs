//! The three ways to become a member, as one: put the parts together and run the loop.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

use anyhow::{Context, anyhow};
use edge::{Common, Exit, KnownServers, Remote, ServerAddr, WithExit, ready::Ready, settings::Settings};
use mesh::{Config, Mesh, Observe, Relaying, Via};
use mio::Poll;
use wire::{
    RunId,
    peer::Lane,
    signal::{Candidate, CandidateKind},
};

use crate::{
    args::{Dial, Join, Listen, Member, PipeLane, Switch, Trust},
    classify,
    driver::{Driver, Ending, Parts},
    events::{Events, Line, key_text},
    local::{
        agents::Agents,
        child::{Program, Signals},
        pipe::{self, Pipe},
    },
    member::{self, KnownServer, SecretSource, pins::Pins, remembered::Remembered, tickets::Tickets, writer::Writer},
    net::{
        router::Router,
        socket::{self, Udp},
    },
};

/// Where nobody is asked.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// What differs between joining, listening and dialling.
struct Way<'a> {
    channel: &'a str,
    server: Option<ServerAddr>,
    /// What that is to a person.
    what: &'static str,
    /// Members who may let this one in.
    via: Vec<SocketAddr>,
    /// Where members were reached earlier, and will be reached.
    remembered: Option<Remembered>,
    bind: Option<SocketAddr>,
    retry: bool,
    introduce: bool,
    /// Whether `server` may be reached over TCP, too: a member can't.
    has_http: bool,
}

/// `puncher join`.
pub(crate) fn join(args: &Join, common: &Common) -> anyhow::Result<Ending> {
    let settings = Settings::load()?;
    let has_server = args.via.is_empty() || args.server.is_some() || settings.server.is_some();
    let server = match member::invited_to(&args.member, &args.channel)? {
        Some(invitation) if args.server.is_none() => Some(invitation.into_server()?),
        _ => has_server.then(|| member::server(args.server.as_deref(), &settings)).transpose()?,
    };
    let mut via = Vec::new();
    for member in &args.via {
        via.extend(member::canonical(edge::parse_server(member).exit(Exit::Usage)?.resolve()?));
    }
    let realm = server.as_ref().map(ToString::to_string).unwrap_or_default();
    let remembered = Some(Remembered::load(&args.channel, &realm)?).filter(|_| !args.member.relay_only);
    let (bind, retry) = (args.member.bind, !args.no_wait);
    let what = "the rendezvous";
    let channel = &args.channel;
    let way = Way { channel, server, what, via, remembered, bind, retry, introduce: false, has_http: true };
    run(way, &args.member, &settings, common)
}

/// `puncher dial`.
pub(crate) fn dial(args: &Dial, common: &Common) -> anyhow::Result<Ending> {
    refuse_relay_only(&args.member)?;
    let server = edge::parse_server(&args.addr).exit(Exit::Usage)?;
    let (via, remembered, bind) = (Vec::new(), None, args.member.bind);
    let (server, what, retry) = (Some(server), "the member at", !args.no_wait);
    let channel = &args.channel;
    let way = Way { channel, server, what, via, remembered, bind, retry, introduce: false, has_http: false };
    run(way, &args.member, &Settings::load()?, common)
}

/// `puncher listen`.
pub(crate) fn listen(args: &Listen, common: &Common) -> anyhow::Result<Ending> {
    refuse_relay_only(&args.member)?;
    if args.member.bind.is_some() {
        return Err(anyhow!("--bind says where to wait a second time: give {} alone, or that", args.addr))
            .exit(Exit::Usage);
    }
    let server = ServerAddr { host: args.addr.ip().to_string(), port: args.addr.port(), http_port: edge::HTTP_PORT };
    let (via, remembered, bind, server) = (Vec::new(), None, Some(args.addr), Some(server));
    let what = "this member at";
    let (channel, retry) = (&args.channel, false);
    let way = Way { channel, server, what, via, remembered, bind, retry, introduce: true, has_http: false };
    run(way, &args.member, &Settings::load()?, common)
}

/// Who calls without a rendezvous has no relay to hide behind.
fn refuse_relay_only(member: &Member) -> anyhow::Result<()> {
    if member.relay_only {
        return Err(anyhow!("--relay-only needs a rendezvous that relays: see puncher join")).exit(Exit::Usage);
    }
    Ok(())
}

/// `puncher trust`.
pub(crate) fn trust(whom: &Trust) -> anyhow::Result<()> {
    if let Some(server) = &whom.server {
        let server = edge::parse_server(server).exit(Exit::Usage)?;
        let is_forgotten = KnownServers::of_user()?.forget(&server)?;
        return if is_forgotten {
            Ok(())
        } else {
            Err(anyhow!("no server was met as {server}")).exit(Exit::Unavailable)
        };
    }
    let name = whom.name.as_deref().unwrap_or_default();
    let forgotten = Pins::of_user()?.forget(&format!("{name}@"))?;
    if forgotten == 0 {
        return Err(anyhow!("nobody was met under the name {}", Remote(name).show())).exit(Exit::Unavailable);
    }
    Ok(())
}

fn run(way: Way<'_>, member: &Member, settings: &Settings, common: &Common) -> anyhow::Result<Ending> {
    let writer = Writer::start()?;
    let identity = member::identity(&writer)?;
    let key = identity.key();
    let name = member::name::for_channel(member.name.as_deref(), settings, common, &key)?;
    let via = Via {
        members: way.via,
        remembered: way.remembered.as_ref().map(Remembered::addrs).unwrap_or_default(),
        only: false,
    };
    let has_other_ways = !(via.members.is_empty() && via.remembered.is_empty());
    let secret = SecretSource::read(member)?;
    let tickets = way.server.as_ref().map(Tickets::of).transpose()?;
    let mut known_server = KnownServer::resolve(way.server, way.what, way.channel, secret, has_other_ways)?;
    let ready = Ready::open(member.ready_fd)?;
    let poll = Poll::new().context("make an event queue")?;
    let signals = Signals::watch(poll.registry())?;
    let udp = Udp::bind(way.bind)?;
    let sock = match &member.sock {
        Some(path) => path.clone(),
        None => edge::dirs::agent_socket(way.channel)?,
    };
    let mut agents = Agents::serve(sock, poll.registry())?;
    let pipe = member.pipe.map(|lane| adopt_pipe(lane, member.exit_at_eof, &mut agents, &poll)).transpose()?;
    let loopback =
        member.loopback || is_inside(way.bind.as_slice()) || !way.has_http && is_inside(known_server.addrs());
    let advertised: Vec<_> =
        member.advertise.iter().map(|addr| Candidate { addr: *addr, kind: CandidateKind::Advertised }).collect();
    let mut candidates = advertised.clone();
    candidates.extend(socket::host_candidates(udp.local(), loopback));

    // Who listens is its own rendezvous, at whatever port it got.
    let asked = known_server.next_addr();
    let via = Via { only: asked.is_none(), ..via };
    let server = if way.introduce { udp.local() } else { asked.unwrap_or(NOWHERE) };
    let now = Instant::now();
    let config = Config {
        identity,
        channel: way.channel.to_owned(),
        name: name.clone(),
        server,
        server_key: known_server.key()?,
        ticket: tickets.as_ref().and_then(Tickets::latest).filter(|_| !way.introduce),
        secret: known_server.secret_for_mesh(),
        candidates: candidates.clone(),
        run: RunId(u64::from_le_bytes(edge::random()?)),
        ephemeral: identity::Ephemeral::generate(),
        started_at: member::started_at(&writer)?,
        seed: edge::random()?,
        allow_loopback: loopback,
        observe: Some(observe(&udp, server, known_server.addrs(), &member.stun)),
        guess: !member.no_guess,
        retry: way.retry,
        tunnel: way.has_http && !via.only && member.relaying() != Relaying::Refused,
        via,
        lend: member.lend == Switch::On,
        relaying: member.relaying(),
        introduce: way.introduce,
    };
    let mut events = Events::new(member.pipe.is_some(), common.json, common.quiet);
    let first = Line::Ready {
        channel: way.channel,
        sock: agents.path().display().to_string(),
        local: udp.local(),
        key: key_text(&key),
    };
    events.emit(&first).context("write an event line").exit(Exit::Io)?;
    // Inside one machine, and where the address is to be hidden, there is nobody to forward a port for.
    let may_map = !(member.no_portmap || loopback || member.relay_only);
    let seed = edge::random()?;
    let router = may_map.then(|| Router::new(udp.local(), seed)).flatten();
    let known_peers = Pins::of_user()?;
    // Last, so that nothing that fails leaves it behind.
    let program = Program::start(&member.program, agents.path())?;
    let parts = Parts {
        poll,
        udp,
        mesh: Mesh::new(config, now),
        agents,
        signals,
        events,
        program,
        pipe,
        known_peers,
        known_server,
        tickets,
        writer,
        remembered: way.remembered,
        channel: way.channel.to_owned(),
        name,
        advertised,
        with_loopback: loopback,
        router,
        ready: Some(ready),
    };
    Driver::new(parts, candidates, now).run()
}

/// Whether these lead nowhere but to this machine.
fn is_inside(addrs: &[SocketAddr]) -> bool {
    !addrs.is_empty() && addrs.iter().all(|addr| addr.ip().to_canonical().is_loopback())
}

/// Asks the rendezvous by the other family, too, so that both are known.
fn observe(udp: &Udp, server: SocketAddr, addrs: &[SocketAddr], named: &[String]) -> Observe {
    let by_other_family = addrs.iter().copied().find(|addr| addr.is_ipv4() != server.is_ipv4());
    let observers = by_other_family.into_iter().chain(classify::observers(named)).collect();
    Observe { port: udp.local().port(), observers }
}

fn adopt_pipe(lane: PipeLane, exit_at_eof: bool, agents: &mut Agents, poll: &Poll) -> anyhow::Result<Pipe> {
    let opened = match lane {
        PipeLane::Voice => Lane::Voice,
        PipeLane::Text => Lane::Text,
    };
    let adopt = |stream| agents.adopt(mio::net::UnixStream::from_std(stream), Some(opened), poll.registry());
    pipe::start(lane, exit_at_eof, adopt)
}
