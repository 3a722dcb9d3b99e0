//! The chat session on a terminal: `tmux` plays the terminal and types.

use std::{
    fs::OpenOptions,
    io::Write,
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use wire::agent::{FromPuncher, PeerStatus, Peers, ToPuncher};

use crate::fake::{Connection, Home, KEPT, peer};

const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal with a chat session in it.
struct Terminal {
    home: Home,
}

impl Terminal {
    /// One where alice is there.
    fn start(columns: u32, args: &str) -> Option<(Self, Connection)> {
        Self::among(&[peer(1, "alice")], columns, args)
    }

    /// `None`, visibly, where there is no tmux.
    fn among(peers: &[PeerStatus], columns: u32, args: &str) -> Option<(Self, Connection)> {
        if Command::new("tmux").arg("-V").stdout(Stdio::null()).status().is_err() {
            // Not by eprintln!: the test harness would hide it.
            std::io::stderr()
                .write_all(b"skipped: the line session is tested in tmux, which is not installed\n")
                .unwrap();
            return None;
        }
        let terminal = Self { home: Home::new() };
        let puncher = terminal.home.puncher();
        let program = env!("CARGO_BIN_EXE_chatctl");
        let shell = format!("set -m; '{program}' chat {args}");
        let size = columns.to_string();
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &size, "-y", "24", "sleep 600"]);
        terminal.tmux(&["set-option", "-g", "history-limit", "20000"]);
        terminal.tmux(&["set-option", "-g", "remain-on-exit", "on"]);
        terminal.tmux(&["new-window", &shell]);
        let connection = puncher.open(peers);
        terminal.wait_for("the prompt", |lines| lines.last().is_some_and(|line| line == "me>"));
        Some((terminal, connection))
    }

    fn tmux(&self, args: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.home.path("tmux")).args(args).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LANG", "C.UTF-8").env("TERM", "screen");
        command.env("HOME", self.home.path("")).env("XDG_RUNTIME_DIR", self.home.path("run"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "tmux {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn type_text(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// Everything that was shown, wrapped lines joined, without the empty end.
    fn lines(&self) -> Vec<String> {
        let shown = self.tmux(&["capture-pane", "-p", "-J", "-S", "-"]);
        shown.trim_end().lines().map(|line| line.trim_end().to_owned()).collect()
    }

    fn wait_for(&self, what: &str, is_there: impl Fn(&[String]) -> bool) -> Vec<String> {
        let started = Instant::now();
        loop {
            let lines = self.lines();
            if is_there(&lines) {
                return lines;
            }
            assert!(started.elapsed() < PATIENCE, "{what} does not come:\n{}", lines.join("\n"));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let killed = Command::new("tmux").arg("-S").arg(self.home.path("tmux")).arg("kill-server").output();
        assert!(killed.is_ok() || std::thread::panicking());
    }
}

/// 200 messages come while 40 words are typed.
fn a_line_stays_whole(columns: u32) {
    let Some((terminal, mut connection)) = Terminal::start(columns, "") else { return };
    let words: Vec<_> = (0..40).map(|number| format!("word{number}")).collect();
    let (typed, pace) = mpsc::sync_channel::<()>(1);
    let sender = std::thread::spawn(move || {
        for (round, ()) in pace.iter().enumerate() {
            for number in round * 5..round * 5 + 5 {
                connection.say_text(number as u128, 1, "alice", &format!("message {number} ends here"));
            }
        }
        connection
    });
    for word in &words {
        typed.send(()).unwrap();
        terminal.type_text(&format!("{word} "));
    }
    drop(typed);
    let mut connection = sender.join().unwrap();
    let line = format!("me> {}", words.join(" "));

    let is_shown = |lines: &[String]| {
        lines.last() == Some(&line) && lines.iter().filter(|line| line.ends_with("ends here")).count() >= 200
    };
    let lines = terminal.wait_for("the whole line", is_shown);

    for number in 0..200 {
        let expected = format!("alice: message {number} ends here");
        assert_eq!(lines.iter().filter(|line| **line == expected).count(), 1, "message {number}");
    }
    assert_eq!(lines.iter().filter(|line| line.contains("word")).count(), 1, "{}", lines.join("\n"));

    terminal.press("Enter");
    let (id, to, body) = connection.hear_text();
    assert_eq!((to, body), (Peers::All, words.join(" ")));
    connection.settle(id, &[("alice", KEPT)]);
}

#[test]
fn what_other_programs_say_comes_above_the_line_being_typed() {
    let notices = tempfile::tempdir().unwrap();
    let pipe = notices.path().join("notices");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let writer = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let Some((terminal, _connection)) = Terminal::start(80, &format!("--notices '{}'", pipe.display())) else { return };
    terminal.type_text("half a li");
    terminal.wait_for("what is typed", |lines| lines.last().is_some_and(|line| line == "me> half a li"));

    writeln!(&writer, "audio-pipe: the microphone is gone").unwrap();

    let said = |lines: &[String]| lines.iter().any(|line| line == "audio-pipe: the microphone is gone");
    let lines = terminal.wait_for("the notice", said);
    terminal.type_text("ne");
    terminal.wait_for("the whole line", |lines| lines.last().is_some_and(|line| line == "me> half a line"));
    assert_eq!(lines.iter().filter(|line| line.contains("half")).count(), 1, "{}", lines.join("\n"));
}

#[test]
fn a_line_on_a_wide_terminal_stays_whole_while_messages_come() {
    a_line_stays_whole(400);
}

#[test]
fn a_line_that_wraps_stays_whole_while_messages_come() {
    a_line_stays_whole(80);
}

#[test]
fn commands_are_answered_while_messages_come_and_all_of_them_are_shown() {
    let Some((terminal, mut connection)) = Terminal::start(80, "; echo code $?") else { return };
    let (done, is_done) = mpsc::channel::<()>();
    let sender = std::thread::spawn(move || {
        let mut sent = 0;
        while is_done.try_recv() == Err(mpsc::TryRecvError::Empty) {
            (0..10).for_each(|more| connection.say_text(sent + more, 1, "alice", "message"));
            sent += 10;
        }
        (connection, sent as usize)
    });
    let count = |lines: &[String], text: &str| lines.iter().filter(|line| line.starts_with(text)).count();
    for answered in 1..=20 {
        terminal.tmux(&["send-keys", "/exid", "Enter"]);
        terminal.wait_for("an answer", |lines| count(lines, "* there is no command /exid") == answered);
    }
    drop(done);
    let (_connection, sent) = sender.join().unwrap();

    terminal.wait_for("all messages", |lines| count(lines, "alice: message") == sent);
    terminal.tmux(&["send-keys", "/exit", "Enter"]);
    terminal.wait_for("the end", |lines| lines.iter().any(|line| line == "code 0"));
}

#[test]
fn messages_and_status_come_without_a_key_press_above_the_line() {
    let Some((terminal, mut connection)) = Terminal::start(80, "") else { return };
    terminal.type_text("half a sen");
    terminal.wait_for("what is typed", |lines| lines.last().is_some_and(|line| line == "me> half a sen"));
    connection.say_text(1, 1, "alice", "two\nlines");
    connection.say(FromPuncher::Peer(peer(2, "bob")));

    let lines = terminal.wait_for("bob", |lines| lines.iter().any(|line| line.starts_with("* bob is connected")));

    let end = &lines[lines.len() - 5..];
    let bob = "* bob is connected: direct, 203.0.113.7:40112, 38 ms";
    assert_eq!(end, ["alice: two", "       lines", "* bob has joined", bob, "me> half a sen"]);
}

#[test]
fn who_is_alone_is_told_so_at_the_start() {
    let alone = "* this is lobby, and nobody else is here yet; /help says what you can type";
    let at_the_start = |peers: &[PeerStatus]| Terminal::among(peers, 200, "").map(|(terminal, _)| terminal.lines());

    let Some(lines) = at_the_start(&[]) else { return };
    assert!(lines.iter().any(|line| line == alone), "{lines:?}");
    let Some(lines) = at_the_start(&[peer(1, "alice")]) else { return };
    assert!(lines.iter().all(|line| line != alone), "{lines:?}");
}

#[test]
fn ctrl_d_and_ctrl_c_end_the_session_and_leave_if_asked_to() {
    for (key, code) in [("C-d", "code 0"), ("C-c", "code 130")] {
        let Some((terminal, mut connection)) = Terminal::start(80, "--leave-on-exit; echo code $?") else { return };
        terminal.press(key);
        assert_eq!(connection.hear(), ToPuncher::Leave);
        connection.say(FromPuncher::Closing);
        assert_eq!(connection.hear_or_end(), None);
        terminal.wait_for("the end", |lines| lines.iter().any(|line| line == code));
    }
}

#[test]
fn the_terminal_is_given_back_with_everything_shown_when_puncher_ends() {
    let suffix = "; echo code $?; stty -a | grep -o ' icanon'";
    let Some((terminal, mut connection)) = Terminal::start(80, suffix) else { return };
    terminal.type_text("half a sen");
    terminal.wait_for("what is typed", |lines| lines.last().is_some_and(|line| line == "me> half a sen"));
    for number in 0..10 {
        connection.say_text(number, 1, "alice", "bye");
    }
    connection.say(FromPuncher::Closing);

    let lines = terminal.wait_for("the end", |lines| lines.iter().any(|line| line == " icanon"));

    let end = lines.iter().position(|line| line == "* the call has ended").expect("the end is told");
    assert_eq!(lines[..end].iter().filter(|line| *line == "alice: bye").count(), 10);
    assert!(lines.iter().any(|line| line == "code 0"), "{}", lines.join("\n"));
}

#[test]
fn a_signal_ends_the_session_as_exit_does_and_gives_the_terminal_back() {
    let suffix = "--leave-on-exit & echo pid $!; fg >/dev/null; echo code $?; stty -a | grep -o ' icanon'";
    let Some((terminal, mut connection)) = Terminal::start(80, suffix) else { return };
    let lines = terminal.lines();
    let pid = lines.iter().find_map(|line| line.strip_prefix("pid ")).expect("the session's process");

    assert!(Command::new("kill").arg(pid).status().unwrap().success());

    assert_eq!(connection.hear(), ToPuncher::Leave);
    connection.say(FromPuncher::Closing);
    let lines = terminal.wait_for("the end", |lines| lines.iter().any(|line| line == " icanon"));
    assert!(lines.iter().any(|line| line == "code 143"), "{}", lines.join("\n"));
}
