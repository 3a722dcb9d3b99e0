//! A call on disk, while it goes on: each speaker as it was sent, and a mix of all.
//!
//! A thread of its own writes; whoever hands it packets never waits for a disk.

mod file;
mod mix;
mod session;
mod track;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use edge::{Exit, WithExit};
use session::{OWN, Session};
use wire::PeerTag;
use wire::local::Record;

use crate::control::Switches;

/// Packets that wait for the disk at most: some ten seconds of a call of thirty.
const QUEUE: usize = 1 << 15;
/// How often what is due is written when nothing comes.
const TICK: Duration = Duration::from_millis(20);
/// How long whoever stops a recording waits for its files to be complete.
const PATIENCE: Duration = Duration::from_secs(2);

/// Records a call, or not. Clones are of the same recorder.
#[derive(Clone)]
pub(crate) struct Recorder {
    switches: Arc<Switches>,
    own: Arc<str>,
    /// How many channels a mix has.
    channels: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    running: Option<Running>,
    /// How many there were.
    begun: u64,
    /// Why the last recording ended, unless somebody wanted it to.
    failed: Option<String>,
}

struct Running {
    number: u64,
    events: SyncSender<Event>,
    /// How many files were completed.
    done: Receiver<usize>,
    place: String,
    start: Instant,
    /// Packets that the disk was too slow for.
    missed: Arc<AtomicU64>,
}

enum Event {
    Packet { peer: PeerTag, name: Option<Arc<str>>, packet: Vec<u8>, at: Instant },
    Left(PeerTag),
    Stop,
}

impl Recorder {
    /// One that does not record; the switches tell the others when it does. `own` is one's own name. A mix will have
    /// so many channels.
    pub(crate) fn new(switches: Arc<Switches>, own: &str, channels: usize) -> Self {
        Self { switches, own: own.into(), channels, state: Arc::default() }
    }

    /// Begins to record. The others are told first.
    ///
    /// # Errors
    /// If it does already, or a file or folder can't be made.
    pub(crate) fn start(&self, what: &Record) -> Result<()> {
        self.state().refuse_another()?;
        let start = Instant::now();
        // A disk may take its time, and others want to know the state meanwhile.
        let session = Session::create(what, self.channels, start)?;
        let (events, queue) = mpsc::sync_channel(QUEUE);
        let (told, done) = mpsc::channel();
        let writer = self.clone();
        let place = what.path.clone();
        let mut state = self.state();
        state.refuse_another()?;
        state.begun += 1;
        let number = state.begun;
        self.switches.record(true);
        let work = move || {
            let failed = |_| Err(anyhow!("the thread that writes it has failed"));
            let written = catch_unwind(AssertUnwindSafe(|| write(session, &queue))).unwrap_or_else(failed);
            // From here on nobody can hand over what would be lost.
            drop(queue);
            let _ = told.send(writer.end(number, written));
        };
        if let Err(error) = thread::Builder::new().name("recording".into()).spawn(work) {
            self.switches.record(false);
            return Err(error.into());
        }
        state.failed = None;
        state.running = Some(Running { number, events, done, place, start, missed: Arc::default() });
        Ok(())
    }

    /// Completes the files; says in words what there is.
    ///
    /// # Errors
    /// If nothing is recorded, or the files could not be completed.
    pub(crate) fn stop(&self) -> Result<String> {
        let Some(running) = self.state().running.take() else {
            return match self.state().failed.take() {
                Some(why) => Err(anyhow!("the recording has ended already: {why}")).exit(Exit::Io),
                None => Err(anyhow!("nothing is recorded; start with: audio-pipe record start DIR")).exit(Exit::Usage),
            };
        };
        let (place, seconds) = (&running.place, running.start.elapsed().as_secs());
        let is_told = running.events.send(Event::Stop).is_ok();
        let files = if is_told { running.done.recv_timeout(PATIENCE).ok() } else { Some(0) };
        let files = files
            .with_context(|| format!("{place} is still being written to: the disk is slow"))
            .exit(Exit::TryAgain)?;
        if let Some(why) = self.state().failed.take() {
            return Err(anyhow!("{why}")).exit(Exit::Io);
        }
        Ok(match files {
            0 => format!("left nothing in {place}: nobody was heard"),
            1 => format!("written: {place}, {seconds} s"),
            _ => format!("written: {place}, {files} files, {seconds} s"),
        })
    }

    /// Ends with the talk: what is recorded is completed, what can't be is told of.
    pub(crate) fn close(&self) {
        let is_running = self.state().running.is_some();
        if is_running && let Err(error) = self.stop() {
            tracing::warn!("{error:#}");
        }
    }

    /// Takes a packet of a peer.
    pub(crate) fn hear(&self, peer: PeerTag, name: Option<&str>, packet: &[u8], at: Instant) {
        self.tell(|| Event::Packet { peer, name: name.map(Arc::from), packet: packet.to_vec(), at });
    }

    /// Takes a packet of one's own voice.
    pub(crate) fn say(&self, packet: &[u8], at: Instant) {
        self.tell(|| Event::Packet { peer: OWN, name: Some(Arc::clone(&self.own)), packet: packet.to_vec(), at });
    }

    /// A peer has left.
    pub(crate) fn leave(&self, peer: PeerTag) {
        self.tell(|| Event::Left(peer));
    }

    /// Whether it records, for whom it is worth making a packet.
    pub(crate) fn is_running(&self) -> bool {
        self.switches.is_recording()
    }

    /// In words: to where, for how long, what is missing; or why it ended.
    pub(crate) fn status(&self) -> Option<String> {
        let state = self.state();
        let Some(Running { place, start, missed, .. }) = &state.running else {
            return state.failed.as_ref().map(|why| format!("ended: {why}"));
        };
        let missed = missed.load(Ordering::Relaxed);
        let lacks = if missed == 0 { String::new() } else { format!(", {missed} packets missing: the disk is slow") };
        Some(format!("{place}, {} s{lacks}", start.elapsed().as_secs()))
    }

    fn tell(&self, event: impl FnOnce() -> Event) {
        if !self.is_running() {
            return;
        }
        let state = self.state();
        let Some(running) = &state.running else { return };
        if let Err(TrySendError::Full(_)) = running.events.try_send(event())
            && running.missed.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::warn!("The disk is too slow to record to {}: packets are missing there", running.place);
        }
    }

    /// A recording is over, by itself or because somebody wanted it; returns how many files are complete.
    fn end(&self, number: u64, written: Result<usize>) -> usize {
        let mut state = self.state();
        let running = state.running.take_if(|running| running.number == number);
        // After one that was stopped, and took its time to end, another may have begun.
        if state.running.is_none() {
            self.switches.record(false);
        }
        let error = match written {
            Ok(files) => return files,
            Err(error) => error,
        };
        let hint = if mix::is_full(&error) { ": the disk is full; what is there can be played" } else { "" };
        let why = format!("{error:#}{hint}");
        if running.is_some() {
            tracing::warn!("The recording has ended, the call goes on: {why}");
        }
        state.failed = Some(why);
        0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn refuse_another(&self) -> Result<()> {
        let Some(running) = &self.running else { return Ok(()) };
        let error = anyhow!("{} is being recorded to; stop that first: audio-pipe record stop", running.place);
        Err(error).exit(Exit::Usage)
    }
}

/// Writes until it is told to stop or can't.
fn write(mut session: Session, queue: &Receiver<Event>) -> Result<usize> {
    loop {
        match queue.recv_timeout(TICK) {
            Ok(Event::Packet { peer, name, packet, at }) => {
                session.hear(peer, name.as_deref(), &packet, at)?;
                session.pass(at)?;
            }
            Ok(Event::Left(peer)) => session.leave(peer, Instant::now())?,
            Err(RecvTimeoutError::Timeout) => session.pass(Instant::now())?,
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return session.finish(Instant::now()),
        }
    }
}

/// Samples in a time.
fn samples(time: Duration) -> u64 {
    (time.as_nanos() * u128::from(codec::RATE) / 1_000_000_000) as u64
}
