//! One bounded HTTP exchange with the router: the bytes of a request, and a reader for those of the response.

use std::{fmt::Write, net::SocketAddrV4, str::FromStr};

/// No description of a device and no SOAP answer needs more.
const MAX_BODY: usize = 64 * 1024;
const MAX_HEAD: usize = 8 * 1024;
const MAX_HEADERS: usize = 32;
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

/// A response that has come in full.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    len: usize,
    status: u16,
    framing: Framing,
}

/// How the end of a body is known (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// Reads one response, piece by piece.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    bytes: Vec<u8>,
    head: Option<Head>,
}

impl Reader {
    /// Takes a piece; gives the response once it is there in full.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<Option<Response>, HttpError> {
        if self.bytes.len() + piece.len() > MAX_HEAD + MAX_BODY {
            return Err(HttpError::TooLong(MAX_BODY));
        }
        self.bytes.extend_from_slice(piece);
        self.read(false)
    }

    /// The router has closed the connection.
    pub(crate) fn end(&mut self) -> Result<Response, HttpError> {
        self.read(true)?.ok_or(HttpError::Truncated)
    }

    fn read(&mut self, has_ended: bool) -> Result<Option<Response>, HttpError> {
        if self.head.is_none() {
            self.head = read_head(&self.bytes)?;
        }
        let Some(Head { len, status, framing }) = self.head else { return Ok(None) };
        let body = self.bytes.get(len..).unwrap_or_default();
        let body = match framing {
            Framing::Length(length) => body.get(..length).map(<[u8]>::to_vec),
            // The last chunk and the trailers end with an empty line; looking at each piece would take quadratic time.
            Framing::Chunked if has_ended || body.ends_with(b"\r\n\r\n") => join_chunks(body)?,
            Framing::UntilClose if has_ended => Some(body.to_vec()),
            Framing::Chunked | Framing::UntilClose => None,
        };
        Ok(body.map(|body| Response { status, body }))
    }
}

fn read_head(bytes: &[u8]) -> Result<Option<Head>, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes).map_err(|_| HttpError::Malformed("its head can't be read"))?;
    let len = match parsed {
        httparse::Status::Complete(len) if len <= MAX_HEAD => len,
        httparse::Status::Partial if bytes.len() <= MAX_HEAD => return Ok(None),
        _ => return Err(HttpError::TooLong(MAX_HEAD)),
    };
    let status = response.code.unwrap_or_default();
    if (300..400).contains(&status) {
        return Err(HttpError::Redirect);
    }
    Ok(Some(Head { len, status, framing: framing(response.headers)? }))
}

fn framing(headers: &[httparse::Header<'_>]) -> Result<Framing, HttpError> {
    let value = |name: &str| headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    if let Some(coding) = value("transfer-encoding") {
        return match coding.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            true => Ok(Framing::Chunked),
            false => Err(HttpError::Malformed("it is encoded in an unknown way")),
        };
    }
    let Some(length) = value("content-length") else { return Ok(Framing::UntilClose) };
    let length = std::str::from_utf8(length).ok().and_then(|text| text.trim().parse().ok());
    match length.ok_or(HttpError::Malformed("its length is no number"))? {
        length if length > MAX_BODY => Err(HttpError::TooLong(MAX_BODY)),
        length => Ok(Framing::Length(length)),
    }
}

/// Joins the chunks of a body (RFC 9112, section 7.1); `None` while the last one has not come.
fn join_chunks(mut rest: &[u8]) -> Result<Option<Vec<u8>>, HttpError> {
    const BAD: HttpError = HttpError::Malformed("its chunks can't be read");
    let mut body = Vec::new();
    loop {
        let httparse::Status::Complete((start, size)) = httparse::parse_chunk_size(rest).map_err(|_| BAD)? else {
            return Ok(None);
        };
        let size = usize::try_from(size).ok().filter(|size| *size <= MAX_BODY);
        let size = size.ok_or(HttpError::TooLong(MAX_BODY))?;
        if size == 0 {
            return Ok(Some(body));
        }
        let chunk = rest.get(start..).unwrap_or_default();
        let (Some(data), Some(after)) = (chunk.get(..size), chunk.get(size..)) else { return Ok(None) };
        body.extend_from_slice(data);
        rest = match after {
            [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return Ok(None),
            _ => return Err(BAD),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(text: &str) -> Location {
        text.parse().unwrap()
    }

    fn read(text: &str) -> Result<Option<Response>, HttpError> {
        Reader::default().feed(text.as_bytes())
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

    #[test]
    fn a_body_ends_by_length_by_chunks_or_by_the_end() {
        let length = read("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap().unwrap();
        assert_eq!((length.status, length.body.as_slice()), (200, &b"ok"[..]));
        let chunks = "HTTP/1.1 500 No\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nok\r\n3;x=y\r\n, w\r\n0\r\n\r\n";
        let chunked = read(chunks).unwrap().unwrap();
        assert_eq!((chunked.status, chunked.body.as_slice()), (500, &b"ok, w"[..]));
        let mut reader = Reader::default();
        assert_eq!(reader.feed(b"HTTP/1.0 200 OK\r\n\r\nso"), Ok(None));
        assert_eq!(reader.feed(b" on"), Ok(None));
        assert_eq!(reader.end().unwrap().body, b"so on");
    }

    #[test]
    fn a_response_may_come_byte_by_byte() {
        let mut reader = Reader::default();
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        let (last, first) = bytes.split_last().unwrap();
        for byte in first {
            assert_eq!(reader.feed(&[*byte]), Ok(None));
        }
        assert_eq!(reader.feed(&[*last]).unwrap().unwrap().body, b"ok");
    }

    #[test]
    fn what_would_never_end_is_refused() {
        let mut reader = Reader::default();
        reader.feed(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
        let endless = (0..100).map(|_| reader.feed(&[b'x'; 1024])).find(Result::is_err);
        assert_eq!(endless, Some(Err(HttpError::TooLong(MAX_BODY))));
        let mut reader = Reader::default();
        let endless = (0..100).map(|_| reader.feed(&[b'x'; 1024])).find(Result::is_err);
        assert!(endless.is_some(), "not even a head");
        assert_eq!(read("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"), Err(HttpError::TooLong(MAX_BODY)));
        let huge = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n\r\n\r\n";
        assert_eq!(read(huge), Err(HttpError::TooLong(MAX_BODY)));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        assert_eq!(read("HTTP/1.1 302 Found\r\nLocation: http://victim/\r\n\r\n"), Err(HttpError::Redirect));
        assert!(read("SSH-2.0-OpenSSH\r\n\r\n").is_err());
        assert!(read("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n").is_err());
        assert!(read("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n").is_err());
        let mut reader = Reader::default();
        reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel").unwrap();
        assert_eq!(reader.end(), Err(HttpError::Truncated));
        assert!(read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n").is_err());
    }
}
