use std::{
    io::{Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    thread::{self, JoinHandle},
};

use crate::fake::{Ended, Home};

const KEY: &str = "aa11aa11aa11aa11aa11aa11aa11aa11aa11aa11aa11aa11aa11aa11aa11aa11";

/// Answers these requests in this order; returns what was asked.
struct Rendezvous {
    url: String,
    served: JoinHandle<Vec<String>>,
}

impl Rendezvous {
    fn start(answers: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers: Vec<_> = answers.iter().map(|(status, body)| ((*status).to_owned(), (*body).to_owned())).collect();
        let served = thread::spawn(move || answers.iter().map(|answer| serve(&listener, answer)).collect());
        Self { url, served }
    }

    /// What was asked: the first line, the capability if there is one, and the body.
    fn asked(self) -> Vec<String> {
        self.served.join().unwrap()
    }
}

fn serve(listener: &TcpListener, (status, body): &(String, String)) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let mut bytes = Vec::new();
    let asked = loop {
        let mut chunk = [0; 4096];
        let len = stream.read(&mut chunk).unwrap();
        assert!(len > 0, "the request is whole");
        bytes.extend_from_slice(&chunk[..len]);
        let text = String::from_utf8(bytes.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let field = |name: &str| {
            head.lines().find_map(|line| line.to_lowercase().strip_prefix(name).map(|value| value.trim().to_owned()))
        };
        let expected: usize = field("content-length:").map_or(0, |len| len.parse().unwrap());
        if body.len() == expected {
            let first = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
            break format!("{first} {} {body}", field("authorization:").unwrap_or_default()).trim().to_owned();
        }
    };
    let len = body.len();
    write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {len}\r\ncontent-type: application/json\r\n\r\n{body}")
        .unwrap();
    asked
}

fn channels(home: &Home, url: &str, args: &[&str]) -> Ended {
    home.chatctl(&[&["channels"], args, &["--http", url]].concat()).output().unwrap().into()
}

fn created(name: &str, kind: &str) -> String {
    let channel = format!(
        r#"{{"name":"{name}","kind":"{kind}","kept":true,"description":"","author":"","members":0,"created_at":1}}"#
    );
    format!(r#"{{"channel":{channel},"capability":"c0ffee"}}"#)
}

#[test]
fn channels_are_listed_page_by_page() {
    let one = r#"{"channels":[{"name":"den \u001b","kind":"open","description":"a place","author":"zoë","members":2,"created_at":null}],"next":"den"}"#;
    let two = r#"{"channels":[{"name":"lobby","kind":"invite","kept":true,"description":"","author":"","members":0,"created_at":5}],"next":null}"#;
    let rendezvous = Rendezvous::start(&[("200", one), ("200", two)]);

    let ended = channels(&Home::new(), &rendezvous.url, &["list"]);

    let expected = "\
NAME   KIND    MEMBERS  AUTHOR  DESCRIPTION
den ␛  open    2        zoë     a place
lobby  invite  0
";
    assert_eq!((ended.code, ended.stdout.as_str()), (0, expected));
    assert_eq!(rendezvous.asked(), ["GET /api/channels", "GET /api/channels?after=den"]);
}

#[test]
fn lists_are_lines_of_json_if_asked_for() {
    let one = r#"{"channels":[{"name":"den","kind":"open","description":"a place","author":"zoë","members":2,"created_at":null}],"next":null}"#;
    let rendezvous = Rendezvous::start(&[("200", one)]);
    let ended = channels(&Home::new(), &rendezvous.url, &["list", "--json"]);
    assert_eq!(ended.stdout.lines().count(), 1);
    assert!(ended.stdout.starts_with(r#"{"name":"den","kind":"open""#), "{}", ended.stdout);
}

#[test]
fn who_creates_a_channel_can_delete_it_and_nobody_else() {
    let home = Home::new();
    let rendezvous = Rendezvous::start(&[("201", &created("den", "open")), ("204", "")]);

    let ended = channels(&home, &rendezvous.url, &["create", "den", "--description", "a place", "--author", "zoë"]);
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (0, "den\n", ""));
    let ended = channels(&Home::new(), &rendezvous.url, &["delete", "den"]);
    assert_eq!(ended.code, 77, "{}", ended.stderr);
    let ended = channels(&home, &rendezvous.url, &["delete", "den"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let ended = channels(&home, &rendezvous.url, &["delete", "den"]);
    assert_eq!(ended.code, 77, "it is forgotten: {}", ended.stderr);

    let post = r#"POST /api/channels  {"author":"zoë","description":"a place","kind":"open","name":"den"}"#;
    assert_eq!(rendezvous.asked(), [post, "DELETE /api/channels/den bearer c0ffee"]);
}

#[test]
fn a_capability_is_for_the_users_eyes_only() {
    let home = Home::new();
    let rendezvous = Rendezvous::start(&[("201", &created("den", "open"))]);
    channels(&home, &rendezvous.url, &["create", "den"]);
    let owners = home.path(".local/state/punchline/owners");
    assert_eq!(std::fs::metadata(&owners).unwrap().permissions().mode() & 0o777, 0o700);
    let kept: Vec<_> = std::fs::read_dir(owners).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(std::fs::metadata(&kept[0]).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_password_never_leaves_this_machine() {
    let home = Home::new();
    let file = home.path("password");
    std::fs::write(&file, "correct horse\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let server = format!(r#"{{"key":"{KEY}","udp_port":3478,"version":"0.1.0","protocol":1,"adhoc":true}}"#);
    let rendezvous = Rendezvous::start(&[("200", &server), ("201", &created("den", "password"))]);

    let args = ["create", "den", "--kind", "password", "--password-file", file.to_str().unwrap()];
    let ended = channels(&home, &rendezvous.url, &args);

    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let asked = rendezvous.asked().join("\n");
    let secret = identity::ChannelSecret::from_password(&KEY.parse().unwrap(), "den", "correct horse").unwrap();
    assert!(asked.contains(&format!(r#""join_key":"{}""#, secret.join_key().key())), "{asked}");
    assert!(!asked.contains("horse"), "{asked}");
}

#[test]
fn a_rendezvous_with_another_key_than_before_gets_no_password() {
    let home = Home::new();
    let state = home.path(".local/state/punchline");
    std::fs::create_dir_all(&state).unwrap();
    let file = home.path("password");
    std::fs::write(&file, "correct horse\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(state.join("known_servers"), format!("127.0.0.1:3478 {}\n", "00".repeat(32))).unwrap();
    let server = format!(r#"{{"key":"{KEY}","udp_port":3478,"version":"0.1.0","protocol":1,"adhoc":true}}"#);
    let rendezvous = Rendezvous::start(&[("200", &server)]);

    let args = ["create", "den", "--kind", "password", "--password-file", file.to_str().unwrap()];
    let ended = channels(&home, &rendezvous.url, &args);

    assert_eq!(ended.code, 76);
    assert!(ended.stderr.contains("another key than before"), "{}", ended.stderr);
}

#[test]
fn an_invitation_is_a_link_whose_secret_the_server_never_sees() {
    let home = Home::new();
    let rendezvous = Rendezvous::start(&[("201", &created("den", "invite"))]);

    let ended = channels(&home, &rendezvous.url, &["create", "den", "--kind", "invite"]);

    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("leads to the own machine"), "as its server is 127.0.0.1: {}", ended.stderr);
    let Ok(link) = ended.stdout.trim().parse::<edge::InviteLink>() else { panic!("{}", ended.stdout) };
    assert_eq!((link.server.http_url(), link.channel.as_str()), (rendezvous.url.clone(), "den"));
    let secret: identity::InviteSecret = link.secret.parse().unwrap();
    let join_key = identity::ChannelSecret::from_invite(&secret).join_key().key();
    let asked = rendezvous.asked().join("\n");
    assert!(asked.contains(&join_key.to_string()) && !asked.contains(&link.secret), "{asked}");
}

#[test]
fn a_channel_whose_invitation_nobody_has_seen_is_taken_back() {
    let home = Home::new();
    let rendezvous = Rendezvous::start(&[("201", &created("den", "invite")), ("204", "")]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let args = ["channels", "create", "den", "--kind", "invite", "--http", &rendezvous.url];

    let ended = Ended::from(home.chatctl(&args).stdout(full).output().unwrap());

    assert_eq!(ended.code, 74, "{}", ended.stderr);
    assert_eq!(rendezvous.asked()[1].split(' ').take(2).collect::<Vec<_>>(), ["DELETE", "/api/channels/den"]);
}

#[test]
fn a_channel_whose_invitation_is_in_a_file_stays_though_nothing_can_be_printed() {
    let home = Home::new();
    let file = home.path("link.txt");
    let rendezvous = Rendezvous::start(&[("201", &created("den", "invite"))]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let args = ["channels", "create", "den", "--kind", "invite", "--http", &rendezvous.url, "--invite-file"];

    let ended = Ended::from(home.chatctl(&args).arg(&file).stdout(full).output().unwrap());

    assert_eq!(ended.code, 74, "{}", ended.stderr);
    assert_eq!(rendezvous.asked().len(), 1, "nothing is deleted");
    assert!(std::fs::read_to_string(file).unwrap().contains('#'));
}

#[test]
fn an_invitation_can_go_to_a_file_for_the_user_alone() {
    let home = Home::new();
    let file = home.path("den.link");
    let rendezvous = Rendezvous::start(&[("201", &created("den", "invite"))]);
    let args = ["create", "den", "--kind", "invite", "--invite-file", file.to_str().unwrap()];
    let ended = channels(&home, &rendezvous.url, &args);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "den\n"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(&file).unwrap().contains("/c/den#"));
}

#[test]
fn an_invitation_is_not_written_over_and_no_empty_one_is_left() {
    let home = Home::new();
    let [kept, other] = ["den.link", "other.link"].map(|name| home.path(name));
    std::fs::write(&kept, "precious").unwrap();
    let rendezvous = Rendezvous::start(&[("409", "{}")]);
    let create = |file: &std::path::Path| {
        let args = ["create", "den", "--kind", "invite", "--invite-file", file.to_str().unwrap()];
        channels(&home, &rendezvous.url, &args)
    };

    let ended = create(&kept);
    assert!(ended.code == 73 && ended.stderr.contains("den.link"), "{} {}", ended.code, ended.stderr);
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), "precious");
    assert_eq!(create(&home.path("none/den.link")).code, 73, "before anything is asked");

    assert_eq!(create(&other).code, 69);
    assert!(!other.exists());
    assert_eq!(rendezvous.asked().len(), 1);
}

#[test]
fn what_goes_wrong_has_a_sentence_and_a_code() {
    let problem = r#"{"type":"x","title":"Conflict","status":409,"detail":"there is a channel den"}"#;
    let rows: [(&str, &str, &[&str], i32, &str); 5] = [
        ("409", problem, &["create", "den"], 69, "there is a channel den"),
        ("429", "{}", &["list"], 75, "429 Too Many Requests"),
        (
            "200",
            "<html>hello</html>",
            &["list"],
            76,
            "this does not answer as a rendezvous does: expected value at line 1 column 1",
        ),
        ("500", "", &["list"], 69, "500 Internal Server Error"),
        ("302", "", &["list"], 76, "302 Found"),
    ];
    for (status, body, args, code, said) in rows {
        let rendezvous = Rendezvous::start(&[(status, body)]);
        let ended = channels(&Home::new(), &rendezvous.url, args);
        assert_eq!(ended.code, code, "{}", ended.stderr);
        assert!(ended.stderr.ends_with(&format!("{said}\n")), "{}", ended.stderr);
    }
}

#[test]
fn wrong_arguments_are_refused_before_anybody_is_asked() {
    let home = Home::new();
    let rows: [(&[&str], i32); 8] = [
        (&["channels", "list"], 64),
        (&["channels", "list", "--http", "https://127.0.0.1:1"], 64),
        (&["channels", "list", "--http", "http://127.0.0.1:99999"], 64),
        (&["channels", "create", "den", "--kind", "secret", "--http", "http://127.0.0.1:1"], 64),
        (&["channels", "create", "den", "--kind", "password", "--http", "http://127.0.0.1:1"], 64),
        (&["channels", "create", "den", "--password-fd", "9", "--http", "http://127.0.0.1:1"], 64),
        (&["channels", "list", "--http", "http://127.0.0.1:1"], 69),
        (&["channels", "list", "--http", "http://no-such-host.invalid:8470"], 68),
    ];
    for (args, code) in rows {
        let ended: Ended = home.chatctl(args).output().unwrap().into();
        assert_eq!(ended.code, code, "{args:?}: {}", ended.stderr);
        assert!(ended.stdout.is_empty());
    }
}
