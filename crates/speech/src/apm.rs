//! The stages that work on split bands: echo cancellation and noise suppression, both WebRTC's, as `sonora` has them. They are
//! put together here and not by `sonora`: its way of splitting takes four times as long, which is a third of everything, and
//! its way of cutting delays by 2 ms more.

use std::fmt;
use std::time::Duration;

use sonora_aec3::block::Block as Cut;
use sonora_aec3::block_processor::BlockProcessor;
use sonora_aec3::common::BLOCK_SIZE;
use sonora_aec3::config::EchoCanceller3Config;
use sonora_ns::config::{NsConfig, SuppressionLevel};
use sonora_ns::noise_suppressor::NoiseSuppressor;

use crate::bands::{self, BANDS, Bands, Joiner, PART, Splitter};
use crate::high_pass::HighPass;
use crate::stage::Treat;
use crate::{Block, RATE};

/// All parts want samples as loud as 16-bit integers.
const SCALE: f32 = 32_768.0;
/// Louder than this, the microphone clips.
const CLIPPING: f32 = 32_700.0;
/// Samples of a band that may wait for a whole cut when a block of 10 ms ends: they are given back later by as much.
const LEFT: usize = BLOCK_SIZE / 2;
/// By how much a stage's output lags behind its input, in samples: a canceller's, ...
pub(crate) const ECHO_DELAY: usize = bands::DELAY + BANDS * LEFT;
/// ... and by how much the suppressor's windows overlap.
const OVERLAP: usize = BANDS * 96;
pub(crate) const NOISE_DELAY: usize = bands::DELAY + OVERLAP;
pub(crate) const BOTH_DELAY: usize = ECHO_DELAY + OVERLAP;

/// An echo canceller, a noise suppressor, or both: together they split the bands but once.
pub(crate) struct Apm {
    splitter: Splitter,
    joiner: Joiner,
    canceller: Option<Canceller>,
    suppressor: Option<Suppressor>,
}

/// What takes echo away.
struct Canceller {
    processor: BlockProcessor,
    /// What is played, split on its own.
    splitter: Splitter,
    played: Cutter,
    heard: Cutter,
    /// What was treated and not given back yet.
    treated: [Vec<f32>; BANDS],
    cut: Cut,
}

/// What takes noise away.
struct Suppressor {
    /// There is no voice down there, and noise would be found there.
    high_pass: HighPass,
    inner: NoiseSuppressor,
}

/// Cuts blocks of 10 ms to the 4 ms that the canceller works on.
#[derive(Default)]
struct Cutter {
    waiting: [Vec<f32>; BANDS],
}

impl fmt::Debug for Apm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apm").finish_non_exhaustive()
    }
}

impl Apm {
    /// Cancels echo, and takes noise away as well if that is wanted.
    pub(crate) fn canceller(and_noise: bool) -> Self {
        Self { canceller: Some(Canceller::new()), ..Self::new(and_noise) }
    }

    pub(crate) fn suppressor() -> Self {
        Self::new(true)
    }

    fn new(has_suppressor: bool) -> Self {
        let suppressor = has_suppressor.then(Suppressor::new);
        Self { splitter: Splitter::new(), joiner: Joiner::new(), canceller: None, suppressor }
    }

    /// Takes what is played, before the microphone can hear it.
    pub(crate) fn render(&mut self, block: &Block, ahead: Duration) {
        if let Some(canceller) = &mut self.canceller {
            canceller.render(block, ahead);
        }
    }
}

impl Treat for Apm {
    fn treat(&mut self, block: &mut Block) {
        let scaled = block.map(|sample| sample * SCALE);
        let mut bands = self.splitter.split(&scaled);
        // Noise is learnt from what was heard, for the canceller makes noise of its own.
        if let Some(suppressor) = &mut self.suppressor {
            suppressor.learn(&mut bands);
        }
        if let Some(canceller) = &mut self.canceller {
            let is_clipped = scaled.iter().any(|sample| sample.abs() >= CLIPPING);
            canceller.cancel(&mut bands, is_clipped);
        }
        if let Some(suppressor) = &mut self.suppressor {
            suppressor.suppress(&mut bands);
        }
        *block = self.joiner.join(&bands).map(|sample| (sample / SCALE).clamp(-1.0, 1.0));
    }
}

impl Canceller {
    fn new() -> Self {
        let treated = std::array::from_fn(|_| {
            let mut silence = Vec::with_capacity(LEFT + PART + BLOCK_SIZE);
            silence.resize(LEFT, 0.0);
            silence
        });
        Self {
            processor: BlockProcessor::new(&config(), RATE as usize, 1, 1),
            splitter: Splitter::new(),
            played: Cutter::default(),
            heard: Cutter::default(),
            treated,
            cut: Cut::new(BANDS, 1),
        }
    }

    fn render(&mut self, block: &Block, ahead: Duration) {
        self.processor.set_audio_buffer_delay(i32::try_from(ahead.as_millis()).unwrap_or(i32::MAX).min(500));
        self.played.push(&self.splitter.split(&block.map(|sample| sample * SCALE)));
        while self.played.cut(&mut self.cut) {
            self.processor.buffer_render(&self.cut);
        }
    }

    fn cancel(&mut self, bands: &mut Bands, is_clipped: bool) {
        self.heard.push(bands);
        while self.heard.cut(&mut self.cut) {
            self.processor.process_capture(false, is_clipped, None, &mut self.cut);
            for (band, treated) in self.treated.iter_mut().enumerate() {
                treated.extend_from_slice(self.cut.view(band, 0));
            }
        }
        for (band, treated) in bands.iter_mut().zip(&mut self.treated) {
            band.copy_from_slice(&treated[..PART]);
            treated.drain(..PART);
        }
    }
}

impl Cutter {
    fn push(&mut self, bands: &Bands) {
        for (waiting, band) in self.waiting.iter_mut().zip(bands) {
            waiting.extend_from_slice(band);
        }
    }

    /// Whether there was enough for another cut.
    fn cut(&mut self, cut: &mut Cut) -> bool {
        if self.waiting[0].len() < BLOCK_SIZE {
            return false;
        }
        for (band, waiting) in self.waiting.iter_mut().enumerate() {
            cut.view_mut(band, 0).copy_from_slice(&waiting[..BLOCK_SIZE]);
            waiting.drain(..BLOCK_SIZE);
        }
        true
    }
}

impl Suppressor {
    fn new() -> Self {
        let config = NsConfig { target_level: SuppressionLevel::K18dB };
        Self { high_pass: HighPass::new(), inner: NoiseSuppressor::new_with_bands(config, BANDS) }
    }

    fn learn(&mut self, bands: &mut Bands) {
        self.high_pass.treat(&mut bands[0]);
        self.inner.analyze(&bands[0]);
    }

    fn suppress(&mut self, bands: &mut Bands) {
        let [low, upper @ ..] = bands;
        self.inner.process(low);
        let gain = self.inner.upper_band_gain();
        for (index, band) in upper.iter_mut().enumerate() {
            self.inner.process_upper_band(band, index, gain);
        }
    }
}

/// How echo is looked for. One that comes before the loudest one is not: where clocks drift apart it is found where there is
/// none, and with it all that was learnt is lost. To half a millisecond is exact enough for what is cut to 4 ms, and a
/// fourth of the work.
fn config() -> EchoCanceller3Config {
    let mut config = EchoCanceller3Config::default();
    config.delay.detect_pre_echo = false;
    config.delay.down_sampling_factor = 8;
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BLOCK;

    #[test]
    fn every_block_is_cut_in_time() {
        let mut cutter = Cutter::default();
        let mut cut = Cut::new(BANDS, 1);
        let (mut given, mut taken) = (LEFT, 0);
        let mut next = 0.0;
        for _ in 0..7 {
            cutter.push(&std::array::from_fn(|_| std::array::from_fn(|n| (taken + n) as f32)));
            while cutter.cut(&mut cut) {
                for sample in cut.view(BANDS - 1, 0) {
                    assert_eq!(*sample, next);
                    next += 1.0;
                }
                given += BLOCK_SIZE;
            }
            taken += BLOCK / BANDS;
            assert!((taken..taken + BLOCK_SIZE).contains(&given), "{given} of {taken}");
        }
    }
}
