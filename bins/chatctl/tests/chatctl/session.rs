//! The chat session without a terminal: lines in, lines out.

use std::{
    io::Write,
    process::{Child, Stdio},
};

use wire::{
    PeerTag,
    agent::{Delivery, FromPuncher, Local, Peers, ToPuncher},
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
    assert_eq!(ended.code, 0);
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
    chat.type_line("/mute");
    assert_eq!(chat.connection.hear(), ToPuncher::Local(Local::SetMute(None)));
    chat.type_line("/mute off");
    assert_eq!(chat.connection.hear(), ToPuncher::Local(Local::SetMute(Some(false))));
    chat.type_line("/dance");
    chat.type_line("/exit\nthis is never sent");
    assert_eq!(chat.connection.hear_or_end(), None);

    let ended = chat.end_of_input();

    assert_eq!(ended.code, 0);
    assert!(ended.stderr.contains("* there is no command /dance; /help lists them\n"), "{}", ended.stderr);
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
