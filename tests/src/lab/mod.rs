//! A lab: routers with real NATs, hosts behind them and a server, each a network namespace, without root.
//!
//! A process first moves into a [`sandbox`]; then it may start a [`Lab`], or several with different prefixes.
//! A lab gives [`Netns`]es to start programs in and sockets from, and can be changed while it runs:
//! [`Lab::wire`], [`Lab::loss`], [`Lab::reboot`], [`Lab::renumber`], [`Lab::cable`], [`Lab::roam`], [`Lab::second`].
//! What passes at a host's cable can be listened to: [`Lab::arrivals`], [`Lab::departures`].
//! It ends when it is dropped; what a killed process leaves of it goes with the sandbox.
//!
//! It does not know the programs that run in it.

mod conduct;
mod conntrack;
pub mod control;
mod events;
mod middle;
mod nat;
mod netns;
mod place;
mod plan;
pub mod prove;
mod rules;
pub mod sandbox;
mod settings;
mod sockets;
mod spec;
mod sys;
mod tap;
mod wire;

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

pub use nat::{Filtering, Hairpin, KINDS, Mapping, Nat, Ports, Udp, Unsolicited, V6};
pub use netns::{Netns, join};
use plan::{Plan, WIRES};
pub use plan::{SERVER_V4, SERVER_V6};
pub use spec::{SERVER, Site, sites};
pub use tap::{Passed, Tap};
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
    losses: middle::Losses,
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
        let (nodes, losses) = (nodes.into_iter().collect(), middle::Losses::default());
        let mut lab = Self { plan, losses, wires: None, nodes };
        lab.node(plan::INET)?.feed("ip", &["-batch", "-"], &lab.plan.links)?;
        at_once(&names, |name| lab.configure(name))?;
        lab.wires = lab.start_wires(sites)?;
        let deadline = Instant::now() + PATIENCE;
        for name in names {
            let interfaces = lab.plan.interfaces.iter().filter(|(node, _)| *node == name);
            let interfaces: Vec<_> = interfaces.map(|(_, interface)| interface.as_str()).collect();
            lab.wait_until_running(&name, &interfaces, deadline)?;
        }
        Ok(lab)
    }

    fn configure(&self, name: &str) -> anyhow::Result<()> {
        let node = self.node(name)?;
        if name == plan::INET {
            node.feed("nft", &["-f", "-"], &self.losses.script(&self.plan))?;
        }
        if let Some(router) = self.plan.routers.get(name) {
            node.feed("nft", &["-f", "-"], &router.rules())?;
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
    fn wait_until_running(&self, name: &str, interfaces: &[&str], deadline: Instant) -> anyhow::Result<()> {
        let addresses = self.plan.v6.iter().filter(|(node, _)| node == name);
        self.node(name)?.within(|| {
            let mut waiting = interfaces.to_vec();
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
        self.plan.host(host)?.v4.with_context(|| format!("{host} has no IPv4"))
    }

    /// A host's IPv6 address.
    ///
    /// # Errors
    /// If there is no such host, or it has none.
    pub fn address_v6(&self, host: &str) -> anyhow::Result<Ipv6Addr> {
        self.plan.host(host)?.v6.with_context(|| format!("{host} has no IPv6"))
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
}

/// As /proc/net/igmp6 spells the group ff02::1:ffXX:XXXX of an address.
fn solicited_group(address: Ipv6Addr) -> String {
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
