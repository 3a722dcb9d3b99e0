//! stdin and stdout as a lane.

use std::{
    io::{Read, Write},
    process::Stdio,
};

use crate::support::{Person, Running, lines, listen, until};

#[test]
fn a_pipe_that_may_end_does_so_when_everything_is_delivered() {
    let (alice, bob) = (Person::new(), Person::new());
    let (listener, addr) = listen(&alice, &[]);
    let args = ["dial", &addr, "--name", "bob", "--pipe", "text", "--exit-at-eof"];
    let mut dialler = bob.start(&args);

    for number in 0..100 {
        dialler.type_line(&format!("line {number}"));
    }

    assert_eq!(dialler.code(), Some(0));
    for number in 0..100 {
        assert_eq!(until(&listener.stdout, |_| true), format!("bob: line {number}"));
    }
}

#[test]
fn what_was_acknowledged_is_on_stdout_though_its_puncher_is_ended() {
    let (alice, bob) = (Person::new(), Person::new());
    let mut listener = alice.puncher(&["listen", "127.0.0.1:0", "--name", "alice", "--pipe", "text"]);
    listener.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut listener = listener.spawn().unwrap();
    let events = lines(listener.stderr.take().unwrap());
    let ready = until(&events, |line| line.starts_with("ready "));
    let mut dialler = bob.start(&["dial", ready.split(' ').nth(2).unwrap(), "--pipe", "text", "--exit-at-eof"]);
    // What fits in a pipe that nobody reads yet.
    const LINES: usize = 2000;
    (0..LINES).for_each(|number| dialler.type_line(&format!("line {number}")));
    assert_eq!(dialler.code(), Some(0), "all of it is acknowledged");

    let pid = rustix::process::Pid::from_child(&listener);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    listener.wait().unwrap();

    let mut came = String::new();
    listener.stdout.unwrap().read_to_string(&mut came).unwrap();
    assert_eq!(came.lines().count(), LINES);
}

/// Somebody hears what comes before it; the code and what was said about it.
fn fed(lane: &str, bytes: &[u8]) -> (Option<i32>, Vec<String>, Running) {
    let (alice, bob) = (Person::new(), Person::new());
    let (listener, addr) = listen(&alice, &[]);
    let mut dialler = bob.start(&["dial", &addr, "--name", "bob", "--pipe", lane]);
    // Who ends at a mistake may do so before it has read everything.
    let _ = dialler.stdin.as_mut().expect("a pipe").write_all(bytes);
    let code = dialler.child.wait().expect("an end").code();
    (code, dialler.stderr.iter().collect(), listener)
}

#[test]
fn stdin_that_is_no_lane_is_an_error_and_what_came_before_it_is_delivered() {
    let long = [b"first\n", &vec![b'x'; 1 << 20][..], b"xx\nlast\n"].concat();
    let rows: [(&str, &[u8], &str); 4] = [
        ("text", b"first\ncaf\xe9\nlast\n", "line 2 of stdin: it is no UTF-8"),
        ("text", &long, "line 2 of stdin: it is longer than the 1048576 bytes that a text may have"),
        ("voice", b"\xff\xff\xff\xffgarbage", "stdin is no voice lane"),
        ("voice", b"\x05\x00\x00\x00nonsense", "stdin is no voice lane"),
    ];
    for (lane, bytes, said) in rows {
        let (code, told, listener) = fed(lane, bytes);
        assert_eq!(code, Some(65), "{told:?}");
        assert!(told.iter().any(|line| line.contains(said)), "{said}: {told:?}");
        if lane == "text" {
            assert_eq!(until(&listener.stdout, |_| true), "bob: first");
        }
    }
}
