use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use quinn_proto::TimeSource;

/// The time since the endpoint began, as Retry tokens want it.
pub(crate) struct Clock {
    start: Instant,
    millis: AtomicU64,
}

impl Clock {
    pub(crate) fn new(start: Instant) -> Arc<Self> {
        Arc::new(Self { start, millis: AtomicU64::new(0) })
    }

    pub(crate) fn set(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.start).as_millis() as u64;
        self.millis.store(millis, Ordering::Relaxed);
    }
}

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }
}
