//! The page: made on the server, works without JavaScript; `/app.js` keeps it up to date where there is some.

use std::sync::Arc;

use askama::Template;
use hyper::{
    Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
};
use registry::ChannelName;
use wire::signal::ChannelKind;

use super::{
    App,
    api::{self, NewChannel},
    body::{self, Answer},
    form,
    problem::Problem,
    router::Asked,
};
use crate::directory::Listed;

const PAGE: usize = 100;

#[derive(Template)]
#[template(path = "page.html")]
struct Page {
    channels: Vec<Shown>,
    /// Link to the next page.
    next: Option<String>,
    is_first: bool,
    notice: Option<Notice>,
    server: String,
    key: String,
    adhoc: bool,
    token: String,
}

struct Shown {
    name: String,
    path: String,
    kind: ChannelKind,
    kept: bool,
    description: String,
    author: String,
    count: String,
    members: Vec<String>,
    command: String,
}

/// What became of a form.
enum Notice {
    Created { name: String, capability: String },
    Deleted { name: String },
    Refused { why: String },
}

/// What somebody sees who opens an invite link in a browser. Says nothing of whether there is such a channel.
#[derive(Template)]
#[template(path = "invite.html")]
struct Invitation {
    name: String,
    command: String,
}

pub(super) fn invite(app: &App, asked: &Asked, name: &ChannelName) -> Result<Response<Answer>, Problem> {
    html(&Invitation { name: name.to_string(), command: command(name, &server(app, asked)) })
}

pub(super) async fn show(app: &Arc<App>, asked: &Asked) -> Result<Response<Answer>, Problem> {
    render(app, asked, None).await
}

/// Takes the form for a new channel. It makes open ones only: a password or an invite must not reach the server.
pub(super) async fn create(app: &Arc<App>, asked: &Asked, body: Incoming) -> Result<Response<Answer>, Problem> {
    let made = match fields(app, asked, body).await {
        Ok(fields) => {
            let value = |name| fields.value(name).unwrap_or_default().to_owned();
            let new = NewChannel {
                name: value("name"),
                kind: ChannelKind::Open,
                description: value("description"),
                author: value("author"),
                join_key: None,
            };
            api::make(app, asked, new).await
        }
        Err(problem) => Err(problem),
    };
    match made {
        Ok((info, capability)) => {
            let notice = Notice::Created { name: info.name.to_string(), capability };
            let mut response = render(app, asked, Some(notice)).await?;
            *response.status_mut() = StatusCode::CREATED;
            Ok(response)
        }
        Err(problem) => refuse(app, asked, &problem).await,
    }
}

/// Takes the form that deletes a channel.
pub(super) async fn delete(
    app: &Arc<App>,
    asked: &Asked,
    name: ChannelName,
    body: Incoming,
) -> Result<Response<Answer>, Problem> {
    let deleted = match fields(app, asked, body).await {
        Ok(fields) => api::remove(app, name.clone(), fields.value("capability").unwrap_or_default().trim()).await,
        Err(problem) => Err(problem),
    };
    match deleted {
        Ok(()) => render(app, asked, Some(Notice::Deleted { name: name.to_string() })).await,
        Err(problem) => refuse(app, asked, &problem).await,
    }
}

async fn fields(app: &App, asked: &Asked, body: Incoming) -> Result<form::Fields, Problem> {
    asked.expect_type("application/x-www-form-urlencoded")?;
    let body = body::read(body).await?;
    let text = std::str::from_utf8(&body).ok();
    let fields = text.and_then(form::Fields::parse).ok_or_else(|| Problem::malformed("the form is not UTF-8"))?;
    let token = fields.value("token").unwrap_or_default();
    if !form::is_valid(token, &app.form_key, asked.from, hour()) {
        return Err(Problem::forbidden("the page was too old: send the form once more"));
    }
    Ok(fields)
}

async fn refuse(app: &Arc<App>, asked: &Asked, problem: &Problem) -> Result<Response<Answer>, Problem> {
    let response = render(app, asked, Some(Notice::Refused { why: problem.detail.clone() })).await?;
    Ok(problem.decorate(response))
}

async fn render(app: &App, asked: &Asked, notice: Option<Notice>) -> Result<Response<Answer>, Problem> {
    // A name in a query that is none shows the first page.
    let after = asked.query.value("after").and_then(|name| ChannelName::parse(name).ok());
    let is_first = after.is_none();
    let listing = app.directory.list(after, PAGE).await?;
    let server = server(app, asked);
    let last = listing.channels.last().filter(|_| listing.more);
    let page = Page {
        next: last.map(|listed| format!("/?after={}", edge::percent_encode(listed.info.name.as_str()))),
        is_first,
        channels: listing.channels.iter().map(|listed| shown(listed, &server)).collect(),
        notice,
        server,
        key: app.server.key.to_string(),
        adhoc: app.server.adhoc,
        token: form::token(&app.form_key, asked.from, hour()),
    };
    html(&page)
}

fn html(page: &impl Template) -> Result<Response<Answer>, Problem> {
    let html = page.render().map_err(|error| {
        tracing::error!(%error, "Could not make the page");
        Problem::unavailable("the page could not be made")
    })?;
    let mut response = Response::new(Answer::from(html));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    Ok(response)
}

fn shown(listed: &Listed, server: &str) -> Shown {
    let info = &listed.info;
    let record = info.record.as_ref();
    let members = if info.kind == ChannelKind::Open { &listed.members[..] } else { &[] };
    Shown {
        name: info.name.to_string(),
        path: edge::percent_encode(info.name.as_str()),
        kind: info.kind,
        kept: record.is_some(),
        description: record.map(|record| record.description.clone()).unwrap_or_default(),
        author: record.map(|record| record.author.clone()).unwrap_or_default(),
        count: count(info.members),
        members: members.iter().map(|member| member.name.clone()).collect(),
        command: command(&info.name, server),
    }
}

fn command(channel: &ChannelName, server: &str) -> String {
    format!("scripts/voice-chat {} --server {server}", shell_quote(channel.as_str()))
}

fn count(members: usize) -> String {
    match members {
        0 => "nobody there".into(),
        1 => "1 person".into(),
        more => format!("{more} people"),
    }
}

/// What people give as `--server`: the host that they see in their browser, with the UDP port unless it is the usual one.
fn server(app: &App, asked: &Asked) -> String {
    let host = asked.header(header::HOST).unwrap_or_default();
    let host =
        host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(h, _)| h);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    let host = if host.is_empty() || !host.chars().all(is_plain) { "HOST" } else { host };
    let host =
        if host.contains(':') && app.server.udp_port == edge::UDP_PORT { host.trim_matches(['[', ']']) } else { host };
    match app.server.udp_port {
        edge::UDP_PORT => host.to_owned(),
        port => format!("{host}:{port}"),
    }
}

/// One word of a shell command, whatever is in it.
fn shell_quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn hour() -> u64 {
    edge::unix_millis() / 3_600_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_command_is_one_word() {
        for (name, word) in
            [("lobby", "lobby"), ("a b", "'a b'"), ("$(x)", "'$(x)'"), ("it's", r"'it'\''s'"), ("日本", "'日本'")]
        {
            assert_eq!(shell_quote(name), word);
        }
    }

    #[test]
    fn remote_text_is_escaped_on_the_page() {
        let page = Page {
            channels: vec![Shown {
                name: "<script>alert(1)</script>".into(),
                path: edge::percent_encode("<script>"),
                kind: ChannelKind::Open,
                kept: true,
                description: "\"><img src=x onerror=alert(1)>".into(),
                author: "'onmouseover='x".into(),
                count: count(1),
                members: vec!["<b>bob</b>".into()],
                command: "x".into(),
            }],
            next: None,
            is_first: true,
            notice: Some(Notice::Refused { why: "<i>".into() }),
            server: "host".into(),
            key: "ab".into(),
            adhoc: true,
            token: "t".into(),
        };
        let html = page.render().unwrap();
        for raw in ["<script>alert", "<img src=x", "<b>bob", "<i>", "'onmouseover"] {
            assert!(!html.contains(raw), "{raw} in {html}");
        }
    }
}
