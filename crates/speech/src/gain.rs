//! Makes quiet voices as loud as others, and lets none clip: the parts of WebRTC's second gain control, as `sonora` has
//! them, put together anew so that they can be told when to learn.

use sonora_agc2::adaptive_digital_gain_controller::{AdaptiveDigitalGainController, FrameInfo};
use sonora_agc2::common::{
    ADJACENT_SPEECH_FRAMES_THRESHOLD, SATURATION_PROTECTOR_INITIAL_HEADROOM_DB, float_s16_to_dbfs,
};
use sonora_agc2::limiter::Limiter;
use sonora_agc2::noise_level_estimator::NoiseLevelEstimator;
use sonora_agc2::saturation_protector::SaturationProtector;
use sonora_agc2::speech_level_estimator::{AdaptiveDigitalConfig, SpeechLevelEstimator};

use crate::stage::Treat;
use crate::{BLOCK, Block};

/// The parts want samples as loud as 16-bit integers.
const SCALE: f32 = 32_768.0;
/// So many blocks of voice in a row are one; shorter ones are noises.
const RUN: i32 = ADJACENT_SPEECH_FRAMES_THRESHOLD;
/// The loudest peaks of a voice come this close to full scale. A voice starts as loud as it is.
const CONFIG: AdaptiveDigitalConfig = AdaptiveDigitalConfig {
    headroom_db: 5.0,
    max_gain_db: 30.0,
    initial_gain_db: 0.0,
    max_gain_change_db_per_second: 6.0,
    max_output_noise_level_dbfs: -50.0,
};

#[derive(Debug)]
pub(crate) struct Gain {
    is_voice: bool,
    noise: NoiseLevelEstimator,
    level: SpeechLevelEstimator,
    peaks: SaturationProtector,
    controller: AdaptiveDigitalGainController,
    limiter: Limiter,
}

impl Gain {
    pub(crate) fn new() -> Self {
        Self {
            is_voice: false,
            noise: NoiseLevelEstimator::default(),
            level: SpeechLevelEstimator::new(&CONFIG, RUN),
            peaks: SaturationProtector::new(SATURATION_PROTECTOR_INITIAL_HEADROOM_DB, RUN),
            controller: AdaptiveDigitalGainController::new(CONFIG, RUN),
            limiter: Limiter::new(BLOCK),
        }
    }

    /// Says whether the next block is a voice from which to learn: of nothing else gets the gain larger.
    pub(crate) fn learn(&mut self, is_voice: bool) {
        self.is_voice = is_voice;
    }
}

impl Treat for Gain {
    fn treat(&mut self, block: &mut Block) {
        block.iter_mut().for_each(|sample| *sample *= SCALE);
        let peak = block.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
        let power = block.iter().map(|sample| sample * sample).sum::<f32>() / BLOCK as f32;
        let speech_probability = if self.is_voice { 1.0 } else { 0.0 };
        let noise_rms_dbfs = self.noise.analyze(&[block]);
        self.level.update(float_s16_to_dbfs(power.sqrt()), speech_probability);
        self.peaks.analyze(speech_probability, float_s16_to_dbfs(peak), self.level.level_dbfs());
        let info = FrameInfo {
            speech_probability,
            speech_level_dbfs: self.level.level_dbfs(),
            speech_level_reliable: self.level.is_confident(),
            noise_rms_dbfs,
            headroom_db: self.peaks.headroom_db(),
            limiter_envelope_dbfs: float_s16_to_dbfs(self.limiter.last_audio_level()),
        };
        self.controller.process(&info, &mut [block]);
        self.limiter.process(&mut [block]);
        block.iter_mut().for_each(|sample| *sample /= SCALE);
    }
}
