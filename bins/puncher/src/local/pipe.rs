//! `--pipe`: stdin and stdout as a lane. Two threads stand between them and an ordinary agent connection.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, Read, Write},
    os::unix::net::UnixStream,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, anyhow};
use edge::{Exit, Remote, WithExit};
use mio::Token;
use uuid::Uuid;
use wire::{
    MessageId, PeerTag,
    agent::{Delivery, FromPuncher, MAX_RECORD, Peers, ToPuncher, VoiceRecord},
    frame,
    peer::MAX_TEXT,
};

use crate::args::PipeLane;

/// What the two threads tell each other, and the loop.
#[derive(Default)]
struct Progress {
    secure: BTreeSet<PeerTag>,
    unsettled: usize,
    /// All that stdout is told has been written, or can't be.
    ended: bool,
    /// What is wrong with stdin.
    failure: Option<anyhow::Error>,
}

type Shared = Arc<(Mutex<Progress>, Condvar)>;

/// The pipe, as the loop sees it.
pub(crate) struct Pipe {
    /// The connection that stands for it.
    pub(crate) token: Token,
    shared: Shared,
}

impl Pipe {
    /// Waits until everything is on stdout, for so long at most. What is wrong with stdin is the outcome.
    pub(crate) fn finish(&self, limit: Duration) -> anyhow::Result<()> {
        let (progress, changed) = &*self.shared;
        let guard = progress.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(guard, limit, |progress| !progress.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.failure.take().map_or(Ok(()), Err)
    }
}

/// Starts the threads; `adopt` gives their connection to the loop.
pub(crate) fn start(
    lane: PipeLane,
    exit_at_eof: bool,
    adopt: impl FnOnce(UnixStream) -> anyhow::Result<Token>,
) -> anyhow::Result<Pipe> {
    let (ours, theirs) = UnixStream::pair().context("make a socket pair for --pipe")?;
    theirs.set_nonblocking(true).context("make a socket pair for --pipe")?;
    let from_stdin = ours.try_clone().context("make a socket pair for --pipe")?;
    let shared = Shared::default();
    let pipe = Pipe { token: adopt(theirs)?, shared: Arc::clone(&shared) };
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
    Ok(pipe)
}

fn voice_in(mut to_loop: &UnixStream) -> anyhow::Result<()> {
    let mut reader = frame::Reader::<VoiceRecord>::new("voice record on stdin", MAX_RECORD);
    let mut stdin = io::stdin().lock();
    let mut buffer = [0; 16 * 1024];
    loop {
        let len = stdin.read(&mut buffer).context("read stdin").exit(Exit::Io)?;
        if len == 0 {
            return Ok(());
        }
        reader.push(&buffer[..len]);
        while let Some(record) = reader.next().context("stdin is no voice lane").exit(Exit::Data)? {
            to_loop.write_all(&frame::frame(&ToPuncher::Voice(record)))?;
        }
    }
}

fn text_in(mut to_loop: &UnixStream, shared: &Shared) -> anyhow::Result<()> {
    let mut stdin = io::stdin().lock();
    for number in 1.. {
        let Some(body) = next_line(&mut stdin).with_context(|| format!("line {number} of stdin"))? else { break };
        // A line for nobody would be lost, so it waits for somebody.
        wait_until(shared, |progress| !progress.secure.is_empty());
        update(shared, |progress| progress.unsettled += 1);
        let id = MessageId(Uuid::now_v7().as_u128());
        to_loop.write_all(&frame::frame(&ToPuncher::Text { id, to: Peers::All, body }))?;
    }
    Ok(())
}

/// The next line, without its end.
fn next_line(stdin: &mut impl BufRead) -> anyhow::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let ending = 2;
    let read =
        stdin.take((MAX_TEXT + ending) as u64).read_until(b'\n', &mut line).context("read stdin").exit(Exit::Io)?;
    if read == 0 {
        return Ok(None);
    }
    if line.pop_if(|last| *last == b'\n').is_some() {
        line.pop_if(|last| *last == b'\r');
    }
    if line.len() > MAX_TEXT {
        return Err(anyhow!("it is longer than the {MAX_TEXT} bytes that a text may have")).exit(Exit::Data);
    }
    std::str::from_utf8(&line).context("it is no UTF-8").exit(Exit::Data)?;
    Ok(Some(line))
}

fn end_of_input(result: anyhow::Result<()>, mut to_loop: &UnixStream, shared: &Shared, exit_at_eof: bool) {
    // That the loop has ended is no news, and no error: only it is written to here.
    let is_end = |error: &anyhow::Error| {
        error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    let failure = result.err().filter(|error| !is_end(error));
    if exit_at_eof || failure.is_some() {
        // What came before the mistake is delivered.
        wait_until(shared, |progress| progress.unsettled == 0);
        update(shared, |progress| progress.failure = failure);
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
