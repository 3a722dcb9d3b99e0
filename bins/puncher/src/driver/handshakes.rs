//! Handshakes give way: one costs a millisecond, and where many members meet at once, checks and voice wait behind each.

use std::{collections::VecDeque, net::SocketAddr};

use wire::datagram::{Protocol, protocol};

/// More than wait in one socket at a time are handled as they come.
const MOST: usize = 256;

/// Packets of sessions that wait until everything else that has come is handled.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    waiting: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl Handshakes {
    /// Keeps a datagram for later if it is of a handshake, or comes behind one in a session. False if it can't wait.
    pub(super) fn defer(&mut self, from: SocketAddr, datagram: &[u8]) -> bool {
        let waits = protocol(datagram) == Some(Protocol::Quic)
            && (link::is_handshake(datagram) || self.waiting.iter().any(|(other, _)| *other == from))
            && self.waiting.len() < MOST;
        if waits {
            self.waiting.push_back((from, datagram.to_vec()));
        }
        waits
    }

    /// The next one, in the order in which they came.
    pub(super) fn next(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_wait_and_what_follows_them_in_a_session_too() {
        let [ann, bob]: [SocketAddr; 2] = ["192.0.2.1:1", "192.0.2.2:2"].map(|addr| addr.parse().expect("an address"));
        let (check, long, short) = ([wire::datagram::CHECK, 0], [0xC0, 1], [0x40, 2]);
        let mut handshakes = Handshakes::default();
        assert!(!handshakes.defer(ann, &short));
        assert!(handshakes.defer(ann, &long));
        assert!(!handshakes.defer(ann, &check) && !handshakes.defer(bob, &short));
        assert!(handshakes.defer(ann, &short));
        assert_eq!(handshakes.next(), Some((ann, long.to_vec())));
        assert_eq!(handshakes.next(), Some((ann, short.to_vec())));
        assert_eq!(handshakes.next(), None);
        assert!(!handshakes.defer(ann, &short));
    }

    #[test]
    fn no_more_wait_than_fit() {
        let mut handshakes = Handshakes::default();
        let deferred = (0..2 * MOST).filter(|_| handshakes.defer("192.0.2.1:1".parse().expect("an address"), &[0xC0]));
        assert_eq!(deferred.count(), MOST);
    }
}
