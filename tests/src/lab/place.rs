//! Where routers and hosts are, and what they are told to be there.

use std::{
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr},
};

use anyhow::ensure;

use super::{Mapping, V6, rules::Rules, spec::Site};

/// Other people's public networks, for sites without NAT.
const PUBLIC_LANS: [u8; 2] = [198, 18];
/// Hosts of a LAN are numbered from 1; below are its router and what tests put there.
const FIRST_HOST: u8 = 10;
/// A second interface is used where the first leads nowhere.
const SECOND_METRIC: u16 = 2000;

/// A host's place in a LAN.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Host {
    /// The router that it is behind.
    pub(super) router: String,
    pub(super) v4: Option<Ipv4Addr>,
    pub(super) v6: Option<Ipv6Addr>,
    gateways: (Ipv4Addr, Ipv6Addr),
}

/// A router's place in the network.
#[derive(Clone, Debug)]
pub(super) struct Router {
    pub(super) site: Site,
    pub(super) upstream: String,
    pub(super) external: Ipv4Addr,
    pub(super) number: u8,
    pub(super) gateway: Ipv4Addr,
    /// So many hosts have been here.
    pub(super) hosts: u8,
}

impl Host {
    /// What the host is told to be there with this interface.
    pub(super) fn arrives(&self, interface: &str) -> String {
        self.routes_with(interface, "")
    }

    /// The same for an interface beside the one that all packets take if they can.
    pub(super) fn arrives_second(&self, interface: &str) -> String {
        self.routes_with(interface, &format!(" metric {SECOND_METRIC}"))
    }

    fn routes_with(&self, interface: &str, metric: &str) -> String {
        let mut text = String::new();
        let (gateway, gateway_v6) = self.gateways;
        if let Some(v4) = self.v4 {
            line(&mut text, format_args!("addr add {v4}/24 dev {interface}"));
            line(&mut text, format_args!("route add default via {gateway} dev {interface}{metric}"));
        }
        if let Some(v6) = self.v6 {
            line(&mut text, format_args!("addr add {v6}/64 dev {interface} nodad"));
            line(&mut text, format_args!("route add ::/0 via {gateway_v6} dev {interface}{metric}"));
        }
        text
    }
}

impl Router {
    /// The same with an address that it has not had before.
    pub(super) fn renumbered(&self) -> Self {
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
    pub(super) fn routes_to(&self, verb: &str) -> String {
        let Self { external, gateway, number, site, .. } = self;
        let name = &site.name;
        let mut text = format!("route {verb} {external}/32 dev to-{name} src {gateway}\n");
        if site.nat.mapping == Mapping::None {
            let [a, b, ..] = self.lan();
            line(&mut text, format_args!("route {verb} {a}.{b}.{number}.0/24 via {external} dev to-{name} onlink"));
        }
        if site.v6 != V6::None {
            line(&mut text, format_args!("route {verb} {}/64 via fe80::2 dev to-{name}", self.prefix_v6()));
        }
        text
    }

    /// What the upstream router is told to put the cable in: all that it forgot when the cable was out.
    pub(super) fn cable_in(&self) -> String {
        let name = &self.site.name;
        format!("link set to-{name} up\naddr replace fe80::1/64 dev to-{name} nodad\n{}", self.routes_to("replace"))
    }

    /// What the router is told to have its address; with "del" to lose it.
    pub(super) fn address(&self, verb: &str) -> String {
        let Self { external, gateway, .. } = self;
        let mut text = format!("addr {verb} {external}/32 dev wan\n");
        if verb == "add" {
            line(&mut text, format_args!("route replace {gateway}/32 dev wan src {external}"));
            line(&mut text, format_args!("route replace default via {gateway} dev wan src {external}"));
        }
        text
    }

    /// What nft is told for it to do what it should.
    pub(super) fn rules(&self) -> String {
        let Site { nat, v6, timeout, .. } = &self.site;
        Rules { nat, external: self.external, v6: *v6, timeout: *timeout }.script()
    }

    /// The network of its hosts' IPv6 addresses.
    pub(super) fn prefix_v6(&self) -> Ipv6Addr {
        v6(self.number, 0)
    }

    /// The public network of its hosts' IPv4 addresses, if they have such.
    pub(super) fn public_lan(&self) -> Option<Ipv4Addr> {
        let [a, b, c] = self.lan();
        (self.site.nat.mapping == Mapping::None).then(|| Ipv4Addr::new(a, b, c, 0))
    }

    /// Gives a place in the LAN that nobody has had.
    pub(super) fn welcome(&mut self) -> anyhow::Result<Host> {
        ensure!(self.hosts < 200, "{} has no room for another host", self.site.name);
        self.hosts += 1;
        let ([a, b, c], number) = (self.lan(), FIRST_HOST + self.hosts);
        Ok(Host {
            router: self.site.name.clone(),
            v4: self.site.v4.then(|| Ipv4Addr::new(a, b, c, number)),
            v6: (self.site.v6 != V6::None).then(|| v6(self.number, number.into())),
            gateways: (Ipv4Addr::new(a, b, c, 1), v6(self.number, 1)),
        })
    }

    /// The first three bytes of its LAN.
    pub(super) fn lan(&self) -> [u8; 3] {
        match self.site.nat.mapping {
            Mapping::None => [PUBLIC_LANS[0], PUBLIC_LANS[1], self.number],
            _ => [192, 168, self.site.lan.unwrap_or(self.number)],
        }
    }
}

/// What a namespace is told of an interface: one segment per packet, or a burst would count as one for loss.
pub(super) fn up(interface: &str) -> String {
    format!("link set {interface} gso_max_segs 1 up")
}

/// A router's interface towards a host or another router.
pub(super) fn port_to(name: &str) -> String {
    format!("to-{name}")
}

/// The names of a wire's two ends: towards the site, towards the network.
pub(super) fn wire_ends(site: &str) -> (String, String) {
    (format!("{site}-in"), format!("{site}-out"))
}

pub(super) fn v6(site: u8, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, u16::from(site) + 0x100, 0, 0, 0, 0, host)
}

pub(super) fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String can't fail.
    let _ = writeln!(text, "{what}");
}
