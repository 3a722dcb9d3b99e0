use std::{
    fmt,
    net::{SocketAddr, ToSocketAddrs},
    str::FromStr,
};

use anyhow::Context;

use crate::{Exit, WithExit};

/// Where a rendezvous serves signalling and STUN unless told otherwise.
pub const UDP_PORT: u16 = 3478;
/// Where a rendezvous serves HTTP unless told otherwise.
pub const HTTP_PORT: u16 = 8470;

/// A rendezvous as people name it: `host`, `host:udp_port`, `[v6]:udp_port`, or its page, `http://host:http_port`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ServerAddr {
    /// Name or address, an IPv6 address without its brackets.
    pub host: String,
    /// The UDP port.
    pub port: u16,
    /// The HTTP port.
    pub http_port: u16,
}

/// A text does not name a server.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParseServerError {
    /// There is no host in it.
    #[error("there is no host in \"{0}\"")]
    NoHost(String),
    /// What stands where the port should is none.
    #[error("\"{0}\" is not a port (1 to 65535)")]
    BadPort(String),
    /// The host has characters that none has.
    #[error("\"{0}\" is not a host name or address")]
    BadHost(String),
}

/// Parses a [`ServerAddr`].
///
/// # Errors
/// [`ParseServerError`] with what is wrong.
pub fn parse_server(text: &str) -> Result<ServerAddr, ParseServerError> {
    let text = text.trim();
    let url = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let authority = url.map_or(text, |rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let (host, port) = split_port(authority)?;
    if host.is_empty() {
        return Err(ParseServerError::NoHost(text.into()));
    }
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if !host.chars().all(is_name) {
        return Err(ParseServerError::BadHost(host.into()));
    }
    let server = ServerAddr { host: host.to_owned(), port: UDP_PORT, http_port: HTTP_PORT };
    Ok(match (port, url) {
        (None, _) => server,
        (Some(http_port), Some(_)) => ServerAddr { http_port, ..server },
        (Some(port), None) => ServerAddr { port, ..server },
    })
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), ParseServerError> {
    let port = |text: &str| match text.parse() {
        Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(Some(port)),
        _ => Err(ParseServerError::BadPort(text.into())),
    };
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        return match rest.strip_prefix(':') {
            Some(digits) => Ok((host, port(digits)?)),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(ParseServerError::BadHost(text.into())),
        };
    }
    match text.split_once(':') {
        // More than one colon without brackets is an IPv6 address alone.
        Some((_, rest)) if rest.contains(':') => Ok((text, None)),
        Some((host, digits)) => Ok((host, port(digits)?)),
        None => Ok((text, None)),
    }
}

impl ServerAddr {
    /// The base of its HTTP interface, without a slash at the end.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.http_authority())
    }

    /// Host and HTTP port as they stand in a URL and in the `Host` field.
    pub fn http_authority(&self) -> String {
        format!("{}:{}", self.bracketed(), self.http_port)
    }

    /// Asks the system for its UDP addresses. Blocks.
    ///
    /// # Errors
    /// Code 68 if there is no such host.
    pub fn resolve(&self) -> anyhow::Result<Vec<SocketAddr>> {
        self.resolve_port(self.port)
    }

    /// The same for its HTTP interface.
    ///
    /// # Errors
    /// Code 68 if there is no such host.
    pub fn resolve_http(&self) -> anyhow::Result<Vec<SocketAddr>> {
        self.resolve_port(self.http_port)
    }

    fn resolve_port(&self, port: u16) -> anyhow::Result<Vec<SocketAddr>> {
        let found = (self.host.as_str(), port).to_socket_addrs();
        let found = found.with_context(|| format!("find the host {}", self.host)).exit(Exit::NoHost)?;
        Ok(found.collect())
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

/// Host and UDP port, as [`parse_server`] reads it.
impl fmt::Display for ServerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.bracketed(), self.port)
    }
}

impl FromStr for ServerAddr {
    type Err = ParseServerError;

    fn from_str(text: &str) -> Result<Self, ParseServerError> {
        parse_server(text)
    }
}

/// An invitation: `http://HOST:HTTP_PORT/c/CHANNEL#SECRET`. Browsers keep what follows the `#` to themselves, so the
/// server never sees the secret. No `Debug`: links end up in logs.
#[derive(Clone, Eq, PartialEq)]
pub struct InviteLink {
    /// The rendezvous.
    pub server: ServerAddr,
    /// The channel's name.
    pub channel: String,
    /// The secret in its text form.
    pub secret: String,
}

/// A text is not an invitation.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an invitation looks like http://HOST:8470/c/CHANNEL#SECRET")]
pub struct ParseInviteError;

impl InviteLink {
    /// The whole link. It is a secret.
    pub fn to_text(&self) -> String {
        format!("{}/c/{}#{}", self.server.http_url(), percent_encode(&self.channel), self.secret)
    }
}

impl FromStr for InviteLink {
    type Err = ParseInviteError;

    fn from_str(text: &str) -> Result<Self, ParseInviteError> {
        let (place, secret) = text.trim().split_once('#').ok_or(ParseInviteError)?;
        let (server, channel) = place.rsplit_once("/c/").ok_or(ParseInviteError)?;
        let channel = percent_decode(channel.trim_end_matches('/')).ok_or(ParseInviteError)?;
        if !server.starts_with("http") || channel.is_empty() || secret.is_empty() {
            return Err(ParseInviteError);
        }
        Ok(Self { server: parse_server(server).map_err(|_| ParseInviteError)?, channel, secret: secret.to_owned() })
    }
}

/// A channel's name as one segment of a URL's path (RFC 3986).
pub fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_in_many_ways() {
        let rows = [
            ("talk.example.org", "talk.example.org", 3478, 8470),
            (" talk.example.org:4000\n", "talk.example.org", 4000, 8470),
            ("192.0.2.1:4000", "192.0.2.1", 4000, 8470),
            ("::1", "::1", 3478, 8470),
            ("[::1]", "::1", 3478, 8470),
            ("[2001:db8::1]:4000", "2001:db8::1", 4000, 8470),
            ("http://talk.example.org", "talk.example.org", 3478, 8470),
            ("http://talk.example.org:80/c/lobby#x", "talk.example.org", 3478, 80),
            ("https://[::1]:9000/", "::1", 3478, 9000),
        ];
        for (text, host, port, http_port) in rows {
            assert_eq!(parse_server(text), Ok(ServerAddr { host: host.into(), port, http_port }), "{text}");
        }
    }

    #[test]
    fn what_names_no_server_is_refused_with_the_reason() {
        let rows = [
            ("", "there is no host in \"\""),
            (":3478", "there is no host in \":3478\""),
            ("http:///c/lobby", "there is no host in \"http:///c/lobby\""),
            ("host:", "\"\" is not a port (1 to 65535)"),
            ("host:0", "\"0\" is not a port (1 to 65535)"),
            ("host:+80", "\"+80\" is not a port (1 to 65535)"),
            ("host:99999", "\"99999\" is not a port (1 to 65535)"),
            ("[::1]x", "\"[::1]x\" is not a host name or address"),
            ("two words", "\"two words\" is not a host name or address"),
        ];
        for (text, reason) in rows {
            assert_eq!(parse_server(text).unwrap_err().to_string(), reason, "{text}");
        }
    }

    #[test]
    fn a_server_is_shown_as_it_is_read() {
        for text in ["talk.example.org:3478", "[2001:db8::1]:4000"] {
            assert_eq!(parse_server(text).unwrap().to_string(), text);
        }
        assert_eq!(parse_server("[::1]:4000").unwrap().http_url(), "http://[::1]:8470");
    }

    #[test]
    fn an_invitation_survives_being_pasted() {
        for (channel, path) in [("lobby", "lobby"), ("two words/日本", "two%20words%2F%E6%97%A5%E6%9C%AC")] {
            let server = parse_server("[::1]").unwrap();
            let link = InviteLink { server, channel: channel.into(), secret: "s3cret".into() };
            assert_eq!(link.to_text(), format!("http://[::1]:8470/c/{path}#s3cret"));
            assert!(link.to_text().parse::<InviteLink>().is_ok_and(|read| read == link));
        }
    }

    #[test]
    fn half_an_invitation_is_none() {
        for text in
            ["", "lobby#x", "http://h/c/lobby", "http://h/c/lobby#", "http://h/c/#x", "http://h/c/%f#x", "h/c/x#y"]
        {
            assert!(text.parse::<InviteLink>().is_err(), "{text}");
        }
    }
}
