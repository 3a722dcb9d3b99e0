//! From sites to commands: which namespaces there are, how they are joined, and what each is told.
//!
//! `inet` is a router with one point-to-point veth per site, not a bridge: hop counts are real, and a site's only
//! neighbour is 203.0.113.1. A carrier is the same for the sites behind it. LANs are bridges in their routers.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context, ensure};

use super::{
    V6,
    place::{Host, Router, line, port_to, up, v6, wire_ends},
    spec::{SERVER, Site},
};

/// Addresses of the server.
pub const SERVER_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 10), Ipv4Addr::new(198, 51, 100, 10)];
/// The server's IPv6 addresses.
pub const SERVER_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11)];

pub(super) const INET: &str = "inet";
pub(super) const WIRES: &str = "wires";
const INET_GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// Sites are numbered from 1; 203.0.113.10 is the server's.
const FIRST_SITE: u8 = 20;

/// Everything about a lab that can be said before it is there.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// What each namespace's `ip -batch` is told once all links are there.
    pub(super) setup: BTreeMap<String, String>,
    /// The one batch that makes every link; it names namespaces with this prefix.
    pub(super) links: String,
    /// Interfaces that must be running before packets get through, and IPv6 addresses.
    pub(super) interfaces: Vec<(String, String)>,
    pub(super) v6: Vec<(String, Ipv6Addr)>,
    pub(super) routers: BTreeMap<String, Router>,
    pub(super) hosts: BTreeMap<String, Host>,
    prefix: String,
    veths: u32,
}

impl Plan {
    pub(super) fn new(prefix: &str, sites: &[Site]) -> anyhow::Result<Self> {
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
        plan.route_through_carriers();
        Ok(plan)
    }

    fn server(&mut self, site: &Site) {
        let [first, second] = SERVER_V4;
        let [first_v6, second_v6] = SERVER_V6;
        self.leg(site, INET, "eth0");
        self.say(
            SERVER,
            format_args!(
                "link set lo up\naddr add {first}/32 dev eth0\naddr add {second}/32 dev eth0
addr add fe80::2/64 dev eth0 nodad\naddr add {first_v6}/128 dev eth0 nodad\naddr add {second_v6}/128 dev eth0 nodad
route add {INET_GATEWAY}/32 dev eth0 src {first}\nroute add default via {INET_GATEWAY} dev eth0 src {first}
route add ::/0 via fe80::1 dev eth0 src {first_v6}"
            ),
        );
        self.v6.push((SERVER.into(), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2)));
        let text = SERVER_V4.map(|addr| format!("route add {addr}/32 dev to-srv src {INET_GATEWAY}\n")).concat();
        let text_v6 = SERVER_V6.map(|addr| format!("route add {addr}/128 via fe80::2 dev to-srv\n")).concat();
        self.say(INET, format_args!("{text}{}", text_v6.trim_end()));
    }

    fn router(&mut self, site: &Site, number: u8, carrier: Option<(&str, u8)>) -> anyhow::Result<()> {
        let offset = FIRST_SITE + number;
        let (upstream, gateway, external) = match carrier {
            None => (INET, INET_GATEWAY, Ipv4Addr::new(203, 0, 113, offset)),
            Some((up, n)) => (up, Ipv4Addr::new(100, 64, n, 1), Ipv4Addr::new(100, 64, n, offset)),
        };
        let mut router = Router { site: site.clone(), upstream: upstream.into(), external, number, gateway, hosts: 0 };
        let name = &site.name;
        self.leg(site, upstream, "wan");
        if carrier.is_some() {
            self.say(upstream, format_args!("link set lo up\naddr replace {gateway}/32 dev lo"));
        }
        self.say(upstream, format_args!("{}", router.routes_to("add").trim_end()));
        self.say(name, format_args!("link set lo up\n{}", router.address("add").trim_end()));
        if site.v6 != V6::None {
            self.say(name, format_args!("addr add fe80::2/64 dev wan nodad\nroute add ::/0 via fe80::1 dev wan"));
            self.v6.push((name.clone(), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2)));
        }
        self.lan(&mut router)?;
        ensure!(self.routers.insert(name.clone(), router).is_none(), "two sites {name}");
        Ok(())
    }

    /// A LAN, though nobody may be there yet, and its hosts.
    fn lan(&mut self, router: &mut Router) -> anyhow::Result<()> {
        let name = router.site.name.clone();
        let [a, b, c] = router.lan();
        // A bridge that is up before its ports tells of its carrier at once.
        self.say(&name, format_args!("link add lan type bridge forward_delay 0 mcast_snooping 0\nlink set lan up"));
        self.say(&name, format_args!("addr add {a}.{b}.{c}.1/24 dev lan"));
        let hosts = router.site.hosts.unwrap_or(1);
        if router.site.v6 != V6::None {
            self.say(&name, format_args!("addr add {}/64 dev lan nodad", v6(router.number, 1)));
            if hosts > 0 {
                self.v6.push((name.clone(), v6(router.number, 1)));
            }
        }
        for n in 1..=hosts {
            let (host, place) = (format!("{name}{n}"), router.welcome()?);
            self.veth((&name, &port_to(&host)), (&host, "eth0"));
            self.say(&name, format_args!("link set {} master lan", port_to(&host)));
            self.say(&host, format_args!("link set lo up\n{}", place.arrives("eth0").trim_end()));
            self.v6.extend(place.v6.map(|v6| (host.clone(), v6)));
            self.hosts.insert(host, place);
        }
        if hosts > 0 {
            self.interfaces.push((name, "lan".into()));
        }
        Ok(())
    }

    /// Networks with IPv6 behind carriers are known all the way up.
    fn route_through_carriers(&mut self) {
        let mut routes = Vec::new();
        for router in self.routers.values().filter(|router| router.site.v6 != V6::None) {
            let mut below = router;
            while let Some(carrier) = self.routers.get(&below.upstream) {
                let to = &carrier.site.name;
                routes.push((
                    carrier.upstream.clone(),
                    format!("route add {}/64 via fe80::2 dev to-{to}", router.prefix_v6()),
                ));
                below = carrier;
            }
        }
        for (node, route) in routes {
            self.say(&node, format_args!("{route}"));
        }
    }

    /// The way of a site to its upstream router: one veth, or two with a wire between them.
    fn leg(&mut self, site: &Site, upstream: &str, own: &str) {
        let name = &site.name;
        let there = port_to(name);
        if site.wire.is_some() {
            let (inner, outer) = wire_ends(name);
            self.veth((WIRES, &inner), (name, own));
            self.veth((WIRES, &outer), (upstream, &there));
        } else {
            self.veth((upstream, &there), (name, own));
        }
        if let Some(mtu) = site.mtu {
            self.say(name, format_args!("link set {own} mtu {mtu}"));
            self.say(upstream, format_args!("link set {there} mtu {mtu}"));
        }
        if upstream == INET || site.v6 != V6::None {
            self.say(upstream, format_args!("addr add fe80::1/64 dev {there} nodad"));
        }
    }

    /// Two ends with different numbers: only such a pair tells of its carrier at once.
    fn veth(&mut self, (a_node, a): (&str, &str), (b_node, b): (&str, &str)) {
        let text = self.veth_between((a_node, a), (b_node, b));
        self.links.push_str(&text);
        for (node, end) in [(a_node, a), (b_node, b)] {
            self.say(node, format_args!("{}", up(end)));
            self.interfaces.push((node.to_owned(), end.to_owned()));
        }
    }

    /// What some namespace is told to join two others.
    pub(super) fn veth_between(&mut self, (a_node, a): (&str, &str), (b_node, b): (&str, &str)) -> String {
        self.veths += 1;
        let (index, prefix) = (1000 + self.veths, &self.prefix);
        format!("link add {a} netns {prefix}{a_node} index {index} type veth peer name {b} netns {prefix}{b_node}\n")
    }

    fn say(&mut self, node: &str, text: std::fmt::Arguments<'_>) {
        line(self.setup.entry(node.to_owned()).or_default(), text);
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The router of that name.
    pub(super) fn of(&self, name: &str) -> anyhow::Result<&Router> {
        self.routers.get(name).with_context(|| format!("there is no router {name}"))
    }

    /// The host of that name.
    pub(super) fn host(&self, name: &str) -> anyhow::Result<&Host> {
        self.hosts.get(name).with_context(|| format!("there is no host {name}"))
    }

    /// A place for another host behind a router.
    pub(super) fn welcome(&mut self, router: &str) -> anyhow::Result<Host> {
        self.routers.get_mut(router).with_context(|| format!("there is no router {router}"))?.welcome()
    }
}
