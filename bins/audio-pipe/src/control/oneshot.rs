//! `audio-pipe mute`, `volume`, `status` and the like: ask the running talk, show what it answers, end.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use edge::agent::Client;
use edge::{Exit, Remote, WithExit, talks};
use wire::local::{Ask, Refusal};
use wire::peer::Lane;

use super::{Control, show};

/// A talk answers within milliseconds; one that is busy gets this long.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs one of these commands.
pub(crate) fn run(control: &Control, json: bool) -> Result<()> {
    let (mut client, _) = Client::connect(control.target(), Lane::Control, "audio-pipe")?;
    let what = match control {
        Control::Volume(args) => {
            let peers = client.roster()?;
            Ask::Volume { peer: talks::find_peer(&peers, &args.peer)?.tag, volume: args.volume }
        }
        other => other.ask()?.context("this command asks for nothing")?,
    };
    let answers = talks::ask(&mut client, what.clone(), PATIENCE)?;
    let mut refusal = None;
    let mut out = std::io::stdout().lock();
    for answer in answers {
        match answer {
            Ok(status) => {
                let shows_recording = matches!(control, Control::Record(_));
                let lines = match (json, shows_recording) {
                    (true, _) => edge::json_line(&show::json(&status))?,
                    (false, true) => show::recording(&status),
                    (false, false) => show::text(&what, &status),
                };
                writeln!(out, "{lines}").context("write to the standard output").exit(Exit::Io)?;
            }
            Err(why) => drop(refusal.get_or_insert(why)),
        }
    }
    let Some(Refusal { why, exit }) = refusal else { return Ok(()) };
    Err(anyhow!("{}", Remote(why).show())).exit(Exit::from_code(exit).unwrap_or(Exit::Unavailable))
}
