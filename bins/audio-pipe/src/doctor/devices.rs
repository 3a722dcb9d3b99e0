//! Which devices there are, and what they are.

use anyhow::Result;
use edge::{Exit, Remote, doctor::Check};

use crate::device::{self, Listed};

/// Without a sound system nothing else can be.
pub(super) fn systems() -> Check {
    const NAME: &str = "sound system";
    let systems = device::systems();
    let Some((first, others)) = systems.split_first() else {
        let text = "none; start PipeWire or PulseAudio, or use files (--input, --output)";
        return Check::fail(NAME, Exit::Unavailable, text);
    };
    let beside = if others.is_empty() { String::new() } else { format!(", besides {}", others.join(", ")) };
    let text = format!("{first}{beside}");
    if *first == "ALSA" {
        return Check::warn(
            NAME,
            format!("{text}: hardware alone, so other programs are silent meanwhile; PipeWire helps"),
        );
    }
    Check::ok(NAME, text)
}

pub(super) fn microphone(found: &Result<Listed>) -> Check {
    const NAME: &str = "microphone";
    match found {
        Err(error) => missing(NAME, error, "plug one in, or choose another with --microphone"),
        Ok(device) if device.facts.is_monitor => {
            let text = "it hears what a loudspeaker plays, and nobody who talks; choose a microphone with --microphone";
            Check::warn(NAME, format!("{}: {text}", shown(device)))
        }
        Ok(device) => Check::ok(NAME, shown(device)),
    }
}

pub(super) fn loudspeaker(found: &Result<Listed>) -> Check {
    const NAME: &str = "loudspeaker";
    match found {
        Err(error) => missing(NAME, error, "plug one in, or choose another with --speaker"),
        Ok(device) => Check::ok(NAME, shown(device)),
    }
}

fn missing(name: &'static str, error: &anyhow::Error, hint: &str) -> Check {
    Check::fail(name, Exit::Unavailable, format!("{error:#}; {hint} (`audio-pipe devices` lists them)"))
}

fn shown(device: &Listed) -> String {
    let (title, facts) = (Remote(&device.name.title).show(), &device.facts);
    let converted = match facts.rate {
        codec::RATE => String::new(),
        _ => ", converted to 48000 Hz".to_owned(),
    };
    format!("{title}, {} Hz, {} channels{converted}", facts.rate, facts.channels)
}

/// The most usual reason why nobody hears anything.
pub(super) fn mixer(microphone: &Listed, loudspeaker: &Listed) -> Check {
    const NAME: &str = "mixer";
    match (microphone.facts.is_muted, loudspeaker.facts.is_muted) {
        (false, false) => Check::ok(NAME, "neither is muted, as far as the system tells"),
        (true, false) => Check::warn(NAME, "the microphone is muted; unmute it in the system's mixer"),
        (false, true) => Check::warn(NAME, "the loudspeaker is muted; unmute it in the system's mixer"),
        (true, true) => Check::warn(NAME, "both are muted; unmute them in the system's mixer"),
    }
}

/// Radio takes its time, and less of the sound once the microphone is open.
pub(super) fn bluetooth(microphone: &Listed, loudspeaker: &Listed) -> Check {
    const NAME: &str = "bluetooth";
    let by_radio = |device: &Listed| device.facts.is_bluetooth;
    match (by_radio(microphone), by_radio(loudspeaker)) {
        (false, false) => Check::ok(NAME, "no device is reached by radio"),
        (true, _) => Check::warn(
            NAME,
            "the microphone is reached by radio: 100 to 200 ms later, and both ways sound like a telephone; use a cable, or another microphone",
        ),
        (false, true) => {
            Check::warn(NAME, "the loudspeaker is reached by radio, which takes 100 to 200 ms; a cable does not")
        }
    }
}

/// Whether the microphone hears the loudspeaker, as far as names tell.
pub(super) fn echo(microphone: &Listed, loudspeaker: &Listed) -> Check {
    const NAME: &str = "echo";
    if is_worn(microphone) && is_worn(loudspeaker) {
        return Check::ok(NAME, "a headset: nothing of what you hear comes back, so echo needs no processing");
    }
    Check::warn(
        NAME,
        "the microphone may hear the loudspeaker, and the others themselves; wear headphones, or take it out with --echo on (3 ms more)",
    )
}

fn is_worn(device: &Listed) -> bool {
    let text = format!("{} {}", device.name.id, device.name.title).to_lowercase();
    ["headset", "headphone", "earphone", "earbud", "airpods"].iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use edge::doctor::Verdict;

    use super::*;
    use crate::device::{Direction, Facts, Name};

    fn device(title: &str, facts: Facts) -> Listed {
        let name = Name { id: title.to_lowercase(), title: title.to_owned() };
        Listed { direction: Direction::Input, host: "PulseAudio", name, facts, default: true }
    }

    #[test]
    fn a_headset_needs_no_echo_canceller_and_a_laptop_does() {
        let [headset, laptop] = ["USB Headset", "Built-in Audio"].map(|title| device(title, Facts::default()));
        assert_eq!(echo(&headset, &headset).verdict, Verdict::Ok);
        assert_eq!(echo(&headset, &laptop).verdict, Verdict::Warn);
    }

    #[test]
    fn what_is_muted_is_named() {
        let muted = device("mic", Facts { is_muted: true, ..Facts::default() });
        let plain = device("spk", Facts::default());
        assert!(mixer(&muted, &plain).text.starts_with("the microphone is muted"));
        assert!(mixer(&plain, &muted).text.starts_with("the loudspeaker is muted"));
        assert_eq!(mixer(&plain, &plain).verdict, Verdict::Ok);
    }

    #[test]
    fn a_monitor_is_no_microphone_and_a_name_with_escapes_is_shown_harmless() {
        let monitor = device("Monitor of \u{1b}[31mspk", Facts { is_monitor: true, rate: 44_100, ..Facts::default() });
        let check = microphone(&Ok(monitor));
        assert_eq!(check.verdict, Verdict::Warn);
        assert!(!check.text.contains('\u{1b}') && check.text.contains("converted"), "{}", check.text);
    }
}
