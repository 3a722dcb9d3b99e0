//! One request to the HTTP interface of a rendezvous, and its answer. Plain HTTP/1.1, one connection each.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use edge::{Exit, Remote, ServerAddr, WithExit};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    client::conn::http1,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

/// How long a request may take in all.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long one address of several may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Longer answers are none of a rendezvous.
const MAX_ANSWER: usize = 4 << 20;

/// A rendezvous that is asked.
pub(crate) struct Api {
    server: ServerAddr,
    addrs: Vec<SocketAddr>,
    runtime: tokio::runtime::Runtime,
}

/// A problem document (RFC 9457).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    detail: String,
}

impl Api {
    pub(crate) fn new(server: ServerAddr) -> anyhow::Result<Self> {
        let addrs = server.resolve_http()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
        Ok(Self { server, addrs, runtime })
    }

    pub(crate) fn server(&self) -> &ServerAddr {
        &self.server
    }

    /// Asks for something.
    pub(crate) fn fetch<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        parse(&self.ask(Method::GET, path, None, None)?)
    }

    /// Has something made.
    pub(crate) fn create<T: DeserializeOwned>(&self, path: &str, what: &Value) -> anyhow::Result<T> {
        parse(&self.ask(Method::POST, path, Some(what), None)?)
    }

    /// Has something deleted by the right of `capability`.
    pub(crate) fn delete(&self, path: &str, capability: &str) -> anyhow::Result<()> {
        self.ask(Method::DELETE, path, None, Some(capability)).map(drop)
    }

    fn ask(&self, method: Method, path: &str, body: Option<&Value>, bearer: Option<&str>) -> anyhow::Result<Bytes> {
        let url = self.server.http_url();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.server.http_authority())
            .header(USER_AGENT, concat!("chatctl/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "application/json, application/problem+json");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(capability) = bearer {
            request = request.header(AUTHORIZATION, format!("Bearer {capability}"));
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(body))).context("make a request").exit(Exit::Data)?;
        let answered = self.runtime.block_on(async { timeout(TIMEOUT, exchange(&self.addrs, request)).await });
        let (status, bytes) = match answered {
            Ok(answered) => answered.with_context(|| format!("ask {url}"))?,
            Err(_) => return Err(anyhow!("{url} does not answer")).exit(Exit::Unavailable),
        };
        if status.is_success() { Ok(bytes) } else { Err(refusal(status, &bytes)).with_context(|| url) }
    }
}

async fn exchange(addrs: &[SocketAddr], request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
    let stream = connect(addrs).await.exit(Exit::Unavailable)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.exit(Exit::Protocol)?;
    // What goes wrong with the connection is what goes wrong with the request.
    let driven = tokio::spawn(connection);
    let response = sender.send_request(request).await.exit(Exit::Protocol)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    driven.abort();
    let body = body.map_err(|error| anyhow!("{error}")).context("read the answer").exit(Exit::Protocol)?;
    Ok((status, body.to_bytes()))
}

/// Connects to the first address that answers.
async fn connect(addrs: &[SocketAddr]) -> anyhow::Result<TcpStream> {
    let mut failure = anyhow!("it has no address");
    for addr in addrs {
        failure = match timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error.into(),
            Err(_) => anyhow!("{addr} does not answer"),
        };
    }
    Err(failure)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(bytes).context("this does not answer as a rendezvous does").exit(Exit::Protocol)
}

/// A refusal in the server's words and with our exit code.
fn refusal(status: StatusCode, body: &[u8]) -> anyhow::Error {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let said = [problem.detail, problem.title].into_iter().find(|text| !text.is_empty());
    let said = said.map_or_else(|| status.to_string(), |text| Remote(text).show());
    let code = match status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => Exit::Data,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::NoPermission,
        StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::GONE => Exit::Unavailable,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE => {
            Exit::TryAgain
        }
        _ if status.is_server_error() => Exit::Unavailable,
        _ => Exit::Protocol,
    };
    Err::<(), _>(anyhow!(said)).exit(code).expect_err("it is an error")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_in_the_servers_words_with_our_code() {
        let rows: [(u16, &[u8], &str, Exit); 5] = [
            (
                404,
                br#"{"title":"Not found","detail":"there is no channel \u001bden"}"#,
                "there is no channel ␛den",
                Exit::Unavailable,
            ),
            (401, br#"{"title":"Who are you"}"#, "Who are you", Exit::NoPermission),
            (429, b"", "429 Too Many Requests", Exit::TryAgain),
            (400, b"<html>", "400 Bad Request", Exit::Data),
            (302, b"{}", "302 Found", Exit::Protocol),
        ];
        for (status, body, said, code) in rows {
            let error = refusal(StatusCode::from_u16(status).unwrap(), body);
            assert_eq!((error.to_string().as_str(), edge::code_of(&error)), (said, code));
        }
    }
}
