//! Texts that came while no chat program was there.

use std::collections::VecDeque;

use wire::{MessageId, PeerTag, agent::FromPuncher};

/// Texts that may wait for a chat program.
const MAX_TEXTS: usize = 1000;
/// Bytes that they may have together.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// A text that came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Text {
    pub(crate) from: PeerTag,
    pub(crate) id: MessageId,
    pub(crate) name: String,
    pub(crate) direct: bool,
    pub(crate) body: Vec<u8>,
}

impl Text {
    pub(crate) fn into_record(self) -> FromPuncher {
        FromPuncher::Text { id: self.id, from: self.from, name: self.name, direct: self.direct, body: self.body }
    }
}

/// A bounded queue: what does not fit is refused, so that its sender learns of it.
#[derive(Debug, Default)]
pub(crate) struct Held {
    texts: VecDeque<Text>,
    bytes: usize,
}

impl Held {
    /// Keeps a text; `false` if there is no room.
    pub(crate) fn push(&mut self, text: Text) -> bool {
        if self.texts.len() >= MAX_TEXTS || self.bytes + text.body.len() > MAX_BYTES {
            return false;
        }
        self.bytes += text.body.len();
        self.texts.push_back(text);
        true
    }

    pub(crate) fn pop(&mut self) -> Option<Text> {
        let text = self.texts.pop_front()?;
        self.bytes -= text.body.len();
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(len: usize) -> Text {
        Text { from: PeerTag(1), id: MessageId(1), name: "bob".into(), direct: false, body: vec![b'x'; len] }
    }

    #[test]
    fn texts_come_out_in_the_order_they_came() {
        let mut held = Held::default();
        assert!(held.push(text(1)));
        assert!(held.push(text(2)));
        assert_eq!(held.pop().map(|text| text.body.len()), Some(1));
        assert_eq!(held.pop().map(|text| text.body.len()), Some(2));
        assert_eq!(held.pop(), None);
    }

    #[test]
    fn what_does_not_fit_is_refused_until_there_is_room_again() {
        let mut held = Held::default();
        assert!(held.push(text(MAX_BYTES)));
        assert!(!held.push(text(1)));
        held.pop();
        assert!(held.push(text(1)));
    }
}
