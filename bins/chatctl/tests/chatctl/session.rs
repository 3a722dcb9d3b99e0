//! The chat session without a terminal: lines in, lines out.

use std::{
    io::Write,
    process::{Child, Stdio},
};

use wire::{
    PeerTag,
    agent::{Delivery, FromPuncher, Peers, ToPuncher},
    local::{Ask, Local, Refusal, VoiceState, Volume},
};

use crate::fake::{Connection, Ended, Home, KEPT, end, peer};

/// A session with alice and bob there.
struct Chat {
    _home: Home,
    child: Child,
    connection: Connection,
}

impl Chat {
    fn start(args: &[&str]) -> Self {
        let home = Home::new();
        let puncher = home.puncher();
        let child = home.chatctl(&[&["chat"], args].concat()).stdin(Stdio::piped()).spawn().unwrap();
        let connection = puncher.open(&[peer(1, "alice"), peer(2, "bob the builder")]);
        Self { _home: home, child, connection }
    }

    fn type_line(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.child.stdin.as_ref().unwrap().write_all(line.as_bytes()).unwrap();
    }

    /// Waits until all that was said to it is shown.
    fn catch_up(&mut self) {
        self.connection.say_text(999, 1, "alice", "hi");
        let mut said = [0; "alice: hi\n".len()];
        std::io::Read::read_exact(self.child.stdout.as_mut().unwrap(), &mut said).unwrap();
    }

    /// Waits for the end, with stdin open.
    fn end(mut self) -> Ended {
        let _stdin = self.child.stdin.take();
        end(self.child)
    }

    fn end_of_input(mut self) -> Ended {
        drop(self.child.stdin.take());
        end(self.child)
    }
}

#[test]
fn lines_go_to_everybody_and_texts_come_out() {
    let mut chat = Chat::start(&[]);
    chat.connection.say_text(1, 1, "alice", "hi");
    chat.type_line("hello");
    chat.type_line("");
    chat.type_line("//etc is a directory");
    for expected in ["hello", "/etc is a directory"] {
        let (id, to, body) = chat.connection.hear_text();
        assert_eq!((to, body.as_str()), (Peers::All, expected));
        chat.connection.settle(id, &[("alice", KEPT), ("bob the builder", KEPT)]);
    }

    let ended = chat.end_of_input();

    assert_eq!((ended.code, ended.stdout.as_str()), (0, "alice: hi\n"));
    assert!(ended.stderr.contains("* alice is here\n"), "{}", ended.stderr);
    assert!(ended.stderr.contains("* alice is connected: direct, 203.0.113.7:40112, 38 ms\n"), "{}", ended.stderr);
}

#[test]
fn a_line_for_one_goes_to_that_one() {
    let mut chat = Chat::start(&[]);
    chat.type_line("/to bob the builder  can we fix it?");
    let (id, to, body) = chat.connection.hear_text();
    assert_eq!((to, body.as_str()), (Peers::One(PeerTag(2)), "can we fix it?"));
    chat.connection.settle(id, &[("bob the builder", KEPT)]);
    chat.type_line("/to carol hi");

    let ended = chat.end_of_input();
    assert!(ended.stderr.contains("* nobody of that name is there; /peers shows who is there\n"), "{}", ended.stderr);
    assert_eq!(ended.code, 69);
}

#[test]
fn the_end_of_input_waits_for_texts_under_way_and_tells_what_was_not_delivered() {
    let mut chat = Chat::start(&[]);
    chat.type_line("hello");
    drop(chat.child.stdin.take());
    let (id, ..) = chat.connection.hear_text();
    chat.connection.settle(id, &[("alice", KEPT), ("bob", Delivery::TimedOut)]);

    let ended = end(chat.child);

    assert_eq!(ended.code, 75);
    assert!(ended.stderr.contains("* \"hello\": bob did not acknowledge it in time\n"), "{}", ended.stderr);
}

#[test]
fn commands_reach_the_other_programs_and_the_wrong_ones_are_named() {
    let mut chat = Chat::start(&[]);
    let rows = [
        ("/mute", Ask::Mute(None)),
        ("/mute off", Ask::Mute(Some(false))),
        ("/deafen", Ask::Deafen(None)),
        ("/volume bob the builder -6", Ask::Volume { peer: PeerTag(2), volume: Volume::Db(-6) }),
    ];
    for (line, wanted) in rows {
        chat.type_line(line);
        let ToPuncher::Local(Local::Ask { id, what }) = chat.connection.hear() else { panic!("a question") };
        assert_eq!(what, wanted);
        chat.connection.say(FromPuncher::Local(Local::Asked { id, talks: 1 }));
        let answer = Err(Refusal { why: format!("no {line}"), exit: 64 });
        chat.connection.say(FromPuncher::Local(Local::Answer { id, answer }));
    }
    chat.catch_up();
    chat.type_line("/volume alice loud");
    chat.type_line("/volume carol 3");
    chat.type_line("/dance");
    chat.type_line("/exit\nthis is never sent");
    assert_eq!(chat.connection.hear_or_end(), None);

    let ended = chat.end_of_input();

    assert_eq!(ended.code, 64, "/dance was not sent");
    let expected = [
        "* no /mute\n* no /mute off\n* no /deafen\n* no /volume bob the builder -6\n",
        "* that is not a whole number of decibels from -60 to 12, off or on: /volume NAME DB\n",
        "* nobody of that name is there; /peers shows who is there\n",
        "* there is no command /dance; /help lists them\n",
    ];
    for expected in expected {
        assert!(ended.stderr.contains(expected), "{expected}: {}", ended.stderr);
    }
}

#[test]
fn exit_leaves_the_channel_if_asked_to() {
    let mut chat = Chat::start(&["--leave-on-exit"]);
    chat.type_line("/exit");
    assert_eq!(chat.connection.hear(), ToPuncher::Leave);
    chat.connection.say(FromPuncher::Closing);
    assert_eq!(chat.end_of_input().code, 0);
}

#[test]
fn the_session_ends_with_puncher() {
    let mut chat = Chat::start(&[]);
    chat.connection.say(FromPuncher::Closing);
    let ended = chat.end();
    assert_eq!(ended.code, 0);
    assert!(ended.stderr.ends_with("* the call has ended\n"), "{}", ended.stderr);

    let mut chat = Chat::start(&[]);
    chat.connection.close();
    let ended = chat.end();
    assert_eq!(ended.code, 69);
    assert!(ended.stderr.ends_with("chatctl: puncher has ended\n"), "{}", ended.stderr);
}

#[test]
fn the_session_ends_quietly_when_nobody_reads() {
    let mut chat = Chat::start(&["--quiet"]);
    drop(chat.child.stdout.take());
    chat.connection.say_text(1, 1, "alice", "hi");
    let ended = chat.end();
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
}

#[test]
fn everything_is_json_if_asked_for() {
    let mut chat = Chat::start(&["--json"]);
    chat.connection.say_text(1, 1, "alice", "hi");
    chat.connection.say(FromPuncher::Left { tag: PeerTag(1), name: "alice".into(), why: "left".into() });
    chat.connection.say(FromPuncher::Closing);
    let ended = chat.end();
    let kinds: Vec<_> =
        ended.stdout.lines().filter_map(|line| line.split(r#""type":""#).nth(1)?.split('"').next()).collect();
    assert_eq!(kinds, ["joined", "path", "joined", "path", "message", "left"]);
}

#[test]
fn voices_are_told_of_and_are_in_the_table() {
    let mut chat = Chat::start(&[]);
    let muted = VoiceState { muted: true, ..VoiceState::default() };
    let talking = VoiceState { talking: true, ..VoiceState::default() };
    for (peer, state) in [(Some(PeerTag(1)), muted), (Some(PeerTag(2)), talking), (None, muted)] {
        chat.connection.say(FromPuncher::Local(Local::Voice { peer, state }));
    }
    chat.catch_up();
    chat.type_line("/peers");
    let ended = chat.end_of_input();

    assert!(ended.stderr.contains("* alice's microphone is off\n* your microphone is off\n"), "{}", ended.stderr);
    let row = |name: &str| ended.stderr.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(row("alice  ").ends_with("muted") && row("bob the builder  ").ends_with("talking"), "{}", ended.stderr);
}
