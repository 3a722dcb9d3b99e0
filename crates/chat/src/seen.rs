use std::collections::{HashSet, VecDeque};

use wire::{MessageId, PeerTag};

/// The texts that came lately, so that one which comes again is not shown again. The sender is part of the key: nobody
/// can suppress somebody else's text by using its name first.
#[derive(Clone, Debug)]
pub struct Seen {
    capacity: usize,
    known: HashSet<(PeerTag, MessageId)>,
    order: VecDeque<(PeerTag, MessageId)>,
}

impl Seen {
    /// Remembers this many texts, and forgets the oldest first.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, known: HashSet::new(), order: VecDeque::new() }
    }

    /// Notes a text; `false` if it came before.
    pub fn insert(&mut self, from: PeerTag, id: MessageId) -> bool {
        if !self.known.insert((from, id)) {
            return false;
        }
        self.order.push_back((from, id));
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

impl Default for Seen {
    /// As many texts as an hour of a very lively channel has.
    fn default() -> Self {
        Self::new(4096)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: PeerTag = PeerTag(1);
    const EVE: PeerTag = PeerTag(2);

    #[test]
    fn a_text_that_comes_again_is_known() {
        let mut seen = Seen::default();
        assert!(seen.insert(ALICE, MessageId(1)));
        assert!(!seen.insert(ALICE, MessageId(1)));
        assert!(seen.insert(ALICE, MessageId(2)));
    }

    #[test]
    fn nobody_takes_the_name_of_anothers_text() {
        let mut seen = Seen::default();
        assert!(seen.insert(EVE, MessageId(1)));
        assert!(seen.insert(ALICE, MessageId(1)));
    }

    #[test]
    fn the_oldest_are_forgotten_and_memory_stays_bounded() {
        let mut seen = Seen::new(3);
        for id in 0..1000 {
            assert!(seen.insert(ALICE, MessageId(id)));
        }
        assert_eq!((seen.known.len(), seen.order.len()), (3, 3));
        assert!(!seen.insert(ALICE, MessageId(999)));
        assert!(seen.insert(ALICE, MessageId(0)));
    }
}
