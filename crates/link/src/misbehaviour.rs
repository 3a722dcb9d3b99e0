//! What a peer that has every key and does not keep to the protocol can do: end its own session.

use std::{net::SocketAddr, time::Instant};

use identity::Identity;
use quinn_proto::{Dir, StreamId, VarInt};

use crate::{Accept, CloseReason, Config, Endpoint, Event, Kind, LinkId, session::Session};

/// A member that misbehaves, and one that doesn't.
struct Call {
    bad: Endpoint,
    good: Endpoint,
    link: LinkId,
    now: Instant,
}

fn at(port: u16) -> SocketAddr {
    ([192, 0, 2, 1], port).into()
}

impl Call {
    fn connected() -> Self {
        let mut call = Self::handshaken();
        call.exchange();
        assert!(matches!(call.events()[..], [Event::Connected { .. }]));
        call
    }

    /// Up to the moment when the misbehaving side, the client, has everything of the other and sends its proof next.
    fn handshaken() -> Self {
        let mut people = [Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32])];
        people.sort_by_key(Identity::key);
        let [good, bad] = people;
        let (now, accept) = (netsim::epoch(), Accept::Peer);
        let endpoint = |identity, seed| Endpoint::new(Config { identity, seed, accept }, now);
        let (mut a, mut b) = (endpoint(&bad, [3; 32]), endpoint(&good, [4; 32]));
        a.expect(at(2), good.key(), [7; 32].into());
        b.expect(at(1), bad.key(), [7; 32].into());
        let link = a.connect(Kind::Peer, at(2), Some(good.key()), now).unwrap();
        b.handle_datagram(at(1), &a.poll_transmit(now).unwrap().payload, now);
        a.handle_datagram(at(2), &b.poll_transmit(now).unwrap().payload, now);
        Self { bad: a, good: b, link, now }
    }

    fn exchange(&mut self) {
        loop {
            if let Some(out) = self.bad.poll_transmit(self.now) {
                self.good.handle_datagram(at(1), &out.payload, self.now);
            } else if let Some(out) = self.good.poll_transmit(self.now) {
                self.bad.handle_datagram(at(2), &out.payload, self.now);
            } else {
                break;
            }
        }
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.good.poll_event()).map(|(_, event)| event).collect()
    }

    fn misbehave(&mut self, deed: impl FnOnce(&mut Session)) {
        self.bad.with_session(self.link, deed);
        self.exchange();
    }

    /// Opens a stream of its own and writes this.
    fn write(&mut self, bytes: &[u8]) {
        self.misbehave(|session| {
            let stream = session.connection.streams().open(Dir::Uni).unwrap();
            assert_eq!(session.connection.send_stream(stream).write(bytes), Ok(bytes.len()));
        });
    }

    fn assert_ended(&mut self, why: &str) {
        let protocol = CloseReason::Protocol(why.to_owned());
        assert_eq!(self.events(), [Event::Closed(protocol)]);
        let told = std::iter::from_fn(|| self.bad.poll_event()).last();
        let told = told.map(|(_, event)| event);
        assert_eq!(told, Some(Event::Closed(CloseReason::Protocol(format!("protocol error: {why}")))));
    }
}

#[test]
fn a_lane_that_is_not_there() {
    let mut call = Call::connected();
    call.write(&[9, 0, 0, 0, 0]);
    call.assert_ended("there is no lane 9");
}

#[test]
fn a_lane_that_is_there_already() {
    let mut call = Call::connected();
    call.write(&[0, 0, 0, 0, 0]);
    call.assert_ended("lane 0 is there twice");
}

#[test]
fn a_message_that_announces_too_much() {
    let mut call = Call::connected();
    call.write(&[1, 0xff, 0xff, 0xff, 0xff]);
    call.assert_ended("a message of 4294967295 bytes is longer than the 1049600 allowed");
}

#[test]
fn a_lane_that_ends_or_is_reset_or_is_not_wanted() {
    let control = StreamId::new(quinn_proto::Side::Client, Dir::Uni, 0);
    let mut call = Call::connected();
    call.misbehave(|session| session.connection.send_stream(control).finish().unwrap());
    call.assert_ended("a lane ended");

    let mut call = Call::connected();
    call.misbehave(|session| session.connection.send_stream(control).reset(VarInt::from_u32(1)).unwrap());
    call.assert_ended("a lane ended");

    let mut call = Call::connected();
    let theirs = StreamId::new(quinn_proto::Side::Server, Dir::Uni, 0);
    call.misbehave(|session| session.connection.recv_stream(theirs).stop(VarInt::from_u32(1)).unwrap());
    call.assert_ended("a lane was stopped");
}

#[test]
fn more_lanes_than_there_are() {
    let mut call = Call::connected();
    call.misbehave(|session| {
        assert!(session.connection.streams().open(Dir::Uni).is_some());
        assert!(session.connection.streams().open(Dir::Uni).is_none(), "the other side allows two");
        assert!(session.connection.streams().open(Dir::Bi).is_none(), "and none of these");
    });
}

/// Without the secret nothing gets through, whatever comes beside the proof.
#[test]
fn messages_with_a_wrong_proof() {
    let mut call = Call::handshaken();
    call.misbehave(|session| {
        session.withhold_proof();
        let control = say_too_early(session);
        session.connection.send_stream(control).write(&[&[0, 0, 0, 0, 32][..], &[7; 32]].concat()).unwrap();
    });
    assert_eq!(call.events(), []);
    let told = std::iter::from_fn(|| call.bad.poll_event()).last();
    assert_eq!(told, Some((call.link, Event::Closed(CloseReason::WrongProof))));
}

#[test]
fn messages_without_a_proof() {
    let mut call = Call::handshaken();
    call.misbehave(|session| {
        session.withhold_proof();
        say_too_early(session);
    });
    assert_eq!(call.events(), []);
    while let Some(due) = call.good.poll_timeout() {
        call.now = due;
        call.good.handle_timeout(due);
        call.bad.handle_timeout(due);
        call.exchange();
    }
    assert_eq!(call.events(), []);
    assert!(call.good.is_idle(), "it is given up");
}

/// Both ends of TLS must agree on what the early proof was made over.
#[test]
fn an_exporter_value_that_is_not_the_early_one() {
    let mut call = Call::handshaken();
    let link = *call.good.links().last().unwrap();
    call.good.with_session(link, |session| session.proofs().bend());
    call.exchange();
    assert_eq!(call.events(), []);
    let told = std::iter::from_fn(|| call.bad.poll_event()).last();
    let why = "protocol error: TLS exports another value than it promised".to_owned();
    assert_eq!(told, Some((call.link, Event::Closed(CloseReason::Protocol(why)))));
}

/// Gives the stream that is left for the control lane.
fn say_too_early(session: &mut Session) -> StreamId {
    let [control, text] = [(); 2].map(|()| session.connection.streams().open(Dir::Uni).unwrap());
    session.connection.send_stream(text).write(&[1, 0, 0, 0, 1, b'x']).unwrap();
    session.connection.datagrams().send(b"voice"[..].into(), true).unwrap();
    control
}
