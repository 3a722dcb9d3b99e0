//! A real miniupnpd on a router of the lab.

use std::{fs, net::Ipv4Addr, process::Stdio, time::Duration, time::Instant};

use rustix::process::Signal;

use super::{Home, Program};
use crate::lab::{Lab, sandbox};

/// What routes between all sites of a lab.
const INET: &str = "inet";
/// What addresses behind a carrier begin with (RFC 6598).
const CARRIERS: u8 = 100;
/// Longer than a mapping takes to come or go.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running miniupnpd.
#[derive(Debug)]
pub struct Miniupnpd {
    home: Home,
    router: String,
    external: Ipv4Addr,
    program: Program,
}

impl Miniupnpd {
    /// Starts it on a router. It serves no address out of the ranges for documentation, of which labs are made, so the
    /// router gets a second one: see [`Self::external`]. Behind a carrier it has none to serve.
    pub fn start(lab: &Lab, router: &str) -> Self {
        let [first, .., site] = lab.external(router).expect("a router").octets();
        if first == CARRIERS {
            let (home, external) = (Home::new(), Ipv4Addr::UNSPECIFIED);
            let program = launch(lab, &home, (router, external), &[]);
            return Self { home, router: router.to_owned(), external, program };
        }
        let external = Ipv4Addr::new(11, 0, 0, site);
        let feed = |node: &str, text: String| lab.node(node).and_then(|node| node.feed("ip", &["-batch", "-"], &text));
        feed(router, format!("addr add {external}/32 dev wan\n")).expect("another address");
        feed(INET, format!("route add {external}/32 dev to-{router}\n")).expect("a route to it");
        let home = Home::new();
        // Its epoch is the system's uptime, so that one after a restart is less, however soon that is.
        let program = launch(lab, &home, (router, external), &["-U"]);
        Self { home, router: router.to_owned(), external, program }
    }

    /// The router's address that it forwards ports of.
    pub fn external(&self) -> Ipv4Addr {
        self.external
    }

    /// Ends it, makes the router forget what was mapped, and starts it again, as a restart of the router does.
    pub fn restart(&mut self, lab: &Lab) {
        self.program.signal(Signal::KILL);
        self.program.end();
        // There is none if nothing was mapped.
        let _ = fs::remove_file(self.home.path().join("leases"));
        self.program = launch(lab, &self.home, (&self.router, self.external), &[]);
    }

    /// Its list of mappings, a line each: protocol, external port, inside address and port, end, who asked.
    pub fn leases(&self) -> Vec<String> {
        let text = fs::read_to_string(self.home.path().join("leases")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until it has so many mappings; gives them.
    pub fn until_leases(&self, number: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leases = self.leases();
            if leases.len() == number {
                return leases;
            }
            assert!(Instant::now() < deadline, "not {number} mappings in time: {leases:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Makes a router deaf to protocols that ask for mappings: `pcp`, `nat-pmp`.
pub fn deafen(lab: &Lab, router: &str, protocols: &[&str]) {
    let mut rules = String::from("table inet deaf {\nchain input {\ntype filter hook input priority -10\n");
    for protocol in protocols {
        let version = if *protocol == "pcp" { 2 } else { 0 };
        // The first byte behind the header of UDP is the version.
        rules.push_str(&format!("iifname \"lan\" udp dport 5351 @th,64,8 {version} drop\n"));
    }
    rules.push_str("}\n}\n");
    lab.node(router).and_then(|node| node.feed("nft", &["-f", "-"], &rules)).expect("rules");
}

fn launch(lab: &Lab, home: &Home, (router, external): (&str, Ipv4Addr), options: &[&str]) -> Program {
    lab.node(router).and_then(|node| node.feed("nft", &["-f", "-"], RULES)).expect("a place for its rules");
    let dir = home.path().display();
    let config = home.path().join("miniupnpd.conf");
    let address = if external.is_unspecified() { String::new() } else { format!("ext_ip={external}\n") };
    fs::write(&config, format!("{address}lease_file={dir}/leases\n{CONFIG}")).expect("a configuration");
    let path = sandbox::tool("miniupnpd").expect("miniupnpd");
    let mut command = home.own("natlab");
    command.args(["exec", router, "--"]).arg(path).arg("-d").arg("-f").arg(&config);
    command.args(["-P", &format!("{dir}/pid")]).args(options).env("LAB_PREFIX", lab.prefix());
    let (mut program, _) = Program::in_pipeline(home, "miniupnpd", &mut command, Stdio::null());
    while !program.line("word that it listens").contains("Listening for NAT-PMP/PCP traffic on port 5351") {}
    program
}

const CONFIG: &str = "ext_ifname=wan
listening_ip=lan
ipv6_disable=yes
enable_natpmp=yes
enable_upnp=yes
secure_mode=yes
upnp_table_name=miniupnpd
upnp_nat_table_name=miniupnpd
uuid=00000000-0000-4000-8000-000000000001
allow 1024-65535 192.168.0.0/16 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
";

/// The chains that it writes to, empty.
const RULES: &str = "table inet miniupnpd {
}
delete table inet miniupnpd
table inet miniupnpd {
chain miniupnpd {
}
chain prerouting_miniupnpd {
}
chain postrouting_miniupnpd {
}
chain forward {
type filter hook forward priority -10
jump miniupnpd
}
chain prerouting {
type nat hook prerouting priority dstnat
jump prerouting_miniupnpd
}
chain postrouting {
type nat hook postrouting priority srcnat
jump postrouting_miniupnpd
}
}
";
