//! What happens to a running lab.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::{
    Lab, PATIENCE, conntrack,
    place::{port_to, up},
    plan::INET,
    rules,
    spec::SERVER,
    wire::Change,
};

impl Lab {
    /// Changes the wire of a site.
    ///
    /// # Errors
    /// If the site has no wire.
    pub fn wire(&self, site: &str, change: &Change) -> anyhow::Result<()> {
        let wires = self.wires.as_ref().context("no site of this lab has a wire (wire=x makes one)")?;
        wires.change(site, change)
    }

    /// Lets a share of the packets from one site to another be lost; 0 mends it. Sites behind one carrier are one
    /// site here.
    ///
    /// # Errors
    /// If there is no such site, or the kernel refuses.
    pub fn loss(&mut self, from: &str, to: &str, share: f64) -> anyhow::Result<()> {
        for site in [from, to] {
            ensure!(site == SERVER || self.plan.routers.contains_key(site), "there is no site {site}");
        }
        ensure!((0.0..=1.0).contains(&share), "a share is from 0 to 1");
        self.losses.set(from, to, share);
        self.tell_the_core()
    }

    fn tell_the_core(&self) -> anyhow::Result<()> {
        self.node(INET)?.feed("nft", &["-f", "-"], &self.losses.script(&self.plan))
    }

    /// Makes a router forget its mappings.
    ///
    /// # Errors
    /// If there is no such router, or the kernel refuses.
    pub fn reboot(&self, router: &str) -> anyhow::Result<()> {
        self.reboot_for(router, Duration::ZERO)
    }

    /// The same with a router that lets nothing pass for so long.
    ///
    /// # Errors
    /// As for [`Lab::reboot`].
    pub fn reboot_for(&self, router: &str, outage: Duration) -> anyhow::Result<()> {
        let router = self.plan.of(router)?;
        let node = self.node(&router.site.name)?;
        // A flow that lives on between the two steps would teach the new rules its old mapping.
        node.feed("nft", &["-f", "-"], rules::SWITCHED_OFF)?;
        std::thread::sleep(outage);
        node.within(conntrack::flush)?;
        node.feed("nft", &["-f", "-"], &router.rules())
    }

    /// Gives a router another external IPv4 address.
    ///
    /// # Errors
    /// As for [`Lab::reboot`].
    pub fn renumber(&mut self, router: &str) -> anyhow::Result<()> {
        let old = self.plan.of(router)?.clone();
        let new = old.renumbered();
        let upstream = format!("{}{}", old.routes_to("del"), new.routes_to("add"));
        self.node(&old.upstream)?.feed("ip", &["-batch", "-"], &upstream)?;
        self.node(router)?.feed("ip", &["-batch", "-"], &format!("{}{}", old.address("del"), new.address("add")))?;
        self.plan.routers.insert(router.to_owned(), new);
        self.tell_the_core()?;
        self.reboot(router)
    }

    /// Pulls the cable between a router and the network, or a host and its router, or puts it back.
    ///
    /// # Errors
    /// If there is no such router or host, or the kernel refuses.
    pub fn cable(&self, name: &str, is_in: bool) -> anyhow::Result<()> {
        let router = self.plan.routers.get(name);
        // The far end: this one loses its carrier, and keeps its routes.
        let far = match router {
            Some(router) => &router.upstream,
            None => &self.plan.host(name)?.router,
        };
        let command = match (router, is_in) {
            (_, false) => format!("link set {} down\n", port_to(name)),
            (Some(router), true) => router.cable_in(),
            (None, true) => format!("link set {} up\n", port_to(name)),
        };
        self.node(far)?.feed("ip", &["-batch", "-"], &command)?;
        if is_in {
            let deadline = Instant::now() + PATIENCE;
            let device = if router.is_some() { "wan" } else { "eth0" };
            self.wait_until_running(far, &[&port_to(name)], deadline)?;
            self.wait_until_running(name, &[device], deadline)?;
            self.forget_neighbours(name, device)?;
        }
        Ok(())
    }

    /// Carries a host to another router's LAN, where it gets other addresses on the same interface.
    ///
    /// # Errors
    /// If there is no such host or router, or it is there already, or the kernel refuses.
    pub fn roam(&mut self, host: &str, router: &str) -> anyhow::Result<()> {
        let old = self.plan.host(host)?.router.clone();
        ensure!(old != router, "{host} is behind {router} already");
        let place = self.plan.welcome(router)?;
        let (port, prefix) = (port_to(host), self.prefix());
        let leave = format!("link set {port} down\nlink set {port} netns {prefix}{router}\n");
        self.node(&old)?.feed("ip", &["-batch", "-"], &leave)?;
        // Down and up is what makes it lose its routes and its IPv6 addresses.
        let arrive = format!("link set eth0 down\naddr flush dev eth0\n{}\n{}", up("eth0"), place.arrives("eth0"));
        self.node(router)?.feed("ip", &["-batch", "-"], &format!("link set {port} master lan\n{}\n", up(&port)))?;
        self.node(host)?.feed("ip", &["-batch", "-"], &arrive)?;
        self.plan.v6.retain(|(node, _)| node != host);
        self.plan.v6.extend(place.v6.map(|v6| (host.to_owned(), v6)));
        self.plan.hosts.insert(host.to_owned(), place);
        self.wait_for_lan(router, &port, host, "eth0")
    }

    /// Gives a host a second interface, `eth1`, in another router's LAN; packets take it if the first leads nowhere.
    ///
    /// # Errors
    /// If there is no such host or router, or it has a second one, or the kernel refuses.
    pub fn second(&mut self, host: &str, router: &str) -> anyhow::Result<()> {
        ensure!(self.plan.host(host)?.router != router, "{host} is behind {router} already");
        let place = self.plan.welcome(router)?;
        let port = format!("{}-2", port_to(host));
        let link = self.plan.veth_between((router, &port), (host, "eth1"));
        self.node(INET)?.feed("ip", &["-batch", "-"], &link)?;
        self.node(router)?.feed("ip", &["-batch", "-"], &format!("link set {port} master lan\n{}\n", up(&port)))?;
        self.node(host)?.feed("ip", &["-batch", "-"], &format!("{}\n{}", up("eth1"), place.arrives_second("eth1")))?;
        self.plan.v6.extend(place.v6.map(|v6| (host.to_owned(), v6)));
        self.wait_for_lan(router, &port, host, "eth1")
    }

    fn wait_for_lan(&self, router: &str, port: &str, host: &str, interface: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        self.wait_until_running(router, &["lan", port], deadline)?;
        self.wait_until_running(host, &[interface], deadline)?;
        self.forget_neighbours(host, interface)
    }

    /// Who asked for a neighbour in vain would ask again only after a second.
    fn forget_neighbours(&self, name: &str, interface: &str) -> anyhow::Result<()> {
        self.node(name)?.feed("ip", &["-batch", "-"], &format!("neigh flush dev {interface}\n"))
    }
}
