//! The noise suppressor that learnt what voices are like (`nnnoiseless`).

use std::fmt;

use nnnoiseless::DenoiseState;

use crate::stage::Treat;
use crate::{BLOCK, Block};

/// It wants samples as loud as 16-bit integers.
const SCALE: f32 = 32_768.0;

pub(crate) struct Rnn(Box<DenoiseState<'static>>);

impl fmt::Debug for Rnn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rnn").finish_non_exhaustive()
    }
}

impl Rnn {
    pub(crate) fn new() -> Self {
        Self(DenoiseState::new())
    }
}

impl Treat for Rnn {
    fn treat(&mut self, block: &mut Block) {
        let mut treated = [0.0; BLOCK];
        block.iter_mut().for_each(|sample| *sample *= SCALE);
        self.0.process_frame(&mut treated, block);
        for (sample, treated) in block.iter_mut().zip(treated) {
            *sample = (treated / SCALE).clamp(-1.0, 1.0);
        }
    }
}
