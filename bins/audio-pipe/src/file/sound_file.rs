//! A file of samples, whatever its rate and channels are, as one needs them here.

use std::path::Path;

use anyhow::{Context, Result};

use super::{Layout, Pcm, is_standard, open_pcm, shown};
use crate::resample::Resampler;

/// Samples of each channel that a file is read ahead.
const CHUNK: usize = 4800;

/// A file that is read at 48 kHz, in one channel or two.
pub(crate) struct SoundFile {
    pcm: Pcm,
    channels: usize,
    name: String,
    is_live: bool,
    resampler: Option<Resampler>,
    chunk: Vec<f32>,
    ready: Vec<f32>,
    taken: usize,
    ended: bool,
}

impl SoundFile {
    /// Opens a WAV file, or bare samples if `raw` tells their layout, to be read in so many channels.
    pub(crate) fn open(path: &Path, raw: Option<Layout>, channels: usize) -> Result<Self> {
        Self::of(open_pcm(path, raw)?, path, channels)
    }

    /// Reads what was opened at this path.
    pub(crate) fn of(pcm: Pcm, path: &Path, channels: usize) -> Result<Self> {
        let name = shown(path, "the standard input");
        let rate = pcm.layout().rate;
        let resampler = if rate == codec::RATE { None } else { Some(Resampler::precise(rate, codec::RATE, channels)?) };
        let is_live = is_standard(path) || std::fs::metadata(path).is_ok_and(|data| !data.is_file());
        let chunk = vec![0.0; CHUNK * channels];
        Ok(Self { pcm, channels, name, is_live, resampler, chunk, ready: Vec::new(), taken: 0, ended: false })
    }

    /// How many channels are read, interleaved.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Whether it comes when it comes, as from a pipe: there is nothing in it to catch up with.
    pub(crate) fn is_live(&self) -> bool {
        self.is_live
    }

    /// Fills `out`, less only at the end, and tells how many samples of each channel it is.
    pub(crate) fn read(&mut self, out: &mut [f32]) -> Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            if self.taken == self.ready.len() && !self.refill()? {
                break;
            }
            let some = (out.len() - filled).min(self.ready.len() - self.taken);
            out[filled..filled + some].copy_from_slice(&self.ready[self.taken..self.taken + some]);
            filled += some;
            self.taken += some;
        }
        Ok(filled / self.channels)
    }

    fn refill(&mut self) -> Result<bool> {
        self.ready.clear();
        self.taken = 0;
        while self.ready.is_empty() && !self.ended {
            let read = match self.channels {
                1 => self.pcm.read_mono(&mut self.chunk),
                _ => self.pcm.read_stereo(&mut self.chunk),
            };
            let read = read.with_context(|| format!("read {}", self.name))? * self.channels;
            let chunk = &self.chunk[..read];
            self.ended = read < self.chunk.len();
            match &mut self.resampler {
                None => self.ready.extend_from_slice(chunk),
                Some(resampler) => {
                    resampler.push(chunk, &mut self.ready);
                    if self.ended {
                        resampler.finish(&mut self.ready);
                    }
                }
            }
        }
        Ok(!self.ready.is_empty())
    }
}
