//! Figures about a run, for scripts that measure.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use edge::{Exit, WithExit};
use serde::Serialize;

/// What a run was like, written as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Stats {
    pub(crate) v: u8,
    pub(crate) sample_rate: u32,
    pub(crate) capture: Option<Captured>,
    pub(crate) playback: Option<Played>,
    pub(crate) speakers: Vec<Speaker>,
}

impl Default for Stats {
    fn default() -> Self {
        Self { v: 1, sample_rate: codec::RATE, capture: None, playback: None, speakers: Vec::new() }
    }
}

/// What was heard here.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Captured {
    pub(crate) first_sample_unix_ns: Option<u64>,
    pub(crate) frames: u64,
    pub(crate) packets: u64,
}

/// What was played here.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Played {
    /// When the first sample of every recording was played.
    pub(crate) first_sample_unix_ns: u64,
    pub(crate) samples: u64,
    /// Samples that the device did not get in time.
    pub(crate) underrun_samples: u64,
    pub(crate) limited_blocks: u64,
}

/// What came from one peer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Speaker {
    pub(crate) peer: u32,
    pub(crate) name: Option<String>,
    pub(crate) file: Option<String>,
    /// When the first frame came.
    pub(crate) first_frame_unix_ns: Option<u64>,
    pub(crate) received: u64,
    pub(crate) lost: u64,
    pub(crate) late: u64,
    pub(crate) duplicate: u64,
    pub(crate) malformed: u64,
    pub(crate) from_copy: u64,
    pub(crate) from_next: u64,
    /// What later packets told of.
    pub(crate) deep_ms: f64,
    pub(crate) concealed_ms: f64,
    pub(crate) played_ms: f64,
    pub(crate) shortened: u64,
    pub(crate) stretched: u64,
    pub(crate) restarts: u64,
    pub(crate) jitter_ms: u16,
    pub(crate) target_ms: f64,
    pub(crate) delay_ms: f64,
    pub(crate) drift_ppm: f32,
}

impl Speaker {
    pub(crate) fn new(peer: u32, stats: jitter::Stats) -> Self {
        let ms = |samples: u64| samples as f64 * 1000.0 / f64::from(codec::RATE);
        let duration = |duration: Duration| duration.as_secs_f64() * 1000.0;
        Self {
            peer,
            name: None,
            file: None,
            first_frame_unix_ns: None,
            received: stats.received,
            lost: stats.lost,
            late: stats.late,
            duplicate: stats.duplicate,
            malformed: stats.malformed,
            from_copy: stats.from_copy,
            from_next: stats.from_next,
            deep_ms: ms(stats.deep),
            concealed_ms: ms(stats.concealed),
            played_ms: ms(stats.played),
            shortened: stats.shortened,
            stretched: stats.stretched,
            restarts: stats.restarts,
            jitter_ms: 0,
            target_ms: duration(stats.target),
            delay_ms: duration(stats.delay),
            drift_ppm: stats.drift_ppm,
        }
    }
}

impl Stats {
    /// Writes them to a file.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("describe the run")?;
        text.push('\n');
        std::fs::write(path, text).with_context(|| format!("write {}", path.display())).exit(Exit::Io)
    }
}
