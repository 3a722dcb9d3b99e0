//! `audio-pipe doctor`: twelve looks at what a talk needs of this machine, each with what to do if it is not there.

mod devices;
mod machine;
mod sound;

use std::time::Duration;

use anyhow::Result;
use edge::{Exit, doctor::Check};

use crate::args::DoctorArgs;
use crate::device::{self, Direction, Loopback};

/// How long the microphone is listened to.
const LISTEN: Duration = Duration::from_secs(1);

/// Looks, prints a line for each check, and fails with the code of the first check that failed.
pub(crate) fn doctor(args: &DoctorArgs, json: bool) -> Result<()> {
    let mut checks = vec![devices::systems()];
    let microphone = device::look_up(Direction::Input, args.microphone.as_deref());
    let loudspeaker = device::look_up(Direction::Output, args.speaker.as_deref());
    checks.push(devices::microphone(&microphone));
    checks.push(devices::loudspeaker(&loudspeaker));
    if let (Ok(microphone), Ok(loudspeaker)) = (&microphone, &loudspeaker) {
        checks.push(devices::mixer(microphone, loudspeaker));
        let names = [args.speaker.as_deref(), args.microphone.as_deref()];
        checks.extend(while_they_run(names));
        checks.extend([devices::bluetooth(microphone, loudspeaker), devices::echo(microphone, loudspeaker)]);
    } else {
        checks.extend(unseen(["mixer", "buffers", "level", "clocks", "bluetooth", "echo"]));
    }
    checks.extend([machine::priority(), machine::codec()?, machine::disk()]);
    edge::doctor::report(&checks, json)
}

/// What the devices do while they run. Nothing is played: what is looked at is whether the streams run.
fn while_they_run(names: [Option<&str>; 2]) -> Vec<Check> {
    match Loopback::open(names, [device::PERIOD; 2], |_| vec![0.0]) {
        Ok(mut loopback) => {
            let heard = loopback.round(LISTEN);
            let buffers = sound::buffers(&loopback, device::PERIOD);
            let level = sound::level(heard.as_ref().map(|heard| &heard.samples[..]));
            vec![buffers, level, sound::clocks(&mut loopback)]
        }
        Err(error) => {
            let failed = Check::fail("buffers", Exit::Unavailable, format!("{error:#}"));
            std::iter::once(failed).chain(unseen(["level", "clocks"])).collect()
        }
    }
}

/// Checks that need a microphone and a loudspeaker.
fn unseen<const N: usize>(names: [&'static str; N]) -> impl Iterator<Item = Check> {
    names.into_iter().map(|name| Check::warn(name, "not looked at: that takes a microphone and a loudspeaker that run"))
}
