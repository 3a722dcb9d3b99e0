//! HTTP by hand: one connection per request, every byte seen.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use serde_json::Value;

use super::{PATIENCE, Server};

/// What a request was answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| &**value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The problem's kind; checks that it is a proper problem document.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{self:?}");
        problem["type"].as_str().unwrap().strip_prefix("urn:punchline:problem:").unwrap().to_owned()
    }

    fn read(from: &mut impl BufRead) -> Self {
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{line:?}"));
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            from.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        Self { status, headers, body: String::new() }
    }
}

/// Sends bytes and reads the answer up to the connection's end.
pub(crate) fn raw(server: &Server, request: &[u8]) -> Answer {
    let mut stream = connect(server);
    // A server may answer and close before it has read everything.
    let _ = stream.write_all(request);
    let mut reader = BufReader::new(stream);
    let mut answer = Answer::read(&mut reader);
    let _ = reader.read_to_string(&mut answer.body);
    answer
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    format!("{head}\r\n{body}").into_bytes()
}

impl Server {
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        raw(self, &request(method, path, headers, body))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    pub(crate) fn post(&self, path: &str, json: &Value) -> Answer {
        self.send("POST", path, &[("Content-Type", "application/json")], &json.to_string())
    }

    pub(crate) fn post_form(&self, path: &str, form: &str) -> Answer {
        self.send("POST", path, &[("Content-Type", "application/x-www-form-urlencoded")], form)
    }

    pub(crate) fn delete(&self, path: &str, capability: &str) -> Answer {
        self.send("DELETE", path, &[("Authorization", &format!("Bearer {capability}"))], "")
    }

    /// Creates a channel; returns its capability.
    pub(crate) fn create(&self, json: &Value) -> String {
        let answer = self.post("/api/channels", json);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["capability"].as_str().unwrap().to_owned()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let list = self.get("/api/channels?limit=1000").json();
        list["channels"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect()
    }
}

/// A stream of events.
pub(crate) struct Stream {
    lines: BufReader<TcpStream>,
    /// The id that was received last.
    pub(crate) last: String,
}

impl Stream {
    pub(crate) fn open(server: &Server, path: &str, last: Option<&str>) -> Self {
        let mut stream = connect(server);
        let headers: &[(&str, &str)] = &last.map(|id| ("Last-Event-ID", id)).into_iter().collect::<Vec<_>>();
        stream.write_all(&request("GET", path, headers, "")).unwrap();
        let mut lines = BufReader::new(stream);
        let answer = Answer::read(&mut lines);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/event-stream")), "{answer:?}");
        let mut stream = Self { lines, last: String::new() };
        while stream.last.is_empty() {
            stream.line(); // its place, which comes at once
        }
        stream
    }

    /// The next event: its kind and data.
    pub(crate) fn next(&mut self) -> (String, Value) {
        let mut kind = String::new();
        loop {
            let line = self.line();
            if let Some(text) = line.strip_prefix("event: ") {
                kind = text.to_owned();
            } else if let Some(text) = line.strip_prefix("data: ") {
                return (kind, serde_json::from_str(text).unwrap());
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "the stream has ended");
        if let Some(id) = line.trim_end().strip_prefix("id: ") {
            self.last = id.to_owned();
        }
        line.trim_end().to_owned()
    }

    /// Reads up to the stream's end.
    pub(crate) fn ends(mut self) {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
    }
}
