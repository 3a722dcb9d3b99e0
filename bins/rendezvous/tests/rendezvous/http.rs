//! The JSON interface.

use serde_json::{Value, json};

use crate::support::{Member, Server, raw};

#[test]
fn a_channel_is_created_listed_shown_and_deleted() {
    let server = Server::start();
    let new = json!({ "name": "Café", "description": "for all", "author": "Zoë" });
    let answer = server.post("/api/channels", &new);
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("location"), Some("/api/channel/Caf%C3%A9"));
    let created = answer.json();
    let capability = created["capability"].as_str().unwrap();
    assert_eq!(capability.len(), 32);

    let channel = server.get("/api/channel/Caf%C3%A9").json();
    assert_eq!(channel, created["channel"]);
    assert_eq!(channel["description"], "for all");
    assert_eq!((&channel["kind"], &channel["kept"], &channel["members"]), (&json!("open"), &json!(true), &json!(0)));
    assert_eq!(server.get("/api/channels").json(), json!({ "channels": [channel], "next": null }));

    assert_eq!(server.send("DELETE", "/api/channels/Caf%C3%A9", &[], "").status, 401);
    assert_eq!(server.delete("/api/channels/Caf%C3%A9", &"0".repeat(32)).problem(), "forbidden");
    assert_eq!(server.delete("/api/channels/Caf%C3%A9", capability).status, 204);
    assert_eq!(server.delete("/api/channels/Caf%C3%A9", capability).problem(), "not-found");
    assert_eq!(server.get("/api/channel/Caf%C3%A9").problem(), "not-found");
}

#[test]
fn members_are_told_by_name_and_never_by_address() {
    let server = Server::start();
    let (alice, _) = Member::join(&server, 1, "lobby", "alice");
    let answer = server.get("/api/channel/lobby/members");
    let members = answer.json();
    let [member] = &members["members"].as_array().unwrap()[..] else { panic!("{members}") };
    assert_eq!(member["name"], "alice");
    assert!(member["since"].as_f64().unwrap() > 1.7e9);
    assert_eq!(member.as_object().unwrap().len(), 2);
    for path in ["/api/channel/lobby/members", "/api/channel/lobby", "/api/channels", "/"] {
        let body = server.get(path).body;
        let key = crate::support::identity(1).key().to_string();
        assert!(!body.contains(&alice.at().port().to_string()) && !body.contains(&key), "{path}: {body}");
    }
}

#[test]
fn who_is_in_a_channel_with_a_secret_is_told_to_its_owner() {
    let server = Server::start();
    let capability = server.create(&json!({ "name": "den", "kind": "invite", "join_key": "ab".repeat(32) }));
    assert_eq!(server.get("/api/channel/den/members").problem(), "forbidden");
    let bearer = format!("Bearer {capability}");
    let answer = server.send("GET", "/api/channel/den/members", &[("Authorization", &bearer)], "");
    assert_eq!(answer.json(), json!({ "members": [] }));
}

#[test]
fn the_list_comes_in_pages() {
    let server = Server::start();
    for name in ["d", "b", "a", "c", "e"] {
        server.create(&json!({ "name": name }));
    }
    let mut seen = Vec::new();
    let mut path = "/api/channels?limit=2".to_owned();
    loop {
        let page = server.get(&path).json();
        seen.extend(page["channels"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/channels?limit=2&after={next}");
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
}

#[test]
fn the_server_tells_its_key_its_port_and_its_clock() {
    let server = Server::start();
    let told = server.get("/api/server").json();
    assert_eq!(told["key"], server.key.to_string());
    assert_eq!((&told["udp_port"], &told["adhoc"]), (&json!(server.udp.port()), &json!(true)));
    assert!(server.get("/api/time").json()["time"].as_f64().unwrap() > 1.7e9);
    assert_eq!(server.get("/healthz").body, "ok\n");
}

#[test]
fn what_is_wrong_with_a_new_channel_is_said() {
    let server = Server::start();
    server.create(&json!({ "name": "lobby" }));
    for (new, status, kind) in [
        (json!({ "name": "" }), 400, "bad-name"),
        (json!({ "name": "x".repeat(200) }), 400, "bad-name"),
        (json!({ "name": "a\u{202e}b" }), 400, "bad-name"),
        (json!({ "name": "a\u{7}b" }), 400, "bad-name"),
        (json!({ "name": "a/b" }), 400, "bad-name"),
        (json!({ "name": ".." }), 400, "bad-name"),
        (json!({ "name": "lobby" }), 409, "exists"),
        (json!({ "name": "lоbby" }), 409, "looks-alike"),
        (json!({ "name": "den", "kind": "password" }), 400, "join-key"),
        (json!({ "name": "den", "join_key": "ab".repeat(32) }), 400, "join-key"),
        (json!({ "name": "den", "kind": "invite", "join_key": "xyz" }), 400, "malformed"),
        (json!({ "name": "den", "owner": "me" }), 400, "malformed"),
        (json!({ "kind": "open" }), 400, "malformed"),
        (json!("den"), 400, "malformed"),
    ] {
        let answer = server.post("/api/channels", &new);
        assert_eq!((answer.status, answer.problem().as_str()), (status, kind), "{new}");
    }
    assert_eq!(server.names(), ["lobby"]);
}

#[test]
fn a_name_that_is_in_use_on_the_fly_is_not_taken_over() {
    let server = Server::start();
    let (_alice, _) = Member::join(&server, 1, "lobby", "alice");
    assert_eq!(server.post("/api/channels", &json!({ "name": "lobby" })).problem(), "exists");
    assert_eq!(server.delete("/api/channels/lobby", &"0".repeat(32)).problem(), "not-found");
}

#[test]
fn requests_that_are_not_as_they_should_be_get_their_problem() {
    let server = Server::start();
    let json = [("Content-Type", "application/json")];
    let deep = format!("{{\"name\":{}1{}}}", "[".repeat(9), "]".repeat(9));
    let long = format!("{{\"name\":\"{}\"}}", "x".repeat(17_000));
    let url = format!("/api/channels?after={}", "x".repeat(3000));
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, &str, Headers<'_>, &str, u16, &str); 17] = [
        ("POST", "/api/channels", &json, "{", 400, "malformed"),
        ("POST", "/api/channels", &json, "", 400, "malformed"),
        ("POST", "/api/channels", &json, "\u{fffd}", 400, "malformed"),
        ("POST", "/api/channels", &json, &deep, 400, "malformed"),
        ("POST", "/api/channels", &json, &long, 413, "too-large"),
        ("POST", "/api/channels", &[], "{\"name\":\"a\"}", 415, "media-type"),
        ("POST", "/api/channels", &[("Content-Type", "text/plain")], "{\"name\":\"a\"}", 415, "media-type"),
        ("POST", "/api/channels", &[json[0], ("Content-Encoding", "gzip")], "x", 415, "media-type"),
        ("GET", "/nothing", &[], "", 404, "not-found"),
        ("GET", "/api/channel/none", &[], "", 404, "not-found"),
        ("GET", "/api/channel/%ff", &[], "", 400, "malformed"),
        ("GET", "/api/channel/a%00b", &[], "", 400, "bad-name"),
        ("GET", "/api/channels?limit=0", &[], "", 400, "malformed"),
        ("GET", "/api/channels?limit=x", &[], "", 400, "malformed"),
        ("GET", &url, &[], "", 414, "url-too-long"),
        ("PUT", "/api/channels", &[], "", 405, "method"),
        ("GET", "/api/channels/a", &[], "", 405, "method"),
    ];
    for (method, path, headers, body, status, kind) in cases {
        let answer = server.send(method, path, headers, body);
        assert_eq!((answer.status, answer.problem().as_str()), (status, kind), "{method} {path} {body:.40}");
    }
    let answer = server.send("PUT", "/api/channels", &[], "");
    assert_eq!(answer.header("allow"), Some("GET, HEAD, POST"));
    assert!(server.names().is_empty());
}

#[test]
fn a_body_that_lies_about_its_length_is_cut_off() {
    let server = Server::start();
    let head = "POST /api/channels HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json\r\n";
    let announced = raw(&server, format!("{head}Content-Length: 99999999\r\n\r\n").as_bytes());
    assert_eq!(announced.problem(), "too-large");
    let piece = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{piece}{piece}{piece}");
    assert_eq!(raw(&server, chunked.as_bytes()).problem(), "too-large");
}

#[test]
fn a_head_that_is_too_long_or_no_http_is_refused() {
    let server = Server::start();
    let long = format!("GET / HTTP/1.1\r\nHost: test\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    assert_eq!(raw(&server, long.as_bytes()).status, 431);
    assert_eq!(raw(&server, b"\x16\x03\x01\x02\x00 this is TLS\r\n\r\n").status, 400);
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn changes_are_not_taken_from_other_origins() {
    let server = Server::start();
    let body = "{\"name\":\"a\"}";
    for foreign in [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Origin", "http://evil"),
        ("Origin", "null"),
    ] {
        let headers = [("Content-Type", "application/json"), foreign];
        assert_eq!(server.send("POST", "/api/channels", &headers, body).problem(), "forbidden", "{foreign:?}");
        assert_eq!(server.send("DELETE", "/api/channels/a", &headers, "").problem(), "forbidden", "{foreign:?}");
    }
    let own = [("Content-Type", "application/json"), ("Origin", "http://test")];
    assert_eq!(server.send("POST", "/api/channels", &own, body).status, 201);
}

#[test]
fn reading_changes_nothing_and_every_described_path_is_there() {
    let server = Server::start();
    server.create(&json!({ "name": "a" }));
    let before = server.get("/api/channels").body;
    let api: Value = server.get("/api/openapi.json").json();
    assert_eq!(api["openapi"], "3.1.0");
    for (path, methods) in api["paths"].as_object().unwrap() {
        let concrete = path.replace("{name}", "a");
        let answer = server.send("OPTIONS", &concrete, &[], "");
        assert_eq!(answer.status, 204, "{path}");
        let allowed = answer.header("allow").unwrap().to_ascii_lowercase();
        for method in methods.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            assert!(allowed.split(", ").any(|known| known == method), "{method} {path}: {allowed}");
        }
        if allowed.contains("get") && !path.ends_with("/events") {
            let expected = if path == "/tunnel" { 426 } else { 200 }; // that one asks for a WebSocket
            assert_eq!(server.get(&concrete).status, expected, "{path}");
        }
        assert!(server.send("HEAD", &concrete, &[], "").body.is_empty() || path.ends_with("/events"), "{path}");
    }
    assert_eq!(server.get("/api/channels").body, before);
}

#[test]
fn every_answer_has_the_headers_that_protect_readers() {
    let server = Server::start();
    for path in ["/", "/api/channels", "/nothing", "/app.js", "/style.css"] {
        let answer = server.get(path);
        let policy = answer.header("content-security-policy").unwrap_or_else(|| panic!("{path}: {answer:?}"));
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'self'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
    }
}
