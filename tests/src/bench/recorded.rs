//! Speech of a person, as Debian's sounds for telephones have it: what is made by rules has no ceiling that says much.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::speech::RATE;

/// Allison Smith, 16 kHz, CC-BY-SA 3.0; `scripts/setup bench` installs it.
const FOLDER: &str = "/usr/share/asterisk/sounds/en_US_f_Allison";
const FILES: [&str; 2] = ["demo-instruct.g722", "demo-congrats.g722"];

/// What she says, at most `seconds` of each recording; `None` if it is not there.
pub(super) fn speeches(seconds: f64) -> Result<Option<Vec<Vec<f32>>>> {
    let paths = FILES.map(|file| Path::new(FOLDER).join(file));
    if !paths.iter().all(|path| path.exists()) {
        return Ok(None);
    }
    paths.iter().map(|path| read(path, seconds).with_context(|| format!("read {}", path.display()))).collect()
}

fn read(path: &Path, seconds: f64) -> Result<Option<Vec<f32>>> {
    let (rate, seconds) = (RATE.to_string(), seconds.to_string());
    let decoded = Command::new("ffmpeg")
        .args(["-loglevel", "error", "-f", "g722", "-i"])
        .arg(path)
        .args(["-t", &seconds, "-ac", "1", "-ar", &rate, "-f", "f32le", "-"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("run ffmpeg")?;
    ensure!(decoded.status.success(), "ffmpeg ended with {}", decoded.status);
    let (samples, _) = decoded.stdout.as_chunks();
    Ok(Some(samples.iter().copied().map(f32::from_le_bytes).collect()))
}
