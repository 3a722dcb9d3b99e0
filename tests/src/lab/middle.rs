//! The middle of the network: how long it is, and what it loses on the way from one site to another.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    place::Router,
    plan::{Plan, SERVER_V4, SERVER_V6},
    spec::SERVER,
};

/// Which share of the packets from one site to another is lost.
#[derive(Debug, Default)]
pub(super) struct Losses(BTreeMap<(String, String), f64>);

impl Losses {
    pub(super) fn set(&mut self, from: &str, to: &str, share: f64) {
        let path = (from.to_owned(), to.to_owned());
        match share > 0.0 {
            true => drop(self.0.insert(path, share)),
            false => drop(self.0.remove(&path)),
        }
    }

    /// What nft is told. As the kernel counts, a packet has one hop less to go here than when it came.
    pub(super) fn script(&self, plan: &Plan) -> String {
        let hops = netsim::CORE_HOPS;
        let mut rules = format!("ip ttl < {hops} drop\nip6 hoplimit < {hops} drop\n");
        for ((from, to), share) in &self.0 {
            let often = match *share < 1.0 {
                true => format!("numgen random mod 10000 < {:.0}", share * 10_000.0),
                false => String::new(),
            };
            for (family, from, to) in pairs(&networks(plan, from), &networks(plan, to)) {
                // Writing to a String can't fail.
                let _ = writeln!(rules, "{family} saddr {from} {family} daddr {to} {often} drop");
            }
        }
        format!(
            "flush ruleset\ntable inet core {{\nchain forward {{\ntype filter hook forward priority filter\n{rules}}}\n}}\n"
        )
    }
}

/// As what the network sees a site, by family.
fn networks(plan: &Plan, site: &str) -> Vec<(&'static str, String)> {
    let v4 = |address: &dyn ToString| ("ip", address.to_string());
    if site == SERVER {
        let v6 = SERVER_V6.map(|address| ("ip6", address.to_string()));
        return SERVER_V4.iter().map(|address| v4(address)).chain(v6).collect();
    }
    let Some(router) = plan.routers.get(site) else { return Vec::new() };
    let outermost = std::iter::successors(Some(router), |router| plan.routers.get(&router.upstream)).last();
    let externals = outermost.map(|router| v4(&router.external));
    let lan = router.public_lan().map(|lan| v4(&format!("{lan}/24")));
    let v6 = Some(("ip6", format!("{}/64", Router::prefix_v6(router))));
    externals.into_iter().chain(lan).chain(v6).collect()
}

fn pairs(from: &[(&'static str, String)], to: &[(&'static str, String)]) -> Vec<(&'static str, String, String)> {
    let of = |(family, from): &(&'static str, String)| {
        let (family, from) = (*family, from.clone());
        to.iter().filter(move |(other, _)| *other == family).map(move |(_, to)| (family, from.clone(), to.clone()))
    };
    from.iter().flat_map(of).collect()
}
