//! UPnP's XML: the description of a device, and the calls of its WAN connection service.

use std::{fmt::Write, net::Ipv4Addr};

use roxmltree::{Document, Node, ParsingOptions};

use crate::http::{HttpError, Location};

/// More than any router's description has; a document of 64 KiB could have far more.
const MAX_NODES: u32 = 4096;
/// Connections of one router that are tried.
const MAX_SERVICES: usize = 4;

/// The services that map ports, best first. Only these names go into requests, never the router's own text.
const SERVICE_TYPES: [&str; 3] = [
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];

/// A service that maps ports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Service {
    kind: &'static str,
    pub(crate) control: Location,
}

/// Why a document of the router is of no use.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum XmlError {
    #[error("the router's XML can't be read: {0}")]
    Malformed(String),
    #[error("the router's XML lacks {0}")]
    Missing(&'static str),
    #[error("the router describes no service that maps ports")]
    NoService,
    #[error("the router names a control address on another host")]
    OtherHost,
    #[error("the router's control address can't be used: {0}")]
    Control(HttpError),
    #[error("the router refuses with UPnP error {0}")]
    Fault(u16),
}

/// Reads a description that came from `at`: the services that map ports, best first.
pub(crate) fn services(description: &[u8], at: &Location) -> Result<Vec<Service>, XmlError> {
    with_document(description, |document| {
        let elements = || document.descendants().filter(Node::is_element);
        let base = elements().find(|node| node.tag_name().name() == "URLBase").and_then(|node| node.text());
        let base = match base.map(str::trim).filter(|text| !text.is_empty()) {
            Some(text) => text.parse().map_err(XmlError::Control)?,
            None => at.clone(),
        };
        let listed = elements().filter(|node| node.tag_name().name() == "service").filter_map(|node| {
            let text = |name: &str| node.children().find(|child| child.tag_name().name() == name)?.text();
            let rank = SERVICE_TYPES.iter().position(|known| text("serviceType").map(str::trim) == Some(known))?;
            Some((rank, text("controlURL")?))
        });
        let mut listed: Vec<_> = listed.take(MAX_SERVICES).collect();
        listed.sort_by_key(|(rank, _)| *rank);
        let services = listed.into_iter().map(|(rank, reference)| {
            let control = base.join(reference).map_err(XmlError::Control)?;
            if control.server.ip() != at.server.ip() {
                return Err(XmlError::OtherHost);
            }
            Ok(Service { kind: SERVICE_TYPES[rank], control })
        });
        let services = services.collect::<Result<Vec<_>, _>>()?;
        if services.is_empty() { Err(XmlError::NoService) } else { Ok(services) }
    })
}

/// What to ask a service for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapping {
    pub(crate) external_port: u16,
    pub(crate) internal_port: u16,
    pub(crate) client: Ipv4Addr,
    /// 0 asks for a mapping without an end.
    pub(crate) lease_s: u32,
}

impl Service {
    pub(crate) fn external_address(&self) -> crate::http::Request {
        self.call("GetExternalIPAddress", &[])
    }

    /// `AddAnyPortMapping` where there is one: it takes another port by itself if the one asked for is taken.
    pub(crate) fn add(&self, mapping: &Mapping) -> crate::http::Request {
        let action = if self.chooses_port() { "AddAnyPortMapping" } else { "AddPortMapping" };
        let port = mapping.external_port.to_string();
        let arguments = [
            ("NewRemoteHost", ""),
            ("NewExternalPort", &port),
            ("NewProtocol", "UDP"),
            ("NewInternalPort", &mapping.internal_port.to_string()),
            ("NewInternalClient", &mapping.client.to_string()),
            ("NewEnabled", "1"),
            ("NewPortMappingDescription", "Punchline"),
            ("NewLeaseDuration", &mapping.lease_s.to_string()),
        ];
        self.call(action, &arguments)
    }

    pub(crate) fn delete(&self, external_port: u16) -> crate::http::Request {
        let port = external_port.to_string();
        let arguments = [("NewRemoteHost", ""), ("NewExternalPort", &port), ("NewProtocol", "UDP")];
        self.call("DeletePortMapping", &arguments)
    }

    /// Whether the router answers an [`Self::add`] with the port that it chose.
    pub(crate) fn chooses_port(&self) -> bool {
        self.kind == SERVICE_TYPES[0]
    }

    /// Every argument is ours and free of markup.
    fn call(&self, action: &str, arguments: &[(&str, &str)]) -> crate::http::Request {
        let kind = self.kind;
        let mut body = format!(
            "<?xml version=\"1.0\"?>\r\n<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body><u:{action} xmlns:u=\"{kind}\">"
        );
        for (name, value) in arguments {
            // Writing to a String can't fail.
            let _ = write!(body, "<{name}>{value}</{name}>");
        }
        let _ = write!(body, "</u:{action}></s:Body></s:Envelope>\r\n");
        self.control.post(&format!("{kind}#{action}"), &body)
    }
}

/// Reads an argument out of the answer to a call, or why the call was refused.
pub(crate) fn argument<T: std::str::FromStr>(answer: &[u8], name: &'static str) -> Result<T, XmlError> {
    with_document(answer, |document| {
        let text = |name: &str| {
            let node = document.descendants().find(|node| node.tag_name().name() == name)?;
            node.text().map(str::trim)
        };
        if let Some(code) = text("errorCode") {
            return Err(XmlError::Fault(code.parse().unwrap_or_default()));
        }
        text(name).and_then(|text| text.parse().ok()).ok_or(XmlError::Missing(name))
    })
}

/// Whether the answer to a call says that it was refused.
pub(crate) fn fault(answer: &[u8]) -> Option<XmlError> {
    match argument::<String>(answer, "errorCode") {
        Err(error @ (XmlError::Fault(_) | XmlError::Malformed(_))) => Some(error),
        _ => None,
    }
}

/// Entities can't be declared, so none can grow; documents are bounded in bytes by the HTTP reader and in nodes here.
fn with_document<T>(bytes: &[u8], read: impl FnOnce(&Document<'_>) -> Result<T, XmlError>) -> Result<T, XmlError> {
    let malformed = |error: &dyn std::fmt::Display| XmlError::Malformed(error.to_string().chars().take(80).collect());
    let text = std::str::from_utf8(bytes).map_err(|error| malformed(&error))?;
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    // Some routers send an end of string along.
    let text = text.trim_start_matches('\u{feff}').trim_matches(['\0', ' ', '\r', '\n', '\t']);
    let document = Document::parse_with_options(text, options).map_err(|error| malformed(&error))?;
    read(&document)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Location {
        "http://192.168.1.1:5000/rootDesc.xml".parse().unwrap()
    }

    fn description(services: &str) -> Vec<u8> {
        format!(
            "<?xml version=\"1.0\"?>\n<root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device><deviceList><device>\
             <serviceList>{services}</serviceList></device></deviceList></device></root>"
        )
        .into_bytes()
    }

    fn service(kind: &str, control: &str) -> String {
        format!("<service><serviceType>{kind}</serviceType><controlURL>{control}</controlURL></service>")
    }

    #[test]
    fn the_best_service_comes_first_whatever_the_order() {
        let all: String =
            SERVICE_TYPES.iter().rev().enumerate().map(|(n, kind)| service(kind, &format!("/ctl{n}"))).collect();
        let found = services(&description(&all), &at()).unwrap();
        let kinds: Vec<_> = found.iter().map(|service| service.kind).collect();
        assert_eq!(kinds, SERVICE_TYPES);
        assert_eq!(found[0].control, "http://192.168.1.1:5000/ctl2".parse().unwrap());
    }

    #[test]
    fn a_control_address_on_another_host_is_refused() {
        for control in ["http://203.0.113.9/ctl", "http://192.168.1.2:5000/ctl"] {
            let lies = description(&service(SERVICE_TYPES[1], control));
            assert_eq!(services(&lies, &at()), Err(XmlError::OtherHost));
        }
        let base = String::from_utf8(description(&service(SERVICE_TYPES[1], "/ctl"))).unwrap();
        let base = base.replace("<device><deviceList>", "<URLBase>http://203.0.113.9/</URLBase><device><deviceList>");
        assert_eq!(services(base.as_bytes(), &at()), Err(XmlError::OtherHost));
        let name = description(&service(SERVICE_TYPES[1], "http://victim.example/ctl"));
        assert!(matches!(services(&name, &at()), Err(XmlError::Control(_))));
    }

    #[test]
    fn a_control_address_can_not_smuggle_headers() {
        let lies = description(&service(SERVICE_TYPES[1], "/ctl&#13;&#10;Evil: yes"));
        assert!(matches!(services(&lies, &at()), Err(XmlError::Control(_))));
    }

    #[test]
    fn a_device_that_maps_no_ports_is_named() {
        let printer = description(&service("urn:schemas-upnp-org:service:Printer:1", "/ctl"));
        assert_eq!(services(&printer, &at()), Err(XmlError::NoService));
        let bare = description("<service><controlURL>/x</controlURL></service><service/>");
        assert_eq!(services(&bare, &at()), Err(XmlError::NoService));
    }

    #[test]
    fn bombs_do_not_go_off() {
        let laughs = "<?xml version=\"1.0\"?><!DOCTYPE r [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;\">]><r>&b;</r>";
        assert!(matches!(services(laughs.as_bytes(), &at()), Err(XmlError::Malformed(_))));
        let outside = "<!DOCTYPE r [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><r>&x;</r>";
        assert!(matches!(services(outside.as_bytes(), &at()), Err(XmlError::Malformed(_))));
        let wide = format!("<r>{}</r>", "<a/>".repeat(10_000));
        assert!(matches!(services(wide.as_bytes(), &at()), Err(XmlError::Malformed(_))));
        let deep = format!("{}{}", "<a>".repeat(9_000), "</a>".repeat(9_000));
        assert!(matches!(services(deep.as_bytes(), &at()), Err(XmlError::Malformed(_))));
        let just_deep_enough = format!("{}{}", "<a>".repeat(4_000), "</a>".repeat(4_000));
        assert_eq!(services(just_deep_enough.as_bytes(), &at()), Err(XmlError::NoService));
    }

    #[test]
    fn nonsense_is_refused() {
        for nonsense in [&b""[..], b"<", b"<a>", b"\xff\xfe", b"hello", b"<a>&undeclared;</a>", b"<a b=c/>"] {
            assert!(matches!(services(nonsense, &at()), Err(XmlError::Malformed(_))), "{nonsense:?}");
        }
    }

    #[test]
    fn a_call_is_a_document_with_the_arguments_in_order() {
        let service = Service { kind: SERVICE_TYPES[1], control: at() };
        let mapping =
            Mapping { external_port: 4001, internal_port: 4000, client: Ipv4Addr::new(192, 168, 1, 7), lease_s: 3600 };
        let text = String::from_utf8(service.add(&mapping).bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let action = "SOAPAction: \"urn:schemas-upnp-org:service:WANIPConnection:1#AddPortMapping\"";
        assert!(head.contains(action), "{head}");
        let document = Document::parse(body).unwrap();
        let call = document.descendants().find(|node| node.tag_name().name() == "AddPortMapping").unwrap();
        let arguments: Vec<_> = call.children().map(|n| (n.tag_name().name(), n.text().unwrap_or_default())).collect();
        assert_eq!(arguments[1], ("NewExternalPort", "4001"));
        assert_eq!(arguments[4], ("NewInternalClient", "192.168.1.7"));
        assert_eq!(arguments[7], ("NewLeaseDuration", "3600"));
    }

    #[test]
    fn answers_are_read_and_faults_are_named() {
        let answer = b"<s:Envelope xmlns:s=\"x\"><s:Body><u:R xmlns:u=\"y\"><NewExternalIPAddress>203.0.113.7\
            </NewExternalIPAddress></u:R></s:Body></s:Envelope>\0";
        assert_eq!(argument(answer, "NewExternalIPAddress"), Ok(Ipv4Addr::new(203, 0, 113, 7)));
        assert_eq!(argument::<u16>(answer, "NewReservedPort"), Err(XmlError::Missing("NewReservedPort")));
        let conflict = b"<s:Fault xmlns:s=\"x\"><UPnPError><errorCode>718</errorCode></UPnPError></s:Fault>";
        assert_eq!(argument::<u16>(conflict, "NewReservedPort"), Err(XmlError::Fault(718)));
        assert_eq!(fault(conflict), Some(XmlError::Fault(718)));
        assert_eq!(fault(answer), None);
    }
}
