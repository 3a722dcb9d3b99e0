//! The real program on one machine: calls without a rendezvous, and what bad input gets.

use std::{
    io::{BufRead, BufReader, Write},
    net::UdpSocket,
    os::unix::net::UnixStream,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use edge::agent::{Client, Target};
use tempfile::TempDir;
use wire::{
    agent::{FromPuncher, ToPuncher},
    local::{Ask, Local, Status},
    peer::Lane,
};

/// Nothing here takes a second; this is for a machine that is busy otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// A person's own settings, keys and sockets.
struct Person {
    home: TempDir,
}

impl Person {
    fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a directory") }
    }

    fn puncher(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_puncher"));
        command.arg("--no-input").args(args).env_remove("PUNCHLINE_SERVER").env_remove("PUNCHLINE_NAME");
        for (name, dir) in [("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "state"), ("XDG_RUNTIME_DIR", "run")] {
            let path = self.home.path().join(dir);
            std::fs::create_dir_all(&path).expect("a directory");
            command.env(name, path);
        }
        command
    }

    fn start(&self, args: &[&str]) -> Running {
        let mut child = self
            .puncher(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("puncher starts");
        let (stdout, stderr) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        Running { stdin: child.stdin.take(), stdout: lines(stdout), stderr: lines(stderr), child }
    }

    /// A local program's lane of the puncher that listens.
    fn open(&self, lane: Lane) -> Client {
        let sock = Some(self.home.path().join("run/punchline/call.sock"));
        Client::connect(&Target { sock, channel: None }, lane, "test").expect("a lane").0
    }

    /// Exit code and what was said on stderr.
    fn fails(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = self.puncher(args).stdin(Stdio::null()).output().expect("puncher starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

fn lines(from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    receive
}

fn until(lines: &Receiver<String>, wanted: impl Fn(&str) -> bool) -> String {
    loop {
        let line = lines.recv_timeout(PATIENCE).expect("the line comes before the program ends");
        if wanted(&line) {
            return line;
        }
    }
}

impl Running {
    fn type_line(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().expect("stdin is open"), "{line}").expect("puncher reads");
    }

    fn signal(&self, name: &str) {
        Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().expect("kill runs");
    }

    fn code(mut self) -> Option<i32> {
        drop(self.stdin.take());
        self.child.wait().expect("the program ends").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One listens on a free port; returns it with the address to dial.
fn listen(person: &Person, more: &[&str]) -> (Running, String) {
    let args = [&["listen", "127.0.0.1:0", "--name", "alice", "--pipe", "text"], more].concat();
    let listener = person.start(&args);
    let ready = until(&listener.stderr, |line| line.starts_with("ready "));
    let addr = ready.split(' ').nth(2).expect("the address is the third word").to_owned();
    (listener, addr)
}

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

#[test]
fn a_rendezvous_that_is_not_there_is_named() {
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = nobody.local_addr().unwrap().to_string();
    // Without a relay it does not look for one over TCP, where somebody's may serve.
    let (code, said) = Person::new().fails(&["join", "lobby", "--server", &server, "--no-wait", "--no-relay"]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains(&server), "{said}");
}

#[test]
fn an_invite_link_leads_to_its_channel_and_its_server_or_it_is_said_why_not() {
    use std::os::unix::fs::PermissionsExt;
    let person = Person::new();
    let file = person.home.path().join("link");
    let join = |line: &str, channel: &str| {
        std::fs::write(&file, format!("{line}\n")).expect("a file");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("a mode");
        person.fails(&["join", channel, "--invite-file", file.to_str().expect("UTF-8"), "--no-wait"])
    };
    let secret = identity::InviteSecret::generate().to_text().to_string();
    let rows = [
        (format!("http://nowhere.invalid:8470/c/team#{secret}"), "team", 68, "nowhere.invalid"),
        (format!("http://nowhere.invalid:45470/c/team#{secret}"), "team", 64, "--server nowhere.invalid:PORT"),
        (format!("http://nowhere.invalid:8470/c/team#{secret}"), "team2", 64, "is for team, not for team2"),
        ("http://nowhere.invalid:8470/c/team".into(), "team", 65, "read the invite in"),
        ("rubbish".into(), "team", 65, "read the invite in"),
        (secret.clone(), "team", 64, "--server HOST"),
    ];
    for (line, channel, code, said) in rows {
        let (was, text) = join(&line, channel);
        assert!(was == Some(code) && text.contains(said), "{line} {channel}: {was:?} {text}");
    }
}

#[test]
fn a_name_that_is_none_is_refused_before_anybody_is_asked() {
    let person = Person::new();
    let long = "x".repeat(200);
    let rows = [
        (&["join", "a/b", "--server", "nowhere.invalid"][..], "U+002F"),
        (&["join", " ", "--server", "nowhere.invalid"], "empty"),
        (&["join", "den", "--server", "nowhere.invalid", "--name", "a\u{202e}b"], "U+202E"),
        (&["listen", "127.0.0.1:0", "--channel", ".."], "directory"),
        (&["dial", "127.0.0.1:9", "--name", "a\nb"], "U+000A"),
        (&["name", &long], "longer than"),
    ];
    for (args, said) in rows {
        let (code, text) = person.fails(args);
        assert!(code == Some(64) && text.contains(said), "{args:?}: {code:?} {text}");
    }
}

#[test]
fn a_kept_name_that_is_none_is_told_with_its_file() {
    let person = Person::new();
    std::fs::create_dir_all(person.home.path().join("config/punchline")).expect("a directory");
    std::fs::write(person.home.path().join("config/punchline/config.toml"), "name = \"a\\u202eb\"").expect("a file");
    let (code, said) = person.fails(&["listen", "127.0.0.1:0"]);
    assert!(code == Some(78) && said.contains("config.toml") && said.contains("U+202E"), "{code:?} {said}");
}

#[test]
fn without_a_server_it_says_how_to_name_one() {
    let (code, said) = Person::new().fails(&["join", "lobby"]);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("--server"), "{said}");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let (code, said) = Person::new().fails(&["listen", &addr]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains(&addr), "{said}");
}

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
