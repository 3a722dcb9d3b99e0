//! Sound to play, and ways to look at what came out.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Samples per second of all test files.
pub(crate) const RATE: usize = 48_000;
/// Samples per second of what espeak-ng says.
pub(crate) const SPOKEN: usize = 22_050;
/// Sounds are compared by their loudness, every 2.5 ms ...
const STEP: usize = 120;
/// ... over 10 ms, more than a period of a voice: a codec and a jitter buffer keep that, but not the waveform.
const WINDOW: usize = 480;

/// The program with these arguments, without sound server or puncher.
pub(crate) fn audio_pipe<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_audio-pipe"));
    command.args(args).stdin(Stdio::null()).env_remove("PUNCHER_SOCK").env_remove("PULSE_SERVER");
    command.env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// Runs to the end and tells the exit code and what was said on stderr.
pub(crate) fn outcome(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().expect("the program starts");
    (status.code(), String::from_utf8_lossy(&stderr).trim_end().to_owned())
}

/// Whether a program is there; if not, says which test does without it.
pub(crate) fn has(program: &str, test: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        skipped(test, &format!("there is no {program} here"));
    }
    found
}

/// Says that a test does not run, past the test runner, which keeps what is printed to itself.
pub(crate) fn skipped(test: &str, why: &str) {
    writeln!(std::io::stderr(), "skipped: {test}: {why}").expect("a place to say it");
}

/// Something that Opus takes for a voice: harmonics of a rising pitch, whose loudness changes every 50 ms to make each
/// moment unlike all others; never silent.
pub(crate) fn voice(seconds: f32) -> Vec<f32> {
    let mut random = 7_u64;
    let mut loudness = 1.0;
    let sample = |n: usize| {
        if n.is_multiple_of(RATE / 20) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            loudness = 0.1 + (random >> 40) as f32 / 16_777_216.0;
        }
        let t = n as f32 / RATE as f32;
        let phase = (120.0 + 10.0 * t) * t * std::f32::consts::TAU;
        (1..16).map(|h| (phase * h as f32).sin() / (2.0 + h as f32)).sum::<f32>() * 0.3 * loudness
    };
    (0..(seconds * RATE as f32) as usize).map(sample).collect()
}

/// What espeak-ng says, at [`SPOKEN`] samples a second, with a second of silence before each sentence and after the last.
pub(crate) fn spoken(sentences: &[&str]) -> Vec<f32> {
    let mut sound = vec![0.0; SPOKEN];
    for sentence in sentences {
        let said = Command::new("espeak-ng").args(["--stdout", "-v", "en-us", "--", sentence]).output();
        let wav = said.expect("espeak-ng").stdout;
        sound.extend(wav[44..].chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 65_536.0));
        sound.resize(sound.len() + SPOKEN, 0.0);
    }
    sound
}

/// Writes a 16-bit WAV file.
pub(crate) fn write_wav(path: &Path, samples: &[f32], rate: u32, channels: u16) {
    let data: Vec<u8> = samples.iter().flat_map(|s| ((s * 32_767.0) as i16).to_le_bytes()).collect();
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    bytes.extend(channels.to_le_bytes());
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate * u32::from(channels) * 2).to_le_bytes());
    bytes.extend((channels * 2).to_le_bytes());
    bytes.extend(b"\x10\0data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    std::fs::write(path, bytes).expect("a WAV file");
}

/// Reads a mono WAV file of 48 kHz, and insists that its header tells its length.
pub(crate) fn read_wav(path: &Path) -> Vec<f32> {
    read_channels(path, 1)
}

/// Both sides of a WAV file of two channels.
pub(crate) fn read_sides(path: &Path) -> [Vec<f32>; 2] {
    let samples = read_channels(path, 2);
    [0, 1].map(|side| samples.iter().skip(side).step_by(2).copied().collect())
}

fn read_channels(path: &Path, channels: u8) -> Vec<f32> {
    let bytes = std::fs::read(path).expect("a file");
    assert_eq!(&bytes[20..28], [1, 0, channels, 0, 0x80, 0xBB, 0, 0], "16-bit at 48 kHz in {channels} channels");
    let len = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
    assert_eq!((len(4) + 8, len(40) + 44), (bytes.len(), bytes.len()), "the lengths in the header");
    bytes[44..].chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32_768.0).collect()
}

/// By how many samples, in steps of 2.5 ms, `heard` lags behind `said`, up to a second, and how alike they are then,
/// 1 being equal and 0 unrelated. Each fifth of a second may lag a little more or less: the jitter buffer may have
/// chosen another delay on the way.
pub(crate) fn lag(said: &[f32], heard: &[f32]) -> (usize, f32) {
    const PART: usize = RATE / 5 / STEP;
    let loudness =
        |sound: &[f32]| -> Vec<f32> { sound.windows(WINDOW).step_by(STEP).map(|some| power(some).sqrt()).collect() };
    let (said, heard) = (loudness(said), loudness(heard));
    let mut lags = Vec::new();
    let mut sum = 0.0;
    for (n, part) in said.chunks_exact(PART).enumerate() {
        let at = |lag: usize| likeness(part, heard.get(n * PART + lag..).unwrap_or_default());
        let best = (0..RATE / STEP).map(|lag| (lag, at(lag))).max_by(|a, b| a.1.total_cmp(&b.1));
        let (lag, likeness) = best.expect("a second has steps");
        lags.push(lag);
        sum += likeness;
    }
    lags.sort_unstable();
    (lags[lags.len() / 2] * STEP, sum / lags.len() as f32)
}

/// How much the loudness of `heard` goes up and down with that of `said`.
fn likeness(said: &[f32], heard: &[f32]) -> f32 {
    let Some(heard) = heard.get(..said.len()) else { return 0.0 };
    let mean = |sound: &[f32]| sound.iter().sum::<f32>() / sound.len() as f32;
    let (mean_said, mean_heard) = (mean(said), mean(heard));
    let sum =
        |f: fn(f32, f32) -> f32| said.iter().zip(heard).map(|(a, b)| f(a - mean_said, b - mean_heard)).sum::<f32>();
    let norm = (sum(|a, _| a * a) * sum(|_, b| b * b)).sqrt();
    if norm > 0.0 { sum(|a, b| a * b) / norm } else { 0.0 }
}

/// The power of some sound.
pub(crate) fn power(sound: &[f32]) -> f32 {
    sound.iter().map(|s| s * s).sum::<f32>() / sound.len() as f32
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
