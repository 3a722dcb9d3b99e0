//! The JSON interface.

use std::{sync::Arc, time::Instant};

use hyper::{
    Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
};
use registry::{ChannelInfo, ChannelName, ChannelRecord, MemberInfo, MemberName};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use wire::{IdentityKey, signal::ChannelKind};

use super::{
    App,
    body::{self, Answer},
    problem::Problem,
    router::Asked,
};
use crate::directory::Listed;

const PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
const MAX_DEPTH: usize = 8;
const MAX_DESCRIPTION: usize = 512;

/// What is needed to make a channel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewChannel {
    pub(super) name: String,
    #[serde(default = "open")]
    pub(super) kind: ChannelKind,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) author: String,
    #[serde(default)]
    pub(super) join_key: Option<String>,
}

fn open() -> ChannelKind {
    ChannelKind::Open
}

/// A channel as JSON shows it.
#[derive(Serialize)]
struct Channel {
    name: String,
    kind: ChannelKind,
    kept: bool,
    description: String,
    author: String,
    created_at: Option<u64>,
    members: usize,
}

impl From<&ChannelInfo> for Channel {
    fn from(info: &ChannelInfo) -> Self {
        let record = info.record.as_ref();
        Self {
            name: info.name.to_string(),
            kind: info.kind,
            kept: record.is_some(),
            description: record.map(|record| record.description.clone()).unwrap_or_default(),
            author: record.map(|record| record.author.clone()).unwrap_or_default(),
            created_at: record.map(|record| record.created_at),
            members: info.members,
        }
    }
}

pub(super) async fn list(app: &App, asked: &Asked) -> Result<Response<Answer>, Problem> {
    let after = asked.query.value("after").map(ChannelName::parse).transpose();
    let after = after.map_err(|error| Problem::bad_name(&error))?;
    let limit = match asked.query.value("limit").map(str::parse) {
        None => PAGE,
        Some(Ok(limit @ 1..=MAX_PAGE)) => limit,
        Some(_) => return Err(Problem::malformed(format!("limit is a number from 1 to {MAX_PAGE}"))),
    };
    let listing = app.directory.list(after, limit).await?;
    let channels: Vec<Channel> = listing.channels.iter().map(|listed| Channel::from(&listed.info)).collect();
    let next = channels.last().filter(|_| listing.more).map(|channel| channel.name.clone());
    Ok(json_answer(&json!({ "channels": channels, "next": next })))
}

pub(super) async fn channel(app: &App, name: ChannelName) -> Result<Response<Answer>, Problem> {
    Ok(json_answer(&Channel::from(&look(app, name).await?.info)))
}

pub(super) async fn members(app: &App, asked: &Asked, name: ChannelName) -> Result<Response<Answer>, Problem> {
    let listed = look(app, name).await?;
    let shown = listed.info.kind == ChannelKind::Open
        || asked.capability().is_some_and(|given| listed.info.record.as_ref().is_some_and(|r| r.owner == hash(given)));
    if !shown {
        let detail =
            format!("this is a channel by {}: who is in it is told only to who has its capability", listed.info.kind);
        return Err(Problem::forbidden(detail));
    }
    let members: Vec<_> = listed.members.iter().map(member).collect();
    Ok(json_answer(&json!({ "members": members })))
}

fn member(member: &MemberInfo) -> serde_json::Value {
    let now = edge::unix_millis() as f64 / 1000.0;
    let since = now - member.since.elapsed().as_secs_f64();
    json!({ "name": member.name, "since": (since * 1000.0).round() / 1000.0 })
}

async fn look(app: &App, name: ChannelName) -> Result<Listed, Problem> {
    app.directory.look(name).await?.ok_or_else(|| Problem::not_found("there is no such channel"))
}

pub(super) async fn create(app: &Arc<App>, asked: &Asked, body: Incoming) -> Result<Response<Answer>, Problem> {
    asked.expect_type("application/json")?;
    let body = body::read(body).await?;
    check_depth(&body)?;
    let new: NewChannel = serde_json::from_slice(&body)
        .map_err(|error| Problem::malformed(format!("not the JSON that was expected: {error}")))?;
    let (info, capability) = make(app, asked, new).await?;
    let mut response = json_answer(&json!({ "channel": Channel::from(&info), "capability": capability }));
    *response.status_mut() = StatusCode::CREATED;
    let location = format!("/api/channel/{}", edge::percent_encode(info.name.as_str()));
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Makes a channel; returns it with its capability once it is stored.
pub(super) async fn make(app: &Arc<App>, asked: &Asked, new: NewChannel) -> Result<(ChannelInfo, String), Problem> {
    let random: [u8; 16] = edge::random().map_err(|error| Problem::unavailable(error.to_string()))?;
    let capability: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let record = check(new, hash(&capability))?;
    app.gate.create(asked.from, Instant::now())?;
    let keeping = tokio::spawn(keep(Arc::clone(app), record.clone()));
    // A task of its own: it ends in order even if the client goes away in between.
    keeping.await.map_err(|_| Problem::unavailable("the server could not finish"))??;
    Ok((ChannelInfo { name: record.name.clone(), kind: record.kind, members: 0, record: Some(record) }, capability))
}

async fn keep(app: Arc<App>, record: ChannelRecord) -> Result<(), Problem> {
    let name = record.name.clone();
    app.directory.create(record.clone()).await??;
    let stored = app.keeper.run(move |store| store.create(&record)).await;
    // If the program ends just then, the next run knows from the store.
    let _ = match &stored {
        Ok(()) => app.directory.confirm(name).await,
        Err(_) => app.directory.delete(name).await,
    };
    Ok(stored?)
}

fn check(new: NewChannel, owner: [u8; 32]) -> Result<ChannelRecord, Problem> {
    let name = ChannelName::parse(&new.name).map_err(|error| Problem::bad_name(&error))?;
    let author = match new.author.trim() {
        "" => String::new(),
        author => MemberName::parse(author)
            .map_err(|error| Problem::malformed(format!("author: {error}")))?
            .as_str()
            .to_owned(),
    };
    let description = registry::plain_line(&new.description, MAX_DESCRIPTION)
        .map_err(|error| Problem::malformed(format!("description: {error}")))?;
    let join_key = new.join_key.as_deref().map(str::parse::<IdentityKey>).transpose();
    let join_key = join_key.map_err(|error| Problem::malformed(format!("join_key: {error}")))?;
    let created_at = edge::unix_millis() / 1000;
    Ok(ChannelRecord { name, kind: new.kind, description, author, join_key, owner, created_at })
}

pub(super) async fn delete(app: &Arc<App>, asked: &Asked, name: ChannelName) -> Result<Response<Answer>, Problem> {
    let capability = asked.capability().ok_or_else(Problem::no_capability)?;
    remove(app, name, capability).await?;
    let mut response = Response::new(Answer::from(""));
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// Deletes a channel for who has its capability.
pub(super) async fn remove(app: &Arc<App>, name: ChannelName, capability: &str) -> Result<(), Problem> {
    let owner = hash(capability);
    let app = Arc::clone(app);
    let removing = tokio::spawn(async move {
        let stored = name.clone();
        app.keeper.run(move |store| store.delete(&stored, &owner)).await?;
        let _ = app.directory.delete(name).await; // if the program ends just then, its members are out anyway
        Ok::<_, Problem>(())
    });
    removing.await.map_err(|_| Problem::unavailable("the server could not finish"))?
}

pub(super) fn time() -> Response<Answer> {
    json_answer(&json!({ "time": edge::unix_millis() as f64 / 1000.0 }))
}

pub(super) fn server(app: &App) -> Response<Answer> {
    json_answer(&json!({
        "key": app.server.key.to_string(),
        "udp_port": app.server.udp_port,
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": wire::VERSION,
        "adhoc": app.server.adhoc,
    }))
}

fn hash(capability: &str) -> [u8; 32] {
    Sha256::digest(capability.as_bytes()).into()
}

fn json_answer(value: &impl Serialize) -> Response<Answer> {
    let text = serde_json::to_string(value).unwrap_or_default();
    let mut response = Response::new(Answer::from(text + "\n"));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Refuses what is nested so deep that nothing here can mean it, before a parser descends into it.
fn check_depth(json: &[u8]) -> Result<(), Problem> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(Problem::malformed(format!("the JSON is nested deeper than {MAX_DEPTH}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_channel(json: serde_json::Value) -> Result<ChannelRecord, Problem> {
        check(serde_json::from_value(json).map_err(|error| Problem::malformed(error.to_string()))?, [0; 32])
    }

    #[test]
    fn depth_is_counted_outside_of_strings() {
        assert!(check_depth(br#"{"a":"[[[[[[[[[[{{{{{{\"[[["}"#).is_ok());
        assert!(check_depth(b"[[[[[[[[]]]]]]]]").is_ok());
        assert!(check_depth(b"[[[[[[[[[").is_err());
    }

    #[test]
    fn a_new_channel_is_normalised_and_checked() {
        let record =
            new_channel(json!({ "name": " Cafe\u{301} ", "author": "Zoe\u{308}", "description": "for all" })).unwrap();
        assert_eq!((record.name.as_str(), &*record.author, record.kind), ("Café", "Zoë", ChannelKind::Open));
        let key = "ab".repeat(32);
        let record = new_channel(json!({ "name": "den", "kind": "password", "join_key": key })).unwrap();
        assert_eq!(record.join_key.map(|key| key.to_string()), Some(key));
        for bad in [
            json!({ "name": "" }),
            json!({ "name": "x".repeat(65) }),
            json!({ "name": "a\u{202e}b" }),
            json!({ "name": "a", "author": "\u{1b}[31m" }),
            json!({ "name": "a", "description": "x".repeat(513) }),
            json!({ "name": "a", "description": "line\nline" }),
            json!({ "name": "a", "join_key": "short" }),
            json!({ "name": "a", "kind": "secret" }),
            json!({ "name": "a", "joinkey": "x" }),
            json!({ "name": 7 }),
            json!([]),
        ] {
            assert_eq!(new_channel(bad.clone()).map(|_| ()).map_err(|p| p.status.as_u16()), Err(400), "{bad}");
        }
    }
}
