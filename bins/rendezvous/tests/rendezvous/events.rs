//! Server-sent events.

use serde_json::json;
use wire::signal::ToServer;

use crate::support::{Member, Server, Stream};

#[test]
fn subscribers_hear_of_channels_and_members() {
    let server = Server::start();
    let mut all = Stream::open(&server, "/api/events", None);
    let mut den = Stream::open(&server, "/api/channel/den/events", None);

    let (mut alice, _) = Member::join(&server, 1, "lobby", "alice");
    let capability = server.create(&json!({ "name": "den" }));
    alice.say(&ToServer::Leave);
    alice.end();
    assert_eq!(server.delete("/api/channels/den", &capability).status, 204);

    let event = |kind: &str, rest: serde_json::Value| {
        let mut data = json!({ "type": kind, "kind": "open" });
        data.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        (kind.to_owned(), data)
    };
    assert_eq!(all.next(), event("created", json!({ "channel": "lobby" })));
    assert_eq!(all.next(), event("joined", json!({ "channel": "lobby", "name": "alice", "members": 1 })));
    assert_eq!(all.next(), event("created", json!({ "channel": "den" })));
    assert_eq!(all.next(), event("left", json!({ "channel": "lobby", "name": "alice", "members": 0, "why": "left" })));
    assert_eq!(all.next(), event("deleted", json!({ "channel": "lobby" })));
    assert_eq!(all.next(), event("deleted", json!({ "channel": "den" })));

    assert_eq!(den.next(), event("created", json!({ "channel": "den" })));
    assert_eq!(den.next(), event("deleted", json!({ "channel": "den" })));
}

#[test]
fn a_subscriber_that_comes_back_has_missed_nothing_and_hears_nothing_twice() {
    let server = Server::start();
    let mut first = Stream::open(&server, "/api/events", None);
    server.create(&json!({ "name": "a" }));
    assert_eq!(first.next().1["channel"], "a");
    let last = first.last.clone();
    drop(first);
    server.create(&json!({ "name": "b" }));
    server.create(&json!({ "name": "c" }));

    let mut again = Stream::open(&server, "/api/events", Some(&last));

    assert_eq!(again.next().1["channel"], "b");
    assert_eq!(again.next().1["channel"], "c");
}

#[test]
fn a_place_that_is_not_known_any_more_is_told() {
    let server = Server::start();
    let mut stream = Stream::open(&server, "/api/events", Some("0123456789abcdef-7"));
    assert_eq!(stream.next().0, "reset");
}

#[test]
fn streams_end_when_the_server_does() {
    let mut server = Server::start();
    let stream = Stream::open(&server, "/api/events", None);
    server.signal("-TERM");
    stream.ends();
    assert!(server.wait().0.success());
}
