//! `puncher nat` and `puncher doctor` behind real routers of every kind.

use std::process::{Output, Stdio};

use serde_json::Value;
use tests::{
    call::{Home, Member, Rendezvous},
    lab::{Filtering, Hairpin, KINDS, Lab, Mapping, Nat, Ports, SERVER_V4, SERVER_V6, Udp, Unsolicited},
};

use crate::{Tests, listed, start_lab};

pub(crate) fn tests() -> Tests {
    let mut tests = listed![
        a_member_says_what_router_it_is_behind,
        ipv6_is_seen_where_there_is_some,
        a_home_behind_a_carrier_is_called_by_the_stricter,
        a_doctor_finds_what_is_there,
        a_doctor_finds_what_is_not
    ];
    tests.extend(KINDS.iter().map(|&(kind, nat)| {
        let test = move || is_called_what_it_is(kind, &nat);
        (format!("nat::{kind}_is_called_what_it_is"), Box::new(test) as Box<dyn FnOnce() + Send>)
    }));
    tests
}

/// Runs a command of puncher in a host, to its end.
fn ask(lab: &Lab, node: &str, command: &str) -> Output {
    ask_with(lab, node, command, &[])
}

fn ask_with(lab: &Lab, node: &str, command: &str, more: &[&str]) -> Output {
    let home = Home::new();
    let mut puncher = home.command(lab, node, "puncher");
    puncher.args([command, "--json", "--server", &Rendezvous::address()]);
    puncher.args(more).stdin(Stdio::null()).output().expect("puncher runs")
}

fn report(lab: &Lab, node: &str) -> Value {
    report_of(&ask(lab, node, "nat"))
}

fn report_of(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A rendezvous that is told of the server's second address.
fn rendezvous(lab: &Lab) -> Rendezvous {
    Rendezvous::with(lab, &["--udp2", &SERVER_V4[1].to_string()])
}

fn is_called_what_it_is(kind: &str, nat: &Nat) {
    let lab = start_lab(&format!("srv=server:wire=delay~5ms A={kind}:wire=delay~5ms"));
    let _rendezvous = rendezvous(&lab);
    if nat.udp != Udp::Pass {
        assert_eq!(ask(&lab, "A1", "nat").status.code(), Some(69));
        return;
    }

    let report = report(&lab, "A1");

    let mapping = match nat.mapping {
        Mapping::None | Mapping::Linux | Mapping::Endpoint => "eim",
        Mapping::Address => "adm",
        Mapping::AddressAndPort => "apdm",
    };
    assert_eq!(report["mapping"], mapping, "{report}");
    let filtering = match nat.filtering {
        Filtering::Open | Filtering::Endpoint => "eif",
        Filtering::Address => "adf",
        Filtering::AddressAndPort => "apdf",
    };
    assert_eq!(report["filtering"], filtering, "{report}");
    let ports = match nat.ports {
        Ports::Keep => "preserving",
        Ports::Random => "random",
        Ports::Sequence(_) => "sequential",
        Ports::Block(_) => "block",
    };
    assert_eq!(report["ports"], ports, "{report}");
    match nat.ports {
        Ports::Sequence(step) => assert_eq!(report["step"], step, "{report}"),
        Ports::Block(size) => assert!(report["block_size"].as_u64() <= Some(size.into()), "{report}"),
        Ports::Keep | Ports::Random => {}
    }
    assert_eq!(report["translated"], nat.mapping != Mapping::None, "{report}");
    // Linux takes what comes to its open outside for a flow of its own, and gives the next packet another port.
    let poisoned = nat.mapping == Mapping::Linux && nat.unsolicited == Unsolicited::Accept;
    assert_eq!(report["poisoned"].as_bool() == Some(true), poisoned, "{report}");
    if mapping == "eim" && report["translated"] == true {
        assert_eq!(report["hairpin"], nat.hairpin != Hairpin::No, "{report}");
    }
}

fn a_home_behind_a_carrier_is_called_by_the_stricter() {
    let lab = start_lab("A=port:up=K K=cgn B=full:up=L L=sym");
    let _rendezvous = rendezvous(&lab);

    let (carrier, symmetric) = (report(&lab, "A1"), report(&lab, "B1"));

    assert_eq!((&carrier["mapping"], &carrier["filtering"]), (&"eim".into(), &"apdf".into()), "{carrier}");
    assert_eq!((&symmetric["mapping"], &symmetric["ports"]), (&"apdm".into(), &"random".into()), "{symmetric}");
}

fn ipv6_is_seen_where_there_is_some() {
    let lab = start_lab("A=sym:v6=yes B=sym");
    let _rendezvous = rendezvous(&lab);
    let stun = format!("[{}]:3478", SERVER_V6[0]);

    let [with, without] = ["A1", "B1"].map(|node| report_of(&ask_with(&lab, node, "nat", &["--stun", &stun])));

    assert_eq!((&with["ipv6"], &with["calls"]["ipv6"]), (&true.into(), &"direct".into()), "{with}");
    assert_eq!((&without["ipv6"], &without["silent"][0]), (&false.into(), &stun.into()), "{without}");
    for report in [with, without] {
        assert_eq!(report["mapping"], "apdm", "IPv4 is what decides: {report}");
    }
}

fn a_member_says_what_router_it_is_behind() {
    let lab = start_lab("A=symseq");
    let _rendezvous = rendezvous(&lab);
    let mut member = Member::join(&lab, "A1", "den", "alice");
    let wanted = |line: &str| line.contains("\"type\":\"nat\"") && line.contains("\"mapping\":\"apdm\"");
    let line = std::iter::repeat_with(|| member.program().line("nat line")).find(|line| wanted(line)).unwrap();
    assert!(line.contains("\"ports\":\"sequential\""), "{line}");
}

fn verdicts(output: &Output) -> Vec<(String, String)> {
    let lines = String::from_utf8_lossy(&output.stdout);
    let verdict = |line: &str| {
        let check: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let [name, verdict] = ["name", "verdict"].map(|key| check[key].as_str().unwrap_or_default().to_owned());
        (name, verdict)
    };
    lines.lines().map(verdict).collect()
}

fn a_doctor_finds_what_is_there() {
    let lab = start_lab("A=port");
    let _rendezvous = rendezvous(&lab);

    let output = ask(&lab, "A1", "doctor");

    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let verdicts = verdicts(&output);
    assert_eq!(verdicts.len(), 12, "{verdicts:?}");
    assert!(verdicts.iter().all(|(_, verdict)| verdict == "ok"), "{output:?}");
}

fn a_doctor_finds_what_is_not() {
    let lab = start_lab("A=noudp B=sym");
    let _rendezvous = rendezvous(&lab);

    let (blocked, symmetric) = (ask(&lab, "A1", "doctor"), ask(&lab, "B1", "doctor"));

    assert_eq!(blocked.status.code(), Some(69), "{blocked:?}");
    assert!(verdicts(&blocked).contains(&("UDP".into(), "fail".into())), "{blocked:?}");
    assert_eq!(symmetric.status.code(), Some(0), "{symmetric:?}");
    assert!(verdicts(&symmetric).contains(&("NAT".into(), "warn".into())), "{symmetric:?}");
}
