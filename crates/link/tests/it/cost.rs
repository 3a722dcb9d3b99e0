use std::time::{Duration, Instant};

use bytes::Bytes;
use link::LinkId;

use crate::net::{Host, Pair};

const PAYLOAD: usize = 100;
const FRAME: Duration = Duration::from_millis(20);

/// Both talk, or one; gives the lengths of what `a` sent, after a while of warming up.
fn lengths(pair: &mut Pair, talkers: &[(Host, LinkId)], frame: Duration) -> Vec<usize> {
    let mut before = 0;
    for i in 0..1100 {
        if i == 100 {
            before = pair.net.node(pair.a).sent.len();
        }
        for &(host, link) in talkers {
            pair.net.with(host, |endpoint, _| endpoint.send_datagram(link, Bytes::from(vec![2; PAYLOAD]))).unwrap();
        }
        // The other side does not talk in step.
        pair.run_for(frame / 2);
        pair.run_for(frame / 2);
    }
    pair.net.node(pair.a).sent[before..].to_vec()
}

fn mean_overhead(lengths: &[usize], datagrams: usize) -> f64 {
    lengths.iter().sum::<usize>() as f64 / datagrams as f64 - PAYLOAD as f64
}

#[test]
fn a_voice_datagram_costs_23_bytes_and_29_with_the_confirmation_of_one_that_came() {
    let mut pair = Pair::clean();
    let b_link = pair.connect();
    let (a, b) = ((pair.a, pair.link), (pair.b, b_link));
    let alone = lengths(&mut pair, &[a], FRAME);
    let least = alone.iter().min().unwrap() - PAYLOAD;
    println!("one talks: least {least}, mean {:.2} bytes", mean_overhead(&alone, 1000));
    assert_eq!(least, 23, "type 1, connection 2, number 1, frame 3, tag 16");

    for frame in [FRAME, FRAME / 2] {
        let both = lengths(&mut pair, &[a, b], frame);
        let mean = mean_overhead(&both, 1000);
        println!("both talk every {frame:?}: mean {mean:.2} bytes, {} packets for 1000 datagrams", both.len());
        assert!(mean <= 29.5, "{mean} bytes");
    }
}

/// Not an assertion on time: run it with `--release -- --ignored --nocapture` for the figures.
#[test]
#[ignore = "measures"]
#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn what_a_datagram_costs_in_time() {
    let mut pair = Pair::clean();
    let b_link = pair.connect();
    let (a_link, payload) = (pair.link, Bytes::from(vec![2; PAYLOAD]));
    let (count, mut now, mut spent) = (20_000u32, pair.net.lab.now(), Duration::ZERO);
    let (mut a, mut b) = (pair.net.lab.uninstall(pair.a.id).unwrap(), pair.net.lab.uninstall(pair.b.id).unwrap());
    for _ in 0..count {
        now += FRAME;
        let start = Instant::now();
        a.endpoint.handle_timeout(now);
        b.endpoint.handle_timeout(now);
        a.endpoint.send_datagram(a_link, payload.clone()).unwrap();
        b.endpoint.send_datagram(b_link, payload.clone()).unwrap();
        while let Some(out) = a.endpoint.poll_transmit(now) {
            b.endpoint.handle_datagram(pair.a.addr, &out.payload, now);
        }
        while let Some(out) = b.endpoint.poll_transmit(now) {
            a.endpoint.handle_datagram(pair.b.addr, &out.payload, now);
        }
        while a.endpoint.poll_event().or_else(|| b.endpoint.poll_event()).is_some() {}
        spent += start.elapsed();
    }
    println!("seal, open and all around: {:?} a datagram", spent / (2 * count));
}
