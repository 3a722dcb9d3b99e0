//! What can't be, and what is said of it.

use std::{net::UdpSocket, process::Stdio};

use crate::support::Person;

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
fn what_makes_no_sense_without_a_rendezvous_is_refused() {
    let rows = [
        (&["dial", "127.0.0.1:9", "--relay-only"][..], "needs a rendezvous"),
        (&["listen", "127.0.0.1:0", "--relay-only"], "needs a rendezvous"),
        (&["listen", "127.0.0.1:0", "--bind", "127.0.0.1:9"], "--bind"),
    ];
    for (args, said) in rows {
        let (code, text) = Person::new().fails(args);
        assert!(code == Some(64) && text.contains(said), "{args:?}: {code:?} {text}");
    }
}

#[test]
fn a_puncher_that_fails_at_its_start_has_started_no_program() {
    let person = Person::new();
    let trace = person.home.path().join("started");
    let args = ["listen", "127.0.0.1:0", "--name", "alice", "--", "touch", trace.to_str().unwrap()];
    let (reader, nobody_reads) = std::io::pipe().unwrap();
    drop(reader);

    let ended = person.puncher(&args).stdin(Stdio::null()).stdout(nobody_reads).status().unwrap();

    assert!(!trace.exists(), "{ended}");
}
