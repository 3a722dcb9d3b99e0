//! Whether what is played can come back through the microphone.

use edge::Remote;
use speech::Settings;

/// What the names of devices that are worn at the ears have in them.
const WORN: [&str; 7] = ["headset", "headphone", "earphone", "earbud", "airpods", "bluetooth", "hands-free"];

/// Whether microphone and loudspeaker, by their names, are one headset, or the loudspeaker is at the ears.
fn is_worn(microphone: &str, loudspeaker: &str) -> bool {
    let name = loudspeaker.to_lowercase();
    microphone == loudspeaker || WORN.iter().any(|word| name.contains(word))
}

/// Adapts the settings to the devices; tells what a person should know of it. `is_asked` is whether the person has said
/// anything about echo.
pub(crate) fn adapt(
    settings: &mut Settings,
    is_asked: bool,
    microphone: Option<&str>,
    loudspeaker: Option<&str>,
) -> Option<String> {
    let (Some(microphone), Some(loudspeaker)) = (microphone, loudspeaker) else { return None };
    match (settings.echo, is_worn(microphone, loudspeaker)) {
        (true, true) if !is_asked => {
            settings.echo = false;
            let loudspeaker = Remote(loudspeaker).show();
            Some(format!(
                "{loudspeaker} is a headset, so echo cancellation stays off and costs no delay; --echo on insists"
            ))
        }
        (false, false) if !is_asked => Some(
            "others may hear themselves through your loudspeaker: --mode speaker prevents it, a headset or --echo off \
             needs no such thing"
                .to_owned(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(echo: bool, is_asked: bool, microphone: &str, loudspeaker: &str) -> (bool, Option<String>) {
        let mut settings = Settings { echo, ..Settings::default() };
        let said = adapt(&mut settings, is_asked, Some(microphone), Some(loudspeaker));
        (settings.echo, said)
    }

    #[test]
    fn at_the_ears_echo_stays_off_unless_it_is_insisted_on() {
        for (microphone, loudspeaker) in
            [("Jabra 40", "Jabra 40"), ("Webcam", "Bluetooth Headphones"), ("A", "AirPods Pro")]
        {
            let (echo, said) = adapted(true, false, microphone, loudspeaker);
            assert!(!echo && said.is_some_and(|said| said.contains("--echo on")));
            assert_eq!(adapted(true, true, microphone, loudspeaker), (true, None));
            assert_eq!(adapted(false, false, microphone, loudspeaker), (false, None));
        }
    }

    #[test]
    fn before_a_loudspeaker_a_hint_is_given_once_nothing_was_said_of_echo() {
        let (echo, said) = adapted(false, false, "Headset Microphone", "Built-in Audio");
        assert!(!echo && said.is_some_and(|said| said.contains("--mode speaker")));
        assert_eq!(adapted(false, true, "Webcam", "Built-in Audio"), (false, None));
        assert_eq!(adapted(true, false, "Webcam", "Built-in Audio"), (true, None));
        assert_eq!(adapt(&mut Settings::default(), false, None, Some("Built-in Audio")), None);
    }
}
