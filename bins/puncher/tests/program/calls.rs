//! One listens, another dials.

use std::{process::Command, time::Instant};

use crate::support::{PATIENCE, Person, listen, until};

#[test]
fn one_listens_and_another_dials_and_lines_go_both_ways() {
    let (alice, bob) = (Person::new(), Person::new());
    let (mut listener, addr) = listen(&alice, &[]);
    let mut dialler = bob.start(&["dial", &addr, "--name", "bob", "--pipe", "text"]);

    dialler.type_line("hello alice");
    listener.type_line("hello bob");

    assert_eq!(until(&listener.stdout, |_| true), "bob: hello alice");
    assert_eq!(until(&dialler.stdout, |_| true), "alice: hello bob");
}

#[test]
fn a_wrong_password_is_refused_with_its_exit_code() {
    let (alice, bob) = (Person::new(), Person::new());
    let password = |person: &Person, text: &str| {
        let path = person.home.path().join("password");
        std::fs::write(&path, text).unwrap();
        Command::new("chmod").arg("600").arg(&path).status().unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (right, wrong) = (password(&alice, "open sesame\n"), password(&bob, "open barley\n"));
    let (_listener, addr) = listen(&alice, &["--password-file", &right]);

    let (code, said) = bob.fails(&["dial", &addr, "--name", "bob", "--password-file", &wrong]);

    assert_eq!(code, Some(77), "{said}");
    assert!(said.contains("not the channel's"), "{said}");
}

#[test]
fn a_signal_ends_it_properly_and_leaves_nothing() {
    let (alice, bob) = (Person::new(), Person::new());
    let (listener, addr) = listen(&alice, &[]);
    let dialler = bob.start(&["dial", &addr, "--name", "bob"]);
    until(&dialler.stdout, |line| line == "link alice secure");

    dialler.signal("TERM");

    assert_eq!(dialler.code(), Some(143));
    until(&listener.stderr, |line| line.starts_with("left bob"));
    assert!(!bob.home.path().join("run/punchline/call.sock").exists());
}

#[test]
fn it_ends_with_the_program_that_it_runs_and_with_its_exit_code() {
    let alice = Person::new();
    let script = "test -S \"$PUNCHER_SOCK\" && exit 7";
    let running = alice.start(&["listen", "127.0.0.1:0", "--name", "alice", "--", "sh", "-c", script]);
    assert_eq!(running.code(), Some(7));
}

#[test]
fn a_key_that_changed_under_a_known_name_is_blocked() {
    let (alice, bob, mallory) = (Person::new(), Person::new(), Person::new());
    let (listener, addr) = listen(&alice, &[]);
    let dialler = bob.start(&["dial", &addr, "--name", "bob"]);
    until(&listener.stderr, |line| line == "link bob secure");
    dialler.signal("TERM");
    until(&listener.stderr, |line| line.starts_with("left bob"));

    let impostor = mallory.start(&["dial", &addr, "--name", "bob"]);

    let line = until(&listener.stderr, |line| line.starts_with("error "));
    assert!(line.contains("another key than before"), "{line}");
    drop(impostor);
    // Whom one has met is kept a moment later.
    let deadline = Instant::now() + PATIENCE;
    while alice.fails(&["trust", "bob"]).0 != Some(0) {
        assert!(Instant::now() < deadline, "{:?}", alice.fails(&["trust", "bob"]));
    }
    let _trusted = mallory.start(&["dial", &addr, "--name", "bob"]);
    until(&listener.stderr, |line| line == "link bob secure");
}

#[test]
fn where_another_key_answers_than_before_nobody_is_joined_until_it_is_trusted() {
    let (alice, bob, mallory) = (Person::new(), Person::new(), Person::new());
    let (listener, addr) = listen(&alice, &[]);
    let dialler = bob.start(&["dial", &addr, "--name", "bob"]);
    until(&listener.stderr, |line| line == "link bob secure");
    for ending in [dialler, listener] {
        ending.signal("TERM");
        assert_eq!(ending.code(), Some(143));
    }
    let listener = mallory.start(&["listen", &addr, "--name", "mallory"]);
    until(&listener.stdout, |line| line.starts_with("ready "));

    let (code, said) = bob.fails(&["dial", &addr, "--name", "bob", "--no-wait"]);

    assert_eq!(code, Some(76), "{said}");
    let advice = format!("puncher trust --server {addr}");
    assert!(said.contains(&advice), "{said}");
    assert_eq!(bob.fails(&["trust", "--server", &addr]).0, Some(0));
    assert_eq!(bob.fails(&["trust", "--server", &addr]).0, Some(69), "nothing is left to forget");
    let _trusting = bob.start(&["dial", &addr, "--name", "bob"]);
    until(&listener.stdout, |line| line == "link bob secure");
}
