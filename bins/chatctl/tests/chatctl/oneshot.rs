use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
};

use wire::{
    PeerTag,
    agent::{Delivery, FromPuncher, Path, PeerStatus, Peers},
    peer::Lane,
};

use crate::fake::{Ended, Home, KEPT, end, peer};

/// Runs `chatctl send ARGS`, settles its text with these outcomes, and returns what was sent, too.
fn send(args: &[&str], peers: &[PeerStatus], outcomes: &[(&str, Delivery)]) -> (Ended, Peers, String) {
    let home = Home::new();
    let puncher = home.puncher();
    let child = home.chatctl(&[&["send"], args].concat()).spawn().unwrap();
    let mut connection = puncher.open(peers);
    let (id, to, body) = connection.hear_text();
    connection.settle(id, outcomes);
    (end(child), to, body)
}

#[test]
fn send_ends_with_0_when_everybody_has_the_text() {
    let (ended, to, body) = send(&["hello", "there"], &[], &[("alice", KEPT), ("bob", KEPT)]);

    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (0, "", ""));
    assert_eq!((to, body.as_str()), (Peers::All, "hello there"));
}

#[test]
fn send_names_those_who_do_not_have_the_text() {
    let rows = [
        (vec![("alice", KEPT), ("bob", Delivery::TimedOut)], 75, "chatctl: bob did not acknowledge it in time\n"),
        (vec![("alice", Delivery::Lost)], 75, "chatctl: alice left before it arrived\n"),
        (vec![("alice", Delivery::Unknown)], 69, "chatctl: alice is not there\n"),
        (vec![], 69, "chatctl: nobody is here\n"),
    ];
    for (outcomes, code, stderr) in rows {
        let (ended, ..) = send(&["hello"], &[], &outcomes);
        assert_eq!((ended.code, ended.stderr.as_str()), (code, stderr));
    }
}

#[test]
fn send_tells_scripts_what_became_of_the_text() {
    let (ended, ..) = send(&["--json", "hello"], &[], &[("alice", KEPT), ("\u{1b}bob", Delivery::TimedOut)]);

    assert_eq!(ended.code, 75);
    assert!(!ended.stdout.contains('\u{1b}'));
    assert!(ended.stdout.contains(r#""type":"sent""#) && ended.stdout.contains(r#""delivered":false"#));
    assert_eq!(ended.stdout.lines().count(), 1);
}

#[test]
fn a_text_for_one_goes_to_that_one() {
    let (ended, to, _) = send(&["--to", "bob", "psst"], &[peer(1, "alice"), peer(2, "bob")], &[("bob", KEPT)]);
    assert_eq!((ended.code, to), (0, Peers::One(PeerTag(2))));
}

#[test]
fn a_text_for_somebody_who_is_not_there_is_not_sent() {
    let home = Home::new();
    let puncher = home.puncher();
    let child = home.chatctl(&["send", "--to", "bob", "psst"]).spawn().unwrap();
    let mut connection = puncher.open(&[peer(1, "alice")]);

    assert_eq!(connection.hear_or_end(), None);
    let ended = end(child);
    assert_eq!((ended.code, ended.stderr.as_str()), (69, "chatctl: bob is not in lobby\n"));
}

#[test]
fn send_waits_for_somebody_to_be_connected() {
    let home = Home::new();
    let puncher = home.puncher();
    let child = home.chatctl(&["send", "--wait", "20", "hello"]).spawn().unwrap();
    let mut connection = puncher.open(&[]);
    connection.say(FromPuncher::Peer(PeerStatus { secure: false, path: Path::None, ..peer(1, "alice") }));
    connection.say(FromPuncher::Peer(peer(1, "alice")));

    let (id, to, _) = connection.hear_text();
    assert_eq!(to, Peers::All);
    connection.settle(id, &[("alice", KEPT)]);
    assert_eq!(end(child).code, 0);
}

#[test]
fn the_wait_for_somebody_has_an_end() {
    let home = Home::new();
    let puncher = home.puncher();
    let child = home.chatctl(&["send", "--wait", "0", "hello"]).spawn().unwrap();
    let _connection = puncher.open(&[]);
    let ended = end(child);
    assert_eq!((ended.code, ended.stderr.as_str()), (69, "chatctl: nobody is in lobby\n"));
}

#[test]
fn a_text_may_come_from_stdin_with_its_lines() {
    let home = Home::new();
    let puncher = home.puncher();
    let mut child = home.chatctl(&["send", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all("one\n\nthree ✓\n".as_bytes()).unwrap();
    let mut connection = puncher.open(&[]);
    let (id, _, body) = connection.hear_text();
    connection.settle(id, &[("alice", KEPT)]);
    assert_eq!((end(child).code, body.as_str()), (0, "one\n\nthree ✓"));
}

#[test]
fn what_is_no_text_is_refused_before_anybody_is_asked() {
    let rows: [(&[u8], i32, &str); 3] = [
        (b"\n", 65, "chatctl: there is nothing to send\n"),
        (b"\xff\xfe", 65, "chatctl: what stdin has is no text: invalid utf-8 sequence of 1 bytes from index 0\n"),
        (&[b'x'; 1_048_577], 65, "chatctl: a text of 1048577 bytes is longer than the 1048576 bytes allowed\n"),
    ];
    for (stdin, code, stderr) in rows {
        let home = Home::new();
        let mut child = home.chatctl(&["send", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin).unwrap();
        let ended = end(child);
        assert_eq!((ended.code, ended.stderr.as_str()), (code, stderr));
    }
    let ended: Ended = Home::new().chatctl(&["send"]).output().unwrap().into();
    assert_eq!(ended.code, 64);
}

#[test]
fn where_the_control_lane_takes_no_texts_the_text_lane_does_and_no_waiting_text_is_lost() {
    let home = Home::new();
    let puncher = home.puncher();
    let child = home.chatctl(&["send", "hello"]).spawn().unwrap();
    let mut control = puncher.open(&[]);
    assert_eq!(control.lane, Lane::Control);
    control.hear_text();
    control.say(FromPuncher::Refused("not on this lane".into()));
    let mut connection = puncher.open(&[]);
    assert_eq!(connection.lane, Lane::Text);
    connection.say_text(1, 1, "alice", "are you there?");
    let (id, ..) = connection.hear_text();
    connection.settle(id, &[("alice", KEPT)]);

    let ended = end(child);

    assert_eq!((ended.code, ended.stderr.as_str()), (0, "alice: are you there?\n"));
}

#[test]
fn when_puncher_ends_the_text_may_not_have_arrived() {
    let home = Home::new();
    let puncher = home.puncher();
    let child = home.chatctl(&["send", "hello"]).spawn().unwrap();
    let mut connection = puncher.open(&[]);
    connection.hear_text();
    drop(connection);
    let ended = end(child);
    assert_eq!(ended.code, 75);
    assert_eq!(ended.stderr, "chatctl: puncher did not say whether everybody has it\n");
}

#[test]
fn without_a_puncher_every_command_says_how_to_start_one() {
    for command in [&["send", "x"][..], &["tail"], &["peers"], &["chat"]] {
        let home = Home::new();
        let ended: Ended = home.chatctl(command).output().unwrap().into();
        assert_eq!(ended.code, 69, "{command:?}");
        assert_eq!(ended.stderr, "chatctl: no puncher is running: start one with: puncher join CHANNEL\n");

        let args = [command, &["--channel", "lobby"]].concat();
        let ended: Ended = home.chatctl(&args).output().unwrap().into();
        let expected = "chatctl: no puncher is running for channel lobby: start one with: puncher join lobby\n";
        assert_eq!((ended.code, ended.stderr.as_str()), (69, expected));
    }
}

#[test]
fn tail_prints_texts_once_each_and_nothing_that_draws() {
    let home = Home::new();
    let puncher = home.puncher();
    let child = home.chatctl(&["tail", "-n", "3"]).spawn().unwrap();
    let mut connection = puncher.open(&[peer(1, "alice")]);
    connection.say_text(1, 1, "alice", "one");
    connection.say_text(1, 1, "alice", "one");
    connection.say_text(2, 1, "alice", "\u{1b}[2Jtwo\nbob: three");
    connection.say_text(3, 2, "bob", "four");

    let ended = end(child);

    assert_eq!(ended.code, 0);
    assert_eq!(ended.stdout, "alice: one\nalice: ␛[2Jtwo\n       bob: three\nbob: four\n");
}

#[test]
fn tail_prints_each_text_at_once_until_puncher_ends() {
    let home = Home::new();
    let puncher = home.puncher();
    let mut child = home.chatctl(&["tail", "--json"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut connection = puncher.open(&[peer(1, "alice")]);
    for number in 0..3 {
        connection.say_text(number, 1, "alice", "two\nlines");
        let line = lines.next().unwrap().unwrap();
        for part in [r#""type":"message""#, r#""from":"alice""#, r#""text":"two\nlines""#, r#""key":"0101"#] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
    connection.say(FromPuncher::Closing);
    assert_eq!(end(child).code, 0);
}

#[test]
fn tail_ends_quietly_when_nobody_reads() {
    let home = Home::new();
    let puncher = home.puncher();
    let mut child = home.chatctl(&["tail"]).spawn().unwrap();
    drop(child.stdout.take());
    let mut connection = puncher.open(&[]);
    connection.say_text(1, 1, "alice", "one");
    let ended = end(child);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
}

#[test]
fn peers_are_a_table_or_lines_of_json() {
    let other = PeerStatus { path: Path::None, addr: None, rtt_us: None, secure: false, ..peer(2, "bob") };
    let run = |args: &[&str], talks| {
        let home = Home::new();
        let puncher = home.puncher();
        let child = home.chatctl(args).spawn().unwrap();
        let mut connection = puncher.open(&[peer(1, "alice"), other.clone()]);
        connection.answer_status(talks, 1);
        end(child)
    };

    let table = run(&["peers"], 0);
    assert_eq!(table.code, 0);
    let rows: Vec<Vec<_>> = table.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "KEY", "PATH", "ADDRESS", "RTT", "SECURE", "VOICE"]);
    assert_eq!(rows[1], ["alice", "01010101", "direct", "203.0.113.7:40112", "38ms", "yes", "-"]);
    assert_eq!(rows[2], ["bob", "02020202", "none", "-", "-", "no", "-"]);
    let table = run(&["peers"], 1);
    assert!(table.stdout.lines().nth(1).unwrap().ends_with("yes     talking, deafened"), "{}", table.stdout);

    let json = run(&["peers", "--json"], 1);
    assert_eq!(json.stdout.lines().count(), 2);
    assert!(json.stdout.contains(r#""rtt_ms":38"#) && json.stdout.contains(r#""secure":false"#), "{}", json.stdout);
    assert!(json.stdout.contains(r#""deafened":true"#) && json.stdout.contains(r#""voice":null"#), "{}", json.stdout);
}
