//! A file of two channels, read as 48 kHz.

use std::path::Path;

use anyhow::{Context, Result};

use super::{CHUNK, Pcm, shown};
use crate::resample::Resampler;

/// Two channels that are read side by side.
pub(crate) struct Stereo {
    pcm: Pcm,
    name: String,
    resamplers: Option<[Resampler; 2]>,
    chunk: Vec<f32>,
    ended: bool,
}

impl Stereo {
    /// Reads what was opened at this path, which has two channels.
    pub(crate) fn of(pcm: Pcm, path: &Path) -> Result<Self> {
        let rate = pcm.layout().rate;
        let resampler = || Resampler::precise(rate, codec::RATE);
        let resamplers = if rate == codec::RATE { None } else { Some([resampler()?, resampler()?]) };
        let name = shown(path, "the standard input");
        Ok(Self { pcm, name, resamplers, chunk: vec![0.0; 2 * CHUNK], ended: false })
    }

    /// Appends what comes next, interleaved; `false` at the end.
    pub(crate) fn read(&mut self, out: &mut Vec<f32>) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let read = self.pcm.read_all(&mut self.chunk).with_context(|| format!("read {}", self.name))?;
        let chunk = &self.chunk[..2 * read];
        self.ended = chunk.len() < self.chunk.len();
        let Some(resamplers) = &mut self.resamplers else {
            out.extend_from_slice(chunk);
            return Ok(true);
        };
        let mut sides = [Vec::new(), Vec::new()];
        for (n, (resampler, side)) in resamplers.iter_mut().zip(&mut sides).enumerate() {
            let samples: Vec<f32> = chunk.iter().skip(n).step_by(2).copied().collect();
            resampler.push(&samples, side);
            if self.ended {
                resampler.finish(side);
            }
        }
        let [left, right] = sides;
        out.extend(left.into_iter().zip(right).flat_map(|(left, right)| [left, right]));
        Ok(true)
    }
}
