//! One's own voice on its way from the microphone to the encoder: treated, and held back by a gate.

use anyhow::Result;
use speech::{BLOCK, Gate, Onset, Processor, Settings, Verdict};
use voice::Packetizer;

use crate::far_end::Reference;
use crate::voice_settings::VoiceSettings;

/// While it is this likely that somebody begins to speak, no keep-alive takes the place of what may be the onset.
const MAYBE: f32 = 0.1;
/// A keep-alive waits no longer for that than this, in samples: 200 ms.
const MOST_WAIT: u64 = 9600;

/// What happens to frames before they are packets.
pub(crate) struct OwnVoice {
    settings: VoiceSettings,
    seen: u64,
    processor: Processor,
    reference: Option<Reference>,
    onset: Onset,
    /// Whether what comes before the gate opens belongs to what is said: not so when a key opens it.
    has_onsets: bool,
    is_open: bool,
}

impl OwnVoice {
    /// For frames of so many samples; without a reference there is no echo to cancel.
    pub(crate) fn new(settings: VoiceSettings, frame: usize, reference: Option<Reference>) -> Self {
        let processor = Processor::new(Settings::default());
        let onset = Onset::new(frame);
        let mut voice = Self { settings, seen: 0, processor, reference, onset, has_onsets: false, is_open: true };
        voice.follow_settings();
        voice
    }

    /// By how many samples what is sent lags behind what is heard, for all that is done to it.
    pub(crate) fn delay(&self) -> usize {
        (self.processor.delay().as_secs_f64() * f64::from(speech::RATE)).round() as usize
    }

    /// Takes a frame whose first sample is number `at` and sends what is to be sent of it, and of what was held back before
    /// it. Tells how many packets that were.
    pub(crate) fn pass(
        &mut self,
        frame: &mut [f32],
        at: u64,
        muted: bool,
        last: bool,
        packets: &mut Packetizer,
        send: &mut impl FnMut(&mut Packetizer) -> Result<()>,
    ) -> Result<u64> {
        let verdict = self.treat(frame);
        let mut sent = 0;
        let mut push = |packets: &mut Packetizer, frame: &mut [f32], at: u64, last: bool| -> Result<()> {
            if packets.push(frame, at, muted, last)? {
                sent += 1;
                send(packets)?;
            }
            Ok(())
        };
        let opens = verdict.is_open && !std::mem::replace(&mut self.is_open, verdict.is_open);
        packets.close(!verdict.is_open);
        if verdict.is_open {
            if opens && self.has_onsets {
                self.onset.open(packets.next());
            } else if opens {
                self.onset.clear();
            }
            while let Some((at, mut held)) = self.onset.release() {
                push(packets, &mut held, at, false)?;
                self.onset.recycle(held);
            }
        } else {
            self.onset.hold(at, frame);
            let may_begin = verdict.score > MAYBE && !packets.is_keepalive_due(at.saturating_sub(MOST_WAIT));
            if may_begin && packets.is_keepalive_due(at) && !last {
                return Ok(sent);
            }
        }
        push(packets, frame, at, last)?;
        Ok(sent)
    }

    fn treat(&mut self, frame: &mut [f32]) -> Verdict {
        if self.settings.are_of_music() {
            return Verdict { is_open: true, ..Verdict::default() };
        }
        self.follow_settings();
        self.processor.press(self.settings.is_pressed());
        let (blocks, rest) = frame.as_chunks_mut::<BLOCK>();
        let mut left = blocks.len();
        let mut verdict = Verdict::default();
        let mut add = |of: Verdict| {
            verdict.score = verdict.score.max(of.score);
            verdict.is_voice |= of.is_voice;
            verdict.is_open |= of.is_open;
        };
        for block in blocks {
            if let Some(reference) = &mut self.reference {
                reference.tell(&mut self.processor, left);
            }
            left -= 1;
            add(self.processor.process(block));
        }
        if !rest.is_empty() {
            add(self.processor.listen(rest));
        }
        verdict
    }

    fn follow_settings(&mut self) {
        let Some(settings) = self.settings.changed_since(&mut self.seen) else { return };
        self.processor.set(settings);
        self.has_onsets = settings.gate == Gate::Voice;
        if let Some(reference) = &mut self.reference {
            reference.want(self.processor.wants_render());
        }
    }
}
