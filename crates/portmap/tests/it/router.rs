//! A router of our making, which speaks what it is told to.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use portmap::{Request, Transmit};

pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
pub(crate) const SERVER: SocketAddrV4 = SocketAddrV4::new(GATEWAY, 5351);
pub(crate) const HTTP: SocketAddrV4 = SocketAddrV4::new(GATEWAY, 5000);
const WAN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
pub(crate) const PORT: u16 = 40_112;

/// What a router is told to be.
pub(crate) type Setting = fn(&mut Router);
/// Routers that speak one protocol alone, by its name.
pub(crate) const EACH: [(&str, Setting); 3] = [
    ("pcp", |router| router.pcp = true),
    ("nat-pmp", |router| router.natpmp = true),
    ("upnp", |router| router.upnp = true),
];

/// What a router speaks, and what it says.
pub(crate) struct Router {
    pub(crate) pcp: bool,
    pub(crate) natpmp: bool,
    pub(crate) upnp: bool,
    pub(crate) external: Ipv4Addr,
    /// What a lifetime is answered with, if not as asked.
    pub(crate) lifetime: Option<u32>,
    /// Ports that somebody else has.
    pub(crate) taken: Vec<u16>,
    pub(crate) only_permanent: bool,
    /// Of the service; 2 has AddAnyPortMapping.
    pub(crate) version: u8,
    /// Sent in place of any HTTP answer.
    pub(crate) http_lie: Option<Vec<u8>>,
    /// Where it says that its description is.
    pub(crate) location: String,
    /// External port to the end of the mapping.
    pub(crate) mappings: BTreeMap<u16, Instant>,
    /// Every request that was understood, in words.
    pub(crate) asked: Vec<&'static str>,
    started: Instant,
}

impl Router {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            pcp: false,
            natpmp: false,
            upnp: false,
            external: WAN,
            lifetime: None,
            taken: Vec::new(),
            only_permanent: false,
            version: 1,
            http_lie: None,
            location: format!("http://{HTTP}/root.xml"),
            mappings: BTreeMap::new(),
            asked: Vec::new(),
            started: now,
        }
    }

    fn epoch(&self, now: Instant) -> [u8; 4] {
        (now.duration_since(self.started).as_secs() as u32).to_be_bytes()
    }

    /// Loses everything but its settings.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.mappings.clear();
        self.started = now;
    }

    /// As PCP announces a restart.
    pub(crate) fn announcement(&self, now: Instant) -> Vec<u8> {
        let mut bytes = vec![2, 0x80, 0, 0, 0, 0, 0, 0];
        bytes.extend(self.epoch(now));
        bytes.resize(24, 0);
        bytes
    }

    fn map(&mut self, internal: u16, wished: u16, lifetime_s: u32, now: Instant) -> (u16, u32) {
        let port = if wished == 0 { internal } else { wished };
        if lifetime_s == 0 {
            self.mappings.remove(&port);
            return (port, 0);
        }
        let granted = self.lifetime.unwrap_or(lifetime_s);
        if granted > 0 {
            self.mappings.insert(port, now + Duration::from_secs(granted.into()));
        }
        (port, granted)
    }

    pub(crate) fn answer(&mut self, datagram: &Transmit, now: Instant) -> Option<(SocketAddrV4, Vec<u8>)> {
        let bytes = &datagram.payload;
        if datagram.to.port() == 1900 {
            self.asked.push("search");
            let answer = format!(
                "HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nLOCATION: {}\r\n\r\n",
                self.location
            );
            return self.upnp.then(|| (SocketAddrV4::new(GATEWAY, 1900), answer.into_bytes()));
        }
        assert_eq!(datagram.to, SERVER);
        let answer = match bytes[0] {
            2 => self.answer_pcp(bytes, now),
            _ => self.answer_natpmp(bytes, now),
        };
        Some((SERVER, answer?))
    }

    fn answer_pcp(&mut self, request: &[u8], now: Instant) -> Option<Vec<u8>> {
        if !self.pcp {
            // A server of NAT-PMP alone says so in its own version (RFC 6887, appendix A).
            return self.natpmp.then(|| vec![0, 0x81, 0, 1, 0, 0, 0, 0]);
        }
        self.asked.push("pcp map");
        let lifetime_s = u32::from_be_bytes(request[4..8].try_into().expect("four bytes"));
        let port = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
        let (external, granted) = self.map(port(40), port(42), lifetime_s, now);
        let mut answer = vec![2, 0x81, 0, 0];
        answer.extend(granted.to_be_bytes());
        answer.extend(self.epoch(now));
        answer.resize(24, 0);
        answer.extend(&request[24..42]);
        answer.extend(external.to_be_bytes());
        answer.extend(self.external.to_ipv6_mapped().octets());
        Some(answer)
    }

    fn answer_natpmp(&mut self, request: &[u8], now: Instant) -> Option<Vec<u8>> {
        if !self.natpmp {
            return None;
        }
        let mut answer = vec![0, request[1] | 0x80, 0, 0];
        answer.extend(self.epoch(now));
        if let [_, 1, _, _, i0, i1, s0, s1, lifetime @ ..] = request {
            self.asked.push("nat-pmp map");
            let lifetime_s = u32::from_be_bytes(lifetime.try_into().expect("four bytes"));
            let internal = u16::from_be_bytes([*i0, *i1]);
            let (external, granted) = self.map(internal, u16::from_be_bytes([*s0, *s1]), lifetime_s, now);
            answer.extend(internal.to_be_bytes());
            answer.extend(external.to_be_bytes());
            answer.extend(granted.to_be_bytes());
        } else {
            self.asked.push("nat-pmp address");
            answer.extend(self.external.octets());
        }
        Some(answer)
    }

    pub(crate) fn serve(&mut self, request: &Request, now: Instant) -> Vec<u8> {
        let text = String::from_utf8(request.bytes.clone()).expect("text");
        if let Some(lie) = &self.http_lie {
            return lie.clone();
        }
        let argument = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            rest.split('<').next()?.parse::<u16>().ok()
        };
        if text.starts_with("GET /root.xml ") {
            self.asked.push("description");
            return http(200, &self.description());
        }
        assert!(text.starts_with("POST /ctl "), "{text}");
        let port = argument("NewExternalPort").unwrap_or_default();
        if text.contains("#GetExternalIPAddress\"") {
            self.asked.push("address");
            return http(200, &format!("<r><NewExternalIPAddress>{}</NewExternalIPAddress></r>", self.external));
        }
        if text.contains("#DeletePortMapping\"") {
            self.asked.push("delete");
            self.mappings.remove(&port);
            return http(200, "<r/>");
        }
        let lease = argument("NewLeaseDuration").expect("a lease");
        if self.only_permanent && lease != 0 {
            return fault(725);
        }
        if text.contains("#AddAnyPortMapping\"") {
            self.asked.push("add any");
            let port = if self.taken.contains(&port) { port + 1 } else { port };
            self.map(port, port, lease.into(), now);
            return http(200, &format!("<r><NewReservedPort>{port}</NewReservedPort></r>"));
        }
        self.asked.push("add");
        if self.taken.contains(&port) {
            return fault(718);
        }
        let lease = if lease == 0 { u32::MAX } else { lease.into() };
        self.map(port, port, lease, now);
        http(200, "<r/>")
    }

    fn description(&self) -> String {
        let version = self.version;
        format!(
            "<root xmlns=\"urn:schemas-upnp-org:device-1-0\"><service><serviceType>\
             urn:schemas-upnp-org:service:WANIPConnection:{version}</serviceType><controlURL>/ctl</controlURL>\
             </service></root>"
        )
    }
}

pub(crate) fn http(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn fault(code: u16) -> Vec<u8> {
    http(500, &format!("<f><errorCode>{code}</errorCode></f>"))
}
