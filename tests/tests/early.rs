//! Members that have met the rendezvous before.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tests::{
    call::{Home, Program, Rendezvous},
    lab::{Lab, SERVER, SERVER_V4},
};
use wire::datagram::{EARLY_ANSWER, EARLY_JOIN};

use crate::{Tests, listed, start_lab};

pub(crate) fn tests() -> Tests {
    listed![who_comes_back_joins_by_one_datagram_and_its_answer]
}

/// In front of the rendezvous.
const GATE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(SERVER_V4[0]), 5000);

/// Stands between one member and the rendezvous, and lets through what it is told to.
struct Gate {
    /// Whether nothing passes but early joins and answers.
    is_closed: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    carrying: Option<std::thread::JoinHandle<()>>,
}

impl Gate {
    fn open(lab: &Lab) -> Self {
        let (is_closed, ends) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let bind = |addr: SocketAddr| {
            let socket = lab.node(SERVER).unwrap().within(|| Ok(UdpSocket::bind(addr)?)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            socket
        };
        let (outside, inside) = (bind(GATE), bind(SocketAddr::new(GATE.ip(), 0)));
        let (closed, end) = (Arc::clone(&is_closed), Arc::clone(&ends));
        let carrying = std::thread::spawn(move || carry(&outside, &inside, &closed, &end));
        Self { is_closed, ends, carrying: Some(carrying) }
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    fn open_again(&self) {
        self.is_closed.store(false, Ordering::SeqCst);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        drop(self.carrying.take().map(std::thread::JoinHandle::join));
    }
}

fn carry(outside: &UdpSocket, inside: &UdpSocket, is_closed: &AtomicBool, ends: &AtomicBool) {
    let mut buffer = [0; 2048];
    let mut member = None;
    while !ends.load(Ordering::SeqCst) {
        let passes = |first: u8, early: u8| first == early || !is_closed.load(Ordering::SeqCst);
        if let Ok((len, from)) = outside.recv_from(&mut buffer) {
            member = Some(from);
            if len > 0 && passes(buffer[0], EARLY_JOIN) {
                // What can't be sent is lost, as on any way.
                let _ = inside.send_to(&buffer[..len], (SERVER_V4[0], 3478));
            }
        }
        if let (Ok(len), Some(member)) = (inside.recv(&mut buffer), member)
            && len > 0
            && passes(buffer[0], EARLY_ANSWER)
        {
            let _ = outside.send_to(&buffer[..len], member);
        }
    }
}

fn start(lab: &Lab, home: &Home, node: &str, name: &str, server: &str) -> Program {
    let mut command = home.command(lab, node, "puncher");
    // Without a relay there is no tunnel either, so that UDP is the only way to the rendezvous.
    command.args(["join", "den", "--name", name, "--server", server, "--json", "--no-input", "--no-relay"]);
    Program::start(home, name, &mut command)
}

fn until(program: &mut Program, what: &str, parts: &[&str]) {
    // Who asks in vain tells so again and again, so that lines alone are no progress.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let line = program.line(what);
        if parts.iter().all(|part| line.contains(part)) {
            return;
        }
        assert!(Instant::now() < deadline, "no {what} in time: {}", program.story());
    }
}

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(30);
const JOINED: &[&str] = &[r#""type":"joined""#];

fn who_comes_back_joins_by_one_datagram_and_its_answer() {
    let lab = start_lab("A=open B=open");
    let _rendezvous = Rendezvous::start(&lab);
    let (home_of_alice, home_of_bob) = (Home::new(), Home::new());
    let mut alice = start(&lab, &home_of_alice, "A1", "alice", &Rendezvous::address());
    until(&mut alice, "joining", JOINED);
    let gate = Gate::open(&lab);
    let mut bob = start(&lab, &home_of_bob, "B1", "bob", &GATE.to_string());
    until(&mut bob, "joining", JOINED);
    bob.signal(Signal::TERM);
    bob.end();
    until(&mut alice, "leave of bob", &[r#""type":"left""#, r#""peer":"bob""#]);

    gate.close();
    let mut bob = start(&lab, &home_of_bob, "B1", "bob", &GATE.to_string());

    // Nothing of a session gets through, so no other round trip was needed for this.
    until(&mut bob, "joining without a session", JOINED);
    until(&mut alice, "bob", &[r#""type":"peer""#, r#""peer":"bob""#]);
    gate.open_again();
    until(&mut bob, "session with alice", &[r#""type":"link""#, r#""peer":"alice""#, r#""secure":true"#]);
    let has_left = alice.lines_so_far().iter().any(|line| line.contains(r#""type":"left""#));
    assert!(!has_left, "{}", alice.story());
}
