use super::{
    encode::{finish, push_attribute, start},
    *,
};

const TRANSACTION: TransactionId =
    TransactionId([0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae]);

/// RFC 5769, 2.1: SOFTWARE, PRIORITY, ICE-CONTROLLED, USERNAME, MESSAGE-INTEGRITY, FINGERPRINT.
const SAMPLE_REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae
    802200105354554e207465737420636c69656e74 002400046e0001ff 80290008932ff9b151263b36
    000600096576746a3a68367659202020 000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2 80280004e57a3bcf";
/// RFC 5769, 2.2.
const SAMPLE_IPV4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae
    8022000b7465737420766563746f7220 002000080001a147e112a643
    000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7 80280004c07d4c96";
/// RFC 5769, 2.3.
const SAMPLE_IPV6: &str = "010100482112a442b7e7a701bc34d686fa87dfae
    8022000b7465737420766563746f7220 002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9
    00080014a382954e4be67bf11784c97c8292c275bfe3ed41 80280004c8fb0b4c";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn with_attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut out = start(Class::Request, TRANSACTION);
    push_attribute(&mut out, kind, value);
    finish(&mut out, false);
    out
}

#[test]
fn the_sample_request_of_rfc_5769_is_read() {
    let datagram = bytes(SAMPLE_REQUEST);
    let message = Message::decode(&datagram).unwrap();
    assert_eq!((message.class, message.method), (Class::Request, BINDING));
    assert_eq!(message.transaction, TRANSACTION);
    assert!(message.has_fingerprint);
    let attributes: Vec<_> = message.attributes().collect();
    assert_eq!(attributes.iter().map(|a| a.0).collect::<Vec<_>>(), [0x8022, 0x24, 0x8029, 6, 8, 0x8028]);
    assert_eq!(attributes[0].1, b"STUN test client");
    assert_eq!(attributes[3].1, b"evtj:h6vY");
}

#[test]
fn the_sample_responses_of_rfc_5769_are_read() {
    for (sample, expected) in
        [(SAMPLE_IPV4, "192.0.2.1:32853"), (SAMPLE_IPV6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
    {
        let datagram = bytes(sample);
        let message = Message::decode(&datagram).unwrap();
        assert_eq!((message.class, message.has_fingerprint), (Class::Success, true));
        assert_eq!(message.mapped_address(), Some(expected.parse().unwrap()));
    }
}

#[test]
fn a_request_is_answered_with_the_address_it_came_from() {
    for from in ["192.0.2.1:32853", "[2001:db8::7]:1"] {
        let from = from.parse().unwrap();
        let datagram = answer(&request(TRANSACTION), from).unwrap();
        let message = Message::decode(&datagram).unwrap();
        assert_eq!((message.class, message.transaction), (Class::Success, TRANSACTION));
        assert_eq!(message.mapped_address(), Some(from));
        assert!(message.has_fingerprint, "as the request had one");
    }
}

#[test]
fn answer_bytes_are_those_of_the_sample_response() {
    let request = with_attribute(0x8022, b"x");
    let datagram = answer(&request, "192.0.2.1:32853".parse().unwrap()).unwrap();
    assert_eq!(datagram, bytes("0101000c2112a442b7e7a701bc34d686fa87dfae 002000080001a147e112a643"));
}

#[test]
fn an_ipv4_mapped_source_is_told_as_ipv4() {
    let datagram = answer(&request(TRANSACTION), "[::ffff:192.0.2.1]:9".parse().unwrap()).unwrap();
    let message = Message::decode(&datagram).unwrap();
    assert_eq!(message.mapped_address(), Some("192.0.2.1:9".parse().unwrap()));
}

#[test]
fn an_unknown_attribute_that_must_be_understood_is_refused_by_name() {
    let from = "192.0.2.1:1".parse().unwrap();
    let datagram = answer(&bytes(SAMPLE_REQUEST), from).unwrap();
    let message = Message::decode(&datagram).unwrap();
    assert_eq!((message.class, message.error_code()), (Class::Error, Some(420)));
    assert!(message.attributes().any(|a| a == (UNKNOWN_ATTRIBUTES, &[0x00, 0x24])), "PRIORITY");
    let change_request = with_attribute(CHANGE_REQUEST, &[0, 0, 0, 2]);
    let datagram = answer(&change_request, from).unwrap();
    assert_eq!(Message::decode(&datagram).unwrap().error_code(), Some(420));
    assert!(datagram.len() * 10 <= change_request.len() * 16, "no more amplification than a success has");
}

#[test]
fn what_is_no_whole_binding_request_gets_silence() {
    let from = "192.0.2.1:1".parse().unwrap();
    let good = request(TRANSACTION);
    let mut cases = vec![("a response", bytes(SAMPLE_IPV4))];
    for length in 0..good.len() {
        cases.push(("a cut request", good[..length].to_vec()));
    }
    cases.push(("a longer one", [&good[..], &[0]].concat()));
    let mut bent = |what, at: usize, byte: u8| {
        let mut datagram = good.clone();
        datagram[at] ^= byte;
        cases.push((what, datagram));
    };
    bent("a wrong fingerprint", good.len() - 1, 1);
    bent("a wrong cookie", 4, 1);
    bent("an indication", 1, 0x10);
    bent("another method", 1, 2);
    bent("a wrong length", 3, 4);
    bent("an attribute that is too long", HEADER + 3, 0x40);
    for (what, datagram) in cases {
        assert_eq!(answer(&datagram, from), None, "{what}: {datagram:02x?}");
    }
}

#[test]
fn no_bytes_make_the_codec_panic() {
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let samples = [SAMPLE_REQUEST, SAMPLE_IPV4, SAMPLE_IPV6].map(bytes);
    for _ in 0..20_000 {
        let mut datagram = samples[random() % 3].clone();
        for _ in 0..random() % 4 {
            let at = random() % datagram.len();
            datagram[at] = random() as u8;
        }
        datagram.truncate(random() % (datagram.len() * 2));
        if let Ok(message) = Message::decode(&datagram) {
            let _ = (message.mapped_address(), message.error_code(), message.attributes().count());
        }
        let _ = answer(&datagram, "[2001:db8::1]:2".parse().unwrap());
    }
}

#[test]
fn an_answer_names_where_it_comes_from_and_where_else_it_could() {
    let places = Places { origin: "192.0.2.9:3478".parse().unwrap(), other: "198.51.100.9:3481".parse().unwrap() };
    let asked = request_elsewhere(TRANSACTION, Change { ip: false, port: true });
    assert_eq!(asked[HEADER..HEADER + 8], [0, 3, 0, 4, 0, 0, 0, 2]);
    let question = Question::read(&asked).unwrap();
    assert_eq!(question.change(), Some(Change { ip: false, port: true }));
    let answer = question.answer("192.0.2.1:1".parse().unwrap(), Some(places));
    let message = Message::decode(&answer).unwrap();
    assert_eq!(message.mapped_address(), Some("192.0.2.1:1".parse().unwrap()));
    assert_eq!((message.response_origin(), message.other_address()), (Some(places.origin), Some(places.other)));
}

#[test]
fn the_longest_answer_is_less_than_twice_the_packet_that_asked() {
    const HEADERS: usize = 28; // IPv4 and UDP
    let places = Places { origin: "192.0.2.9:3478".parse().unwrap(), other: "198.51.100.9:3481".parse().unwrap() };
    let mut bare = start(Class::Request, TRANSACTION);
    finish(&mut bare, false);
    let answer = Question::read(&bare).unwrap().answer("192.0.2.1:1".parse().unwrap(), Some(places));
    assert_eq!((bare.len(), answer.len()), (20, 56));
    assert!((answer.len() + HEADERS) * 4 <= (bare.len() + HEADERS) * 7);
}

#[test]
fn a_change_that_makes_no_sense_is_refused() {
    let from = "192.0.2.1:1".parse().unwrap();
    for value in [&[][..], &[0, 0, 0][..], &[0; 8][..]] {
        let asked = with_attribute(CHANGE_REQUEST, value);
        assert_eq!(Question::read(&asked).unwrap().change(), None, "{value:?}");
        assert_eq!(Message::decode(&answer(&asked, from).unwrap()).unwrap().error_code(), Some(420));
    }
    let padding = with_attribute(0x0027, &[0x12, 0x34, 0, 0]);
    let answer = Question::read(&padding).unwrap().answer(from, None);
    assert_eq!(Message::decode(&answer).unwrap().error_code(), Some(420), "RESPONSE-PORT");
}
