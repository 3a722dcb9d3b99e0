//! What the computer can do.

use std::time::{Duration, Instant};

use anyhow::Result;
use codec::{Decoder, Encoder, Settings};
use edge::doctor::Check;

use crate::device;

/// Sound is encoded and decoded for so long to find out what it takes: this many frames of 10 ms.
const FRAMES: usize = 200;
/// What encoding and decoding a frame may take, of its 10 ms.
const MOST: Duration = Duration::from_millis(2);
/// Less room on the disk than this is soon full: a quarter of an hour of 48 kHz and ten speakers.
const LEAST_FREE: u64 = 1 << 30;

/// Whether other load is heard.
pub(super) fn priority() -> Check {
    const NAME: &str = "priority";
    // A thread of its own: what is raised here stays so.
    let allowed = std::thread::spawn(device::raise).join().unwrap_or(false);
    if allowed {
        return Check::ok(NAME, "real-time: other programs do not delay the sound");
    }
    let text = "not real-time, so a busy machine is heard; on Linux allow it in /etc/security/limits.d (@audio - rtprio 20) and join that group";
    Check::warn(NAME, text)
}

/// Whether the processor keeps up.
pub(super) fn codec() -> Result<Check> {
    const NAME: &str = "codec";
    let settings = Settings::default();
    let (mut encoder, mut decoder) = (Encoder::new(settings)?, Decoder::new()?);
    let mut out = vec![0.0; encoder.frame()];
    let (mut encoding, mut decoding) = (Duration::ZERO, Duration::ZERO);
    for n in 0..FRAMES {
        let frame: Vec<f32> = (0..out.len()).map(|i| voice(n * out.len() + i)).collect();
        let start = Instant::now();
        let packet = encoder.encode(&frame)?;
        encoding += start.elapsed();
        let start = Instant::now();
        decoder.decode(packet, &mut out)?;
        decoding += start.elapsed();
    }
    let [encoding, decoding] = [encoding, decoding].map(|time| time / FRAMES as u32);
    let text = format!("{} µs to encode 10 ms, {} µs to decode them", encoding.as_micros(), decoding.as_micros());
    if encoding + decoding > MOST {
        return Ok(Check::warn(
            NAME,
            format!("{text}: too slow to be heard in time while others talk; end other programs"),
        ));
    }
    Ok(Check::ok(NAME, text))
}

/// Harmonics whose loudness changes.
fn voice(n: usize) -> f32 {
    let t = n as f32 / codec::RATE as f32;
    (1..12).map(|h| (t * 800.0 * h as f32).sin() / (3 * h) as f32).sum::<f32>() * (t * 9.0).sin()
}

/// Whether there is room for recordings.
pub(super) fn disk() -> Check {
    const NAME: &str = "disk";
    let free = match rustix::fs::statvfs(".") {
        Ok(system) => system.f_bavail.saturating_mul(system.f_frsize),
        Err(error) => {
            return Check::warn(NAME, format!("this folder can't be asked for its room ({error}); record elsewhere"));
        }
    };
    let text = format!("{} MiB are free here for recordings", free >> 20);
    if free < LEAST_FREE {
        Check::warn(NAME, format!("{text}; make room, or record elsewhere"))
    } else {
        Check::ok(NAME, text)
    }
}
