//! The stages that work on split bands, as `sonora` has them: echo cancellation and noise suppression.

use std::fmt;
use std::time::Duration;

use sonora::config::{EchoCanceller, MaxProcessingRate, NoiseSuppression, NoiseSuppressionLevel, Pipeline};
use sonora::{AudioProcessing, Config, StreamConfig};

use crate::stage::Treat;
use crate::{BLOCK, Block, RATE};

/// An echo canceller or a noise suppressor.
pub(crate) struct Apm(AudioProcessing);

impl fmt::Debug for Apm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Apm").finish_non_exhaustive()
    }
}

impl Apm {
    /// Cancels echo, and takes noise away as well if that is wanted: together they split the bands but once.
    pub(crate) fn canceller(and_noise: bool) -> Self {
        let noise_suppression = and_noise.then(noise);
        Self::new(Config { echo_canceller: Some(EchoCanceller::default()), noise_suppression, ..Config::default() })
    }

    pub(crate) fn suppressor() -> Self {
        Self::new(Config { noise_suppression: Some(noise()), ..Config::default() })
    }

    fn new(config: Config) -> Self {
        // At the default rate all sound above 16 kHz would be gone.
        let pipeline = Pipeline {
            maximum_internal_processing_rate: MaxProcessingRate::Rate48kHz,
            multi_channel_render: false,
            multi_channel_capture: false,
            ..Pipeline::default()
        };
        let mono = StreamConfig::new(RATE, 1);
        let config = Config { pipeline, ..config };
        Self(AudioProcessing::builder().config(config).capture_config(mono).render_config(mono).build())
    }

    /// Takes what is played, before the microphone can hear it.
    pub(crate) fn render(&mut self, block: &Block, ahead: Duration) {
        let mut unchanged = [0.0; BLOCK];
        // Both refuse nothing but formats and delays that are never given here; the delay is clamped.
        let _ = self.0.set_stream_delay_ms(i32::try_from(ahead.as_millis()).unwrap_or(i32::MAX));
        let _ = self.0.process_render_f32(&[block], &mut [&mut unchanged]);
    }
}

impl Treat for Apm {
    fn treat(&mut self, block: &mut Block) {
        let mut treated = [0.0; BLOCK];
        if self.0.process_capture_f32(&[block], &mut [&mut treated]).is_ok() {
            *block = treated;
        }
    }
}

fn noise() -> NoiseSuppression {
    NoiseSuppression { level: NoiseSuppressionLevel::High, ..NoiseSuppression::default() }
}
