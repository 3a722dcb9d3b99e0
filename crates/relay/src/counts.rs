//! What has been forwarded, and what has not.

use crate::core::Dropped;

/// Counts since the relay began.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Frames that came and were forwarded.
    pub frames: u64,
    /// Copies of them that left.
    pub copies: u64,
    /// Bytes that left: UDP payload.
    pub bytes: u64,
    /// Frames that came from elsewhere than the session's validated address.
    pub elsewhere: u64,
    /// Seats that frames were for and that were empty.
    pub empty_seats: u64,
    dropped: [u64; Dropped::ALL.len()],
}

impl Counts {
    /// Frames that were dropped for a reason.
    pub fn dropped(&self, why: Dropped) -> u64 {
        self.dropped[why as usize]
    }

    /// Every reason and how many frames were dropped for it.
    pub fn drops(&self) -> impl Iterator<Item = (Dropped, u64)> + '_ {
        Dropped::ALL.into_iter().map(|why| (why, self.dropped(why)))
    }

    pub(crate) fn add_dropped(&mut self, why: Dropped) {
        self.dropped[why as usize] += 1;
    }
}
