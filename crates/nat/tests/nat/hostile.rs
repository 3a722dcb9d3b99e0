//! What strangers send does not change the verdict.

use nat::{Classifier, Config, Ignored, Mapping};
use netsim::{Kind, epoch};
use wire::stun::{self, Message, Places, Question, TransactionId};

use crate::world::{RTT, SERVER, World, addr, config};

/// A classifier, and the requests that it has sent.
fn asked(config: Config) -> (Classifier, Vec<nat::Transmit>) {
    let mut classifier = Classifier::new(config, epoch());
    let requests = std::iter::from_fn(|| classifier.poll_transmit()).collect();
    (classifier, requests)
}

fn answer(request: &[u8], at: &str) -> Vec<u8> {
    Question::read(request).unwrap().answer(addr(at), None)
}

#[test]
fn an_answer_counts_only_from_whom_was_asked() {
    let (mut classifier, requests) = asked(config());
    let forged = answer(&requests[0].payload, "6.6.6.6:6");
    for from in ["198.51.100.1:3479", "6.6.6.6:3478", "[2001:db8::1]:3478"] {
        assert_eq!(classifier.handle_input(addr(from), &forged, epoch() + RTT), Err(Ignored::WrongSource), "{from}");
    }
    assert_eq!(classifier.samples().count(), 0);
}

#[test]
fn an_answer_with_a_guessed_transaction_counts_for_nothing() {
    let (mut classifier, requests) = asked(config());
    let guess = stun::request(TransactionId([9; 12]));
    let forged = answer(&guess, "6.6.6.6:6");
    assert_eq!(classifier.handle_input(requests[0].to, &forged, epoch() + RTT), Err(Ignored::Unasked));
    let ids: Vec<_> = requests.iter().map(|out| Message::decode(&out.payload).unwrap().transaction).collect();
    assert!(ids.iter().enumerate().all(|(i, id)| !ids[i + 1..].contains(id)), "no transaction is used twice");
    let (_, others) = asked(Config { seed: [4; 32], ..config() });
    assert!(others.iter().all(|out| !ids.contains(&Message::decode(&out.payload).unwrap().transaction)));
}

#[test]
fn the_first_answer_counts_and_no_second_one() {
    let (mut classifier, requests) = asked(config());
    let (first, second) = (answer(&requests[0].payload, "203.0.113.7:5000"), answer(&requests[0].payload, "6.6.6.6:6"));
    assert_eq!(classifier.handle_input(requests[0].to, &first, epoch() + RTT), Ok(()));
    assert_eq!(classifier.handle_input(requests[0].to, &second, epoch() + RTT), Err(Ignored::Unasked));
    assert_eq!(classifier.samples().next().unwrap().seen.at, addr("203.0.113.7:5000"));
}

#[test]
fn a_request_is_no_answer_and_an_answer_without_an_address_is_none() {
    let (mut classifier, requests) = asked(config());
    let echoed = requests[0].payload.clone();
    assert_eq!(classifier.handle_input(requests[0].to, &echoed, epoch() + RTT), Err(Ignored::WrongSource));
    let Message { transaction, .. } = Message::decode(&requests[0].payload).unwrap();
    let empty = [&[1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &transaction.0].concat();
    assert_eq!(classifier.handle_input(requests[0].to, &empty, epoch() + RTT), Err(Ignored::NoAddress));
}

#[test]
fn garbage_changes_nothing() {
    let mut world = World::behind(Kind::Port.nat(), 1);
    let mut rng = netsim::Rng::new(7);
    for _ in 0..5000 {
        let length = rng.below(120) as usize;
        let mut datagram: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
        if rng.chance(0.5) && length >= 20 {
            datagram[..8].copy_from_slice(&[1, 1, 0, (length - 20) as u8, 0x21, 0x12, 0xa4, 0x42]);
        }
        assert!(world.classifier.handle_input(addr(SERVER), &datagram, epoch()).is_err());
    }
    assert_eq!(world.run().mapping, Some(Mapping::Eim));
}

#[test]
fn a_server_cannot_aim_requests_at_nonsense_nor_more_than_four_at_anybody() {
    for victim in
        ["0.0.0.0:80", "255.255.255.255:80", "224.0.0.1:80", "127.0.0.1:80", "[2001:db8::9]:80", "192.0.2.66:80"]
    {
        let (mut classifier, requests) = asked(config());
        let origin = addr(SERVER);
        let lie = Places { origin, other: addr(victim) };
        let told = Question::read(&requests[0].payload).unwrap().answer(addr("203.0.113.7:5000"), Some(lie));
        classifier.handle_input(origin, &told, epoch() + RTT).unwrap();
        let mut aimed = 0;
        while let Some(at) = classifier.poll_timeout() {
            classifier.handle_timeout(at);
            while let Some(out) = classifier.poll_transmit() {
                aimed += usize::from(out.to.ip() == addr(victim).ip());
            }
        }
        let expected = if victim == "192.0.2.66:80" { 4 } else { 0 };
        assert_eq!(aimed, expected, "{victim}");
    }
}
