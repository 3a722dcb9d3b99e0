//! Texts, and acknowledgements of texts, that a session has no room for yet.

use std::collections::VecDeque;

/// Bytes of text that may wait for a slow peer before local programs are made to wait.
const HIGH_WATER: usize = 4 * 1024 * 1024;
/// Acknowledgements that may wait for a peer that reads none of them.
const MAX_ACKS: usize = 4096;

/// What waits for one peer, encoded.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    acks: VecDeque<Vec<u8>>,
    texts: VecDeque<Vec<u8>>,
    /// Of all texts.
    bytes: usize,
}

impl Outbox {
    pub(crate) fn push_text(&mut self, message: Vec<u8>) {
        self.bytes += message.len();
        self.texts.push_back(message);
    }

    /// An acknowledgement more than a peer may leave unread is not kept: it will take its text for lost.
    pub(crate) fn push_ack(&mut self, message: Vec<u8>) {
        if self.acks.len() < MAX_ACKS {
            self.acks.push_back(message);
        }
    }

    /// Whether so much text waits that nobody should add to it.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes > HIGH_WATER
    }

    /// What is sent next.
    pub(crate) fn front(&self) -> Option<&[u8]> {
        self.acks.front().or_else(|| self.texts.front()).map(Vec::as_slice)
    }

    /// Takes that out.
    pub(crate) fn pop(&mut self) {
        if self.acks.pop_front().is_none() {
            self.bytes -= self.texts.pop_front().map_or(0, |text| text.len());
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_go_first_and_texts_in_their_order() {
        let mut outbox = Outbox::default();
        outbox.push_text(vec![1]);
        outbox.push_text(vec![2]);
        outbox.push_ack(vec![3]);
        let mut sent = Vec::new();
        while let Some(message) = outbox.front() {
            sent.push(message[0]);
            outbox.pop();
        }
        assert_eq!(sent, [3, 1, 2]);
    }

    #[test]
    fn text_fills_it_and_acknowledgements_do_not() {
        let mut outbox = Outbox::default();
        (0..1_000_000).for_each(|_| outbox.push_ack(vec![0; 20]));
        assert!(!outbox.is_full() && outbox.acks.len() == MAX_ACKS);
        (0..5).for_each(|_| outbox.push_text(vec![0; 1 << 20]));
        assert!(outbox.is_full());
        (0..MAX_ACKS + 1).for_each(|_| outbox.pop());
        assert!(!outbox.is_full());
    }
}
