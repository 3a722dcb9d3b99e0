//! From sites to commands: which namespaces there are, how they are joined, and what each is told.
//!
//! `inet` is a router with one point-to-point veth per site, not a bridge: hop counts are real, and a site's only
//! neighbour is 203.0.113.1. A carrier is the same for the sites behind it. LANs are bridges in their routers.

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context, ensure};

use super::spec::{SERVER, Site};

/// Addresses of the server.
pub const SERVER_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 10), Ipv4Addr::new(198, 51, 100, 10)];
/// The server's IPv6 address.
pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);

pub(crate) const INET: &str = "inet";
pub(crate) const WIRES: &str = "wires";
const INET_GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// Other people's public networks, for sites without NAT.
const PUBLIC_LANS: [u8; 2] = [198, 18];
/// Sites are numbered from 1; 203.0.113.10 is the server's.
const FIRST_SITE: u8 = 20;

/// Everything about a lab that can be said before it is there.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// What each namespace's `ip -batch` is told once all links are there.
    pub(crate) setup: BTreeMap<String, String>,
    /// The one batch that makes every link; it names namespaces with this prefix.
    pub(crate) links: String,
    /// Interfaces that must be running before packets get through, and IPv6 addresses.
    pub(crate) interfaces: Vec<(String, String)>,
    pub(crate) v6: Vec<(String, Ipv6Addr)>,
    pub(crate) routers: BTreeMap<String, Router>,
    pub(crate) hosts: BTreeMap<String, Ipv4Addr>,
    prefix: String,
    veths: u32,
}

/// A router's place in the network.
#[derive(Clone, Debug)]
pub(crate) struct Router {
    pub(crate) site: Site,
    pub(crate) upstream: String,
    pub(crate) external: Ipv4Addr,
    number: u8,
    gateway: Ipv4Addr,
}

impl Router {
    /// The same with an address that it has not had before.
    pub(crate) fn renumbered(&self) -> Self {
        let [a, b, c, d] = self.external.octets();
        let next = match (a, c) {
            (203, _) => [198, 51, 100, d],
            (198, _) => [203, 0, 113, d],
            // Behind a carrier: the upper half of its range.
            _ => [a, b, c, d ^ 128],
        };
        Self { external: next.into(), ..self.clone() }
    }

    /// What the upstream router is told to reach this one; with "del" to forget it.
    pub(crate) fn routes_to(&self, verb: &str) -> String {
        let Self { external, gateway, number, site, .. } = self;
        let name = &site.name;
        let mut text = format!("route {verb} {external}/32 dev to-{name} src {gateway}\n");
        if site.nat.mapping == super::Mapping::None {
            let [a, b, ..] = self.lan();
            line(&mut text, format_args!("route {verb} {a}.{b}.{number}.0/24 via {external} dev to-{name} onlink"));
        }
        if site.v6 && self.upstream == INET {
            line(&mut text, format_args!("route {verb} {}/64 via fe80::2 dev to-{name}", v6(*number, 0)));
        }
        text
    }

    /// What the upstream router is told to put the cable in: all that it forgot when the cable was out.
    pub(crate) fn cable_in(&self) -> String {
        let name = &self.site.name;
        format!("link set to-{name} up\naddr replace fe80::1/64 dev to-{name} nodad\n{}", self.routes_to("replace"))
    }

    /// What the router is told to have its address; with "del" to lose it.
    pub(crate) fn address(&self, verb: &str) -> String {
        let Self { external, gateway, .. } = self;
        let mut text = format!("addr {verb} {external}/32 dev wan\n");
        if verb == "add" {
            line(&mut text, format_args!("route replace {gateway}/32 dev wan src {external}"));
            line(&mut text, format_args!("route replace default via {gateway} dev wan src {external}"));
        }
        text
    }

    /// The first three bytes of its LAN.
    fn lan(&self) -> [u8; 3] {
        match self.site.nat.mapping {
            super::Mapping::None => [PUBLIC_LANS[0], PUBLIC_LANS[1], self.number],
            _ => [192, 168, self.site.lan.unwrap_or(self.number)],
        }
    }
}

impl Plan {
    pub(crate) fn new(prefix: &str, sites: &[Site]) -> anyhow::Result<Self> {
        ensure!(sites.len() < 100, "a lab has at most 98 sites");
        let mut plan = Self { prefix: prefix.to_owned(), ..Self::default() };
        plan.say(INET, format_args!("link set lo up\naddr add {INET_GATEWAY}/32 dev lo"));
        if sites.iter().any(|site| site.wire.is_some()) {
            plan.say(WIRES, format_args!("link set lo up"));
        }
        let numbers: BTreeMap<_, _> = sites.iter().zip(0u8..).map(|(site, n)| (site.name.as_str(), n)).collect();
        for site in sites {
            let number = numbers[site.name.as_str()];
            if site.name == SERVER {
                plan.server(site);
            } else {
                let carrier = site.up.as_deref().map(|up| (up, numbers[up]));
                plan.router(site, number, carrier)?;
            }
        }
        Ok(plan)
    }

    fn server(&mut self, site: &Site) {
        let [first, second] = SERVER_V4;
        self.leg(site, INET, "eth0");
        self.say(
            SERVER,
            format_args!(
                "link set lo up\naddr add {first}/32 dev eth0\naddr add {second}/32 dev eth0
addr add fe80::2/64 dev eth0 nodad\naddr add {SERVER_V6}/128 dev eth0 nodad
route add {INET_GATEWAY}/32 dev eth0 src {first}\nroute add default via {INET_GATEWAY} dev eth0 src {first}
route add ::/0 via fe80::1 dev eth0 src {SERVER_V6}"
            ),
        );
        self.v6.push((SERVER.into(), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2)));
        let text = SERVER_V4.map(|addr| format!("route add {addr}/32 dev to-srv src {INET_GATEWAY}\n")).concat();
        self.say(INET, format_args!("{text}route add {SERVER_V6}/128 via fe80::2 dev to-srv"));
    }

    fn router(&mut self, site: &Site, number: u8, carrier: Option<(&str, u8)>) -> anyhow::Result<()> {
        let offset = FIRST_SITE + number;
        let (upstream, gateway, external) = match carrier {
            None => (INET, INET_GATEWAY, Ipv4Addr::new(203, 0, 113, offset)),
            Some((up, n)) => (up, Ipv4Addr::new(100, 64, n, 1), Ipv4Addr::new(100, 64, n, offset)),
        };
        let router = Router { site: site.clone(), upstream: upstream.into(), external, number, gateway };
        let name = &site.name;
        self.leg(site, upstream, "wan");
        if carrier.is_some() {
            self.say(upstream, format_args!("link set lo up\naddr replace {gateway}/32 dev lo"));
        }
        self.say(upstream, format_args!("{}", router.routes_to("add").trim_end()));
        self.say(name, format_args!("link set lo up\n{}", router.address("add").trim_end()));
        if carrier.is_none() && site.v6 {
            self.say(name, format_args!("addr add fe80::2/64 dev wan nodad\nroute add ::/0 via fe80::1 dev wan"));
            self.v6.push((name.clone(), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2)));
        }
        let hosts = site.hosts.unwrap_or(1);
        if hosts > 0 {
            self.lan(&router, hosts);
        }
        ensure!(self.routers.insert(name.clone(), router).is_none(), "two sites {name}");
        Ok(())
    }

    fn lan(&mut self, router: &Router, hosts: u8) {
        let name = &router.site.name;
        let [a, b, c] = router.lan();
        // A bridge that is up before its ports tells of its carrier at once.
        self.say(name, format_args!("link add lan type bridge forward_delay 0 mcast_snooping 0\nlink set lan up"));
        self.say(name, format_args!("addr add {a}.{b}.{c}.1/24 dev lan"));
        if router.site.v6 {
            self.say(name, format_args!("addr add {}/64 dev lan nodad", v6(router.number, 1)));
            self.v6.push((name.clone(), v6(router.number, 1)));
        }
        for n in 1..=hosts {
            let host = format!("{name}{n}");
            let address = Ipv4Addr::new(a, b, c, 10 + n);
            self.veth((name, &format!("to-{host}")), (&host, "eth0"));
            self.say(name, format_args!("link set to-{host} master lan"));
            self.say(&host, format_args!("link set lo up\naddr add {address}/24 dev eth0"));
            self.say(&host, format_args!("route add default via {a}.{b}.{c}.1"));
            if router.site.v6 {
                let own = v6(router.number, 10 + u16::from(n));
                self.say(&host, format_args!("addr add {own}/64 dev eth0 nodad"));
                self.say(&host, format_args!("route add ::/0 via {}", v6(router.number, 1)));
                self.v6.push((host.clone(), own));
            }
            self.hosts.insert(host, address);
        }
        self.interfaces.push((name.clone(), "lan".into()));
    }

    /// The way of a site to its upstream router: one veth, or two with a wire between them.
    fn leg(&mut self, site: &Site, upstream: &str, own: &str) {
        let name = &site.name;
        let there = format!("to-{name}");
        if site.wire.is_some() {
            let (inner, outer) = wire_ends(name);
            self.veth((WIRES, &inner), (name, own));
            self.veth((WIRES, &outer), (upstream, &there));
        } else {
            self.veth((upstream, &there), (name, own));
        }
        if upstream == INET {
            self.say(INET, format_args!("addr add fe80::1/64 dev {there} nodad"));
        }
    }

    /// Two ends with different numbers: only such a pair tells of its carrier at once. One segment per packet, or a
    /// burst would count as one for loss.
    fn veth(&mut self, (a_node, a): (&str, &str), (b_node, b): (&str, &str)) {
        self.veths += 1;
        let (index, prefix) = (1000 + self.veths, &self.prefix);
        line(
            &mut self.links,
            format_args!(
                "link add {a} netns {prefix}{a_node} index {index} type veth peer name {b} netns {prefix}{b_node}"
            ),
        );
        for (node, end) in [(a_node, a), (b_node, b)] {
            self.say(node, format_args!("link set {end} gso_max_segs 1 up"));
            self.interfaces.push((node.to_owned(), end.to_owned()));
        }
    }

    fn say(&mut self, node: &str, text: std::fmt::Arguments<'_>) {
        line(self.setup.entry(node.to_owned()).or_default(), text);
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The router of that name.
    pub(crate) fn of(&self, name: &str) -> anyhow::Result<&Router> {
        self.routers.get(name).with_context(|| format!("there is no router {name}"))
    }
}

/// The names of a wire's two ends: towards the site, towards the network.
pub(crate) fn wire_ends(site: &str) -> (String, String) {
    (format!("{site}-in"), format!("{site}-out"))
}

fn v6(site: u8, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, u16::from(site) + 0x100, 0, 0, 0, 0, host)
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String can't fail.
    let _ = writeln!(text, "{what}");
}
