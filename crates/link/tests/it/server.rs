use std::{net::SocketAddr, time::Duration};

use identity::Identity;
use link::{Accept, Event, Kind};
use netsim::{Link, Segment};

use crate::net::{DELAY, Host, Net, RTT, SECRET};

fn client(i: u8) -> Identity {
    Identity::from_seed(&[i; 32])
}

fn clients(net: &mut Net, server: Host, count: u8) -> Vec<(Host, link::LinkId)> {
    (1..=count)
        .map(|i| {
            let host = net.endpoint(&client(i), Accept::Peer, Link::of(DELAY / 2));
            let connect = |endpoint: &mut link::Endpoint, now| endpoint.connect(Kind::Signal, server.addr, None, now);
            (host, net.with(host, connect).unwrap())
        })
        .collect()
}

#[test]
fn a_hundred_clients_have_their_own_sessions() {
    let mut net = Net::new(1);
    let server = net.endpoint(&client(255), Accept::Signal, Link::of(DELAY / 2));
    let clients = clients(&mut net, server, 100);
    net.lab.run_for(RTT * 4);
    for (i, (host, link)) in clients.iter().enumerate() {
        let body = [i as u8; 300];
        net.with(*host, |endpoint, _| endpoint.send_message(*link, 0, &body)).unwrap();
    }
    net.lab.run_for(RTT);

    let mut keys = std::collections::BTreeMap::new();
    for (_, link, event) in &net.node(server).events {
        match event {
            Event::Connected { key, .. } => drop(keys.insert(*link, *key)),
            Event::Message { lane: 0, body } => assert_eq!(keys[link], client(body[0] + 1).key()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((keys.len(), net.node(server).messages().len()), (100, 100));

    net.lab.run_for(Duration::from_secs(120));
    assert_eq!(net.node(server).count(|event| matches!(event, Event::Closed(_))), 0, "presence is kept");
    let (first, link) = clients[0];
    net.with(first, |endpoint, now| endpoint.close(link, 0, "left", now));
    net.lab.uninstall(clients[1].0.id);
    net.lab.run_for(RTT);
    assert_eq!(net.node(server).count(|event| matches!(event, Event::Closed(_))), 1, "a leave is told at once");
    net.lab.run_for(Duration::from_secs(31));
    assert_eq!(net.node(server).count(|event| matches!(event, Event::Closed(_))), 2, "an end without one in time");
}

#[test]
fn many_at_once_are_asked_to_show_that_they_can_be_reached() {
    let mut net = Net::new(2);
    let server = net.endpoint(&client(255), Accept::Signal, Link::of(DELAY / 2));
    // While 64 handshakes are unfinished, the rest is asked for a round trip more.
    let clients = clients(&mut net, server, 200);
    net.lab.run_for(RTT * 5);
    assert_eq!(net.node(server).count(|event| matches!(event, Event::Connected { .. })), 200);
    let slow =
        clients.iter().filter(|(host, _)| net.node(*host).connected().unwrap().0 - netsim::epoch() > RTT).count();
    assert_eq!(slow, 200 - 64);
}

#[test]
fn nobody_alone_takes_all_the_links_there_are() {
    let mut net = Net::new(2);
    let server = net.endpoint(&client(255), Accept::Signal, Link::of(DELAY / 2));
    let host = net.endpoint(&client(1), Accept::None, Link::of(DELAY / 2));
    for _ in 0..100 {
        net.with(host, |endpoint, now| endpoint.connect(Kind::Signal, server.addr, None, now)).unwrap();
    }
    let other = clients(&mut net, server, 1)[0].0;
    net.lab.run_for(RTT * 3);
    assert_eq!(net.node(host).count(|event| matches!(event, Event::Connected { .. })), 64);
    assert!(net.node(other).connected().is_some());
}

#[test]
fn a_client_that_moves_keeps_its_link_and_its_new_address_is_told() {
    let mut net = Net::new(3);
    let server = net.endpoint(&client(255), Accept::Signal, Link::of(DELAY / 2));
    let (host, link) = clients(&mut net, server, 1)[0];
    net.lab.run_for(RTT * 3);

    net.lab.net.move_host(host.id, Segment::INTERNET, &["fd00::99".parse().unwrap()]);
    net.with(host, |endpoint, _| endpoint.send_message(link, 0, b"here")).unwrap();
    net.lab.run_for(RTT * 3);

    let moved = "[fd00::99]:7".parse().unwrap();
    let at = net.node(server).connected().unwrap().1;
    assert_eq!(net.node(server).messages().len(), 1);
    assert_eq!(net.node(server).count(|event| *event == Event::Moved(moved)), 1);
    assert_eq!(net.node(server).endpoint.remote(at), Some(moved));
}

/// A router that has forgotten a session gives it another port; what is relayed to it can't wait for a round trip.
#[test]
fn another_port_of_the_same_address_is_followed_at_once_and_back() {
    let mut net = Net::new(4);
    let server = net.endpoint(&client(255), Accept::Signal, Link::of(DELAY / 2));
    let (host, link) = clients(&mut net, server, 1)[0];
    net.lab.run_for(RTT * 3);
    let before = net.node(server).endpoint.remote(net.node(server).connected().unwrap().1).unwrap();
    let other_port = SocketAddr::new(before.ip(), before.port() + 1);

    let packet = net.lab.with(host.id, |node, now| {
        node.endpoint.send_message(link, 0, b"from elsewhere").unwrap();
        node.endpoint.poll_transmit(now).unwrap().payload
    });
    net.lab.with(server.id, |node, now| node.endpoint.handle_datagram(other_port, &packet, now));
    net.lab.run_for(Duration::ZERO);
    assert_eq!(net.node(server).count(|event| *event == Event::Moved(other_port)), 1);

    net.lab.run_for(Duration::from_secs(5));
    net.with(host, |endpoint, _| endpoint.send_message(link, 0, b"here after all")).unwrap();
    net.lab.run_for(Duration::from_secs(5));
    assert_eq!(net.node(server).count(|event| *event == Event::Moved(before)), 1);
    assert_eq!(net.node(server).messages().len(), 2);
}

/// Who copies a packet of a session and sends it from elsewhere must not make the server publish that address.
#[test]
fn an_address_that_does_not_answer_is_not_believed() {
    let mut net = Net::new(4);
    let server = net.endpoint(&client(255), Accept::Signal, Link::of(DELAY / 2));
    let (host, link) = clients(&mut net, server, 1)[0];
    net.lab.run_for(RTT * 3);

    let stolen = net.lab.with(host.id, |node, now| {
        node.endpoint.send_message(link, 0, b"mine").unwrap();
        node.endpoint.poll_transmit(now).unwrap().payload
    });
    let spoofed = "[fd00::666]:7".parse().unwrap();
    net.lab.with(server.id, |node, now| node.endpoint.handle_datagram(spoofed, &stolen, now));
    net.lab.run_for(Duration::from_secs(5));
    net.with(host, |endpoint, _| endpoint.send_message(link, 0, b"still here")).unwrap();
    net.lab.run_for(Duration::from_secs(5));

    assert_eq!(net.node(server).count(|event| matches!(event, Event::Moved(_))), 0);
    assert_eq!(net.node(server).messages().len(), 2, "the session goes on");
}

#[test]
fn a_signalling_link_has_one_lane_and_no_datagrams() {
    let mut net = Net::new(5);
    let server = net.endpoint(&client(255), Accept::Signal, Link::of(DELAY / 2));
    let (host, link) = clients(&mut net, server, 1)[0];
    net.lab.run_for(RTT * 3);
    let max = wire::signal::MAX_MESSAGE;
    let mut send = |lane, len: usize| net.with(host, |endpoint, _| endpoint.send_message(link, lane, &vec![0; len]));
    assert_eq!(send(1, 1), Err(link::SendError::NoLane(1)));
    assert_eq!(send(0, max + 1), Err(link::SendError::TooLong { len: max + 1, max }));
    assert_eq!(send(0, max), Ok(()));
    let sent = net.with(host, |endpoint, _| endpoint.send_datagram(link, b"x"[..].into()));
    assert_eq!(sent, Err(link::SendError::NotOpen));
    net.lab.run_for(Duration::from_secs(3));
    assert_eq!(net.node(server).messages().len(), 1);
}

#[test]
fn one_endpoint_takes_both_kinds() {
    let mut net = Net::new(6);
    let mut people: Vec<_> = (1..=3).map(client).collect();
    people.sort_by_key(Identity::key);
    let introducer = net.endpoint(&people[0], Accept::Both, Link::of(DELAY / 2));
    let member = net.endpoint(&people[1], Accept::Peer, Link::of(DELAY / 2));
    let asker = net.endpoint(&people[2], Accept::Peer, Link::of(DELAY / 2));
    net.with(introducer, |endpoint, _| endpoint.expect(member.addr, people[1].key(), SECRET.into()));
    net.with(member, |endpoint, _| endpoint.expect(introducer.addr, people[0].key(), SECRET.into()));
    let key = people[0].key();
    net.with(member, |endpoint, now| endpoint.connect(Kind::Peer, introducer.addr, Some(key), now)).unwrap();
    net.with(asker, |endpoint, now| endpoint.connect(Kind::Signal, introducer.addr, None, now)).unwrap();
    net.lab.run_for(RTT * 3);

    let kinds = net.node(introducer).events.iter().map(|(_, _, event)| match event {
        Event::Connected { kind, key, .. } => (*kind, *key),
        other => panic!("{other:?}"),
    });
    let kinds: std::collections::BTreeSet<_> = kinds.collect();
    assert_eq!(kinds, [(Kind::Peer, people[1].key()), (Kind::Signal, people[2].key())].into());
}
