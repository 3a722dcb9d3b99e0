//! Sources that ask for too much or too slowly.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{PATIENCE, Server};

#[test]
fn a_source_that_asks_too_often_is_told_to_wait() {
    let server = Server::start_with(&["--limit-loopback"]);
    let refused = (0..200).map(|_| server.get("/api/time")).find(|answer| answer.status != 200).unwrap();
    assert_eq!((refused.problem().as_str(), refused.header("retry-after")), ("too-many", Some("1")));
}

#[test]
fn a_network_creates_so_many_channels_a_day() {
    let server = Server::start_with(&["--limit-loopback", "--new-channels", "2"]);
    server.create(&json!({ "name": "a" }));
    server.create(&json!({ "name": "b" }));
    assert_eq!(server.post("/api/channels", &json!({ "name": "c" })).problem(), "too-many");
}

#[test]
fn a_server_keeps_so_many_channels() {
    let server = Server::start_with(&["--max-channels", "1"]);
    server.create(&json!({ "name": "a" }));
    assert_eq!(server.post("/api/channels", &json!({ "name": "b" })).problem(), "full");
}

#[test]
fn a_network_has_its_share_of_connections() {
    let server = Server::start_with(&["--limit-loopback"]);
    let open = |_| {
        let mut stream = TcpStream::connect(server.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").ok()?;
        let mut first = [0];
        (stream.read(&mut first).ok()? == 1).then_some(stream)
    };
    // More requests than the burst are refused, but answered: a connection that is not served is closed without a word.
    let served: Vec<TcpStream> = (0..80).map_while(open).collect();
    assert_eq!(served.len(), 64);
}

#[test]
fn slow_requests_are_closed_while_others_are_served() {
    let server = Server::start();
    let start = |head: &[u8]| {
        let mut stream = TcpStream::connect(server.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(head).unwrap();
        stream
    };
    let slow_body =
        b"POST /api/channels HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    let since = Instant::now();
    let slow: Vec<TcpStream> = (0..150)
        .map(|n| match n % 3 {
            0 => start(b""),
            1 => start(b"GET / HTTP/1.1\r\nHost: te"),
            _ => start(slow_body),
        })
        .collect();

    assert_eq!(server.get("/healthz").status, 200);
    for mut stream in slow {
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert!(said.is_empty() || said.contains("408 Request Timeout"), "{said}");
    }
    assert!(since.elapsed() < Duration::from_secs(15), "by time, and not by patience of the test");
}
