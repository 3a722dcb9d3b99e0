//! Everybody in one file.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use codec::{Encoder, Mode, Settings};
use edge::{Exit, WithExit};
use jitter::{Config, Mixer};
use voice::Ear;
use wire::PeerTag;

use crate::file::{Encoding, OpusWriter, Recording};
use crate::timeline::unix_ns;

/// Samples that are mixed at a time.
const BLOCK: usize = 480;
/// So often a WAV file's header learns how long it is, in samples: after a crash it is right.
const HEADER_EVERY: u64 = 48_000;
/// Bits per second of a mix in Opus: transparent for several voices at once, or for music in two channels.
const BITRATE: u32 = 96_000;
const STEREO_BITRATE: u32 = 128_000;

/// A mix of its own, beside what is played: neither volumes nor deafness nor a lost device is in it, and one's own voice is.
pub(super) struct Mix {
    mixer: Mixer<Ear>,
    block: Vec<f32>,
    to: To,
    start: Instant,
    /// Samples so far.
    end: u64,
    headed: u64,
}

enum To {
    Wav(Recording),
    Opus(Box<OpusWriter>),
}

impl Mix {
    /// Begins a file that is not there yet, WAV or Ogg Opus by its name, in one channel or two.
    pub(super) fn create(path: &Path, channels: usize, start: Instant) -> Result<Self> {
        let named = || format!("create {}", path.display());
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = file.with_context(named).exit(Exit::CannotCreate)?;
        let to = if is_wav(path) {
            To::Wav(Recording::on(file, path, Encoding::S16, channels as u16)?)
        } else {
            let frame = Duration::from_millis(20);
            let (mode, bitrate) = if channels == 2 { (Mode::Music, STEREO_BITRATE) } else { (Mode::Voice, BITRATE) };
            let channels = channels as u8;
            let settings = Settings { mode, channels, bitrate, frame, expected_loss: None, ..Settings::default() };
            let writer = OpusWriter::new(file, Encoder::new(settings)?, codec::RATE, unix_ns() as u32);
            To::Opus(Box::new(writer.with_context(named).exit(Exit::Io)?))
        };
        let mixer = Mixer::new(Config { channels, ..Config::default() }, Ear::default);
        Ok(Self { mixer, block: vec![0.0; BLOCK * channels], to, start, end: 0, headed: 0 })
    }

    /// Takes a packet that came at `at`; up to then, what came before is mixed.
    pub(super) fn hear(&mut self, peer: PeerTag, packet: &[u8], at: Instant) -> Result<()> {
        self.pass(at)?;
        // What is no packet was refused before.
        let _ = self.mixer.push(peer, packet, at);
        Ok(())
    }

    /// Forgets who has left.
    pub(super) fn leave(&mut self, peer: PeerTag) {
        self.mixer.remove(peer);
    }

    /// Mixes what is heard until `now`.
    pub(super) fn pass(&mut self, now: Instant) -> Result<()> {
        let due = super::samples(now.saturating_duration_since(self.start));
        while self.end + BLOCK as u64 <= due {
            let at = self.start + Duration::from_micros(self.end * 1000 / 48);
            self.mixer.pull(&mut self.block, at);
            self.end += BLOCK as u64;
            match &mut self.to {
                To::Wav(recording) => recording.write(&self.block)?,
                To::Opus(writer) => writer.write(&self.block)?,
            }
        }
        if let To::Wav(recording) = &mut self.to
            && self.end >= self.headed + HEADER_EVERY
        {
            self.headed = self.end;
            recording.finish()?;
        }
        Ok(())
    }

    /// Completes the file.
    pub(super) fn finish(self) -> Result<()> {
        match self.to {
            To::Wav(mut recording) => recording.finish(),
            To::Opus(writer) => writer.finish(),
        }
    }
}

/// Whether a file of this name is one mix of everybody.
pub(super) fn is_file(path: &Path) -> bool {
    is_wav(path) || has_extension(path, "opus") || has_extension(path, "ogg")
}

fn is_wav(path: &Path) -> bool {
    has_extension(path, "wav")
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// Whether an error says that the disk is full.
pub(super) fn is_full(error: &anyhow::Error) -> bool {
    let kind = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}
