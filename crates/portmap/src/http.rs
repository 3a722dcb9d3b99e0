//! What is asked of the router over HTTP: where, and in which bytes.

use std::{fmt::Write, net::SocketAddrV4, str::FromStr};

const MAX_PATH: usize = 512;

/// A request for the driver to make: connect, send the bytes, feed back what comes until the mapper has enough.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// Where; always the gateway's address.
    pub to: SocketAddrV4,
    /// What to send.
    pub bytes: Vec<u8>,
}

/// A resource of the router.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Location {
    pub(crate) server: SocketAddrV4,
    pub(crate) path: String,
}

/// Why an answer over HTTP is not taken.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("{0:?} is no http:// address with an IPv4 number")]
    Url(String),
    #[error("the answer is no HTTP: {0}")]
    Malformed(&'static str),
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("the answer ended too early")]
    Truncated,
    #[error("the answer is a redirect, which is not followed")]
    Redirect,
    #[error("the answer is HTTP status {0}")]
    Status(u16),
}

impl FromStr for Location {
    type Err = HttpError;

    fn from_str(text: &str) -> Result<Self, HttpError> {
        let refused = || HttpError::Url(text.chars().take(80).collect());
        let uri: http::Uri = text.trim().parse().map_err(|_| refused())?;
        let is_http = uri.scheme_str().is_some_and(|scheme| scheme.eq_ignore_ascii_case("http"));
        let ip = uri.host().filter(|_| is_http).and_then(|host| host.parse().ok()).ok_or_else(refused)?;
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        if path.len() > MAX_PATH {
            return Err(refused());
        }
        let server = SocketAddrV4::new(ip, uri.port_u16().unwrap_or(80));
        Ok(Self { server, path: path.to_owned() })
    }
}

impl Location {
    /// What a reference in a document from here refers to (RFC 3986, section 5.2, without dot segments).
    pub(crate) fn join(&self, reference: &str) -> Result<Self, HttpError> {
        let reference = reference.trim();
        if reference.contains("://") {
            return reference.parse();
        }
        let base = match (reference.starts_with('/'), self.path.rsplit_once('/')) {
            (true, _) | (false, None) => "",
            (false, Some((directory, _))) => directory,
        };
        let slash = if reference.starts_with('/') { "" } else { "/" };
        // Parsed as a whole, so that the same characters are refused.
        format!("http://{}{base}{slash}{reference}", self.server).parse()
    }

    pub(crate) fn get(&self) -> Request {
        self.request("GET", "", "")
    }

    /// A SOAP call (UPnP Device Architecture 1.1, section 3.2.1); `action` is `SERVICE#ACTION`.
    pub(crate) fn post(&self, action: &str, body: &str) -> Request {
        let mut headers = String::new();
        // Writing to a String can't fail.
        let _ = write!(headers, "Content-Type: text/xml; charset=\"utf-8\"\r\nSOAPAction: \"{action}\"\r\n");
        let _ = write!(headers, "Content-Length: {}\r\n", body.len());
        self.request("POST", &headers, body)
    }

    fn request(&self, method: &str, headers: &str, body: &str) -> Request {
        let Self { server, path } = self;
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n{headers}\r\n");
        Request { to: *server, bytes: (head + body).into_bytes() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(text: &str) -> Location {
        text.parse().unwrap()
    }

    #[test]
    fn only_numbers_over_plain_http_are_locations() {
        let found = location("http://192.168.1.1:5000/rootDesc.xml?x=1");
        assert_eq!(found, Location { server: "192.168.1.1:5000".parse().unwrap(), path: "/rootDesc.xml?x=1".into() });
        assert_eq!(location("http://192.168.1.1").server.port(), 80);
        for text in [
            "https://192.168.1.1/",
            "http://router.lan/",
            "ftp://192.168.1.1/",
            "/rootDesc.xml",
            "http://[::1]/",
            "http://192.168.1.1/a b",
            "http://192.168.1.1/a\r\nEvil: yes",
            "",
        ] {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
        assert!(format!("http://192.168.1.1/{}", "a".repeat(600)).parse::<Location>().is_err());
    }

    #[test]
    fn references_are_resolved_against_the_document() {
        let base = location("http://192.168.1.1:5000/desc/root.xml");
        for (reference, expected) in [
            ("/ctl/IPConn", "http://192.168.1.1:5000/ctl/IPConn"),
            ("ctl", "http://192.168.1.1:5000/desc/ctl"),
            ("http://192.168.1.1:80/ctl", "http://192.168.1.1:80/ctl"),
        ] {
            assert_eq!(base.join(reference), Ok(location(expected)), "{reference}");
        }
        assert!(base.join("/ctl\r\nEvil: yes").is_err());
        assert!(base.join("http://evil.example/ctl").is_err());
    }

    #[test]
    fn request_bytes() {
        let get = location("http://192.168.1.1:5000/root.xml").get();
        assert_eq!(get.bytes, b"GET /root.xml HTTP/1.1\r\nHost: 192.168.1.1:5000\r\nConnection: close\r\n\r\n");
        let post = location("http://192.168.1.1:5000/ctl").post("urn:x#Do", "<a/>");
        let text = String::from_utf8(post.bytes).unwrap();
        assert!(text.contains("\r\nSOAPAction: \"urn:x#Do\"\r\nContent-Length: 4\r\n\r\n<a/>"), "{text}");
    }
}
