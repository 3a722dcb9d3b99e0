//! Where benches take place: a lab with a rendezvous in it.

use anyhow::{Result, ensure};

use super::program::{Program, Says};
use crate::{
    call::{Home, Rendezvous},
    lab::{Lab, SERVER},
};

/// The round trip between any two, unless it is said otherwise.
pub(super) const RTT_MS: u32 = 40;
/// The way from one to another.
pub(super) const ONE_WAY_MS: f64 = RTT_MS as f64 / 2.0;
/// A round trip crosses the wire of each of two sites twice.
const LEGS: u32 = 4;

/// A running lab with its rendezvous.
#[derive(Debug)]
pub(super) struct Stage {
    // First, so that it ends before its network.
    _rendezvous: Program,
    pub(super) lab: Lab,
    _home: Home,
}

impl Stage {
    /// Builds it.
    pub(super) fn build(prefix: &str, sites: &str) -> Result<Self> {
        let lab = Lab::start(prefix, sites)?;
        let home = Home::new();
        let node = lab.node(SERVER)?;
        // The whole internet is one network here.
        let args = ["--data", "data", "--stun-rate", "1000"];
        let mut rendezvous = Program::start(Some(node), &home, "rendezvous", &args, Says::Stdout)?;
        let ready = rendezvous.line("ready line")?;
        ensure!(ready.text.starts_with("ready "), "the rendezvous says {}", ready.text);
        Ok(Self { _rendezvous: rendezvous, lab, _home: home })
    }

    /// Sites behind routers of these kinds, a round trip of `rtt_ms` from each other and from the rendezvous; `more` is
    /// what else their wires do.
    pub(super) fn spread(prefix: &str, rtt_ms: u32, sites: &[(&str, &str)], more: &str) -> Result<Self> {
        let wire = format!("wire=delay~{}ms", rtt_ms / LEGS);
        let sites: Vec<_> = sites.iter().map(|(site, kind)| format!("{site}={kind}:{wire}{more}")).collect();
        Self::build(prefix, &format!("srv=server:{wire} {}", sites.join(" ")))
    }

    /// Sites behind port-restricted NATs, [`RTT_MS`] from each other and from the rendezvous.
    pub(super) fn apart(prefix: &str, sites: &[&str], more: &str) -> Result<Self> {
        let sites: Vec<_> = sites.iter().map(|site| (*site, "port")).collect();
        Self::spread(prefix, RTT_MS, &sites, more)
    }

    /// What members give as `--server`.
    pub(super) fn server(&self) -> String {
        Rendezvous::address()
    }
}
