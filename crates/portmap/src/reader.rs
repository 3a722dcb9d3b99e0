//! Reads the answer to one HTTP request, within bounds.

use crate::http::HttpError;

/// No description of a device and no SOAP answer needs more.
const MAX_BODY: usize = 64 * 1024;
const MAX_HEAD: usize = 8 * 1024;
const MAX_HEADERS: usize = 32;

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

    fn read(text: &str) -> Result<Option<Response>, HttpError> {
        Reader::default().feed(text.as_bytes())
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
