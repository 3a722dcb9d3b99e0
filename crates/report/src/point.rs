//! What is known of one stretch of time.

use wire::agent::Path;

/// What is silent, in -dBov.
pub(crate) const SILENCE: u8 = 127;

/// A mean that grows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    pub(crate) fn note(&mut self, value: f64) {
        self.sum += value;
        self.count = self.count.saturating_add(1);
    }

    pub(crate) fn get(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / f64::from(self.count))
    }

    fn merge(&mut self, other: Self) {
        self.sum += other.sum;
        self.count = self.count.saturating_add(other.count);
    }
}

/// What grows while somebody talks; of a stretch, by how much.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    /// Frames that came, or that the network lost.
    pub(crate) frames: u64,
    pub(crate) lost: u64,
    pub(crate) late: u64,
    pub(crate) from_next: u64,
    pub(crate) from_copy: u64,
    pub(crate) deep_ms: u64,
    pub(crate) concealed_ms: u64,
    pub(crate) played_ms: u64,
}

impl Counts {
    fn each(self, other: Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            frames: of(self.frames, other.frames),
            lost: of(self.lost, other.lost),
            late: of(self.late, other.late),
            from_next: of(self.from_next, other.from_next),
            from_copy: of(self.from_copy, other.from_copy),
            deep_ms: of(self.deep_ms, other.deep_ms),
            concealed_ms: of(self.concealed_ms, other.concealed_ms),
            played_ms: of(self.played_ms, other.played_ms),
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        self.each(other, u64::saturating_add)
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        self.each(earlier, u64::saturating_sub)
    }
}

/// One peer in one stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    /// Which stretch, counted from the start of the call.
    pub(crate) slot: u32,
    pub(crate) path: Path,
    pub(crate) counts: Counts,
    /// All in milliseconds.
    pub(crate) rtt: Mean,
    pub(crate) waits: Mean,
    pub(crate) target: Mean,
    pub(crate) jitter: Mean,
    /// The loudest, in -dBov.
    pub(crate) level: u8,
    pub(crate) is_muted: bool,
    /// What the peer sees of our voice: loss and late frames in percent, made up sound in milliseconds.
    pub(crate) their_loss: Mean,
    pub(crate) their_late: Mean,
    pub(crate) their_concealed_ms: u64,
}

impl Point {
    pub(crate) fn new(slot: u32, path: Path) -> Self {
        Self {
            slot,
            path,
            counts: Counts::default(),
            rtt: Mean::default(),
            waits: Mean::default(),
            target: Mean::default(),
            jitter: Mean::default(),
            level: SILENCE,
            is_muted: false,
            their_loss: Mean::default(),
            their_late: Mean::default(),
            their_concealed_ms: 0,
        }
    }

    fn merge(&mut self, later: &Self) {
        self.path = later.path;
        self.counts = self.counts.plus(later.counts);
        let means = [
            (&mut self.rtt, later.rtt),
            (&mut self.waits, later.waits),
            (&mut self.target, later.target),
            (&mut self.jitter, later.jitter),
            (&mut self.their_loss, later.their_loss),
            (&mut self.their_late, later.their_late),
        ];
        for (mean, other) in means {
            mean.merge(other);
        }
        self.level = self.level.min(later.level);
        self.is_muted = later.is_muted;
        self.their_concealed_ms = self.their_concealed_ms.saturating_add(later.their_concealed_ms);
    }
}

/// Halves the number of stretches: each is twice as long.
pub(crate) fn halve(points: &mut Vec<Point>) {
    let mut halved: Vec<Point> = Vec::with_capacity(points.len() / 2 + 1);
    for point in points.drain(..) {
        let point = Point { slot: point.slot / 2, ..point };
        match halved.last_mut() {
            Some(last) if last.slot == point.slot => last.merge(&point),
            _ => halved.push(point),
        }
    }
    *points = halved;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_loses_no_count_no_maximum_and_no_gap() {
        let mut points: Vec<Point> = [0, 1, 2, 7].map(|slot| Point::new(slot, Path::Direct)).into();
        for (n, point) in (1..).zip(&mut points) {
            point.counts.lost = n;
            point.level = 10 * n as u8;
            point.rtt.note(n as f64);
        }

        halve(&mut points);

        let seen: Vec<_> = points.iter().map(|p| (p.slot, p.counts.lost, p.level, p.rtt.get())).collect();
        assert_eq!(seen, [(0, 3, 10, Some(1.5)), (1, 3, 30, Some(3.0)), (3, 4, 40, Some(4.0))]);
    }
}
