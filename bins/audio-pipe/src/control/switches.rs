//! The two switches that everybody looks at, the microphone and all sound; and whether the call is recorded.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use wire::voice::Flags;

const MUTED: u8 = 1;
const DEAFENED: u8 = 2;

/// What may be switched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Switch {
    /// The microphone.
    Mute,
    /// The microphone and everybody's sound.
    Deafen,
}

/// Whether the microphone is off, and whether everybody's sound is, too. Who hears nobody is not heard either: the microphone is off
/// while all sound is, and afterwards as it was before.
#[derive(Debug, Default)]
pub(crate) struct Switches(AtomicU8, AtomicBool);

impl Switches {
    /// Switches to begin with.
    pub(crate) fn new(muted: bool, deafened: bool) -> Self {
        Self(AtomicU8::new((u8::from(muted) * MUTED) | (u8::from(deafened) * DEAFENED)), AtomicBool::new(false))
    }

    /// Turns one off or on; `None`: the other one of both. Who turns the microphone on wants to talk with somebody, and so hears again.
    pub(crate) fn turn(&self, switch: Switch, off: Option<bool>) {
        let turned = |was: u8| {
            Some(match switch {
                Switch::Mute if off.unwrap_or(was == 0) => was | MUTED,
                Switch::Mute => 0,
                Switch::Deafen if off.unwrap_or(was & DEAFENED == 0) => was | DEAFENED,
                Switch::Deafen => was & !DEAFENED,
            })
        };
        // It never fails: every state has a next one.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, turned);
    }

    /// Whether the microphone is off.
    pub(crate) fn is_muted(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Whether nobody is to be heard.
    pub(crate) fn is_deafened(&self) -> bool {
        self.0.load(Ordering::Relaxed) & DEAFENED != 0
    }

    /// What every packet tells the others besides the mute.
    pub(crate) fn marks(&self) -> Flags {
        let mark = |holds, flag| if holds { flag } else { Flags::default() };
        mark(self.is_deafened(), Flags::DEAFENED).with(mark(self.is_recording(), Flags::RECORDING))
    }

    /// Says whether the call is recorded here.
    pub(crate) fn record(&self, is_recording: bool) {
        self.1.store(is_recording, Ordering::Relaxed);
    }

    /// Whether it is.
    pub(crate) fn is_recording(&self) -> bool {
        self.1.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_microphone_is_off_while_all_sound_is_and_afterwards_as_before() {
        for was_muted in [false, true] {
            let switches = Switches::new(was_muted, false);
            for _ in 0..2 {
                switches.turn(Switch::Deafen, Some(true));
                assert!(switches.is_muted() && switches.is_deafened());
            }
            switches.turn(Switch::Deafen, None);
            assert_eq!((switches.is_muted(), switches.is_deafened()), (was_muted, false));
        }
    }

    #[test]
    fn a_mute_while_deafened_lasts_and_an_unmute_lets_hear_again() {
        let switches = Switches::new(false, true);
        switches.turn(Switch::Mute, Some(true));
        switches.turn(Switch::Deafen, Some(false));
        assert!(switches.is_muted());

        switches.turn(Switch::Deafen, Some(true));
        switches.turn(Switch::Mute, None);
        assert!(!switches.is_muted() && !switches.is_deafened());
    }

    #[test]
    fn a_toggle_turns_to_and_fro() {
        let switches = Switches::default();
        for muted in [true, false, true] {
            switches.turn(Switch::Mute, None);
            assert_eq!(switches.is_muted(), muted);
        }
    }
}
