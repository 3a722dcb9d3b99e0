//! `--pipe`: stdin and stdout as a lane. Two threads stand between them and an ordinary agent connection.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, Read, Write},
    os::unix::net::UnixStream,
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use anyhow::Context;
use edge::Remote;
use uuid::Uuid;
use wire::{
    MessageId, PeerTag,
    agent::{Delivery, FromPuncher, MAX_RECORD, Peers, ToPuncher, VoiceRecord},
    frame,
};

use crate::args::PipeLane;

/// What the two threads tell each other.
#[derive(Default)]
struct Progress {
    secure: BTreeSet<PeerTag>,
    unsettled: usize,
    ended: bool,
}

type Shared = Arc<(Mutex<Progress>, Condvar)>;

/// Starts the threads; the returned end belongs to the loop.
pub(crate) fn start(lane: PipeLane, exit_at_eof: bool) -> anyhow::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair().context("make a socket pair for --pipe")?;
    theirs.set_nonblocking(true).context("make a socket pair for --pipe")?;
    let from_stdin = ours.try_clone().context("make a socket pair for --pipe")?;
    let shared = Shared::default();
    let for_output = Arc::clone(&shared);
    std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            let result = match lane {
                PipeLane::Voice => voice_in(&from_stdin),
                PipeLane::Text => text_in(&from_stdin, &shared),
            };
            end_of_input(result, &from_stdin, &shared, exit_at_eof);
        })
        .context("start a thread for stdin")?;
    std::thread::Builder::new()
        .name("stdout".into())
        .spawn(move || {
            if let Err(error) = output(&ours, &for_output) {
                tracing::debug!(%error, "stdout has ended");
            }
            update(&for_output, |progress| progress.ended = true);
            // Nobody reads any more: the loop sees the end of the connection, and leaves.
            let _ = ours.shutdown(std::net::Shutdown::Both);
        })
        .context("start a thread for stdout")?;
    Ok(theirs)
}

fn voice_in(mut to_loop: &UnixStream) -> anyhow::Result<()> {
    let mut reader = frame::Reader::<VoiceRecord>::new("voice record on stdin", MAX_RECORD);
    let mut stdin = io::stdin().lock();
    let mut buffer = [0; 16 * 1024];
    loop {
        let len = stdin.read(&mut buffer).context("read stdin")?;
        if len == 0 {
            return Ok(());
        }
        reader.push(&buffer[..len]);
        while let Some(record) = reader.next()? {
            to_loop.write_all(&frame::frame(&ToPuncher::Voice(record)))?;
        }
    }
}

fn text_in(mut to_loop: &UnixStream, shared: &Shared) -> anyhow::Result<()> {
    for line in io::stdin().lock().lines() {
        let body = line.context("read stdin")?.into_bytes();
        // A line for nobody would be lost, so it waits for somebody.
        wait_until(shared, |progress| !progress.secure.is_empty());
        update(shared, |progress| progress.unsettled += 1);
        let id = MessageId(Uuid::now_v7().as_u128());
        to_loop.write_all(&frame::frame(&ToPuncher::Text { id, to: Peers::All, body }))?;
    }
    Ok(())
}

fn end_of_input(result: anyhow::Result<()>, mut to_loop: &UnixStream, shared: &Shared, exit_at_eof: bool) {
    // That the loop has ended is no news, and no error: only it is written to here.
    let is_end = |error: &anyhow::Error| {
        error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if let Some(error) = result.as_ref().err().filter(|error| !is_end(error)) {
        tracing::error!("{error:#}");
    }
    if exit_at_eof || result.is_err() {
        wait_until(shared, |progress| progress.unsettled == 0);
        let _ = to_loop.write_all(&frame::frame(&ToPuncher::Leave));
    }
}

fn output(mut from_loop: &UnixStream, shared: &Shared) -> anyhow::Result<()> {
    let mut reader = frame::Reader::<FromPuncher>::new("agent record", MAX_RECORD);
    let mut stdout = io::stdout().lock();
    let mut buffer = [0; 16 * 1024];
    loop {
        let len = from_loop.read(&mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        reader.push(&buffer[..len]);
        while let Some(record) = reader.next()? {
            match record {
                FromPuncher::Voice { from, packet, .. } => {
                    stdout.write_all(&frame::frame(&VoiceRecord { peers: Peers::One(from), packet }))?;
                }
                FromPuncher::Text { name, body, .. } => {
                    writeln!(stdout, "{}: {}", Remote(&name).show(), Remote(&body).show())?;
                }
                FromPuncher::Peer(peer) => update(shared, |progress| {
                    if peer.secure {
                        progress.secure.insert(peer.tag);
                    } else {
                        progress.secure.remove(&peer.tag);
                    }
                }),
                FromPuncher::Left { tag, .. } => update(shared, |progress| {
                    progress.secure.remove(&tag);
                }),
                FromPuncher::Delivery { name, outcome, .. } if !matches!(outcome, Delivery::Delivered(_)) => {
                    tracing::warn!("a line did not reach {}: {outcome:?}", Remote(&name).show());
                }
                FromPuncher::Settled { .. } => {
                    update(shared, |progress| progress.unsettled = progress.unsettled.saturating_sub(1));
                }
                FromPuncher::Closing => return Ok(()),
                _ => {}
            }
        }
        stdout.flush()?;
    }
}

fn update(shared: &Shared, change: impl FnOnce(&mut Progress)) {
    change(&mut shared.0.lock().unwrap_or_else(PoisonError::into_inner));
    shared.1.notify_all();
}

fn wait_until(shared: &Shared, done: impl Fn(&Progress) -> bool) {
    let guard = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
    drop(shared.1.wait_while(guard, |progress| !progress.ended && !done(progress)));
}
