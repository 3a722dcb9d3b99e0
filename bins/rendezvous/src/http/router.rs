//! From a request to an answer: which route, whether it may, and the headers that every answer has.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
    upgrade::OnUpgrade,
};
use registry::ChannelName;

use super::{App, api, body::Answer, form, page, problem::Problem, sse, websocket};

/// For everything but a stream.
const IN_TIME: Duration = Duration::from_secs(30);
const MAX_URL: usize = 2048;

const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CSP),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Files that are part of the program.
const ASSETS: [(&str, &str, &str); 4] = [
    ("/app.js", "text/javascript; charset=utf-8", include_str!("../../assets/app.js")),
    ("/style.css", "text/css; charset=utf-8", include_str!("../../assets/style.css")),
    ("/icon.svg", "image/svg+xml", include_str!("../../assets/icon.svg")),
    ("/api/openapi.json", "application/json", include_str!("../../assets/openapi.json")),
];

/// Where requests can go.
#[derive(Debug)]
enum Route {
    Page,
    Invite(ChannelName),
    CreateForm,
    DeleteForm(ChannelName),
    Asset(&'static str, &'static str),
    Health,
    Channels,
    Kept(ChannelName),
    Channel(ChannelName),
    Members(ChannelName),
    Events(Option<ChannelName>),
    Time,
    Server,
    Tunnel,
}

/// A request without its body.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) query: form::Fields,
    pub(super) from: IpAddr,
}

impl Asked {
    pub(super) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The capability that the request shows.
    pub(super) fn capability(&self) -> Option<&str> {
        let (scheme, token) = self.header(header::AUTHORIZATION)?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    }

    /// Whether the body is of that type.
    pub(super) fn expect_type(&self, expected: &'static str) -> Result<(), Problem> {
        let given = self.header(header::CONTENT_TYPE).and_then(|given| given.split(';').next()).unwrap_or_default();
        if given.trim().eq_ignore_ascii_case(expected) && !self.headers.contains_key(header::CONTENT_ENCODING) {
            return Ok(());
        }
        let detail = format!("the body is to be plain {expected}");
        Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", detail).and_close())
    }
}

/// Answers one request.
pub(super) async fn answer(request: Request<Incoming>, from: SocketAddr, app: Arc<App>) -> Response<Answer> {
    let late = |_| Err(Problem::unavailable("the server was too slow"));
    let answered = tokio::time::timeout(IN_TIME, dispatch(request, from, &app)).await.unwrap_or_else(late);
    let mut response = answered.unwrap_or_else(|problem| problem.to_response());
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn dispatch(request: Request<Incoming>, from: SocketAddr, app: &Arc<App>) -> Result<Response<Answer>, Problem> {
    app.gate.request(from.ip(), Instant::now())?;
    let (mut head, body) = request.into_parts();
    if head.uri.path_and_query().is_some_and(|url| url.as_str().len() > MAX_URL) {
        let detail = format!("a URL has at most {MAX_URL} bytes");
        return Err(Problem::new(StatusCode::URI_TOO_LONG, "url-too-long", detail));
    }
    let route = find(head.uri.path())?;
    let query = form::Fields::parse(head.uri.query().unwrap_or_default())
        .ok_or_else(|| Problem::malformed("the query is not percent-encoded UTF-8"))?;
    let upgrade = head.extensions.remove::<OnUpgrade>();
    let asked = Asked { method: head.method, headers: head.headers, query, from: from.ip() };
    let allowed = route.allowed();
    if asked.method == Method::OPTIONS {
        return Ok(options(allowed));
    }
    if !allowed.split(", ").any(|method| method == asked.method.as_str()) {
        return Err(Problem::method(allowed).and_close());
    }
    if !matches!(asked.method, Method::GET | Method::HEAD) || matches!(route, Route::Tunnel) {
        check_origin(&asked)?;
    }
    match route {
        Route::Page => page::show(app, &asked).await,
        Route::Invite(name) => page::invite(app, &asked, &name),
        Route::CreateForm if asked.method == Method::POST => page::create(app, &asked, body).await,
        Route::CreateForm => page::show(app, &asked).await,
        Route::DeleteForm(name) => page::delete(app, &asked, name, body).await,
        Route::Asset(kind, text) => Ok(plain(kind, text)),
        Route::Health => Ok(plain("text/plain; charset=utf-8", "ok\n")),
        Route::Channels if asked.method == Method::POST => api::create(app, &asked, body).await,
        Route::Channels => api::list(app, &asked).await,
        Route::Kept(name) => api::delete(app, &asked, name).await,
        Route::Channel(name) => api::channel(app, name).await,
        Route::Members(name) => api::members(app, &asked, name).await,
        Route::Events(channel) => sse::stream(app, &asked, channel),
        Route::Time => Ok(api::time()),
        Route::Server => Ok(api::server(app)),
        Route::Tunnel => websocket::open(app, &asked, upgrade, from),
    }
}

fn find(path: &str) -> Result<Route, Problem> {
    if let Some((_, kind, text)) = ASSETS.iter().find(|(at, ..)| *at == path) {
        return Ok(Route::Asset(kind, text));
    }
    let segments: Vec<&str> = path.trim_start_matches('/').trim_end_matches('/').split('/').collect();
    Ok(match segments[..] {
        [""] => Route::Page,
        ["c", name] => Route::Invite(channel(name)?),
        ["channels"] => Route::CreateForm,
        ["channels", name, "delete"] => Route::DeleteForm(channel(name)?),
        ["healthz"] => Route::Health,
        ["api", "channels"] => Route::Channels,
        ["api", "channels", name] => Route::Kept(channel(name)?),
        ["api", "channel", name] => Route::Channel(channel(name)?),
        ["api", "channel", name, "members"] => Route::Members(channel(name)?),
        ["api", "channel", name, "events"] => Route::Events(Some(channel(name)?)),
        ["api", "events"] => Route::Events(None),
        ["api", "time"] => Route::Time,
        ["api", "server"] => Route::Server,
        ["tunnel"] => Route::Tunnel,
        _ => return Err(Problem::not_found("there is nothing at this address")),
    })
}

fn channel(segment: &str) -> Result<ChannelName, Problem> {
    let name =
        form::unescape(segment, false).ok_or_else(|| Problem::malformed("the name is not percent-encoded UTF-8"))?;
    ChannelName::parse(&name).map_err(|error| Problem::bad_name(&error))
}

impl Route {
    fn allowed(&self) -> &'static str {
        match self {
            Self::Channels | Self::CreateForm => "GET, HEAD, POST",
            Self::Kept(_) => "DELETE",
            Self::DeleteForm(_) => "POST",
            Self::Tunnel => "GET",
            _ => "GET, HEAD",
        }
    }
}

/// A browser says where a request comes from; what another site's page sends changes nothing and opens no tunnel here. Programs say nothing.
fn check_origin(asked: &Asked) -> Result<(), Problem> {
    let foreign = || Err(Problem::forbidden("changes are not taken from pages of another origin").and_close());
    match (asked.header("sec-fetch-site"), asked.headers.get(header::ORIGIN)) {
        (Some("same-origin" | "none"), _) => Ok(()),
        (Some(_), _) => foreign(),
        (None, Some(origin)) => {
            let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            let host = asked.header(header::HOST);
            if origin.is_some_and(|(_, authority)| Some(authority) == host) { Ok(()) } else { foreign() }
        }
        (None, None) => Ok(()),
    }
}

fn options(allowed: &'static str) -> Response<Answer> {
    let mut response = Response::new(Answer::from(""));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

fn plain(kind: &'static str, text: &'static str) -> Response<Answer> {
    let mut response = Response::new(Answer::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(headers: &[(&'static str, &'static str)]) -> Asked {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        let from = "192.0.2.1".parse().unwrap();
        Asked { method: Method::POST, headers: map, query: form::Fields::default(), from }
    }

    #[test]
    fn a_change_comes_from_our_own_page_or_from_no_page() {
        for (headers, allowed) in [
            (&[][..], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("host", "a.example:8470"), ("origin", "http://a.example:8470")], true),
            (&[("host", "a.example:8470"), ("origin", "http://b.example:8470")], false),
            (&[("host", "a.example:8470"), ("origin", "http://a.example:8471")], false),
            (&[("host", "a.example"), ("origin", "null")], false),
            (&[("origin", "http://a.example")], false),
        ] {
            assert_eq!(check_origin(&asked(headers)).is_ok(), allowed, "{headers:?}");
        }
    }

    #[test]
    fn a_capability_comes_as_a_bearer_token() {
        assert_eq!(asked(&[("authorization", "Bearer abc")]).capability(), Some("abc"));
        assert_eq!(asked(&[("authorization", "bearer abc")]).capability(), Some("abc"));
        assert_eq!(asked(&[("authorization", "Basic abc")]).capability(), None);
        assert_eq!(asked(&[]).capability(), None);
    }

    #[test]
    fn paths_lead_to_their_routes_with_or_without_a_last_slash() {
        for (path, expected) in [
            ("/", "Page"),
            ("/c/a%20b", "Invite"),
            ("/channels", "CreateForm"),
            ("/api/channels/", "Channels"),
            ("/api/channel/a%20b", "Channel"),
            ("/api/channel/a/members", "Members"),
            ("/api/channel/a/events", "Events"),
            ("/channels/a/delete", "DeleteForm"),
            ("/style.css", "Asset"),
        ] {
            let route = find(path).expect(path);
            assert!(format!("{route:?}").starts_with(expected), "{path}: {route:?}");
        }
        for (path, status) in [("/api", 404), ("/nothing", 404), ("/api/channel/%ff", 400), ("/api/channel/a%2Fb", 400)]
        {
            assert_eq!(find(path).expect_err(path).status.as_u16(), status, "{path}");
        }
    }
}
