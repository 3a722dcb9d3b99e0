//! The accept loop. A connection that is slow to ask, or never reads what it asked for, is closed by time.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{App, limits::Ticket, router};

/// For the whole head of a request, and between two requests.
const HEAD_IN_TIME: Duration = Duration::from_secs(5);
const MAX_HEAD: usize = 16 * 1024;
/// How long a client may leave what it was sent unread.
const UNREAD: Duration = Duration::from_secs(30);
/// After a failed accept, such as without a free descriptor: to try again at once would only burn the processor.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Serves until the program ends, then until the requests that are under way have their answers.
pub(crate) async fn serve(listener: TcpListener, app: Arc<App>) {
    let mut stop = app.stop.clone();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.requested() => break,
        };
        match accepted {
            Ok((stream, from)) => admit(stream, from, &app, &mut connections),
            Err(error) => {
                tracing::debug!(%error, "Could not accept a connection");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn admit(stream: TcpStream, from: SocketAddr, app: &Arc<App>, connections: &mut JoinSet<()>) {
    let Some(ticket) = app.gate.connect(from.ip()) else {
        tracing::debug!("Refused a connection: too many");
        return;
    };
    let socket = SockRef::from(&stream);
    let set = socket.set_tcp_nodelay(true).and_then(|()| unread_timeout(&socket));
    if let Err(error) = set {
        tracing::debug!(%error, "Could not set up a connection");
    }
    connections.spawn(connection(stream, from, Arc::clone(app), ticket));
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn unread_timeout(socket: &SockRef<'_>) -> std::io::Result<()> {
    socket.set_tcp_user_timeout(Some(UNREAD))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn unread_timeout(socket: &SockRef<'_>) -> std::io::Result<()> {
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(UNREAD))
}

async fn connection(stream: TcpStream, from: SocketAddr, app: Arc<App>, ticket: Ticket) {
    let mut stop = app.stop.clone();
    let service = service_fn(move |request| {
        let app = Arc::clone(&app);
        async move { Ok::<_, Infallible>(router::answer(request, from, app).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_IN_TIME)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "A connection ended early");
    }
    drop(ticket);
}
