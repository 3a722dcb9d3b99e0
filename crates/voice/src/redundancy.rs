use std::time::{Duration, Instant};

use wire::voice::Report;

/// A remedy is taken when it was needed for this long ...
const WORSE_FOR: Duration = Duration::from_secs(1);
/// ... and given up when a weaker one would have done for this long.
const BETTER_FOR: Duration = Duration::from_secs(10);
/// A path that stays full gets less again after this long.
const STILL_FULL: Duration = Duration::from_secs(2);
/// Reports are averaged over about this many: 2 s.
const REPORTS: f32 = 10.0;
/// Delay variation this far above its lowest is a queue that fills.
const QUEUE_MS: f32 = 60.0;
/// Less loss than this, in percent, is not heard.
const UNHEARD: f32 = 0.3;
/// From this loss on, one copy is too often lost as well, and two are worth the 20 ms or more that the receiver waits longer ...
const MANY: f32 = 7.0;
/// ... and from this one on, two are.
const MOST: f32 = 14.0;
/// Nothing but what tells of a long time helps.
const EXTREME: f32 = 40.0;
/// Gaps so many times as long as those of packets that get lost one by one are no coincidence.
const BURSTS: f32 = 1.5;
/// Longer ones are outages, which no copy bridges.
const OUTAGES: f32 = 4.0;

/// What a sender does for one receiver against loss.
///
/// A copy has to come from beyond the gap that it fills, and the receiver waits that long for it. The encoder's own
/// remedies, LBRR and DRED, take bits from every frame for every receiver; they pay only where many packets are lost,
/// and only in frames of 20 ms, which leave the bits for them (`scripts/bench sound` has the figures).
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Remedy {
    /// No copies.
    #[default]
    None,
    /// A copy of a frame shortly before, against single losses.
    Light,
    /// A copy of a frame further back, against gaps.
    Wide,
    /// Two copies of frames shortly before, against many single losses.
    Dense,
    /// The same and LBRR.
    Heavy,
    /// Two copies of which one is of a frame further back, against many gaps.
    DenseWide,
    /// The same and LBRR.
    HeavyWide,
    /// A copy, LBRR, and DRED, against outages: after one, the missing words are told of.
    Deep,
}

impl Remedy {
    /// How many frames before the carrying one each copy is.
    pub fn copies(self) -> &'static [u8] {
        match self {
            Self::None => &[],
            Self::Light => &[2],
            Self::Wide | Self::Deep => &[4],
            Self::Dense => &[1, 2],
            // LBRR tells of the one before.
            Self::Heavy => &[2, 3],
            Self::DenseWide | Self::HeavyWide => &[2, 4],
        }
    }

    /// The loss in percent that the encoder should be told to prepare for if something was lost.
    pub fn expected_loss(self) -> u8 {
        match self {
            Self::None => 5,
            Self::Light | Self::Wide | Self::Dense | Self::DenseWide => 0,
            Self::Heavy | Self::HeavyWide => 10,
            Self::Deep => 25,
        }
    }

    /// Whether it takes frames of 20 ms.
    pub fn is_long(self) -> bool {
        self >= Self::Dense
    }

    fn against(loss_percent: f32, burst: f32) -> Self {
        let single = 1.0 / (1.0 - loss_percent / 100.0).max(0.1);
        let has_gaps = burst >= BURSTS * single;
        match () {
            () if loss_percent < UNHEARD => Self::None,
            () if loss_percent >= EXTREME || burst >= OUTAGES => Self::Deep,
            () if loss_percent >= MOST => {
                if has_gaps {
                    Self::HeavyWide
                } else {
                    Self::Heavy
                }
            }
            () if loss_percent >= MANY => {
                if has_gaps {
                    Self::DenseWide
                } else {
                    Self::Dense
                }
            }
            () if has_gaps => Self::Wide,
            () => Self::Light,
        }
    }
}

/// How much less a path gets that is full: loss comes with rising delay. Sending more against that loss would make more.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Thrift {
    /// It is not full.
    #[default]
    None,
    /// Frames of 20 ms, fewer bits: half of the packets.
    Less,
    /// Still fewer bits.
    Least,
    /// And no copies.
    Bare,
}

impl Thrift {
    /// Bits per second that the encoder gets at most.
    pub fn bitrate(self) -> u32 {
        match self {
            Self::None => u32::MAX,
            Self::Less => 24_000,
            Self::Least | Self::Bare => 16_000,
        }
    }

    fn more(self) -> Self {
        match self {
            Self::None => Self::Less,
            Self::Less => Self::Least,
            Self::Least | Self::Bare => Self::Bare,
        }
    }

    fn fewer(self) -> Self {
        match self {
            Self::None | Self::Less => Self::None,
            Self::Least => Self::Less,
            Self::Bare => Self::Least,
        }
    }
}

/// Chooses the remedy for one receiver from its reports: soon when it gets worse, slowly when it gets better.
///
/// The encoder is one for all receivers: give it the greatest [`Remedy::expected_loss`] of those that lose something.
#[derive(Clone, Debug, Default)]
pub struct Redundancy {
    remedy: Remedy,
    thrift: Thrift,
    loss: f32,
    burst: Option<f32>,
    jitter: f32,
    calm_jitter: Option<f32>,
    /// Since when a stronger or a weaker remedy has been the right one.
    stronger_since: Option<Instant>,
    weaker_since: Option<Instant>,
    /// When the thrift last changed, or the path was last full.
    thrift_at: Option<Instant>,
}

impl Redundancy {
    /// No remedy until a report asks for one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a report that came at `now`.
    pub fn handle_report(&mut self, report: &Report, now: Instant) {
        self.average(report);
        self.follow_queue(now);
        let right = Remedy::against(self.loss, self.burst.unwrap_or(1.0));
        if right > self.remedy {
            self.weaker_since = None;
            let since = *self.stronger_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= WORSE_FOR && !self.is_congested() {
                (self.remedy, self.stronger_since) = (right, None);
            }
        } else if right < self.remedy {
            self.stronger_since = None;
            let since = *self.weaker_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= BETTER_FOR {
                (self.remedy, self.weaker_since) = (right, None);
            }
        } else {
            (self.stronger_since, self.weaker_since) = (None, None);
        }
    }

    /// What to do for this receiver.
    pub fn remedy(&self) -> Remedy {
        self.remedy
    }

    /// How much less to send because its path is full.
    pub fn thrift(&self) -> Thrift {
        self.thrift
    }

    /// Whether loss comes with rising delay: the path is full, so send less before sending copies.
    pub fn is_congested(&self) -> bool {
        self.loss >= UNHEARD && self.calm_jitter.is_some_and(|calm| self.jitter > calm + QUEUE_MS)
    }

    fn follow_queue(&mut self, now: Instant) {
        let since = self.thrift_at.map(|at| now.saturating_duration_since(at));
        let next = if self.is_congested() {
            if since.is_some_and(|since| since < STILL_FULL) {
                return;
            }
            self.thrift.more()
        } else if since.is_some_and(|since| since >= BETTER_FOR) {
            self.thrift.fewer()
        } else {
            return;
        };
        self.thrift = next;
        self.thrift_at = (next > Thrift::None).then_some(now);
    }

    fn average(&mut self, report: &Report) {
        let towards = |average: &mut f32, value: f32| *average += (value - *average) / REPORTS;
        towards(&mut self.loss, f32::from(report.loss_permille.min(1000)) / 10.0);
        if report.loss_permille > 0 {
            let burst = f32::from(report.burst_tenths) / 10.0;
            towards(self.burst.get_or_insert(burst), burst);
        }
        let jitter = f32::from(report.jitter_ms);
        let calm = self.calm_jitter.get_or_insert(jitter);
        *calm = jitter.min(*calm + (jitter - *calm) / 1000.0);
        towards(&mut self.jitter, jitter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Receiver {
        now: Instant,
        policy: Redundancy,
    }

    impl Receiver {
        #[expect(clippy::disallowed_methods, reason = "any start of the virtual time will do")]
        fn new() -> Self {
            Self { now: Instant::now(), policy: Redundancy::new() }
        }

        /// The remedy after `seconds` in which every report says the same.
        fn after(&mut self, seconds: u32, loss_permille: u16, burst_tenths: u16, jitter_ms: u16) -> Remedy {
            for _ in 0..seconds * 5 {
                self.now += Duration::from_millis(200);
                self.policy
                    .handle_report(&Report { loss_permille, burst_tenths, jitter_ms, ..Report::default() }, self.now);
            }
            self.policy.remedy()
        }
    }

    #[test]
    fn the_remedy_fits_the_loss() {
        let table = [
            (2, 10, Remedy::None),
            (30, 10, Remedy::Light),
            (50, 11, Remedy::Light),
            (30, 30, Remedy::Wide),
            (100, 11, Remedy::Dense),
            (100, 30, Remedy::DenseWide),
            (300, 14, Remedy::Heavy),
            (300, 30, Remedy::HeavyWide),
            (500, 20, Remedy::Deep),
            (10, 60, Remedy::Deep),
        ];
        for (loss, burst, remedy) in table {
            assert_eq!(Receiver::new().after(20, loss, burst, 10), remedy, "{loss} permille in gaps of {burst} tenths");
        }
    }

    #[test]
    fn it_comes_soon_and_goes_slowly() {
        let mut receiver = Receiver::new();
        assert_eq!(receiver.after(1, 100, 11, 10), Remedy::None);
        assert!(receiver.after(1, 100, 11, 10) > Remedy::None);
        assert_eq!(receiver.after(9, 100, 11, 10), Remedy::Dense);
        assert_eq!(receiver.after(10, 0, 0, 10), Remedy::Dense);
        assert_eq!(receiver.after(30, 0, 0, 10), Remedy::None);
    }

    #[test]
    fn a_single_loss_changes_nothing() {
        let mut receiver = Receiver::new();
        receiver
            .policy
            .handle_report(&Report { loss_permille: 50, burst_tenths: 10, ..Report::default() }, receiver.now);
        assert_eq!(receiver.after(10, 0, 0, 10), Remedy::None);
    }

    #[test]
    fn a_full_path_gets_no_more_copies() {
        let mut receiver = Receiver::new();
        receiver.after(10, 0, 0, 10);

        assert_eq!(receiver.after(10, 100, 10, 150), Remedy::None);
        assert!(receiver.policy.is_congested());
    }

    #[test]
    fn a_full_path_gets_less_and_less_and_more_again_when_it_is_not_full() {
        let mut receiver = Receiver::new();
        receiver.after(10, 0, 0, 10);
        receiver.after(10, 100, 11, 10);
        assert_eq!((receiver.policy.thrift(), receiver.policy.remedy()), (Thrift::None, Remedy::Dense));

        let mut seen = vec![Thrift::None];
        for _ in 0..60 {
            receiver.after(1, 100, 11, 150);
            seen.push(receiver.policy.thrift());
        }
        for _ in 0..60 {
            receiver.after(1, 0, 0, 10);
            seen.push(receiver.policy.thrift());
        }

        seen.dedup();
        let (up, down) = ([Thrift::Less, Thrift::Least, Thrift::Bare], [Thrift::Least, Thrift::Less, Thrift::None]);
        assert_eq!(seen, [&[Thrift::None][..], &up, &down].concat());
    }
}
