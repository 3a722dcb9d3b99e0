use std::time::Duration;

use bytes::Bytes;
use link::LinkId;

use netsim::Link;

use crate::net::{DELAY, Host, LOSS_5, Pair};

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

#[test]
fn while_both_talk_nothing_is_sent_only_to_confirm_whatever_gets_lost_or_overtakes() {
    let half = Link { jitter: Duration::from_millis(12), loss: LOSS_5, ..Link::of(DELAY / 2) };
    let mut pair = Pair::over(3, half);
    let b_link = pair.connect();
    let (a, b) = ((pair.a, pair.link), (pair.b, b_link));
    let both = lengths(&mut pair, &[a, b], FRAME / 2);
    let mean = mean_overhead(&both, 1000);
    println!("mean {mean:.2} bytes, {} packets for 1000 datagrams", both.len());
    assert!(both.len() <= 1010, "{} packets for 1000 datagrams", both.len());
    assert!(mean <= 29.5, "{mean} bytes");
}
