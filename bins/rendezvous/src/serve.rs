//! From arguments to a serving program, and to its end.

use std::{
    io::{self, ErrorKind, Write},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use edge::{Exit, WithExit, ready::Ready};
use identity::Identity;
use link::{Accept, Endpoint};
use registry::{Limits, Registry};
use relay::Relay;
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    args::Args,
    data,
    directory::Directory,
    feed::Feed,
    http::{self, App, Gate, GateConfig, ServerInfo},
    observe::Observers,
    stop,
    store::{Keeper, Store},
    tunnel,
    udp::{self, Cores, Driver},
};

/// What the system may queue while the task is busy, if it allows so much.
const SOCKET_BUFFER: usize = 4 << 20;
/// How long requests that are being answered may take when the program ends.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// Serves until a signal asks for the end.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let ready = Ready::open(args.ready_fd)?;
    let dir = data::directory(args.data.as_deref())?;
    let _held = data::lock(&dir)?;
    let identity = data::identity(&dir)?;
    let store = data::store(&dir)?;
    let udp = bind(args.udp, Type::DGRAM).with_context(|| format!("bind UDP {}", args.udp))?;
    let http = bind(args.http, Type::STREAM).with_context(|| format!("bind TCP {}", args.http))?;
    let runtime = Runtime::new().context("start the runtime")?;
    runtime.block_on(serve(args, ready, &identity, store, udp.into(), http.into()))
}

async fn serve(
    args: &Args,
    ready: Ready,
    identity: &Identity,
    mut store: impl Store,
    signalling: std::net::UdpSocket,
    http: std::net::TcpListener,
) -> anyhow::Result<()> {
    let mut end = [signal(SignalKind::terminate()), signal(SignalKind::interrupt())];
    let observers = Arc::new(Observers::bind(&signalling, args.udp, args.udp2, args.stun_rate, seed()?)?);
    let http = TcpListener::from_std(http)?;
    let (udp_at, http_at) = (signalling.local_addr()?, http.local_addr()?);
    let mut registry = Registry::new(registry_config(args, identity)?);
    let stored = store.list();
    let code = stored.as_ref().err().map_or(Exit::Io, data::exit_code);
    for record in stored.context("read the channels").exit(code)? {
        registry.restore(record);
    }
    registry.give_tickets(edge::random()?, Instant::now());
    let (stopper, stop) = stop::channel();
    let (directory, asks) = Directory::new();
    let feed = Arc::new(Feed::new(seed()?));
    let config = link::Config { identity, seed: edge::random()?, accept: Accept::Signal };
    let endpoint = Endpoint::new(config, Instant::now());
    let seed_of_relay = edge::random()?;
    let relay = args.relay.limits(args.limit_loopback).map(|limits| Relay::new(limits, seed_of_relay, Instant::now()));
    let (entrance, tunnels) = tunnel::channel();
    let cores = Cores { endpoint, registry, relay };
    let driver = {
        let (feed, observers) = (Arc::clone(&feed), Arc::clone(&observers));
        move || Driver::new(signalling, tunnels, cores, feed, asks, observers)
    };
    let gate = GateConfig { limit_loopback: args.limit_loopback, new_channels: args.new_channels, seed: seed()? };
    let server = ServerInfo { key: identity.key(), udp_port: udp_at.port(), adhoc: !args.no_adhoc };
    let app = Arc::new(App {
        directory,
        keeper: Keeper::new(store),
        feed,
        entrance,
        gate: Gate::new(&gate, Instant::now()),
        server,
        form_key: edge::random()?,
        stop: stop.clone(),
        streams: tokio::sync::Semaphore::new(http::MAX_STREAMS),
    });
    let observing = observers.run(stop.clone());
    tokio::spawn(async {
        if let Err(error) = observing.await {
            tracing::warn!(error = %format!("{error:#}"), "STUN is answered at the signalling port alone");
        }
    });
    let mut driving = tokio::spawn(udp::drive(driver, stop));
    let serving = tokio::spawn(http::serve(http, app));

    announce(args, udp_at, http_at, identity)?;
    ready.signal();
    tokio::select! {
        ended = &mut driving => return ended.context("the UDP task")?,
        () = any(&mut end) => {}
    }
    stopper.stop();
    let _ = tokio::time::timeout(LAST_REQUESTS, serving).await;
    driving.await.context("the UDP task")?
}

fn registry_config(args: &Args, identity: &Identity) -> anyhow::Result<registry::Config> {
    let limits = Limits {
        members: args.max_members,
        channels: args.max_channels,
        limit_loopback: args.limit_loopback,
        ..Limits::default()
    };
    Ok(registry::Config { server_key: identity.key(), adhoc: !args.no_adhoc, limits, seed: seed()? })
}

/// The one line that says where the program serves.
fn announce(args: &Args, udp: SocketAddr, http: SocketAddr, identity: &Identity) -> anyhow::Result<()> {
    let key = identity.key().to_string();
    let line = if args.common.json {
        json!({ "v": 1, "type": "ready", "udp": udp.to_string(), "http": http.to_string(), "key": key }).to_string()
    } else {
        format!("ready udp {udp} http {http} key {key}")
    };
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("write the ready line")
}

/// Binds, dual-stack where it can: `[::]` takes IPv4 too, and stands for all of IPv4 on a system without IPv6.
fn bind(addr: SocketAddr, kind: Type) -> anyhow::Result<Socket> {
    match try_bind(addr, kind) {
        Err(error) if is_no_ipv6(&error) && addr.is_ipv6() && addr.ip().is_unspecified() => {
            tracing::warn!("There is no IPv6 here: serving IPv4 only");
            explain(try_bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, addr.port())), kind))
        }
        bound => explain(bound),
    }
}

fn try_bind(addr: SocketAddr, kind: Type) -> io::Result<Socket> {
    let protocol = if kind == Type::DGRAM { Protocol::UDP } else { Protocol::TCP };
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?; // connections of the run before may still be closing
    } else {
        prepare(&socket, addr.is_ipv6());
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    if kind == Type::STREAM {
        socket.listen(1024)?;
    }
    Ok(socket)
}

/// What makes a UDP socket better, and is not worth ending for.
fn prepare(socket: &Socket, is_ipv6: bool) {
    let enlarged = socket.set_recv_buffer_size(SOCKET_BUFFER).and(socket.set_send_buffer_size(SOCKET_BUFFER));
    if let Err(error) = enlarged.and(edge::forbid_fragments(socket, is_ipv6)) {
        tracing::debug!(%error, "Could not enlarge the socket's buffers, or forbid fragments");
    }
}

fn is_no_ipv6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = if cfg!(target_os = "linux") { 97 } else { 47 };
    error.kind() == ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

fn explain(bound: io::Result<Socket>) -> anyhow::Result<Socket> {
    match bound {
        Ok(socket) => Ok(socket),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            Err(anyhow::anyhow!("address in use; is another rendezvous running?")).exit(Exit::Unavailable)
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error).exit(Exit::NoPermission),
        Err(error) => Err(error).exit(Exit::Unavailable),
    }
}

async fn any(signals: &mut [io::Result<tokio::signal::unix::Signal>; 2]) {
    let [terminate, interrupt] = signals;
    let wait = async |signal: &mut io::Result<tokio::signal::unix::Signal>| match signal {
        Ok(signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = wait(terminate) => {}
        () = wait(interrupt) => {}
    }
}

fn seed() -> anyhow::Result<u64> {
    Ok(u64::from_le_bytes(edge::random()?))
}
