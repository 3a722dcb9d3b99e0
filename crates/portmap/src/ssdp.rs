//! Finding the router's UPnP description (UPnP Device Architecture 1.1, section 1.3).

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::http::{HttpError, Location};

/// Where UPnP devices listen.
pub(crate) const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), 1900);

/// Devices of version 2 answer to this, too.
const GATEWAY_DEVICE: &str = "urn:schemas-upnp-org:device:InternetGatewayDevice:1";
const MAX_HEADERS: usize = 32;

/// The search for a gateway; MX lets devices wait for a second at most.
pub(crate) fn search() -> Vec<u8> {
    format!("M-SEARCH * HTTP/1.1\r\nHOST: {GROUP}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: {GATEWAY_DEVICE}\r\n\r\n")
        .into_bytes()
}

/// Reads an answer to a search: where the description is. `None` if it is of another kind of device.
pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Location>, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let is_whole = response.parse(bytes).is_ok_and(|status| status.is_complete());
    if !is_whole || response.code != Some(200) {
        return Err(HttpError::Malformed("it answers no search"));
    }
    let value = |name: &str| {
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.and_then(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
    };
    if value("ST") != Some(GATEWAY_DEVICE) {
        return Ok(None);
    }
    value("LOCATION").ok_or(HttpError::Malformed("it has no location"))?.parse().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As miniupnpd 2.3.1 answers.
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\n\
        ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\
        USN: uuid:00000000-0000-4000-8000-000000000001::urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\
        EXT:\r\nSERVER: Debian/6.18 UPnP/1.1 MiniUPnPd/2.3.1\r\n\
        LOCATION: http://192.168.7.1:38543/rootDesc.xml\r\n\r\n";

    #[test]
    fn the_location_of_a_gateway_is_found() {
        let found = decode(ANSWER.as_bytes()).unwrap().unwrap();
        assert_eq!(found, "http://192.168.7.1:38543/rootDesc.xml".parse().unwrap());
    }

    #[test]
    fn other_devices_and_nonsense_are_not_taken() {
        let printer = ANSWER.replace("InternetGatewayDevice", "Printer");
        assert_eq!(decode(printer.as_bytes()), Ok(None));
        for nonsense in [
            String::new(),
            "NOTIFY * HTTP/1.1\r\n\r\n".into(),
            ANSWER.replace("200 OK", "404 No"),
            ANSWER.replace("LOCATION", "X"),
            ANSWER.replace("http://", "file://"),
            ANSWER.replace("\r\n\r\n", "\r\n"),
        ] {
            assert!(decode(nonsense.as_bytes()).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn search_bytes() {
        let text = String::from_utf8(search()).unwrap();
        assert!(text.starts_with("M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n"));
    }
}
