//! Connection ids, whose first bit tells the kind of the link: two endpoints can so share one socket.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quinn_proto::{ConnectionId, ConnectionIdGenerator};
use sha2::{Digest, Sha256};

use crate::Kind;

/// Set in the first byte of a connection id of a peer link.
const PEER_MARK: u8 = 0x80;
/// Of an id that a client makes up for the server's first answer (RFC 9000, 7.2, wants 8 at least).
const INITIAL: usize = 8;
/// Where a long header has the length of the destination's id (RFC 8999, 5.1).
const LONG_ID_LEN: usize = 5;
const LONG_FORM: u8 = 0x80;

/// Tells the kind of the link that a datagram belongs to, or would open; `None` if it is too short for any.
///
/// Holds for endpoints that take links of one kind only.
pub fn kind(datagram: &[u8]) -> Option<Kind> {
    let is_long = datagram.first()? & LONG_FORM != 0;
    let first = match is_long {
        true if *datagram.get(LONG_ID_LEN)? == 0 => return None,
        true => datagram.get(LONG_ID_LEN + 1)?,
        false => datagram.get(1)?,
    };
    Some(if first & PEER_MARK == 0 { Kind::Signal } else { Kind::Peer })
}

/// Whether a datagram of a session is of its handshake: that costs a thousand times what others cost. It has a long header then
/// (RFC 9000, 17.2).
pub fn is_handshake(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & LONG_FORM != 0)
}

/// Makes ids that nobody can foresee and that the seed repeats.
#[derive(Debug)]
pub(crate) struct Ids {
    seed: [u8; 32],
    count: AtomicU64,
}

impl Ids {
    pub(crate) fn new(seed: [u8; 32]) -> Arc<Self> {
        Arc::new(Self { seed, count: AtomicU64::new(0) })
    }

    fn make(&self, kind: Kind, len: usize) -> ConnectionId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut hash = Sha256::new();
        hash.update(b"punchline connection ids v1");
        hash.update(self.seed);
        hash.update(count.to_le_bytes());
        let mut bytes: [u8; 32] = hash.finalize().into();
        bytes[0] = match kind {
            Kind::Signal => bytes[0] & !PEER_MARK,
            Kind::Peer => bytes[0] | PEER_MARK,
        };
        ConnectionId::new(&bytes[..len])
    }

    /// For the first packets of a link that we open.
    pub(crate) fn initial(self: &Arc<Self>, kind: Kind) -> Arc<dyn Fn() -> ConnectionId + Send + Sync> {
        let ids = Arc::clone(self);
        Arc::new(move || ids.make(kind, INITIAL))
    }
}

/// An endpoint's own ids.
pub(crate) struct OwnIds {
    pub(crate) ids: Arc<Ids>,
    pub(crate) kind: Kind,
    pub(crate) len: usize,
}

impl ConnectionIdGenerator for OwnIds {
    fn generate_cid(&mut self) -> ConnectionId {
        self.ids.make(self.kind, self.len)
    }

    fn cid_len(&self) -> usize {
        self.len
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_the_kind_of_its_link() {
        let ids = Ids::new([1; 32]);
        for wanted in [Kind::Signal, Kind::Peer] {
            for len in [3, 8, 20] {
                let id = ids.make(wanted, len);
                let short = [&[0x40], &id[..], &[9; 30]].concat();
                let long = [&[0xc0, 0, 0, 0, 1, len as u8], &id[..], &[9; 30]].concat();
                assert_eq!((kind(&short), kind(&long)), (Some(wanted), Some(wanted)), "{len} bytes");
            }
        }
    }

    #[test]
    fn what_is_too_short_has_no_kind() {
        for datagram in [&[][..], &[0x40], &[0xc0, 0, 0, 0, 1], &[0xc0, 0, 0, 0, 1, 0, 7], &[0xc0, 0, 0, 0, 1, 8]] {
            assert_eq!(kind(datagram), None, "{datagram:?}");
        }
    }

    #[test]
    fn no_two_ids_are_alike() {
        let ids = Ids::new([1; 32]);
        let made: std::collections::HashSet<_> = (0..1000).map(|_| ids.make(Kind::Peer, 8)).collect();
        assert_eq!(made.len(), 1000);
    }
}
