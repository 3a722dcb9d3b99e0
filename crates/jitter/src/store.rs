//! The frames that came and were not played yet, by their number.

use wire::voice::Flags;

use crate::toc::Shape;

/// Frames that fit; 640 ms of the shortest ones.
pub(crate) const CAPACITY: i64 = 256;

/// So far on a frame is looked for that tells of the time before it.
const DEEP: i64 = 10;

/// What is known of a frame that waits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Head {
    /// Its number, unwrapped.
    pub(crate) seq: i64,
    /// Where it begins, in samples of the sender's clock; of a copy, an estimate.
    pub(crate) time: i64,
    pub(crate) flags: Flags,
    pub(crate) shape: Shape,
    pub(crate) is_copy: bool,
}

impl Head {
    /// Whether it is the first after silence.
    pub(crate) fn starts(&self) -> bool {
        self.flags.has(Flags::TALKSPURT_START)
    }

    /// Whether it is the last before silence: what is missing after it is not lost.
    pub(crate) fn ends(&self) -> bool {
        [Flags::TALKSPURT_END, Flags::MUTED, Flags::STREAM_END].iter().any(|flag| self.flags.has(*flag))
    }
}

#[derive(Debug, Default)]
struct Slot {
    head: Head,
    opus: Vec<u8>,
    is_used: bool,
}

/// A ring of slots that keep their bytes' room, so that nothing is allocated once it is warm.
#[derive(Debug)]
pub(crate) struct Store {
    slots: Vec<Slot>,
    used: usize,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self { slots: (0..CAPACITY).map(|_| Slot::default()).collect(), used: 0 }
    }

    /// Keeps a frame; the caller sees to it that all frames kept lie within [`CAPACITY`] numbers. False if it is there
    /// already; a frame that came itself takes the place of its copy.
    pub(crate) fn put(&mut self, head: Head, opus: &[u8]) -> bool {
        let slot = &mut self.slots[index(head.seq)];
        if slot.is_used && slot.head.seq == head.seq && (head.is_copy || !slot.head.is_copy) {
            return false;
        }
        self.used += usize::from(!slot.is_used);
        slot.opus.clear();
        slot.opus.extend_from_slice(opus);
        (slot.head, slot.is_used) = (head, true);
        true
    }

    /// The frame with this number.
    pub(crate) fn head(&self, seq: i64) -> Option<Head> {
        let slot = &self.slots[index(seq)];
        (slot.is_used && slot.head.seq == seq).then_some(slot.head)
    }

    /// Its Opus packet; that of another frame, or an empty one, if there is no such frame.
    pub(crate) fn opus(&self, seq: i64) -> &[u8] {
        &self.slots[index(seq)].opus
    }

    /// The frame with the lowest number of at least `from`.
    pub(crate) fn first_from(&self, from: i64) -> Option<Head> {
        if self.used == 0 {
            return None;
        }
        (from..from + CAPACITY).find_map(|seq| self.head(seq))
    }

    /// The next few frames from `from` on that may tell of the time before them.
    pub(crate) fn deep_from(&self, from: i64) -> impl Iterator<Item = Head> {
        (from..from + DEEP).filter_map(|seq| self.head(seq)).filter(|head| head.shape.has_deep)
    }

    /// The latest time at which a frame begins.
    pub(crate) fn newest_time(&self) -> Option<i64> {
        if self.used == 0 {
            return None;
        }
        self.slots.iter().filter(|slot| slot.is_used).map(|slot| slot.head.time).max()
    }

    /// Drops all frames but those with numbers from `from` on that fit with it.
    pub(crate) fn keep_from(&mut self, from: i64) {
        self.drop_where(|seq| !(from..from + CAPACITY).contains(&seq));
    }

    /// Drops one frame.
    pub(crate) fn drop_one(&mut self, seq: i64) {
        let slot = &mut self.slots[index(seq)];
        if slot.is_used && slot.head.seq == seq {
            slot.is_used = false;
            self.used -= 1;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.drop_where(|_| true);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Bytes of memory that hold frames.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.slots.iter().map(|slot| slot.opus.capacity()).sum()
    }

    fn drop_where(&mut self, is_dropped: impl Fn(i64) -> bool) {
        for slot in self.slots.iter_mut().filter(|slot| slot.is_used && is_dropped(slot.head.seq)) {
            slot.is_used = false;
            self.used -= 1;
        }
    }
}

fn index(seq: i64) -> usize {
    usize::try_from(seq.rem_euclid(CAPACITY)).expect("a remainder is not negative")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { samples: 480, has_previous: false, has_deep: false, is_stereo: false };

    fn put(store: &mut Store, seq: i64, is_copy: bool) -> bool {
        store.put(Head { seq, time: seq * 480, flags: Flags::default(), shape: SHAPE, is_copy }, &[0; 8])
    }

    #[test]
    fn frames_come_out_in_order_however_they_went_in() {
        let mut store = Store::new();
        for seq in [7, 5, 6, -3] {
            assert!(put(&mut store, seq, false));
        }

        assert_eq!(store.first_from(-200).map(|head| head.seq), Some(-3));
        store.drop_one(-3);
        assert_eq!(store.first_from(-200).map(|head| head.seq), Some(5));
        store.keep_from(7);
        assert_eq!(store.first_from(0).map(|head| head.seq), Some(7));
        assert!(store.first_from(8).is_none());
    }

    #[test]
    fn a_frame_is_kept_once_and_replaces_its_copy() {
        let mut store = Store::new();
        assert!(put(&mut store, 1, true));
        assert!(!put(&mut store, 1, true));
        assert!(put(&mut store, 1, false));
        assert!(!put(&mut store, 1, true));
        assert!(!put(&mut store, 1, false));
        store.drop_one(1);
        assert!(store.is_empty());
    }
}
