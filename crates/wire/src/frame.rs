//! Messages on a stream: a big-endian `u32` length, then that many bytes of postcard.

use std::marker::PhantomData;

use serde::{Serialize, de::DeserializeOwned};

use crate::DecodeError;

const PREFIX: usize = 4;

/// Appends `message` to `out` as one frame.
pub fn push<T: Serialize>(out: &mut Vec<u8>, message: &T) {
    push_bytes(out, &crate::encode(message));
}

/// Appends a body that is already encoded to `out` as one frame.
pub fn push_bytes(out: &mut Vec<u8>, body: &[u8]) {
    let len = u32::try_from(body.len()).expect("no message is 4 GiB long");
    out.reserve(PREFIX + body.len());
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(body);
}

/// `message` as one frame.
pub fn frame<T: Serialize>(message: &T) -> Vec<u8> {
    let mut out = Vec::new();
    push(&mut out, message);
    out
}

/// Takes the bytes of a stream as they come and gives its messages.
///
/// It holds at most one frame and what was pushed behind it. An error is final: the stream has lost its framing.
#[derive(Debug)]
pub struct Reader<T> {
    what: &'static str,
    max: usize,
    bytes: Vec<u8>,
    read: usize,
    message: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Reader<T> {
    /// Reads frames of at most `max` bytes; `what` names the message in errors.
    pub fn new(what: &'static str, max: usize) -> Self {
        Self { what, max, bytes: Vec::new(), read: 0, message: PhantomData }
    }

    /// Adds bytes from the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next whole message, `None` if there is none yet.
    ///
    /// # Errors
    /// [`DecodeError`] if the frame announces more than the maximum or is no message.
    #[expect(clippy::should_implement_trait, reason = "an iterator can't fail, and ends where this only waits")]
    pub fn next(&mut self) -> Result<Option<T>, DecodeError> {
        self.next_bytes()?.map(|range| crate::decode(self.what, &self.bytes[range])).transpose()
    }

    /// Whether bytes of an unfinished message are waiting.
    pub fn is_mid_message(&self) -> bool {
        self.read < self.bytes.len()
    }

    fn next_bytes(&mut self) -> Result<Option<std::ops::Range<usize>>, DecodeError> {
        let Some(prefix) = self.bytes[self.read..].first_chunk::<PREFIX>() else { return Ok(None) };
        let len = u32::from_be_bytes(*prefix) as usize;
        if len > self.max {
            return Err(DecodeError::TooLong { what: self.what, len, max: self.max });
        }
        let start = self.read + PREFIX;
        let end = start + len;
        if end > self.bytes.len() {
            return Ok(None);
        }
        self.read = end;
        Ok(Some(start..end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_however_the_stream_is_cut() {
        let mut stream = Vec::new();
        for message in ["", "one", "two words"] {
            push(&mut stream, &message);
        }
        for cut in 1..stream.len() {
            let mut reader = Reader::<String>::new("word", 64);
            let mut seen = Vec::new();
            for piece in stream.chunks(cut) {
                reader.push(piece);
                while let Some(message) = reader.next().expect("a frame") {
                    seen.push(message);
                }
            }
            assert_eq!(seen, ["", "one", "two words"], "pieces of {cut} bytes");
            assert!(!reader.is_mid_message());
        }
    }

    #[test]
    fn a_frame_that_announces_too_much_is_refused_before_it_comes() {
        let mut reader = Reader::<String>::new("word", 64);
        reader.push(&65u32.to_be_bytes());
        assert_eq!(reader.next(), Err(DecodeError::TooLong { what: "word", len: 65, max: 64 }));
    }

    #[test]
    fn frame_bytes() {
        assert_eq!(frame(&"hi"), [0, 0, 0, 3, 2, b'h', b'i']);
    }
}
