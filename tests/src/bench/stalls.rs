//! How often the machine stands still: a virtual one does whenever its host has something better to do, and no program can
//! have sound on time then.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const SLEEP: Duration = Duration::from_millis(1);
/// Woken so late, it is counted.
const LATE: Duration = Duration::from_millis(2);

/// A thread that sleeps for a moment all the time, and looks at the clock.
pub(super) struct Stalls {
    started: Instant,
    count: Arc<AtomicU32>,
    ended: Arc<AtomicBool>,
}

impl Stalls {
    /// Begins to count.
    pub(super) fn watch() -> Self {
        let watched = Self { started: Instant::now(), count: Arc::default(), ended: Arc::default() };
        let (count, ended) = (Arc::clone(&watched.count), Arc::clone(&watched.ended));
        thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let before = Instant::now();
                thread::sleep(SLEEP);
                if before.elapsed() >= SLEEP + LATE {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        watched
    }

    /// How often it was, so far.
    pub(super) fn per_minute(&self) -> f64 {
        f64::from(self.count.load(Ordering::Relaxed)) * 60.0 / self.started.elapsed().as_secs_f64()
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}
