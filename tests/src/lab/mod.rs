//! A lab: routers with real NATs, hosts behind them and a server, each a network namespace, without root.
//!
//! A process first moves into a [`sandbox`]; then it may start a [`Lab`], or several with different prefixes.
//! A lab gives [`Netns`]es to start programs in and sockets from, and can be changed while it runs:
//! [`Lab::wire`], [`Lab::reboot`], [`Lab::renumber`], [`Lab::cable`]. It ends when it is dropped; what a
//! killed process leaves of it goes with the sandbox.
//!
//! It does not know the programs that run in it.

mod conntrack;
pub mod control;
mod nat;
mod netns;
mod plan;
pub mod prove;
pub mod sandbox;
mod settings;
mod spec;
mod sys;
mod wire;

use std::{
    collections::BTreeMap,
    fs,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

pub use nat::{Filtering, KINDS, Mapping, Nat, Ports};
pub use netns::{Netns, join};
use plan::{Plan, WIRES};
pub use plan::{SERVER_V4, SERVER_V6};
pub use spec::{SERVER, Site, sites};
pub use wire::{Change, Settings};
use wire::{Leg, Wires};

/// Interfaces and addresses are there long before; this is for a machine that is busy otherwise.
const PATIENCE: Duration = Duration::from_secs(10);

/// The name of the sandbox itself, where a name of a node is asked for.
pub const SANDBOX: &str = ".";

/// A running lab.
#[derive(Debug)]
pub struct Lab {
    plan: Plan,
    // Before the namespaces, so that its sockets are closed when they go.
    wires: Option<Wires>,
    nodes: BTreeMap<String, Netns>,
}

impl Lab {
    /// Builds a lab; the names of its namespaces start with `prefix`.
    ///
    /// # Errors
    /// If the spec is wrong, or the system does not let it be built, as outside of a [`sandbox`].
    pub fn start(prefix: &str, spec: &str) -> anyhow::Result<Self> {
        Self::build(prefix, &sites(spec)?)
    }

    /// Builds a lab from sites that are read already.
    ///
    /// # Errors
    /// As for [`Lab::start`].
    pub fn build(prefix: &str, sites: &[Site]) -> anyhow::Result<Self> {
        let plan = Plan::new(prefix, sites)?;
        let names: Vec<_> = plan.setup.keys().cloned().collect();
        let nodes = at_once(&names, |name| Ok((name.clone(), Netns::create(&format!("{prefix}{name}"))?)))?;
        let mut lab = Self { plan, wires: None, nodes: nodes.into_iter().collect() };
        lab.node(plan::INET)?.feed("ip", &["-batch", "-"], &lab.plan.links)?;
        at_once(&names, |name| lab.configure(name))?;
        lab.wires = lab.start_wires(sites)?;
        let deadline = Instant::now() + PATIENCE;
        for name in names {
            lab.wait_until_running(&name, deadline)?;
        }
        Ok(lab)
    }

    fn configure(&self, name: &str) -> anyhow::Result<()> {
        let node = self.node(name)?;
        if let Some(router) = self.plan.routers.get(name) {
            let external = router.external;
            let rules = router.site.nat.rules(external, router.site.timeout);
            node.feed("nft", &["-f", "-"], &rules)?;
            node.within(|| {
                conntrack::set_timeouts(router.site.timeout);
                Ok(())
            })?;
        }
        node.feed("ip", &["-batch", "-"], &self.plan.setup[name])
    }

    fn start_wires(&self, sites: &[Site]) -> anyhow::Result<Option<Wires>> {
        let legs: Vec<Leg> = sites
            .iter()
            .filter_map(|site| Some(Leg { site: site.name.clone(), settings: site.wire.clone()? }))
            .collect();
        if legs.is_empty() {
            return Ok(None);
        }
        self.node(WIRES)?.within(|| Wires::start(legs)).map(Some)
    }

    /// Waits for carriers, and for IPv6 addresses until the kernel listens for neighbours that ask for them.
    fn wait_until_running(&self, name: &str, deadline: Instant) -> anyhow::Result<()> {
        let interfaces = self.plan.interfaces.iter().filter(|(node, _)| node == name);
        let addresses = self.plan.v6.iter().filter(|(node, _)| node == name);
        self.node(name)?.within(|| {
            let mut waiting: Vec<_> = interfaces.map(|(_, interface)| interface.as_str()).collect();
            let mut asked_for: Vec<_> = addresses.map(|(_, address)| solicited_group(*address)).collect();
            loop {
                waiting.retain(|interface| !sys::is_running(interface).unwrap_or(false));
                if !asked_for.is_empty() {
                    let groups = fs::read_to_string("/proc/thread-self/net/igmp6").unwrap_or_default();
                    asked_for.retain(|group| !groups.contains(group.as_str()));
                }
                if waiting.is_empty() && asked_for.is_empty() {
                    return Ok(());
                }
                if Instant::now() > deadline {
                    bail!("{name}: {waiting:?} {asked_for:?} did not come up");
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        })
    }

    /// What the names of its namespaces start with.
    pub fn prefix(&self) -> &str {
        self.plan.prefix()
    }

    /// The namespace of a router, host, or [`SERVER`].
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn node(&self, name: &str) -> anyhow::Result<&Netns> {
        self.nodes.get(name).with_context(|| format!("there is no node {name} in this lab"))
    }

    /// A host's address in its LAN.
    ///
    /// # Errors
    /// If there is no such host.
    pub fn address(&self, host: &str) -> anyhow::Result<Ipv4Addr> {
        self.plan.hosts.get(host).copied().with_context(|| format!("there is no host {host}"))
    }

    /// The hosts' names.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.plan.hosts.keys().map(String::as_str)
    }

    /// A router's address towards the network.
    ///
    /// # Errors
    /// If there is no such router.
    pub fn external(&self, router: &str) -> anyhow::Result<Ipv4Addr> {
        self.plan.of(router).map(|router| router.external)
    }

    /// Changes the wire of a site.
    ///
    /// # Errors
    /// If the site has no wire.
    pub fn wire(&self, site: &str, change: &Change) -> anyhow::Result<()> {
        let wires = self.wires.as_ref().context("no site of this lab has a wire (wire=x makes one)")?;
        wires.change(site, change)
    }

    /// Makes a router forget its mappings.
    ///
    /// # Errors
    /// If there is no such router, or the kernel refuses.
    pub fn reboot(&self, router: &str) -> anyhow::Result<()> {
        let router = self.plan.of(router)?;
        let node = self.node(&router.site.name)?;
        // A flow that lives on between the two steps would teach the new rules its old mapping.
        node.feed("nft", &["-f", "-"], nat::SWITCHED_OFF)?;
        node.within(conntrack::flush)?;
        node.feed("nft", &["-f", "-"], &router.site.nat.rules(router.external, router.site.timeout))
    }

    /// Gives a router another external address.
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
        self.reboot(router)
    }

    /// Pulls the cable between a router and the network, or puts it back.
    ///
    /// # Errors
    /// As for [`Lab::reboot`].
    pub fn cable(&self, router: &str, is_in: bool) -> anyhow::Result<()> {
        let router = self.plan.of(router)?;
        // The far end: this one loses its carrier, and keeps its routes.
        let upstream = match is_in {
            true => router.cable_in(),
            false => format!("link set to-{} down\n", router.site.name),
        };
        self.node(&router.upstream)?.feed("ip", &["-batch", "-"], &upstream)?;
        if is_in {
            let deadline = Instant::now() + PATIENCE;
            self.wait_until_running(&router.upstream, deadline)?;
            self.wait_until_running(&router.site.name, deadline)?;
            // Who asked for a neighbour in vain would ask again only after a second.
            self.node(&router.site.name)?.feed("ip", &["-batch", "-"], "neigh flush dev wan\n")?;
        }
        Ok(())
    }
}

/// As /proc/net/igmp6 spells the group ff02::1:ffXX:XXXX of an address.
fn solicited_group(address: std::net::Ipv6Addr) -> String {
    let [.., a, b, c] = address.octets();
    format!("ff0200000000000000000001ff{a:02x}{b:02x}{c:02x}")
}

/// Runs `f` for every name, each on its own thread: most of the time goes to starting programs.
fn at_once<T: Send>(names: &[String], f: impl Fn(&String) -> anyhow::Result<T> + Sync) -> anyhow::Result<Vec<T>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = names.iter().map(|name| scope.spawn(|| f(name))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}
