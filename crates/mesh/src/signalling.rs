//! Where the member stands with its rendezvous, and when it asks again.

use std::time::{Duration, Instant};

use link::LinkId;

/// The lane of all signalling messages.
pub(crate) const SIGNAL_LANE: u8 = 0;
/// Application close code of a session whose end is meant: the other side has left.
pub(crate) const CLOSE_LEFT: u32 = 0;
/// Application close code of a session that makes room for another with the same peer.
pub(crate) const CLOSE_REPLACED: u32 = 1;

/// An attempt that has not led to a session by then has failed.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Waits between attempts: short at first, because most losses are a restart; then rare.
const RETRY_GAPS: [Duration; 5] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(3),
];
const STEADY_RETRY_GAP: Duration = Duration::from_secs(5);

/// Where the member stands with its rendezvous.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// Asks at the given time.
    Waiting { until: Instant },
    /// The session is being made.
    Connecting { link: LinkId, until: Instant },
    /// The session is up; the program is making the channel secret.
    NeedsSecret { link: LinkId },
    /// The join is on its way.
    Joining { link: LinkId, until: Instant },
    /// In the channel.
    Joined { link: LinkId },
    /// There is no rendezvous.
    Serverless,
    /// This member is the rendezvous.
    Introducing,
    /// Left, refused, or given up.
    Ended,
}

impl State {
    pub(crate) fn link(self) -> Option<LinkId> {
        match self {
            Self::Connecting { link, .. }
            | Self::NeedsSecret { link }
            | Self::Joining { link, .. }
            | Self::Joined { link } => Some(link),
            Self::Waiting { .. } | Self::Serverless | Self::Introducing | Self::Ended => None,
        }
    }

    pub(crate) fn poll_timeout(self) -> Option<Instant> {
        match self {
            Self::Waiting { until } | Self::Connecting { until, .. } | Self::Joining { until, .. } => Some(until),
            Self::NeedsSecret { .. } | Self::Joined { .. } | Self::Serverless | Self::Introducing | Self::Ended => None,
        }
    }
}

/// Counts the failures since the last success.
#[derive(Debug, Default)]
pub(crate) struct Retry {
    failures: usize,
}

impl Retry {
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// How long to wait after one more failure.
    pub(crate) fn failed(&mut self) -> Duration {
        let gap = RETRY_GAPS.get(self.failures).copied().unwrap_or(STEADY_RETRY_GAP);
        self.failures += 1;
        gap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_rare_and_a_success_makes_them_quick_again() {
        let mut retry = Retry::default();
        let gaps: Vec<_> = (0..7).map(|_| retry.failed()).collect();
        assert!(gaps.is_sorted(), "{gaps:?}");
        assert_eq!(gaps.last(), Some(&STEADY_RETRY_GAP));
        retry.succeeded();
        assert_eq!(retry.failed(), RETRY_GAPS[0]);
    }
}
