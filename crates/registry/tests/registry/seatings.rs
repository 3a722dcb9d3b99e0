//! What the registry tells its caller of who sits where.

use std::time::Duration;

use registry::Output;
use wire::signal::{Refusal, ToMember, ToServer};

use crate::support::{Server, channel, record, refusal, seated, unseated};

#[test]
fn a_seat_is_told_before_its_member_hears_of_it() {
    let mut server = Server::new();
    server.connect(1);
    let join = server.join(1, "lobby", "alice");
    assert_eq!(server.seatings(), [seated(1, "lobby", 0)]);
    assert_eq!(join.len(), 1);

    server.connect(2);
    let message = wire::signal::Join {
        version: wire::VERSION,
        channel: "lobby".into(),
        name: "bob".into(),
        proof: None,
        card: vec![],
        hidden: false,
    };
    server.registry.handle_message(registry::ConnId(2), ToServer::Join(message), server.now);
    let outputs: Vec<_> = std::iter::from_fn(|| server.registry.poll_output()).collect();
    let at = |wanted: &dyn Fn(&Output) -> bool| outputs.iter().position(wanted).unwrap();
    let joined = at(&|output| matches!(output, Output::Send { message: ToMember::Joined(_), .. }));
    assert!(at(&|output| *output == seated(2, "lobby", 1)) < joined, "{outputs:?}");
}

#[test]
fn however_a_member_goes_its_seat_is_told_empty_once() {
    type End = (&'static str, fn(&mut Server));
    let ends: [End; 6] = [
        ("leaves", |server| drop(server.say(1, ToServer::Leave))),
        ("closes", |server| server.registry.handle_closed(registry::ConnId(1), server.now)),
        ("is lost", |server| server.registry.handle_lost(registry::ConnId(1), server.now)),
        ("falls silent", |server| drop(server.wait(Duration::from_secs(31)))),
        ("is deleted with its channel", |server| server.registry.delete(&channel("lobby"), server.now)),
        ("is told that the server closes", |server| server.registry.close()),
    ];
    for (what, end) in ends {
        let mut server = Server::new();
        server.registry.restore(record("lobby", None));
        server.seat(1, "lobby", "alice");
        server.seatings();
        end(&mut server);
        server.outputs();
        server.wait(Duration::from_secs(60));
        assert_eq!(server.seatings(), [unseated(1)], "who {what}");
    }
}

#[test]
fn who_joins_again_changes_seats() {
    let mut server = Server::new();
    server.seat(1, "lobby", "alice");
    server.connect_as(2, 1);
    server.join(2, "lobby", "alice");
    assert_eq!(server.seatings(), [seated(1, "lobby", 0), unseated(1), seated(2, "lobby", 1)]);
}

#[test]
fn who_is_refused_has_no_seat() {
    let mut server = Server::new();
    server.connect(1);
    assert!(matches!(refusal(&server.join(1, "", "alice")), Refusal::BadChannel(_)));
    server.connect(2);
    server.registry.close();
    server.outputs();
    assert_eq!(server.seatings(), []);
}
