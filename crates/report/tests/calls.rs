//! Calls in virtual time, and the pages about them.
#![expect(clippy::disallowed_methods, reason = "any start of the virtual time will do")]

use std::time::{Duration, Instant};

use report::{Call, Stages};
use wire::{
    IdentityKey, PeerTag,
    agent::{Path, PeerStatus},
    local::{Figures, Speaker, Status, VoiceState},
    voice::Report,
};

/// A call, and what everybody in it does in each second.
struct Scene {
    call: Call,
    start: Instant,
    names: Vec<String>,
    speakers: Vec<Speaker>,
}

fn peer(tag: u32, name: &str, path: Path) -> PeerStatus {
    let addr = (path != Path::None).then(|| "203.0.113.7:40112".parse().expect("an address"));
    let via = (path == Path::Member).then(|| "<i>eve</i>".to_owned());
    let key = IdentityKey([tag as u8; 32]);
    PeerStatus { tag: PeerTag(tag), name: name.into(), key, path, addr, via, rtt_us: Some(38_000), secure: true }
}

fn speaker(tag: u32, name: &str) -> Speaker {
    let (state, figures) = (VoiceState::default(), Figures::default());
    let (tag, name) = (PeerTag(tag), name.to_owned());
    Speaker { tag, name, volume_db: 0, is_off: false, evened_db: 0, channels: 1, state, level: 127, figures }
}

impl Scene {
    fn new(names: &[&str]) -> Self {
        let start = Instant::now();
        let stages = Stages { capture_ms: 21.5, playout_ms: 10.0 };
        let mut call = Call::new("den & <co>", "me", stages, 1_764_140_092, start);
        let mut speakers = Vec::new();
        for (tag, name) in (1..).zip(names) {
            call.handle_peer(&peer(tag, name, Path::Relay), start);
            speakers.push(speaker(tag, name));
        }
        Self { call, start, names: names.iter().map(|&name| name.to_owned()).collect(), speakers }
    }

    fn at(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }

    /// Everybody talks in turns; the second of them has a bad path and is muted now and then.
    fn run(&mut self, from: u64, to: u64) {
        for second in from..to {
            let now = self.at(second);
            for (n, speaker) in (0..).zip(&mut self.speakers) {
                let is_bad = n == 1 && second % 11 < 4;
                speaker.level = 20 + ((second * 7 + n * 13) % 60) as u8;
                speaker.state.muted = n == 1 && second % 60 > 50;
                let figures = &mut speaker.figures;
                figures.received += if is_bad { 90 } else { 100 };
                figures.lost += u64::from(is_bad) * 10;
                figures.from_next += u64::from(is_bad) * 4;
                figures.from_copy += u64::from(is_bad) * 3;
                figures.deep_ms += u64::from(is_bad) * 20;
                figures.concealed_ms += u64::from(is_bad) * 30;
                figures.played_ms += 1000;
                (figures.jitter_ms, figures.buffer_ms) = (4 + (second % 5) as u16, 10 + (second / 20 % 20) as u16);
                figures.delay_ms = figures.buffer_ms + 2;
            }
            let status = Status { level: 30, speakers: self.speakers.clone(), ..Status::default() };
            self.call.handle_status(&status, now);
            let report = Report { loss_permille: (second % 9) as u16, ..Report::default() };
            self.call.handle_report(PeerTag(1), &report, now);
        }
    }

    fn path(&mut self, tag: u32, path: Path, second: u64) {
        let name = self.names[tag as usize - 1].clone();
        let now = self.at(second);
        self.call.handle_peer(&peer(tag, &name, path), now);
    }

    /// The page, also as a file to look at.
    fn page(&self, file: &str) -> String {
        let page = self.call.page();
        std::fs::write(std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(file), &page).expect("a file");
        assert_well_formed(&page);
        page
    }
}

/// Insists that every element that is opened is closed, in order, and that no number is none.
fn assert_well_formed(page: &str) {
    let mut open = Vec::new();
    for (n, tag) in page.split('<').skip(1).enumerate() {
        let tag = tag.split('>').next().unwrap_or_default();
        let name = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap_or_default();
        match name {
            "!doctype" | "meta" => {}
            _ if tag.ends_with('/') => {}
            _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "tag {n}"),
            _ => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(!page.contains("NaN") && !page.contains("inf\"") && !page.contains("http://"), "no number, or a link");
}

#[test]
fn a_page_says_in_words_how_everybody_was_heard() {
    let mut scene = Scene::new(&["Ann", "Bob"]);
    scene.run(1, 2);
    scene.path(1, Path::Direct, 2);
    scene.path(2, Path::Member, 2);
    scene.run(2, 20);
    scene.call.handle_left(PeerTag(2), "said goodbye", scene.at(20));

    let page = scene.page("short.html");

    assert!(page.contains("<h1>Call in <bdi>den &amp; &lt;co&gt;</bdi></h1><p>2025-11-26 06:54 UTC, 20.0 s"), "{page}");
    let ann = "<bdi>Ann</bdi></th><td>direct, 203.0.113.7:40112; 5.3 % of the time through the server</td><td>62 ms</td><td>none</td><td>nothing</td>";
    assert!(page.contains(ann), "{page}");
    assert!(page.contains("<td>through &lt;i&gt;eve&lt;/i&gt;, 203.0.113.7:40112; "), "{page}");
    assert!(page.contains("<li><time>0:00:20</time> <bdi>left: said goodbye</bdi></li>"), "{page}");
    for class in
        ["direct", "relay", "capture", "network", "buffer", "playout", "next", "copy", "deep", "concealed", "line lost"]
    {
        assert!(page.contains(&format!("<path class=\"{class}\"")), "{class} is drawn");
    }
}

#[test]
fn names_of_all_kinds_stay_names() {
    let long = "a name that goes on and on until it has sixty characters in all";
    let names = [long, "אבגדה ו-123", "</bdi><script>alert(1)</script>", "\u{202e}gpj.exe", "x\u{1b}[2J"];
    let rest: Vec<String> = (6..=12).map(|n| format!("person {n}")).collect();
    let names: Vec<&str> = names.into_iter().chain(rest.iter().map(String::as_str)).collect();
    let mut scene = Scene::new(&names);
    scene.path(3, Path::Direct, 1);
    scene.run(1, 40);

    let page = scene.page("names.html");

    assert!(!page.contains("<script") && !page.contains('\u{202e}') && !page.contains('\u{1b}'));
    assert!(page.contains("אבגדה") && page.contains(long));
    assert_eq!(page.matches("<section>").count(), 13);
}

#[test]
fn a_call_of_hours_needs_no_more_room_than_one_of_minutes() {
    let mut scene = Scene::new(&["Ann", "Bob"]);
    scene.run(1, 1200);
    let short = scene.page("twenty-minutes.html").len();
    for hour in 0..10 {
        for n in 0..60 {
            let second = 1200 + hour * 3600 + n * 60;
            scene.path(1, if n % 2 == 0 { Path::Direct } else { Path::Relay }, second);
            scene.run(second, second + 60);
        }
    }

    let page = scene.page("ten-hours.html");

    assert!(page.len() < 2 * short, "{} bytes after {short}", page.len());
    assert!(page.contains("10 h 19 min") && page.contains("are not kept"));
}

#[test]
fn who_comes_back_is_the_same_one_with_a_gap() {
    let mut scene = Scene::new(&["Ann"]);
    scene.path(1, Path::Direct, 0);
    scene.run(1, 10);
    scene.call.handle_left(PeerTag(1), "left", scene.at(10));
    let again = PeerStatus { tag: PeerTag(9), ..peer(1, "Ann", Path::Direct) };
    scene.call.handle_peer(&again, scene.at(20));
    scene.speakers[0] = speaker(9, "Ann");
    scene.run(20, 30);

    let page = scene.page("again.html");

    assert_eq!(page.matches("<h2><bdi>Ann").count(), 1);
    assert_eq!(page.matches("is there</bdi>").count(), 2);
    assert!(page.contains("<td>19.0 s</td>"), "{page}");
}

#[test]
fn an_empty_call_has_a_page_and_strangers_to_it_change_nothing() {
    let mut scene = Scene::new(&[]);
    scene.speakers.push(speaker(7, "nobody"));
    scene.run(0, 3);
    scene.call.handle_left(PeerTag(7), "", scene.at(3));
    assert!(scene.page("empty.html").contains("nobody else was there"));
}

#[test]
fn ever_more_people_are_counted_and_not_kept() {
    let mut scene = Scene::new(&[]);
    for n in 0..1000_u32 {
        let mut status = peer(n, "one of many", Path::Direct);
        status.key.0[..4].copy_from_slice(&n.to_be_bytes());
        scene.call.handle_peer(&status, scene.start);
    }
    let page = scene.page("many.html");
    assert_eq!(page.matches("<tr><th scope=\"row\">").count(), 200);
    assert!(page.contains("800 times one was left out"));
}
