//! The command line.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::{Parser, Subcommand};
use edge::{Exit, WithExit};
use rustix::process::{Pid, Signal, getpgrp, kill_process, set_parent_process_death_signal};
use rustix::termios::tcgetpgrp;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use tests::lab::{KINDS, Lab, SANDBOX, SERVER_V4, V6, control, join, prove, sandbox};

/// Runs programs behind NATs of every kind, in network namespaces, without root.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Args {
    #[command(subcommand)]
    command: Verb,
}

const EXAMPLES: &str = "\
A site is NAME=KIND[:OPTION=VALUE,..]; router A has hosts A1, A2; `srv` is the server, 203.0.113.10.
Kinds: open, fw (no NAT); full, addr, port, port-rand, linux, linux-open (one port for all destinations);
  sym-adm, sym, symseq, block-512 (symmetric); cgn, cgn-sym (carriers, for up=); noudp, noudp-icmp, udp443
Options, all that a kind says can be said otherwise: hosts=N up=CARRIER wire=SETTINGS lan=N mtu=BYTES
  timeout=SECONDS v4=yes|no v6=none|open|fw|eif map=eim|adm|apdm filter=eif|adf|apdf
  ports=keep|rand|seq|seqN|blockN hairpin=no|yes|inside unsol=drop|reject|accept udp=yes|no|reject|443
  (lan=N: the third byte of 192.168.N.0, two homes may have the same; `natlab prove KIND:OPTIONS` shows what comes of it)
A wire's settings: delay=20ms,jitter=5ms,loss=1%,burst=3,rate=1mbit,queue=200ms,order=keep,cut (in a site with ~ and +)

Examples:
  natlab run A=port B=sym:hosts=2 -- bash
  natlab run A=port:wire=delay~20ms+loss~1% B=linux -- natlab exec A1 -- ping -c 3 203.0.113.10
  natlab wire A cut                     (inside)
  natlab prove port sym";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a program in a sandbox of user, network and mount namespaces
    Enter {
        /// The program
        #[arg(last = true, required = true)]
        program: Vec<String>,
    },
    /// Say whether labs can be built here; if not, why
    Available,
    /// Build a lab and run a program in it
    Run {
        /// Sites
        #[arg(required = true, value_name = "NAME=KIND")]
        sites: Vec<String>,
        /// Give every way to the network a delay such that a round trip between any two sites takes this long
        #[arg(long, value_name = "TIME")]
        rtt: Option<humantime::Duration>,
        /// The program
        #[arg(last = true, required = true)]
        program: Vec<String>,
    },
    /// Run a program in a host of the lab
    Exec {
        /// The host
        name: String,
        /// The program
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        program: Vec<String>,
    },
    /// Change a wire of the lab: delay=30ms, up loss=2%, cut, on
    Wire {
        /// The site
        name: String,
        /// What shall be different
        #[arg(required = true)]
        change: Vec<String>,
    },
    /// Make a router forget its mappings
    Reboot {
        /// The router
        name: String,
        /// How long it lets nothing pass
        outage: Option<String>,
    },
    /// Give a router another external address
    Renumber {
        /// The router
        name: String,
    },
    /// Carry a host to another router's network
    Roam {
        /// The host
        host: String,
        /// The router
        router: String,
    },
    /// Give a host a second interface in another router's network
    Second {
        /// The host
        host: String,
        /// The router
        router: String,
    },
    /// Lose a share of the packets from one site to another: A B 5%; 0% mends it
    Loss {
        /// From which site
        from: String,
        /// To which site
        to: String,
        /// How many
        share: String,
    },
    /// Pull the cable of a router or a host out, or put it in
    Cable {
        /// The router or host
        name: String,
        /// in or out
        #[arg(value_parser = ["in", "out"])]
        state: String,
    },
    /// Measure what routers do, and compare with what they should
    Prove {
        /// Kinds, with options if you like [default: all kinds, and IPv6]
        kinds: Vec<String>,
    },
    /// Measure how exact wires are
    Wires {
        /// Settings of wires [default: some]
        settings: Vec<String>,
    },
}

pub(crate) fn main() -> ExitCode {
    let args: Args = match edge::parse() {
        Ok(args) => args,
        Err(code) => return code,
    };
    let mut status = 0;
    let result = edge::run("natlab", || {
        status = run(args.command)?;
        Ok(())
    });
    if status == 0 { result } else { ExitCode::from(status) }
}

fn run(verb: Verb) -> anyhow::Result<u8> {
    let words = |words: &[&str]| control::request(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
    match verb {
        Verb::Enter { program } => {
            sandbox::enter().exit(Exit::Unavailable)?;
            Err(become_program(&program))
        }
        Verb::Available => available(),
        Verb::Run { sites, rtt, program } => in_a_lab(&sites, rtt.map(Into::into), &program),
        Verb::Exec { name, program } => {
            let prefix = std::env::var("LAB_PREFIX").unwrap_or_default();
            if name != SANDBOX {
                join(&format!("{prefix}{name}")).exit(Exit::NoHost)?;
            }
            Err(become_program(&program))
        }
        Verb::Wire { name, change } => words(&["wire", &name, &change.join(" ")]).map(|()| 0),
        Verb::Reboot { name, outage } => words(&["reboot", &name, &outage.unwrap_or_default()]).map(|()| 0),
        Verb::Roam { host, router } => words(&["roam", &host, &router]).map(|()| 0),
        Verb::Second { host, router } => words(&["second", &host, &router]).map(|()| 0),
        Verb::Loss { from, to, share } => words(&["loss", &from, &to, &share]).map(|()| 0),
        Verb::Renumber { name } => words(&["renumber", &name]).map(|()| 0),
        Verb::Cable { name, state } => words(&["cable", &name, &state]).map(|()| 0),
        Verb::Prove { kinds } => prove_kinds(&kinds),
        Verb::Wires { settings } => measure_wires(&settings),
    }
}

/// Replaces this process, which ends with the one that started it: nothing stays behind in a lab that is gone.
fn become_program(program: &[String]) -> anyhow::Error {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        return error.into();
    }
    let mut command = Command::new(&program[0]);
    let error = command.args(&program[1..]).env("PATH", sandbox::search_path()).exec();
    anyhow::Error::new(error).context(format!("run {}", program[0]))
}

fn available() -> anyhow::Result<u8> {
    let mut out = io::stdout();
    match sandbox::check() {
        Ok(()) => writeln!(out, "labs can be built here").map(|()| 0),
        Err(error) => writeln!(out, "{error:#}").map(|()| 1),
    }
    .context("write to stdout")
}

fn in_a_lab(sites: &[String], rtt: Option<Duration>, program: &[String]) -> anyhow::Result<u8> {
    let mut sites = tests::lab::sites(&sites.join(" ")).exit(Exit::Usage)?;
    if let Some(rtt) = rtt {
        for site in sites.iter_mut().filter(|site| site.up.is_none()) {
            site.wire.get_or_insert_default().delay = rtt / 4;
        }
    }
    sandbox::enter().exit(Exit::Unavailable)?;
    let lab = Lab::build("", &sites)?;
    let itself = std::env::current_exe().context("find this program")?;
    let socket = Path::new("/run/natlab.sock");
    let mut child = Command::new(&itself);
    child.args(["exec", SANDBOX, "--"]).args(program);
    child.env("LAB_HOSTS", lab.hosts().collect::<Vec<_>>().join(" ")).env("LAB_PREFIX", "");
    child.env("LAB_SERVER", SERVER_V4[0].to_string()).env(control::VARIABLE, socket).env("NATLAB", &itself);
    control::serve(lab, socket)?;
    let status = wait_for(&mut child).context("run the program")?;
    // As a shell says it: 128 and the signal.
    let signal = std::os::unix::process::ExitStatusExt::signal(&status).map(|signal| 128 + signal);
    Ok(status.code().or(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// Runs the program; signals are for it, and the lab stays until it has ended.
fn wait_for(program: &mut Command) -> io::Result<ExitStatus> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let mut child = program.spawn()?;
    let pid = Pid::from_child(&child);
    std::thread::spawn(move || {
        for signal in signals.forever().filter(|&signal| signal != SIGINT || !is_in_foreground()) {
            if let Some(signal) = Signal::from_named_raw(signal) {
                // It may have ended already.
                let _ = kill_process(pid, signal);
            }
        }
    });
    child.wait()
}

/// Whether Ctrl-C is heard by the program as well.
fn is_in_foreground() -> bool {
    let group = File::open("/dev/tty").ok().and_then(|tty| tcgetpgrp(tty).ok());
    group.is_some_and(|group| group == getpgrp())
}

fn prove_kinds(kinds: &[String]) -> anyhow::Result<u8> {
    let all = KINDS.map(|(kind, _)| kind.to_owned());
    let (kinds, with_v6) = if kinds.is_empty() { (&all[..], &V6_KINDS[..]) } else { (kinds, &[][..]) };
    sandbox::enter().exit(Exit::Unavailable)?;
    let mut out = io::stdout();
    let mut wrong = 0;
    let width = kinds.iter().map(String::len).max().unwrap_or(0).max(10) + 1;
    writeln!(out, "{:<width$}{}", "kind", prove::HEAD)?;
    for kind in kinds {
        let nat = prove::nat_of(kind).exit(Exit::Usage)?;
        let (seen, expected) = (prove::measure("", kind)?, prove::Conduct::expected(&nat));
        writeln!(out, "{kind:<width$}{seen}")?;
        if seen != expected {
            wrong += 1;
            writeln!(out, "{:<width$}{expected}", "  expected")?;
        }
    }
    for (name, v6) in with_v6 {
        let (seen, expected) = (prove::measure_v6("", &format!("P=port:v6={name}"))?, prove::expected_v6(*v6));
        writeln!(out, "{:<width$}{seen}", format!("v6={name}"))?;
        if seen != expected {
            wrong += 1;
            writeln!(out, "{:<width$}{expected}", "  expected")?;
        }
    }
    Ok(u8::from(wrong > 0))
}

const V6_KINDS: [(&str, V6); 4] = [("none", V6::None), ("open", V6::Open), ("fw", V6::Firewall), ("eif", V6::Endpoint)];

fn measure_wires(settings: &[String]) -> anyhow::Result<u8> {
    let some = ["x", "delay=1ms", "delay=20ms", "delay=50ms,jitter=10ms", "delay=10ms,loss=2%"].map(str::to_owned);
    let settings = if settings.is_empty() { &some[..] } else { settings };
    sandbox::enter().exit(Exit::Unavailable)?;
    let mut out = io::stdout();
    writeln!(
        out,
        "{:<26}{:>9}{:>9}{:>9}{:>9}{:>7}  up in",
        "wire (times in us)", "min", "median", "p99", "max", "lost"
    )?;
    for settings in settings {
        let started = Instant::now();
        let spec = format!("A=open:wire={}", settings.replace(',', "+").replace('=', "~"));
        let lab = Lab::start("", &spec)?;
        let up = started.elapsed().as_millis();
        let times = prove::one_way_times(&lab, "A1", 2000)?;
        let at =
            |share: usize| times.get((times.len() * share / 1000).min(times.len() - 1)).map_or(0, Duration::as_micros);
        let lost = (2000 - times.len()) as f64 / 20.0;
        let (min, median, p99, max) = (at(0), at(500), at(990), at(1000));
        writeln!(out, "{settings:<26}{min:>9}{median:>9}{p99:>9}{max:>9}{lost:>6}%  {up} ms")?;
    }
    Ok(0)
}
