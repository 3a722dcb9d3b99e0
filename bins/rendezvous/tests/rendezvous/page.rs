//! The page as a browser without JavaScript uses it.

use serde_json::json;

use crate::support::{Member, Server};

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}")).1;
    rest.split_once(after).unwrap().0
}

fn token(server: &Server) -> String {
    between(&server.get("/").body, "name=\"token\" value=\"", "\"").to_owned()
}

#[test]
fn a_channel_is_created_and_deleted_with_forms() {
    let server = Server::start();
    let token = token(&server);

    let created =
        server.post_form("/channels", &format!("token={token}&name=Caf%C3%A9+Eck&description=&author=Zo%C3%AB"));
    assert_eq!(created.status, 201, "{created:?}");
    let capability = between(&created.body, "class=\"capability\">", "<").to_owned();
    assert_eq!(server.names(), ["Café Eck"]);
    assert!(created.body.contains("/channels/Caf%C3%A9%20Eck/delete"));

    let path = "/channels/Caf%C3%A9%20Eck/delete";
    let refused = server.post_form(path, &format!("token={token}&capability={}", "0".repeat(32)));
    assert!(refused.status == 403 && refused.body.contains("the capability is not the channel"), "{refused:?}");
    let deleted = server.post_form(path, &format!("token={token}&capability={capability}"));
    assert!(deleted.status == 200 && deleted.body.contains("is deleted"), "{deleted:?}");
    assert!(server.names().is_empty());
}

#[test]
fn a_form_without_its_token_or_from_elsewhere_does_nothing() {
    let server = Server::start();
    let token = token(&server);
    for body in ["name=a", "name=a&token=", &format!("name=a&token={}", "0".repeat(32))] {
        assert_eq!(server.post_form("/channels", body).status, 403, "{body}");
    }
    let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Origin", "http://evil")];
    assert_eq!(server.send("POST", "/channels", &headers, &format!("name=a&token={token}")).status, 403);
    assert_eq!(server.post_form("/channels", "name=%ff").status, 400);
    assert_eq!(server.post("/channels", &json!({ "name": "a" })).status, 415);
    assert!(server.names().is_empty());
}

#[test]
fn a_refused_form_says_why_on_the_page() {
    let server = Server::start();
    let token = token(&server);
    let answer = server.post_form("/channels", &format!("token={token}&name=a%2Fb"));
    assert_eq!((answer.status, answer.header("content-type")), (400, Some("text/html; charset=utf-8")));
    assert!(answer.body.contains("role=\"alert\"") && answer.body.contains("U+002F"), "{answer:?}");
}

#[test]
fn an_invite_link_that_is_opened_in_a_browser_says_how_to_join() {
    let server = Server::start();
    let page = server.get("/c/it's%20%3Cb%3E");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let shown = between(&page.body, "<code>scripts/voice-chat ", "</code>");
    assert!(shown.contains(" --server test:") && shown.ends_with(" --invite-file invite.txt"), "{shown}");
    assert!(!page.body.contains("<b>"), "names are text");
    assert_eq!(server.get("/c/a%2Fb").status, 400);
}

#[test]
fn who_is_there_is_on_the_page() {
    let server = Server::start();
    let (_alice, _) = Member::join(&server, 1, "lobby", "alice");
    let page = server.get("/").body;
    for part in ["lobby", "alice", "1 person", "until the last one leaves", &server.key.to_string()] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[test]
fn what_others_wrote_is_text_and_nothing_else() {
    let server = Server::start();
    let hostile = "<img src=x onerror=alert(1)>'\"&";
    server.create(&json!({ "name": hostile.replace('/', ""), "description": hostile, "author": "<script>x" }));
    let (_member, _) = Member::join(&server, 1, "<b>x", "<svg onload=x>");
    let page = server.get("/").body;
    for raw in ["<img", "<script>x", "<b>x", "<svg", "onerror=alert(1)>'"] {
        assert!(!page.contains(raw), "{raw}: {page}");
    }
}

#[test]
fn a_long_list_has_pages() {
    let server = Server::start();
    for number in 0..101 {
        server.create(&json!({ "name": format!("channel {number:03}") }));
    }
    let first = server.get("/").body;
    assert!(!first.contains("channel 100<") && !first.contains("data-live"));
    let next = between(&first, "<a href=\"/?after=", "\"");
    let second = server.get(&format!("/?after={next}")).body;
    assert!(second.contains("channel 100<") && !second.contains("channel 000<"));
}
