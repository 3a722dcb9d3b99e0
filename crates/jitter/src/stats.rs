use std::time::Duration;

/// What a speaker has seen and done since it began; counts only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Frames that came.
    pub received: u64,
    /// Frames that the network lost.
    pub lost: u64,
    /// Frames that came after their time.
    pub late: u64,
    /// Frames that had come before.
    pub duplicate: u64,
    /// Frames that made no sense: no duration, or far away from all others.
    pub malformed: u64,
    /// Lost or late frames that a copy brought back.
    pub from_copy: u64,
    /// Lost or late frames that the packet after them brought back.
    pub from_next: u64,
    /// Lost samples of which a later packet told (DRED).
    pub deep: u64,
    /// Samples that were made up.
    pub concealed: u64,
    /// Samples that were played, made up ones included, silence between talkspurts not.
    pub played: u64,
    /// Times that sound was shortened to lower the delay.
    pub shortened: u64,
    /// Times that sound was stretched to raise the delay.
    pub stretched: u64,
    /// Times that everything began anew: another stream, or a jump in numbers or time.
    pub restarts: u64,
    /// What the buffer aims at.
    pub target: Duration,
    /// How long the sound being played waited, beyond the network at its fastest.
    pub delay: Duration,
    /// The sender's clock against the loudspeaker's, in parts per million; 0 until sure.
    pub drift_ppm: f32,
}
