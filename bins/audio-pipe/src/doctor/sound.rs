//! What the devices do while they run.

use std::time::{Duration, Instant};

use edge::doctor::Check;

use crate::device::{Loopback, Side};

/// A device that says that it is farther away makes a talk slow.
const FAR: Duration = Duration::from_millis(40);
/// A device that gives so much at a time does so as well.
const LONG: Duration = Duration::from_millis(25);
/// How long clocks are watched.
const WATCH: Duration = Duration::from_secs(2);
/// What a device may be off by: more is another rate than it says, less is drift, which is resampled away.
const MOST_OFF: f64 = 0.005;
/// Louder samples are clipped.
const CLIPPED: f32 = 0.99;
/// So many of a second's may be.
const FEW: usize = 20;
/// Quieter than this nobody talks, in -dBov.
const QUIET: u8 = 70;

/// What was asked for, and what came of it.
pub(super) fn buffers(loopback: &Loopback, asked: Duration) -> Check {
    let sides = [&loopback.microphone, &loopback.loudspeaker];
    let ms = |duration: Duration| (duration.as_secs_f64() * 1e4).round() / 10.0;
    let [microphone, loudspeaker] =
        sides.map(|side| format!("{} ms at a time, {} ms away", ms(side.period()), ms(side.reported())));
    let text = format!("asked for {} ms; microphone {microphone}; loudspeaker {loudspeaker}", ms(asked));
    if sides.iter().any(|side| side.reported() > FAR || side.period() > LONG) {
        return Check::warn(
            "buffers",
            format!("{text}: that is heard; use another device, or a cable in place of radio"),
        );
    }
    Check::ok("buffers", text)
}

/// Whether the microphone hears anything, and not too much.
pub(super) fn level(heard: Option<&[f32]>) -> Check {
    const NAME: &str = "level";
    let Some(heard) = heard.filter(|heard| !heard.is_empty()) else {
        return Check::warn(NAME, "the microphone brings nothing at all; plug it in anew, or restart the sound server");
    };
    if heard.iter().all(|sample| *sample == 0.0) {
        let text = "the microphone brings silence: it is muted in the mixer, switched off, or kept from this program by the system's privacy settings";
        return Check::warn(NAME, text);
    }
    let clipped = heard.iter().filter(|sample| sample.abs() >= CLIPPED).count();
    let level = codec::level(heard);
    match level {
        _ if clipped > FEW => {
            Check::warn(NAME, format!("{clipped} samples of a second are clipped; turn the microphone down"))
        }
        QUIET.. => Check::warn(
            NAME,
            format!("-{level} dB: so quiet that it may be the wrong microphone; say something, or turn it up"),
        ),
        _ => Check::ok(NAME, format!("-{level} dB, nothing clipped")),
    }
}

/// Whether both devices run at the rate that they say.
pub(super) fn clocks(loopback: &mut Loopback) -> Check {
    const NAME: &str = "clocks";
    let count = |loopback: &Loopback| [&loopback.microphone, &loopback.loudspeaker].map(Side::frames);
    let (before, start) = (count(loopback), Instant::now());
    while start.elapsed() < WATCH {
        std::thread::sleep(Duration::from_millis(100));
        // The rings are emptied, so that nothing is lost for want of room.
        drop(loopback.round(Duration::ZERO));
    }
    let (after, seconds) = (count(loopback), start.elapsed().as_secs_f64());
    let rates = [loopback.microphone.rate, loopback.loudspeaker.rate];
    for (n, name) in ["microphone", "loudspeaker"].into_iter().enumerate() {
        let rate = (after[n] - before[n]) as f64 / seconds;
        if (rate / f64::from(rates[n]) - 1.0).abs() > MOST_OFF {
            let text = format!(
                "the {name} runs at {rate:.0} Hz and says {}; plug it in anew, or restart the sound server",
                rates[n]
            );
            return Check::warn(NAME, text);
        }
    }
    Check::ok(NAME, "both run at the rates that they say; what is left of drift is resampled away")
}

#[cfg(test)]
mod tests {
    use edge::doctor::Verdict;

    use super::*;

    #[test]
    fn silence_clipping_and_a_whisper_are_told_apart() {
        let tone = |loudness: f32| -> Vec<f32> { (0..48_000).map(|n| (n as f32 * 0.05).sin() * loudness).collect() };
        assert!(level(Some(&[0.0; 480])).text.contains("muted in the mixer"));
        assert!(level(None).text.contains("nothing at all"));
        assert!(level(Some(&tone(3.0))).text.contains("clipped; turn"));
        assert!(level(Some(&tone(0.0002))).text.contains("so quiet"));
        assert_eq!(level(Some(&tone(0.2))).verdict, Verdict::Ok);
    }
}
