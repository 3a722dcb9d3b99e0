//! PESQ-WB (ITU-T P.862.2) by the reference implementation, and PLCMOS, which was made for what is played in place of lost
//! sound; as PyPI has them: `scripts/setup bench` installs both.

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::report::{Sound, resample};

/// The rate of wideband PESQ.
const RATE: u32 = 16_000;
/// Reads pairs of sounds, one after the other, as 32-bit floats; prints a score for each.
const SCRIPT: &str = r#"
import sys
import numpy
from pesq import pesq
sounds = numpy.frombuffer(sys.stdin.buffer.read(), dtype="<f4").reshape(int(sys.argv[1]), 2, -1)
for reference, degraded in sounds:
    print(pesq(16000, reference, degraded, "wb"))
"#;

/// The same by PLCMOS, which looks at what was heard alone. Its raters are drawn by chance, so that is made repeatable.
const PLCMOS: &str = r#"
import sys
import numpy
from speechmos import plcmos
sounds = numpy.frombuffer(sys.stdin.buffer.read(), dtype="<f4").reshape(int(sys.argv[1]), 2, -1)
for _, degraded in sounds:
    numpy.random.seed(1)
    print(plcmos.run(numpy.clip(degraded, -1, 1), sr=16000)["plcmos"])
"#;

/// A Python that has it.
#[derive(Debug)]
pub(super) struct Pesq {
    python: PathBuf,
    /// Whether it has PLCMOS as well.
    has_plcmos: bool,
}

impl Pesq {
    /// Looks for it, first where `scripts/setup bench` puts it.
    pub(super) fn find() -> Option<Self> {
        let target = std::env::current_exe().ok()?.ancestors().nth(2)?.to_owned();
        let has = |python: &PathBuf, modules: &str| {
            let mut import = Command::new(python);
            import
                .args(["-c", &format!("import {modules}")])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            import.status().is_ok_and(|status| status.success())
        };
        let pythons = [target.join("bench-python/bin/python"), "python3".into()];
        let python = pythons.into_iter().find(|python| has(python, "numpy, pesq"))?;
        let has_plcmos = has(&python, "speechmos.plcmos");
        Some(Self { python, has_plcmos })
    }

    /// The score of each pair of what was said and what was heard of it; pairs are equally long.
    pub(super) fn scores(&self, pairs: &[(Sound, Sound)]) -> Result<Vec<f64>> {
        self.run(SCRIPT, pairs)
    }

    /// The score of what was heard of each pair by PLCMOS, if that is there.
    pub(super) fn plcmos(&self, pairs: &[(Sound, Sound)]) -> Result<Option<Vec<f64>>> {
        self.has_plcmos.then(|| self.run(PLCMOS, pairs)).transpose()
    }

    fn run(&self, script: &str, pairs: &[(Sound, Sound)]) -> Result<Vec<f64>> {
        let mut bytes = Vec::new();
        for sound in pairs.iter().flat_map(|(said, heard)| [said, heard]) {
            bytes.extend(narrowed(sound).flat_map(f32::to_le_bytes));
        }
        let mut command = Command::new(&self.python);
        command.args(["-c", script, &pairs.len().to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("run Python")?;
        child.stdin.take().context("a pipe")?.write_all(&bytes).context("hand sounds to PESQ")?;
        let output = child.wait_with_output().context("run PESQ")?;
        ensure!(output.status.success(), "PESQ ended with {}", output.status);
        numbers(&String::from_utf8_lossy(&output.stdout), pairs.len())
    }
}

fn narrowed(sound: &Sound) -> impl Iterator<Item = f32> {
    let wide: Vec<f64> = sound.samples.iter().copied().map(f64::from).collect();
    resample(&wide, sound.rate, RATE).into_iter().map(|sample| sample as f32)
}

fn numbers(text: &str, count: usize) -> Result<Vec<f64>> {
    let numbers: Vec<f64> =
        text.lines().map(|line| line.trim().parse()).collect::<Result<_, _>>().context("read a score of PESQ")?;
    ensure!(numbers.len() == count, "{} scores for {count} pairs", numbers.len());
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_score_for_each_pair_or_none_counts() {
        assert_eq!(numbers("4.5\n1.04\n", 2).unwrap(), [4.5, 1.04]);
        assert!(numbers("4.5\n", 2).is_err());
        assert!(numbers("4.5\nsorry\n", 2).is_err());
    }
}
