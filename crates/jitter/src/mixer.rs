use std::{
    fmt,
    time::{Duration, Instant},
};

use wire::{
    DecodeError, PeerTag,
    voice::{Report, Voice},
};

use crate::{
    Config, Decode, Presence, Speaker, Stats, limiter::Limiter, pcm::MOST_CHANNELS, ramp::Ramp, voiced::Voiced,
};

pub(crate) const REPORT_EVERY: Duration = Duration::from_millis(200);
/// A speaker of whom nothing came for this long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// Room for the speaker being mixed; longer pulls are cut into such parts.
const BLOCK: usize = 960;
const MAX_GAIN: f32 = 4.0;
/// Gains that are remembered.
const MOST_GAINS: usize = 256;

/// All remote voices, summed.
pub struct Mixer<D> {
    config: Config,
    make_decoder: Box<dyn FnMut() -> D + Send>,
    voices: Vec<Voiced<D>>,
    gains: Vec<(PeerTag, f32)>,
    /// How loud all of them are.
    whole: Ramp,
    is_evened: bool,
    limiter: Limiter,
    sound: Vec<f32>,
}

/// The sound of one speaker, before its gain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sound<'a> {
    /// 48 kHz, interleaved.
    pub samples: &'a [f32],
    /// As many as the speaker sends, and as are played.
    pub channels: usize,
}

/// What a datagram of the voice lane was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heard {
    /// A frame; its speaker has it.
    Frame,
    /// What the peer sees of our own voice.
    Report(Report),
    /// A frame of one speaker too many, or of one that floods.
    Refused,
}

/// What a pull of the mixer gave.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mixed {
    /// Speakers that were heard.
    pub speakers: usize,
    /// Samples that were made up, over all speakers.
    pub concealed: usize,
    /// Whether the limiter had to lower the sum.
    pub limited: bool,
}

impl<D: Decode> Mixer<D> {
    /// Most speakers at a time; when it is reached, the one that has been silent the longest gives way.
    pub const MAX_SPEAKERS: usize = 64;

    /// A mixer that makes a decoder for each new speaker.
    pub fn new(config: Config, make_decoder: impl FnMut() -> D + Send + 'static) -> Self {
        Self {
            config,
            make_decoder: Box::new(make_decoder),
            voices: Vec::new(),
            gains: Vec::new(),
            whole: Ramp::at(1.0),
            is_evened: false,
            limiter: Limiter::new(),
            sound: vec![0.0; BLOCK * MOST_CHANNELS],
        }
    }

    /// Takes a datagram of the voice lane that came from `peer` at `now`.
    ///
    /// # Errors
    /// [`DecodeError`] if it is no voice packet.
    pub fn push(&mut self, peer: PeerTag, datagram: &[u8], now: Instant) -> Result<Heard, DecodeError> {
        let frame = match Voice::from_bytes(datagram)? {
            Voice::Report(report) => return Ok(Heard::Report(report)),
            Voice::Frame(frame) => frame,
        };
        let Some(voice) = self.voice(peer, now) else { return Ok(Heard::Refused) };
        Ok(if voice.push(&frame, now) { Heard::Frame } else { Heard::Refused })
    }

    /// Fills `out` with the sum of all speakers, any number of samples at 48 kHz, in as many channels as its speakers' `Config`
    /// says, interleaved. Who sends one channel is heard in the middle.
    pub fn pull(&mut self, out: &mut [f32], now: Instant) -> Mixed {
        self.pull_tapped(out, now, |_, _| ())
    }

    /// As [`Mixer::pull`], and shows each speaker's own sound, before its gain, unless it is silent; of a long pull, in
    /// several parts.
    pub fn pull_tapped(&mut self, out: &mut [f32], now: Instant, mut tap: impl FnMut(PeerTag, Sound<'_>)) -> Mixed {
        let channels = self.config.channels();
        self.voices.retain(|voice| now.saturating_duration_since(voice.heard) < FORGOTTEN);
        let mut mixed = Mixed::default();
        out.fill(0.0);
        for voice in &mut self.voices {
            let mut is_heard = false;
            for part in out.chunks_mut(BLOCK * channels) {
                let samples = part.len() / channels;
                let own = voice.speaker.channels();
                let sound = &mut self.sound[..samples * own];
                let pulled = voice.speaker.pull(sound, now);
                if pulled.silent {
                    voice.rest(samples, self.is_evened);
                    continue;
                }
                is_heard = true;
                mixed.concealed += pulled.concealed;
                tap(voice.peer, Sound { samples: sound, channels: own });
                voice.mix(sound, part, channels, self.is_evened);
            }
            mixed.speakers += usize::from(is_heard);
        }
        self.whole.scale(out, channels);
        mixed.limited = self.limiter.limit(out, channels);
        mixed
    }

    /// The next report that is due; ask until there is none. Of a peer that sent nothing since the last one, there is none.
    pub fn poll_report(&mut self, now: Instant) -> Option<(PeerTag, Report)> {
        let voice = self.voices.iter_mut().find(|voice| voice.has_news && voice.report_at <= now)?;
        voice.report_at = now + REPORT_EVERY;
        voice.has_news = false;
        Some((voice.peer, voice.speaker.report()))
    }

    /// Sets how loud a speaker is, as a factor from 0 to 4 (+12 dB); it lasts until the peer is removed, and may be set
    /// before it speaks.
    pub fn set_gain(&mut self, peer: PeerTag, gain: f32) {
        let gain = if gain.is_finite() { gain.clamp(0.0, MAX_GAIN) } else { 1.0 };
        self.gains.retain(|(of, _)| *of != peer);
        if gain != 1.0 && self.gains.len() < MOST_GAINS {
            self.gains.push((peer, gain));
        }
        if let Some(voice) = self.voices.iter_mut().find(|voice| voice.peer == peer) {
            voice.set_gain(gain);
        }
    }

    /// Brings all speakers to about the same loudness, -20 dBFS, by at most 12 dB, or no longer does.
    pub fn even_out(&mut self, is_evened: bool) {
        self.is_evened = is_evened;
    }

    /// Whether it does that.
    pub fn is_evened(&self) -> bool {
        self.is_evened
    }

    /// Lets nobody be heard, or everybody again. Packets are played as before, so that sound is back at once.
    pub fn deafen(&mut self, is_deaf: bool) {
        self.whole.aim(if is_deaf { 0.0 } else { 1.0 });
    }

    /// Forgets a speaker, as when its peer has left.
    pub fn remove(&mut self, peer: PeerTag) {
        self.voices.retain(|voice| voice.peer != peer);
        self.gains.retain(|(of, _)| *of != peer);
    }

    /// What was seen and done, for each speaker.
    pub fn stats(&self) -> impl Iterator<Item = (PeerTag, Stats)> + '_ {
        self.voices.iter().map(|voice| (voice.peer, voice.speaker.stats()))
    }

    /// What is known of each speaker beside its sound.
    pub fn presences(&self) -> impl Iterator<Item = (PeerTag, Presence)> + '_ {
        self.voices.iter().map(|voice| (voice.peer, voice.presence(self.is_evened)))
    }

    /// The speaker of `peer`, made if need be; `None` if all speakers there may be are speaking.
    fn voice(&mut self, peer: PeerTag, now: Instant) -> Option<&mut Voiced<D>> {
        if let Some(index) = self.voices.iter().position(|voice| voice.peer == peer) {
            return Some(&mut self.voices[index]);
        }
        if self.voices.len() >= Self::MAX_SPEAKERS {
            let silent = self.voices.iter().enumerate().filter(|(_, voice)| voice.speaker.is_idle());
            let (longest, _) = silent.min_by_key(|(_, voice)| voice.heard)?;
            self.voices.swap_remove(longest);
        }
        let speaker = Speaker::new((self.make_decoder)(), self.config);
        let gain = self.gains.iter().find(|(of, _)| *of == peer).map_or(1.0, |(_, gain)| *gain);
        self.voices.push(Voiced::new(peer, speaker, gain, now));
        self.voices.last_mut()
    }
}

impl<D> fmt::Debug for Mixer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mixer").field("speakers", &self.voices.len()).finish_non_exhaustive()
    }
}
