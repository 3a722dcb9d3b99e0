//! How channels come and go.

use std::time::Duration;

use registry::{CloseWhy, CreateError, Limits, What};
use wire::signal::{LeaveReason, Refusal, ToServer};

use crate::support::{Server, channel, closed, identity, left, record, refusal, sent};

#[test]
fn a_channel_made_on_the_fly_is_gone_with_its_last_member() {
    let mut server = Server::new();
    server.seat(1, "lobby", "alice");
    assert_eq!(server.registry.channel(&channel("lobby")).unwrap().members, 1);

    server.say(1, ToServer::Leave);

    assert_eq!(server.registry.channel(&channel("lobby")), None);
    let left = What::Left { name: "alice".into(), members: 0, why: LeaveReason::Left };
    let joined = What::Joined { name: "alice".into(), members: 1 };
    assert_eq!(server.happened(), [What::Created, joined, left, What::Deleted]);
}

#[test]
fn no_channel_is_made_on_the_fly_where_that_is_forbidden() {
    let mut server = Server::with(false, Limits::default());
    server.connect(1);
    assert_eq!(refusal(&server.join(1, "lobby", "alice")), Refusal::UnknownChannel);

    server.registry.restore(record("lobby", None));
    server.seat(2, "lobby", "alice");
}

#[test]
fn a_kept_channel_stays_when_it_is_empty() {
    let mut server = Server::new();
    server.registry.restore(record("lobby", None));
    server.seat(1, "lobby", "alice");
    server.say(1, ToServer::Leave);
    assert_eq!(server.registry.channel(&channel("lobby")).unwrap().members, 0);
}

#[test]
fn a_channel_that_looks_like_another_is_not_made() {
    let mut server = Server::new();
    server.seat(1, "lobby", "alice");
    server.connect(2);
    assert!(matches!(refusal(&server.join(2, "lоbby", "bob")), Refusal::BadChannel(_)));
    assert_eq!(server.registry.create(record("lоbby", None)), Err(CreateError::LooksLike(channel("lobby"))));
    assert_eq!(server.registry.create(record("lobby", None)), Err(CreateError::Exists));
}

#[test]
fn a_full_server_makes_no_more_channels() {
    let mut server = Server::with(true, Limits { channels: 1, ..Limits::default() });
    server.seat(1, "lobby", "alice");
    server.connect(2);
    assert_eq!(refusal(&server.join(2, "kitchen", "bob")), Refusal::ServerFull);
    assert_eq!(server.registry.create(record("kitchen", None)), Err(CreateError::Full(1)));
}

#[test]
fn a_created_channel_is_shown_once_it_is_stored() {
    let mut server = Server::new();
    server.registry.create(record("den", None)).unwrap();
    assert_eq!(server.registry.channels(None).count(), 0);
    assert_eq!(server.registry.create(record("den", None)), Err(CreateError::Exists), "the name is reserved");

    server.registry.confirm(&channel("den"));
    assert_eq!(server.registry.channels(None).count(), 1);
    assert_eq!(server.happened(), [What::Created]);
}

#[test]
fn a_channel_has_a_join_key_if_and_only_if_it_has_a_secret() {
    let mut server = Server::new();
    let mut without = record("den", Some(identity(1).key()));
    without.join_key = None;
    assert_eq!(server.registry.create(without), Err(CreateError::JoinKey));
    let mut with = record("den", None);
    with.join_key = Some(identity(1).key());
    assert_eq!(server.registry.create(with), Err(CreateError::JoinKey));
}

#[test]
fn members_of_a_deleted_channel_are_told_and_out() {
    let mut server = Server::new();
    server.registry.restore(record("den", None));
    server.seat(1, "den", "alice");
    server.seat(2, "den", "bob");

    server.registry.delete(&channel("den"), server.now);

    assert_eq!(
        server.outputs(),
        [sent(1, left(0, LeaveReason::ChannelDeleted)), sent(2, left(1, LeaveReason::ChannelDeleted))]
    );
    assert_eq!(server.registry.channel(&channel("den")), None);
    let outputs = server.wait(Duration::from_secs(3));
    assert_eq!(outputs, [closed(1, CloseWhy::ChannelDeleted), closed(2, CloseWhy::ChannelDeleted)]);
}

#[test]
fn a_channel_on_the_fly_is_nobodys_to_delete() {
    let mut server = Server::new();
    server.seat(1, "lobby", "alice");
    server.registry.delete(&channel("lobby"), server.now);
    assert_eq!(server.outputs(), []);
}

#[test]
fn channels_are_listed_by_name_in_pages() {
    let mut server = Server::new();
    for name in ["c", "a", "d", "b"] {
        server.registry.restore(record(name, None));
    }
    let page = |after: Option<&str>| -> Vec<String> {
        let after = after.map(channel);
        server.registry.channels(after.as_ref()).take(2).map(|info| info.name.to_string()).collect()
    };
    assert_eq!(page(None), ["a", "b"]);
    assert_eq!(page(Some("b")), ["c", "d"]);
    assert!(page(Some("d")).is_empty());
}
