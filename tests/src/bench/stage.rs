//! Where benches take place: a lab with a rendezvous in it.

use anyhow::{Result, ensure};

use super::program::{Program, Says};
use crate::{
    call::{Home, Rendezvous},
    lab::{Lab, SERVER},
};

/// One way to or from any site and the network: four of them are a round trip of 40 ms.
pub(super) const LEG_MS: u32 = 10;
/// The round trip between any two.
pub(super) const RTT_MS: f64 = 4.0 * LEG_MS as f64;
/// The way from one to another.
pub(super) const ONE_WAY_MS: f64 = RTT_MS / 2.0;

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
        let mut rendezvous = Program::start(Some(node), &home, "rendezvous", &["--data", "data"], Says::Stdout)?;
        let ready = rendezvous.line("ready line")?;
        ensure!(ready.text.starts_with("ready "), "the rendezvous says {}", ready.text);
        Ok(Self { _rendezvous: rendezvous, lab, _home: home })
    }

    /// Sites behind port-restricted NATs, a round trip of [`RTT_MS`] from each other and from the rendezvous.
    pub(super) fn apart(prefix: &str, sites: &[&str], more: &str) -> Result<Self> {
        let wire = format!("wire=delay~{LEG_MS}ms");
        let sites: Vec<_> = sites.iter().map(|site| format!("{site}=port:{wire}{more}")).collect();
        Self::build(prefix, &format!("srv=server:{wire} {}", sites.join(" ")))
    }

    /// Sites behind routers of another kind, as far from each other.
    pub(super) fn behind(kind: &str, prefix: &str, sites: &[&str]) -> Result<Self> {
        let wire = format!("wire=delay~{LEG_MS}ms");
        let sites: Vec<_> = sites.iter().map(|site| format!("{site}={kind}:{wire}")).collect();
        Self::build(prefix, &format!("srv=server:{wire} {}", sites.join(" ")))
    }

    /// What members give as `--server`.
    pub(super) fn server(&self) -> String {
        Rendezvous::address()
    }
}
