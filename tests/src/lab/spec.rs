//! What a lab shall be, as people write it: `A=port B=sym:hosts=2,up=K,wire=delay~20ms+loss~1% K=cgn`.

use std::str::FromStr;

use anyhow::{Context, bail, ensure};

use super::{
    nat::{Filtering, Hairpin, KINDS, Mapping, Nat, Ports, Udp, Unsolicited, V6},
    rules::{MAX_BLOCK, MAX_STEP},
    wire::Settings,
};

/// The one name that is not a router's: the namespace of the rendezvous.
pub const SERVER: &str = "srv";
const RESERVED: [&str; 3] = ["inet", "wires", "lo"];

/// A router and the hosts behind it; or, named `srv`, how the server is connected.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// The router's namespace; hosts are `A1`, `A2`.
    pub name: String,
    /// What the router does.
    pub nat: Nat,
    /// How many hosts; if not said one, and none behind a carrier.
    pub hosts: Option<u8>,
    /// The carrier that it is behind.
    pub up: Option<String>,
    /// How its way to the network is.
    pub wire: Option<Settings>,
    /// The third byte of its LAN, if not its own.
    pub lan: Option<u8>,
    /// Whether its hosts have IPv4.
    pub v4: bool,
    /// What they have of IPv6.
    pub v6: V6,
    /// The longest packet that its way to the network takes, if not 1500 bytes.
    pub mtu: Option<u16>,
    /// How long mappings last that nobody uses, in seconds.
    pub timeout: u32,
}

impl Site {
    /// A site of a kind with all else as usual.
    fn new(name: &str, nat: Nat) -> Self {
        Self {
            name: name.to_owned(),
            nat,
            hosts: None,
            up: None,
            wire: None,
            lan: None,
            v4: true,
            v6: V6::None,
            mtu: None,
            timeout: 120,
        }
    }

    fn set(&mut self, option: &str, value: &str) -> anyhow::Result<()> {
        match (option, value) {
            ("hosts", _) => self.hosts = Some(small_number(value)?),
            ("up", _) => self.up = Some(value.to_owned()),
            ("wire", _) => self.wire = Some(value.replace('+', ",").replace('~', "=").parse()?),
            ("lan", _) => self.lan = Some(small_number(value)?),
            ("mtu", _) => self.mtu = Some(mtu(value)?),
            ("timeout", _) => self.timeout = value.parse().context("timeout is a number of seconds")?,
            ("v4", _) => self.v4 = switch(value)?,
            ("v6", "none" | "no") => self.v6 = V6::None,
            ("v6", "open") => self.v6 = V6::Open,
            ("v6", "fw" | "yes") => self.v6 = V6::Firewall,
            ("v6", "eif") => self.v6 = V6::Endpoint,
            _ => self.nat.set(option, value)?,
        }
        Ok(())
    }
}

impl Nat {
    fn set(&mut self, option: &str, value: &str) -> anyhow::Result<()> {
        match (option, value) {
            ("map", "eim") => self.mapping = Mapping::Endpoint,
            ("map", "adm") => self.mapping = Mapping::Address,
            ("map", "apdm") => self.mapping = Mapping::AddressAndPort,
            ("filter", "eif") => self.filtering = Filtering::Endpoint,
            ("filter", "adf") => self.filtering = Filtering::Address,
            ("filter", "apdf") => self.filtering = Filtering::AddressAndPort,
            ("ports", "keep") => self.ports = Ports::Keep,
            ("ports", "rand") => self.ports = Ports::Random,
            ("ports", _) => self.ports = ports(value)?,
            ("hairpin", "no") => self.hairpin = Hairpin::No,
            ("hairpin", "yes") => self.hairpin = Hairpin::External,
            ("hairpin", "inside") => self.hairpin = Hairpin::Inside,
            ("unsol", "drop") => self.unsolicited = Unsolicited::Drop,
            ("unsol", "reject") => self.unsolicited = Unsolicited::Reject,
            ("unsol", "accept") => self.unsolicited = Unsolicited::Accept,
            ("udp", "yes") => self.udp = Udp::Pass,
            ("udp", "no") => self.udp = Udp::Drop,
            ("udp", "reject") => self.udp = Udp::Reject,
            ("udp", "443") => self.udp = Udp::Only443,
            _ => bail!("there is no option {option}={value}"),
        }
        Ok(())
    }
}

/// Reads `seq`, `seq3`, `block512`.
fn ports(text: &str) -> anyhow::Result<Ports> {
    let number = |digits: &str, usual| if digits.is_empty() { Some(usual) } else { digits.parse::<u16>().ok() };
    if let Some(step) = text.strip_prefix("seq") {
        let step = number(step, 1).filter(|step| (1..=MAX_STEP).contains(step));
        return step.map(Ports::Sequence).with_context(|| format!("a step is a number from 1 to {MAX_STEP}"));
    }
    let size = text.strip_prefix("block").context("ports are keep, rand, seq, seqN or blockN")?;
    let size = number(size, 512).filter(|size| size.is_power_of_two() && (2..=MAX_BLOCK).contains(size));
    size.map(Ports::Block).with_context(|| format!("a block is a power of two up to {MAX_BLOCK}"))
}

impl FromStr for Site {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        parse(text).with_context(|| format!("site {text:?}"))
    }
}

fn parse(text: &str) -> anyhow::Result<Site> {
    let (name, rest) = text.split_once('=').context("a site is NAME=KIND[:OPTION=VALUE,..]")?;
    let (kind, options) = rest.split_once(':').unwrap_or((rest, ""));
    let plain = name.len() <= 8 && name.chars().all(|c| c.is_ascii_alphanumeric());
    ensure!(plain && name.starts_with(|c: char| c.is_ascii_alphabetic()), "a name is up to 8 letters and digits");
    ensure!(!name.ends_with(|c: char| c.is_ascii_digit()), "names that end with a digit are those of hosts");
    ensure!(!RESERVED.contains(&name), "the name {name} is taken");
    let nat = match (name, kind) {
        (SERVER, "server") => Nat::named("open"),
        (SERVER, _) => bail!("{SERVER} is of the kind \"server\""),
        (_, kind) => Nat::named(kind),
    };
    let kinds = || KINDS.map(|(name, _)| name).join(", ");
    let mut site = Site::new(name, nat.with_context(|| format!("{kind:?} is none of {}", kinds()))?);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let (option, value) = option.split_once('=').context("an option is NAME=VALUE")?;
        site.set(option, value)?;
    }
    Ok(site)
}

/// Reads the sites of a lab, written with spaces between them.
///
/// # Errors
/// If one is not a site, or what it refers to is not there.
pub fn sites(text: &str) -> anyhow::Result<Vec<Site>> {
    let mut sites = text.split_whitespace().map(str::parse).collect::<anyhow::Result<Vec<Site>>>()?;
    check(&mut sites)?;
    Ok(sites)
}

fn check(sites: &mut Vec<Site>) -> anyhow::Result<()> {
    for (index, site) in sites.iter().enumerate() {
        ensure!(!sites[..index].iter().any(|other| other.name == site.name), "there are two sites {}", site.name);
        if let Some(up) = &site.up {
            ensure!(sites.iter().any(|other| other.name == *up && up != SERVER), "there is no carrier {up}");
            ensure!(*up != site.name && site.name != SERVER, "{} can't be behind {up}", site.name);
            let has_v6 = |carrier: &Site| carrier.name != *up || carrier.v6 != V6::None;
            ensure!(
                site.v6 == V6::None || sites.iter().all(has_v6),
                "{} has IPv6, its carrier {up} has not",
                site.name
            );
        }
    }
    for site in sites.iter() {
        let carrier = |site: &&Site| sites.iter().find(|other| Some(&other.name) == site.up.as_ref());
        let ends = std::iter::successors(Some(site), carrier).take(sites.len() + 1).count() <= sites.len();
        ensure!(ends, "{} is behind itself", site.name);
    }
    if !sites.iter().any(|site| site.name == SERVER) {
        sites.insert(0, "srv=server".parse()?);
    }
    let carriers: Vec<_> = sites.iter().filter_map(|site| site.up.clone()).collect();
    for site in sites {
        let usual = u8::from(site.name != SERVER && !carriers.contains(&site.name));
        site.hosts.get_or_insert(usual);
    }
    Ok(())
}

fn small_number(text: &str) -> anyhow::Result<u8> {
    text.parse().ok().filter(|n| *n <= 99).with_context(|| format!("{text:?} is not a number up to 99"))
}

fn mtu(text: &str) -> anyhow::Result<u16> {
    let mtu = text.parse().ok().filter(|mtu| (1280..=1500).contains(mtu));
    mtu.with_context(|| format!("{text:?} is not a number from 1280 to 1500"))
}

fn switch(text: &str) -> anyhow::Result<bool> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => bail!("{text:?} is neither yes nor no"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_site_reads_as_it_is_written() {
        let sites = sites("A=port B=sym:hosts=2,up=K,wire=delay~20ms+loss~1% K=cgn").unwrap();

        let names: Vec<_> = sites.iter().map(|site| (site.name.as_str(), site.hosts)).collect();
        assert_eq!(names, [("srv", Some(0)), ("A", Some(1)), ("B", Some(2)), ("K", Some(0))]);
        assert_eq!(sites[2].wire.as_ref().unwrap().delay, Duration::from_millis(20));
        assert_eq!(sites[2].up.as_deref(), Some("K"));
    }

    #[test]
    fn nonsense_is_named() {
        for (text, what) in [
            ("A", "NAME=KIND"),
            ("A=fritz", "none of open, fw"),
            ("A1=port", "hosts"),
            ("A=port A=port", "two sites"),
            ("A=port:up=K", "no carrier K"),
            ("A=port:up=A", "can't be behind"),
            ("A=cgn:up=B B=cgn:up=A", "behind itself"),
            ("A=port:hosts=x", "not a number"),
            ("A=port:speed=9", "no option"),
            ("A=sym:ports=seq99", "from 1 to"),
            ("A=sym:ports=block500", "a power of two"),
            ("A=port:mtu=500", "from 1280"),
            ("A=port:v6=fw,up=K K=cgn", "its carrier K has not"),
            ("inet=port", "taken"),
        ] {
            let error = format!("{:#}", sites(text).unwrap_err());
            assert!(error.contains(what), "{text}: {error}");
        }
    }
}
