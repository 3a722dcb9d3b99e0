//! The end of an echo: when the loudspeaker falls silent, the canceller soon forgets what a large room still says.

use crate::{BLOCK, Block, power};

/// While this little (-15 dB) is left of what the microphone hears, that is echo alone.
const ECHO_ALONE: f32 = 0.03;
/// An echo dies away by at least half a decibel in a block: 60 dB in 1.2 s.
const DECAY: f32 = 0.89;
/// What is at most so much louder (5 dB) than the echo should be is echo.
const MARGIN: f32 = 3.0;
/// What is left of it then: -20 dB.
const LEFT: f32 = 0.1;
/// What is louder makes it forget the echo this fast: by 3 dB a block.
const FORGET: f32 = 0.5;
/// Over so many blocks a dying echo may flutter.
const FLUTTER: usize = 8;
/// While the loudspeaker plays, and so many blocks after it, the canceller knows best.
const FIRST: u32 = 5;
/// An echo is no longer than this many blocks after the loudspeaker fell silent.
const LONGEST: u32 = 80;

/// Silences what remains of an echo that was there alone, as long as it only dies away. Somebody who begins to speak gets
/// louder, and is heard.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// How loud the echo can be, as a power.
    echo: f32,
    /// Of the last blocks at the microphone.
    heard: [f32; FLUTTER],
    /// Blocks since the loudspeaker played.
    silent: u32,
    gain: f32,
}

impl Tail {
    pub(crate) fn new() -> Self {
        Self { gain: 1.0, ..Self::default() }
    }

    /// The loudspeaker plays.
    pub(crate) fn play(&mut self) {
        self.silent = 0;
    }

    /// Takes a block as the microphone heard it, by its power, and as the canceller gave it back, which is changed.
    pub(crate) fn treat(&mut self, heard: f32, block: &mut Block) {
        self.silent = self.silent.saturating_add(1);
        self.heard.rotate_left(1);
        self.heard[FLUTTER - 1] = heard;
        let loudest = |blocks: &[f32]| blocks.iter().copied().fold(0.0, f32::max);
        // What comes out was heard a block before.
        let (heard, at_once) = (loudest(&self.heard), loudest(&self.heard[FLUTTER - 2..]));
        let left = power(block);
        let is_echo_alone = left < ECHO_ALONE * at_once && self.silent < LONGEST;
        self.echo = if is_echo_alone { heard } else { (self.echo * DECAY).min(heard) };
        let is_echo = (FIRST..LONGEST).contains(&self.silent) && left < self.echo * MARGIN;
        if left >= self.echo * MARGIN {
            self.echo *= FORGET;
        }
        let (from, to) = (self.gain, if is_echo { LEFT } else { 1.0 });
        for (n, sample) in block.iter_mut().enumerate() {
            *sample *= from + (to - from) * (n as f32 / BLOCK as f32);
        }
        self.gain = to;
    }
}
