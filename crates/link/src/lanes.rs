//! Messages on lanes: each lane is one unidirectional stream each way, the lane's number, then [`wire::frame`]s.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use quinn_proto::{Connection, Dir, StreamId};
use wire::peer::Lane;

use crate::{Kind, SendError};

/// The lane that carries the proofs, and all there is of a signalling link.
pub(crate) const CONTROL: u8 = Lane::Control as u8;
/// The lanes of a peer link that are streams, the most urgent first.
pub(crate) const PEER: [u8; 2] = [CONTROL, Lane::Text as u8];

pub(crate) fn lanes(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Signal => &PEER[..1],
        Kind::Peer => &PEER,
    }
}

/// What waits to be sent on one lane.
#[derive(Debug)]
pub(crate) struct Outgoing {
    lane: u8,
    stream: Option<StreamId>,
    /// Whether the stream begins with the lane's number already.
    is_named: bool,
    waiting: VecDeque<Bytes>,
    bytes: usize,
    refused: bool,
}

impl Outgoing {
    pub(crate) fn all(kind: Kind) -> Vec<Self> {
        let lane =
            |&lane| Self { lane, stream: None, is_named: false, waiting: VecDeque::new(), bytes: 0, refused: false };
        lanes(kind).iter().map(lane).collect()
    }

    pub(crate) fn lane(&self) -> u8 {
        self.lane
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds a message, if not more than `max_waiting` bytes wait then; a lane where nothing waits takes any message.
    pub(crate) fn push(&mut self, body: &[u8], max_waiting: usize) -> Result<(), SendError> {
        if !self.waiting.is_empty() && self.bytes + body.len() > max_waiting {
            self.refused = true;
            return Err(SendError::Full);
        }
        let mut frame = Vec::with_capacity(body.len() + 5);
        if !std::mem::replace(&mut self.is_named, true) {
            frame.push(self.lane);
        }
        wire::frame::push_bytes(&mut frame, body);
        self.bytes += frame.len();
        self.waiting.push_back(frame.into());
        Ok(())
    }

    /// Hands at most `max` bytes to the connection; says how many it took.
    pub(crate) fn write(&mut self, connection: &mut Connection, mut max: usize) -> usize {
        if self.waiting.is_empty() || max == 0 {
            return 0;
        }
        let Some(stream) = self.stream.or_else(|| self.open(connection)) else { return 0 };
        let mut written = 0;
        while let Some(front) = self.waiting.front_mut().filter(|_| max > 0) {
            let offered = &front[..front.len().min(max)];
            let Ok(taken) = connection.send_stream(stream).write(offered) else { break };
            front.advance(taken);
            if front.is_empty() {
                self.waiting.pop_front();
            }
            written += taken;
            max -= taken;
        }
        self.bytes -= written;
        written
    }

    fn open(&mut self, connection: &mut Connection) -> Option<StreamId> {
        self.stream = connection.streams().open(Dir::Uni);
        if let Some(stream) = self.stream {
            // The stream was just opened, so it is there.
            let _ = connection.send_stream(stream).set_priority(-i32::from(self.lane));
        }
        self.stream
    }

    /// Whether a message was refused and there is room again.
    pub(crate) fn take_writable(&mut self, max_waiting: usize) -> bool {
        let writable = self.refused && self.bytes * 2 <= max_waiting;
        self.refused &= !writable;
        writable
    }
}

/// One lane as it comes in.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) stream: StreamId,
    /// Known from the first byte.
    pub(crate) lane: Option<u8>,
    pub(crate) frames: Frames,
}

impl Incoming {
    pub(crate) fn new(stream: StreamId) -> Self {
        Self { stream, lane: None, frames: Frames::default() }
    }
}

/// A frame announces more than it may.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a message of {len} bytes is longer than the {max} allowed")]
pub(crate) struct TooLong {
    len: usize,
    max: usize,
}

/// Makes frames of the pieces of a stream; holds one unfinished frame, and no more memory than came.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Frames {
    /// Takes from `bytes` until a frame is whole or nothing is left.
    pub(crate) fn next(&mut self, bytes: &mut Bytes, max: usize) -> Result<Option<Vec<u8>>, TooLong> {
        take(bytes, &mut self.head, 4);
        let Some(&head) = self.head.first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_be_bytes(head) as usize;
        if len > max {
            return Err(TooLong { len, max });
        }
        take(bytes, &mut self.body, len);
        if self.body.len() < len {
            return Ok(None);
        }
        self.head.clear();
        Ok(Some(std::mem::take(&mut self.body)))
    }
}

/// Moves bytes until `to` has `len` of them.
fn take(from: &mut Bytes, to: &mut Vec<u8>, len: usize) {
    let count = from.len().min(len - to.len());
    to.extend_from_slice(&from.split_to(count));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_however_the_stream_is_cut() {
        let mut stream = Vec::new();
        for body in [&b""[..], b"one", b"two words"] {
            wire::frame::push_bytes(&mut stream, body);
        }
        for cut in 1..=stream.len() {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for piece in stream.chunks(cut) {
                let mut piece = Bytes::copy_from_slice(piece);
                while let Some(body) = frames.next(&mut piece, 9).unwrap() {
                    seen.push(body);
                }
                assert!(piece.is_empty());
            }
            assert_eq!(seen, [&b""[..], b"one", b"two words"], "pieces of {cut} bytes");
        }
    }

    #[test]
    fn a_frame_that_announces_too_much_is_refused_before_it_comes() {
        let mut frames = Frames::default();
        let mut bytes = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff]);
        assert_eq!(frames.next(&mut bytes, 9), Err(TooLong { len: u32::MAX as usize, max: 9 }));
        assert_eq!(frames.body.capacity(), 0);
    }

    #[test]
    fn a_lane_takes_one_message_of_any_length_and_refuses_what_is_too_much() {
        let mut lane = Outgoing::all(Kind::Peer).remove(1);
        assert_eq!(lane.push(&[0; 1000], 100), Ok(()));
        assert_eq!(lane.push(&[0; 1], 100), Err(SendError::Full));
        assert!(!lane.take_writable(100));
        lane.bytes = 50;
        assert!(lane.take_writable(100));
        assert!(!lane.take_writable(100), "told once");
    }
}
