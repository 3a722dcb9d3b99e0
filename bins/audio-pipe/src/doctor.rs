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
        // Nothing is played: what is looked at is whether the streams run.
        match Loopback::open(names, [device::PERIOD; 2], |_| vec![0.0]) {
            Ok(mut loopback) => {
                let heard = loopback.round(LISTEN);
                checks.push(sound::buffers(&loopback, device::PERIOD));
                checks.push(sound::level(heard.as_ref().map(|heard| &heard.samples[..])));
                checks.push(sound::clocks(&mut loopback));
            }
            Err(error) => checks.push(Check::fail("buffers", Exit::Unavailable, format!("{error:#}"))),
        }
        checks.extend([devices::bluetooth(microphone, loudspeaker), devices::echo(microphone, loudspeaker)]);
    }
    checks.extend([machine::priority(), machine::codec()?, machine::disk()]);
    edge::doctor::report(&checks, json)
}
