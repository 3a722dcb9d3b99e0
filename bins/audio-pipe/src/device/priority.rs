//! Real-time priority for the threads that sound waits for, where the system allows it.

use thread_priority::unix::{RealtimeThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy};
use thread_priority::{ThreadPriority, ThreadPriorityValue, unix::thread_native_id};

/// What is asked for in turn: above most, below the sound server where that has been raised, too; users are often
/// allowed less.
const WANTED: [u8; 3] = [10, 5, 1];

/// Raises the calling thread above all that are not real-time (`SCHED_FIFO`); tells whether it may.
pub(crate) fn raise() -> bool {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    WANTED.into_iter().any(|wanted| {
        ThreadPriorityValue::try_from(wanted).is_ok_and(|value| {
            set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(value), policy).is_ok()
        })
    })
}

/// Raises a thread at the first chance: for callbacks, whose threads others make.
#[derive(Debug, Default)]
pub(super) struct Once(bool);

impl Once {
    pub(super) fn raise(&mut self) {
        if !std::mem::replace(&mut self.0, true) {
            raise();
        }
    }
}
