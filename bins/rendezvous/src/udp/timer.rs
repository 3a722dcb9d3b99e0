//! The loop's one timer.

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use tokio::time::Sleep;

/// Wakes at a moment that may be put off: most turns of the loop leave it where it is, which costs nothing.
pub(super) struct Timer {
    sleep: Pin<Box<Sleep>>,
    at: Option<Instant>,
}

impl Timer {
    pub(super) fn new() -> Self {
        // Nobody waits for this moment: `at` says whether there is one to wait for.
        Self { sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), at: None }
    }

    pub(super) fn set(&mut self, at: Option<Instant>) {
        if let Some(at) = at.filter(|at| self.at != Some(*at)) {
            self.sleep.as_mut().reset(at.into());
        }
        self.at = at;
    }

    /// Returns at the moment that was set, and not at all without one.
    pub(super) async fn due(&mut self) {
        match self.at {
            Some(_) => self.sleep.as_mut().await,
            None => std::future::pending().await,
        }
    }
}
