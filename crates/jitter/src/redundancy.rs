use std::time::Instant;

use wire::voice::Report;

/// What a sender does for one receiver against loss.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Remedy {
    /// Only what the encoder puts into each packet (LBRR).
    #[default]
    None,
    /// A copy of the frame two before.
    Light,
    /// A copy of the frame three before: it survives longer gaps.
    Strong,
    /// Copies of two and four before.
    Full,
}

impl Remedy {
    /// How many frames before the carrying one each copy is.
    pub fn copies(self) -> &'static [u8] {
        match self {
            Self::None => &[],
            Self::Light => &[2],
            Self::Strong => &[3],
            Self::Full => &[2, 4],
        }
    }

    /// The loss in percent that the encoder should be told to prepare for.
    pub fn expected_loss(self) -> u8 {
        match self {
            Self::None | Self::Light => 5,
            Self::Strong => 15,
            Self::Full => 25,
        }
    }
}

/// Chooses the remedy for one receiver from its reports: soon when it gets worse, slowly when it gets better.
///
/// The encoder is one for all receivers: give it the greatest [`Remedy::expected_loss`] of all.
#[derive(Clone, Debug, Default)]
pub struct Redundancy {
    remedy: Remedy,
}

impl Redundancy {
    /// No remedy until a report asks for one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a report that the receiver sent.
    pub fn handle_report(&mut self, report: &Report, now: Instant) {
        let _ = (report, now);
    }

    /// What to do for this receiver.
    pub fn remedy(&self) -> Remedy {
        self.remedy
    }

    /// Whether loss comes with rising delay: the path is full, so send less before sending copies.
    pub fn is_congested(&self) -> bool {
        false
    }
}
