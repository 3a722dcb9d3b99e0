//! One speaker in the mix: how loud it is played, and what is known of it beside its sound.

use std::time::Instant;

use wire::{
    PeerTag,
    voice::{Flags, Frame},
};

use crate::{Activity, Decode, Speaker, loudness::Loudness, mixer::REPORT_EVERY, ramp::Ramp};

/// Frames of one speaker in a second, above which they are not listened to. The shortest frames there are come 400 times.
const FRAMES_PER_SECOND: f64 = 800.0;
/// So many may come at once, as after an outage.
const BURST: f64 = 1600.0;

/// What is known of a speaker beside its sound.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Presence {
    /// The flags of its newest frame; none after the end of its stream.
    pub flags: Flags,
    /// Whether it is heard at this moment, or was a moment ago.
    pub is_talking: bool,
    /// How much louder it is made to be as loud as the others, in decibels.
    pub evened_db: f32,
    /// How many channels it is heard in.
    pub channels: usize,
}

pub(crate) struct Voiced<D> {
    pub(crate) peer: PeerTag,
    pub(crate) speaker: Speaker<D>,
    /// How loud it is wanted.
    gain: f32,
    ramp: Ramp,
    activity: Activity,
    loudness: Loudness,
    pub(crate) heard: Instant,
    pub(crate) report_at: Instant,
    pub(crate) has_news: bool,
    /// Stream, number and flags of the newest frame.
    newest: Option<(u8, u16, Flags)>,
    allowed: f64,
}

impl<D: Decode> Voiced<D> {
    pub(crate) fn new(peer: PeerTag, speaker: Speaker<D>, gain: f32, now: Instant) -> Self {
        Self {
            peer,
            speaker,
            gain,
            ramp: Ramp::at(gain),
            activity: Activity::default(),
            loudness: Loudness::default(),
            heard: now,
            report_at: now + REPORT_EVERY,
            has_news: false,
            newest: None,
            allowed: BURST,
        }
    }

    /// Takes a frame; false if there are far too many.
    pub(crate) fn push(&mut self, frame: &Frame<'_>, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.heard).as_secs_f64();
        self.allowed = (self.allowed + since * FRAMES_PER_SECOND).min(BURST);
        self.heard = self.heard.max(now);
        if self.allowed < 1.0 {
            return false;
        }
        self.allowed -= 1.0;
        self.has_news = true;
        let is_newer = |(stream, seq, _): (u8, u16, Flags)| {
            stream != frame.stream || frame.seq.wrapping_sub(seq).cast_signed() > 0
        };
        if self.newest.is_none_or(is_newer) {
            self.newest = Some((frame.stream, frame.seq, frame.flags));
        }
        self.speaker.push(frame, now);
        true
    }

    pub(crate) fn set_gain(&mut self, gain: f32) {
        self.gain = gain;
    }

    /// Adds its sound to the sum, which has so many channels: at least as many.
    pub(crate) fn mix(&mut self, sound: &[f32], sum: &mut [f32], channels: usize, is_evened: bool) {
        let power = sound.iter().map(|sample| sample * sample).sum::<f32>() / sound.len().max(1) as f32;
        let own = self.speaker.channels();
        let samples = sound.len() / own;
        if self.activity.note(power, samples) {
            self.loudness.note(power, samples);
        }
        self.ramp.aim(self.goal(is_evened));
        match (own, channels) {
            (1, 1) => self.ramp.mix::<1, 1>(sound, sum),
            (1, _) => self.ramp.mix::<1, 2>(sound, sum),
            _ => self.ramp.mix::<2, 2>(sound, sum),
        }
    }

    /// Lets time pass in which it is silent.
    pub(crate) fn rest(&mut self, samples: usize, is_evened: bool) {
        self.activity.note(0.0, samples);
        self.ramp.aim(self.goal(is_evened));
        self.ramp.arrive();
    }

    fn goal(&self, is_evened: bool) -> f32 {
        self.gain * if is_evened { 10_f32.powf(self.loudness.gain_db() / 20.0) } else { 1.0 }
    }

    pub(crate) fn presence(&self, is_evened: bool) -> Presence {
        let flags = self.newest.map_or(Flags::default(), |(.., flags)| flags);
        // A microphone that was off does not go on by the end of the stream.
        let flags = if flags.has(Flags::STREAM_END) { flags.without(Flags::RECORDING) } else { flags };
        let evened_db = if is_evened { self.loudness.gain_db() } else { 0.0 };
        Presence { flags, is_talking: self.activity.is_talking(), evened_db, channels: self.speaker.channels() }
    }
}
