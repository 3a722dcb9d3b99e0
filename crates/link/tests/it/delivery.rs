use std::time::Duration;

use bytes::Bytes;
use link::{Event, SendError};
use netsim::Link;

use crate::net::{DELAY, LOSS_5, LOSS_30, Pair, RTT};

const CONTROL: u8 = 0;
const TEXT: u8 = 1;
const FRAME: Duration = Duration::from_millis(20);

fn voice(number: u32) -> Bytes {
    let mut bytes = vec![2; 100];
    bytes[1..5].copy_from_slice(&number.to_be_bytes());
    bytes.into()
}

fn number(datagram: &[u8]) -> u32 {
    u32::from_be_bytes(datagram[1..5].try_into().unwrap())
}

/// Sends one datagram each way every 20 ms.
fn talk(pair: &mut Pair, b_link: link::LinkId, frames: u32) {
    let a_link = pair.link;
    for i in 0..frames {
        for (host, link) in [(pair.a, a_link), (pair.b, b_link)] {
            pair.net.with(host, |endpoint, _| endpoint.send_datagram(link, voice(i))).unwrap();
        }
        pair.run_for(FRAME);
    }
}

#[test]
fn messages_arrive_in_order_and_datagrams_at_once() {
    let mut pair = Pair::clean();
    let b_link = pair.connect();
    let (a, b, a_link) = (pair.a, pair.b, pair.link);
    for body in [&b"one"[..], b"", b"three"] {
        pair.net.with(a, |endpoint, _| endpoint.send_message(a_link, TEXT, body)).unwrap();
    }
    pair.net.with(b, |endpoint, _| endpoint.send_message(b_link, CONTROL, b"two")).unwrap();
    pair.net.with(a, |endpoint, _| endpoint.send_datagram(a_link, voice(1))).unwrap();
    pair.run_for(DELAY);

    assert_eq!(pair.net.node(b).messages(), [(TEXT, &b"one"[..]), (TEXT, b""), (TEXT, b"three")]);
    assert_eq!(pair.net.node(a).messages(), [(CONTROL, &b"two"[..])]);
    assert_eq!(pair.net.node(b).datagrams().len(), 1);
}

#[test]
fn loss_costs_datagrams_and_delays_messages() {
    for (loss, expected) in [(LOSS_5, 900..=990), (LOSS_30, 600..=790)] {
        for seed in 0..3 {
            let mut pair = Pair::over(seed, Link::of(DELAY / 2).losing(loss));
            let b_link = pair.connect();
            let (a, b, a_link) = (pair.a, pair.b, pair.link);
            for i in 0..100u32 {
                let body = i.to_be_bytes();
                pair.net.with(a, |endpoint, _| endpoint.send_message(a_link, TEXT, &body)).unwrap();
                pair.net.with(b, |endpoint, _| endpoint.send_message(b_link, TEXT, &body)).unwrap();
                talk(&mut pair, b_link, 10);
            }
            pair.run_for(Duration::from_secs(5));

            for host in [a, b] {
                let node = pair.net.node(host);
                let bodies: Vec<_> = node.messages().iter().map(|(_, body)| body.to_vec()).collect();
                assert_eq!(bodies, (0..100u32).map(|i| i.to_be_bytes().to_vec()).collect::<Vec<_>>(), "seed {seed}");
                let arrived = node.datagrams().len();
                assert!(expected.contains(&arrived), "{arrived} of 1000 datagrams, loss {loss}, seed {seed}");
            }
        }
    }
}

#[test]
fn datagrams_are_on_time_however_many_are_lost() {
    for loss in [LOSS_5, LOSS_30] {
        let mut pair = Pair::over(7, Link::of(DELAY / 2).losing(loss));
        let b_link = pair.connect();
        let start = pair.net.lab.now();
        talk(&mut pair, b_link, 500);
        for (at, bytes) in pair.net.node(pair.b).datagrams() {
            assert_eq!(at - start - number(&bytes) * FRAME, DELAY, "frame {}", number(&bytes));
        }
    }
}

#[test]
fn a_datagram_that_fits_no_packet_is_refused() {
    let mut pair = Pair::clean();
    pair.connect();
    let link = pair.link;
    let mut send = |len| pair.net.with(pair.a, |endpoint, _| endpoint.send_datagram(link, vec![2; len].into()));
    assert_eq!(send(wire::voice::MAX_PACKET + 1), Ok(()), "the longest voice packet and its lane");
    assert!(matches!(send(1200), Err(SendError::TooLong { len: 1200, max: 1101..1200 })));
}

#[test]
fn a_message_of_the_greatest_length_passes_and_a_longer_one_is_refused() {
    let mut pair = Pair::clean();
    pair.connect();
    let link = pair.link;
    let longest: Vec<u8> = (0..wire::peer::MAX_MESSAGE).map(|i| (i >> 3) as u8).collect();
    let send =
        |pair: &mut Pair, body: &[u8]| pair.net.with(pair.a, |endpoint, _| endpoint.send_message(link, TEXT, body));
    let (len, max) = (longest.len() + 1, longest.len());
    assert_eq!(send(&mut pair, &vec![0; len]), Err(SendError::TooLong { len, max }));
    assert_eq!(send(&mut pair, &longest), Ok(()));
    pair.run_for(Duration::from_secs(20));
    assert!(pair.net.node(pair.b).messages() == [(TEXT, &longest[..])]);
}

#[test]
fn a_long_message_passes_a_lossy_path() {
    for (percent, loss, seconds) in [(5, LOSS_5, 30), (30, LOSS_30, 120)] {
        let mut pair = Pair::over(3, Link::of(DELAY / 2).losing(loss));
        pair.connect();
        let link = pair.link;
        let body = vec![9; 1024 * 1024];
        pair.net.with(pair.a, |endpoint, _| endpoint.send_message(link, TEXT, &body)).unwrap();
        let (b, limit) = (pair.b, Duration::from_secs(seconds));
        let start = pair.net.lab.now();
        assert!(pair.net.lab.run_until(limit, |lab| !lab.stack(b.id).messages().is_empty()), "{percent} %");
        println!("1 MiB with {percent} % loss: {:?}", pair.net.lab.now() - start);
    }
}

#[test]
fn a_lane_that_is_full_says_so_and_tells_when_it_is_not() {
    let mut pair = Pair::clean();
    pair.connect();
    let (a, link) = (pair.a, pair.link);
    let body = vec![0; 100_000];
    let mut sent = 0;
    let is_writable = |event: &Event| *event == Event::Writable;
    let fill = |pair: &mut Pair, sent: &mut usize| {
        while pair.net.with(a, |endpoint, _| endpoint.send_message(link, TEXT, &body)) != Err(SendError::Full) {
            *sent += 1;
            assert!(*sent < 100, "there is a limit to what waits");
        }
    };
    fill(&mut pair, &mut sent);
    assert!((10..=11).contains(&sent), "{sent} messages");
    assert_eq!(pair.net.with(a, |endpoint, _| endpoint.send_message(link, CONTROL, b"x")), Ok(()), "lanes don't share");
    assert_eq!(pair.net.node(a).count(is_writable), 0);

    assert!(pair.net.lab.run_until(Duration::from_secs(10), |lab| lab.stack(a.id).count(is_writable) == 1));
    fill(&mut pair, &mut sent);
    pair.run_for(Duration::from_secs(30));
    assert_eq!(pair.net.node(pair.b).messages().len(), sent + 1);
}

#[test]
fn an_unknown_lane_is_refused_before_it_is_sent() {
    let mut pair = Pair::clean();
    pair.connect();
    let link = pair.link;
    for lane in [2, 3, 255] {
        let sent = pair.net.with(pair.a, |endpoint, _| endpoint.send_message(link, lane, b"x"));
        assert_eq!(sent, Err(SendError::NoLane(lane)));
    }
}

/// A slow uplink with a deep queue: what a message puts there, voice waits behind.
fn home() -> Link {
    Link { rate: Some(4_000_000), queue: Duration::from_millis(400), ..Link::of(DELAY / 2) }
}

#[test]
fn voice_keeps_flowing_while_a_long_message_is_sent() {
    for (name, link, most_ms) in [("no bottleneck", Link::of(DELAY / 2), 0), ("4 Mbit/s", home(), 60)] {
        let mut pair = Pair::over(5, link);
        let b_link = pair.connect();
        let (a_link, start) = (pair.link, pair.net.lab.now());
        pair.net.with(pair.a, |endpoint, _| endpoint.send_message(a_link, TEXT, &vec![1; 1024 * 1024])).unwrap();
        talk(&mut pair, b_link, 500);
        pair.run_for(RTT);

        let b = pair.net.node(pair.b);
        assert_eq!(b.messages().len(), 1, "{name}: the message arrived");
        let late = |(at, bytes): &(std::time::Instant, Bytes)| {
            (*at - start - number(bytes) * FRAME).saturating_sub(DELAY).as_millis()
        };
        let mut lateness: Vec<_> = b.datagrams().iter().map(late).collect();
        assert_eq!(lateness.len(), 500, "{name}: all voice arrived");
        lateness.sort_unstable();
        println!("{name}: voice late by p50 {} p95 {} max {} ms", lateness[250], lateness[475], lateness[499]);
        assert!(lateness[475] <= most_ms, "{name}: {} ms late", lateness[475]);
        let took = b.events.iter().find(|(_, _, event)| matches!(event, Event::Message { .. })).unwrap().0 - start;
        println!("{name}: 1 MiB in {took:?}");
    }
}

#[test]
fn voice_passes_at_half_a_second_of_delay_and_with_three_of_ten_lost() {
    let mut pair = Pair::over(11, Link::of(Duration::from_millis(125)).losing(LOSS_30));
    let b_link = pair.connect();
    let (a_link, start) = (pair.link, pair.net.lab.now());
    pair.net.with(pair.a, |endpoint, _| endpoint.send_message(a_link, TEXT, &vec![1; 300_000])).unwrap();
    talk(&mut pair, b_link, 500);
    let arrived = pair.net.node(pair.b).datagrams();
    assert!((300..=400).contains(&arrived.len()), "{} of 500", arrived.len());
    for (at, bytes) in arrived {
        assert_eq!(at - start - number(&bytes) * FRAME, Duration::from_millis(250));
    }
}

#[test]
fn a_quiet_link_stays_and_a_cut_one_ends_after_thirty_seconds() {
    let mut pair = Pair::clean();
    pair.connect();
    pair.run_for(Duration::from_secs(600));
    assert_eq!(pair.net.node(pair.a).closed(), None);
    let quiet = pair.net.node(pair.a).sent.len();
    assert!(quiet < 250, "{quiet} packets in ten minutes");

    pair.net.lab.net.cut(pair.a.id, true);
    pair.run_for(Duration::from_secs(36));
    for host in [pair.a, pair.b] {
        assert_eq!(pair.net.node(host).closed(), Some(&link::CloseReason::TimedOut));
    }
}

/// The layer below sends each datagram on two paths when it is in doubt.
#[test]
fn what_comes_twice_is_delivered_once() {
    let mut pair = Pair::over(1, Link { duplicate: 1.0, ..Link::of(DELAY / 2) });
    let b_link = pair.connect();
    let link = pair.link;
    pair.net.with(pair.a, |endpoint, _| endpoint.send_message(link, TEXT, b"once")).unwrap();
    talk(&mut pair, b_link, 50);
    pair.run_for(RTT);
    let b = pair.net.node(pair.b);
    assert_eq!((b.messages().len(), b.datagrams().len()), (1, 50));
}

#[test]
fn a_change_of_path_loses_nothing() {
    let mut pair = Pair::clean();
    let b_link = pair.connect();
    let (a_link, a, b) = (pair.link, pair.a, pair.b);
    pair.net.with(a, |endpoint, _| endpoint.send_message(a_link, TEXT, &vec![1; 300_000])).unwrap();
    pair.run_for(RTT);
    for host in [a, b] {
        pair.net.lab.net.set_link(host.id, Link::of(DELAY * 3));
    }
    pair.net.with(a, |endpoint, now| endpoint.path_changed(a_link, now));
    talk(&mut pair, b_link, 100);
    pair.run_for(Duration::from_secs(5));
    assert_eq!((pair.net.node(b).messages().len(), pair.net.node(b).datagrams().len()), (1, 100));
    let rtt = pair.net.node(a).endpoint.stats(a_link).unwrap().rtt;
    assert!(rtt > RTT * 5, "{rtt:?}");
}
