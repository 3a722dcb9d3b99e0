//! From when members know of each other until each pair has a confirmed path.

use anyhow::Result;

use super::{RUNS, progress};
use crate::{
    bench::{
        figures::{median, quantile},
        member::{Joining, Member, ms_between},
        row::{Bound, Rows},
        stage::Stage,
    },
    lab::Lab,
};

/// Hosts, and whom they are of.
const PEOPLE: [(&str, &str); 4] = [("A1", "alice"), ("B1", "bob"), ("C1", "carol"), ("D1", "dave")];
const SITES: [(&str, &str); 4] = [("A", "port"), ("B", "port"), ("C", "port"), ("D", "port")];
/// Two wires are between any two: together 5 %.
const LOSS: &str = "+loss~2.5%";

/// Runs this part of the bench.
pub(super) fn run(rtt: u32, rows: &mut Rows<'_>) -> Result<()> {
    for (prefix, with, has_more) in [("few", "", false), ("many", ", 8 interfaces each", true)] {
        for (loss, is_lossy) in [("", false), (LOSS, true)] {
            let prefix = format!("{prefix}{rtt}{}-", if is_lossy { "l" } else { "" });
            let stage = Stage::spread(&prefix, rtt, &SITES, loss)?;
            if has_more {
                (1..).zip(PEOPLE).try_for_each(|(number, (host, _))| add_interfaces(&stage.lab, host, number))?;
            }
            let took = meet(&stage, &prefix)?;
            tell(rows, rtt, with, is_lossy, &took);
        }
    }
    Ok(())
}

fn tell(rows: &mut Rows<'_>, rtt: u32, with: &str, is_lossy: bool, took: &[Took]) {
    let (both, own): (Vec<_>, Vec<_>) = took.iter().map(|took| (took.since_both, took.since_own)).unzip();
    let rtt_ms = f64::from(rtt);
    if is_lossy {
        let what = format!("known to confirmed, RTT {rtt}, 5 % loss{with}");
        rows.tell(format!("{what}: p50"), median(&both), "ms");
        rows.add(format!("{what}: p95"), quantile(&both, 0.95), "ms", Bound::AtMost(2.5 * rtt_ms));
        rows.tell("  p95 since the one side knows", quantile(&own, 0.95), "ms");
    } else {
        let what = format!("known to confirmed, RTT {rtt}{with}");
        rows.add(format!("{what}: p50"), median(&both), "ms", Bound::AtMost(rtt_ms + 10.0));
        rows.tell(format!("{what}: p95"), quantile(&both, 0.95), "ms");
    }
}

/// How long one side of a pair took until its path was confirmed, in milliseconds.
struct Took {
    /// Since both knew of each other: before that, nobody can be met, and what the rendezvous has to say gets lost as well.
    since_both: f64,
    /// Since this side knew.
    since_own: f64,
}

/// Everybody joins after the other, again and again.
fn meet(stage: &Stage, what: &str) -> Result<Vec<Took>> {
    let mut all = Vec::new();
    for run in 0..RUNS {
        let channel = format!("{what}{run}");
        let mut members: Vec<(&str, Member)> = Vec::new();
        for (host, name) in PEOPLE {
            let mut newcomer = Member::join(&stage.lab, Joining::new(host, &channel, name))?;
            newcomer.joined()?;
            for (other, member) in &mut members {
                all.extend(pair((name, &mut newcomer), (other, member))?);
            }
            members.push((name, newcomer));
        }
        members.into_iter().try_for_each(|(_, member)| member.leave())?;
        let worst = all.iter().map(|took| took.since_both).fold(0.0, f64::max);
        progress(&format!("{channel}: known to confirmed after at most {worst:.0} ms so far"));
    }
    Ok(all)
}

fn pair((name, member): (&str, &mut Member), (peer, other): (&str, &mut Member)) -> Result<[Took; 2]> {
    let known = [member.knew(peer)?, other.knew(name)?];
    let confirmed = [member.confirmed(peer)?.1, other.confirmed(name)?.1];
    let both_known = known[0].max(known[1]);
    Ok([0, 1].map(|side| Took {
        since_both: ms_between(both_known, confirmed[side]),
        since_own: ms_between(known[side], confirmed[side]),
    }))
}

/// Seven more, as containers, virtual machines and VPNs make them, with nobody behind them. Some have the same address in
/// every host.
fn add_interfaces(lab: &Lab, host: &str, number: u8) -> Result<()> {
    let interfaces = [
        ("docker0", "172.17.0.1/16".to_owned()),
        ("br-4f2a", "172.18.0.1/16".to_owned()),
        ("virbr0", "192.168.122.1/24".to_owned()),
        ("tun0", format!("10.8.0.{number}/24")),
        ("wg0", format!("10.6.0.{number}/24")),
        ("tailscale0", format!("100.101.0.{number}/32")),
        ("wlan0", format!("192.168.43.{number}/24")),
    ];
    let add = |(name, address): (&str, String)| {
        let plug = format!("plug-{name}");
        format!(
            "link add {name} type veth peer name {plug}\nlink set {plug} up\nlink set {name} up\naddr add {address} dev {name}\n"
        )
    };
    lab.node(host)?.feed("ip", &["-batch", "-"], &interfaces.map(add).concat())
}
