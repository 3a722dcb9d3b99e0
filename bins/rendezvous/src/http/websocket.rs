//! `GET /tunnel`: a connection becomes a WebSocket (RFC 6455) that carries datagrams.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use hyper::{
    Response, StatusCode,
    header::{self, HeaderValue},
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::derive_accept_key,
        protocol::{Message, Role, WebSocketConfig},
    },
};
use wire::datagram::MAX_DATAGRAM;

use super::{App, body::Answer, limits::Ticket, problem::Problem, router::Asked};
use crate::tunnel::{Receiver, Sender};

/// A tunnel through which nothing comes for so long is closed: a member's signalling is never silent for that long.
const IDLE: Duration = Duration::from_secs(60);
/// How long the other end may take nothing.
const STALLED: Duration = Duration::from_secs(10);
/// Bytes that the system may hold unsent before more is put into a tunnel: what waits there can't be dropped any more.
const UNSENT: u32 = 4096;

type Stream = WebSocketStream<TcpStream>;

/// Answers with an upgrade, after which the connection is a tunnel.
pub(super) fn open(
    app: &Arc<App>,
    asked: &Asked,
    upgrade: Option<OnUpgrade>,
    peer: SocketAddr,
) -> Result<Response<Answer>, Problem> {
    let key = key(asked)?;
    let upgrade = upgrade.ok_or_else(no_websocket)?;
    let too_many = || Problem::too_many("too many tunnels from there", 5);
    let ticket = app.gate.tunnel(asked.from).ok_or_else(too_many)?;
    tokio::spawn(run(Arc::clone(app), upgrade, peer, ticket));

    let mut response = Response::new(Answer::from(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    Ok(response)
}

/// The client's key, if the request is as RFC 6455, 4.2.1 has it.
fn key(asked: &Asked) -> Result<&str, Problem> {
    let has = |name, wanted: &str| {
        let listed = asked.header(name).unwrap_or_default().split(',');
        listed.map(str::trim).any(|given| given.eq_ignore_ascii_case(wanted))
    };
    let is_upgrade = has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket");
    let key = asked.header(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    match key {
        Some(key) if is_upgrade && has(header::SEC_WEBSOCKET_VERSION, "13") => Ok(key),
        _ => Err(no_websocket()),
    }
}

fn no_websocket() -> Problem {
    Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade-required", "this is a tunnel: ask for a WebSocket, version 13")
        .with(header::UPGRADE, HeaderValue::from_static("websocket"))
        .with(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
}

/// Serves a tunnel until its end; the ticket counts it until then.
async fn run(app: Arc<App>, upgrade: OnUpgrade, peer: SocketAddr, ticket: Ticket) {
    let stream = match upgrade.await {
        Ok(upgraded) => websocket(upgraded).await,
        Err(error) => return tracing::debug!(%error, "A connection did not become a tunnel"),
    };
    let (Some(stream), Ok((sender, receiver))) = (stream, app.entrance.open(peer).await) else { return };
    let (sink, stream) = stream.split();
    let why = tokio::select! {
        why = read(stream, &sender) => why,
        why = write(sink, receiver) => why,
    };
    tracing::debug!(why, "A tunnel ended");
    sender.close().await;
    drop(ticket);
}

async fn websocket(upgraded: Upgraded) -> Option<Stream> {
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
    let stream = parts.io.into_inner();
    limit_unsent(&stream);
    // A datagram is written at once: there is nothing to gather.
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_write_buffer_size(16 * 1024)
        .max_message_size(Some(MAX_DATAGRAM))
        .max_frame_size(Some(MAX_DATAGRAM));
    Some(WebSocketStream::from_partially_read(stream, parts.read_buf.into(), Role::Server, Some(config)).await)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn limit_unsent(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT) {
        tracing::debug!(%error, "Could not limit what waits in a connection");
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn limit_unsent(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_send_buffer_size(UNSENT as usize) {
        tracing::debug!(%error, "Could not limit what waits in a connection");
    }
}

/// Gives why the tunnel is at its end.
async fn read(mut stream: SplitStream<Stream>, sender: &Sender) -> &'static str {
    let mut deadline = tokio::time::Instant::now() + IDLE;
    loop {
        match tokio::time::timeout_at(deadline, stream.next()).await {
            Ok(Some(Ok(Message::Binary(datagram)))) => {
                deadline = tokio::time::Instant::now() + IDLE;
                if sender.send(datagram).await.is_err() {
                    return "the rendezvous closes";
                }
            }
            // The library answers pings; that somebody pings is not worth a tunnel.
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
            Ok(Some(Ok(_)) | None) => return "closed by the other end",
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "A tunnel can't be read");
                return "broken";
            }
            Err(_) => return "idle",
        }
    }
}

/// Gives why the tunnel is at its end.
async fn write(mut sink: SplitSink<Stream, Message>, receiver: Receiver) -> &'static str {
    loop {
        let datagram = receiver.next().await;
        match tokio::time::timeout(STALLED, sink.send(Message::Binary(datagram))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return "broken",
            Err(_) => return "stalled",
        }
    }
}
