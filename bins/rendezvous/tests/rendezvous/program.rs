//! The program's start and end.

use std::{fs, net::UdpSocket, os::unix::fs::MetadataExt, path::Path, process::Command};

use serde_json::json;
use wire::signal::ToMember;

use crate::support::{Member, Server, command, until};

/// Runs a start that cannot succeed; returns its code and what it says.
fn fails(args: &[&str], data: &Path) -> (Option<i32>, String) {
    let output = command().args(args).arg("--data").arg(data).output().unwrap();
    assert!(output.stdout.is_empty(), "nothing is ready");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_ready_line_is_plain_text_unless_json_is_asked_for() {
    let temp = tempfile::tempdir().unwrap();
    let script = format!(
        "exec '{}' --udp 127.0.0.1:0 --http 127.0.0.1:0 --data '{}' --ready-fd 3 3>'{}' >'{}'",
        env!("CARGO_BIN_EXE_rendezvous"),
        temp.path().join("data").display(),
        temp.path().join("ready").display(),
        temp.path().join("out").display()
    );
    let mut child = Command::new("sh").args(["-c", &script]).spawn().unwrap();
    until("the newline on the descriptor", || fs::read(temp.path().join("ready")).is_ok_and(|told| told == b"\n"));
    let line = fs::read_to_string(temp.path().join("out")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert!(matches!(words[..], ["ready", "udp", _, "http", _, "key", key] if key.len() == 64), "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn asked_to_end_it_tells_its_members_and_ends_well() {
    for signal in ["-TERM", "-INT"] {
        let mut server = Server::start();
        let (mut alice, _) = Member::join(&server, 1, "lobby", "alice");
        server.signal(signal);
        assert_eq!(alice.hear(), ToMember::Closing);
        let (status, rest) = server.wait();
        assert!(status.success(), "{signal}: {status}");
        assert_eq!(rest, "", "one line is all");
    }
}

#[test]
fn what_it_acknowledged_survives_a_kill() {
    let temp = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    let mut key = None;
    for round in 0..5 {
        let mut server = Server::start_in(temp.path(), &[]);
        assert_eq!(server.names(), acknowledged);
        assert_eq!(*key.get_or_insert(server.key), server.key, "the key stays");
        for number in 0..3 {
            let name = format!("channel {round}-{number}");
            server.create(&json!({ "name": name, "description": "kept" }));
            acknowledged.push(name);
        }
        server.signal("-KILL");
        server.wait();
    }
    assert_eq!(fs::metadata(temp.path().join("identity")).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn everybody_rejoins_when_it_is_back() {
    let temp = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(temp.path(), &[]);
    let (alice, _) = Member::join(&server, 1, "lobby", "alice");
    server.signal("-KILL");
    server.wait();
    drop(alice);
    let server = Server::start_in(temp.path(), &["--udp", &server.udp.to_string()]);
    Member::join(&server, 1, "lobby", "alice");
}

#[test]
fn a_port_in_use_is_told() {
    let temp = tempfile::tempdir().unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let (code, said) = fails(&["--udp", &at, "--http", "127.0.0.1:0"], temp.path());
    assert_eq!(code, Some(69), "{said}");
    assert_eq!(said, format!("rendezvous: bind UDP {at}: address in use; is another rendezvous running?\n"));

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let (code, said) = fails(&["--udp", "127.0.0.1:0", "--http", &at], temp.path());
    assert_eq!(code, Some(69), "{said}");
    assert!(said.starts_with(&format!("rendezvous: bind TCP {at}: address in use")), "{said}");
}

#[test]
fn a_data_directory_has_one_rendezvous_at_a_time() {
    let temp = tempfile::tempdir().unwrap();
    let mut first = Server::start_in(temp.path(), &[]);
    let (code, said) = fails(&["--udp", "127.0.0.1:0", "--http", "127.0.0.1:0"], temp.path());
    assert_eq!(code, Some(69), "{said}");
    assert!(said.starts_with("rendezvous: another rendezvous keeps its data in ") && said.contains("--data"), "{said}");

    first.signal("-KILL");
    first.wait();
    Server::start_in(temp.path(), &[]);
}

#[test]
fn a_data_directory_that_cannot_be_is_told() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    fs::write(&file, "").unwrap();
    let ports = ["--udp", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let (code, said) = fails(&ports, &file.join("data"));
    assert_eq!(code, Some(73), "{said}");
    assert!(said.starts_with("rendezvous: make the data directory ") && said.lines().count() == 1, "{said}");

    let broken = temp.path().join("broken");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("channels.db"), "no database ".repeat(1000)).unwrap();
    let (code, said) = fails(&ports, &broken);
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("open the channels in "), "{said}");
}

#[test]
fn arguments_that_make_no_sense_are_told() {
    let temp = tempfile::tempdir().unwrap();
    for bad in [&["--udp", "nonsense"][..], &["--nonsense"], &["--max-members", "1"], &["--ready-fd", "99"]] {
        let (code, said) = fails(bad, temp.path());
        assert_eq!(code, Some(64), "{bad:?}: {said}");
    }
}
