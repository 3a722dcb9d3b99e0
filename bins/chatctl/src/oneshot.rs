//! Commands that do one thing and end: `send`, `tail`, `peers`.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use chat::{Outgoing, Receipt, Verdict};
use edge::{
    Common, Exit, Remote, WithExit,
    agent::{Answer, Client, Target},
    talks,
};
use wire::{
    PeerTag,
    agent::{FromPuncher, PeerStatus, Peers, ToPuncher},
    local::{Ask, VoiceState},
    peer::{Lane, MAX_TEXT},
};

use crate::{
    args::{Send, Tail},
    render::{self, Style},
    room::{Entry, Room},
};

/// How long `puncher` may take to say who is there.
const ROSTER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a talk may take to say whose voice is heard.
const VOICES_TIMEOUT: Duration = Duration::from_secs(1);

/// `chatctl send`.
pub(crate) fn send(args: &Send, target: &Target, common: &Common) -> anyhow::Result<()> {
    let text = text(&args.text)?;
    let body = chat::check(&text, MAX_TEXT).exit(Exit::Data)?;
    // The control lane leaves texts that wait at puncher to a program that shows them.
    let receipt = match post(args, target, Lane::Control, body)? {
        Some(receipt) => receipt,
        None => post(args, target, Lane::Text, body)?.context("puncher takes no texts").exit(Exit::Unavailable)?,
    };
    if common.json {
        print(&render::line(&render::receipt_json(&receipt))?)?;
    }
    let failed = || anyhow!("{}", render::failure(&receipt));
    match receipt.verdict() {
        Verdict::Delivered => Ok(()),
        Verdict::Nobody => Err(failed()).exit(Exit::Unavailable),
        Verdict::Incomplete => Err(failed()).exit(Exit::TryAgain),
    }
}

/// The text to send, from the arguments or stdin.
fn text(words: &[String]) -> anyhow::Result<String> {
    if words != ["-"] {
        return Ok(words.join(" "));
    }
    let mut bytes = Vec::new();
    let limit = MAX_TEXT as u64 + 2;
    std::io::stdin().lock().take(limit).read_to_end(&mut bytes).context("read stdin").exit(Exit::Io)?;
    String::from_utf8(bytes).context("what stdin has is no text").exit(Exit::Data)
}

/// Sends a text on a lane and waits for its receipt; `None` if the lane takes no texts.
fn post(args: &Send, target: &Target, lane: Lane, body: &str) -> anyhow::Result<Option<Receipt>> {
    let (mut client, opened) = Client::connect(target, lane, "chatctl send")?;
    let to = addressee(args, &mut client, &opened.channel)?;
    let id = chat::new_id(edge::unix_millis(), edge::random()?);
    let mut outgoing = Outgoing::default();
    outgoing.start(id, Instant::now());
    client.send(&ToPuncher::Text { id, to, body: body.as_bytes().to_vec() })?;
    loop {
        if let Some(receipt) = outgoing.poll_receipt() {
            return Ok(Some(receipt));
        }
        let deadline = outgoing.poll_timeout().unwrap_or_else(Instant::now);
        match client.read_until(deadline)? {
            Answer::Record(FromPuncher::Delivery { id, to, name, outcome }) => {
                outgoing.handle_delivery(id, to, &name, outcome);
            }
            Answer::Record(FromPuncher::Settled { id }) => outgoing.handle_settled(id),
            Answer::Record(FromPuncher::Refused(_)) if lane == Lane::Control => return Ok(None),
            Answer::Record(FromPuncher::Refused(why)) => {
                return Err(anyhow!("puncher refuses: {}", Remote(why).show())).exit(Exit::Unavailable);
            }
            Answer::Record(record) => show_in_passing(record)?,
            Answer::Ended => outgoing.close(),
            Answer::TimedOut => outgoing.handle_timeout(Instant::now()),
        }
    }
}

/// Whom to send to, once somebody is there or the wait is over.
fn addressee(args: &Send, client: &mut Client, channel: &str) -> anyhow::Result<Peers> {
    if args.to.is_none() && args.wait.is_none() {
        return Ok(Peers::All);
    }
    let start = Instant::now();
    // Until puncher has told of everybody there is nothing to wait for.
    let mut deadline = start + ROSTER_TIMEOUT;
    let mut peers: BTreeMap<PeerTag, PeerStatus> = BTreeMap::new();
    loop {
        let wanted = || peers.values().filter(|peer| args.to.as_ref().is_none_or(|name| *name == peer.name));
        let to = |peer: &PeerStatus| if args.to.is_some() { Peers::One(peer.tag) } else { Peers::All };
        if let Some(peer) = wanted().find(|peer| peer.secure || args.wait.is_none()) {
            return Ok(to(peer));
        }
        match client.read_until(deadline)? {
            Answer::Record(FromPuncher::Peer(status)) => drop(peers.insert(status.tag, status)),
            Answer::Record(FromPuncher::Left { tag, .. }) => drop(peers.remove(&tag)),
            Answer::Record(FromPuncher::Server { .. }) => {
                deadline = start + Duration::from_secs(args.wait.unwrap_or(0).into());
            }
            Answer::Record(FromPuncher::Closing) | Answer::Ended => {
                return Err(anyhow!("puncher has ended")).exit(Exit::Unavailable);
            }
            Answer::Record(record) => show_in_passing(record)?,
            // Who is there but not connected may still be: puncher goes on trying while the text waits.
            Answer::TimedOut => return wanted().next().map(to).ok_or_else(|| absent(args, channel)),
        }
    }
}

fn absent(args: &Send, channel: &str) -> anyhow::Error {
    let channel = Remote(channel).show();
    let error = match &args.to {
        Some(name) => anyhow!("{} is not in {channel}", Remote(name).show()),
        None => anyhow!("nobody is in {channel}"),
    };
    Err::<(), _>(error).exit(Exit::Unavailable).expect_err("it is an error")
}

/// Whoever opens the text lane is handed the texts that waited: none may be lost.
fn show_in_passing(record: FromPuncher) -> anyhow::Result<()> {
    if let FromPuncher::Text { name, direct, body, .. } = record {
        let text = render::message(&name, direct, &body, Style::Plain);
        writeln!(std::io::stderr(), "{text}").context("write to stderr").exit(Exit::Io)?;
    }
    Ok(())
}

/// `chatctl tail`.
pub(crate) fn tail(args: &Tail, target: &Target, common: &Common) -> anyhow::Result<()> {
    let (mut client, _) = Client::connect(target, Lane::Text, "chatctl tail")?;
    let mut room = Room::default();
    let mut left = args.count;
    while left != Some(0) {
        match client.read()? {
            Some(FromPuncher::Closing) => return Ok(()),
            Some(record) => room.handle(record),
            None => return Err(anyhow!("puncher has ended")).exit(Exit::Unavailable),
        }
        while let Some(entry) = room.poll_entry() {
            let Entry::Message { name, body, .. } = &entry else { continue };
            let line = match common.json {
                true => render::line(&render::entry_json(&entry))?,
                false => render::message(name, false, body, Style::Plain),
            };
            print(&line)?;
            left = left.map(|left| left.saturating_sub(1));
        }
    }
    Ok(())
}

/// `chatctl peers`.
pub(crate) fn peers(target: &Target, common: &Common) -> anyhow::Result<()> {
    let (mut client, _) = Client::connect(target, Lane::Control, "chatctl peers")?;
    let peers = client.roster()?;
    // Without a talk nothing is known of voices; that is no error here.
    let answers = talks::ask(&mut client, Ask::Status, VOICES_TIMEOUT).unwrap_or_default();
    let speakers = answers.into_iter().flatten().flat_map(|status| status.speakers);
    let voices: BTreeMap<PeerTag, VoiceState> = speakers.map(|speaker| (speaker.tag, speaker.state)).collect();
    let mut all = peers.iter().map(|peer| (peer, voices.get(&peer.tag).copied()));
    if common.json {
        return all.try_for_each(|(peer, voice)| print(&render::line(&render::peer_json(peer, voice))?));
    }
    print(&render::peer_table(all))
}

/// Prints on stdout, at once.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).context("write to stdout").exit(Exit::Io)
}
