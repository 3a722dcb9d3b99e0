//! Questions to the talks at a `puncher`, and whom a name means.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use wire::{
    agent::{FromPuncher, PeerStatus, ToPuncher},
    local::{Ask, Local, Refusal, Status, VoiceState},
};

use crate::{
    Exit, Remote, WithExit,
    agent::{Answer, Client},
};

/// What each talk says to a question, or why it did not do what was asked.
pub type Answers = Vec<Result<Status, Refusal>>;

/// Asks every talk at the `puncher` of `client`, and waits for all their answers, at most for `patience`.
///
/// # Errors
/// Code 69 if there is no talk or `puncher` ends, 75 if a talk does not answer, else as for [`Client::read`].
pub fn ask(client: &mut Client, what: Ask, patience: Duration) -> anyhow::Result<Answers> {
    let (ours, deadline) = (number()?, Instant::now() + patience);
    client.send(&ToPuncher::Local(Local::Ask { id: ours, what }))?;
    let (mut answers, mut wanted) = (Vec::new(), None::<usize>);
    while wanted.is_none_or(|wanted| answers.len() < wanted) {
        match client.read_until(deadline)? {
            Answer::Record(FromPuncher::Local(Local::Asked { id, talks })) if id == ours => {
                wanted = Some(usize::from(talks));
            }
            Answer::Record(FromPuncher::Local(Local::Answer { id, answer })) if id == ours => answers.push(answer),
            // A talk that ends answers no more.
            Answer::Record(FromPuncher::Local(Local::Ended)) => wanted = wanted.map(|wanted| wanted.saturating_sub(1)),
            Answer::Record(FromPuncher::Closing) | Answer::Ended => {
                return Err(anyhow!("puncher has ended")).exit(Exit::Unavailable);
            }
            Answer::Record(_) => {}
            Answer::TimedOut => return Err(silence(wanted)).exit(Exit::TryAgain),
        }
    }
    if answers.is_empty() {
        return Err(anyhow!("nobody talks here: start with: audio-pipe talk")).exit(Exit::Unavailable);
    }
    Ok(answers)
}

fn silence(wanted: Option<usize>) -> anyhow::Error {
    match wanted {
        Some(_) => anyhow!("audio-pipe talk does not answer: it hangs, or has just ended"),
        None => anyhow!("puncher does not answer"),
    }
}

/// What is known of a voice, in words.
pub fn words(state: VoiceState) -> String {
    let words = [
        (state.talking, "talking"),
        (state.deafened, "deafened"),
        (state.muted && !state.deafened, "muted"),
        (state.recording, "recording"),
    ];
    let words: Vec<_> = words.into_iter().filter_map(|(holds, word)| holds.then_some(word)).collect();
    if words.is_empty() { "silent".to_owned() } else { words.join(", ") }
}

/// A number for a question that no other program asks.
///
/// # Errors
/// If the system has no random numbers.
pub fn number() -> anyhow::Result<u64> {
    Ok(u64::from_le_bytes(crate::random()?))
}

/// Whom a name means: the peer that is called so, or whose name alone begins so, or the one with this tag. Case does not count where
/// no name fits exactly.
///
/// # Errors
/// Code 68 if there is nobody, 64 if it may be several; both name them.
pub fn find_peer<'a>(peers: &'a [PeerStatus], text: &str) -> anyhow::Result<&'a PeerStatus> {
    let folded = text.to_lowercase();
    let is_so: [&dyn Fn(&PeerStatus) -> bool; 4] = [
        &|peer| peer.name == text,
        &|peer| peer.name.to_lowercase() == folded,
        &|peer| !text.is_empty() && peer.name.to_lowercase().starts_with(&folded),
        &|peer| peer.tag.to_string() == text,
    ];
    for is_so in is_so {
        let found: Vec<_> = peers.iter().filter(|peer| is_so(peer)).collect();
        match found[..] {
            [] => {}
            [peer] => return Ok(peer),
            _ => {
                let error = anyhow!("{} may be {}: write all of it", Remote(text).show(), names(found, " or "));
                return Err(error).exit(Exit::Usage);
            }
        }
    }
    let there = if peers.is_empty() { "nobody is".to_owned() } else { format!("there are {}", names(peers, ", ")) };
    Err(anyhow!("nobody named {} is there; {there}", Remote(text).show())).exit(Exit::NoHost)
}

fn names<'a>(peers: impl IntoIterator<Item = &'a PeerStatus>, between: &str) -> String {
    let shown: Vec<_> = peers.into_iter().map(|peer| Remote(&peer.name).show()).collect();
    shown.join(between)
}

#[cfg(test)]
mod tests {
    use wire::{IdentityKey, PeerTag, agent::Path};

    use super::*;
    use crate::code_of;

    fn peer(tag: u32, name: &str) -> PeerStatus {
        let (tag, name, key) = (PeerTag(tag), name.to_owned(), IdentityKey([tag as u8; 32]));
        PeerStatus { tag, name, key, path: Path::None, addr: None, via: None, rtt_us: None, secure: false }
    }

    #[test]
    fn a_name_means_whoever_is_called_so_or_alone_begins_so() {
        let peers = [peer(1, "bob"), peer(2, "Bobby"), peer(3, "Zoë"), peer(4, "3")];
        for (text, tag) in [("bob", 1), ("BOB", 1), ("bobb", 2), ("zo", 3), ("ZOË", 3), ("3", 4), ("2", 2)] {
            assert_eq!(find_peer(&peers, text).map(|peer| peer.tag.0).unwrap(), tag, "{text}");
        }
    }

    #[test]
    fn a_voice_has_words() {
        let state = VoiceState { muted: true, deafened: true, recording: true, talking: false };
        assert_eq!(words(state), "deafened, recording");
        assert_eq!(words(VoiceState::default()), "silent");
    }

    #[test]
    fn who_may_be_several_or_nobody_is_an_error_that_names_those_who_are_there() {
        let peers = [peer(1, "bob"), peer(2, "bo\u{1b}ra")];
        let rows = [
            ("bo", Exit::Usage, "bo may be bob or bo␛ra: write all of it"),
            ("x\u{1b}", Exit::NoHost, "nobody named x␛ is there; there are bob, bo␛ra"),
            ("", Exit::NoHost, "nobody named  is there; there are bob, bo␛ra"),
        ];
        for (text, code, says) in rows {
            let error = find_peer(&peers, text).unwrap_err();
            assert_eq!((code_of(&error), error.to_string().as_str()), (code, says));
        }
        assert_eq!(find_peer(&[], "bob").unwrap_err().to_string(), "nobody named bob is there; nobody is");
    }
}
