//! The agent socket, and the programs at it.

use std::{io::Write, os::unix::net::UnixStream, sync::mpsc::channel, time::Duration};

use wire::{
    MessageId,
    agent::{FromPuncher, Peers, ToPuncher},
    local::{Ask, Local, Status},
    peer::Lane,
};

use crate::support::{PATIENCE, Person, listen, until};

#[test]
fn one_channel_has_one_puncher() {
    let alice = Person::new();
    let (_listener, _) = listen(&alice, &[]);
    let (code, said) = alice.fails(&["listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("another puncher"), "{said}");
}

#[test]
fn a_socket_of_a_dead_puncher_is_replaced() {
    let alice = Person::new();
    let (mut listener, _) = listen(&alice, &[]);
    listener.child.kill().unwrap();
    listener.child.wait().unwrap();
    assert!(alice.home.path().join("run/punchline/call.sock").exists());

    let (_again, _) = listen(&alice, &[]);
}

#[test]
fn a_local_program_that_talks_nonsense_is_cut_off_and_nobody_else_is() {
    let (alice, bob) = (Person::new(), Person::new());
    let (mut listener, addr) = listen(&alice, &[]);
    let mut stranger = UnixStream::connect(alice.home.path().join("run/punchline/call.sock")).unwrap();
    stranger.write_all(&[0xff; 64]).unwrap();
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut stranger, &mut answer).unwrap();

    let dialler = bob.start(&["dial", &addr, "--name", "bob", "--pipe", "text"]);
    listener.type_line("still here");

    assert_eq!(until(&dialler.stdout, |_| true), "alice: still here");
}

#[test]
fn a_question_goes_to_every_talk_and_the_answers_come_back() {
    let alice = Person::new();
    let (_listener, _) = listen(&alice, &[]);
    let mut asker = alice.open(Lane::Control);
    let nobody = edge::talks::ask(&mut asker, Ask::Status, PATIENCE).expect_err("no talk");
    assert_eq!(
        (edge::code_of(&nobody), nobody.to_string().contains("audio-pipe talk")),
        (edge::Exit::Unavailable, true)
    );

    let talks = [5, 6].map(|pid| {
        let mut talk = alice.open(Lane::Voice);
        std::thread::spawn(move || {
            while let Some(record) = talk.read().expect("records") {
                if let FromPuncher::Local(Local::Ask { id, what: Ask::Mute(None) }) = record {
                    let answer = Ok(Status { pid, ..Status::default() });
                    talk.send(&ToPuncher::Local(Local::Answer { id, answer })).expect("puncher");
                    return;
                }
            }
        })
    });
    let _not_asked = alice.open(Lane::Text);
    let answers = edge::talks::ask(&mut asker, Ask::Mute(None), PATIENCE).expect("answers");

    let mut pids: Vec<_> = answers.into_iter().map(|answer| answer.expect("a status").pid).collect();
    pids.sort_unstable();
    assert_eq!(pids, [5, 6]);
    talks.into_iter().for_each(|talk| talk.join().expect("no panic"));
}

#[test]
fn a_talk_that_ends_while_it_is_asked_is_not_waited_for() {
    let alice = Person::new();
    let (_listener, _) = listen(&alice, &[]);
    let mut talk = alice.open(Lane::Voice);
    let ending = std::thread::spawn(move || {
        while !matches!(talk.read().expect("records"), Some(FromPuncher::Local(Local::Ask { .. }))) {}
        talk.send(&ToPuncher::Local(Local::Ended)).expect("puncher");
    });

    let error = edge::talks::ask(&mut alice.open(Lane::Control), Ask::Status, PATIENCE).expect_err("no answer");

    assert_eq!(edge::code_of(&error), edge::Exit::Unavailable, "{error}");
    ending.join().expect("no panic");
}

#[test]
fn nothing_but_a_socket_is_replaced_by_one() {
    let person = Person::new();
    let file = person.home.path().join("precious");
    std::fs::write(&file, "precious").unwrap();

    let (code, said) = person.fails(&["listen", "127.0.0.1:0", "--sock", file.to_str().unwrap()]);

    assert!(code == Some(73) && said.contains("something else than a socket is there"), "{code:?} {said}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "precious");
}

#[test]
fn a_peer_that_takes_no_text_holds_up_text_alone() {
    let (alice, bob) = (Person::new(), Person::new());
    let (listener, addr) = listen(&alice, &[]);
    let dialler = bob.start(&["dial", &addr, "--name", "bob", "--pipe", "text"]);
    until(&listener.stderr, |line| line == "link bob secure");
    dialler.signal("STOP");

    // Far more than is kept for a slow peer.
    let (sender, (tell, sent)) = (alice.open(Lane::Text), channel());
    std::thread::spawn(move || {
        for id in 0..64 {
            let text = ToPuncher::Text { id: MessageId(id), to: Peers::All, body: vec![b'x'; 1 << 20] };
            if sender.send(&text).and_then(|()| Ok(tell.send(id)?)).is_err() {
                return;
            }
        }
    });
    let last = std::iter::from_fn(|| sent.recv_timeout(Duration::from_secs(1)).ok()).last();

    assert!(last.is_some_and(|last| (4..60).contains(&last)), "text waits: {last:?}");
    let roster = alice.open(Lane::Control).roster().expect("puncher answers");
    assert_eq!(roster.len(), 1);
}
