//! What a sound callback and the worker at the other end of its ring share.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use cpal::ErrorKind;

use super::priority;

/// A stream without a callback for so long is dead, whatever the system says. An idle sink of PulseAudio may take 2 s to
/// notice that it is not idle any more.
const SILENT: Duration = Duration::from_millis(2500);
/// Between two looks no more than this counts: a program that was stopped has not heard callbacks either.
const STEP: Duration = Duration::from_millis(200);

#[derive(Default)]
pub(super) struct Shared {
    worker: OnceLock<Thread>,
    /// The ring's fill at which the worker is to be woken.
    pub(super) wake: AtomicUsize,
    /// The stream has failed.
    lost: AtomicBool,
    callbacks: AtomicU64,
    /// Frames that callbacks asked for or brought in all.
    frames: AtomicU64,
    /// Frames of the last callback.
    pub(super) last: AtomicUsize,
    /// The least that a callback left in the ring, or lacked if negative, since it was last asked for.
    least: AtomicI64,
    /// Frames that did not fit into the ring, or that were not there in time.
    pub(super) missed: AtomicU64,
    /// How far away the device says that it is, in microseconds.
    latency: AtomicU32,
}

impl Shared {
    /// From the callback.
    pub(super) fn count(&self, frames: usize) {
        self.last.store(frames, Ordering::Relaxed);
        self.frames.fetch_add(frames as u64, Ordering::Relaxed);
        self.callbacks.fetch_add(1, Ordering::Release);
    }

    /// From the callback: what it left in the ring.
    pub(super) fn note_left(&self, left: i64) {
        self.least.fetch_min(left, Ordering::Relaxed);
    }

    /// What callbacks have left in the ring at least, since the last time.
    pub(super) fn take_least(&self) -> Option<i64> {
        Some(self.least.swap(i64::MAX, Ordering::Relaxed)).filter(|least| *least != i64::MAX)
    }

    /// From the callback: how long its sound takes from or to the air.
    pub(super) fn note_latency(&self, latency: Option<Duration>) {
        if let Some(latency) = latency {
            self.latency.store(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX), Ordering::Relaxed);
        }
    }

    /// How long sound takes to or from the device, as that says.
    pub(super) fn latency(&self) -> Duration {
        Duration::from_micros(self.latency.load(Ordering::Relaxed).into())
    }

    /// From the callback: a futex, and only if the worker sleeps.
    pub(super) fn wake_worker(&self) {
        if let Some(worker) = self.worker.get() {
            worker.unpark();
        }
    }

    /// From the thread that cpal reports errors on.
    pub(super) fn handle_error(&self, error: &cpal::Error) {
        tracing::debug!(%error, "The sound device reported an error");
        let is_harmless =
            matches!(error.kind(), ErrorKind::Xrun | ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied);
        if !is_harmless {
            self.lose();
        }
    }

    /// The stream is over.
    pub(super) fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        self.wake_worker();
    }

    /// From the worker, before it first waits.
    pub(super) fn adopt(&self) {
        self.worker.get_or_init(|| {
            priority::raise();
            thread::current()
        });
    }

    pub(super) fn callbacks(&self) -> u64 {
        self.callbacks.load(Ordering::Acquire)
    }

    pub(super) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }
}

/// Notices that callbacks have stopped.
pub(super) struct Pulse {
    callbacks: u64,
    looked: Instant,
    silent: Duration,
}

impl Pulse {
    pub(super) fn new(now: Instant) -> Self {
        Self { callbacks: 0, looked: now, silent: Duration::ZERO }
    }

    /// Whether a stream is over that has called back so many times.
    pub(super) fn is_dead(&mut self, callbacks: u64, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.looked).min(STEP);
        self.looked = now;
        self.silent = if callbacks == self.callbacks { self.silent + since } else { Duration::ZERO };
        self.callbacks = callbacks;
        self.silent > SILENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS100: Duration = Duration::from_millis(100);

    #[test]
    fn a_stream_that_stops_calling_back_is_dead_after_a_while() {
        let mut now = Instant::now();
        let mut pulse = Pulse::new(now);
        let mut looks = |calls: fn(u64) -> u64, looks: u64| {
            (0..looks)
                .filter(|n| {
                    now += MS100;
                    pulse.is_dead(calls(*n), now)
                })
                .count()
        };

        assert_eq!(looks(|n| n + 1, 50), 0, "it calls back");
        assert_eq!(looks(|_| 50, 25), 0, "not yet");
        assert_eq!(looks(|_| 50, 5), 5);
        assert_eq!(looks(|_| 51, 5), 0, "it goes on");
    }

    #[test]
    fn a_program_that_was_stopped_has_a_living_stream() {
        let now = Instant::now();
        let mut pulse = Pulse::new(now);

        assert!(!pulse.is_dead(0, now + 600 * MS100));
        assert!(!pulse.is_dead(1, now + 601 * MS100));
    }

    #[test]
    fn errors_that_cost_no_stream_do_not_end_it() {
        for (kind, is_lost) in [
            (ErrorKind::Xrun, false),
            (ErrorKind::DeviceChanged, false),
            (ErrorKind::RealtimeDenied, false),
            (ErrorKind::DeviceNotAvailable, true),
            (ErrorKind::StreamInvalidated, true),
        ] {
            let shared = Shared::default();
            shared.handle_error(&cpal::Error::new(kind));
            assert_eq!(shared.is_lost(), is_lost, "{kind:?}");
        }
    }
}
