use std::time::Duration;

use link::{Accept, CloseReason, Kind, SendError};
use netsim::Link;

use crate::net::{DELAY, Net, Pair, RTT, people};

#[test]
fn the_other_side_is_told_at_once_with_code_and_reason() {
    let mut pair = Pair::clean();
    let b_link = pair.connect();
    let (a, link) = (pair.a, pair.link);
    pair.net.with(a, |endpoint, now| endpoint.close(link, 7, "left", now));
    pair.run_for(DELAY);

    let told = CloseReason::Remote { code: 7, reason: "left".to_owned() };
    assert_eq!(pair.net.node(pair.b).closed(), Some(&told));
    assert_eq!(pair.net.node(a).closed(), None, "who closes knows");
    for (host, link) in [(a, link), (pair.b, b_link)] {
        let sent = pair.net.with(host, |endpoint, _| {
            (endpoint.send_message(link, 1, b"x"), endpoint.send_datagram(link, b"x"[..].into()))
        });
        assert_eq!(sent, (Err(SendError::NotOpen), Err(SendError::NotOpen)));
    }
}

#[test]
fn what_was_said_before_closing_goes_ahead() {
    let mut pair = Pair::clean();
    pair.connect();
    let link = pair.link;
    pair.net.with(pair.a, |endpoint, now| {
        endpoint.send_message(link, 0, &[1; 20_000]).unwrap();
        endpoint.send_message(link, 1, b"refused").unwrap();
        endpoint.close(link, 9, "refused", now);
    });
    pair.run_for(DELAY);
    let bodies: Vec<_> = pair.net.node(pair.b).messages().iter().map(|(_, body)| body.len()).collect();
    assert_eq!(bodies, [20_000, 7]);
    assert!(pair.net.node(pair.b).closed().is_some());
}

#[test]
fn an_endpoint_is_idle_when_the_last_word_is_out() {
    let mut pair = Pair::clean();
    pair.connect();
    assert!(!pair.net.node(pair.a).endpoint.is_idle());
    pair.net.with(pair.a, |endpoint, now| {
        endpoint.close_all(0, "left", now);
        assert!(!endpoint.is_idle(), "it has yet to be sent");
    });
    assert!(pair.net.node(pair.a).endpoint.is_idle());
}

#[test]
fn a_closed_link_is_forgotten_when_no_late_packet_can_come() {
    let mut pair = Pair::clean();
    let b_link = pair.connect();
    let (a, link) = (pair.a, pair.link);
    pair.net.with(a, |endpoint, now| endpoint.close(link, 7, "left", now));
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.net.node(a).endpoint.remote(link), None);
    assert_eq!(pair.net.node(pair.b).endpoint.remote(b_link), None);
    for host in [a, pair.b] {
        let endpoint = &pair.net.node(host).endpoint;
        assert_eq!(endpoint.poll_timeout(), None);
        assert!(endpoint.is_idle());
    }
}

#[test]
fn a_link_that_never_was_can_be_closed() {
    let people = people(2);
    let mut net = Net::new(1);
    let client = net.endpoint(&people[0], Accept::None, Link::of(DELAY));
    let server = net.endpoint(&people[1], Accept::Signal, Link::of(DELAY));
    let link = net.with(client, |endpoint, now| endpoint.connect(Kind::Signal, server.addr, None, now)).unwrap();
    net.with(client, |endpoint, now| {
        endpoint.close(link, 0, "changed my mind", now);
        endpoint.close(link, 0, "twice", now);
    });
    net.lab.run_for(Duration::from_secs(5));
    assert_eq!(net.node(client).events, []);
    assert_eq!(net.node(server).events, []);
    assert!(net.node(client).endpoint.is_idle() && net.node(server).endpoint.is_idle());
}

#[test]
fn nobody_there_ends_an_attempt_after_half_a_minute() {
    let people = people(2);
    let mut net = Net::new(1);
    let client = net.endpoint(&people[0], Accept::None, Link::of(DELAY));
    let nobody = net.host(Link::of(DELAY));
    net.with(client, |endpoint, now| endpoint.connect(Kind::Signal, nobody.addr, None, now)).unwrap();
    net.lab.run_for(Duration::from_secs(31));
    assert_eq!(net.node(client).closed(), Some(&CloseReason::TimedOut));
    assert!(net.node(client).sent.len() < 70, "{} datagrams to nobody", net.node(client).sent.len());
}

#[test]
fn a_long_reason_of_the_other_side_is_cut() {
    let mut pair = Pair::clean();
    pair.connect();
    let link = pair.link;
    pair.net.with(pair.a, |endpoint, now| endpoint.close(link, 1, &"x".repeat(5000), now));
    pair.run_for(RTT);
    let Some(CloseReason::Remote { code: 1, reason }) = pair.net.node(pair.b).closed() else { panic!("not closed") };
    assert!(reason.len() <= 256, "{} bytes", reason.len());
}
